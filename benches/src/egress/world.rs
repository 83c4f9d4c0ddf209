//! Our proxy in a process of its own, in a world where the origin has a public address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gigmcp_egress::{
    Attachment, AuditEvent, AuditSink, AuditUnavailable, BoxFuture, CheckedAddr, Connect, ConnectionCheck,
    CredentialId, CredentialRule, CredentialUnavailable, Credentials, EgressProxy, Grant, GrantUnavailable, Grants,
    HostName, HostPattern, Identity, Intake, Limits, Placeholder, Rate, Resolver, Rule, SecretString, Shape, Sink,
};
use tokio::net::TcpStream;

use super::certificates;
use crate::Failure;
use crate::process::serve_until_orphaned;

pub(crate) const HOST: &str = "api.example.com";
/// Any name below gets a certificate of its own.
pub(crate) const MINT_WILDCARD: &str = "*.mint.example.com";
pub(crate) const SECRET: &str = "sk-benchmark-0123456789abcdefghijklmnopqrstuv";
/// Our authorities, in the directory of the bench.
pub(crate) const OUR_CA: &str = "our-ca.pem";
pub(crate) const NEIGHBOUR_CA: &str = "neighbour-ca.pem";

/// What one sandbox may take of the proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Bounds {
    /// The defaults.
    Default,
    /// One sandbox stands for a thousand.
    Wide,
}

/// Serves two sandboxes until the bench ends. Says the placeholder and their ports.
pub(crate) async fn serve(directory: &Path, origin_port: u16, bounds: Bounds) -> Result<(), Failure> {
    let world = Arc::new(World::new(origin_port)?);
    let mut limits = Limits::default();
    if bounds == Bounds::Wide {
        limits.connections = 4096;
        limits.requests_per_second = 1_000_000;
        limits.mints = Rate { count: 1_000_000, per: Duration::from_secs(1) };
        limits.dns_wildcard_names = 1_000_000;
    }
    let proxy =
        EgressProxy::builder(Arc::<World>::clone(&world), Arc::<World>::clone(&world), Arc::<World>::clone(&world))
            .extra_roots_pem(std::fs::read(directory.join(certificates::CA))?)
            .resolver(Arc::<World>::clone(&world))
            .connect(Arc::<World>::clone(&world))
            .limits(limits)
            .build()?;
    let (_one, port) = attach(&proxy, "bench", &directory.join(OUR_CA))?;
    let (_other, neighbour) = attach(&proxy, "neighbour", &directory.join(NEIGHBOUR_CA))?;
    serve_until_orphaned(&format!("{} {port} {neighbour}", world.placeholder)).await
}

fn attach(proxy: &EgressProxy, name: &str, ca: &Path) -> Result<(Attachment, u16), Failure> {
    let authority = proxy.authority([HOST.parse()?, MINT_WILDCARD.parse()?])?;
    std::fs::write(ca, authority.ca_pem())?;
    let listen = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (listener, dns_tcp) = (listen()?, listen()?);
    let port = listener.local_addr()?.port();
    let dns_udp = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let intake = Intake { tcp: Vec::new(), proxy: listener, dns_udp, dns_tcp, check: Arc::new(AnyConnection) };
    Ok((proxy.attach(Identity::new(name), intake, authority)?, port))
}

/// The rules, the secret, and where the origin is.
pub(crate) struct World {
    pub(crate) grant: Arc<Grant>,
    pub(crate) placeholder: Placeholder,
    secret: SecretString,
    origin: SocketAddr,
}

impl World {
    pub(crate) fn new(origin_port: u16) -> Result<Self, Failure> {
        let secret = SecretString::new(SECRET);
        let placeholder = Placeholder::mint(&Shape::of(&secret));
        let (host, mint): (HostPattern, HostPattern) = (HOST.parse()?, MINT_WILDCARD.parse()?);
        let credential = CredentialRule::new(
            CredentialId::new("KEY"),
            placeholder.clone(),
            [host.clone(), mint.clone()],
            Sink::Header { name: None },
        );
        let rules = [host, mint].map(|host| {
            let mut rule = Rule::https(host);
            rule.ports = vec![origin_port];
            rule
        });
        let grant = Arc::new(Grant::new(1, rules.into(), vec![credential])?);
        Ok(Self { grant, placeholder, secret, origin: (Ipv4Addr::LOCALHOST, origin_port).into() })
    }
}

/// Every connection is the sandbox's.
#[derive(Debug)]
struct AnyConnection;

impl ConnectionCheck for AnyConnection {
    fn check(&self, _: &TcpStream) -> io::Result<()> {
        Ok(())
    }
}

impl Grants for World {
    fn grant<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        Box::pin(async { Ok(Arc::clone(&self.grant)) })
    }
}

impl Credentials for World {
    fn credential<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        Box::pin(async { Ok(self.secret.clone()) })
    }
}

impl AuditSink for World {
    fn ready<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }

    fn record<'a>(&'a self, _: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }
}

impl Resolver for World {
    fn resolve<'a>(&'a self, _: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec![IpAddr::from([93, 184, 215, 14])]) })
    }
}

impl Connect for World {
    fn connect<'a>(&'a self, _: CheckedAddr) -> BoxFuture<'a, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(self.origin))
    }
}
