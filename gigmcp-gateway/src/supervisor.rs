//! Starts one server: rootfs, placeholders, sandbox, egress, in that order.

use std::{io, path::Path, sync::Arc, time::Duration};

use gigmcp_egress::{
    AttachError, Attachment, AuthorityError, EgressProxy, Identity, InvalidPrefix, Placeholder, SecretString, Shape,
};
use gigmcp_registry::{Lease, LeaseError, Version};
use gigmcp_sandbox::{HostUids, Limits, Network, Rootfs, Sandbox, SandboxBuilder, SpawnError, StateQuota};
use gigmcp_vault::Reason;
use tokio::{net::TcpStream, runtime::Handle, task::JoinHandle};

use crate::{
    calls::Calls,
    doctor::{self, Absent},
    egress::{Entered, Entitlement, Instance, Instances, text},
    exposures,
    host::{Host, HostError},
    output::whole,
    redact::Redactor,
    runtime,
    secrets::{SecretError, Secrets},
    spec::{Directory, Owner, Place, SecretName, SecretSlot, ServerName, ServerSpec, Source},
    store::{Asker, InstanceRow, SecretKey, Store, StoreError, now_seconds},
    traces::Traces,
    tripwires,
};

/// Starts servers.
pub(crate) struct Supervisor {
    pub(crate) host: Host,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) instances: Arc<Instances>,
    pub(crate) proxy: EgressProxy,
    pub(crate) host_uids: HostUids,
    pub(crate) traces: Traces,
}

/// What to start, and for whom.
pub(crate) struct Plan {
    pub(crate) owner: Owner,
    pub(crate) server: ServerName,
    pub(crate) spec: ServerSpec,
    pub(crate) entitlement: Entitlement,
    /// The shape of each secret, where it is known without the vault.
    pub(crate) shapes: Vec<(SecretSlot, Shape)>,
    /// Which of the directories that the server keeps are the owner's.
    pub(crate) epoch: i64,
}

/// A started server. Dropping it ends the processes, then its connections, then its rights.
pub(crate) struct Running {
    pub(crate) sandbox: Sandbox,
    /// Of the image that it runs from: nobody removes that meanwhile.
    _lease: Option<Lease>,
    attachment: Attachment,
    pub(crate) identity: Identity,
    /// The tool calls that it is given.
    pub(crate) calls: Arc<Calls>,
    /// Writes its tripwires to the audit, and ends with it.
    tripwires: JoinHandle<()>,
    _entered: Entered,
    recorded: Recorded,
    /// Cleans what it writes on standard error.
    pub(crate) redactor: Redactor,
}

impl Running {
    /// Ends it, and waits until what was decided for it is in the audit.
    pub(crate) async fn close(self) {
        let Self { sandbox, attachment, tripwires, _entered, recorded, _lease, .. } = self;
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
    #[error(
        "the files of {server} are not those that were installed, so it is not started; `gigmcp-gateway server install {server}@{version}` unpacks them anew, and nothing else of that directory is to be trusted"
    )]
    Tree { server: ServerName, version: Version, source: LeaseError },
    #[error(
        "the image of {server} is not in this data directory; `gigmcp-gateway server install {server}@{version}` fetches it"
    )]
    NoTree { server: ServerName, version: Version },
    #[error("the image of {server} cannot be used")]
    Image { server: ServerName, source: LeaseError },
    #[error(
        "{server} needs the value of {name} itself, and there is none; set it with `gigmcp-gateway secret set {server} {name}`"
    )]
    NoValue { server: ServerName, name: SecretName },
    #[error("the placeholder of {name} of {server} has no shape")]
    Shape { server: ServerName, name: SecretName, source: InvalidPrefix },
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
        let (slots, values) = self.credentials(&plan).await?;
        let redactor = Redactor::new(&values);
        let spec = &plan.spec;
        let authority = self
            .proxy
            .authority(spec.https_hosts())
            .map_err(|source| StartError::Authority { server: plan.server.clone(), source })?;
        let (rootfs, lease) = self.rootfs(&plan).await?;
        let mut sandbox = Sandbox::builder(rootfs)
            .command(command(spec))
            .network(Network::handoff().tcp_ports(spec.tcp.iter().map(|rule| rule.port)))
            .limits(limits(spec))
            .profile(spec.seccomp)
            .sized_proc()
            .host_uids(self.host_uids.clone())
            .working_dir(working_dir(spec))
            .ca_bundle(authority.ca_bundle_pem());
        for (path, content) in authority.files(&runtime::trust()) {
            sandbox = sandbox.file(path, content);
        }
        let ours = values.into_iter().chain(runtime::variables(&spec.variables));
        for (name, value) in runtime::environment(&spec.env, ours) {
            sandbox = sandbox.env(name, value);
        }
        for path in &spec.read_only {
            sandbox = sandbox.read_only(path);
        }
        let sandbox = self.directories(sandbox, &plan)?;
        let server = &plan.server;
        let mut sandbox =
            sandbox.spawn().await.map_err(|source| StartError::Spawn { server: server.clone(), source })?;
        // Before it has an identity or a way out. `Sandbox::require` would refuse known gaps (`Level::Partial`) too.
        if let Some(source) = doctor::demanded_but_absent(sandbox.enforcement().layers()) {
            return Err(StartError::Layer { server: server.clone(), source });
        }
        let identity = Identity::new(format!("{server}-{}", sandbox.id()));
        let calls = Arc::new(Calls::traced(self.traces.clone()));
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
        Ok(Running {
            sandbox,
            _lease: lease,
            attachment,
            identity,
            calls,
            tripwires,
            _entered: entered,
            recorded,
            redactor,
        })
    }

    /// Nothing runs of which it is not known what it was.
    async fn record(&self, instance: &Instance) -> Result<Recorded, StartError> {
        let revision = match &instance.entitlement {
            Entitlement::Installed { edition, .. } => edition.revision,
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

    /// What the server sees as its root, and what keeps that there. Whatever it is, it is measured first.
    async fn rootfs(&self, plan: &Plan) -> Result<(Rootfs, Option<Lease>), StartError> {
        let server = || plan.server.clone();
        match &plan.spec.source {
            Source::HostTools => Ok((Rootfs::host_tools(), None)),
            Source::Binary { sha256 } => {
                let same = self
                    .host
                    .verify_binary(sha256)
                    .map_err(|source| StartError::Binary { server: server(), source })?;
                match same {
                    true => Ok((Rootfs::single_file(self.host.binary(sha256)), None)),
                    false => Err(StartError::Changed { server: server() }),
                }
            }
            Source::Image(image) => {
                let (images, tree) = (self.host.images().map_err(Box::new)?, image.tree);
                // The first time in this process, every file is read.
                let leased = tokio::task::spawn_blocking(move || images.lease(tree)).await;
                let lease = leased.expect("measuring does not panic").map_err(|source| match source {
                    LeaseError::Io { .. } => StartError::Image { server: server(), source },
                    LeaseError::Missing(_) => StartError::NoTree { server: server(), version: image.version },
                    source => StartError::Tree { server: server(), version: image.version, source },
                })?;
                Ok((Rootfs::image(lease.rootfs()), Some(lease)))
            }
        }
    }

    /// The places that the server may write to.
    fn directories(&self, mut sandbox: SandboxBuilder, plan: &Plan) -> Result<SandboxBuilder, StartError> {
        let spec = &plan.spec;
        for directory in spec.writable.iter().filter(|directory| !is_tmp(directory)) {
            sandbox = sandbox.writable(&directory.path, directory.max_bytes);
        }
        if let Some(dir) = &spec.state {
            sandbox = sandbox.state(dir, StateQuota::default());
        }
        if let Some(kept) = &spec.kept {
            let dir = self
                .host
                .kept()
                .directory(&plan.server, &plan.owner, plan.epoch)
                .map_err(HostError::from)
                .map_err(Box::new)?;
            let quota = StateQuota { bytes: kept.max_bytes, ..StateQuota::default() };
            sandbox = sandbox.state_at(&kept.path, dir, quota);
        }
        Ok(sandbox)
    }

    /// What stands for each secret, and what the server finds in its environment: a new placeholder in the shape of the real
    /// value, or that value itself where somebody agreed that the server holds it.
    async fn credentials(
        &self,
        plan: &Plan,
    ) -> Result<(Vec<(SecretSlot, Placeholder)>, Vec<(String, String)>), StartError> {
        let (mut slots, mut values) = (Vec::new(), Vec::new());
        for slot in &plan.spec.secrets {
            if slot.place == Place::Environment {
                let value = self
                    .stored(plan, slot, exposures::HOLD)
                    .await?
                    .ok_or_else(|| StartError::NoValue { server: plan.server.clone(), name: slot.name.clone() })?;
                values.push((slot.variable().to_owned(), value.expose().to_owned()));
                continue;
            }
            let known = plan.shapes.iter().find(|(known, _)| known == slot).map(|(_, shape)| shape.clone());
            let shape = match (known, &slot.shape) {
                (Some(shape), _) => shape,
                (None, Some(said)) => said.shape().map_err(|source| StartError::Shape {
                    server: plan.server.clone(),
                    name: slot.name.clone(),
                    source,
                })?,
                (None, None) => {
                    let value = self.stored(plan, slot, exposures::SHAPE).await?;
                    value.map_or_else(Shape::opaque, |value| Shape::of(&value))
                }
            };
            let placeholder = Placeholder::mint(&shape);
            values.push((slot.variable().to_owned(), placeholder.as_str().to_owned()));
            slots.push((slot.clone(), placeholder));
        }
        Ok((slots, values))
    }

    async fn stored(&self, plan: &Plan, slot: &SecretSlot, why: Reason) -> Result<Option<SecretString>, StartError> {
        let key = SecretKey { owner: plan.owner.clone(), server: plan.server.clone(), name: slot.name.clone() };
        let value = self.secrets.open(Asker::Gateway, key, &slot.sealed_for()).await?;
        Ok(value.and_then(|value| text(value, why)))
    }
}

fn limits(spec: &ServerSpec) -> Limits {
    let (asked, mut limits) = (&spec.limits, Limits::default());
    limits.memory_bytes = asked.memory_bytes.unwrap_or(limits.memory_bytes);
    limits.cpu_percent = asked.cpu_percent.unwrap_or(limits.cpu_percent);
    limits.processes = asked.processes.unwrap_or(limits.processes);
    limits.open_files = asked.open_files.unwrap_or(limits.open_files);
    limits.wall_time = asked.wall_seconds.map(Duration::from_secs);
    if let Some(tmp) = spec.writable.iter().find(|directory| is_tmp(directory)) {
        limits.tmp_bytes = tmp.max_bytes;
    }
    limits
}

/// Every sandbox has it; a specification can only say how large it is.
fn is_tmp(directory: &Directory) -> bool {
    directory.path == Path::new(TMP)
}

fn working_dir(spec: &ServerSpec) -> &str {
    match &spec.source {
        Source::Image(image) => image.working_dir.as_deref().unwrap_or(TMP),
        Source::Binary { .. } | Source::HostTools => TMP,
    }
}

fn command(spec: &ServerSpec) -> Vec<String> {
    match spec.source {
        Source::HostTools | Source::Image(_) => spec.command.clone(),
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

const TMP: &str = "/tmp";
const DNS_PORT: u16 = 53;
/// How long the end of a sandbox and its last rows in the audit are waited for.
const END: Duration = Duration::from_secs(2);
/// Where the sandbox puts the one file of its root.
const SINGLE_FILE: &str = "/server";
