//! TLS on both sides: rows 88 to 110.

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, GeneralSubtree, IsCa, KeyPair, NameConstraints,
};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, NamedGroup, RootCertStore, ServerConfig};
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::framing::letter;
use crate::row::{Door, Right, Row, hello, scene, through};
use crate::stage::{Sandbox, Stage};
use crate::upstream::{Answer, Authority, config};
use crate::wire::{self, Cut, Wire};

const GET: &str = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

pub(crate) fn rows() -> Vec<Row> {
    [hellos(), handshakes(), certificates(), endings()].into_iter().flatten().collect()
}

/// A hello as bytes, in one record.
#[derive(Clone)]
pub(super) struct Hello {
    version: u16,
    versions: Vec<u16>,
    ciphers: Vec<u16>,
    names: Option<Vec<u8>>,
    protocols: Vec<&'static [u8]>,
    key: Vec<u8>,
    more: Vec<u8>,
}

impl Hello {
    pub(super) fn to(name: &str) -> Self {
        Self::naming(&[(0, name.as_bytes())])
    }

    fn naming(names: &[(u8, &[u8])]) -> Self {
        let list: Vec<u8> = names.iter().flat_map(|(kind, name)| [&[*kind][..], &sized16(name)].concat()).collect();
        Self {
            version: 0x0303,
            versions: vec![0x0304, 0x0303],
            ciphers: vec![0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f],
            names: Some(sized16(&list)),
            protocols: Vec::new(),
            key: [&29_u16.to_be_bytes()[..], &sized16(&[9; 32])].concat(),
            more: Vec::new(),
        }
    }

    /// With a share of a hybrid group beside the usual one; nobody computes with it unless it is chosen.
    pub(super) fn with_large_share(mut self) -> Self {
        self.key = [&0x6399_u16.to_be_bytes()[..], &sized16(&[3; 1216]), &self.key].concat();
        self
    }

    fn message(&self) -> Vec<u8> {
        let be = |values: &[u16]| values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<_>>();
        let mut extensions = Vec::new();
        let mut add = |kind: u16, body: &[u8]| {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(sized16(body));
        };
        if let Some(names) = &self.names {
            add(0, names);
        }
        add(10, &sized16(&be(&[29, 23, 24])));
        add(11, &[1, 0]);
        add(13, &sized16(&be(&[0x0403, 0x0503, 0x0804, 0x0805, 0x0401])));
        add(23, &[]);
        if !self.versions.is_empty() {
            add(43, &sized8(&be(&self.versions)));
            add(51, &sized16(&self.key));
        }
        if !self.protocols.is_empty() {
            add(16, &sized16(&self.protocols.iter().flat_map(|name| sized8(name)).collect::<Vec<_>>()));
        }
        extensions.extend(&self.more);
        let body = [
            &self.version.to_be_bytes()[..],
            &[7; 32],
            &sized8(&[]),
            &sized16(&be(&self.ciphers)),
            &sized8(&[0]),
            &sized16(&extensions),
        ]
        .concat();
        [&[1, 0][..], &sized16(&body)].concat()
    }

    pub(super) fn record(&self) -> Vec<u8> {
        record(&self.message())
    }
}

fn record(message: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &sized16(message)].concat()
}

fn sized16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn sized8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

fn hellos() -> Vec<Row> {
    let good = Hello::to("api.example.com");
    let twin = good.record();
    let long = ["a"; 128].join(".");
    let named = |name: &str| Hello::to(name).record();
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("088", "a hello for an IPv4 address", named("127.0.0.1")),
        ("088", "a hello for an IPv6 address", named("::1")),
        ("088", "a hello for an address in another spelling", named("0x7f000001")),
        ("088", "a hello without a name", Hello { names: None, ..good.clone() }.record()),
        ("089", "a hello with two names", Hello::naming(&[(0, b"api.example.com"), (0, b"b.example.com")]).record()),
        (
            "089",
            "a hello with the same name twice",
            Hello::naming(&[(0, b"api.example.com"), (0, b"api.example.com")]).record(),
        ),
        ("089", "a hello with a name of unknown type", Hello::naming(&[(7, b"api.example.com")]).record()),
        ("089", "a hello with an empty list of names", Hello::naming(&[]).record()),
        ("089", "a hello with an empty name", named("")),
        (
            "089",
            "a hello with two lists of names",
            Hello {
                more: [&[0, 0][..], &sized16(&sized16(&[&[0][..], &sized16(b"b.example.com")].concat()))].concat(),
                ..good.clone()
            }
            .record(),
        ),
        (
            "089",
            "a hello with a list of names that is cut",
            Hello { names: Some(vec![0, 200, 0, 0, 15]), ..good.clone() }.record(),
        ),
        ("090", "a hello for a name with a dot at its end", named("api.example.com.")),
        ("090", "a hello for a name with a NUL", named("api.example.com\0.evil.test")),
        ("090", "a hello for a name of 255 bytes", named(&long)),
        ("090", "a hello for a name that is not ASCII", named("bücher.example")),
        ("090", "a hello for a name with a blank", named("api.example.com ")),
        ("090", "a hello for a wildcard", named("*.cdn.example.com")),
        ("090", "a hello for a name with an underscore", named("_x.cdn.example.com")),
        ("053", "a hello for another allowed name", named("b.example.com")),
        ("053", "a hello for a denied name", named("evil.test")),
        ("053", "a hello for a longer name", named("api.example.com.evil.test")),
        ("090", "data in a name, as SNIcat", named("c2VjcmV0LWRhdGE.evil.test")),
        ("094", "a hello of SSL 3", Hello { version: 0x0300, versions: Vec::new(), ..good.clone() }.record()),
        ("094", "a hello of TLS 1.0", Hello { version: 0x0301, versions: Vec::new(), ..good.clone() }.record()),
        ("094", "a hello of TLS 1.1", Hello { version: 0x0302, versions: Vec::new(), ..good.clone() }.record()),
        (
            "094",
            "a hello with only TLS 1.1 in its versions",
            Hello { versions: vec![0x0302, 0x0301], ..good.clone() }.record(),
        ),
        (
            "094",
            "only suites without encryption",
            Hello { versions: Vec::new(), ciphers: vec![0x0001, 0x0002, 0x003b], ..good.clone() }.record(),
        ),
        (
            "094",
            "only export suites",
            Hello { versions: Vec::new(), ciphers: vec![0x0003, 0x0008, 0x0017], ..good.clone() }.record(),
        ),
        (
            "094",
            "only RC4 and CBC",
            Hello { versions: Vec::new(), ciphers: vec![0x0005, 0xc014, 0xc013, 0x002f], ..good.clone() }.record(),
        ),
        ("097", "an empty protocol by ALPN", Hello { protocols: vec![b""], ..good.clone() }.record()),
        ("100", "a record longer than allowed", [&[22, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat()),
        ("100", "ten thousand empty records", [&[22, 3, 1, 0, 0][..]; 10_000].concat()),
        (
            "100",
            "a hello that says it is 16 MiB",
            record(&[1, 0xff, 0xff, 0xff, 3, 3, 0])[..].to_vec().into_iter().chain([0; 70_000]).collect(),
        ),
        ("100", "a message that is not a hello", record(&[&[2, 0][..], &sized16(&[3; 40])].concat())),
        ("100", "a hello with bytes behind it", record(&[good.message(), vec![0; 3]].concat())),
        ("100", "an extension twice", Hello { more: vec![0, 23, 0, 0], ..good.clone() }.record()),
    ];
    let mut rows = Vec::new();
    for (index, (id, what, attack)) in cases.into_iter().enumerate() {
        // What is no record at all does not even get an alert.
        let right = if what.contains("16 MiB") { Right::Drop } else { Right::Alert };
        rows.push(hello(&format!("{id}{}-tls", letter(index)), what, right, attack, twin.clone()));
    }
    for (index, protocol) in ["h3", "spdy/3", "acme-tls/1", "H2", "http/1.0", "h2c"].into_iter().enumerate() {
        let what = format!("only {protocol} by ALPN");
        rows.push(scene(&format!("097{}", letter(index)), what, "no_application_protocol", move |stage| async move {
            let mut sandbox = stage.sandbox();
            let before = stage.touched();
            let stream = sandbox.tcp("api.example.com").await;
            let error = sandbox.handshake(stream, "api.example.com", protocol).await.unwrap_err();
            assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
            assert_eq!(stage.touched(), before);
            assert_eq!(sandbox.event().await.unwrap().verdict.code(), "tls-handshake");
            assert!(sandbox.close().await.is_empty());
            "no_application_protocol".into()
        }));
    }
    rows
}

fn handshakes() -> Vec<Row> {
    let doors: &[Door] = &[Door::Tls("b.example.com")];
    let get = "GET / HTTP/1.1\r\nHost: {H}\r\n\r\n";
    vec![
        scene("090y", "a hello in other case", "allowed", |stage| async move {
            let sandbox = stage.sandbox();
            let mut stream = sandbox.tcp("api.example.com").await;
            wire::send(&mut stream, &Hello::to("API.Example.COM").record(), Cut::Whole).await;
            assert_eq!(stream.read_u8().await.unwrap(), 22);
            "allowed".into()
        }),
        scene("091", "a hello over several records", "allowed, or refused if the name differs", |stage| async move {
            let sandbox = stage.sandbox();
            for (name, first) in [("api.example.com", 22), ("b.example.com", 21)] {
                let message = Hello::to(name).message();
                for at in [1, 4, 5, 40, 60, message.len() - 1] {
                    let mut stream = sandbox.tcp("api.example.com").await;
                    wire::send(&mut stream, &[record(&message[..at]), record(&message[at..])].concat(), Cut::Whole)
                        .await;
                    assert_eq!(stream.read_u8().await.unwrap(), first, "{name} at {at}");
                }
            }
            "allowed, or refused if the name differs".into()
        }),
        scene(
            "092",
            "a second hello for another name, after a retry was asked for",
            "alert, closed",
            |stage| async move {
                let mut sandbox = stage.sandbox();
                for (name, first) in [("b.example.com", 21), ("api.example.com", 22)] {
                    let mut stream = sandbox.tcp("api.example.com").await;
                    let one = Hello { key: Vec::new(), ..Hello::to("api.example.com") };
                    wire::send(&mut stream, &one.record(), Cut::Whole).await;
                    let mut head = [0; 5];
                    stream.read_exact(&mut head).await.unwrap();
                    assert_eq!(head[0], 22, "a retry is asked for");
                    stream.read_exact(&mut vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))]).await.unwrap();
                    wire::send(&mut stream, &Hello::to(name).record(), Cut::Whole).await;
                    // Behind either comes a change of cipher that says nothing, for what stands between.
                    let mut next = stream.read_u8().await.unwrap_or(21);
                    if next == 20 {
                        stream.read_exact(&mut [0; 5]).await.unwrap();
                        next = stream.read_u8().await.unwrap_or(21);
                    }
                    assert_eq!(next, first, "{name}");
                    if first == 21 {
                        assert_eq!(sandbox.event().await.unwrap().verdict.code(), "tls-handshake");
                    }
                }
                "alert, closed".into()
            },
        ),
        scene("093", "encrypted client hello, or grease in its place", "as if it were not there", |stage| async move {
            let sandbox = stage.sandbox();
            let ech = [
                &[0xfe, 0x0d][..],
                &sized16(&[&[0, 0, 1, 0, 1, 7][..], &sized16(&[5; 32]), &sized16(&[6; 144])].concat()),
            ]
            .concat();
            for (name, first) in [("api.example.com", 22), ("b.example.com", 21)] {
                let mut stream = sandbox.tcp("api.example.com").await;
                wire::send(&mut stream, &Hello { more: ech.clone(), ..Hello::to(name) }.record(), Cut::Whole).await;
                assert_eq!(stream.read_u8().await.unwrap(), first, "{name}");
            }
            "as if it were not there".into()
        }),
        scene("096", "a ticket of another name, and of another sandbox", "a full handshake", |stage| async move {
            let (one, two) = (stage.sandbox(), stage.sandbox());
            // One client for both: tickets are only used by the configuration that got them.
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let mut roots = RootCertStore::empty();
            roots.extend(one.roots().roots.iter().chain(&two.roots().roots).cloned());
            let mut config = config.with_root_certificates(roots).with_no_client_auth();
            config.resumption = Resumption::store(Arc::new(AnyName::default()));
            let config = Arc::new(config);
            assert_eq!(resume(&one, "api.example.com", &config).await, Some(HandshakeKind::Full));
            let again = resume(&one, "api.example.com", &config).await;
            assert_eq!(again, Some(HandshakeKind::Resumed), "control: tickets work");
            for (sandbox, name) in [(&one, "b.example.com"), (&two, "api.example.com")] {
                assert!(resume(&one, "api.example.com", &config).await.is_some());
                let kind = resume(sandbox, name, &config).await;
                assert_ne!(kind, Some(HandshakeKind::Resumed), "{name}");
            }
            "a full handshake".into()
        }),
        through(
            doors,
            "098a",
            "the preface of HTTP/2 without ALPN",
            Right::CloseEither(400, 405),
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            get,
        ),
        scene("098b", "HTTP/1.1 where ALPN chose h2", "GOAWAY or closed", |stage| async move {
            let mut sandbox = stage.sandbox();
            let before = stage.touched();
            let mut stream = sandbox.h2("api.example.com").await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
            wire::send(&mut stream, GET.as_bytes(), Cut::Whole).await;
            let raw = wire::read_to_end(&mut stream).await;
            assert!(!raw.starts_with(b"HTTP"));
            assert_eq!(stage.touched(), before);
            assert_eq!(sandbox.event().await.unwrap().verdict.code(), "malformed");
            assert!(sandbox.close().await.is_empty());
            "GOAWAY or closed".into()
        }),
        scene("100a", "keys changed a thousand times", "bounded", |stage| async move {
            let sandbox = stage.sandbox();
            let mut stream =
                sandbox.handshake(sandbox.tcp("api.example.com").await, "api.example.com", "").await.unwrap();
            for _ in 0..1000 {
                if stream.get_mut().1.refresh_traffic_keys().is_err() || stream.flush().await.is_err() {
                    break;
                }
            }
            let reply = Wire::new(stream).ask(GET).await;
            assert!([0, 200].contains(&reply.status));
            "bounded".into()
        }),
    ]
}

/// Gives any session for any name.
#[derive(Debug, Default)]
struct AnyName(Mutex<Vec<Tls13ClientSessionValue>>);

impl ClientSessionStore for AnyName {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.lock().unwrap().push(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap().pop()
    }
}

/// One request with whatever ticket is there, and how the handshake went.
async fn resume(sandbox: &Sandbox, name: &'static str, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(ServerName::try_from(name).unwrap(), sandbox.tcp(name).await).await.ok()?;
    let mut wire = Wire::new(stream);
    let reply = wire.ask(GET.replace("api.example.com", name)).await;
    assert_eq!(reply.status, 200, "{name}");
    wire.stream.get_ref().1.handshake_kind()
}

/// An address that only these rows use.
const ELSEWHERE: &str = "93.184.220.1";

/// What comes of a request with a key to an upstream that shows this certificate.
async fn shown(stage: &Rc<Stage>, host: &'static str, config: Arc<ServerConfig>) -> String {
    let address = stage.upstream.beside(config).await;
    reached(stage, host, address).await
}

async fn reached(stage: &Rc<Stage>, host: &'static str, address: std::net::SocketAddr) -> String {
    stage.backstage.route(ELSEWHERE, address);
    stage.backstage.resolves(host, &[ELSEWHERE]);
    let mut sandbox = stage.sandbox_with(|plan| plan.credentials[0].hosts.push("*.cdn.example.com".parse().unwrap()));
    stage.upstream.seen();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\r\n", sandbox.placeholder);
    let reply = sandbox.https(host).await.ask(request).await;
    let event = sandbox.event().await.unwrap();
    assert_eq!(reply.code().unwrap_or("allowed"), event.verdict.code());
    assert!(sandbox.close().await.is_empty());
    let sent = stage.upstream.seen().len();
    assert_eq!(sent, usize::from(reply.status == 200), "no request was sent to whom is not trusted");
    stage.backstage.resolves(host, &["93.184.216.34"]);
    format!("{} {}", reply.status, event.verdict.code())
}

fn certificates() -> Vec<Row> {
    type Make = fn(&Authority) -> Arc<ServerConfig>;
    const API: &str = "api.example.com";
    let cases: Vec<(&str, &str, &'static str, Make)> = vec![
        ("102", "an expired certificate", API, |ca| {
            ca.server(&[API], |params| params.not_after = OffsetDateTime::now_utc() - Duration::days(1))
        }),
        ("102", "a certificate of tomorrow", API, |ca| {
            ca.server(&[API], |params| params.not_before = OffsetDateTime::now_utc() + Duration::days(1))
        }),
        ("102", "a certificate for another name", API, |ca| ca.server(&["b.example.com"], |_| ())),
        ("102", "a certificate for a longer name", API, |ca| ca.server(&["api.example.com.evil.test"], |_| ())),
        ("102", "a certificate for the domain above", API, |ca| ca.server(&["example.com"], |_| ())),
        ("102", "a self-signed certificate", API, |_| {
            let key = KeyPair::generate().unwrap();
            let leaf = CertificateParams::new(vec![API.to_owned()]).unwrap().self_signed(&key).unwrap();
            config(vec![leaf.der().clone()], &key)
        }),
        ("102", "a certificate of an unknown authority", API, |_| Authority::new().server(&[API], |_| ())),
        ("102", "a certificate with the name only as common name", API, |ca| {
            ca.server(&[], |params| params.distinguished_name.push(DnType::CommonName, API))
        }),
        ("102", "a wildcard over two labels", "img.cdn.example.com", |ca| ca.server(&["*.example.com"], |_| ())),
        ("102", "a wildcard inside a label", API, |ca| ca.server(&["a*.example.com"], |_| ())),
        ("102", "a certificate for an address only", API, |ca| ca.server(&["93.184.220.1"], |_| ())),
        ("102", "a certificate for clients only", API, |ca| {
            ca.server(&[API], |params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth])
        }),
        ("102", "a leaf that signs another leaf", API, |ca| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["b.example.com".to_owned()]).unwrap();
            let middle = CertifiedIssuer::signed_by(params, key, &ca.issuer).unwrap();
            let key = KeyPair::generate().unwrap();
            let leaf = CertificateParams::new(vec![API.to_owned()]).unwrap().signed_by(&key, &middle).unwrap();
            config(vec![leaf.der().clone(), middle.der().clone()], &key)
        }),
        ("104", "an authority in between that may not vouch for the name", API, |ca| between(ca, "other.example.net")),
    ];
    let mut rows = Vec::new();
    for (index, (id, what, host, make)) in cases.into_iter().enumerate() {
        let id = format!("{id}{}", letter(index));
        rows.push(scene(&id, format!("an upstream with {what}"), "502 upstream-tls", move |stage| async move {
            let made = make(&stage.upstream.authority);
            shown(&stage, host, made).await
        }));
    }
    rows.push(scene("102y", "an upstream with a certificate in order", "200 allowed", |stage| async move {
        let made = stage.upstream.authority.server(&[API], |_| ());
        shown(&stage, API, made).await
    }));
    rows.push(scene(
        "104y",
        "an authority in between that may vouch for the name",
        "200 allowed",
        |stage| async move {
            let made = between(&stage.upstream.authority, "example.com");
            shown(&stage, API, made).await
        },
    ));
    for (index, (what, bytes)) in [
        ("answers by TLS 1.1", [&[22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2][..], &[7; 32], &[0, 0xc0, 0x14, 0]].concat()),
        ("answers by SSL 3", [&[22, 3, 0, 0, 42, 2, 0, 0, 38, 3, 0][..], &[7; 32], &[0, 0, 5, 0]].concat()),
        ("answers with an alert", vec![21, 3, 3, 0, 2, 2, 70]),
        ("answers in clear text", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()),
        ("closes at once", Vec::new()),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("106{}", letter(index));
        rows.push(scene(&id, format!("an upstream that {what}"), "502 upstream-tls", move |stage| {
            let bytes = bytes.clone();
            async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                tokio::spawn(async move {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.shutdown().await;
                    let _ = stream.read(&mut [0; 4096]).await;
                });
                reached(&stage, API, address).await
            }
        }));
    }
    rows
}

/// A chain over an authority that may vouch for names below this one only.
fn between(ca: &Authority, below: &str) -> Arc<ServerConfig> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "in between");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(below.to_owned())],
        excluded_subtrees: Vec::new(),
    });
    let middle = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &ca.issuer).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["api.example.com".to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &middle).unwrap();
    config(vec![leaf.der().clone(), middle.der().clone()], &key)
}

fn endings() -> Vec<Row> {
    vec![
        scene("108a", "an upstream that is gone within a body of known length", "cut, aborted", |stage| async move {
            stage.upstream.answers(|_| Answer::Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello".to_vec()));
            cut(&stage).await
        }),
        scene("108b", "an upstream that ends within a chunk", "cut, aborted", |stage| async move {
            stage.upstream.answers(|_| {
                Answer::Close(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhello".to_vec())
            });
            cut(&stage).await
        }),
        scene(
            "108c",
            "an upstream that is gone, without a word, in a body that only the end ends",
            "cut, aborted",
            |stage| async move {
                stage.upstream.answers(|_| Answer::Cut(b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec()));
                cut(&stage).await
            },
        ),
        scene(
            "108y",
            "an upstream that says the end of a body that only the end ends",
            "200 allowed",
            |stage| async move {
                stage.upstream.answers(|_| Answer::Close(b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec()));
                let mut sandbox = stage.sandbox();
                let reply = sandbox.https("api.example.com").await.ask(GET).await;
                assert_eq!((reply.whole, reply.text().as_str()), (true, "hello"));
                format!("{} {}", reply.status, sandbox.event().await.unwrap().verdict.code())
            },
        ),
    ]
}

async fn cut(stage: &Rc<Stage>) -> String {
    let mut sandbox = stage.sandbox();
    let reply = sandbox.https("api.example.com").await.ask(GET).await;
    assert!(!reply.whole, "the body is not shown as whole: {}", reply.head);
    let code = sandbox.event().await.unwrap().verdict.code();
    assert!(sandbox.close().await.is_empty());
    stage.upstream.answers_as_usual();
    format!("cut, {code}")
}
