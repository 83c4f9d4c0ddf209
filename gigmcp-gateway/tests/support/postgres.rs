//! A real PostgreSQL server of the tests' own: reached by a socket in its directory, and ended with the process that
//! started it.

use std::{
    env,
    io::Read,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;

/// A running server.
pub(crate) struct Postgres {
    directory: PathBuf,
    port: u16,
    /// Keeps the port of 127.0.0.1 from being given to others.
    _held: Option<TcpSocket>,
    /// The server is stopped when this is closed, also by our death.
    _lifeline: ChildStdin,
}

/// How a server is stopped.
#[allow(dead_code, reason = "each test program uses another part")]
pub(crate) enum Stop {
    /// It sends its clients away.
    Fast,
    /// It dies, and mends itself when it is started.
    Immediate,
}

#[allow(dead_code, reason = "each test program uses another part")]
impl Postgres {
    /// The server of this process.
    pub(crate) fn shared() -> &'static Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        SERVER.get_or_init(Self::start)
    }

    /// A server for one test that ends it.
    pub(crate) fn start() -> Self {
        Self::start_with(5432, None, &[], "")
    }

    /// The same, and on a port of 127.0.0.1 it can be reached with TLS, by that PEM text of a certificate and its key.
    pub(crate) fn start_with_tls(certificate: &str, key: &str) -> Self {
        // Nobody listens there who does not say, as PostgreSQL does, that it may be shared with those that do not.
        let held = TcpSocket::new_v4().expect("a socket");
        held.set_reuseaddr(true).expect("an option");
        held.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let port = held.local_addr().expect("a port").port();
        let files = [("server.crt", certificate), ("server.key", key)];
        Self::start_with(
            port,
            Some(held),
            &files,
            &format!("listen_addresses = '127.0.0.1'\nport = {port}\nssl = on\n"),
        )
    }

    fn start_with(port: u16, held: Option<TcpSocket>, files: &[(&str, &str)], more: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("gig-pg-").tempdir().expect("a directory").keep();
        let data = directory.join("data");
        run(program(&directory, "initdb")
            .args(["--no-sync", "--no-locale", "--encoding=UTF8", "--username=postgres"])
            .arg(&data));
        let settings = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nmax_connections = 200\nfsync = off\njit = off\n{more}",
            directory.display()
        );
        let file = data.join("postgresql.auto.conf");
        std::fs::write(&file, settings).expect("the cluster can be configured");
        for (name, content) in files {
            let file = data.join(name);
            std::fs::write(&file, content).expect("the cluster can be configured");
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&file, private).expect("the cluster can be configured");
        }
        let lifeline = lifeline(&directory);
        let server = Self { directory, port, _held: held, _lifeline: lifeline };
        server.resume();
        server
    }

    /// Makes a new, empty database and gives its URL.
    pub(crate) fn database(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database of that name.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("postgres://postgres@{}/{name}", self.directory.display().to_string().replace('/', "%2F"))
    }

    /// The URL of a database of that name by way of the port, under any name of this host.
    pub(crate) fn url_at(&self, host: &str, name: &str) -> String {
        format!("postgres://postgres@{host}:{}/{name}?hostaddr=127.0.0.1", self.port)
    }

    /// Changes a setting for all that begins from now on.
    pub(crate) fn set(&self, setting: &str) {
        self.sql("postgres", &format!("ALTER SYSTEM SET {setting}"));
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// From now on nobody but the one to whom all belongs gets in without one.
    pub(crate) fn demands_passwords(&self) {
        let rules = "local all postgres trust\nlocal all all scram-sha-256\nhostssl all all all scram-sha-256\n";
        std::fs::write(self.directory.join("data/pg_hba.conf"), rules).expect("the cluster can be configured");
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// Runs SQL as the one to whom all belongs, and gives what `psql` prints.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = program(&self.directory, "psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        psql.arg("--host").arg(&self.directory).args(["--port", &self.port.to_string()]).args([
            "--username=postgres",
            "--dbname",
            database,
            "--command",
            sql,
        ]);
        run(&mut psql)
    }

    pub(crate) fn stop(&self, how: Stop) {
        let mode = match how {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        run(self.control().args(["-m", mode, "stop"]));
    }

    pub(crate) fn resume(&self) {
        run(self.control().arg("--log").arg(self.directory.join("log")).args(["-t", "120", "start"]));
    }

    /// Nobody who comes hears anything from it until this is dropped.
    pub(crate) fn silence(&self) -> Silence {
        let file = std::fs::read_to_string(self.directory.join("data/postmaster.pid")).expect("it runs");
        let process = file.lines().next().and_then(|first| Pid::from_raw(first.parse().ok()?)).expect("a number");
        kill_process(process, Signal::STOP).expect("it is ours");
        Silence(process)
    }

    fn control(&self) -> Command {
        let mut control = program(&self.directory, "pg_ctl");
        control.arg("-w").arg("-D").arg(self.directory.join("data"));
        control
    }
}

/// A server that stands still.
pub(crate) struct Silence(Pid);

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// The last part of a URL of [`Postgres::database`].
#[allow(dead_code, reason = "each test program uses another part")]
pub(crate) fn name(url: &str) -> &str {
    url.rsplit('/').next().expect("a URL")
}

/// One of PostgreSQL's programs.
fn program(directory: &Path, name: &str) -> Command {
    as_user(directory, bin().join(name))
}

/// A program as somebody who is not called root, as whom PostgreSQL does not run.
fn as_user(directory: &Path, path: PathBuf) -> Command {
    let mut command = match rustix::process::getuid().is_root() {
        true => {
            let mut command = Command::new("unshare");
            command.args(["--map-user=1000", "--map-group=1000", "--"]).arg(path);
            command
        }
        false => Command::new(path),
    };
    command.current_dir(directory).stdin(Stdio::null());
    command
}

fn bin() -> PathBuf {
    PathBuf::from(env::var_os("TEST_POSTGRES").expect("TEST_POSTGRES names PostgreSQL's programs; run ./dev test"))
}

fn run(command: &mut Command) -> String {
    // The server inherits what `pg_ctl` has, so that a pipe would never end.
    let mut output = tempfile::tempfile().expect("a file");
    let copy = || output.try_clone().expect("a descriptor");
    let status = command.stdout(copy()).stderr(copy()).status().expect("PostgreSQL is installed");
    let mut text = String::new();
    std::io::Seek::rewind(&mut output).and_then(|()| output.read_to_string(&mut text)).expect("it can be read");
    assert!(status.success(), "{command:?}: {text}");
    text
}

fn lifeline(directory: &Path) -> ChildStdin {
    let script = r#"cat >/dev/null; cd /; "$1" -D "$2/data" -m immediate stop >/dev/null 2>&1; rm -rf "$2""#;
    let mut shell = as_user(directory, "sh".into());
    shell.args(["-c", script, "sh"]).arg(bin().join("pg_ctl")).arg(directory);
    let child = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.expect("a shell").stdin.take().expect("a pipe")
}
