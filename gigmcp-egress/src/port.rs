use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use http::header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::AuditKind;
use crate::authority::SandboxAuthority;
use crate::body::Body;
use crate::grant::BoxFuture;
use crate::identity::Identity;
use crate::idle::IdleStream;
use crate::intake::Site;
use crate::policy::within;
use crate::proxy::{Arrival, AttachError, EgressProxy, Shared};
use crate::refusal::Refusal;
use crate::tunnel;

/// Tells whose a request to a [`ProxyPort`] is, for embedders whose programs have no network of their own: by the address it
/// comes from, by a token in `Proxy-Authorization`, or by both.
pub trait Identify: Send + Sync {
    /// Who asks; `None` if that cannot be told, and the request is refused with `407`. Compare tokens in constant time.
    fn identify<'a>(
        &'a self,
        peer: SocketAddr,
        authorization: Option<&'a HeaderValue>,
    ) -> BoxFuture<'a, Option<Identity>>;
}

/// One proxy port for many programs, which must be told of it (`HTTPS_PROXY`): what is not sent to it, it does not see. Made by
/// [`EgressProxy::listen`]; dropping it closes the listener and all connections.
#[must_use = "dropping the port closes it"]
pub struct ProxyPort {
    inner: Arc<Inner>,
}

/// What the connections of a port share.
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    identify: Arc<dyn Identify>,
    sites: Mutex<HashMap<Identity, Arc<Site>>>,
    token: CancellationToken,
}

/// Lets an identity use a port until it is dropped; its connections end with it.
#[must_use = "dropping the admission ends it"]
pub struct Admission {
    identity: Identity,
    site: Arc<Site>,
    port: Arc<Inner>,
}

/// Whose a connection has turned out to be. A connection belongs to one identity, however many requests it carries.
#[derive(Default)]
pub(crate) struct Caller(Mutex<Option<(Arc<Site>, OwnedSemaphorePermit)>>);

impl EgressProxy {
    /// Serves a proxy port for all whom `identify` tells apart and [`ProxyPort::admit`] has admitted.
    ///
    /// # Errors
    /// If the listener cannot be registered with the runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn listen(
        &self,
        listener: std::net::TcpListener,
        identify: Arc<dyn Identify>,
    ) -> Result<ProxyPort, AttachError> {
        let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
        let listener = listener.map_err(AttachError::new)?;
        let (shared, token) = (Arc::clone(self.shared()), CancellationToken::new());
        let inner = Arc::new(Inner { shared, identify, sites: Mutex::default(), token: token.clone() });
        tokio::spawn(token.run_until_cancelled_owned(accept(listener, Arc::clone(&inner))));
        Ok(ProxyPort { inner })
    }
}

impl ProxyPort {
    /// Lets an identity use the port. It is shown certificates of `authority`. Admitting it again replaces what was before.
    pub fn admit(&self, identity: Identity, authority: SandboxAuthority) -> Admission {
        let inner = &self.inner;
        let token = inner.token.child_token();
        let site = Site::new(Arc::clone(&inner.shared), identity.clone(), authority, TaskTracker::new(), token);
        let site = Arc::new(site);
        inner.shared.count(&identity, Arrival::Attached);
        inner.sites().insert(identity.clone(), Arc::clone(&site));
        Admission { identity, site, port: Arc::clone(inner) }
    }
}

impl Drop for ProxyPort {
    fn drop(&mut self) {
        self.inner.token.cancel();
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut sites = self.port.sites();
        if sites.get(&self.identity).is_some_and(|site| Arc::ptr_eq(site, &self.site)) {
            sites.remove(&self.identity);
        }
        drop(sites);
        self.site.token.cancel();
        self.port.shared.count(&self.identity, Arrival::Detached);
    }
}

impl Inner {
    fn sites(&self) -> MutexGuard<'_, HashMap<Identity, Arc<Site>>> {
        self.sites.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whose a request is.
    ///
    /// # Errors
    /// If that cannot be told, is not admitted, or is another than that of earlier requests on the connection.
    pub(crate) async fn site(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        caller: &Caller,
    ) -> Result<Arc<Site>, Refusal> {
        let mut authorizations = headers.get_all(PROXY_AUTHORIZATION).iter();
        let (authorization, None) = (authorizations.next(), authorizations.next()) else {
            return Err(Refusal::ProxyIdentity);
        };
        let deadline = self.shared.policy().limits.lookup_deadline;
        let identity = within(deadline, self.identify.identify(peer, authorization)).await.flatten();
        let identity = identity.ok_or(Refusal::ProxyIdentity)?;
        let site = self.sites().get(&identity).cloned().ok_or(Refusal::ProxyIdentity)?;
        let mut known = caller.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*known {
            Some((known, _)) if Arc::ptr_eq(known, &site) => Ok(site),
            Some(_) => Err(Refusal::IdentityMismatch),
            None => {
                let place = site.place().ok_or(Refusal::RateLimited)?;
                *known = Some((Arc::clone(&site), place));
                Ok(site)
            }
        }
    }

    /// Records and answers a request of somebody unknown.
    pub(crate) async fn refuse(&self, refusal: Refusal) -> Response<Body> {
        let policy = self.shared.policy();
        let entry = policy.entry(AuditKind::Connect, &Identity::new("unidentified"));
        let mut response = policy.refuse(entry, refusal).await;
        if refusal == Refusal::ProxyIdentity {
            response.headers_mut().insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"gigmcp\""));
        }
        response
    }
}

async fn accept(listener: TcpListener, port: Arc<Inner>) {
    let places = Arc::new(Semaphore::new(port.shared.policy().limits.port_connections.max(1)));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let accepted =
            listener.accept().await.and_then(|(stream, peer)| stream.set_nodelay(true).map(|()| (stream, peer)));
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause(&error).await;
                continue;
            }
        };
        let (stream, port) = (IdleStream::new(stream, port.shared.policy().limits.idle_deadline), Arc::clone(&port));
        tokio::spawn(async move {
            let token = port.token.clone();
            token.run_until_cancelled(Box::pin(tunnel::serve_port(stream, peer, port))).await;
            drop(place);
        });
    }
}

/// The connection is gone already, or descriptors are short; either passes.
async fn pause(error: &io::Error) {
    tracing::debug!(error = error as &dyn std::error::Error, "connection not accepted");
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
}

impl fmt::Debug for ProxyPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyPort").finish_non_exhaustive()
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("identity", &self.identity).finish_non_exhaustive()
    }
}
