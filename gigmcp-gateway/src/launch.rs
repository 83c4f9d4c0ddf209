//! Starts the servers of a profile, and ends them.

use std::{
    error::Error,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gigmcp_egress::Identity;
use gigmcp_mcp::{
    BoxFuture, Call, CallError, ConnectError, Launch, LaunchError, Outcome, StdioLimits, StdioUpstream, Upstream,
};
use gigmcp_sandbox::{Event, Events, Exit, StderrLines};
use tokio::time::{self, Instant};

use crate::{
    calls::Calls,
    egress::Entitlement,
    events,
    spec::{Owner, ProfileSlug, ServerName, Source},
    store::{Profile, ServerRow, StoreError},
    supervisor::{Plan, Running, Supervisor},
    tools::Offered,
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
            self.check_wanted()?;
            if let Some(server) = self.running() {
                return Ok(server as Arc<dyn Upstream>);
            }
            let server = Arc::new(self.start().await?);
            *self.slot() = Some(Arc::clone(&server));
            // It may have been taken out of the profile while it started.
            self.check_wanted().inspect_err(|_| self.end())?;
            Ok(server as Arc<dyn Upstream>)
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
        if let Some(server) = self.slot().take() {
            server.end();
        }
    }

    /// Lets the server end by itself for a while, and starts none from now on.
    pub(crate) async fn shut_down(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let server = self.slot().take();
        if let Some(server) = server {
            server.shut_down().await;
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Server>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self) -> Result<Server, LaunchError> {
        let row = self.supervisor.host.store.server(self.server.clone()).await.map_err(|error| {
            LaunchError::new("start", "store-unavailable", "its declaration could not be read").caused_by(error)
        })?;
        if row.revision != self.revision {
            return Err(changed());
        }
        let consented = match row.spec.source {
            Source::Image(_) => {
                self.check_consented(&row).await?;
                Some(Box::new(row.spec.clone()))
            }
            Source::Binary { .. } | Source::HostTools => None,
        };
        let seconds = |said: Option<u64>, default| said.map_or(default, Duration::from_secs);
        let mut limits = StdioLimits::default();
        limits.initialize_timeout = seconds(row.spec.limits.start_seconds, self.start_timeout);
        limits.call_timeout = seconds(row.spec.limits.call_seconds, limits.call_timeout);
        let offered = Offered::new(row.spec.tools.clone());
        let plan = Plan {
            owner: self.owner.clone(),
            server: self.server.clone(),
            spec: row.spec,
            entitlement: Entitlement::Installed { profile: self.profile.clone(), revision: self.revision, consented },
            shapes: Vec::new(),
        };
        let mut running = self.supervisor.start(plan).await.map_err(|error| self.not_started(error))?;
        tokio::spawn(log_stderr(self.profile.clone(), self.server.clone(), running.sandbox.stderr_lines()));
        tokio::spawn(log_events(self.profile.clone(), self.server.clone(), running.sandbox.events()));
        let (stdin, stdout) = running.sandbox.stdio().map_err(|error| self.not_started(error))?;
        match StdioUpstream::connect(stdin, stdout, limits).await {
            Ok(upstream) => {
                let (events, calls) = (running.sandbox.events(), Arc::clone(&running.calls));
                let instance = running.identity.clone();
                let name = self.server.clone();
                Ok(Server { name, upstream, offered, instance, calls, events, running: Mutex::new(Some(running)) })
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
    name: ServerName,
    upstream: StdioUpstream,
    offered: Offered,
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
            let is_list = *call.method == *"tools/list";
            match self.upstream.call(call).await {
                Outcome::Failed(CallError::Exited) => Outcome::Failed(self.why().await),
                outcome if is_list => {
                    let (outcome, hidden) = self.offered.only(outcome);
                    if hidden > 0 {
                        let server = &self.name;
                        tracing::warn!(%server, "{hidden} of its tools are not offered: its manifest has none such");
                    }
                    outcome
                }
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

    fn tools_revision(&self) -> u64 {
        self.upstream.tools_revision()
    }
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
