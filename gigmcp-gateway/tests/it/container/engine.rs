//! A Docker engine in the tests' internet, and people's two commands for it. Nothing of it is left.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use crate::{gateway::descendants, internet::Internet};

/// An engine whose containers reach that internet and no other.
pub(super) struct Engine {
    script: Child,
    directory: tempfile::TempDir,
}

impl Engine {
    pub(super) fn start(internet: &Internet) -> Self {
        let directory = tempfile::Builder::new().prefix("gig-docker-").tempdir().unwrap();
        let ready = UnixDatagram::bind(directory.path().join("ready")).unwrap();
        ready.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        let script = internet
            .command_with_control_groups("unshare")
            .args(["--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/container/engine.sh")])
            .args([directory.path().as_os_str(), directory.path().file_name().unwrap()])
            .arg(internet.name_servers())
            .env("NOTIFY_SOCKET", directory.path().join("ready"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let engine = Self { script, directory };
        let heard = ready.recv(&mut [0; 64]);
        assert!(heard.is_ok(), "the engine did not start (`./dev test` gets one): {}", engine.log());
        engine
    }

    /// The command line of the engine.
    pub(super) fn docker(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut docker = Command::new("docker");
        self.told(docker.args(arguments));
        docker
    }

    /// Compose, on the files of a directory.
    pub(super) fn compose(&self, directory: &Path) -> Command {
        let program = std::env::var_os("TEST_DOCKER_COMPOSE");
        let mut compose = Command::new(program.expect("run the tests by ./dev test: TEST_DOCKER_COMPOSE is not set"));
        self.told(compose.current_dir(directory));
        compose
    }

    fn told(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIG")) {
            command.env_remove(name);
        }
        command.env("DOCKER_HOST", format!("unix://{}/socket", self.directory.path().display()));
        command.env("DOCKER_CONFIG", self.directory.path()).env("DOCKER_BUILDKIT", "1");
    }

    /// The gateways in its containers with all that is below them, as this machine sees them.
    pub(super) fn inside(&self) -> Vec<u32> {
        let serves = |pid: &u32| {
            let said = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            said == b"gigmcp-gateway\0serve\0"
        };
        let gateways = descendants(self.script.id()).into_iter().filter(serves);
        gateways.flat_map(|pid| [vec![pid], descendants(pid)].concat()).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        drop(self.script.wait());
        if std::thread::panicking() {
            let log = self.log();
            let last = log.lines().rev().take(20).collect::<Vec<_>>();
            eprintln!("--- engine, newest line first ---\n{}", last.join("\n"));
        }
    }
}

/// Runs it with that input.
pub(super) fn output(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // What fails early reads nothing.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

/// Standard output of what must succeed.
pub(super) fn said(command: &mut Command) -> String {
    let found = output(command, "");
    let error = String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "{command:?}: {}{error}", String::from_utf8_lossy(&found.stdout));
    String::from_utf8(found.stdout).unwrap()
}

/// All that was said by what must fail.
pub(super) fn refused(command: &mut Command) -> String {
    let found = output(command, "");
    let text = String::from_utf8_lossy(&found.stdout).into_owned() + &String::from_utf8_lossy(&found.stderr);
    assert!(!found.status.success(), "{command:?}: {text}");
    text
}
