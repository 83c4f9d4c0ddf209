//! TLS handshakes as bytes, so that a test can begin one as no library would.

use std::sync::Arc;
use std::time::Duration;

use gigmcp_egress::{Rate, Rule};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{HandshakeKind, NamedGroup, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::wire::Wire;
use crate::world::{Sandbox, Trust, World, client_config};

/// A ClientHello, part by part. The usual one is what a modern client sends.
#[derive(Clone)]
struct Hello {
    version: [u8; 2],
    suites: Vec<u8>,
    /// The body of the extension; none leaves it out.
    server_name: Option<Vec<u8>>,
    versions: Option<Vec<u8>>,
    alpn: Option<Vec<u8>>,
    key_share: bool,
    more: Vec<u8>,
}

impl Hello {
    fn to(name: &[u8]) -> Self {
        Self {
            version: [3, 3],
            suites: vec![0x13, 0x01, 0xc0, 0x2b],
            server_name: Some(names(&[(0, name)])),
            versions: Some(vec![4, 3, 4, 3, 3]),
            alpn: None,
            key_share: true,
            more: Vec::new(),
        }
    }

    fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    /// The handshake message.
    fn message(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        let mut extension = |kind: u16, body: &[u8]| {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(long(body));
        };
        if let Some(body) = &self.server_name {
            extension(0, body);
        }
        extension(10, &long(&[0, 0x1d, 0, 0x17]));
        extension(13, &long(&[4, 3, 8, 4]));
        if let Some(body) = &self.versions {
            extension(43, body);
        }
        if let Some(body) = &self.alpn {
            extension(16, body);
        }
        let share = if self.key_share { [&[0, 0x1d, 0, 32][..], &[9; 32]].concat() } else { Vec::new() };
        extension(51, &long(&share));
        extensions.extend(&self.more);
        let mut body = self.version.to_vec();
        body.extend([7; 32]);
        body.push(0);
        body.extend(long(&self.suites));
        body.extend([1, 0]);
        body.extend(long(&extensions));
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1][..], &length[1..], &body].concat()
    }

    /// The message in records of at most this many bytes.
    fn records(&self, size: usize) -> Vec<u8> {
        self.message().chunks(size).flat_map(|part| [&[22, 3, 1][..], &long(part)].concat()).collect()
    }
}

/// The body of a server name extension.
fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
    long(&names.iter().flat_map(|(kind, name)| [&[*kind][..], &long(name)].concat()).collect::<Vec<_>>())
}

/// The body of an ALPN extension.
fn protocols(names: &[&str]) -> Option<Vec<u8>> {
    let list = names.iter().flat_map(|name| [&[u8::try_from(name.len()).unwrap()][..], name.as_bytes()].concat());
    Some(long(&list.collect::<Vec<_>>()))
}

/// An ECH extension of the outer kind, with nothing in it that anybody could open.
fn grease() -> Vec<u8> {
    let body = [&[0, 0, 1, 0, 1, 0x42][..], &long(&[5; 32]), &long(&[6; 144])].concat();
    [&[0xfe, 0x0d][..], &long(&body)].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// What comes back first.
#[derive(Debug, Eq, PartialEq)]
enum Back {
    Hello,
    Alert,
    Closed,
}

async fn send(stream: &mut TcpStream, bytes: &[u8], piece: usize) {
    for part in bytes.chunks(piece) {
        // Refused before the end: reading tells.
        if stream.write_all(part).await.is_err() {
            return;
        }
    }
}

async fn back(stream: &mut TcpStream) -> Back {
    loop {
        match record(stream).await {
            // Sent for old middleboxes (RFC 8446, appendix D.4).
            Some((20, _)) => {}
            Some((22, body)) if body[0] == 2 => return Back::Hello,
            Some((21, _)) => return Back::Alert,
            Some(other) => panic!("neither a hello nor an alert: {other:?}"),
            None => return Back::Closed,
        }
    }
}

/// The type and body of a record, if one comes.
async fn record(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.ok()?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body).await.ok()?;
    Some((head[0], body))
}

async fn on_its_way(sandbox: &Sandbox) -> TcpStream {
    let address = sandbox.resolve("api.example.com").await.unwrap();
    let stream = sandbox.connect(address).await;
    stream.set_nodelay(true).unwrap();
    stream
}

#[tokio::test]
async fn a_handshake_names_its_host_once_and_plainly() {
    let good = || Hello::to(b"api.example.com");
    let named = |name: &[u8]| Hello::to(name).records(usize::from(u16::MAX));
    let with_names = |body: Vec<u8>| good().with(|hello| hello.server_name = Some(body)).records(1 << 14);
    let long_name = [b'a'; 256];
    for (case, bytes, code) in [
        ("twin", named(b"api.example.com"), None),
        ("twin, over records of eleven bytes", good().records(11), None),
        ("EGR-090 upper case", named(b"API.Example.COM"), None),
        ("EGR-093 ECH grease", good().with(|hello| hello.more = grease()).records(1 << 14), None),
        (
            "ALPN with one of ours",
            good().with(|hello| hello.alpn = protocols(&["h3", "http/1.1"])).records(1 << 14),
            None,
        ),
        ("EGR-088 address", named(b"93.184.216.34"), Some("sni-missing")),
        (
            "EGR-089 two names",
            with_names(names(&[(0, b"api.example.com"), (0, b"b.example.com")])),
            Some("tls-handshake"),
        ),
        (
            "EGR-089 the same twice",
            with_names(names(&[(0, b"api.example.com"), (0, b"api.example.com")])),
            Some("tls-handshake"),
        ),
        ("EGR-089 unknown type", with_names(names(&[(1, b"api.example.com")])), Some("tls-handshake")),
        ("EGR-089 empty list", with_names(names(&[])), Some("tls-handshake")),
        ("EGR-089 empty body", with_names(Vec::new()), Some("tls-handshake")),
        ("EGR-089 empty name", named(b""), Some("tls-handshake")),
        ("no name", good().with(|hello| hello.server_name = None).records(1 << 14), Some("sni-missing")),
        ("EGR-090 trailing dot", named(b"api.example.com."), Some("sni-not-canonical")),
        ("EGR-090 NUL", named(b"api.example.com\0"), Some("tls-handshake")),
        ("EGR-090 256 bytes", named(&long_name), Some("tls-handshake")),
        ("EGR-090 not ASCII", named("ap\u{131}.example.com".as_bytes()), Some("tls-handshake")),
        ("underscore", named(b"_api.example.com"), Some("sni-not-canonical")),
        ("other host", named(b"b.example.com"), Some("sni-mismatch")),
        (
            "EGR-094 SSL 3",
            good().with(|hello| (hello.version, hello.versions) = ([3, 0], None)).records(1 << 14),
            Some("tls-handshake"),
        ),
        (
            "EGR-094 TLS 1.0",
            good().with(|hello| (hello.version, hello.versions) = ([3, 1], None)).records(1 << 14),
            Some("tls-handshake"),
        ),
        (
            "EGR-094 TLS 1.1",
            good().with(|hello| (hello.version, hello.versions) = ([3, 2], None)).records(1 << 14),
            Some("tls-handshake"),
        ),
        (
            "EGR-094 TLS 1.1 in the list",
            good().with(|hello| hello.versions = Some(vec![2, 3, 2])).records(1 << 14),
            Some("tls-handshake"),
        ),
        (
            "EGR-094 no encryption",
            good().with(|hello| hello.suites = vec![0, 1, 0, 2, 0, 0x3b]).records(1 << 14),
            Some("tls-handshake"),
        ),
        (
            "EGR-094 export",
            good().with(|hello| hello.suites = vec![0, 3, 0, 6, 0, 8]).records(1 << 14),
            Some("tls-handshake"),
        ),
        ("EGR-097 h3", good().with(|hello| hello.alpn = protocols(&["h3"])).records(1 << 14), Some("tls-handshake")),
        (
            "EGR-097 spdy",
            good().with(|hello| hello.alpn = protocols(&["spdy/3"])).records(1 << 14),
            Some("tls-handshake"),
        ),
        (
            "EGR-097 acme",
            good().with(|hello| hello.alpn = protocols(&["acme-tls/1"])).records(1 << 14),
            Some("tls-handshake"),
        ),
        (
            "EGR-100 empty records",
            [[22, 3, 1, 0, 0].repeat(10_000), good().records(1 << 14)].concat(),
            Some("tls-handshake"),
        ),
        (
            "another message first",
            [&[22, 3, 1, 0, 4, 20, 0, 0, 0][..], &good().records(1 << 14)].concat(),
            Some("tls-handshake"),
        ),
    ] {
        for piece in [usize::MAX, 1] {
            let mut world = World::new().await;
            let sandbox = world.sandbox("one");
            let mut stream = on_its_way(&sandbox).await;
            send(&mut stream, &bytes, piece).await;
            let seen = back(&mut stream).await;
            let Some(code) = code else {
                assert_eq!(seen, Back::Hello, "{case}");
                continue;
            };
            // The answer to ALPN comes after the hello, inside of the encryption.
            assert!(seen != Back::Hello || code == "tls-handshake" && case.starts_with("EGR-097"), "{case}");
            let _ = stream.read_to_end(&mut Vec::new()).await;
            world.refused_untouched(case, code).await;
        }
    }
}

#[tokio::test]
async fn a_second_hello_names_the_same_host() {
    for (case, name, expected) in [("EGR-092", &b"b.example.com"[..], false), ("twin", b"api.example.com", true)] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut stream = on_its_way(&sandbox).await;
        // Without a key, so that the server asks for another hello.
        let first =
            Hello::to(b"api.example.com").with(|hello| (hello.key_share, hello.suites) = (false, vec![0x13, 0x01]));
        send(&mut stream, &first.records(1 << 14), usize::MAX).await;
        assert!(
            matches!(record(&mut stream).await, Some((22, retry)) if retry[0] == 2),
            "{case}: a request to try again"
        );
        let second = first.with(|hello| (hello.key_share, hello.server_name) = (true, Some(names(&[(0, name)]))));
        send(&mut stream, &second.records(1 << 14), usize::MAX).await;
        assert_eq!(back(&mut stream).await == Back::Hello, expected, "{case}");
        if !expected {
            world.refused_untouched(case, "tls-handshake").await;
        }
    }
}

/// Gives every server the session of any other.
#[derive(Debug)]
struct OneSession(ClientSessionMemoryCache);

impl OneSession {
    fn name() -> ServerName<'static> {
        ServerName::try_from("one.invalid").unwrap()
    }
}

impl ClientSessionStore for OneSession {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(Self::name(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&Self::name())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(Self::name(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&Self::name())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&Self::name());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(Self::name(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&Self::name())
    }
}

#[tokio::test]
async fn a_session_is_resumed_by_its_own_name_and_sandbox_only() {
    let mut world = World::new().await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    let mut roots = RootCertStore::empty();
    for sandbox in [&one, &two] {
        roots.add(CertificateDer::from_pem_slice(&sandbox.authority.ca_pem()).unwrap()).unwrap();
    }
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let mut connector = |store| {
            config.resumption = Resumption::store(store);
            TlsConnector::from(Arc::new(config.clone()))
        };
        for (case, sandbox, host, expected) in [
            ("twin", &one, "api.example.com", HandshakeKind::Resumed),
            ("EGR-096 other name", &one, "b.example.com", HandshakeKind::Full),
            ("EGR-096 other sandbox", &two, "api.example.com", HandshakeKind::Full),
        ] {
            let connector = connector(Arc::new(OneSession(ClientSessionMemoryCache::new(8))));
            assert_eq!(ask(&connector, &one, "api.example.com").await, HandshakeKind::Full, "{case}");
            assert_eq!(ask(&connector, sandbox, host).await, expected, "{case}");
        }
    }
}

/// Makes a request, after which tickets have come, and tells how the handshake went.
async fn ask(connector: &TlsConnector, sandbox: &Sandbox, host: &str) -> HandshakeKind {
    let stream = sandbox.connect(sandbox.resolve(host).await.unwrap()).await;
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let stream: TlsStream<TcpStream> = connector.connect(name, stream).await.unwrap();
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    let reply = Wire::new(stream).ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    assert_eq!(reply.status, 200);
    kind
}

#[tokio::test]
async fn names_are_minted_at_a_rate() {
    let one_an_hour = Rate { count: 1, per: Duration::from_secs(3600) };
    let mut world = World::with(Trust::Origin, |limits| limits.mints = one_an_hour).await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    let first = one.resolve("api.example.com").await.unwrap();
    assert!(one.handshake(one.connect(first).await, "api.example.com").await.is_ok());
    let other = one.resolve("b.example.com").await.unwrap();
    assert!(one.handshake(one.connect(other).await, "b.example.com").await.is_err());
    assert!(one.handshake(one.connect(first).await, "api.example.com").await.is_ok(), "twin: minted before");
    let theirs = two.resolve("b.example.com").await.unwrap();
    assert!(two.handshake(two.connect(theirs).await, "b.example.com").await.is_ok(), "twin: another sandbox");
    world.refused_untouched("over the rate", "mint-rate").await;
}

#[tokio::test]
async fn a_host_that_is_allowed_later_needs_a_new_sandbox() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let late = "late.example.com";
    world.grant(&sandbox.identity, &sandbox.placeholder, |grant| grant.rules.push(Rule::https(late.parse().unwrap())));
    let address = sandbox.resolve(late).await.unwrap();
    assert!(sandbox.handshake(sandbox.connect(address).await, late).await.is_err());
    let address = sandbox.resolve("api.example.com").await.unwrap();
    assert!(sandbox.handshake(sandbox.connect(address).await, "api.example.com").await.is_ok(), "twin");
    world.refused_untouched("outside of the authority", "authority-scope").await;
}

#[tokio::test]
async fn a_sandbox_trusts_its_own_authority_only() {
    let mut world = World::new().await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&two.authority.ca_pem()).unwrap()).unwrap();
    let stranger = TlsConnector::from(client_config(roots));
    let stream = one.connect(one.resolve("api.example.com").await.unwrap()).await;
    assert!(stranger.connect(ServerName::try_from("api.example.com").unwrap(), stream).await.is_err());
    let stream = two.connect(two.resolve("api.example.com").await.unwrap()).await;
    assert!(stranger.connect(ServerName::try_from("api.example.com").unwrap(), stream).await.is_ok(), "twin");
}
