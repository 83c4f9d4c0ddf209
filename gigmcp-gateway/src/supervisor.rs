//! Starts one server: rootfs, placeholders, sandbox, egress, in that order.

use std::{io, sync::Arc, time::Duration};

use gigmcp_egress::{AttachError, Attachment, AuthorityError, EgressProxy, Identity, Placeholder, Shape};
use gigmcp_sandbox::{HostUids, Limits, Network, Rootfs, Sandbox, SpawnError, StateQuota};
use tokio::{net::TcpStream, runtime::Handle, task::JoinHandle};

use crate::{
    calls::Calls,
    doctor::{self, Absent},
    egress::{Entered, Entitlement, Instance, Instances, text},
    exposures,
    host::{Host, HostError},
    output::whole,
    runtime,
    secrets::{SecretError, Secrets},
    spec::{Owner, SecretSlot, ServerName, ServerSpec, Source, SpecLimits},
    store::{Asker, InstanceRow, SecretKey, Store, StoreError, now_seconds},
    tripwires,
};

/// Starts servers.
pub(crate) struct Supervisor {
    pub(crate) host: Host,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) instances: Arc<Instances>,
    pub(crate) proxy: EgressProxy,
    pub(crate) host_uids: HostUids,
}

/// What to start, and for whom.
pub(crate) struct Plan {
    pub(crate) owner: Owner,
    pub(crate) server: ServerName,
    pub(crate) spec: ServerSpec,
    pub(crate) entitlement: Entitlement,
    /// The shape of each secret, where it is known without the vault.
    pub(crate) shapes: Vec<(SecretSlot, Shape)>,
}

/// A started server. Dropping it ends the processes, then its connections, then its rights.
pub(crate) struct Running {
    pub(crate) sandbox: Sandbox,
    attachment: Attachment,
    pub(crate) identity: Identity,
    /// The tool calls that it is given.
    pub(crate) calls: Arc<Calls>,
    /// Writes its tripwires to the audit, and ends with it.
    tripwires: JoinHandle<()>,
    _entered: Entered,
    recorded: Recorded,
}

impl Running {
    /// Ends it, and waits until what was decided for it is in the audit.
    pub(crate) async fn close(self) {
        let Self { sandbox, attachment, tripwires, _entered, recorded, .. } = self;
        drop(sandbox);
        attachment.close().await;
        // The sandbox's events end with its last process, which is killed.
        drop(tokio::time::timeout(END, tripwires).await);
        recorded.end().await;
    }
}

/// The row of a running sandbox. Dropping it writes when it ended, if something still runs that could.
struct Recorded {
    store: Store,
    id: Option<Identity>,
}

impl Recorded {
    async fn end(mut self) {
        if let Some(id) = self.id.take() {
            end_instance(&self.store, id).await;
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), Handle::try_current()) else { return };
        let store = self.store.clone();
        runtime.spawn(async move { end_instance(&store, id).await });
    }
}

async fn end_instance(store: &Store, id: Identity) {
    if let Err(error) = store.end_instance(id.clone()).await {
        tracing::warn!("the end of {id} was not written down: {}", whole(&error));
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StartError {
    #[error("the sandbox of {server} did not start")]
    Spawn { server: ServerName, source: SpawnError },
    #[error("the executable of {server} cannot be read from the data directory")]
    Binary { server: ServerName, source: io::Error },
    #[error("the executable of {server} is not the one that was added; remove the server and add it again")]
    Changed { server: ServerName },
    #[error(transparent)]
    Host(#[from] Box<HostError>),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the start of {server} could not be written down")]
    Record { server: ServerName, source: StoreError },
    #[error("a layer that is always demanded is missing from the sandbox of {server}")]
    Layer { server: ServerName, source: Absent },
    #[error("no certificate authority for {server}")]
    Authority { server: ServerName, source: AuthorityError },
    #[error("the egress proxy cannot take over the listeners of {server}")]
    Attach { server: ServerName, source: AttachError },
}

impl Supervisor {
    /// Starts a server in its sandbox, with the egress proxy as its only way out.
    pub(crate) async fn start(&self, plan: Plan) -> Result<Running, StartError> {
        // Again at each start: what a path leads to may have changed.
        self.host.check_paths(&plan.spec).map_err(Box::new)?;
        let slots = self.placeholders(&plan).await?;
        let spec = &plan.spec;
        let values = slots.iter().map(|(slot, placeholder)| (slot.env.clone(), placeholder.as_str().to_owned()));
        let environment = runtime::environment(&spec.env, values);
        let hosts = spec.hosts().into_iter().chain(spec.allow_read.iter().cloned());
        let authority = self
            .proxy
            .authority(hosts)
            .map_err(|source| StartError::Authority { server: plan.server.clone(), source })?;
        let mut sandbox = Sandbox::builder(self.rootfs(&plan)?)
            .command(command(spec))
            .network(Network::handoff())
            .limits(limits(&spec.limits))
            .profile(spec.seccomp)
            .sized_proc()
            .host_uids(self.host_uids.clone())
            .working_dir("/tmp")
            .ca_bundle(authority.ca_bundle_pem());
        for (path, content) in authority.files(&runtime::trust()) {
            sandbox = sandbox.file(path, content);
        }
        for (name, value) in environment {
            sandbox = sandbox.env(name, value);
        }
        for path in &spec.read_only {
            sandbox = sandbox.read_only(path);
        }
        if let Some(dir) = &spec.state {
            sandbox = sandbox.state(dir, StateQuota::default());
        }
        let server = &plan.server;
        let mut sandbox =
            sandbox.spawn().await.map_err(|source| StartError::Spawn { server: server.clone(), source })?;
        // Before it has an identity or a way out. `Sandbox::require` would refuse known gaps (`Level::Partial`) too.
        if let Some(source) = doctor::demanded_but_absent(sandbox.enforcement().layers()) {
            return Err(StartError::Layer { server: server.clone(), source });
        }
        let identity = Identity::new(format!("{server}-{}", sandbox.id()));
        let calls = Arc::<Calls>::default();
        let instance = Instance {
            identity: identity.clone(),
            calls: Arc::clone(&calls),
            owner: plan.owner,
            server: server.clone(),
            slots,
            entitlement: plan.entitlement,
        };
        let recorded = self.record(&instance).await?;
        let row = tripwires::row(&instance);
        let told = tripwires::audit(self.host.store.clone(), row, Arc::clone(&calls), sandbox.events());
        let tripwires = tokio::spawn(told);
        let entered = self.instances.enter(instance);
        let intake = sandbox.network().take().expect("a new sandbox with a handed-over network has its listeners");
        let attachment = self
            .proxy
            .attach(identity.clone(), handed_over(intake), authority)
            .map_err(|source| StartError::Attach { server: server.clone(), source })?;
        Ok(Running { sandbox, attachment, identity, calls, tripwires, _entered: entered, recorded })
    }

    /// Nothing runs of which it is not known what it was.
    async fn record(&self, instance: &Instance) -> Result<Recorded, StartError> {
        let revision = match &instance.entitlement {
            Entitlement::Installed { revision, .. } => *revision,
            Entitlement::Declared(_) => 0,
        };
        let row = InstanceRow {
            id: instance.identity.clone(),
            owner: instance.owner.clone(),
            profile: instance.profile(),
            server: instance.server.clone(),
            revision,
            started_at: now_seconds(),
            ended_at: None,
        };
        let store = self.host.store.clone();
        let begun = store.begin_instance(row).await;
        begun.map_err(|source| StartError::Record { server: instance.server.clone(), source })?;
        Ok(Recorded { store, id: Some(instance.identity.clone()) })
    }

    fn rootfs(&self, plan: &Plan) -> Result<Rootfs, StartError> {
        match &plan.spec.source {
            Source::HostTools => Ok(Rootfs::host_tools()),
            Source::Binary { sha256 } => {
                let same = self
                    .host
                    .verify_binary(sha256)
                    .map_err(|source| StartError::Binary { server: plan.server.clone(), source })?;
                match same {
                    true => Ok(Rootfs::single_file(self.host.binary(sha256))),
                    false => Err(StartError::Changed { server: plan.server.clone() }),
                }
            }
        }
    }

    /// One new placeholder a secret, in the shape of the real value.
    async fn placeholders(&self, plan: &Plan) -> Result<Vec<(SecretSlot, Placeholder)>, StartError> {
        let mut slots = Vec::new();
        for slot in &plan.spec.secrets {
            let known = plan.shapes.iter().find(|(known, _)| known == slot).map(|(_, shape)| shape.clone());
            let shape = match known {
                Some(shape) => shape,
                None => self.stored_shape(plan, slot).await?,
            };
            slots.push((slot.clone(), Placeholder::mint(&shape)));
        }
        Ok(slots)
    }

    async fn stored_shape(&self, plan: &Plan, slot: &SecretSlot) -> Result<Shape, StartError> {
        let key = SecretKey { owner: plan.owner.clone(), server: plan.server.clone(), name: slot.env.clone() };
        let value = self.secrets.open(Asker::Gateway, key, &slot.host).await?;
        let value = value.and_then(|value| text(value, exposures::SHAPE));
        Ok(value.map_or_else(Shape::opaque, |value| Shape::of(&value)))
    }
}

fn limits(asked: &SpecLimits) -> Limits {
    let mut limits = Limits::default();
    limits.memory_bytes = asked.memory_bytes.unwrap_or(limits.memory_bytes);
    limits.cpu_percent = asked.cpu_percent.unwrap_or(limits.cpu_percent);
    limits.processes = asked.processes.unwrap_or(limits.processes);
    limits.wall_time = asked.wall_seconds.map(Duration::from_secs);
    limits
}

fn command(spec: &ServerSpec) -> Vec<String> {
    match spec.source {
        Source::HostTools => spec.command.clone(),
        Source::Binary { .. } => [vec![SINGLE_FILE.to_owned()], spec.command.clone()].concat(),
    }
}

/// The sandbox's listeners in the proxy's terms; neither crate knows the other.
pub(crate) fn handed_over(mut intake: gigmcp_sandbox::Intake) -> gigmcp_egress::Intake {
    let check = Arc::new(FromSandbox(intake.origin()));
    let proxy_port = intake.proxy_port;
    let mut take = |port| intake.take_tcp(port).map(|listener| listener.into_parts().0);
    let (proxy, dns_tcp) = (take(proxy_port), take(DNS_PORT));
    gigmcp_egress::Intake {
        proxy: proxy.expect("the sandbox hands over its proxy port"),
        dns_tcp: dns_tcp.expect("the sandbox hands over DNS"),
        dns_udp: intake.take_udp(DNS_PORT).expect("the sandbox hands over DNS"),
        tcp: intake.tcp.into_iter().map(|listener| (listener.port(), listener.into_parts().0)).collect(),
        check,
    }
}

/// Whether a connection is the sandbox's, as the sandbox crate tells it.
#[derive(Debug)]
struct FromSandbox(gigmcp_sandbox::Origin);

impl gigmcp_egress::ConnectionCheck for FromSandbox {
    fn check(&self, connection: &TcpStream) -> io::Result<()> {
        self.0.verify(connection).map_err(io::Error::other)
    }
}

const DNS_PORT: u16 = 53;
/// How long the end of a sandbox and its last rows in the audit are waited for.
const END: Duration = Duration::from_secs(2);
/// Where the sandbox puts the one file of its root.
const SINGLE_FILE: &str = "/server";
