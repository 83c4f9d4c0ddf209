//! Removes a killed gateway's groups.

use std::io::{self, PipeWriter};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::bootstrap;

/// A process of its own that waits for the end of this one and then removes its groups.
///
/// A group cannot be removed from within, and whoever is outside when this process is killed is no
/// part of the sandbox. The sweeper is the bootstrap in another mode: 200 KiB that sleep.
#[derive(Debug)]
pub(crate) struct Sweeper {
    prefix: String,
    dirs: Vec<PathBuf>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Closed by the kernel however this process ends. No child inherits it.
    _lifeline: PipeWriter,
}

impl Sweeper {
    /// For groups in these places whose names start with `prefix`.
    pub(crate) fn new(prefix: String, dirs: Vec<PathBuf>) -> Self {
        Self { prefix, dirs, running: Mutex::new(None) }
    }

    /// Sees to it that the sweeper runs. Without it, a killed process's groups stay, empty, until
    /// the next start.
    pub(crate) fn watch(&self) -> io::Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.as_mut().is_some_and(|running| matches!(running.child.try_wait(), Ok(None))) {
            *running = Some(self.start()?);
        }
        Ok(())
    }

    /// Its number.
    pub(crate) fn process(&self) -> Option<u32> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|running| running.child.id())
    }

    fn start(&self) -> io::Result<Running> {
        let (theirs, lifeline) = io::pipe()?;
        let child = Command::new(bootstrap::program()?)
            .arg0("gigmcp-sweeper")
            .arg("sweep")
            .arg(&self.prefix)
            .args(&self.dirs)
            .env_clear()
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Running { child, _lifeline: lifeline })
    }
}
