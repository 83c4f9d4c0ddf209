//! A running sandbox.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::rootfs::Rootfs;
use crate::stderr::StderrLog;
use crate::stdio::End;
use crate::usage::Meter;
use crate::{
    Enforcement, Events, NetworkHandle, SandboxBuilder, SandboxStdin, SandboxStdout, StderrLines, StdioError, Usage,
    UsageSamples,
};

/// One confined server. Dropping it ends every process inside and leaves nothing behind, a moment later:
/// what one sandbox at a time can use, such as a state directory, is free once [`Sandbox::kill`] returns.
#[derive(Debug)]
pub struct Sandbox {
    pub(crate) id: String,
    pub(crate) lifeline: Lifeline,
    pub(crate) stdio: Option<(End, End)>,
    pub(crate) network: NetworkHandle,
    pub(crate) enforcement: Enforcement,
    pub(crate) log: Arc<StderrLog>,
    pub(crate) ended: watch::Receiver<Option<Exit>>,
    pub(crate) events: Events,
    pub(crate) control: End,
    pub(crate) meter: Meter,
}

/// A signal that can be given to a server from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
#[repr(u8)]
pub enum ServerSignal {
    /// `SIGHUP`, by custom: read the configuration again.
    HangUp = 1,
    /// `SIGINT`, as by Ctrl-C.
    Interrupt = 2,
    /// `SIGUSR1`; its meaning is the server's.
    User1 = 10,
    /// `SIGUSR2`; its meaning is the server's.
    User2 = 12,
    /// `SIGTERM`: please end.
    Terminate = 15,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Exit {
    /// Its program returned this code.
    Exited(i32),
    /// A signal ended it, which came from inside or was asked for by [`Sandbox::signal`].
    Signaled(i32),
    /// It made a system call that ends a process, such as `init_module`, or any of a foreign ABI.
    ///
    /// Told by the signal, `SIGSYS`, so a server that gives itself that signal looks the same.
    SeccompKilled,
    /// It made a call that no server makes, and [`OnTripwire::Kill`](crate::OnTripwire::Kill) was asked for.
    Tripwire {
        /// The name of the system call.
        call: &'static str,
    },
    /// Processes inside were killed because together they used more than
    /// [`Limits::memory_bytes`](crate::Limits::memory_bytes), or because the host had no memory left, and
    /// what remained was ended.
    OomKilled,
    /// It kept more than its [`StateQuota`](crate::StateQuota), and was ended.
    StateQuota,
    /// It ran longer than [`Limits::wall_time`](crate::Limits::wall_time), and was ended.
    TimedOut,
    /// The host ended it, or a process of the sandbox's frame was killed from outside.
    Killed,
}

impl Sandbox {
    /// Starts describing a sandbox with this root.
    #[must_use]
    pub fn builder(rootfs: Rootfs) -> SandboxBuilder {
        SandboxBuilder::new(rootfs)
    }

    /// A short text that no other sandbox has, of this host process or another, now or later.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The server's standard input and output, once.
    ///
    /// # Errors
    /// [`StdioError::Taken`] after the first call that came so far, [`StdioError::NoRuntime`] outside a tokio
    /// runtime, and [`StdioError::Register`] if the runtime cannot wait for them. After the last, the server
    /// has lost its standard input and output.
    ///
    /// # Panics
    /// In a tokio runtime whose I/O is not enabled.
    pub fn stdio(&mut self) -> Result<(SandboxStdin, SandboxStdout), StdioError> {
        tokio::runtime::Handle::try_current().map_err(|_| StdioError::NoRuntime)?;
        let (stdin, stdout) = self.stdio.take().ok_or(StdioError::Taken)?;
        let register = |source| StdioError::Register { source };
        Ok((SandboxStdin::new(stdin).map_err(register)?, SandboxStdout::new(stdout).map_err(register)?))
    }

    /// The host's end of the sandbox's network.
    pub fn network(&mut self) -> &mut NetworkHandle {
        &mut self.network
    }

    /// What is in force, as read back from the kernel before the server's program started.
    #[must_use]
    pub fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    /// The last lines of the server's standard error, bounded and without control characters.
    #[must_use]
    pub fn stderr_tail(&self) -> Vec<String> {
        self.log.tail()
    }

    /// The lines kept of the server's standard error, then those to come.
    #[must_use]
    pub fn stderr_lines(&self) -> StderrLines {
        self.log.lines()
    }

    /// What happens to the sandbox, from its start on. Each call gives a reader of its own.
    #[must_use]
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// What the sandbox uses at the moment. If it has ended, that is no memory and no process, and what it
    /// has used in all, as far as a control group counted.
    ///
    /// Cancel safe.
    pub async fn usage(&self) -> Usage {
        self.meter.read().await
    }

    /// What the sandbox uses, again and again: at once, then after each `period`, and a last time when
    /// it has ended.
    ///
    /// # Panics
    /// If `period` is zero, or outside a tokio runtime with time enabled.
    #[must_use]
    pub fn usage_every(&self, period: Duration) -> UsageSamples {
        UsageSamples::new(self.meter.clone(), period)
    }

    /// Waits until the server has ended and nothing of the sandbox is left.
    ///
    /// Cancel safe; may be called again.
    pub async fn wait(&mut self) -> Exit {
        match self.ended.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit::Killed),
            Err(_) => Exit::Killed, // the supervisor is gone, and with it every lifeline
        }
    }

    /// Gives the server's first process a signal. Nothing happens if it has ended.
    pub fn signal(&self, signal: ServerSignal) {
        #[cfg(target_os = "linux")]
        // A full queue holds as many signals that PID 1 has not forwarded yet; one more changes nothing.
        let _ = crate::channel::send_signal(&self.control, signal as u8);
        #[cfg(not(target_os = "linux"))]
        let _ = signal;
    }

    /// Asks the server to end with [`ServerSignal::Terminate`], and ends every process inside if it
    /// still runs after `grace`. Waits until nothing of the sandbox is left.
    ///
    /// Many servers end by themselves when their standard input closes: drop [`SandboxStdin`] first.
    ///
    /// Not cancel safe: if the future is dropped, the server has its signal and nobody ends it by
    /// force, until the sandbox is dropped.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time: it is what waits for `grace`.
    pub async fn shutdown(&mut self, grace: Duration) -> Exit {
        self.signal(ServerSignal::Terminate);
        match tokio::time::timeout(grace, self.wait()).await {
            Ok(exit) => exit,
            Err(_) => self.kill().await,
        }
    }

    /// Ends every process inside and waits until nothing of the sandbox is left.
    ///
    /// Cancel safe: the end is certain from the first poll on.
    pub async fn kill(&mut self) -> Exit {
        self.lifeline.cut();
        self.wait().await
    }
}

/// The write end of the pipe that keeps a sandbox alive. Once every copy in this process is gone,
/// by [`Lifeline::cut`], by drop, or because the process died, PID 1 inside ends.
#[derive(Debug)]
pub(crate) struct Lifeline(Arc<Mutex<Option<Rope>>>);

/// The supervisor's handle to cut a lifeline it does not keep alive.
#[derive(Clone, Debug)]
pub(crate) struct Scissors(Arc<Mutex<Option<Rope>>>);

#[derive(Debug)]
struct Rope {
    _write_end: End,
    /// PID 1 shares its processor time with the server, and needs some to end.
    #[cfg(target_os = "linux")]
    group: Option<Arc<crate::cgroup::Cgroup>>,
}

impl Lifeline {
    #[cfg(target_os = "linux")]
    pub(crate) fn new(write_end: End, group: Option<Arc<crate::cgroup::Cgroup>>) -> Self {
        Self(Arc::new(Mutex::new(Some(Rope { _write_end: write_end, group }))))
    }

    pub(crate) fn scissors(&self) -> Scissors {
        Scissors(self.0.clone())
    }

    pub(crate) fn cut(&self) {
        self.scissors().cut();
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Scissors {
    pub(crate) fn cut(&self) {
        // The write end is closed at the end of this function, after the group has its time again.
        let _rope = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        #[cfg(target_os = "linux")]
        if let Some(group) = _rope.as_ref().and_then(|rope| rope.group.as_ref()) {
            group.unthrottle();
        }
    }
}
