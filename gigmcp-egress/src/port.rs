use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::{HeaderValue, Request, Response};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

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
use crate::strangers::{self, Strangers};
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
    strangers: Arc<Strangers>,
    sites: Mutex<HashMap<Identity, Arc<Site>>>,
    token: CancellationToken,
}

/// Lets an identity use a port until it is dropped; all that is under way on its connections ends with it.
#[must_use = "dropping the admission ends it"]
pub struct Admission {
    identity: Identity,
    site: Arc<Site>,
    port: Arc<Inner>,
}

/// Whose a connection has turned out to be. A connection belongs to one identity, however many requests it carries.
pub(crate) struct Caller {
    peer: SocketAddr,
    standing: watch::Sender<Standing>,
}

enum Standing {
    Stranger(strangers::Place),
    Known(Known),
}

struct Known {
    site: Arc<Site>,
    /// Among the connections of its identity.
    _place: OwnedSemaphorePermit,
    /// What is under way for the identity, it is not forgotten before.
    _task: TaskTrackerToken,
}

/// Why a request got no further, and whose it is as far as that is known.
struct Refused {
    refusal: Refusal,
    identity: Option<Identity>,
}

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
        let strangers = Arc::new(Strangers::new(shared.policy().limits.port_connections));
        let inner = Arc::new(Inner { shared, identify, strangers, sites: Mutex::default(), token: token.clone() });
        tokio::spawn(token.run_until_cancelled_owned(accept(listener, Arc::clone(&inner))));
        Ok(ProxyPort { inner })
    }
}

impl ProxyPort {
    /// Lets an identity use the port. It is shown certificates of `authority`. Admitting it again replaces what was before, and ends
    /// its connections.
    pub fn admit(&self, identity: Identity, authority: SandboxAuthority) -> Admission {
        let inner = &self.inner;
        let token = inner.token.child_token();
        let site = Site::new(Arc::clone(&inner.shared), identity.clone(), authority, TaskTracker::new(), token);
        let site = Arc::new(site);
        inner.shared.count(&identity, Arrival::Attached);
        if let Some(before) = inner.sites().insert(identity.clone(), Arc::clone(&site)) {
            before.token.cancel();
        }
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
        self.port.shared.detach(&self.identity, &self.site.tasks);
    }
}

impl Inner {
    fn sites(&self) -> MutexGuard<'_, HashMap<Identity, Arc<Site>>> {
        self.sites.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The site of whose request this is, or the answer to it.
    pub(crate) async fn site(&self, head: &Request<()>, caller: &Caller) -> Result<Arc<Site>, Response<Body>> {
        match self.identified(head, caller).await {
            Ok(site) => Ok(site),
            Err(refused) => Err(self.refuse(refused, Some(head), caller).await),
        }
    }

    /// Records and answers what stood where a request should have.
    pub(crate) async fn refuse_nonsense(&self, refusal: Refusal, caller: &Caller) -> Response<Body> {
        self.refuse(Refused { refusal, identity: caller.identity() }, None, caller).await
    }

    async fn identified(&self, head: &Request<()>, caller: &Caller) -> Result<Arc<Site>, Refused> {
        let known = caller.identity();
        let unclear = || Refused { refusal: Refusal::ProxyIdentity, identity: known.clone() };
        let mut authorizations = head.headers().get_all(PROXY_AUTHORIZATION).iter();
        let (authorization, None) = (authorizations.next(), authorizations.next()) else { return Err(unclear()) };
        let deadline = self.shared.policy().limits.lookup_deadline;
        let identity = within(deadline, self.identify.identify(caller.peer, authorization)).await.flatten();
        let identity = identity.ok_or_else(unclear)?;
        let site = self.sites().get(&identity).cloned().ok_or_else(unclear)?;
        match &known {
            Some(known) if *known != identity => {
                Err(Refused { refusal: Refusal::IdentityMismatch, identity: Some(known.clone()) })
            }
            // Of an admission that was replaced: this connection is about to end.
            Some(_) if !caller.is_of(&site) => Err(unclear()),
            Some(_) => Ok(site),
            None => {
                let refused = || Refused { refusal: Refusal::RateLimited, identity: Some(identity) };
                caller.becomes(&site).ok_or_else(refused)?;
                Ok(site)
            }
        }
    }

    async fn refuse(&self, refused: Refused, head: Option<&Request<()>>, caller: &Caller) -> Response<Body> {
        let (policy, Refused { refusal, identity }) = (self.shared.policy(), refused);
        let entry = |whose: &Identity| match head {
            Some(head) => tunnel::entry(policy, whose, head),
            None => policy.entry(AuditKind::Connect, whose),
        };
        let mut response = match identity {
            Some(identity) => policy.refuse(entry(&identity), refusal).await,
            None => {
                self.strangers.slow_down(caller.peer.ip(), &policy.limits).await;
                policy.refuse_now(entry(&Identity::new("unidentified")), refusal).await
            }
        };
        if refusal == Refusal::ProxyIdentity {
            response.headers_mut().insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"gigmcp\""));
        }
        response
    }
}

impl Caller {
    /// Waits until the connection must end: with the admission of whose it is, or because it does not say whose while there is
    /// time and a place for that.
    pub(crate) async fn is_over(&self, deadline: Duration) {
        let lost = match &*self.standing.borrow() {
            Standing::Stranger(place) => place.lost.clone(),
            Standing::Known(known) => known.site.token.clone(),
        };
        let mut standing = self.standing.subscribe();
        let known = async {
            let known = standing.wait_for(|standing| matches!(standing, Standing::Known(_))).await;
            match known.as_deref() {
                Ok(Standing::Known(known)) => known.site.token.clone(),
                Ok(Standing::Stranger(_)) | Err(_) => lost.clone(),
            }
        };
        let known = tokio::select! {
            biased;
            known = known => known,
            () = lost.cancelled() => return,
            () = tokio::time::sleep(deadline) => return,
        };
        known.cancelled().await;
    }

    fn identity(&self) -> Option<Identity> {
        match &*self.standing.borrow() {
            Standing::Known(known) => Some(known.site.identity.clone()),
            Standing::Stranger(_) => None,
        }
    }

    fn is_of(&self, site: &Arc<Site>) -> bool {
        matches!(&*self.standing.borrow(), Standing::Known(known) if Arc::ptr_eq(&known.site, site))
    }

    /// Makes it a connection of this site; `None` if there are too many.
    fn becomes(&self, site: &Arc<Site>) -> Option<()> {
        let known = Known { site: Arc::clone(site), _place: site.place()?, _task: site.tasks.token() };
        self.standing.send_replace(Standing::Known(known));
        Some(())
    }
}

async fn accept(listener: TcpListener, port: Arc<Inner>) {
    loop {
        let accepted =
            listener.accept().await.and_then(|(stream, peer)| stream.set_nodelay(true).map(|()| (stream, peer)));
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause(&error).await;
                continue;
            }
        };
        let stream = IdleStream::new(stream, port.shared.policy().limits.idle_deadline);
        let standing = watch::Sender::new(Standing::Stranger(port.strangers.enter(peer.ip())));
        let (caller, port) = (Caller { peer, standing }, Arc::clone(&port));
        tokio::spawn(async move {
            let token = port.token.clone();
            token.run_until_cancelled(Box::pin(tunnel::serve_port(stream, caller, port))).await;
        });
    }
}

/// The connection is gone already, or descriptors are short; either passes.
async fn pause(error: &io::Error) {
    tracing::debug!(error = error as &dyn std::error::Error, "connection not accepted");
    tokio::time::sleep(Duration::from_millis(10)).await;
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
