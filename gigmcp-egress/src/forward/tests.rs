#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use super::*;
use crate::address::CheckedAddr;
use crate::body::full;
use crate::dial::{Connect, Resolver};
use crate::private_net::PrivateNetworks;
use crate::request::Destination;
use crate::rule::Scheme;
use crate::verify::Demands;

/// A resolver with one answer, and a network of which some addresses are reachable.
struct Net {
    addresses: Vec<IpAddr>,
    reach: fn(usize) -> Reached,
    origin: SocketAddr,
    dialled: Mutex<Vec<IpAddr>>,
}

/// What becomes of an attempt.
enum Reached {
    Origin,
    Nothing,
    Refusal,
}

impl Resolver for Net {
    fn resolve<'a>(&'a self, _: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(self.addresses.clone()) })
    }
}

impl Connect for Net {
    fn connect<'a>(&'a self, address: CheckedAddr) -> BoxFuture<'a, io::Result<TcpStream>> {
        let mut dialled = self.dialled.lock().unwrap();
        let reached = (self.reach)(dialled.len());
        dialled.push(address.socket_addr().ip());
        Box::pin(async move {
            match reached {
                Reached::Origin => TcpStream::connect(self.origin).await,
                Reached::Nothing => std::future::pending().await,
                Reached::Refusal => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }
}

async fn net(addresses: impl IntoIterator<Item = String>, reach: fn(usize) -> Reached) -> (Arc<Net>, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = addresses.into_iter().map(|address| address.parse().unwrap()).collect();
    let origin = listener.local_addr().unwrap();
    (Arc::new(Net { addresses, reach, origin, dialled: Mutex::default() }), listener)
}

fn forward(net: &Arc<Net>) -> Forward {
    // There has to be a root, though these upstreams speak in clear text.
    let root = rcgen::generate_simple_self_signed(["root.example.com".to_owned()]).unwrap();
    let demands = Demands { roots_pem: root.cert.pem().into_bytes(), ..Demands::default() };
    let tls = UpstreamTls::new(demands, &[]).unwrap();
    let dialer = Dialer::new(net.clone(), net.clone(), PrivateNetworks::default(), Limits::default());
    Forward::new(dialer, tls, Limits::default())
}

fn request(upgrade: Option<&'static str>) -> Request<Body> {
    let destination = Destination { scheme: Scheme::Http, host: "api.example.com".parse().unwrap(), port: 80 };
    let mut request = Request::get("http://api.example.com/x").header("host", "api.example.com");
    if let Some(upgrade) = upgrade {
        request = request.header("upgrade", upgrade);
    }
    request.extension(Downstream { identity: Identity::new("one"), destination }).body(full("")).unwrap()
}

/// Answers the next connection with these bytes, and gives it back with the request that came.
async fn answer(listener: &TcpListener, bytes: &str) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await.unwrap()));
    }
    stream.write_all(bytes.as_bytes()).await.unwrap();
    (stream, head)
}

#[tokio::test]
async fn an_upgraded_connection_is_given_once_with_its_early_bytes() {
    let (net, listener) = net(["93.184.216.34".to_owned()], |_| Reached::Origin).await;
    let forward = forward(&net);
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nearly";
    let (reply, (mut origin, head)) =
        tokio::join!(forward.clone().oneshot(request(Some("websocket"))), answer(&listener, agreed));
    assert!(head.to_ascii_lowercase().contains("connection: upgrade\r\n"), "{head}");
    let reply = reply.unwrap();
    assert_eq!(reply.status(), 101);
    let upgraded = reply.extensions().get::<Upgraded>().unwrap();
    let mut stream = upgraded.take().unwrap();
    assert!(upgraded.take().is_none());
    let mut early = [0; 5];
    stream.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    stream.write_all(b"frame").await.unwrap();
    stream.flush().await.unwrap();
    origin.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"frame");
}

#[tokio::test]
async fn an_upgrade_that_is_declined_is_an_answer_like_any_other() {
    let (net, listener) = net(["93.184.216.34".to_owned()], |_| Reached::Origin).await;
    let forward = forward(&net);
    for dialled in [1, 2] {
        let declined = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
        let (reply, _origin) =
            tokio::join!(forward.clone().oneshot(request(Some("websocket"))), answer(&listener, declined));
        let reply = reply.unwrap();
        assert_eq!((reply.status().as_u16(), reply.extensions().get::<Upgraded>().is_none()), (403, true), "EGR-161");
        assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "no");
        assert_eq!(net.dialled.lock().unwrap().len(), dialled, "its connection is not used again");
    }
}

#[tokio::test]
async fn a_change_of_protocol_nobody_asked_for_is_an_error() {
    for upgrade in [None, Some("h2c")] {
        let (net, listener) = net(["93.184.216.34".to_owned()], |_| Reached::Origin).await;
        let unasked = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let (reply, _origin) = tokio::join!(forward(&net).oneshot(request(upgrade)), answer(&listener, unasked));
        assert!(matches!(reply, Err(ForwardError::Http { .. })), "{upgrade:?}: {reply:?}");
    }
}

#[tokio::test]
async fn a_silent_address_does_not_keep_the_next_from_being_tried() {
    let addresses = ["2600::1", "2600::2", "93.184.216.34"].map(str::to_owned);
    let (net, listener) = net(addresses, |attempt| if attempt == 0 { Reached::Nothing } else { Reached::Origin }).await;
    let answered = "HTTP/1.1 204 No Content\r\n\r\n";
    let (reply, _origin) = tokio::join!(forward(&net).oneshot(request(None)), answer(&listener, answered));
    assert_eq!(reply.unwrap().status(), 204);
    let dialled = net.dialled.lock().unwrap().clone();
    assert_eq!(dialled, ["2600::1", "93.184.216.34"].map(|address| address.parse::<IpAddr>().unwrap()));
}

#[tokio::test]
async fn of_many_addresses_a_few_are_checked_and_fewer_dialled() {
    let many = || (1..=250).map(|last| format!("93.184.216.{last}"));
    let (reachable, _listener) = net(many().chain(many()), |_| Reached::Refusal).await;
    let reply = forward(&reachable).oneshot(request(None)).await;
    assert!(matches!(reply, Err(ForwardError::Connect { .. })), "EGR-056: {reply:?}");
    assert_eq!(reachable.dialled.lock().unwrap().len(), 4, "EGR-056");
    let private = many().take(15).chain(["10.0.0.1".to_owned()]);
    let (spoilt, _listener) = net(private, |_| Reached::Origin).await;
    let reply = forward(&spoilt).oneshot(request(None)).await;
    assert!(matches!(reply, Err(ForwardError::Address { .. })), "EGR-056: {reply:?}");
    assert!(spoilt.dialled.lock().unwrap().is_empty(), "EGR-056: all are checked before one is dialled");
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_an_error() {
    for (case, bytes, whole) in [
        ("EGR-108 cut", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n123", false),
        ("EGR-108 cut chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n", false),
        ("twin", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12345", true),
        ("twin in chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n", true),
    ] {
        let (net, listener) = net(["93.184.216.34".to_owned()], |_| Reached::Origin).await;
        let (reply, (origin, _)) = tokio::join!(forward(&net).oneshot(request(None)), answer(&listener, bytes));
        drop(origin);
        assert_eq!(reply.unwrap().into_body().collect().await.is_ok(), whole, "{case}");
    }
}
