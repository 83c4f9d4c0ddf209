//! A proxy with sandboxes on one side and the internet on the other, and counters in between.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gigmcp_egress::{
    Attachment, AuditEvent, AuditKind, AuditSink, AuditUnavailable, BoxFuture, CheckedAddr, Connect, ConnectionCheck,
    CredentialId, CredentialRule, CredentialUnavailable, Credentials, EgressProxy, EgressProxyBuilder, Grant,
    GrantUnavailable, Grants, HostName, Identity, Intake, Limits, Placeholder, Resolver, Rule, SandboxAuthority,
    SecretString, Shape, Sink, Verdict,
};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::origin::Origin;
use crate::wire::Wire;

pub(crate) const SECRET: &str = "sk-live-S3NT1N3L+/0123456789abcdef";

/// Takes every connection: the listeners of these tests are on loopback.
#[derive(Debug)]
struct AnyConnection;

impl ConnectionCheck for AnyConnection {
    fn check(&self, _: &TcpStream) -> io::Result<()> {
        Ok(())
    }
}

/// The parts that the tests change and count.
#[derive(Default)]
pub(crate) struct Backstage {
    grants: Mutex<HashMap<Identity, Arc<Grant>>>,
    secret: Mutex<Option<String>>,
    pub(crate) opened: AtomicUsize,
    pub(crate) audit_full: AtomicBool,
    addresses: Mutex<HashMap<String, Vec<IpAddr>>>,
    pub(crate) resolved: AtomicUsize,
    /// Whether names under `hang.` are answered by now.
    pub(crate) unhung: tokio::sync::watch::Sender<bool>,
    pub(crate) dialled: AtomicUsize,
    origin: Mutex<Option<(SocketAddr, SocketAddr)>>,
    /// What stands at `TCP_PORT` of every host.
    plain: Mutex<Option<SocketAddr>>,
}

struct Log(Arc<Backstage>, mpsc::UnboundedSender<AuditEvent>);

impl Grants for Backstage {
    fn grant<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        let grant = self.grants.lock().unwrap().get(identity).cloned();
        Box::pin(async move { grant.ok_or(GrantUnavailable { source: None }) })
    }
}

impl Credentials for Backstage {
    fn credential<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let secret = self.secret.lock().unwrap().clone();
        Box::pin(async move { secret.map(SecretString::from).ok_or(CredentialUnavailable::Denied) })
    }
}

impl AuditSink for Log {
    fn ready<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        let full = self.0.audit_full.load(Ordering::SeqCst);
        Box::pin(async move { if full { Err(AuditUnavailable { source: None }) } else { Ok(()) } })
    }

    fn record<'a>(&'a self, event: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async move { self.1.send(event).map_err(|_| AuditUnavailable { source: None }) })
    }
}

impl Resolver for Backstage {
    fn resolve<'a>(&'a self, host: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.resolved.fetch_add(1, Ordering::SeqCst);
        let found = self.addresses.lock().unwrap().get(host.as_str()).cloned();
        let mut unhung = host.as_str().contains("hang").then(|| self.unhung.subscribe());
        Box::pin(async move {
            if let Some(unhung) = &mut unhung {
                let _ = unhung.wait_for(|unhung| *unhung).await;
            }
            Ok(found.unwrap_or_else(|| vec![PUBLIC]))
        })
    }
}

impl Connect for Backstage {
    fn connect<'a>(&'a self, address: CheckedAddr) -> BoxFuture<'a, io::Result<TcpStream>> {
        self.dialled.fetch_add(1, Ordering::SeqCst);
        let (tls, clear) = self.origin.lock().unwrap().unwrap();
        let origin = match address.socket_addr().port() {
            80 => clear,
            TCP_PORT => self.plain.lock().unwrap().unwrap_or(tls),
            _ => tls,
        };
        Box::pin(TcpStream::connect(origin))
    }
}

/// One proxy, its origin, and what it recorded.
pub(crate) struct World {
    pub(crate) proxy: EgressProxy,
    pub(crate) origin: Origin,
    pub(crate) backstage: Arc<Backstage>,
    events: mpsc::UnboundedReceiver<AuditEvent>,
    attachments: Vec<Attachment>,
}

/// What a test may change of a grant before it is made.
pub(crate) struct Policy {
    pub(crate) rules: Vec<Rule>,
    pub(crate) credentials: Vec<CredentialRule>,
}

/// One sandbox, seen from inside.
pub(crate) struct Sandbox {
    pub(crate) identity: Identity,
    pub(crate) placeholder: Placeholder,
    https: u16,
    http: u16,
    proxy: u16,
    dns_udp: u16,
    dns_tcp: u16,
    tcp: u16,
    pub(crate) authority: SandboxAuthority,
    tls: TlsConnector,
}

/// Whether upstreams are trusted.
#[derive(Clone, Copy)]
pub(crate) enum Trust {
    Origin,
    PublicOnly,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Trust::Origin, |_| ()).await
    }

    pub(crate) async fn with(trust: Trust, edit: impl FnOnce(&mut Limits)) -> Self {
        Self::built(trust, edit, |builder| builder).await
    }

    /// The same, with the proxy built so.
    pub(crate) async fn built(
        trust: Trust,
        edit: impl FnOnce(&mut Limits),
        build: impl FnOnce(EgressProxyBuilder) -> EgressProxyBuilder,
    ) -> Self {
        let origin = Origin::start().await;
        let backstage = Arc::new(Backstage::default());
        *backstage.origin.lock().unwrap() = Some((origin.tls, origin.clear));
        *backstage.secret.lock().unwrap() = Some(SECRET.into());
        let (sender, events) = mpsc::unbounded_channel();
        let mut limits = Limits::default();
        limits.dns_pool = "127.64.0.0/16".parse().unwrap();
        edit(&mut limits);
        let log = Arc::new(Log(Arc::clone(&backstage), sender));
        let mut builder = EgressProxy::builder(backstage.clone(), backstage.clone(), log)
            .resolver(backstage.clone())
            .connect(backstage.clone())
            .limits(limits);
        if matches!(trust, Trust::Origin) {
            builder = builder.extra_roots_pem(origin.ca_pem.clone());
        }
        Self { proxy: build(builder).build().unwrap(), origin, backstage, events, attachments: Vec::new() }
    }

    /// Starts a sandbox that may reach `api.example.com` with a credential, two others without, and one in clear text.
    pub(crate) fn sandbox(&mut self, name: &str) -> Sandbox {
        self.sandbox_checked(name, Arc::new(AnyConnection))
    }

    /// The same, with its connections checked so.
    pub(crate) fn sandbox_checked(&mut self, name: &str, check: Arc<dyn ConnectionCheck>) -> Sandbox {
        let identity = Identity::new(name);
        let placeholder = Placeholder::mint(&Shape::of(&SecretString::new(SECRET)));
        self.grant(&identity, &placeholder, |_| ());
        let listen = || TcpListener::bind("0.0.0.0:0").unwrap();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let (https, http, proxy, dns_tcp, tcp) = (listen(), listen(), listen(), listen(), listen());
        let dns_udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let hosts = ["api.example.com", "b.example.com", "*.cdn.example.com"].map(|host| host.parse().unwrap());
        let authority = self.proxy.authority(hosts).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&authority.ca_pem()).unwrap()).unwrap();
        let sandbox = Sandbox {
            identity: identity.clone(),
            placeholder,
            https: port(&https),
            http: port(&http),
            proxy: port(&proxy),
            dns_udp: dns_udp.local_addr().unwrap().port(),
            dns_tcp: port(&dns_tcp),
            tcp: port(&tcp),
            authority: authority.clone(),
            tls: client_config(roots).into(),
        };
        let intake = Intake { tcp: vec![(443, https), (80, http), (TCP_PORT, tcp)], proxy, dns_udp, dns_tcp, check };
        self.attachments.push(self.proxy.attach(identity, intake, authority).unwrap());
        sandbox
    }

    /// Sets the grant of a sandbox, from the usual one.
    pub(crate) fn grant(&self, identity: &Identity, placeholder: &Placeholder, edit: impl FnOnce(&mut Policy)) {
        let hosts = ["api.example.com".parse().unwrap()];
        let credential =
            CredentialRule::new(CredentialId::new("key"), placeholder.clone(), hosts, Sink::Header { name: None });
        let https = |host: &str| Rule::https(host.parse().unwrap());
        let mut policy = Policy {
            rules: vec![
                https("api.example.com"),
                https("b.example.com"),
                https("*.cdn.example.com"),
                Rule::http("plain.example.com".parse().unwrap()),
            ],
            credentials: vec![credential],
        };
        edit(&mut policy);
        let grant = Grant::new(7, policy.rules, policy.credentials).unwrap();
        self.backstage.grants.lock().unwrap().insert(identity.clone(), Arc::new(grant));
    }

    /// Has connections to port 443 go to another origin.
    pub(crate) fn set_tls_origin(&self, tls: SocketAddr) {
        *self.backstage.origin.lock().unwrap() = Some((tls, self.origin.clear));
    }

    pub(crate) fn set_secret(&self, secret: Option<&str>) {
        *self.backstage.secret.lock().unwrap() = secret.map(str::to_owned);
    }

    pub(crate) fn set_addresses(&self, host: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.backstage.addresses.lock().unwrap().insert(host.into(), addresses);
    }

    /// Makes this the TLS origin of every host.
    pub(crate) fn set_origin(&self, tls: SocketAddr) {
        let clear = self.origin.clear;
        *self.backstage.origin.lock().unwrap() = Some((tls, clear));
    }

    /// Makes this what stands at [`TCP_PORT`] of every host.
    pub(crate) fn set_plain(&self, plain: SocketAddr) {
        *self.backstage.plain.lock().unwrap() = Some(plain);
    }

    /// Ends everything and gives all that was recorded, but for DNS questions that were allowed.
    pub(crate) async fn finish(self) -> Vec<AuditEvent> {
        let Self { proxy, mut events, attachments, .. } = self;
        for attachment in attachments {
            attachment.close().await;
        }
        drop(proxy);
        let mut recorded = Vec::new();
        // Ends when the last holder of the sink is gone, so nothing can come later.
        while let Some(event) = events.recv().await {
            if event.kind != AuditKind::Dns || event.verdict != Verdict::Allowed {
                recorded.push(event);
            }
        }
        recorded
    }

    /// Ends everything, and checks that there was exactly this one decision and that nothing was touched for it.
    pub(crate) async fn refused_untouched(self, case: &str, code: &str) -> AuditEvent {
        let backstage = Arc::clone(&self.backstage);
        let mut events = self.finish().await;
        let codes: Vec<_> = events.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, [code], "{case}: exactly one audit event");
        assert_eq!(backstage.dialled.load(Ordering::SeqCst), 0, "{case}: no upstream connection");
        assert_eq!(backstage.opened.load(Ordering::SeqCst), 0, "{case}: no credential was read");
        let event = events.remove(0);
        assert!(!format!("{event:?}").contains("S3NT1N3L"), "{case}: no secret in the audit");
        event
    }
}

impl Sandbox {
    /// Asks over UDP for a type, at some address of the sandbox.
    pub(crate) async fn ask(&self, name: &str, query_type: RecordType) -> Message {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // Connected, so the kernel drops an answer from any other address.
        socket.connect(("127.8.8.8", self.dns_udp)).await.unwrap();
        socket.send(&question(name, query_type)).await.unwrap();
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).await.unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    /// The address that stands for a name.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Ipv4Addr, ResponseCode> {
        let answer = self.ask(name, RecordType::A).await;
        match answer.answers.first().map(|record| &record.data) {
            Some(RData::A(address)) => Ok(address.0),
            _ => Err(answer.metadata.response_code),
        }
    }

    pub(crate) async fn dns_tcp(&self) -> TcpStream {
        TcpStream::connect(("127.8.8.8", self.dns_tcp)).await.unwrap()
    }

    /// A TCP connection to port 443 at an address.
    pub(crate) async fn connect(&self, address: Ipv4Addr) -> TcpStream {
        TcpStream::connect((address, self.https)).await.unwrap()
    }

    /// A TCP connection to [`TCP_PORT`] of a host.
    pub(crate) async fn tcp(&self, host: &str) -> TcpStream {
        TcpStream::connect((self.resolve(host).await.unwrap(), self.tcp)).await.unwrap()
    }

    /// TLS over some stream, trusting the authority of the proxy alone.
    pub(crate) async fn handshake<T>(&self, stream: T, sni: &str) -> io::Result<TlsStream<T>>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        self.tls.connect(ServerName::try_from(sni.to_owned()).unwrap(), stream).await
    }

    /// A program that has never heard of proxies, on its way to an https host.
    pub(crate) async fn https(&self, host: &str) -> Wire<TlsStream<TcpStream>> {
        let address = self.resolve(host).await.unwrap();
        Wire::new(self.handshake(self.connect(address).await, host).await.unwrap())
    }

    /// The same, offering a protocol.
    pub(crate) async fn speaking(&self, protocol: &str, host: &str) -> TlsStream<TcpStream> {
        let stream = self.connect(self.resolve(host).await.unwrap()).await;
        stream.set_nodelay(true).unwrap();
        let tls = self.tls.with_alpn(vec![protocol.as_bytes().to_vec()]);
        tls.connect(ServerName::try_from(host.to_owned()).unwrap(), stream).await.unwrap()
    }

    /// The same in clear text.
    pub(crate) async fn http(&self, host: &str) -> Wire<TcpStream> {
        self.http_at(self.resolve(host).await.unwrap()).await
    }

    /// The same to a name that was resolved before.
    pub(crate) async fn http_at(&self, address: Ipv4Addr) -> Wire<TcpStream> {
        Wire::new(TcpStream::connect((address, self.http)).await.unwrap())
    }

    /// A connection to the proxy port.
    pub(crate) async fn proxy(&self) -> Wire<TcpStream> {
        Wire::new(TcpStream::connect(("127.0.0.1", self.proxy)).await.unwrap())
    }
}

/// A DNS question on the wire.
pub(crate) fn question(name: &str, query_type: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), query_type));
    message.to_vec().unwrap()
}

pub(crate) fn client_config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// What must come, and comes at once.
pub(crate) async fn soon<F: Future>(coming: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), coming).await.expect("it never came")
}

/// Waits for what nothing tells of.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    soon(async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A deadline that runs out: longer than what comes before it takes on a machine that does much else.
pub(crate) const RUNS_OUT: Duration = Duration::from_secs(2);

/// Where programs connect that speak no HTTP.
pub(crate) const TCP_PORT: u16 = 5432;

/// Not one of any special purpose.
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));
