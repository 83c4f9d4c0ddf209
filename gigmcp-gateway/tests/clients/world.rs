//! One client in its sandbox, and what happens around it.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::oneshot;

use crate::{
    compiled,
    gateway::{GATEWAY, descendants, real_servers},
    internet::Internet,
    origin::Origin,
};

/// How a client finds its way out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// It has never heard of a proxy.
    Transparent,
    /// It was told of one.
    Proxied,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::Transparent, Self::Proxied];

    /// The variables that tell of the proxy.
    fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Transparent => &[],
            // Lower case for those that read no other.
            Self::Proxied => &[
                "HTTPS_PROXY=http://127.0.0.1:3128",
                "https_proxy=http://127.0.0.1:3128",
                "NODE_USE_ENV_PROXY=1",
                "JDK_JAVA_OPTIONS=-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=3128",
            ],
        }
    }
}

/// What a test waits for.
#[derive(Debug)]
pub(crate) enum Event {
    /// The origin will go on when it is told to.
    Held(oneshot::Sender<()>),
    /// A line that the client wrote to its standard output.
    Line(String),
    /// The client is gone.
    Ended,
}

/// An internet, a key, and a place for the gateway's data.
pub(crate) struct World {
    pub(crate) internet: Internet,
    pub(crate) origin: Arc<Origin>,
    /// The real key: unlike anything else on this machine.
    pub(crate) key: String,
    /// Planted inside on purpose, so that a search which finds nothing else means something.
    pub(crate) decoy: String,
    directory: tempfile::TempDir,
    events: Receiver<Event>,
    tell: Sender<Event>,
}

impl World {
    pub(crate) fn new() -> Self {
        let (tell, events) = channel();
        let key = format!("sk-sentinel-{}", unique());
        let origin = Arc::new(Origin::new(key.clone(), tell.clone()));
        let serving = Arc::clone(&origin);
        let internet = Internet::serving(&[b"h2", b"http/1.1"], move |stream| Arc::clone(&serving).serve(stream));
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { internet, origin, key, decoy: format!("decoy-{}", unique()), directory, events, tell }
    }

    /// A directory of the host that the next client can read, at the same path.
    pub(crate) fn shown(&self) -> PathBuf {
        let shown = self.directory.path().join("shown");
        fs::create_dir_all(&shown).unwrap();
        shown
    }

    /// Starts a client that may reach `api.example.com`, with a key, and `other.example.com`, without.
    pub(crate) fn start(&self, way: Way, command: &[&str]) -> Running<'_> {
        let decoy = format!("DECOY={}", self.decoy);
        let mut exec = self.gateway();
        fs::create_dir_all(compiled::build_directory()).unwrap();
        exec.args(["exec", "--allow", "other.example.com", "--secret", "API_KEY=api.example.com", "--env", &decoy]);
        exec.arg("--env").arg(format!("REAL={}", real_servers().display()));
        for variable in way.variables() {
            exec.args(["--env", variable]);
        }
        for path in [real_servers(), PathBuf::from(PROGRAMS), compiled::build_directory().to_owned(), self.shown()] {
            exec.arg("--read-only").arg(path);
        }
        exec.args(["--memory", "1G", "--"]).args(command).env("API_KEY", &self.key);
        let mut child = exec.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = collect(child.stdout.take().unwrap(), Some(self.tell.clone()));
        let stderr = collect(child.stderr.take().unwrap(), None);
        Running { world: self, child, stdout: Some(stdout), stderr: Some(stderr), held: VecDeque::new() }
    }

    /// The audit trail, oldest first.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let output = self.gateway().args(["--json", "audit", "--limit", "1000"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        rows.sort_by_key(|row| row["at_ms"].as_i64());
        rows
    }

    fn gateway(&self) -> Command {
        let mut command = self.internet.command(GATEWAY);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIG_")) {
            command.env_remove(name);
        }
        command.env("GIG_DATA_DIR", self.directory.path().join("data"));
        command.env("GIG_UPSTREAM_EXTRA_ROOTS", &self.internet.authority);
        command
    }
}

/// A client at work. Ended when dropped.
pub(crate) struct Running<'a> {
    world: &'a World,
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    /// What the origin holds back, oldest first.
    held: VecDeque<oneshot::Sender<()>>,
}

/// What a client left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running<'_> {
    /// Waits until the origin holds an answer back; what the client prints meanwhile is passed over.
    pub(crate) fn held(&mut self) -> oneshot::Sender<()> {
        loop {
            if let Some(release) = self.held.pop_front() {
                return release;
            }
            match self.next() {
                Event::Held(release) => self.held.push_back(release),
                Event::Line(_) => {}
                Event::Ended => panic!("the client ended early: {:#?}\n{:#?}", self.drain(), self.world.audit()),
            }
        }
    }

    /// Waits for a line that holds `text`; what the origin holds back stays held back.
    pub(crate) fn line(&mut self, text: &str) -> String {
        loop {
            match self.next() {
                Event::Line(line) if line.contains(text) => return line,
                Event::Line(_) => {}
                Event::Held(release) => self.held.push_back(release),
                Event::Ended => panic!("no {text:?}: {:#?}\n{:#?}", self.drain(), self.world.audit()),
            }
        }
    }

    fn next(&mut self) -> Event {
        self.world.events.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            drop(self.child.kill());
            panic!("nothing happens: {:#?}\n{:#?}", self.drain(), self.world.audit())
        })
    }

    /// Every process below the gateway.
    pub(crate) fn processes(&self) -> Vec<u32> {
        descendants(self.child.id())
    }

    /// Waits for the end. Nothing may be held back any more.
    pub(crate) fn finish(mut self) -> Finished {
        while !matches!(self.next(), Event::Ended) {}
        self.drain()
    }

    /// The same, with every answer that is held back let go.
    pub(crate) fn finish_with_all_answers(mut self) -> Finished {
        loop {
            match self.next() {
                // The client may have gone away.
                Event::Held(release) => drop(release.send(())),
                Event::Line(_) => {}
                Event::Ended => return self.drain(),
            }
        }
    }

    fn drain(&mut self) -> Finished {
        let text = |reader: &mut Option<JoinHandle<Vec<u8>>>| {
            String::from_utf8_lossy(&reader.take().unwrap().join().unwrap()).into_owned()
        };
        let (stdout, stderr) = (text(&mut self.stdout), text(&mut self.stderr));
        Finished { code: self.child.wait().unwrap().code(), stdout, stderr }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Finished {
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }
}

/// Reads to the end, and tells of each line.
fn collect(reader: impl Read + Send + 'static, tell: Option<Sender<Event>>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let (mut reader, mut all) = (BufReader::new(reader), Vec::new());
        loop {
            let start = all.len();
            let ended = reader.read_until(b'\n', &mut all).map_or(true, |length| length == 0);
            let event = match ended {
                true => Event::Ended,
                false => Event::Line(String::from_utf8_lossy(&all[start..]).trim_end().to_owned()),
            };
            // Nobody listens any more when the test has failed.
            tell.as_ref().map(|tell| tell.send(event));
            if ended {
                return all;
            }
        }
    })
}

fn unique() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).unwrap();
    hex::encode(random)
}

/// Clients that use libraries of others.
pub(crate) const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/programs");
/// Far beyond anything that is not stuck, also where a build without optimisation searches 50 MiB on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
