//! `serve`: checks the host, opens what is needed, listens, drains.

use std::{
    collections::HashMap,
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use gigmcp_egress::{CredentialId, EgressProxy, Limits, SecretString};
use gigmcp_sandbox::host_report;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};

use crate::{
    api::State,
    doctor,
    egress::{Instances, Policy},
    endpoint::{Endpoint, Transitional},
    front::{Follower, Front, Intake, Tls},
    host::Host,
    output::{Failure, whole},
    people::{Actor, Kind, People, done},
    secrets::Secrets,
    settings::{FrontSettings, Settings},
    spec::{Owner, ProfileSlug},
    store::{AuditRow, Store, StoreError, now_millis},
    supervisor::Supervisor,
    token,
    trail::{self, Custody},
    welcome,
};

/// Serves until a signal says to stop.
pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    check_host().await?;
    let host = Host::open(&settings)?;
    let server = Server::open(&settings, host).await?;
    // Nobody could sign in with the password that it is for.
    if server.state.local_login {
        print_setup_code(&server.state.people, &server.origin(&settings)).await;
    }
    tracing::info!("listening on {}", server.url());
    server.run().await
}

/// On standard output, for whoever starts it: logs are kept, and read by others.
async fn print_setup_code(people: &People, origin: &str) {
    match people.setup_code().await {
        Ok(None) => {}
        Ok(Some(code)) => {
            let told = writeln!(
                io::stdout(),
                "there is no administrator yet; for a day, this link makes you one, once:\n  {}\n  or, without a browser, this code: {}\n  `gigmcp-gateway user accept --email YOU@EXAMPLE.COM` reads it, and a password on the next line",
                welcome::link(origin, code.expose()),
                code.expose()
            );
            if let Err(error) = told {
                tracing::warn!("the code of the first administrator could not be printed: {error}");
            }
        }
        // Clients are served all the same.
        Err(error) => tracing::warn!("there is no administrator, and no code for one could be made: {}", whole(&error)),
    }
}

/// A gateway that holds its port but does not answer yet.
pub(crate) struct Server {
    intake: Intake,
    pub(crate) address: SocketAddr,
    endpoint: Arc<Endpoint>,
    front: Arc<Front<Endpoint>>,
    tls: Option<Arc<Tls>>,
    settings: FrontSettings,
    state: Arc<State>,
    custody: Custody,
}

impl Server {
    /// Joins the parts and takes the port.
    pub(crate) async fn open(settings: &Settings, host: Host) -> Result<Self, Failure> {
        let (supervisor, custody) = supervisor(settings, host, HashMap::new()).await?;
        let supervisor = Arc::new(supervisor);
        supervisor.secrets.check_key().await?;
        let transitional = transitional(settings, &supervisor).await?;
        let state = Arc::new(State::new(supervisor, settings));
        let front = &settings.front;
        let tls = front.tls_files().map(|files| Tls::open(files, Arc::clone(&state.http))).transpose()?.map(Arc::new);
        let listener = listen(settings.listen).await?;
        let intake = Intake::new(listener, &front.limits(), front.proxies(), Arc::clone(&state.http));
        let address = intake.local_addr()?;
        let endpoint = Arc::new(Endpoint::new(Arc::clone(&state), transitional, address, settings));
        let stats = Arc::clone(&state.http);
        let behind = Arc::clone(&endpoint);
        let traces = state.supervisor().traces.clone();
        let front = Front::new(behind, tls.clone(), front.proxies(), front.limits(), stats).traced(traces);
        Ok(Self {
            intake,
            address,
            endpoint,
            front: Arc::new(front),
            tls,
            settings: settings.front.clone(),
            state,
            custody,
        })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Where browsers reach it, as far as was said.
    fn origin(&self, settings: &Settings) -> String {
        match &settings.public_url {
            Some(url) => url.origin().to_owned(),
            None if self.address.ip().is_unspecified() => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://127.0.0.1:{}", self.address.port())
            }
            None => self.url(),
        }
    }

    /// Answers until a signal says to stop, then lets calls in flight end and stops every server.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut stop = Stop::listen()?;
        let mut connections = JoinSet::new();
        let (leaving, left) = tokio::sync::watch::channel(());
        let mut beside = JoinSet::new();
        beside.spawn(follow_changes(Arc::clone(&self.endpoint)));
        beside.spawn(follow_files(self.tls.clone(), signal(SignalKind::hangup())?, self.state.store().clone()));
        self.take_until(stop.asked(), &mut connections, &left).await;
        // Whoever asks is sent elsewhere from now on; whoever comes all the same is served as long as that may take.
        self.endpoint.leave();
        let delay = self.settings.drain_delay;
        if !delay.is_zero() {
            tracing::info!("stopping: new connections are taken for {} s more", delay.as_secs());
            let over = async { drop(tokio::time::timeout(delay, stop.asked()).await) };
            self.take_until(over, &mut connections, &left).await;
        }
        let drain = self.settings.drain_timeout;
        tracing::info!("stopping: waiting for calls in flight, at most {} s", drain.as_secs());
        drop((self.intake, leaving, left));
        self.endpoint.end_streams();
        let drained = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            drained = tokio::time::timeout(drain, drained) => if drained.is_err() {
                tracing::warn!("stopping: {} connections with calls in flight are cut off", connections.len());
            },
            () = stop.asked() => {}
        }
        connections.shutdown().await;
        beside.shutdown().await;
        // Whoever cannot wait even for this kills the servers, whose lifeline is ours.
        let end = async {
            self.endpoint.stop().await;
            self.custody.close().await;
            self.state.supervisor().traces.close().await;
        };
        tokio::select! {
            () = end => {}
            () = stop.asked() => {}
        }
        Ok(())
    }

    /// Takes connections until something is over.
    async fn take_until(
        &self,
        over: impl Future<Output = ()>,
        connections: &mut JoinSet<()>,
        left: &tokio::sync::watch::Receiver<()>,
    ) {
        tokio::pin!(over);
        loop {
            tokio::select! {
                arrived = self.intake.next() => {
                    connections.spawn(Arc::clone(&self.front).serve(arrived, left.clone()));
                }
                Some(_) = connections.join_next() => {}
                () = over.as_mut() => return,
            }
        }
    }
}

/// The signals that say to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Ready at the next of them.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn follow_changes(endpoint: Arc<Endpoint>) {
    endpoint.follow_changes().await;
}

/// Uses a new certificate as soon as it is there.
async fn follow_files(tls: Option<Arc<Tls>>, mut reload: Signal, store: Store) {
    let Some(tls) = tls else {
        while reload.recv().await.is_some() {
            tracing::info!("SIGHUP: without TLS there is nothing to read again");
        }
        return;
    };
    let mut follower = Follower::default();
    loop {
        let error = tls.follow(&mut follower, &mut reload).await;
        tracing::error!("the new certificate is not used, the one of before is: {}", whole(&error));
        let row = AuditRow {
            at_ms: now_millis(),
            kind: "tls".to_owned(),
            subject: error.to_string(),
            verdict: "refused".to_owned(),
            alarm: true,
            ..AuditRow::default()
        };
        if let Err(error) = store.add_audit(row).await {
            tracing::error!("that could not be audited: {}", whole(&error));
        }
    }
}

/// Each sandbox may hold hundreds of connections, and the usual soft limit is 1024 descriptors for all of them.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!("the limit on open files stays at {:?}: {error}", limit.current);
    }
}

/// Refuses a host on which no server could be confined, before anything is written.
pub(crate) async fn check_host() -> Result<(), Failure> {
    match doctor::missing(&host_report().await) {
        None => Ok(()),
        Some(problem) => Err(format!("{problem}\n  `gigmcp-gateway doctor` shows the whole report").into()),
    }
}

/// The parts that `serve` and `exec` share, and what goes on beside them.
pub(crate) async fn supervisor(
    settings: &Settings,
    host: Host,
    given: HashMap<CredentialId, SecretString>,
) -> Result<(Supervisor, Custody), Failure> {
    let secrets = Arc::new(host.secrets().await?);
    let limits = trail::Limits::new(settings.audit_days, settings.audit_max_rows);
    let custody = Custody::begin(host.store.clone(), secrets.audit_signer().await?, limits).await?;
    Ok((assemble(settings, host, secrets, given)?, custody))
}

/// What starts servers, with nothing that goes on beside it.
pub(crate) fn assemble(
    settings: &Settings,
    host: Host,
    secrets: Arc<Secrets>,
    given: HashMap<CredentialId, SecretString>,
) -> Result<Supervisor, Failure> {
    raise_descriptor_limit();
    let instances = Arc::new(Instances::default());
    let traces = settings.otlp.traces()?;
    let policy = Policy::new(host.store.clone(), Arc::clone(&secrets), Arc::clone(&instances), given, traces.clone());
    let policy = Arc::new(policy);
    let mut limits = Limits::default();
    limits.revocation_interval = REVOCATION_INTERVAL;
    let proxy = EgressProxy::builder(Arc::<Policy>::clone(&policy), Arc::<Policy>::clone(&policy), policy)
        .extra_roots_pem(settings.extra_roots()?)
        .limits(limits)
        .build()?;
    Ok(Supervisor { host, secrets, instances, proxy, host_uids: settings.sandbox_uids.clone(), traces })
}

/// The mounts `/mcp` and `/`, when `GIG_BEARER_TOKEN` asks for them.
async fn transitional(settings: &Settings, supervisor: &Supervisor) -> Result<Option<Transitional>, Failure> {
    let Some(token) = settings.bearer_token()? else { return Ok(None) };
    let slug: ProfileSlug = DEFAULT_PROFILE.parse().expect("a profile name");
    let store = &supervisor.host.store;
    match store.profile(slug.clone()).await {
        Ok(_) => {}
        Err(StoreError::Missing { .. }) => {
            // Its own token is never shown; the mounts have the one from the setting.
            let (owner, hash) = (Owner::local(), token::Token::mint().hash());
            let row = done(Kind::Profile, &owner, format!("created {slug} for GIG_BEARER_TOKEN"), &Actor::local());
            store.create_profile_told(slug.clone(), owner, Vec::new(), hash, row).await?;
            tracing::warn!(
                "GIG_BEARER_TOKEN is set, so an empty profile `{slug}` was created; fill it with `gigmcp-gateway profile add {slug} SERVER`"
            );
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Some(Transitional { slug, token_hash: token::hash(&token) }))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} is taken by another program (`ss -ltnp sport = :{}` shows which); stop it, or choose another address with --listen or GIG_LISTEN",
            address.port()
        )
        .into(),
        io::ErrorKind::PermissionDenied => format!(
            "{address} may not be listened on by this user; choose a port of 1024 or higher with --listen or GIG_LISTEN"
        )
        .into(),
        io::ErrorKind::AddrNotAvailable => {
            format!("{address} is not an address of this machine; choose another with --listen or GIG_LISTEN").into()
        }
        _ => Failure::from(error),
    })
}

/// How often what goes on is checked against the rules: a revocation bites within two seconds on all gateways.
const REVOCATION_INTERVAL: Duration = Duration::from_secs(1);
/// The profile behind the transitional mounts.
const DEFAULT_PROFILE: &str = "default";
