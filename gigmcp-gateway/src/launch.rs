//! Starts the servers of a profile, and ends them.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gigmcp_egress::Identity;
use gigmcp_mcp::{
    BoxFuture, Call, CallError, ConnectError, Description, Era, Features, Launch, LaunchError, List, Outcome, Passing,
    Root, Roots, StdioLimits, StdioUpstream, Turns, Upstream,
};
use gigmcp_sandbox::{Event, Events, Exit, StderrLines};
use tokio::{
    sync::broadcast,
    time::{self, Instant},
};

use crate::{
    calls::Calls,
    egress::Entitlement,
    events,
    spec::{Owner, ProfileSlug, ServerName, ServerSpec, Source},
    store::{Profile, ServerRow, StoreError},
    supervisor::{Plan, Running, Supervisor},
    tripwires::{Told, Untold},
};

/// Starts one server of one profile when it is first needed.
///
/// It keeps what it started, so that a new aggregator of the same profile takes over the running server.
pub(crate) struct ServerLaunch {
    supervisor: Arc<Supervisor>,
    profile: ProfileSlug,
    owner: Owner,
    server: ServerName,
    revision: i64,
    start_timeout: Duration,
    running: Mutex<Option<Arc<Server>>>,
    /// Held by whoever starts it: the aggregator of before and the new one may both want to.
    starting: tokio::sync::Mutex<()>,
    /// The same server once more, for calls that may ask their client something.
    beside: Mutex<Vec<Weak<Server>>>,
    era: OnceLock<Era>,
    ended: AtomicBool,
}

impl ServerLaunch {
    /// Starts nothing yet.
    pub(crate) fn new(
        supervisor: Arc<Supervisor>,
        profile: &Profile,
        server: ServerName,
        revision: i64,
        start_timeout: Duration,
    ) -> Self {
        Self {
            supervisor,
            profile: profile.slug.clone(),
            owner: profile.owner.clone(),
            server,
            revision,
            start_timeout,
            running: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            beside: Mutex::default(),
            era: OnceLock::new(),
            ended: AtomicBool::new(false),
        }
    }

    /// The revision of the server that this starts.
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }
}

impl Launch for ServerLaunch {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async {
            let _starting = self.starting.lock().await;
            self.check_wanted()?;
            if let Some(server) = self.running() {
                return Ok(server as Arc<dyn Upstream>);
            }
            let server = Arc::new(self.start(self.spec().await?, Turns::Together).await?);
            *self.slot() = Some(Arc::clone(&server));
            // It may have been taken out of the profile while it started.
            self.check_wanted().inspect_err(|_| self.end())?;
            Ok(server as Arc<dyn Upstream>)
        })
    }

    fn launch_beside<'a>(&'a self) -> BoxFuture<'a, Result<Option<Arc<dyn Upstream>>, LaunchError>> {
        Box::pin(async {
            self.check_wanted()?;
            let spec = self.spec().await?;
            if spec.state.is_some() || spec.kept.is_some() {
                return Ok(None); // two processes would write to the same files
            }
            let server = Arc::new(self.start(spec, Turns::OneByOne).await?);
            let mut beside = self.beside();
            beside.retain(|server| server.strong_count() > 0);
            beside.push(Arc::downgrade(&server));
            drop(beside);
            self.check_wanted().inspect_err(|_| self.end())?;
            Ok(Some(server as Arc<dyn Upstream>))
        })
    }
}

impl ServerLaunch {
    fn check_wanted(&self) -> Result<(), LaunchError> {
        match self.ended.load(Ordering::SeqCst) {
            true => Err(changed()),
            false => Ok(()),
        }
    }

    fn running(&self) -> Option<Arc<Server>> {
        // A dead server is forgotten here, which ends what is left of its sandbox.
        self.slot().take_if(|server| !server.is_open());
        self.slot().clone()
    }

    /// Ends the server, and starts none from now on.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let beside = std::mem::take(&mut *self.beside());
        let beside = beside.iter().filter_map(Weak::upgrade);
        beside.chain(self.slot().take()).for_each(|server| server.end());
    }

    /// Lets the server end by itself for a while, and starts none from now on.
    pub(crate) async fn shut_down(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let beside = std::mem::take(&mut *self.beside());
        for server in beside.iter().filter_map(Weak::upgrade) {
            server.end(); // whoever waits for an answer there has gone
        }
        let server = self.slot().take();
        if let Some(server) = server {
            server.shut_down().await;
        }
    }

    fn beside(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Server>>> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Server>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn spec(&self) -> Result<ServerSpec, LaunchError> {
        let row = self.supervisor.host.store.server(self.server.clone()).await.map_err(|error| {
            LaunchError::new("start", "store-unavailable", "its declaration could not be read").caused_by(error)
        })?;
        if row.revision != self.revision {
            return Err(changed());
        }
        if let Source::Image(_) = row.spec.source {
            self.check_consented(&row).await?;
        }
        Ok(row.spec)
    }

    /// Starts the server as what it speaks. That is found out once, by the older era's first message; a process that was
    /// told it and does not know it is thrown away.
    async fn start(&self, spec: ServerSpec, turns: Turns) -> Result<Server, LaunchError> {
        let known = self.era.get().copied();
        let (found, server) = match self.start_as(spec.clone(), turns, known.unwrap_or(Era::Legacy)).await {
            Ok(server) => (known.unwrap_or(Era::Legacy), server),
            Err(error) if known.is_none() && matches!(error.code, "server-refused" | "server-version") => {
                let server = self.start_as(spec, turns, Era::Modern).await;
                (Era::Modern, server.map_err(|_| error)?)
            }
            Err(error) => return Err(error),
        };
        // Of two starts at the same time, either knows it.
        let _ = self.era.set(found);
        Ok(server)
    }

    async fn start_as(&self, spec: ServerSpec, turns: Turns, era: Era) -> Result<Server, LaunchError> {
        let mut features = features(&spec);
        features.turns = turns;
        let seconds = |said: Option<u64>, default| said.map_or(default, Duration::from_secs);
        let mut limits = StdioLimits::default();
        limits.initialize_timeout = seconds(spec.limits.start_seconds, self.start_timeout);
        limits.call_timeout = seconds(spec.limits.call_seconds, limits.call_timeout);
        let consented = matches!(spec.source, Source::Image(_)).then(|| Box::new(spec.clone()));
        let plan = Plan {
            owner: self.owner.clone(),
            server: self.server.clone(),
            spec,
            entitlement: Entitlement::Installed { profile: self.profile.clone(), revision: self.revision, consented },
            shapes: Vec::new(),
        };
        let mut running = self.supervisor.start(plan).await.map_err(|error| self.not_started(error))?;
        tokio::spawn(log_stderr(self.profile.clone(), self.server.clone(), running.sandbox.stderr_lines()));
        tokio::spawn(log_events(self.profile.clone(), self.server.clone(), running.sandbox.events()));
        let (stdin, stdout) = running.sandbox.stdio().map_err(|error| self.not_started(error))?;
        match StdioUpstream::connect_as(stdin, stdout, limits, features, era).await {
            Ok(upstream) => {
                let (events, calls) = (running.sandbox.events(), Arc::clone(&running.calls));
                let instance = running.identity.clone();
                Ok(Server { upstream, instance, calls, events, running: Mutex::new(Some(running)) })
            }
            Err(error) => Err(self.not_connected(error, running).await),
        }
    }

    /// Whether what stands in the database is what somebody agreed to: what came from an index was signed then.
    async fn check_consented(&self, row: &ServerRow) -> Result<(), LaunchError> {
        let checked = async {
            let policy = self.supervisor.host.store.policy(self.server.clone(), row.revision).await?;
            let trusted = self.supervisor.secrets.audit_keys().await?;
            let ours = policy.seal.as_ref().is_some_and(|seal| seal.is_of(&self.server, &policy.policy, &trusted));
            Ok::<_, StoreError>(ours && policy.spec(&self.server)? == row.spec)
        };
        match checked.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.not_started(NotConsented { server: self.server.clone() })),
            Err(error) => Err(self.not_started(error)),
        }
    }

    fn not_started(&self, error: impl Error + Send + Sync + 'static) -> LaunchError {
        tracing::error!(profile = %self.profile, server = %self.server, "not started: {}", chain(&error));
        LaunchError::new("start", "sandbox-not-started", "its sandbox did not start; the gateway's log says why")
            .caused_by(error)
    }

    /// Names the stage and, for the operator, the server's own last words.
    async fn not_connected(&self, error: ConnectError, mut running: Running) -> LaunchError {
        let ended = match error {
            // Its output ends a moment before its sandbox does, which knows why.
            ConnectError::Exited => time::timeout(END, running.sandbox.wait()).await.ok(),
            _ => None,
        };
        let said = running.sandbox.stderr_tail();
        tracing::error!(
            profile = %self.profile, server = %self.server,
            "not initialized: {}; its last lines on standard error: {said:?}", chain(&error)
        );
        let mut failed = LaunchError::from(error);
        if let Some((code, text)) = ended.and_then(events::to_client) {
            failed = LaunchError { code, detail: text.to_owned(), ..failed };
        }
        let last = said.iter().rev().take(LINES_TO_CLIENT).rev().cloned().collect::<Vec<_>>();
        let detail = match last.is_empty() {
            true => format!("{}; it wrote nothing on standard error", failed.detail),
            false => format!("{}; its last lines on standard error: {}", failed.detail, last.join(" | ")),
        };
        LaunchError { detail, ..failed }
    }
}

/// Nobody agreed to what stands in the database.
#[derive(Debug, thiserror::Error)]
#[error(
    "what the database says of {server} is not what was agreed to when it was installed, or that was signed with another master key; install it again with `gigmcp-gateway server install {server}`"
)]
struct NotConsented {
    server: ServerName,
}

/// Shows the operator what a server says beside the protocol. The lines are bounded and hold no control characters.
async fn log_stderr(profile: ProfileSlug, server: ServerName, mut lines: StderrLines) {
    while let Some(line) = lines.next().await {
        tracing::debug!(%profile, %server, "stderr: {line}");
    }
}

/// Tells the operator what a server's sandbox refused, what it ran out of, and how it ended.
async fn log_events(profile: ProfileSlug, server: ServerName, mut happening: Events) {
    let mut untold = Untold::default();
    let tell = |(call, pid, count): Told| {
        let what = events::what(&Event::Tripwire { call, pid, count });
        tracing::warn!(%profile, %server, call, pid, count, "{what}");
    };
    loop {
        let due = untold.next();
        let happened = tokio::select! {
            happened = happening.next() => happened,
            () = time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                untold.due(Instant::now()).into_iter().for_each(tell);
                continue;
            }
        };
        let Some(event) = happened else { return };
        let what = events::what(&event);
        if let Event::Ended(_) = event {
            // Nothing comes after it.
            std::mem::take(&mut untold).rest().for_each(tell);
        }
        match event {
            Event::Tripwire { call, pid, count } => {
                untold.add((call, pid, count), Instant::now()).into_iter().for_each(tell);
            }
            Event::OomKill { count } | Event::PidsExhausted { count } | Event::Lost { count } => {
                tracing::warn!(%profile, %server, count, "{what}");
            }
            Event::Ended(Exit::Exited(0) | Exit::Killed) => tracing::info!(%profile, %server, "{what}"),
            _ => tracing::warn!(%profile, %server, "{what}"),
        }
    }
}

/// A running server: its messages, and its life.
struct Server {
    upstream: StdioUpstream,
    instance: Identity,
    calls: Arc<Calls>,
    events: Events,
    /// Dropping it ends the processes and their connections.
    running: Mutex<Option<Running>>,
}

impl Server {
    /// Ends the server although calls may be under way; they fail as they do when a server dies.
    fn end(&self) {
        drop(self.take());
    }

    /// Asks the server to end, and makes it after a while.
    async fn shut_down(&self) {
        let running = self.take();
        if let Some(mut running) = running {
            running.sandbox.shutdown(GRACE).await;
            running.close().await;
        }
    }

    fn take(&self) -> Option<Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Why its output has ended, where that was the sandbox's doing.
    async fn why(&self) -> CallError {
        let mut happening = self.events.clone();
        let exit = async {
            loop {
                match happening.next().await {
                    Some(Event::Ended(exit)) => return Some(exit),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        // Its output ends a moment before its sandbox does, which knows why.
        let exit = time::timeout(END, exit).await.ok().flatten();
        let reason = exit.and_then(events::to_client);
        reason.map_or(CallError::Exited, |(code, detail)| CallError::Ended { code, detail })
    }
}

impl Upstream for Server {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let _under_way = call.id.map(|id| self.calls.begin(id));
            match self.upstream.call(call).await {
                Outcome::Failed(CallError::Exited) => Outcome::Failed(self.why().await),
                outcome => outcome,
            }
        })
    }

    fn is_open(&self) -> bool {
        self.upstream.is_open()
    }

    fn instance(&self) -> Option<&str> {
        Some(self.instance.as_str())
    }

    fn is_occupied(&self) -> bool {
        self.upstream.is_occupied()
    }

    fn describe<'a>(&'a self) -> BoxFuture<'a, Description> {
        self.upstream.describe()
    }

    fn revision(&self, list: List) -> u64 {
        self.upstream.revision(list)
    }

    fn events(&self) -> Option<broadcast::Receiver<gigmcp_mcp::Event>> {
        self.upstream.events()
    }
}

/// What a server may ask of clients. People can be asked, as they see who asks. Sampling spends the user's tokens, and a path
/// on a client's disk means nothing in a sandbox, so these are forwarded only if the operator said so.
fn features(spec: &ServerSpec) -> Features {
    let mut features = Features::default();
    features.elicitation = Passing::Forward;
    if spec.asks.sampling {
        features.sampling = Passing::Forward;
    }
    let state = spec.state.iter().map(|_| PathBuf::from("/state"));
    let kept = state.chain(spec.kept.iter().map(|kept| kept.path.clone()));
    features.roots = match spec.asks.roots {
        true => Roots::Forward,
        false => Roots::Answer(kept.map(|path| root(&path)).collect()),
    };
    features
}

/// A directory that outlives the server.
fn root(path: &Path) -> Root {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Root { uri: format!("file://{}", path.display()), name }
}

fn changed() -> LaunchError {
    LaunchError::new("start", "server-changed", "it was changed; call again")
}

/// An error and its causes on one line, for the operator.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// How long a sandbox may take to end after the output of its server did.
const END: Duration = Duration::from_secs(5);
/// How long a server may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(2);
/// How many of a server's last lines a client is shown when it does not start.
const LINES_TO_CLIENT: usize = 5;
