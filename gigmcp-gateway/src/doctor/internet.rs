//! What stands for the internet while runtimes are tried: one host, whose TLS origin is in this process.
//!
//! The proxy is the real one and guards addresses as ever: the host has a public address, and what the guard let through
//! is dialled here instead of there.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use gigmcp_egress::{
    AuditEvent, AuditSink, AuditUnavailable, BoxFuture, CheckedAddr, Connect, CredentialId, CredentialUnavailable,
    Credentials, EgressProxy, Grant, GrantUnavailable, Grants, HostName, Identity, Resolver, Rule, SecretString,
};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::output::Failure;

/// The one host there is.
pub(super) const HOST: &str = "runtimes.example.com";

/// The origin, and a proxy that leads to it. Ends when dropped.
pub(super) struct Internet {
    pub(super) proxy: EgressProxy,
    origin: AbortHandle,
}

impl Internet {
    /// Starts the origin and the proxy.
    pub(super) async fn start() -> Result<Self, Failure> {
        let (root, acceptor) = certificates()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let office = Arc::new(Office { origin: listener.local_addr()? });
        let builder = EgressProxy::builder(
            Arc::<Office>::clone(&office),
            Arc::<Office>::clone(&office),
            Arc::<Office>::clone(&office),
        );
        let proxy = builder.extra_roots_pem(root).resolver(Arc::<Office>::clone(&office)).connect(office).build()?;
        Ok(Self { proxy, origin: tokio::spawn(serve(listener, acceptor)).abort_handle() })
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.origin.abort();
    }
}

/// What a program must print that got the origin's answer to this path.
pub(super) fn answer(path: &str) -> String {
    match path {
        // As `git ls-remote` wants it from a server that knows nothing of git.
        "/git/info/refs" => format!("{}\trefs/heads/gigmcp\n", "0123456789".repeat(4)),
        "/git/HEAD" => "ref: refs/heads/gigmcp\n".to_owned(),
        _ => format!("gigmcp answers {path}\n"),
    }
}

struct Office {
    origin: SocketAddr,
}

impl Grants for Office {
    fn grant<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        let rules = vec![Rule::https(HOST.parse().expect("a host"))];
        Box::pin(async { Ok(Arc::new(Grant::new(1, rules, Vec::new()).expect("one rule contradicts nothing"))) })
    }
}

impl Credentials for Office {
    fn credential<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        Box::pin(async { Err(CredentialUnavailable::Denied) })
    }
}

impl AuditSink for Office {
    fn ready<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }

    fn record<'a>(&'a self, event: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        tracing::debug!(runtime = %event.identity, host = event.host, verdict = %event.verdict, "egress");
        Box::pin(async { Ok(()) })
    }
}

impl Resolver for Office {
    fn resolve<'a>(&'a self, _: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec![PUBLIC]) })
    }
}

impl Connect for Office {
    fn connect<'a>(&'a self, _: CheckedAddr) -> BoxFuture<'a, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(self.origin))
    }
}

fn certificates() -> Result<(String, TlsAcceptor), Failure> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec![HOST.to_owned()])?.signed_by(&key, &root)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    Ok((root.pem(), TlsAcceptor::from(Arc::new(config))))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request: Request<Incoming>| async move {
                Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(answer(request.uri().path()))))
            });
            // What became of the connection, the runtime says.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// An address of the public internet that is never dialled.
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 215, 14));
