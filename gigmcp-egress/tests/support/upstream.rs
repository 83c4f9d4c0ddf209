//! What stands for the internet: origins that answer what a test tells them to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, GeneralSubtree, IsCa, KeyPair, NameConstraints,
    SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A request as an origin saw it, to the byte.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// What followed the last chunk.
    pub(crate) trailers: String,
}

impl Seen {
    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let prefix = format!("{name}:");
        let lines = self.head.lines().filter(|line| line.to_ascii_lowercase().starts_with(&prefix));
        lines.map(|line| line[prefix.len()..].trim()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }
}

/// What an origin answers to a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These bytes, and the connection goes on.
    Then(Vec<u8>),
    /// These bytes, and the connection is closed, with a close_notify where there is TLS.
    Close(Vec<u8>),
    /// These bytes, and the connection is gone.
    Cut(Vec<u8>),
    /// These bytes, then whatever comes is kept in [`Upstream::upgraded`].
    Upgrade(Vec<u8>),
    /// So many events, one by one; time is the runtime's, which may be paused.
    Events { count: u32, every: std::time::Duration },
    /// These bytes, and then silence.
    Silence(Vec<u8>),
}

/// When an origin answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum When {
    /// After the whole request.
    Whole,
    /// As soon as its head has come.
    Head,
}

type Script = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// Two listeners with one mind.
pub(crate) struct Upstream {
    pub(crate) tls: SocketAddr,
    pub(crate) clear: SocketAddr,
    pub(crate) authority: Arc<Authority>,
    shared: Arc<Shared>,
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    upgraded: Mutex<Vec<u8>>,
    script: Mutex<(When, Script)>,
}

/// Who vouches for the origins.
pub(crate) struct Authority {
    pub(crate) issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::constrained(None)
    }

    /// One that may vouch for names below this one only.
    pub(crate) fn constrained(below: Option<&str>) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, format!("origins {below:?}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.name_constraints = below.map(|name| NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(name.to_owned())],
            excluded_subtrees: Vec::new(),
        });
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server with a certificate for these names, edited.
    pub(crate) fn server(&self, names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let san = |name: &&str| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        };
        params.subject_alt_names = names.iter().map(san).collect();
        edit(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        config(vec![leaf.der().clone()], &key)
    }
}

/// A server with this chain.
pub(crate) fn config(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key.serialize_der().try_into().unwrap()).unwrap())
}

/// The names that the usual origin can prove.
pub(crate) const NAMES: &[&str] = &[
    "api.example.com",
    "b.example.com",
    "img.cdn.example.com",
    "x.cdn.example.com",
    "xn--bcher-kva.example",
    "a.b.deep.example.com",
];

impl Upstream {
    pub(crate) async fn start() -> Self {
        let authority = Arc::new(Authority::new());
        let script: Script = Arc::new(|_| plain("ok"));
        let shared =
            Shared { seen: Mutex::default(), upgraded: Mutex::default(), script: Mutex::new((When::Whole, script)) };
        let shared = Arc::new(shared);
        let acceptor = TlsAcceptor::from(authority.server(NAMES, |_| ()));
        let (tls, clear) = (serve(Arc::clone(&shared), Some(acceptor)).await, serve(Arc::clone(&shared), None).await);
        Self { tls, clear, authority, shared }
    }

    /// Another listener with the same mind and other certificates.
    pub(crate) async fn beside(&self, config: Arc<ServerConfig>) -> SocketAddr {
        serve(Arc::clone(&self.shared), Some(config.into())).await
    }

    /// What all listeners answer from now on.
    pub(crate) fn answers(&self, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        self.answers_when(When::Whole, script);
    }

    pub(crate) fn answers_when(&self, when: When, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = (when, Arc::new(script));
    }

    /// Answers as usual, and has seen nothing.
    pub(crate) fn start_over(&self) {
        self.answers_as_usual();
        self.seen();
        self.upgraded();
    }

    pub(crate) fn answers_as_usual(&self) {
        self.answers(|_| plain("ok"));
    }

    /// All requests since the last time this was asked.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }

    /// The same, without forgetting it.
    pub(crate) fn upgraded_so_far(&self) -> Vec<u8> {
        self.shared.upgraded.lock().unwrap().clone()
    }

    /// All bytes that came after a change of protocol, since the last time this was asked.
    pub(crate) fn upgraded(&self) -> Vec<u8> {
        std::mem::take(&mut self.shared.upgraded.lock().unwrap())
    }
}

/// A plain answer.
pub(crate) fn plain(body: &str) -> Answer {
    with("", body)
}

/// A plain answer with further headers, each with its line end.
pub(crate) fn with(headers: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    Answer::Then([head.as_bytes(), body].concat())
}

async fn serve(shared: Arc<Shared>, acceptor: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => exchange(&shared, stream).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            exchange(&shared, stream).await;
                        }
                    }
                }
            });
        }
    });
    address
}

async fn exchange<T: AsyncRead + AsyncWrite + Unpin + Lower>(shared: &Shared, mut stream: T) {
    let mut ahead = Vec::new();
    loop {
        let Some(head) = until(&mut stream, &mut ahead, b"\r\n\r\n").await else { return };
        let mut seen = Seen { head: String::from_utf8_lossy(&head).into_owned(), ..Seen::default() };
        let (when, script) = shared.script.lock().unwrap().clone();
        if when == When::Whole {
            let Some((body, trailers)) = body(&mut stream, &mut ahead, &seen).await else { return };
            (seen.body, seen.trailers) = (body, trailers);
        }
        let answer = script(&seen);
        shared.seen.lock().unwrap().push(seen);
        match answer {
            Answer::Then(bytes) => {
                if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            Answer::Close(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Answer::Cut(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                let _ = stream.lower().shutdown().await;
                return;
            }
            Answer::Upgrade(bytes) => {
                shared.upgraded.lock().unwrap().append(&mut ahead);
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    shared.upgraded.lock().unwrap().extend_from_slice(&buffer[..length]);
                }
                return;
            }
            Answer::Events { count, every } => {
                let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                let _ = stream.write_all(head).await;
                for number in 0..count {
                    let _ = stream.flush().await;
                    tokio::time::sleep(every).await;
                    let event = format!("data: {number}\n\n");
                    let _ = stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await;
                }
                let _ = stream.write_all(b"0\r\n\r\n").await;
                let _ = stream.flush().await;
            }
            Answer::Silence(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                let _ = stream.read(&mut [0]).await;
                return;
            }
        }
    }
}

/// What lies below TLS.
trait Lower {
    fn lower(&mut self) -> &mut TcpStream;
}

impl Lower for TcpStream {
    fn lower(&mut self) -> &mut TcpStream {
        self
    }
}

impl Lower for tokio_rustls::server::TlsStream<TcpStream> {
    fn lower(&mut self) -> &mut TcpStream {
        self.get_mut().0
    }
}

async fn body(stream: &mut (impl AsyncRead + Unpin), ahead: &mut Vec<u8>, seen: &Seen) -> Option<(Vec<u8>, String)> {
    if let Some(length) = seen.header("content-length") {
        let length = length.parse::<usize>().ok()?;
        while ahead.len() < length {
            more(stream, ahead).await?;
        }
        return Some((ahead.drain(..length).collect(), String::new()));
    }
    let (mut body, mut trailers) = (Vec::new(), String::new());
    if seen.header("transfer-encoding").is_some() {
        loop {
            let line = until(stream, ahead, b"\r\n").await?;
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).ok()?;
            if size == 0 {
                loop {
                    match until(stream, ahead, b"\r\n").await?.as_slice() {
                        b"\r\n" => return Some((body, trailers)),
                        line => trailers.push_str(&String::from_utf8_lossy(line)),
                    }
                }
            }
            while ahead.len() < size + 2 {
                more(stream, ahead).await?;
            }
            body.extend(ahead.drain(..size + 2).take(size));
        }
    }
    Some((body, trailers))
}

async fn until(stream: &mut (impl AsyncRead + Unpin), ahead: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = ahead.windows(end.len()).position(|window| window == end) {
            return Some(ahead.drain(..at + end.len()).collect());
        }
        more(stream, ahead).await?;
    }
}

async fn more(stream: &mut (impl AsyncRead + Unpin), ahead: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 16 << 10];
    match stream.read(&mut buffer).await {
        Ok(length @ 1..) => {
            ahead.extend_from_slice(&buffer[..length]);
            Some(())
        }
        Ok(0) | Err(_) => None,
    }
}
