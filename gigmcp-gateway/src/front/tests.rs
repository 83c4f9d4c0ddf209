//! The front over real sockets, before something that answers.

mod http1;
mod http2;
mod leaving;
mod places;
mod raw;
mod tls;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};

use super::*;

/// Answers by path, and keeps what it saw.
#[derive(Default)]
struct Echo {
    seen: Mutex<Vec<(String, HeaderMap, Caller)>>,
    /// Told when somebody asked for `/wait`.
    asked: Notify,
    /// Lets `/wait` go on.
    go: Notify,
}

/// A body in parts.
struct Parts(VecDeque<Bytes>);

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.get_mut().0.pop_front().map(|part| Ok(Frame::data(part))))
    }
}

impl Answers for Echo {
    type Body = Parts;

    async fn answer(&self, request: Request<Arriving>, caller: Caller) -> Response<Parts> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.to_string();
        self.seen.lock().expect("nobody panicked").push((path.clone(), parts.headers, caller));
        let parts = match path.as_str() {
            "/wait" => {
                self.asked.notify_one();
                self.go.notified().await;
                vec![Bytes::from_static(b"waited")]
            }
            "/large" => vec![Bytes::from(vec![b'x'; 1 << 16]); 1024],
            _ => match body.collect().await {
                Ok(body) => vec![body.to_bytes()],
                Err(_) => vec![Bytes::from_static(b"cut")],
            },
        };
        let mut response = Response::new(Parts(parts.into()));
        response.headers_mut().insert(header::SERVER, http::HeaderValue::from_static("told/1.0"));
        response
    }

    fn route(&self, path: &str) -> &'static str {
        if path == "/wait" { "/wait" } else { "none" }
    }
}

/// A front that listens.
struct Running {
    address: SocketAddr,
    echo: Arc<Echo>,
    stats: Arc<Stats>,
    tls: Option<Arc<Tls>>,
    leaving: Option<watch::Sender<()>>,
    serving: tokio::task::JoinHandle<JoinSet<()>>,
    /// Told of each connection that has ended.
    ended: mpsc::UnboundedReceiver<()>,
    stop: Arc<Notify>,
}

impl Running {
    async fn new(limits: Limits, proxies: &[&str], tls: Option<TlsFiles>) -> Self {
        let (echo, stats) = (Arc::new(Echo::default()), Arc::new(Stats::default()));
        let proxies = Proxies::new(proxies.iter().map(|text| text.parse().expect("a network")).collect());
        let tls = tls.map(|files| Arc::new(Tls::open(files, Arc::clone(&stats)).expect("a pair")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let intake = Intake::new(listener, &limits, proxies.clone(), Arc::clone(&stats));
        let address = intake.local_addr().expect("it listens");
        let front = Arc::new(Front::new(Arc::clone(&echo), tls.clone(), proxies, limits, Arc::clone(&stats)));
        let (leaving, left) = watch::channel(());
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let (told, ended) = mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    arrived = intake.next() => drop(connections.spawn(Arc::clone(&front).serve(arrived, left.clone()))),
                    Some(_) = connections.join_next() => drop(told.send(())),
                    () = stopped.notified() => return connections,
                }
            }
        });
        Self { address, echo, stats, tls, leaving: Some(leaving), serving, ended, stop }
    }

    async fn plain() -> Self {
        Self::new(Limits::default(), &[], None).await
    }

    /// Takes no more connections, and asks all to end.
    async fn leave(mut self) -> JoinSet<()> {
        self.stop.notify_one();
        let connections = self.serving.await.expect("it does not panic");
        drop(self.leaving.take());
        connections
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// What comes back for these bytes until the connection ends.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("it is read");
        read_all(&mut stream).await
    }

    /// How often it was asked for that path.
    fn asked_for(&self, path: &str) -> usize {
        self.echo.seen.lock().expect("nobody panicked").iter().filter(|(seen, _, _)| seen == path).count()
    }

    fn counts(&self) -> String {
        let mut text = String::new();
        self.stats.write(&mut text);
        text
    }
}

/// All until the end, also if that is not in order.
async fn read_all(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut read)).await;
    assert!(ended.is_ok(), "it did not end: {}", String::from_utf8_lossy(&read));
    String::from_utf8_lossy(&read).into_owned()
}

/// The status lines in what was read.
fn statuses(read: &str) -> Vec<u16> {
    let lines = read.match_indices("HTTP/1.1 ").filter_map(|(at, _)| read.get(at + 9..at + 12)?.parse().ok());
    lines.collect()
}
