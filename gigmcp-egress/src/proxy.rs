use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Layer as _;

use crate::audit::AuditSink;
use crate::ca::{self, CertificateAuthority};
use crate::dial::{Connect, DirectConnect, Resolver, SystemResolver};
use crate::forward::Forward;
use crate::grant::{Credentials, Grants};
use crate::identity::Identity;
use crate::intake::{Intake, Site};
use crate::layer::{EgressLayer, EgressService};
use crate::limits::Limits;
use crate::policy::Policy;
use crate::tls;

/// The server around [`EgressLayer`]: takes the sockets of sandboxes, answers their DNS questions, ends their TLS, and
/// sends what the policy lets through.
///
/// One proxy serves any number of sandboxes. Its authority lives as long as it does.
pub struct EgressProxy {
    shared: Arc<Shared>,
}

/// What all sandboxes share.
pub(crate) struct Shared {
    pub(crate) layer: EgressLayer,
    pub(crate) service: EgressService<Forward>,
    pub(crate) forward: Forward,
    pub(crate) ca: CertificateAuthority,
    machine_roots: Vec<CertificateDer<'static>>,
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
            extra_roots: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// What a sandbox must trust: the public roots of this machine and our authority, as PEM. The extra roots are not in it:
    /// they verify upstreams, which the sandbox never sees.
    pub fn ca_bundle_pem(&self) -> Vec<u8> {
        ca::pem(self.shared.machine_roots.iter().chain([self.shared.ca.certificate()]))
    }

    /// Our authority alone, as PEM, for programs that add it to what they trust.
    pub fn ca_pem(&self) -> Vec<u8> {
        ca::pem([self.shared.ca.certificate()])
    }

    /// Serves the sockets of one sandbox until the [`Attachment`] is dropped. All that comes through them is `identity`'s.
    ///
    /// # Errors
    /// If a socket cannot be registered with the runtime, or the DNS socket is not an IPv4 one.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn attach(&self, identity: Identity, intake: Intake) -> Result<Attachment, AttachError> {
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let site = Arc::new(Site::new(Arc::clone(&self.shared), identity.clone(), tasks.clone()));
        let sockets = intake.register().map_err(|source| AttachError { source })?;
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

enum Arrival {
    Attached,
    Detached,
}

impl Shared {
    pub(crate) fn policy(&self) -> &Arc<Policy> {
        self.layer.policy()
    }

    /// Counts attachments, and forgets an identity with its last one.
    fn count(&self, identity: &Identity, arrival: Arrival) {
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
}

/// Sets up an [`EgressProxy`].
pub struct EgressProxyBuilder {
    grants: Arc<dyn Grants>,
    credentials: Arc<dyn Credentials>,
    audit: Arc<dyn AuditSink>,
    resolver: Arc<dyn Resolver>,
    connect: Arc<dyn Connect>,
    extra_roots: Vec<u8>,
    limits: Limits,
}

impl EgressProxyBuilder {
    /// Trusts these authorities for upstreams too, for example a company's own. PEM, any number of certificates. Default none.
    #[must_use]
    pub fn extra_roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.extra_roots = pem.into();
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

    /// Makes the proxy and its authority.
    ///
    /// # Errors
    /// [`BuildError`] if the extra roots are not certificates or the authority cannot be made.
    pub fn build(self) -> Result<EgressProxy, BuildError> {
        let extra = if self.extra_roots.is_empty() {
            Vec::new()
        } else {
            tls::read_pem(&self.extra_roots).map_err(BuildError::ExtraRoots)?
        };
        let machine_roots = tls::machine_roots();
        let client = tls::client_config(&machine_roots, &extra).map_err(BuildError::Tls)?;
        let forward = Forward::new(self.resolver, self.connect, Arc::new(client), self.limits.clone());
        let layer = EgressLayer::new(self.grants, self.credentials, self.audit, self.limits);
        let service = layer.layer(forward.clone());
        let ca = CertificateAuthority::generate().map_err(BuildError::Authority)?;
        let shared = Shared { layer, service, forward, ca, machine_roots, attached: Mutex::default() };
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

    /// Disconnects the sandbox and waits until nothing of it is left.
    pub async fn close(self) {
        let tasks = self.tasks.clone();
        drop(self);
        tasks.wait().await;
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.token.cancel();
        let (identity, shared, tasks) = (self.identity.clone(), Arc::clone(&self.shared), self.tasks.clone());
        // Forgotten only when no task is left that could note a placeholder again.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                tasks.wait().await;
                shared.count(&identity, Arrival::Detached);
            })),
            Err(_) => shared.count(&identity, Arrival::Detached),
        }
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
    /// The authority could not be made.
    #[error("making the certificate authority")]
    Authority(#[source] rcgen::Error),
}

/// Why the sockets of a sandbox could not be taken over.
#[derive(Debug, thiserror::Error)]
#[error("taking over the sockets of a sandbox")]
pub struct AttachError {
    source: io::Error,
}
