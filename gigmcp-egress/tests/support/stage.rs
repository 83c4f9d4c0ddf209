//! One proxy for many sandboxes, with the internet behind it, and counters in between.
//!
//! Everything runs on one thread: what was written has arrived when the writer has let the others run, so a test decides
//! how a message is cut. The address guard stays on; below it, what passed is dialled on loopback.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gigmcp_egress::{
    Attachment, AuditEvent, AuditKind, AuditSink, AuditUnavailable, BoxFuture, CheckedAddr, Connect, ConnectionCheck,
    CredentialId, CredentialRule, CredentialUnavailable, Credentials, EgressProxy, Grant, GrantUnavailable, Grants,
    HostName, HostPattern, Identity, Intake, Limits, Placeholder, Resolver, Rule, SecretString, Shape, Sink, Verdict,
};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::secrets::{self, SECRET};
use crate::upstream::Upstream;
use crate::wire::{PATIENCE, Wire};

/// The proxy and all that is around it.
pub(crate) struct Stage {
    pub(crate) proxy: EgressProxy,
    pub(crate) upstream: Upstream,
    pub(crate) backstage: Arc<Backstage>,
    names: AtomicUsize,
}

/// The parts that tests change and count.
#[derive(Default)]
pub(crate) struct Backstage {
    grants: Mutex<HashMap<Identity, Arc<Grant>>>,
    pub(crate) secrets: Mutex<HashMap<String, Result<String, CredentialUnavailableKind>>>,
    events: Mutex<HashMap<Identity, mpsc::UnboundedSender<AuditEvent>>>,
    pub(crate) audit_full: AtomicBool,
    answers: Mutex<HashMap<String, Vec<Resolved>>>,
    routes: Mutex<HashMap<IpAddr, SocketAddr>>,
    usual: Mutex<Option<(SocketAddr, SocketAddr)>>,
    dialled: Mutex<Vec<IpAddr>>,
    opened: AtomicUsize,
    resolved: AtomicUsize,
}

type Resolved = Result<Vec<IpAddr>, io::ErrorKind>;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CredentialUnavailableKind {
    Denied,
    Unreachable,
}

/// What was touched so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Touched {
    pub(crate) dialled: usize,
    pub(crate) opened: usize,
    pub(crate) resolved: usize,
}

impl std::ops::Sub for Touched {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            dialled: self.dialled - earlier.dialled,
            opened: self.opened - earlier.opened,
            resolved: self.resolved - earlier.resolved,
        }
    }
}

/// A grant in the making.
pub(crate) struct Plan {
    pub(crate) rules: Vec<Rule>,
    pub(crate) credentials: Vec<CredentialRule>,
}

/// One sandbox, seen from inside.
pub(crate) struct Sandbox {
    pub(crate) identity: Identity,
    pub(crate) placeholder: Placeholder,
    pub(crate) ports: Ports,
    roots: Arc<RootCertStore>,
    tls: HashMap<&'static str, Arc<ClientConfig>>,
    addresses: Mutex<HashMap<String, Ipv4Addr>>,
    events: mpsc::UnboundedReceiver<AuditEvent>,
    attachment: Option<Attachment>,
}

/// Where the sockets of a sandbox listen.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) https: u16,
    pub(crate) http: u16,
    pub(crate) proxy: u16,
    pub(crate) dns_udp: u16,
    pub(crate) dns_tcp: u16,
}

pub(crate) type Tls = TlsStream<TcpStream>;

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(edit: impl FnOnce(&mut Limits)) -> Self {
        crate::log::listen();
        let upstream = Upstream::start().await;
        let backstage = Arc::new(Backstage::default());
        *backstage.usual.lock().unwrap() = Some((upstream.tls, upstream.clear));
        let mut limits = Limits::default();
        limits.dns_pool = "127.64.0.0/16".parse().unwrap();
        // What is tried here is more than any program does.
        limits.requests_per_second = 1_000_000;
        edit(&mut limits);
        let proxy = EgressProxy::builder(backstage.clone(), backstage.clone(), Arc::new(Log(Arc::clone(&backstage))))
            .resolver(backstage.clone())
            .connect(backstage.clone())
            .extra_roots_pem(upstream.authority.pem())
            .limits(limits)
            .build()
            .unwrap();
        Self { proxy, upstream, backstage, names: AtomicUsize::new(0) }
    }

    /// A sandbox with the usual grant: `api.example.com` with a credential; `b.example.com`, one label under
    /// `cdn.example.com` and any depth under `deep.example.com` without; `plain.example.com` in clear text.
    pub(crate) fn sandbox(&self) -> Sandbox {
        self.sandbox_with(|_| ())
    }

    pub(crate) fn sandbox_with(&self, edit: impl FnOnce(&mut Plan)) -> Sandbox {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let identity = Identity::new(format!("sandbox-{number}"));
        let placeholder = Placeholder::mint(&Shape::of(&SecretString::new(SECRET)));
        let hosts = self.grant(&identity, &placeholder, edit);
        let listen = || TcpListener::bind("0.0.0.0:0").unwrap();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let (https, http, proxy, dns_tcp) = (listen(), listen(), listen(), listen());
        let dns_udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let ports = Ports {
            https: port(&https),
            http: port(&http),
            proxy: port(&proxy),
            dns_udp: dns_udp.local_addr().unwrap().port(),
            dns_tcp: port(&dns_tcp),
        };
        let intake =
            Intake { tcp: vec![(443, https), (80, http)], proxy, dns_udp, dns_tcp, check: Arc::new(AnyConnection) };
        let (sender, events) = mpsc::unbounded_channel();
        self.backstage.events.lock().unwrap().insert(identity.clone(), sender);
        let authority = self.proxy.authority(hosts).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&authority.ca_pem()).unwrap()).unwrap();
        let attachment = self.proxy.attach(identity.clone(), intake, authority).unwrap();
        let roots = Arc::new(roots);
        let tls = ["", "http/1.1", "h2"].map(|protocol| (protocol, client_config(&roots, &[protocol])));
        let tls = tls.into_iter().collect();
        let addresses = Mutex::default();
        Sandbox { identity, placeholder, ports, roots, tls, addresses, events, attachment: Some(attachment) }
    }

    /// Sets the grant of a sandbox, from the usual one, and gives its hosts.
    pub(crate) fn grant(
        &self,
        identity: &Identity,
        placeholder: &Placeholder,
        edit: impl FnOnce(&mut Plan),
    ) -> Vec<HostPattern> {
        let hosts = ["api.example.com".parse().unwrap()];
        let sink = Sink::Header { name: None };
        let credential = CredentialRule::new(CredentialId::new("key"), placeholder.clone(), hosts, sink);
        let https = |host: &str| Rule::https(host.parse().unwrap());
        let mut plan = Plan {
            rules: vec![
                https("api.example.com"),
                https("b.example.com"),
                https("*.cdn.example.com"),
                https("**.deep.example.com"),
                https("bücher.example"),
                Rule::http("plain.example.com".parse().unwrap()),
            ],
            credentials: vec![credential],
        };
        edit(&mut plan);
        let hosts = plan.rules.iter().map(|rule| rule.host.clone()).collect();
        let grant = Grant::new(1, plan.rules, plan.credentials).unwrap();
        self.backstage.grants.lock().unwrap().insert(identity.clone(), Arc::new(grant));
        hosts
    }

    pub(crate) fn touched(&self) -> Touched {
        self.backstage.touched()
    }
}

impl Backstage {
    pub(crate) fn touched(&self) -> Touched {
        Touched {
            dialled: self.dialled.lock().unwrap().len(),
            opened: self.opened.load(Ordering::SeqCst),
            resolved: self.resolved.load(Ordering::SeqCst),
        }
    }

    /// From now on the rules of this identity cannot be read.
    pub(crate) fn forget_grant(&self, identity: &Identity) {
        self.grants.lock().unwrap().remove(identity);
    }

    /// The addresses that were dialled, in order.
    pub(crate) fn dialled(&self) -> Vec<IpAddr> {
        self.dialled.lock().unwrap().clone()
    }

    /// The addresses of a name from now on.
    pub(crate) fn resolves(&self, host: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.answers.lock().unwrap().insert(host.into(), vec![Ok(addresses)]);
    }

    /// The answers for a name, one after the other; the last stays.
    pub(crate) fn resolves_in_turn(&self, host: &str, answers: &[Result<&[&str], io::ErrorKind>]) {
        let parsed = |addresses: &[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
        let mut answers: Vec<_> = answers.iter().map(|answer| answer.map(parsed)).collect();
        answers.reverse();
        self.answers.lock().unwrap().insert(host.into(), answers);
    }

    /// Where an address leads to.
    pub(crate) fn route(&self, address: &str, to: SocketAddr) {
        self.routes.lock().unwrap().insert(address.parse().unwrap(), to);
    }

    /// What a credential is from now on.
    pub(crate) fn credential(&self, id: &str, value: Result<&str, CredentialUnavailableKind>) {
        self.secrets.lock().unwrap().insert(id.into(), value.map(str::to_owned));
    }
}

impl Sandbox {
    /// Asks over UDP.
    pub(crate) async fn ask(&self, name: &str, query_type: RecordType) -> Message {
        let (socket, mut buffer) = (self.dns().await, [0; 4096]);
        socket.send(&question(name, query_type)).await.unwrap();
        let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("an answer").unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    async fn dns(&self) -> tokio::net::UdpSocket {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // Connected, so the kernel drops an answer from any other address.
        socket.connect(("127.8.8.8", self.ports.dns_udp)).await.unwrap();
        socket
    }

    /// Asks any bytes over UDP. No answer is an answer too, if the next question is answered.
    pub(crate) async fn ask_raw(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let socket = self.dns().await;
        socket.send(packet).await.unwrap();
        let after = question("b.example.com", RecordType::AAAA);
        socket.send(&after).await.unwrap();
        let mut buffer = [0; 4096];
        let mut length = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("an answer").unwrap();
        let is_ours =
            |buffer: &[u8]| buffer[..2] == packet.get(..2).unwrap_or_default()[..] && buffer[..2] != after[..2];
        // Two questions are answered side by side.
        if !is_ours(&buffer)
            && let Ok(next) = timeout(OVERTAKEN, socket.recv(&mut buffer)).await
        {
            length = next.unwrap();
        }
        is_ours(&buffer).then(|| buffer[..length].to_vec())
    }

    /// The address that stands for a name.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Ipv4Addr, ResponseCode> {
        if let Some(address) = self.addresses.lock().unwrap().get(name) {
            return Ok(*address);
        }
        let answer = self.ask(name, RecordType::A).await;
        match answer.answers.first().map(|record| &record.data) {
            Some(RData::A(address)) => {
                self.addresses.lock().unwrap().insert(name.to_owned(), address.0);
                Ok(address.0)
            }
            _ => Err(answer.metadata.response_code),
        }
    }

    pub(crate) async fn connect(&self, address: Ipv4Addr, port: u16) -> TcpStream {
        let stream = TcpStream::connect((address, port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A TCP connection to port 443 of a name.
    pub(crate) async fn tcp(&self, host: &str) -> TcpStream {
        self.connect(self.resolve(host).await.unwrap(), self.ports.https).await
    }

    /// TLS over some stream, trusting the authority of the proxy alone. `protocol` is what ALPN offers, or nothing.
    pub(crate) async fn handshake<T>(&self, stream: T, sni: &str, protocol: &str) -> io::Result<TlsStream<T>>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let config = self.tls.get(protocol).cloned().unwrap_or_else(|| client_config(&self.roots, &[protocol]));
        let connector = tokio_rustls::TlsConnector::from(config);
        connector.connect(ServerName::try_from(sni.to_owned()).unwrap(), stream).await
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }

    /// A program that has never heard of proxies, on its way to an https host.
    pub(crate) async fn https(&self, host: &str) -> Wire<Tls> {
        Wire::new(self.handshake(self.tcp(host).await, host, "").await.unwrap())
    }

    /// The same, over HTTP/2.
    pub(crate) async fn h2(&self, host: &str) -> io::Result<Tls> {
        self.handshake(self.tcp(host).await, host, "h2").await
    }

    /// The same in clear text.
    pub(crate) async fn http(&self, host: &str) -> Wire<TcpStream> {
        Wire::new(self.connect(self.resolve(host).await.unwrap(), self.ports.http).await)
    }

    /// A connection to the proxy port.
    pub(crate) async fn proxy(&self) -> Wire<TcpStream> {
        Wire::new(self.connect(Ipv4Addr::LOCALHOST, self.ports.proxy).await)
    }

    /// The next decision that was recorded, but for DNS questions that were allowed.
    pub(crate) async fn event(&mut self) -> Option<AuditEvent> {
        loop {
            let event = timeout(PATIENCE, self.events.recv()).await.ok().flatten()?;
            if !is_silent(&event) {
                return Some(event);
            }
        }
    }

    /// Disconnects the sandbox, and gives the decisions nobody has asked for.
    pub(crate) async fn close(&mut self) -> Vec<AuditEvent> {
        if let Some(attachment) = self.attachment.take() {
            attachment.close().await;
        }
        crate::wire::settle().await;
        let mut left = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            if !is_silent(&event) {
                left.push(event);
            }
        }
        left
    }
}

fn is_silent(event: &AuditEvent) -> bool {
    event.kind == AuditKind::Dns && event.verdict == Verdict::Allowed
}

/// What is wrong with an event, whatever it is about: unescaped or endless bytes of a sandbox, or a secret.
pub(crate) fn fault_of(event: &AuditEvent) -> Option<String> {
    let texts = [(&event.host, 256), (&event.method, 32), (&event.path, 1024)];
    for (text, limit) in texts {
        let text = text.as_deref().unwrap_or_default();
        if text.len() > limit || !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Some(format!("the audit holds {} bytes, or others than printable ones: {text:?}", text.len()));
        }
    }
    secrets::found_in(format!("{event:?}").as_bytes())
        .map(|spelling| format!("the audit holds the secret ({spelling})"))
}

/// A DNS question on the wire.
pub(crate) fn question(name: &str, query_type: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), query_type));
    message.to_vec().unwrap()
}

pub(crate) fn client_config(roots: &Arc<RootCertStore>, protocols: &[&str]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(Arc::clone(roots)).with_no_client_auth();
    let named = protocols.iter().filter(|protocol| !protocol.is_empty());
    config.alpn_protocols = named.map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Takes every connection: the listeners of these tests are on loopback.
#[derive(Debug)]
struct AnyConnection;

impl ConnectionCheck for AnyConnection {
    fn check(&self, _: &TcpStream) -> io::Result<()> {
        Ok(())
    }
}

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
        id: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let secret = self.secrets.lock().unwrap().get(id.as_str()).cloned();
        let secret = secret.unwrap_or_else(|| Ok(SECRET.to_owned()));
        Box::pin(async move {
            secret.map(SecretString::from).map_err(|kind| match kind {
                CredentialUnavailableKind::Denied => CredentialUnavailable::Denied,
                CredentialUnavailableKind::Unreachable => CredentialUnavailable::Unreachable { source: None },
            })
        })
    }
}

struct Log(Arc<Backstage>);

impl AuditSink for Log {
    fn ready<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        let full = self.0.audit_full.load(Ordering::SeqCst);
        Box::pin(async move { if full { Err(AuditUnavailable { source: None }) } else { Ok(()) } })
    }

    fn record<'a>(&'a self, event: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        let sender = self.0.events.lock().unwrap().get(&event.identity).cloned();
        Box::pin(
            async move { sender.and_then(|sender| sender.send(event).ok()).ok_or(AuditUnavailable { source: None }) },
        )
    }
}

impl Resolver for Backstage {
    fn resolve<'a>(&'a self, host: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.resolved.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let found = match answers.get_mut(host.as_str()) {
            Some(turns) if turns.len() > 1 => turns.pop().unwrap(),
            Some(turns) => turns[0].clone(),
            None => Ok(vec![PUBLIC]),
        };
        Box::pin(async move { found.map_err(io::Error::from) })
    }
}

impl Connect for Backstage {
    fn connect<'a>(&'a self, address: CheckedAddr) -> BoxFuture<'a, io::Result<TcpStream>> {
        let address = address.socket_addr();
        self.dialled.lock().unwrap().push(address.ip());
        let (tls, clear) = self.usual.lock().unwrap().unwrap();
        let usual = if address.port() == 80 { clear } else { tls };
        let to = self.routes.lock().unwrap().get(&address.ip()).copied().unwrap_or(usual);
        Box::pin(TcpStream::connect(to))
    }
}

/// Not one of any special purpose.
pub(crate) const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));

/// How far an answer may come behind that to the question after it.
const OVERTAKEN: Duration = Duration::from_secs(2);
