//! What an upstream must prove, against upstreams that cannot: each with its own root, certificates and tricks.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gigmcp_egress::{EgressProxyBuilder, SpkiSha256};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    GeneralSubtree, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData as _,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::world::{Trust, World};

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A root, an intermediate, and leaves under it.
struct Chain {
    root: Issuer,
    intermediate: Issuer,
    key: KeyPair,
}

impl Chain {
    fn new() -> Self {
        Self::through(|_| ())
    }

    /// With the intermediate changed so.
    fn through(edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let root = CertifiedIssuer::self_signed(authority("root"), KeyPair::generate().unwrap()).unwrap();
        let mut params = authority("intermediate");
        params.serial_number = Some(SerialNumber::from(7_u64));
        edit(&mut params);
        let intermediate = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
        Self { root, intermediate, key: KeyPair::generate().unwrap() }
    }

    /// A leaf for the usual host, changed so.
    fn leaf(&self, edit: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::new(vec!["api.example.com".to_owned()]).unwrap();
        edit(&mut params);
        params.signed_by(&self.key, &self.intermediate).unwrap()
    }

    /// An origin that shows this leaf and the intermediate.
    async fn origin(&self, leaf: Certificate) -> TlsOrigin {
        TlsOrigin::start(vec![leaf.der().clone(), self.intermediate.der().clone()], &self.key).await
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A TLS origin that notes every byte it is told.
struct TlsOrigin {
    address: SocketAddr,
    told: Arc<Mutex<Vec<u8>>>,
}

impl TlsOrigin {
    async fn start(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key.serialize_der().try_into().unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self { address: listener.local_addr().unwrap(), told: Arc::default() };
        let told = Arc::clone(&origin.told);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    told.lock().unwrap().extend_from_slice(&buffer[..length]);
                    if told.lock().unwrap().ends_with(b"\r\n\r\n") {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    }
                }
            }
        });
        origin
    }
}

/// Asks for the usual host with a credential, and checks what came of it.
async fn expect(
    case: &str,
    origin: &TlsOrigin,
    code: Option<&str>,
    build: impl FnOnce(EgressProxyBuilder) -> EgressProxyBuilder,
) {
    let mut world = World::built(Trust::PublicOnly, |_| (), build).await;
    world.set_origin(origin.address);
    let sandbox = world.sandbox("one");
    let request =
        format!("GET / HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer {}\r\n\r\n", sandbox.placeholder);
    let reply = sandbox.https("api.example.com").await.ask(request).await;
    assert_eq!(reply.code(), code, "{case}: {}", reply.head);
    let told = String::from_utf8(origin.told.lock().unwrap().clone()).unwrap();
    match code {
        None => assert!(told.contains(crate::world::SECRET), "{case}: the twin gets the request"),
        Some(_) => {
            assert_eq!(reply.status, 502, "{case}");
            assert_eq!(told, "", "{case}: nothing was said");
        }
    }
    let events = world.finish().await;
    let codes: Vec<_> = events.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, [code.unwrap_or("allowed")], "{case}: exactly one audit event");
    assert!(!format!("{events:?}").contains("S3NT1N3L"), "{case}");
}

#[tokio::test]
async fn a_certificate_must_hold_now_and_for_the_host() {
    let now = time::OffsetDateTime::now_utc();
    let day = Duration::from_secs(86_400);
    let named = |name: &str| vec![SanType::DnsName(name.try_into().unwrap())];
    let refused = Some("upstream-tls");
    let chain = Chain::new();
    for (case, leaf, code) in [
        ("twin", chain.leaf(|_| ()), None),
        ("twin, wildcard over one label", chain.leaf(|leaf| leaf.subject_alt_names = named("*.example.com")), None),
        ("EGR-102 expired", chain.leaf(|leaf| leaf.not_after = now - day), refused),
        ("EGR-102 not yet valid", chain.leaf(|leaf| leaf.not_before = now + day), refused),
        ("EGR-102 wrong name", chain.leaf(|leaf| leaf.subject_alt_names = named("b.example.com")), refused),
        ("EGR-102 wildcard over two labels", chain.leaf(|leaf| leaf.subject_alt_names = named("*.com")), refused),
        (
            "EGR-102 common name only",
            chain.leaf(|leaf| {
                leaf.subject_alt_names.clear();
                leaf.distinguished_name.push(DnType::CommonName, "api.example.com");
            }),
            refused,
        ),
        (
            "EGR-102 address only",
            chain.leaf(|leaf| leaf.subject_alt_names = vec![SanType::IpAddress([93, 184, 216, 34].into())]),
            refused,
        ),
        (
            "for clients",
            chain.leaf(|leaf| leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth]),
            refused,
        ),
    ] {
        let origin = chain.origin(leaf).await;
        expect(case, &origin, code, |builder| builder.extra_roots_pem(chain.root.pem())).await;
    }
}

#[tokio::test]
async fn a_certificate_must_lead_to_a_trusted_root_and_keep_to_its_constraints() {
    let refused = Some("upstream-tls");
    let trusting = |chain: &Chain| chain.root.pem();
    let within = |names: &[&str]| names.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect();
    let constrained = |permitted: &[&str], excluded: &[&str]| {
        let constraints =
            NameConstraints { permitted_subtrees: within(permitted), excluded_subtrees: within(excluded) };
        Chain::through(|params| params.name_constraints = Some(constraints))
    };
    for (case, chain, code) in [
        ("twin", constrained(&["example.com"], &[]), None),
        ("EGR-104 outside of what is permitted", constrained(&["evil.test"], &[]), refused),
        ("EGR-104 inside of what is excluded", constrained(&[], &["example.com"]), refused),
        ("an intermediate that is no authority", Chain::through(|params| params.is_ca = IsCa::ExplicitNoCa), refused),
    ] {
        let origin = chain.origin(chain.leaf(|_| ())).await;
        expect(case, &origin, code, |builder| builder.extra_roots_pem(trusting(&chain))).await;
    }
    let (chain, other) = (Chain::new(), Chain::new());
    let origin = chain.origin(chain.leaf(|_| ())).await;
    expect("EGR-102 unknown authority", &origin, refused, |builder| builder.extra_roots_pem(trusting(&other))).await;
    let key = KeyPair::generate().unwrap();
    let alone = CertificateParams::new(vec!["api.example.com".to_owned()]).unwrap().self_signed(&key).unwrap();
    let origin = TlsOrigin::start(vec![alone.der().clone()], &key).await;
    expect("EGR-102 self-signed", &origin, refused, |builder| builder.extra_roots_pem(trusting(&chain))).await;
}

#[tokio::test]
async fn roots_for_some_hosts_are_no_roots_for_others() {
    let chain = Chain::new();
    for (case, pattern, code) in [
        ("twin", "api.example.com", None),
        ("twin, wildcard", "*.example.com", None),
        ("another host's root", "b.example.com", Some("upstream-tls")),
        ("a deeper wildcard's root", "*.cdn.example.com", Some("upstream-tls")),
    ] {
        let origin = chain.origin(chain.leaf(|_| ())).await;
        let build =
            |builder: EgressProxyBuilder| builder.extra_roots_pem_for(pattern.parse().unwrap(), chain.root.pem());
        expect(case, &origin, code, build).await;
    }
}

#[tokio::test]
async fn a_pinned_host_must_show_a_pinned_key() {
    let (chain, other) = (Chain::new(), Chain::new());
    let pin = |key: &KeyPair| SpkiSha256::of(&key.subject_public_key_info());
    let stranger = pin(&other.key);
    let refused = Some("upstream-pin");
    let here = "api.example.com";
    for (case, pins, code) in [
        ("the leaf", vec![(here, vec![pin(&chain.key)])], None),
        ("the intermediate", vec![(here, vec![pin(chain.intermediate.key())])], None),
        ("the root", vec![(here, vec![pin(chain.root.key())])], None),
        ("one of several", vec![(here, vec![stranger, pin(&chain.key)])], None),
        ("another host's pin", vec![("b.example.com", vec![stranger])], None),
        ("EGR-105 another key", vec![(here, vec![stranger])], refused),
        ("EGR-105 by wildcard", vec![("*.example.com", vec![stranger])], refused),
        (
            "one demand met, the other not",
            vec![(here, vec![pin(&chain.key)]), ("*.example.com", vec![stranger])],
            refused,
        ),
    ] {
        let origin = chain.origin(chain.leaf(|_| ())).await;
        let build = |builder: EgressProxyBuilder| {
            let builder = builder.extra_roots_pem(chain.root.pem());
            pins.into_iter().fold(builder, |builder, (host, pins)| builder.pin(host.parse().unwrap(), pins))
        };
        expect(case, &origin, code, build).await;
    }
    // The pinned certificate is shown, and leads nowhere.
    let shown = [chain.leaf(|_| ()).der().clone(), chain.intermediate.der().clone(), other.intermediate.der().clone()];
    let origin = TlsOrigin::start(shown.into(), &chain.key).await;
    let pinned = pin(other.intermediate.key());
    let build =
        |builder: EgressProxyBuilder| builder.extra_roots_pem(chain.root.pem()).pin(here.parse().unwrap(), [pinned]);
    expect("EGR-105 a pinned certificate beside the way", &origin, refused, build).await;
}

#[tokio::test]
async fn what_a_list_revokes_is_refused() {
    let chain = Chain::new();
    let list = |serial: u64| {
        let now = time::OffsetDateTime::now_utc();
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now - Duration::from_secs(3600),
            next_update: now + Duration::from_secs(3600),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&chain.root).unwrap().pem().unwrap()
    };
    for (case, serial, code) in [("EGR-105 the intermediate", 7, Some("upstream-tls")), ("twin, another", 8, None)] {
        let origin = chain.origin(chain.leaf(|_| ())).await;
        let build = |builder: EgressProxyBuilder| builder.extra_roots_pem(chain.root.pem()).crls_pem(list(serial));
        expect(case, &origin, code, build).await;
    }
}

/// How a server answers that takes a version and a suite, whatever was offered.
fn server_hello(version: [u8; 2], suite: [u8; 2]) -> Vec<u8> {
    let message = [&[2, 0, 0, 38][..], &version, &[1; 32], &[0], &suite, &[0]].concat();
    [&[22][..], &version, &[0, 42], &message].concat()
}

#[tokio::test]
async fn an_upstream_of_old_tls_is_refused() {
    let (protocol_version, handshake_failure) = (Some(70), Some(40));
    for (case, version, suite, alert) in [
        ("EGR-106 SSL 3", [3, 0], [0xc0, 0x13], protocol_version),
        ("EGR-106 TLS 1.0", [3, 1], [0xc0, 0x13], protocol_version),
        ("EGR-106 TLS 1.1", [3, 2], [0xc0, 0x13], protocol_version),
        // Those of TLS 1.2 that do not even read the rest, in which a weak group would stand.
        ("EGR-106 Diffie-Hellman over a finite field", [3, 3], [0x00, 0x9e], handshake_failure),
        ("EGR-106 Diffie-Hellman of nobody", [3, 3], [0x00, 0x34], handshake_failure),
        ("EGR-106 no forward secrecy", [3, 3], [0x00, 0x9c], handshake_failure),
        ("EGR-106 CBC and SHA-1", [3, 3], [0xc0, 0x13], handshake_failure),
        ("EGR-106 export", [3, 3], [0x00, 0x03], handshake_failure),
        ("EGR-106 no encryption", [3, 3], [0x00, 0x02], handshake_failure),
        // The twin: this one is taken, and the rest is waited for.
        ("a suite that was offered", [3, 3], [0xc0, 0x2b], None),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = TlsOrigin { address: listener.local_addr().unwrap(), told: Arc::default() };
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(&server_hello(version, suite)).await.unwrap();
            let mut back = Vec::new();
            let ended = stream.read_to_end(&mut back);
            // Nothing comes back of what is taken.
            let patience = Duration::from_millis(if alert.is_some() { 60_000 } else { 300 });
            let ended = tokio::time::timeout(patience, ended).await.is_ok();
            (ended, back)
        });
        expect(case, &origin, Some("upstream-tls"), |builder| builder).await;
        let (ended, back) = answering.await.unwrap();
        assert_eq!((ended, back.get(6).copied()), (alert.is_some(), alert), "{case}: {back:?}");
    }
}

/// The two certificates differ in nothing else but their number; both end in 2120.
#[tokio::test]
async fn a_certificate_that_is_signed_with_sha_1_is_refused() {
    for (case, leaf, code) in [
        ("EGR-106 SHA-1", include_bytes!("fixtures/leaf-sha1.pem").as_slice(), Some("upstream-tls")),
        ("twin, SHA-256", include_bytes!("fixtures/leaf-sha256.pem"), None),
    ] {
        let key = KeyPair::from_pem(include_str!("fixtures/leaf.key.pem")).unwrap();
        let origin = TlsOrigin::start(vec![CertificateDer::from_pem_slice(leaf).unwrap()], &key).await;
        let build = |builder: EgressProxyBuilder| builder.extra_roots_pem(include_bytes!("fixtures/root.pem").to_vec());
        expect(case, &origin, code, build).await;
    }
}

#[tokio::test]
async fn a_private_network_is_open_to_the_hosts_that_an_operator_names() {
    let build = |builder: EgressProxyBuilder| {
        builder.private_network("api.example.com".parse().unwrap(), "10.20.0.0/16".parse().unwrap())
    };
    for (case, host, address, code) in [
        ("twin", "api.example.com", "10.20.30.40", None),
        ("twin, public", "api.example.com", "93.184.216.34", None),
        ("another host", "b.example.com", "10.20.30.40", Some("address-class")),
        ("another network", "api.example.com", "10.21.0.1", Some("address-class")),
        ("EGR-036 loopback", "api.example.com", "127.0.0.1", Some("address-class")),
        ("EGR-044 metadata", "api.example.com", "169.254.169.254", Some("metadata-address")),
    ] {
        let mut world = World::built(Trust::Origin, |_| (), build).await;
        let sandbox = world.sandbox("one");
        world.set_addresses(host, &[address]);
        let reply = sandbox.https(host).await.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(reply.code(), code, "{case}");
        assert_eq!(world.backstage.dialled.load(Ordering::SeqCst), usize::from(code.is_none()), "{case}");
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, [code.unwrap_or("allowed")], "{case}");
    }
}
