//! Over TLS: who is believed to be the gateway.

use std::{fs, net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, ServerConfig, pki_types::PrivateKeyDer},
};

use super::{SCOPES, World, run};

/// Ends TLS in front of a gateway, with a certificate of this name.
fn front(runtime: &tokio::runtime::Runtime, to: &str, issuer: &CertifiedIssuer<'_, KeyPair>, name: &str) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let (address, to) = (listener.local_addr().unwrap(), to.to_owned());
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                let Ok(mut inner) = acceptor.accept(stream).await else { return };
                let mut outer = TcpStream::connect(to).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut inner, &mut outer).await);
            });
        }
    });
    address
}

pub(super) fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn a_key_is_sent_to_who_has_the_right_certificate_only() {
    let world = World::new();
    let key = world.key("all", SCOPES);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ours, others) = (authority(), authority());
    let file = |name: &str, issuer: &CertifiedIssuer<'_, KeyPair>| {
        let path = world.elsewhere.path().join(name);
        fs::write(&path, issuer.pem()).unwrap();
        path
    };
    let (our_file, other_file) = (file("ours", &ours), file("others", &others));
    let no_certificate = world.elsewhere.path().join("none");
    fs::write(&no_certificate, "nothing\n").unwrap();
    let right = front(&runtime, &world.address, &ours, "localhost");
    let wrong = front(&runtime, &world.address, &ours, "gig.example.com");
    let ask = |port: u16, ca: Option<&std::path::PathBuf>| {
        let mut command = world.command();
        command.args(["server", "list", "--url", &format!("https://localhost:{port}"), "--api-key-file"]).arg(&key);
        if let Some(ca) = ca {
            command.arg("--ca-file").arg(ca);
        }
        let output = run(&mut command, "");
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (succeeded, error) = ask(right.port(), Some(&our_file));
    assert!(succeeded, "twin: {error}");
    for (case, port, ca, expected) in [
        ("an authority that nobody named", right.port(), None, "certificate that can be believed"),
        ("another authority", right.port(), Some(&other_file), "certificate that can be believed"),
        ("another name", wrong.port(), Some(&our_file), "certificate that can be believed"),
        ("no certificates", right.port(), Some(&no_certificate), "holds no certificate authorities"),
    ] {
        let (succeeded, error) = ask(port, ca);
        assert!(!succeeded && error.contains(expected), "{case}: {error}");
    }
    assert!(!world.here().exists(), "nothing was done here");
}
