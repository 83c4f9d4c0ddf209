//! An internet for one test: two network namespaces joined by a veth pair, with public-looking addresses, a DNS
//! server and TLS origins, and no route out. So nothing here weakens the address guard or upstream TLS.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{RData, Record, RecordType, rdata::A},
};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::oneshot,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Names that resolve to the origin.
pub(crate) const NAMES: [&str; 6] =
    ["api.example.com", "other.example.com", "evil.test", "registry.npmjs.org", "api.github.com", "en.wikipedia.org"];
/// A name that resolves to loopback, as in a DNS rebinding attack.
pub(crate) const REBOUND: &str = "rebound.example.com";

const GATEWAY: &str = "93.184.215.2";
const ORIGIN: Ipv4Addr = Ipv4Addr::new(93, 184, 215, 14);

/// The two namespaces and what runs in the far one.
pub(crate) struct Internet {
    gateway: String,
    origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// What the origin answers for a path instead of an echo.
    files: Files,
    /// Names the far DNS server was asked for.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// PEM file of the authority that signed the origin's certificate.
    pub(crate) authority: PathBuf,
    _directory: tempfile::TempDir,
    stop: Vec<oneshot::Sender<()>>,
    threads: Vec<thread::JoinHandle<()>>,
}

type Files = Arc<Mutex<HashMap<String, Bytes>>>;

/// One request as the origin got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: http::Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    /// How often `needle` stands in the request.
    pub(crate) fn count(&self, needle: &str) -> usize {
        let headers =
            self.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes()).matches(needle).count());
        headers.sum::<usize>()
            + self.target.matches(needle).count()
            + String::from_utf8_lossy(&self.body).matches(needle).count()
    }
}

impl Internet {
    /// Builds the namespaces and starts DNS and a TLS origin that echoes.
    pub(crate) fn new() -> Self {
        let (seen, files) = (Arc::<Mutex<Vec<Seen>>>::default(), Files::default());
        let answers = (Arc::clone(&seen), Arc::clone(&files));
        let echo = move |stream| {
            let answers = answers.clone();
            async move {
                let service = service_fn(move |request| answer(answers.clone(), request));
                // A client that goes away is its own affair.
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            }
        };
        let mut internet = Self::serving(&[], echo);
        (internet.seen, internet.files) = (seen, files);
        internet
    }

    /// The same with an origin of the caller's own, which is given each connection and offers these protocols.
    pub(crate) fn serving<F: Future<Output = ()> + Send + 'static>(
        alpn: &[&[u8]],
        serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
    ) -> Self {
        // Also what a run that was killed has left has another name.
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.');
        let (gateway, origin) = (format!("gig-g-{name}"), format!("gig-o-{name}"));
        for namespace in [&gateway, &origin] {
            ip(&["netns", "add", namespace]);
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
        }
        ip(&["-n", &gateway, "link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", &origin]);
        for (namespace, address) in [(&gateway, GATEWAY.to_owned()), (&origin, ORIGIN.to_string())] {
            ip(&["-n", namespace, "address", "add", &format!("{address}/24"), "dev", "wan"]);
            ip(&["-n", namespace, "link", "set", "wan", "up"]);
        }
        // `ip netns exec` puts this file over /etc/resolv.conf.
        let etc = PathBuf::from("/etc/netns").join(&gateway);
        fs::create_dir_all(&etc).unwrap();
        fs::write(etc.join("resolv.conf"), format!("nameserver {ORIGIN}\noptions timeout:30 attempts:2\n")).unwrap();

        let (authority_pem, acceptor) = certificates(alpn);
        let authority = directory.path().join("authority.pem");
        fs::write(&authority, authority_pem).unwrap();
        let mut internet = Self {
            gateway,
            origin,
            seen: Arc::default(),
            files: Arc::default(),
            asked: Arc::default(),
            authority,
            _directory: directory,
            stop: Vec::new(),
            threads: Vec::new(),
        };
        internet.start(move |ready, stop| serve_tls(acceptor, serve, ready, stop));
        let asked = Arc::clone(&internet.asked);
        internet.start(move |ready, stop| serve_dns(asked, ready, stop));
        internet
    }

    /// A command that runs on the gateway's side, and ignores none of what the tests were started to ignore.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.gateway, "env", "--default-signal"]).arg(program);
        command
    }

    /// The same with this machine's /sys, and so with control groups; `ip` puts a new one in its place.
    pub(crate) fn command_with_control_groups(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.gateway)).args(["env", "--default-signal"]).arg(program);
        command
    }

    /// The network namespace of the gateway's side.
    pub(crate) fn name(&self) -> String {
        self.gateway.clone()
    }

    /// The file that says who resolves names on the gateway's side.
    pub(crate) fn name_servers(&self) -> PathBuf {
        PathBuf::from("/etc/netns").join(&self.gateway).join("resolv.conf")
    }

    /// Runs `work` on a thread of the gateway's side, with a tokio runtime of its own.
    pub(crate) fn near<T: Send + 'static, F: Future<Output = T>>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> T {
        let namespace = self.gateway.clone();
        thread::spawn(move || {
            enter(&namespace);
            runtime().block_on(work())
        })
        .join()
        .unwrap()
    }

    /// Makes the origin answer `path` with these bytes.
    pub(crate) fn publish(&self, path: &str, bytes: impl Into<Bytes>) {
        self.files.lock().unwrap().insert(path.to_owned(), bytes.into());
    }

    /// What the origin got.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn start<F: Future<Output = ()>>(
        &mut self,
        serve: impl FnOnce(oneshot::Sender<()>, oneshot::Receiver<()>) -> F + Send + 'static,
    ) {
        let namespace = self.origin.clone();
        let (ready, is_ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        self.threads.push(thread::spawn(move || {
            enter(&namespace);
            runtime().block_on(serve(ready, stopped));
        }));
        self.stop.push(stop);
        is_ready.blocking_recv().unwrap();
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.stop.clear();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
        for namespace in [&self.gateway, &self.origin] {
            drop(Command::new("ip").args(["netns", "delete", namespace]).status());
        }
        drop(fs::remove_dir_all(PathBuf::from("/etc/netns").join(&self.gateway)));
    }
}

/// Does this on a network of that name, as long as it takes.
pub(crate) fn within<T>(namespace: &str, work: impl Future<Output = T>) -> T {
    enter(namespace);
    runtime().block_on(work)
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed by ./dev test");
    assert!(
        output.status.success(),
        "ip {arguments:?} (these tests need root): {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn enter(namespace: &str) {
    let file = fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn certificates(alpn: &[&[u8]]) -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // With the name of the certificates it signs, it would be taken for them.
    params.distinguished_name.push(rcgen::DnType::CommonName, "authority of the tests");
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let names = NAMES.iter().chain([&REBOUND]).map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

async fn serve_tls<F: Future<Output = ()> + Send + 'static>(
    acceptor: TlsAcceptor,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
    ready: oneshot::Sender<()>,
    stop: oneshot::Receiver<()>,
) {
    let listener = TcpListener::bind(SocketAddr::from((ORIGIN, 443))).await.unwrap();
    ready.send(()).unwrap();
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (handshake, serve) = (acceptor.accept(stream), serve.clone());
            tokio::spawn(async move {
                if let Ok(stream) = handshake.await {
                    serve(stream).await;
                }
            });
        }
    };
    tokio::select! { () = accept => {}, _ = stop => {} }
}

/// Gives a published file, or echoes the request's headers in a header and in the body, as a careless debug
/// endpoint would.
async fn answer(
    (seen, files): (Arc<Mutex<Vec<Seen>>>, Files),
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (method, target) = (request.method().clone(), request.uri().to_string());
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let text: HashMap<String, String> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let echoed = serde_json::json!({ "target": target, "headers": text }).to_string();
    let mut response = Response::new(Full::new(Bytes::from(echoed)));
    if let Some(value) = headers.get("authorization") {
        response.headers_mut().insert("x-echo-authorization", value.clone());
    }
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    if let Some(file) = files.lock().unwrap().get(&target) {
        response = Response::new(Full::new(file.clone()));
    }
    seen.lock().unwrap().push(Seen { method, target, headers, body });
    Ok(response)
}

async fn serve_dns(asked: Arc<Mutex<Vec<String>>>, ready: oneshot::Sender<()>, stop: oneshot::Receiver<()>) {
    let socket = UdpSocket::bind(SocketAddr::from((ORIGIN, 53))).await.unwrap();
    ready.send(()).unwrap();
    let answer = async {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
            let reply = resolve(&query, &asked);
            socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
        }
    };
    tokio::select! { () = answer => {}, _ = stop => {} }
}

fn resolve(query: &Message, asked: &Mutex<Vec<String>>) -> Message {
    let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_desired = true;
    reply.metadata.recursion_available = true;
    for question in &query.queries {
        let name = question.name().to_ascii();
        let name = name.trim_end_matches('.');
        asked.lock().unwrap().push(name.to_owned());
        let address = match name {
            REBOUND => Some(Ipv4Addr::LOCALHOST),
            name if NAMES.contains(&name) => Some(ORIGIN),
            _ => None,
        };
        match address {
            Some(address) if question.query_type() == RecordType::A => {
                reply.add_answer(Record::from_rdata(question.name().clone(), 30, RData::A(A(address))));
            }
            Some(_) => {}
            None => reply.metadata.response_code = ResponseCode::NXDomain,
        }
        reply.add_query(question.clone());
    }
    reply
}
