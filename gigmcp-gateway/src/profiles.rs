//! The aggregators of the profiles, each kept as long as its servers stay what they are.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use gigmcp_mcp::{
    Aggregator, Backend, BoxFuture, Call, CallObserver, CallRecord, CallVerdict, ConnectError, Launch, LaunchError,
    Outcome, ServerId, StdioLimits, StdioUpstream, Upstream,
};

use gigmcp_sandbox::StderrLines;

use crate::{
    egress::Entitlement,
    spec::{Owner, ProfileSlug, ServerName},
    store::{AuditRow, Profile, Store, StoreError, TokenOwner},
    supervisor::{Plan, Running, StartError, Supervisor},
};

/// The aggregators of all profiles that were called.
pub(crate) struct Profiles {
    supervisor: Arc<Supervisor>,
    start_timeout: Duration,
    entries: Mutex<HashMap<ProfileSlug, Entry>>,
}

/// One profile's aggregator and what it was made from.
struct Entry {
    id: i64,
    servers: BTreeMap<ServerName, Arc<ServerLaunch>>,
    aggregator: Arc<Aggregator>,
}

impl Profiles {
    pub(crate) fn new(supervisor: Arc<Supervisor>, start_timeout: Duration) -> Self {
        Self { supervisor, start_timeout, entries: Mutex::default() }
    }

    /// What a token opens.
    pub(crate) async fn token_owner(&self, token_hash: String) -> Result<Option<TokenOwner>, StoreError> {
        self.store().token_owner(token_hash).await
    }

    /// The profile's aggregator. The database is read at every call, so a change takes effect at the next one;
    /// servers that did not change keep running.
    pub(crate) async fn aggregator(&self, slug: &ProfileSlug) -> Result<Arc<Aggregator>, StoreError> {
        let profile = match self.store().profile(slug.clone()).await {
            Err(error @ StoreError::Missing { .. }) => {
                if let Some(entry) = self.entries().remove(slug) {
                    entry.end_all_but(&BTreeMap::new());
                }
                return Err(error);
            }
            profile => profile?,
        };
        let mut entries = self.entries();
        let before = entries.get(slug).filter(|entry| entry.id == profile.id);
        if let Some(entry) = before.filter(|entry| entry.matches(&profile)) {
            return Ok(Arc::clone(&entry.aggregator));
        }
        let entry = self.entry(&profile, before);
        let aggregator = Arc::clone(&entry.aggregator);
        let kept = entry.servers.clone();
        if let Some(replaced) = entries.insert(slug.clone(), entry) {
            replaced.end_all_but(&kept);
        }
        Ok(aggregator)
    }

    /// Ends, every few seconds, the servers of profiles that changed, so that a revocation does not wait for a call.
    pub(crate) async fn follow_changes(&self) {
        let mut clock = tokio::time::interval(REVOCATION_DELAY);
        loop {
            clock.tick().await;
            let slugs: Vec<ProfileSlug> = self.entries().keys().cloned().collect();
            for slug in slugs {
                match self.aggregator(&slug).await {
                    Ok(_) | Err(StoreError::Missing { .. }) => {}
                    Err(error) => tracing::error!("profile {slug}: {error}"),
                }
            }
        }
    }

    /// Ends every server.
    pub(crate) fn stop(&self) {
        for (_, entry) in self.entries().drain() {
            entry.end_all_but(&BTreeMap::new());
        }
    }

    fn entry(&self, profile: &Profile, before: Option<&Entry>) -> Entry {
        let servers: BTreeMap<_, _> = profile
            .servers
            .iter()
            .map(|(name, revision)| {
                let kept = before.and_then(|entry| entry.servers.get(name)).filter(|kept| kept.revision == *revision);
                let launch = kept.map_or_else(|| Arc::new(self.launch(profile, name, *revision)), Arc::clone);
                (name.clone(), launch)
            })
            .collect();
        let backends = servers
            .iter()
            .map(|(name, launch)| Backend { name: server_id(name), launch: Arc::<ServerLaunch>::clone(launch) });
        let aggregator = Aggregator::new(backends.collect()).expect("a map has no name twice");
        let audit =
            ToolAudit { store: self.store().clone(), owner: profile.owner.clone(), profile: profile.slug.clone() };
        Entry { id: profile.id, servers, aggregator: Arc::new(aggregator.observed_by(Arc::new(audit))) }
    }

    fn launch(&self, profile: &Profile, name: &ServerName, revision: i64) -> ServerLaunch {
        ServerLaunch {
            supervisor: Arc::clone(&self.supervisor),
            profile: profile.slug.clone(),
            owner: profile.owner.clone(),
            server: name.clone(),
            revision,
            start_timeout: self.start_timeout,
            running: Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    fn store(&self) -> &Store {
        &self.supervisor.host.store
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<ProfileSlug, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Ends the servers that are not among `kept`, calls under way included.
    fn end_all_but(&self, kept: &BTreeMap<ServerName, Arc<ServerLaunch>>) {
        for (name, launch) in &self.servers {
            if !kept.get(name).is_some_and(|kept| Arc::ptr_eq(kept, launch)) {
                launch.end();
            }
        }
    }

    fn matches(&self, profile: &Profile) -> bool {
        let same = |(name, revision): &(ServerName, i64)| {
            self.servers.get(name).is_some_and(|launch| launch.revision == *revision)
        };
        self.servers.len() == profile.servers.len() && profile.servers.iter().all(same)
    }
}

fn server_id(name: &ServerName) -> ServerId {
    name.as_str().parse().expect("a server name is a prefix of tool names")
}

/// Starts one server of one profile when it is first needed.
///
/// It keeps what it started, so that a new aggregator of the same profile takes over the running server.
struct ServerLaunch {
    supervisor: Arc<Supervisor>,
    profile: ProfileSlug,
    owner: Owner,
    server: ServerName,
    revision: i64,
    start_timeout: Duration,
    running: Mutex<Option<Arc<Server>>>,
    ended: AtomicBool,
}

impl Launch for ServerLaunch {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async {
            if let Some(server) = self.running() {
                return Ok(server as Arc<dyn Upstream>);
            }
            let server = Arc::new(self.start().await?);
            *self.slot() = Some(Arc::clone(&server));
            if self.ended.load(Ordering::SeqCst) {
                self.end(); // it was taken out of the profile while it started
            }
            Ok(server as Arc<dyn Upstream>)
        })
    }
}

impl ServerLaunch {
    fn running(&self) -> Option<Arc<Server>> {
        // A dead server is forgotten here, which ends what is left of its sandbox.
        self.slot().take_if(|server| !server.is_open());
        self.slot().clone()
    }

    /// Ends the server, and starts none from now on.
    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(server) = self.slot().take() {
            server.end();
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
            return Err(LaunchError::new("start", "server-changed", "it was changed; call again"));
        }
        let plan = Plan {
            owner: self.owner.clone(),
            server: self.server.clone(),
            spec: row.spec,
            entitlement: Entitlement::Installed { profile: self.profile.clone(), revision: self.revision },
            shapes: Vec::new(),
        };
        let mut running = self.supervisor.start(plan).await.map_err(|error| self.not_started(error))?;
        tokio::spawn(log_stderr(self.profile.clone(), self.server.clone(), running.sandbox.stderr_lines()));
        let (stdin, stdout) = running.sandbox.stdio().expect("a new sandbox has its pipes");
        let limits = StdioLimits { initialize_timeout: self.start_timeout, ..StdioLimits::default() };
        match StdioUpstream::connect(stdin, stdout, limits).await {
            Ok(upstream) => Ok(Server { upstream, running: Mutex::new(Some(running)) }),
            Err(error) => Err(self.not_connected(error, &running)),
        }
    }

    fn not_started(&self, error: StartError) -> LaunchError {
        tracing::error!(profile = %self.profile, server = %self.server, "not started: {}", chain(&error));
        LaunchError::new("start", "sandbox-not-started", "its sandbox did not start; the gateway's log says why")
            .caused_by(error)
    }

    /// Names the stage and, for the operator, the server's own last words.
    fn not_connected(&self, error: ConnectError, running: &Running) -> LaunchError {
        let said = running.sandbox.stderr_tail();
        tracing::error!(
            profile = %self.profile, server = %self.server,
            "not initialized: {}; its last lines on standard error: {said:?}", chain(&error)
        );
        let failed = LaunchError::from(error);
        let last = said.iter().rev().take(LINES_TO_CLIENT).rev().cloned().collect::<Vec<_>>();
        let detail = match last.is_empty() {
            true => format!("{}; it wrote nothing on standard error", failed.detail),
            false => format!("{}; its last lines on standard error: {}", failed.detail, last.join(" | ")),
        };
        LaunchError { detail, ..failed }
    }
}

/// Shows the operator what a server says beside the protocol. The lines are bounded and hold no control characters.
async fn log_stderr(profile: ProfileSlug, server: ServerName, mut lines: StderrLines) {
    while let Some(line) = lines.next().await {
        tracing::debug!(%profile, %server, "stderr: {line}");
    }
}

/// A running server: its messages, and its life.
struct Server {
    upstream: StdioUpstream,
    /// Dropping it ends the processes and their connections.
    running: Mutex<Option<Running>>,
}

impl Server {
    /// Ends the server although calls may be under way; they fail as they do when a server dies.
    fn end(&self) {
        drop(self.running.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Upstream for Server {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        self.upstream.call(call)
    }

    fn is_open(&self) -> bool {
        self.upstream.is_open()
    }

    fn tools_revision(&self) -> u64 {
        self.upstream.tools_revision()
    }
}

/// Writes one audit row a tool call.
struct ToolAudit {
    store: Store,
    owner: Owner,
    profile: ProfileSlug,
}

impl CallObserver for ToolAudit {
    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()> {
        Box::pin(async {
            // The tool has run; refusing the answer now would not undo it.
            if let Err(error) = self.store.add_audit(self.row(record)).await {
                tracing::error!("a call of {} could not be audited: {error}", record.exposed);
            }
        })
    }
}

impl ToolAudit {
    fn row(&self, record: &CallRecord) -> AuditRow {
        let verdict = match &record.verdict {
            CallVerdict::Ok => "allowed".to_owned(),
            CallVerdict::ToolError => "tool-error".to_owned(),
            CallVerdict::Error { code } => code.map_or_else(|| "error".to_owned(), |code| format!("error{code}")),
            CallVerdict::Failed { code } => (*code).to_owned(),
            _ => "unknown".to_owned(),
        };
        let bytes = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let began = record.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        AuditRow {
            at_ms: i64::try_from(began.as_millis()).unwrap_or(i64::MAX),
            kind: "tool".to_owned(),
            owner: self.owner.to_string(),
            profile: self.profile.to_string(),
            server: record.server.as_ref().map(ToString::to_string).unwrap_or_default(),
            instance: String::new(),
            subject: record.exposed.escape_default().to_string(),
            verdict,
            status: None,
            credentials: String::new(),
            bytes_up: bytes(record.request_bytes),
            bytes_down: bytes(record.response_bytes),
            duration_us: i64::try_from(record.duration.as_micros()).unwrap_or(i64::MAX),
            alarm: false,
        }
    }
}

/// An error and its causes on one line, for the operator.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// How long a server that was taken out of a profile may go on without being called.
const REVOCATION_DELAY: Duration = Duration::from_secs(2);
/// How many of a server's last lines a client is shown when it does not start.
const LINES_TO_CLIENT: usize = 5;
