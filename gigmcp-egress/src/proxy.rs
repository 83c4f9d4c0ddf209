use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Layer as _;

use crate::audit::AuditSink;
use crate::authority::{AuthorityError, SandboxAuthority};
use crate::dial::{Connect, DirectConnect, Resolver, SystemResolver};
use crate::dialer::Dialer;
use crate::forward::Forward;
use crate::grant::{Credentials, Grants};
use crate::identity::Identity;
use crate::intake::{Intake, Site};
use crate::layer::{EgressLayer, EgressService};
use crate::limits::Limits;
use crate::pattern::HostPattern;
use crate::pin::SpkiSha256;
use crate::policy::Policy;
use crate::private_net::{PrivateNet, PrivateNetworks};
use crate::roots;
use crate::verify::{Demands, UpstreamTls};

/// The server around [`EgressLayer`]: takes the sockets of sandboxes, answers their DNS questions, ends their TLS, and
/// sends what the policy lets through.
///
/// One proxy serves any number of sandboxes, each with an authority of its own.
pub struct EgressProxy {
    shared: Arc<Shared>,
}

/// What all sandboxes share.
pub(crate) struct Shared {
    pub(crate) layer: EgressLayer,
    pub(crate) service: EgressService<Forward>,
    pub(crate) forward: Forward,
    machine_roots: Arc<[CertificateDer<'static>]>,
    /// How many attachments an identity has.
    attached: Mutex<HashMap<Identity, usize>>,
}

impl EgressProxy {
    /// A proxy that asks these for rules and credentials, and tells that what was decided.
    pub fn builder(
        grants: Arc<dyn Grants>,
        credentials: Arc<dyn Credentials>,
        audit: Arc<dyn AuditSink>,
    ) -> EgressProxyBuilder {
        EgressProxyBuilder {
            grants,
            credentials,
            audit,
            resolver: Arc::new(SystemResolver),
            connect: Arc::new(DirectConnect),
            demands: Demands::default(),
            networks: PrivateNetworks::default(),
            limits: Limits::default(),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Makes the authority of a sandbox that is about to start and may reach these hosts: what it must trust is known then, and
    /// can be put inside. TLS to hosts beyond them is refused, whatever the rules say later.
    ///
    /// # Errors
    /// If the random source or the signer fails.
    pub fn authority(&self, hosts: impl IntoIterator<Item = HostPattern>) -> Result<SandboxAuthority, AuthorityError> {
        Ok(SandboxAuthority::generate(hosts, Arc::clone(&self.shared.machine_roots))?)
    }

    /// Serves the sockets of one sandbox until the [`Attachment`] is dropped. All that comes through them is `identity`'s, and
    /// is shown certificates of `authority`, which the sandbox trusts.
    ///
    /// # Errors
    /// If a socket cannot be registered with the runtime, or the DNS socket is not an IPv4 one.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn attach(
        &self,
        identity: Identity,
        intake: Intake,
        authority: SandboxAuthority,
    ) -> Result<Attachment, AttachError> {
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::clone(&self.shared);
        let site = Arc::new(Site::new(shared, identity.clone(), authority, tasks.clone(), token.clone()));
        let sockets = intake.register().map_err(AttachError::new)?;
        self.shared.count(&identity, Arrival::Attached);
        sockets.serve(&site, &token, &tasks);
        tasks.close();
        Ok(Attachment { identity, shared: Arc::clone(&self.shared), token, tasks })
    }
}

impl fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressProxy").finish_non_exhaustive()
    }
}

pub(crate) enum Arrival {
    Attached,
    Detached,
}

impl Shared {
    pub(crate) fn policy(&self) -> &Arc<Policy> {
        self.layer.policy()
    }

    /// Counts attachments, and forgets an identity with its last one.
    pub(crate) fn count(&self, identity: &Identity, arrival: Arrival) {
        let mut attached = self.attached.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let count = attached.entry(identity.clone()).or_default();
        match arrival {
            Arrival::Attached => *count += 1,
            Arrival::Detached => *count -= 1,
        }
        if *count == 0 {
            attached.remove(identity);
            self.layer.forget(identity);
            self.forward.forget(identity);
        }
    }

    /// Counts that an attachment has ended, when no task is left that could note a placeholder again.
    pub(crate) fn detach(self: &Arc<Self>, identity: &Identity, tasks: &TaskTracker) {
        let (identity, shared, tasks) = (identity.clone(), Arc::clone(self), tasks.clone());
        tasks.close();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                tasks.wait().await;
                shared.count(&identity, Arrival::Detached);
            })),
            Err(_) => shared.count(&identity, Arrival::Detached),
        }
    }
}

/// Sets up an [`EgressProxy`].
pub struct EgressProxyBuilder {
    grants: Arc<dyn Grants>,
    credentials: Arc<dyn Credentials>,
    audit: Arc<dyn AuditSink>,
    resolver: Arc<dyn Resolver>,
    connect: Arc<dyn Connect>,
    demands: Demands,
    networks: PrivateNetworks,
    limits: Limits,
}

impl EgressProxyBuilder {
    /// Trusts these authorities for upstreams too, for example a company's own. PEM, any number of certificates. Default none.
    #[must_use]
    pub fn extra_roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.demands.roots_pem = pem.into();
        self
    }

    /// Trusts these authorities for these hosts alone, beside the public roots. PEM, any number of certificates. Default none.
    #[must_use]
    pub fn extra_roots_pem_for(mut self, hosts: HostPattern, pem: impl Into<Vec<u8>>) -> Self {
        self.demands.roots_pem_for.push((hosts, pem.into()));
        self
    }

    /// Demands one of these public keys of these hosts, in their certificate or one that it leads to, on top of everything else
    /// that is verified. Each call is a demand of its own; a host that two of them name must meet both. Default none.
    #[must_use]
    pub fn pin(mut self, hosts: HostPattern, keys: impl IntoIterator<Item = SpkiSha256>) -> Self {
        self.demands.pins.push((hosts, keys.into_iter().collect()));
        self
    }

    /// Refuses upstream certificates that these lists revoke, leaf or intermediate. PEM, any number of lists. A list that is
    /// out of date still counts: what was revoked stays so. Default none.
    #[must_use]
    pub fn crls_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.demands.crls_pem = pem.into();
        self
    }

    /// Lets these hosts have addresses of this private network. For all others, and for all other addresses that are not
    /// public, nothing changes. Default none.
    #[must_use]
    pub fn private_network(mut self, hosts: HostPattern, network: PrivateNet) -> Self {
        self.networks.permit(hosts, network);
        self
    }

    /// Bounds. Default [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where addresses come from. Default the system's resolver.
    #[must_use]
    pub fn resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = resolver;
        self
    }

    /// How checked addresses are dialled. Default a plain socket.
    #[must_use]
    pub fn connect(mut self, connect: Arc<dyn Connect>) -> Self {
        self.connect = connect;
        self
    }

    /// Makes the proxy.
    ///
    /// # Errors
    /// [`BuildError`] if what upstreams are verified with cannot be read.
    pub fn build(self) -> Result<EgressProxy, BuildError> {
        let machine_roots = roots::machine_roots();
        let tls = UpstreamTls::new(self.demands, &machine_roots)?;
        let dialer = Dialer::new(self.resolver, self.connect, self.networks, self.limits.clone());
        let forward = Forward::new(dialer, tls, self.limits.clone());
        let layer = EgressLayer::new(self.grants, self.credentials, self.audit, self.limits);
        let service = layer.layer(forward.clone());
        let shared = Shared { layer, service, forward, machine_roots, attached: Mutex::default() };
        Ok(EgressProxy { shared: Arc::new(shared) })
    }
}

impl fmt::Debug for EgressProxyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressProxyBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Keeps a sandbox connected. Dropping it closes its listeners and all its connections, and forgets its placeholders.
#[derive(Debug)]
#[must_use = "dropping the attachment disconnects the sandbox"]
pub struct Attachment {
    identity: Identity,
    shared: Arc<Shared>,
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Attachment {
    /// Whose sockets these are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Disconnects the sandbox and waits until nothing of it is left, and the audit sink has taken what was decided for it.
    pub async fn close(self) {
        let (tasks, shared) = (self.tasks.clone(), Arc::clone(&self.shared));
        drop(self);
        tasks.wait().await;
        shared.policy().deliveries.settled().await;
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.token.cancel();
        self.shared.detach(&self.identity, &self.tasks);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Why a proxy could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The extra roots are not PEM certificates.
    #[error("the extra roots are not certificates in PEM")]
    ExtraRoots(#[source] rustls::pki_types::pem::Error),
    /// A root was refused, or TLS could not be set up.
    #[error("setting up TLS to upstreams")]
    Tls(#[source] rustls::Error),
    /// The revocation lists are not PEM.
    #[error("the revocation lists cannot be read")]
    RevocationLists(#[source] rustls::pki_types::pem::Error),
    /// Hosts were pinned to no key at all, which nobody can have.
    #[error("a pin names no key")]
    NoPin,
}

/// Why the sockets of a sandbox could not be taken over.
#[derive(Debug, thiserror::Error)]
#[error("taking over the sockets of a sandbox")]
pub struct AttachError {
    source: io::Error,
}

impl AttachError {
    pub(crate) fn new(source: io::Error) -> Self {
        Self { source }
    }
}
