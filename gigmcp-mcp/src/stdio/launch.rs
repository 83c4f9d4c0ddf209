//! Servers that are started by opening a pair of pipes.

use std::{future::Future, io, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OnceCell,
};

use super::{StdioLimits, StdioUpstream};
use crate::{
    sink::{Features, Turns},
    upstream::{BoxFuture, Launch, LaunchError, Upstream},
    version::Era,
};

/// Starts a server by whatever gives what it writes and what it reads: a child process, a container, a socket.
///
/// A server ends with its pipes: dropping both must end it.
#[derive(Debug)]
pub struct StdioLaunch<F> {
    open: F,
    limits: StdioLimits,
    features: Features,
    beside: Beside,
    era: OnceCell<Era>,
}

/// Whether the same server may run more than once at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Beside {
    Itself,
    Nothing,
}

impl<F> StdioLaunch<F> {
    /// A server behind the pipes that `open` opens: its output, then its input. It is called for every start.
    pub fn new(open: F) -> Self {
        let (limits, features) = (StdioLimits::default(), Features::default());
        Self { open, limits, features, beside: Beside::Nothing, era: OnceCell::new() }
    }

    /// Other bounds than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: StdioLimits) -> Self {
        self.limits = limits;
        self
    }

    /// What the server may ask of clients; nothing by default.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    /// Lets the server be started beside itself while it asks a client something, so that others need not wait. Not for one
    /// that would write to the same files.
    #[must_use]
    pub fn may_run_beside_itself(mut self) -> Self {
        self.beside = Beside::Itself;
        self
    }
}

impl<F, P, R, W> StdioLaunch<F>
where
    F: Fn() -> P + Send + Sync + 'static,
    P: Future<Output = io::Result<(R, W)>> + Send + 'static,
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    /// Starts the server as what it speaks. That is found out once, by the older era's first message; a server that was told it
    /// and does not know it is thrown away.
    async fn start(&self, turns: Turns) -> Result<Arc<dyn Upstream>, LaunchError> {
        let known = self.era.get().copied();
        let (era, upstream) = match self.start_as(known.unwrap_or(Era::Legacy), turns).await {
            Ok(upstream) => (known.unwrap_or(Era::Legacy), upstream),
            Err(error) if known.is_none() && matches!(error.code, "server-refused" | "server-version") => {
                (Era::Modern, self.start_as(Era::Modern, turns).await.map_err(|_| error)?)
            }
            Err(error) => return Err(error),
        };
        // Of two starts at the same time, either knows it.
        let _ = self.era.set(era);
        Ok(Arc::new(upstream))
    }

    async fn start_as(&self, era: Era, turns: Turns) -> Result<StdioUpstream, LaunchError> {
        let opened = (self.open)().await;
        let (stdout, stdin) = opened
            .map_err(|error| LaunchError::new("start", "server-not-started", "it did not start").caused_by(error))?;
        let mut features = self.features.clone();
        features.turns = turns;
        Ok(StdioUpstream::connect_as(stdin, stdout, self.limits, features, era).await?)
    }
}

impl<F, P, R, W> Launch for StdioLaunch<F>
where
    F: Fn() -> P + Send + Sync + 'static,
    P: Future<Output = io::Result<(R, W)>> + Send + 'static,
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(self.start(Turns::Together))
    }

    fn launch_beside<'a>(&'a self) -> BoxFuture<'a, Result<Option<Arc<dyn Upstream>>, LaunchError>> {
        Box::pin(async {
            match self.beside {
                Beside::Itself => self.start(Turns::OneByOne).await.map(Some),
                Beside::Nothing => Ok(None),
            }
        })
    }
}
