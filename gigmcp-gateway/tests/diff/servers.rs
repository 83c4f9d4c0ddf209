//! The servers, how each is started both ways, and what is asked of it.

mod asked;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    compare::Answer,
    direct::Direct,
    gateway::{Installation, demo_server, real_servers},
    internet::Internet,
    requests::Request,
};

/// Directories that look alike on both ways.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

/// One server.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// A static executable for an empty root, or a command of this machine's tools.
    command: Vec<String>,
    is_binary: bool,
    /// Further words of `server add`.
    options: Vec<String>,
    /// Variables, where the sandbox has others.
    variables: Vec<(&'static str, PathBuf)>,
    pub(crate) requests: fn(&Place) -> Vec<Request>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        for directory in [place.files(), place.state()] {
            fs::create_dir(&directory).unwrap();
        }
        fs::write(place.files().join("a.txt"), "one\ntwo\nthree \u{e9}\n").unwrap();
        fs::write(place.files().join("image.png"), [0x89, b'P', b'N', b'G']).unwrap();
        place.repository();
        for directory in [place.directory.path(), &place.files(), &place.git()] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        }
        place
    }

    /// What the server of files may read.
    pub(crate) fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    /// A repository that is the same wherever and whenever it is made.
    pub(crate) fn git(&self) -> PathBuf {
        self.directory.path().join("git")
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn repository(&self) {
        let git = |words: &[&str]| {
            let mut command = Command::new("git");
            command.args(["-c", "init.defaultBranch=main", "-c", "user.name=a", "-c", "user.email=a@example.com"]);
            for variable in ["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"] {
                command.env(variable, "2026-01-01T00:00:00Z");
            }
            let output = command.args(words).current_dir(self.git()).output().unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        fs::create_dir(self.git()).unwrap();
        git(&["init", "--quiet"]);
        fs::write(self.git().join("a.txt"), "one\n").unwrap();
        git(&["add", "a.txt"]);
        git(&["commit", "--quiet", "--message", "first"]);
        fs::write(self.git().join("a.txt"), "two\n").unwrap();
    }

    /// Takes the directory's name out of an answer, because no two have the same.
    pub(crate) fn hide(&self, answer: Answer) -> Answer {
        let name = self.directory.path().to_str().unwrap();
        match answer {
            Answer::Result(text) => Answer::Result(text.replace(name, "DIRECTORY")),
            Answer::Error(text) => Answer::Error(text.replace(name, "DIRECTORY")),
        }
    }
}

impl Subject {
    pub(crate) fn add_to(&self, installation: &Installation, place: &Place) {
        let mut words = vec!["server", "add", self.name];
        if self.is_binary {
            words.extend(["--binary", &self.command[0]]);
        }
        words.extend(self.options.iter().map(String::as_str));
        let owned = [place.files(), place.git(), real_servers()];
        for readable in owned.iter().filter(|_| !self.is_binary) {
            words.extend(["--read-only", readable.to_str().unwrap()]);
        }
        words.push("--");
        words.extend(self.command.iter().skip(usize::from(self.is_binary)).map(String::as_str));
        installation.json(&words, "");
    }

    pub(crate) fn start(&self, internet: &Internet, place: &Place) -> Direct {
        let mut command = internet.command(&self.command[0]);
        command.args(&self.command[1..]).current_dir(place.directory.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("SSL_CERT_FILE", &internet.authority);
        Direct::start(&mut command)
    }

    fn new(name: &'static str, command: &[&str], requests: fn(&Place) -> Vec<Request>) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Self { name, command, is_binary: false, options: Vec::new(), variables: Vec::new(), requests }
    }

    fn with(mut self, options: &[&str]) -> Self {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self
    }
}

/// The fixture.
pub(crate) fn fixtures(_: &Place) -> Vec<Subject> {
    let fixture = demo_server("gigmcp-demo-conformance");
    let mut subject = Subject::new("test", &[fixture.to_str().unwrap(), "legacy"], asked::fixture);
    subject.is_binary = true;
    vec![subject]
}

/// Servers from npm and PyPI.
pub(crate) fn real(place: &Place) -> Vec<Subject> {
    let node = |package: &str| {
        let packages = real_servers().join("node/node_modules/@modelcontextprotocol");
        packages.join(package).join("dist/index.js").to_str().unwrap().to_owned()
    };
    let python = real_servers().join("python/bin/python").to_str().unwrap().to_owned();
    let files = place.files().to_str().unwrap().to_owned();
    let mut memory = Subject::new("memory", &["node", &node("server-memory")], asked::memory);
    memory.options =
        ["--state", path(&place.state()), "--env", "MEMORY_FILE_PATH=/state/memory.json"].map(str::to_owned).to_vec();
    memory.variables = vec![("MEMORY_FILE_PATH", place.state().join("memory.json"))];
    vec![
        Subject::new("everything", &["node", &node("server-everything"), "stdio"], asked::everything),
        Subject::new("files", &["node", &node("server-filesystem"), &files], asked::filesystem),
        memory,
        Subject::new("thinking", &["node", &node("server-sequential-thinking")], asked::thinking),
        Subject::new("time", &[&python, "-m", "mcp_server_time", "--local-timezone", "UTC"], asked::time),
        Subject::new("fetch", &[&python, "-m", "mcp_server_fetch", "--ignore-robots-txt"], asked::fetch)
            .with(&["--allow", "api.example.com"]),
        Subject::new("git", &[&python, "-m", "mcp_server_git"], asked::git),
    ]
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
