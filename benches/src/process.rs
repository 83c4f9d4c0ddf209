//! Processes of a bench: our own binary in another part, and programs of others.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;

use crate::Failure;

/// A process that ends with us.
pub(crate) struct Process {
    child: Child,
    /// Closed when we end, whatever ends us; our own parts take it as their end.
    _stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts this binary in a part, and waits for what it has to say: its port, and perhaps more.
    pub(crate) fn part(name: &str, arguments: &[&str]) -> Result<(Self, String), Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg(name).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().ok_or("no pipe")?);
        let this = Self { child, _stdin: stdin };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        match line.trim() {
            "" => Err(format!("the part {name} did not start").into()),
            said => Ok((this, said.to_owned())),
        }
    }

    /// Starts another program and waits until it takes connections at a port. What it has to say goes to a file.
    pub(crate) fn program(command: &mut Command, log: &Path, port: u16) -> Result<Self, Failure> {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = std::fs::File::create(log)?;
        let spawned = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        let child = spawned.map_err(|error| format!("{name}: {error}; ./dev bench installs it"))?;
        let mut this = Self { child, _stdin: None };
        let clock = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if this.child.try_wait()?.is_some() || clock.elapsed() > START_DEADLINE {
                return Err(format!("{name} did not start: {}", std::fs::read_to_string(log)?).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(this)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked, not killed: nginx has processes of its own to end.
        let id = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        drop(self.child.wait());
    }
}

/// Tells the process that started this one what it needs, and waits until it is gone.
pub(crate) async fn serve_until_orphaned(said: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{said}")?;
    stdout.flush()?;
    let mut nothing = Vec::new();
    tokio::io::stdin().read_to_end(&mut nothing).await?;
    Ok(())
}

/// A port that is free now, for programs that cannot choose one themselves.
pub(crate) fn free_port() -> Result<u16, Failure> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

const START_DEADLINE: Duration = Duration::from_secs(30);
