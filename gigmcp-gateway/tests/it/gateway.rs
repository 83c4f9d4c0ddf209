//! A running gateway, and its command line.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{internet::Internet, postgres::Postgres};

pub(crate) const GATEWAY: &str = env!("CARGO_BIN_EXE_gigmcp-gateway");

/// Copies it to where anybody may run it. By another process: if this one had it open for writing, a child that another test
/// starts at that moment would too, and it could not be started.
pub(crate) fn copy_gateway(to: &Path) {
    let copied = Command::new("install").arg("--mode=755").arg(GATEWAY).arg(to).status().unwrap();
    assert!(copied.success());
}

/// A data directory and the commands that work on it.
pub(crate) struct Installation {
    directory: tempfile::TempDir,
    /// The URL of its database, if that is not a file in the data directory.
    database: Option<String>,
}

impl Installation {
    /// With a database of the kind that `TEST_DATABASE` says: `sqlite`, which is the default, or `postgres`.
    pub(crate) fn new() -> Self {
        match std::env::var("TEST_DATABASE").as_deref() {
            Ok("postgres") => Self::on(Postgres::shared().database()),
            Ok("sqlite") | Err(_) => Self::on_sqlite(),
            Ok(other) => panic!("TEST_DATABASE is `{other}`"),
        }
    }

    /// For what is about files.
    pub(crate) fn on_sqlite() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), database: None }
    }

    /// On a database of PostgreSQL.
    pub(crate) fn on(url: String) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), database: Some(url) }
    }

    /// Another machine with the same database, the same key and the same executables.
    pub(crate) fn another(&self) -> Self {
        let other = Self::on(self.database.clone().expect("a file is on one machine"));
        let copied = Command::new("cp").arg("-a").args([self.data(), other.data()]).status().unwrap();
        assert!(copied.success());
        other
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The gateway's command line with this data directory and no settings from the environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(GATEWAY);
        self.settings(&mut command);
        command
    }

    /// The same inside `internet`.
    pub(crate) fn command_within(&self, internet: &Internet) -> Command {
        let mut command = internet.command(GATEWAY);
        self.settings(&mut command);
        command.env("GIG_UPSTREAM_EXTRA_ROOTS", &internet.authority);
        command
    }

    pub(crate) fn settings(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIG_")) {
            command.env_remove(name);
        }
        command.env("GIG_DATA_DIR", self.data());
        if let Some(url) = &self.database {
            command.env("GIG_DATABASE_URL", url);
        }
    }

    /// Runs an administration command.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs an administration command that must succeed, and reads its JSON answer.
    pub(crate) fn json(&self, arguments: &[&str], input: &str) -> Value {
        let output = self.run(&[&["--json"], arguments].concat(), input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Creates a profile with these servers and returns its token.
    pub(crate) fn profile(&self, slug: &str, servers: &[&str]) -> String {
        let mut arguments = vec!["profile", "create", slug];
        for server in servers {
            arguments.extend(["--server", server]);
        }
        self.json(&arguments, "")["token"].as_str().unwrap().to_owned()
    }

    /// Every byte in the data directory.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut open = vec![self.data()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                match entry.file_type().unwrap().is_dir() {
                    true => open.push(entry.path()),
                    false => found.push((entry.path(), fs::read(entry.path()).unwrap())),
                }
            }
        }
        found
    }

    /// Starts the gateway inside `internet` and waits until it listens.
    pub(crate) fn serve(&self, internet: &Internet, variables: &[(&str, &str)]) -> Gateway {
        self.serve_by(internet.command(GATEWAY), internet, variables)
    }

    /// The same where the gateway can limit the memory of servers.
    pub(crate) fn serve_with_control_groups(&self, internet: &Internet) -> Gateway {
        self.serve_by(internet.command_with_control_groups(GATEWAY), internet, &[])
    }

    fn serve_by(&self, mut command: Command, internet: &Internet, variables: &[(&str, &str)]) -> Gateway {
        self.settings(&mut command);
        command.env("GIG_UPSTREAM_EXTRA_ROOTS", &internet.authority).env("GIG_LOG", "debug");
        command.envs(variables.iter().copied());
        Gateway::start(command.arg("serve"))
    }
}

/// The serving process. Ended when dropped.
pub(crate) struct Gateway {
    child: Child,
    log: Log,
}

/// What was printed, and a signal for more of it.
type Log = Arc<(Mutex<String>, Condvar)>;

impl Gateway {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::default();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let stdout = BufReader::new(child.stdout.take().unwrap());
        collect(stderr, Arc::clone(&log));
        collect(stdout, Arc::clone(&log));
        let gateway = Self { child, log };
        gateway.wait_for("listening on ");
        gateway
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything on standard output and standard error until now.
    pub(crate) fn log(&self) -> String {
        // Whoever waited in vain has panicked with it.
        self.log.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `text` was printed, and gives everything printed until then.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |log| log.contains(text))
    }

    /// The same for a line with all of these in it.
    pub(crate) fn wait_for_line(&self, texts: &[&str]) -> String {
        let is_it = |line: &str| texts.iter().all(|text| line.contains(text));
        self.wait_until(&texts.join(" ... "), |log| log.lines().any(is_it))
    }

    fn wait_until(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let (log, printed) = &*self.log;
        let log = log.lock().unwrap();
        let limit = Duration::from_secs(60);
        let (log, waited) = printed.wait_timeout_while(log, limit, |log| !is_there(log)).unwrap();
        assert!(!waited.timed_out(), "{what:?} was not printed: {log}");
        log.clone()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// Asks it to stop, as Ctrl-C does, and waits for its end.
    pub(crate) fn interrupt(&mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().unwrap()
    }

    /// The host's view of every process below the gateway, by pid.
    pub(crate) fn descendants(&self) -> Vec<u32> {
        descendants(self.pid())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!("--- gateway ---\n{}", self.log());
        }
    }
}

fn collect(reader: impl BufRead + Send + 'static, log: Log) {
    thread::spawn(move || {
        for line in reader.split(b'\n') {
            let Ok(line) = line else { return };
            let (log, printed) = &*log;
            let mut log = log.lock().unwrap();
            log.push_str(&String::from_utf8_lossy(&line));
            log.push('\n');
            printed.notify_all();
        }
    });
}

/// All processes below `root`, by their parents in /proc.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let above = found[at];
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

/// Waits until none of `pids` is alive; a zombie counts as gone.
pub(crate) fn wait_gone(pids: &[u32]) -> Vec<u32> {
    let alive = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
    };
    for pid in pids {
        let Some(raw) = rustix::process::Pid::from_raw(pid.cast_signed()) else { continue };
        // A pidfd becomes readable when the process ends; it cannot be opened once it is gone.
        let Ok(handle) = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()) else { continue };
        let mut wait = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        rustix::event::poll(&mut wait, Some(&limit)).unwrap();
    }
    pids.iter().copied().filter(alive).collect()
}

/// The demo servers' directory, as `./dev test` gives it.
pub(crate) fn demo_server(name: &str) -> PathBuf {
    let directory =
        std::env::var_os("TEST_DEMO_SERVERS").expect("run the tests by ./dev test: TEST_DEMO_SERVERS is not set");
    Path::new(&directory).join(name)
}

/// The registry that `./dev test` makes of catalog/.
pub(crate) fn catalog() -> PathBuf {
    std::env::var_os("TEST_CATALOG").expect("run the tests by ./dev test: TEST_CATALOG is not set").into()
}

/// The directory of servers and clients that nobody here wrote, as `./dev test` gives it.
pub(crate) fn real_servers() -> PathBuf {
    std::env::var_os("TEST_REAL_SERVERS").expect("run the tests by ./dev test: TEST_REAL_SERVERS is not set").into()
}
