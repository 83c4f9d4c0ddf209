//! Starting one process of a server, as what it speaks.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use gigmcp_mcp::{ConnectError, Era, Features, LaunchError, Passing, Root, Roots, StdioLimits, StdioUpstream, Turns};
use tokio::time::{self, Instant};

use super::{
    END, Terms, era,
    places::{Place, Wants},
    server::{Found, Server},
    told::{Unused, log_events, log_stderr},
    uses::Uses,
};
use crate::{
    egress::Entitlement,
    events,
    output::whole,
    spec::{Owner, ProfileSlug, ServerName, ServerSpec, Source},
    store::{Edition, Program, ServerRow, StoreError},
    supervisor::{Plan, Running, Supervisor},
};

/// What starts processes of one server of one profile.
pub(super) struct Starter {
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) profile: ProfileSlug,
    pub(super) owner: Owner,
    pub(super) server: ServerName,
    pub(super) edition: Edition,
    pub(super) start_timeout: Duration,
    pub(super) terms: Arc<Terms>,
}

impl Starter {
    /// Whose place a process of it takes.
    pub(super) fn wants(&self) -> Wants {
        let of_profile = self.terms.of_profile();
        Wants { owner: self.owner.clone(), profile: self.profile.clone(), of_profile }
    }

    /// What the server is now, if it still is of the revision that this starts.
    pub(super) async fn spec(&self) -> Result<ServerSpec, LaunchError> {
        let row = self.supervisor.host.store.server(self.server.clone()).await.map_err(|error| {
            LaunchError::new("start", "store-unavailable", "its declaration could not be read").caused_by(error)
        })?;
        if row.revision != self.edition.revision {
            return Err(super::changed());
        }
        if let Source::Image(_) = row.spec.source {
            self.check_consented(&row).await?;
        }
        Ok(row.spec)
    }

    /// Starts a process as what it speaks. A process that was told something else and does not know it is thrown away, and the
    /// other is tried once.
    pub(super) async fn start(
        self: &Arc<Self>,
        spec: ServerSpec,
        turns: Turns,
        place: Place,
    ) -> Result<Arc<Server>, LaunchError> {
        let known = self.program(&spec).await;
        let turns = if known.interactive { Turns::OneByOne } else { turns };
        let (first, unused) = (known.era.unwrap_or(Era::Legacy), Unused::default());
        let began = Instant::now();
        let (era, started) = match self.start_as(&spec, (turns, first), &unused).await {
            Err(error) if may_speak_otherwise(&error) => {
                let other = match first {
                    Era::Legacy => Era::Modern,
                    Era::Modern => Era::Legacy,
                };
                // What it had to say to what it should know is what helps.
                (other, self.start_as(&spec, (turns, other), &unused).await.map_err(|_| error))
            }
            started => (first, started),
        };
        let (upstream, running) = started?;
        if known.era.is_none() && era == Era::Legacy {
            // It may know both, and then the newer one is better.
            let limit = era::OTHER_ERA + 3 * began.elapsed();
            if let Ok(place) = place.places().free(&self.wants()) {
                tokio::spawn(Arc::clone(self).find_out_later(spec.clone(), limit, place));
            }
        } else if known.era != Some(era) {
            self.found(&spec, era).await;
        }
        let found = Found {
            store: self.supervisor.host.store.clone(),
            program: spec.program(),
            interactive: AtomicBool::new(known.interactive),
        };
        let server = Server {
            name: self.server.clone(),
            upstream,
            instance: running.identity.clone(),
            calls: Arc::clone(&running.calls),
            events: running.sandbox.events(),
            uses: Uses::of(Arc::clone(place.places())),
            terms: Arc::clone(&self.terms),
            found,
            unused,
            running: Mutex::new(Some((running, place))),
        };
        Ok(server.settle())
    }

    /// What is known of what it runs. That it cannot be read costs time, and nothing else.
    async fn program(&self, spec: &ServerSpec) -> Program {
        let known = self.supervisor.host.store.program(self.server.clone(), spec.program()).await;
        known.unwrap_or_else(|error| {
            tracing::warn!(server = %self.server, "what it speaks is not known: {}", whole(&error));
            Program::default()
        })
    }

    async fn found(&self, spec: &ServerSpec, era: Era) {
        era::keep(&self.supervisor.host.store, &self.server, spec, era).await;
    }

    /// Whether a program that speaks the older era speaks the newer one too: asked of a process that is thrown away.
    async fn find_out_later(self: Arc<Self>, spec: ServerSpec, limit: Duration, _place: Place) {
        match era::speaks(&self.supervisor, &self.owner, &self.server, &spec, Era::Modern, limit).await {
            Ok(true) => self.found(&spec, Era::Modern).await,
            Ok(false) => self.found(&spec, Era::Legacy).await,
            // The next start tries again.
            Err(error) => tracing::debug!(server = %self.server, "what it speaks was not found out: {}", chain(&error)),
        }
    }

    async fn start_as(
        &self,
        spec: &ServerSpec,
        (turns, era): (Turns, Era),
        unused: &Unused,
    ) -> Result<(StdioUpstream, Running), LaunchError> {
        let mut features = features(spec);
        features.turns = turns;
        let seconds = |said: Option<u64>, default| said.map_or(default, Duration::from_secs);
        let mut limits = StdioLimits::default();
        limits.initialize_timeout = seconds(spec.limits.start_seconds, self.start_timeout);
        limits.call_timeout = seconds(spec.limits.call_seconds, limits.call_timeout);
        let consented = matches!(spec.source, Source::Image(_)).then(|| Box::new(spec.clone()));
        let plan = Plan {
            owner: self.owner.clone(),
            server: self.server.clone(),
            spec: spec.clone(),
            entitlement: Entitlement::Installed { profile: self.profile.clone(), edition: self.edition, consented },
            epoch: self.edition.epoch,
            shapes: Vec::new(),
        };
        let sandboxed = time::timeout(SANDBOX, self.supervisor.start(plan)).await.map_err(|_| {
            LaunchError::new(
                "start",
                "server-timeout",
                format!("its sandbox did not stand within {} s", SANDBOX.as_secs()),
            )
        })?;
        let mut running = sandboxed.map_err(|error| self.not_started(error))?;
        let (lines, redactor) = (running.sandbox.stderr_lines(), running.redactor.clone());
        tokio::spawn(log_stderr(self.profile.clone(), self.server.clone(), lines, redactor));
        let whose = (self.profile.clone(), self.server.clone(), running.identity.clone());
        tokio::spawn(log_events(whose, running.sandbox.events(), unused.clone()));
        let (stdin, stdout) = running.sandbox.stdio().map_err(|error| self.not_started(error))?;
        match StdioUpstream::connect_as(stdin, stdout, limits, features, era).await {
            Ok(upstream) => Ok((upstream, running)),
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

    /// Names the stage and, for the operator, the server's own last words. Nothing is left of the process afterwards.
    async fn not_connected(&self, error: ConnectError, mut running: Running) -> LaunchError {
        let ended = match error {
            // Its output ends a moment before its sandbox does, which knows why.
            ConnectError::Exited => time::timeout(END, running.sandbox.wait()).await.ok(),
            _ => None,
        };
        let redactor = running.redactor.clone();
        let said: Vec<String> = running.sandbox.stderr_tail().iter().map(|line| redactor.line(line)).collect();
        running.close().await;
        tracing::error!(
            profile = %self.profile, server = %self.server,
            "not initialized: {}; its last lines on standard error: {said:?}", redactor.line(&chain(&error))
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

/// Whether a process ended or answered nonsense, as one does that is told what it does not know. One that says nothing at all
/// is given no second chance: that would take twice the time.
fn may_speak_otherwise(error: &LaunchError) -> bool {
    matches!(error.code, "server-refused" | "server-version" | "server-protocol" | "server-exited")
}

/// Nobody agreed to what stands in the database.
#[derive(Debug, thiserror::Error)]
#[error(
    "what the database says of {server} is not what was agreed to when it was installed, or that was signed with another master key; install it again with `gigmcp-gateway server install {server}`"
)]
struct NotConsented {
    server: ServerName,
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

/// How many of a server's last lines a client is shown when it does not start.
const LINES_TO_CLIENT: usize = 5;
/// How long a sandbox may take until it stands; the files of its image are read meanwhile.
const SANDBOX: Duration = Duration::from_secs(90);
/// How long a start may take in all: one process for each era, with the most that a server may be given for its first answer,
/// and the end of the first one.
pub(crate) const LONGEST_START: Duration = Duration::from_secs(2 * (600 + SANDBOX.as_secs() + 30));
