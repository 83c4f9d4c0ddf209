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
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use crate::{
    api::State,
    doctor,
    egress::{Instances, Policy},
    endpoint::{Endpoint, Transitional},
    host::Host,
    output::{Failure, whole},
    people::{Actor, Kind, People, done},
    secrets::Secrets,
    settings::Settings,
    spec::{Owner, ProfileSlug},
    store::StoreError,
    supervisor::Supervisor,
    token,
    trail::{self, Custody},
};

/// Serves until a signal says to stop.
pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    check_host().await?;
    let host = Host::open(&settings)?;
    let server = Server::open(&settings, host).await?;
    print_setup_code(&server.state.people).await;
    tracing::info!("listening on http://{}", server.address);
    server.run().await
}

/// On standard output, for whoever starts it: logs are kept, and read by others.
async fn print_setup_code(people: &People) {
    match people.setup_code().await {
        Ok(None) => {}
        Ok(Some(code)) => {
            let told = writeln!(
                io::stdout(),
                "there is no administrator yet; for a day, this code makes you one, once: {}\n  `gigmcp-gateway user accept --email YOU@EXAMPLE.COM` reads it, and a password on the next line",
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
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    endpoint: Arc<Endpoint>,
    custody: Custody,
}

impl Server {
    /// Joins the parts and takes the port.
    pub(crate) async fn open(settings: &Settings, host: Host) -> Result<Self, Failure> {
        let (supervisor, custody) = supervisor(settings, host, HashMap::new()).await?;
        let supervisor = Arc::new(supervisor);
        supervisor.secrets.check_key().await?;
        let transitional = transitional(settings, &supervisor).await?;
        let listener = listen(settings.listen).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(supervisor, settings));
        let endpoint = Endpoint::new(Arc::clone(&state), transitional, address, settings);
        Ok(Self { listener, address, state, endpoint: Arc::new(endpoint), custody })
    }

    /// Answers until a signal says to stop, then lets calls in flight end and stops every server.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        let (stop, stopping) = tokio::sync::watch::channel(());
        let endpoint = Arc::clone(&self.endpoint);
        connections.spawn(async move { endpoint.follow_changes().await });
        loop {
            let (stream, place) = tokio::select! {
                next = next_connection(&self.listener, &places) => next,
                Some(_) = connections.join_next() => continue,
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            };
            let endpoint = Arc::clone(&self.endpoint);
            let stopping = stopping.clone();
            connections.spawn(async move {
                serve_connection(stream, endpoint, stopping).await;
                drop(place);
            });
        }
        tracing::info!("stopping: waiting for calls in flight, at most {} s", DRAIN.as_secs());
        drop(self.listener);
        drop(stop);
        self.endpoint.end_streams();
        // The task that follows changes never ends; all others do.
        let drained = async { while connections.len() > 1 && connections.join_next().await.is_some() {} };
        tokio::select! {
            _ = tokio::time::timeout(DRAIN, drained) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        connections.shutdown().await;
        // Whoever cannot wait even for this kills the servers, whose lifeline is ours.
        let stop = async {
            self.endpoint.stop().await;
            self.custody.close().await;
        };
        tokio::select! {
            () = stop => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }
}

/// The next connection, once there is a place for it.
async fn next_connection(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                // Out of descriptors, most likely. Waiting for a connection to end is all one can do.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
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

async fn serve_connection(stream: TcpStream, endpoint: Arc<Endpoint>, mut stopping: tokio::sync::watch::Receiver<()>) {
    let address = match stream.peer_addr() {
        Ok(address) => address.ip().to_canonical(),
        // It is gone already.
        Err(error) => return tracing::debug!("connection: {error}"),
    };
    // Small answers must not wait for the client's acknowledgement of earlier ones.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY: {error}");
    }
    let service = hyper::service::service_fn(move |request| {
        let endpoint = Arc::clone(&endpoint);
        async move { Ok::<_, std::convert::Infallible>(endpoint.answer(request, address).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("connection: {error}");
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
    let policy = Arc::new(Policy::new(host.store.clone(), Arc::clone(&secrets), Arc::clone(&instances), given));
    let mut limits = Limits::default();
    limits.revocation_interval = REVOCATION_INTERVAL;
    let proxy = EgressProxy::builder(Arc::<Policy>::clone(&policy), Arc::<Policy>::clone(&policy), policy)
        .extra_roots_pem(settings.extra_roots()?)
        .limits(limits)
        .build()?;
    Ok(Supervisor { host, secrets, instances, proxy, host_uids: settings.sandbox_uids.clone() })
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
/// More at once than any one machine's clients need; bounds memory and descriptors.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to send a request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(15);
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long calls in flight may take at the end.
const DRAIN: Duration = Duration::from_secs(10);
