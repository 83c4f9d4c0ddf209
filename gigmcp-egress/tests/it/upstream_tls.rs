//! How upstreams are spoken to: with nothing that is old, and with no memory of an earlier session.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion, RootCertStore, ServerConfig, SignatureScheme};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use crate::http2_upstream::listen_so;
use crate::wire::Wire;
use crate::world::{Trust, World, client_config, soon};

const GET: &str = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

#[tokio::test]
async fn no_session_with_an_upstream_is_resumed() {
    for (version, spoken) in
        [(&rustls::version::TLS13, ProtocolVersion::TLSv1_3), (&rustls::version::TLS12, ProtocolVersion::TLSv1_2)]
    {
        // Each request over a connection of its own.
        let mut world = World::with(Trust::Origin, |limits| limits.pooled_per_host = 0).await;
        let (one, two) = (world.sandbox("one"), world.sandbox("two"));
        // The library's server remembers sessions and gives tickets unless told otherwise.
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(world.origin.config.cert_resolver.clone());
        let (address, mut accepted) = listen_so(&world, config).await;
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&handshakes);
        tokio::spawn(async move {
            while let Some(stream) = accepted.recv().await {
                let connection = stream.get_ref().1;
                noted.lock().unwrap().push((connection.protocol_version(), connection.handshake_kind()));
                let mut wire = Wire::new(stream);
                wire.request().await;
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        });
        for sandbox in [&one, &one, &two] {
            assert_eq!(soon(sandbox.https("api.example.com").await.ask(GET)).await.status, 200, "EGR-106 {spoken:?}");
        }
        let full = (Some(spoken), Some(HandshakeKind::Full));
        assert_eq!(*handshakes.lock().unwrap(), [full; 3], "{spoken:?}");
        // The twin: a client that keeps sessions resumes one here.
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(world.origin.ca_pem.as_bytes()).unwrap()).unwrap();
        let connector = TlsConnector::from(client_config(roots));
        for _ in 0..2 {
            let name = ServerName::try_from("api.example.com").unwrap();
            let stream = connector.connect(name, TcpStream::connect(address).await.unwrap()).await.unwrap();
            assert_eq!(soon(Wire::new(stream).ask(GET)).await.status, 200);
        }
        let resumed = (Some(spoken), Some(HandshakeKind::Resumed));
        assert_eq!(handshakes.lock().unwrap()[3..], [full, resumed], "{spoken:?}");
    }
}

/// What rustls does about weak algorithms: it has none. No suite without forward secrecy and authenticated encryption, no
/// group over a finite field, no signature with SHA-1, so none is offered, and none that is not offered is taken.
#[tokio::test]
async fn nothing_weak_is_offered_to_an_upstream() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.set_origin(listener.local_addr().unwrap());
    let mut wire = sandbox.https("api.example.com").await;
    wire.send(GET).await;
    let (stream, _) = soon(listener.accept()).await.unwrap();
    let start = soon(LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream)).await.unwrap();
    let hello = start.client_hello();
    let suites: BTreeSet<_> = hello.cipher_suites().iter().map(|suite| format!("{suite:?}")).collect();
    let strong = |suite: &String| {
        let forward_secret = suite.starts_with("TLS13_") || suite.starts_with("TLS_ECDHE_");
        let authenticated = suite.contains("_GCM_") || suite.contains("_CHACHA20_POLY1305_");
        forward_secret && authenticated || suite == "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"
    };
    assert!(suites.len() > 3 && suites.iter().all(strong), "EGR-106: {suites:?}");
    let sha1 = [SignatureScheme::RSA_PKCS1_SHA1, SignatureScheme::ECDSA_SHA1_Legacy];
    let schemes = hello.signature_schemes();
    assert!(!schemes.is_empty() && !schemes.iter().any(|scheme| sha1.contains(scheme)), "EGR-106: {schemes:?}");
    let groups = hello.named_groups().unwrap();
    let modern = [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1];
    assert!(!groups.is_empty() && groups.iter().all(|group| modern.contains(group)), "EGR-106: {groups:?}");
}
