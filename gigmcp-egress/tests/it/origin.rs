//! What stands for the internet: one TLS and one clear-text origin.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request as an origin saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Two listeners that answer by the path of the request.
pub(crate) struct Origin {
    pub(crate) tls: SocketAddr,
    pub(crate) clear: SocketAddr,
    pub(crate) ca_pem: String,
    /// For further origins of the same names.
    pub(crate) config: ServerConfig,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["api.example.com", "b.example.com", "img.cdn.example.com"].map(str::to_owned);
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config.clone()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (tls, clear) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let origin = Self {
            tls: tls.local_addr().unwrap(),
            clear: clear.local_addr().unwrap(),
            ca_pem: ca.pem(),
            config,
            seen: Arc::clone(&seen),
        };
        let noted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = tls.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&noted));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(TokioIo::new(stream), seen).await;
                    }
                });
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = clear.accept().await {
                tokio::spawn(serve(TokioIo::new(stream), Arc::clone(&seen)));
            }
        });
        origin
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve<T>(io: TokioIo<T>, seen: Arc<Mutex<Vec<Seen>>>)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
            let last = seen.lock().unwrap().last().map(|seen| seen.headers.clone());
            let answer = match (parts.uri.path(), last) {
                // What an earlier request brought, as a request log would show it.
                ("/last", Some(last)) => answer("/echo", &last),
                // The request's body in one piece, with more to come.
                ("/tail", _) => Response::new(Chunks::of(&body, 4096).then_empty()),
                (path, _) => answer(path, &parts.headers),
            };
            seen.lock().unwrap().push(Seen { target: parts.uri.to_string(), headers: parts.headers, body });
            Ok::<_, Infallible>(answer)
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
}

fn answer(path: &str, headers: &HeaderMap) -> Response<Chunks> {
    let all: String =
        headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or("?"))).collect();
    let echoed = headers.get("authorization").cloned();
    match path {
        // The request's headers in a header and, in pieces of three bytes, in the body.
        "/echo" => {
            let mut answer = Response::new(Chunks::of(all.as_bytes(), 3));
            if let Some(echoed) = echoed {
                answer.headers_mut().insert("x-echo", echoed);
            }
            answer
        }
        "/gzip" => {
            Response::builder().header("content-encoding", "gzip").body(Chunks::of(b"\x1f\x8b not read", 99)).unwrap()
        }
        path if path.starts_with("/charset/") => {
            let kind = format!("text/plain; {}", path["/charset/".len()..].replace("%22", "\""));
            Response::builder().header("content-type", kind).body(Chunks::of(b"ok", 99)).unwrap()
        }
        "/unknown" => Response::builder().header("content-encoding", "x-own").body(Chunks::of(b"own", 99)).unwrap(),
        // One event, and then silence.
        "/events" => Response::new(Chunks { end: End::Never, ..Chunks::of(b"data: one\n\n", 99) }),
        "/large" => Response::new(Chunks::of(&vec![b'x'; 1 << 20], 16 << 10)),
        "/headers" => Response::builder()
            .header("alt-svc", "h3=\":443\"")
            .header("x-gigmcp-refusal", "host-denied")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .body(Chunks::of(b"ok", 99))
            .unwrap(),
        _ => Response::new(Chunks::of(b"ok", 99)),
    }
}

/// A body in pieces of a chosen size.
pub(crate) struct Chunks {
    left: VecDeque<Bytes>,
    end: End,
}

/// What comes after the last piece.
#[derive(Clone, Copy)]
enum End {
    Regular,
    Never,
}

impl Chunks {
    fn of(bytes: &[u8], size: usize) -> Self {
        Self { left: bytes.chunks(size).map(Bytes::copy_from_slice).collect(), end: End::Regular }
    }

    /// Ends only after one more turn, so that the piece before is sent alone.
    fn then_empty(mut self) -> Self {
        self.left.push_back(Bytes::new());
        self
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.left.pop_front(), self.end) {
            (Some(chunk), _) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            (None, End::Regular) => Poll::Ready(None),
            (None, End::Never) => Poll::Pending,
        }
    }
}
