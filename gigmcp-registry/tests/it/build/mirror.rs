//! A package registry of the test's own, with TLS, on loopback.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use sha2::Digest as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::tar_bytes::Tar;

/// What it has at which path, and what it was asked for.
pub(crate) struct Mirror {
    pub(crate) certificate: String,
    pub(crate) port: u16,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    /// As `npm.example.test`, `pypi.example.test` and `other.example.test`.
    pub(crate) fn start(files: BTreeMap<String, Vec<u8>>) -> Self {
        let names = ["npm.example.test", "pypi.example.test", "other.example.test"].map(str::to_owned);
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (asked, files) = (Arc::new(Mutex::new(Vec::new())), Arc::new(files));
        let heard = Arc::clone(&asked);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, files, heard) = (acceptor.clone(), Arc::clone(&files), Arc::clone(&heard));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    let found = files.get(&path).cloned();
                    heard.lock().unwrap().push(path);
                    let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
                    let head =
                        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                    drop(stream.write_all(&[head.as_bytes(), &body].concat()).await);
                    drop(stream.shutdown().await);
                });
            }
        };
        // A thread of its own, because tests wait for programs that ask it.
        std::thread::spawn(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve)
        });
        Self { certificate: cert.pem(), port, asked }
    }

    /// How a build is told of it.
    pub(crate) fn options(&self) -> String {
        format!(
            "--danger-dial 127.0.0.1:{} --ca ca.pem --npm-registry https://npm.example.test \
             --pypi-index https://pypi.example.test/simple",
            self.port
        )
    }
}

/// An npm package as it is published.
pub(crate) fn packed(tar: Tar) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&tar.end()).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn integrity(content: &[u8]) -> String {
    format!("sha512-{}", base64::engine::general_purpose::STANDARD.encode(sha2::Sha512::digest(content)))
}
