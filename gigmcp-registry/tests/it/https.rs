//! Registries behind https that break off, stall, redirect and lie. The server is a socket with TLS and answers of our own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gigmcp_registry::{
    Download, Envelope, Fetched, HttpError, Https, HttpsError, IndexClient, InvalidHttps, RefreshError, Refreshed,
    RegistryFile, Root, Signatures, SignedRoot, State, TooLong, Transport,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{expiry, fresh, index, root as keys, signed_by, signer};

/// What the server does with a request: bytes to send, and whether it then keeps silent instead of closing.
#[derive(Clone)]
enum Act {
    Close(Vec<u8>),
    Stall(Vec<u8>),
}

/// Long enough for a busy machine to shake hands.
const SILENCE: Duration = Duration::from_secs(3);

struct Server {
    address: String,
    certificate: String,
    /// The heads of the requests, in order.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers each request by what `answer` makes of its number and head.
    async fn start(answer: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".into()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}/registry", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let number = heads.lock().unwrap().len();
                heads.lock().unwrap().push(head.clone());
                match answer(number, &head) {
                    Act::Close(bytes) => {
                        // The other side may have gone already: it has seen enough.
                        drop(stream.write_all(&bytes).await);
                        drop(stream.shutdown().await);
                    }
                    Act::Stall(bytes) => {
                        drop(stream.write_all(&bytes).await);
                        drop(stream.flush().await);
                        tokio::spawn(async move { drop(stream.read_u8().await) });
                    }
                }
            }
        });
        Self { address, certificate: cert.pem(), requests }
    }

    fn client(&self) -> Https {
        Https::new(&self.address).unwrap().roots(self.certificate.as_bytes()).unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn whole(body: &[u8]) -> Act {
    Act::Close(answer("200 OK", "ETag: \"one\"\r\n", body))
}

async fn get(https: &Https, download: &mut Download) -> Result<Fetched, HttpsError> {
    https.fetch(RegistryFile::Index, download).await
}

fn has(head: &str, line: &str) -> bool {
    head.to_ascii_lowercase().lines().any(|found| found == line.to_ascii_lowercase())
}

#[tokio::test]
async fn a_file_is_fetched_and_not_again() {
    let server = Server::start(|_, head| {
        if has(head, "If-None-Match: \"one\"") {
            Act::Close(b"HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\n\r\n".to_vec())
        } else {
            whole(b"index")
        }
    })
    .await;
    let mut download = Download::new(100);
    assert_eq!(get(&server.client(), &mut download).await.unwrap(), Fetched::Complete);
    assert_eq!((download.bytes(), download.tag()), (&b"index"[..], Some("\"one\"")));
    let mut again = Download::new(100).unless_tagged(download.tag().map(Into::into));
    assert_eq!(get(&server.client(), &mut again).await.unwrap(), Fetched::NotModified);
    let head = &server.requests()[0];
    assert!(head.starts_with("GET /registry/index.jsonl HTTP/1.1\r\n"), "{head}");
    assert!(has(head, "Accept-Encoding: identity") && !head.to_ascii_lowercase().contains("range"), "{head}");
}

#[tokio::test]
async fn a_file_that_breaks_off_is_gone_on_with() {
    let server = Server::start(|number, head| match number {
        0 => Act::Close(
            answer("200 OK", "ETag: \"one\"\r\n", b"0123456789")[..].split_last_chunk::<6>().unwrap().0.to_vec(),
        ),
        _ if has(head, "Range: bytes=4-") && has(head, "If-Range: \"one\"") => {
            Act::Close(answer("206 Partial Content", "ETag: \"one\"\r\nContent-Range: bytes 4-9/10\r\n", b"456789"))
        }
        _ => Act::Close(answer("400 Bad Request", "", b"")),
    })
    .await;
    let mut download = Download::new(100);
    assert_eq!(get(&server.client(), &mut download).await.unwrap(), Fetched::Complete);
    assert_eq!(download.bytes(), b"0123456789");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_begun_anew() {
    let server = Server::start(|number, _| match number {
        0 => Act::Close(
            answer("200 OK", "ETag: \"one\"\r\n", b"0123456789")[..].split_last_chunk::<6>().unwrap().0.to_vec(),
        ),
        _ => Act::Close(answer("200 OK", "ETag: \"two\"\r\n", b"abc")),
    })
    .await;
    let mut download = Download::new(100);
    assert_eq!(get(&server.client(), &mut download).await.unwrap(), Fetched::Complete);
    assert_eq!((download.bytes(), download.tag()), (&b"abc"[..], Some("\"two\"")));
}

#[tokio::test]
async fn without_a_strong_tag_nothing_is_gone_on_with() {
    for tag in ["", "ETag: W/\"one\"\r\n"] {
        let server = Server::start(move |number, head| match number {
            0 => Act::Close(answer("200 OK", tag, b"0123456789")[..].split_last_chunk::<6>().unwrap().0.to_vec()),
            _ if head.to_ascii_lowercase().contains("range:") => Act::Close(answer("400 Bad Request", "", b"")),
            _ => whole(b"0123456789"),
        })
        .await;
        let mut download = Download::new(100);
        assert_eq!(get(&server.client(), &mut download).await.unwrap(), Fetched::Complete);
        assert_eq!(download.bytes(), b"0123456789");
    }
}

#[tokio::test]
async fn parts_that_were_not_asked_for_are_refused() {
    let begun = || {
        let mut download = Download::new(100);
        download.begin(Some("\"one\"".into()));
        download.push(b"0123").unwrap();
        download
    };
    for (case, headers, fits) in [
        ("as asked for", "ETag: \"one\"\r\nContent-Range: bytes 4-9/10\r\n", true),
        ("another file", "ETag: \"two\"\r\nContent-Range: bytes 4-9/10\r\n", false),
        ("no tag", "Content-Range: bytes 4-9/10\r\n", false),
        ("from elsewhere", "ETag: \"one\"\r\nContent-Range: bytes 3-8/10\r\n", false),
        ("a prefix of the place", "ETag: \"one\"\r\nContent-Range: bytes 44-49/50\r\n", false),
        ("no place", "ETag: \"one\"\r\n", false),
    ] {
        let server = Server::start(move |_, _| Act::Close(answer("206 Partial Content", headers, b"456789"))).await;
        let mut download = begun();
        match get(&server.client(), &mut download).await {
            Ok(Fetched::Complete) if fits => assert_eq!(download.bytes(), b"0123456789"),
            Err(HttpsError::Http(HttpError::Answer { .. })) if !fits => assert_eq!(download.bytes(), b"", "{case}"),
            other => panic!("{case}: {other:?}"),
        }
    }
    let server =
        Server::start(|_, _| Act::Close(answer("206 Partial Content", "Content-Range: bytes 0-4/5\r\n", b"index")))
            .await;
    let unasked = get(&server.client(), &mut Download::new(100)).await;
    assert!(matches!(unasked, Err(HttpsError::Http(HttpError::Answer { .. }))), "{unasked:?}");
    let server = Server::start(|_, _| Act::Close(answer("416 Range Not Satisfiable", "", b""))).await;
    let mut download = begun();
    assert!(get(&server.client(), &mut download).await.is_err());
    assert_eq!(download.bytes(), b"", "the next attempt begins anew");
}

#[tokio::test]
async fn more_than_there_may_be_is_not_read() {
    let server = Server::start(|_, _| whole(&[b'x'; 101])).await;
    let too_long = get(&server.client(), &mut Download::new(100)).await;
    assert!(matches!(too_long, Err(HttpsError::Http(HttpError::TooLong(TooLong { limit: 100 })))), "{too_long:?}");
    let server = Server::start(|_, _| whole(&[b'x'; 100])).await;
    assert_eq!(get(&server.client(), &mut Download::new(100)).await.unwrap(), Fetched::Complete);
}

#[tokio::test]
async fn a_server_that_keeps_silent_is_left() {
    let left = async |sent: &'static [u8]| {
        let server = Server::start(move |_, _| Act::Stall(sent.to_vec())).await;
        let mut download = Download::new(100);
        let left = get(&server.client().stall(SILENCE), &mut download).await;
        assert!(matches!(left, Err(HttpsError::Http(HttpError::Stalled { after })) if after == SILENCE), "{left:?}");
        download.bytes().to_vec()
    };
    let slow = async {
        let server = Server::start(|_, _| Act::Stall(Vec::new())).await;
        get(&server.client().timeout(SILENCE), &mut Download::new(100)).await
    };
    let (head, part, file, slow) = tokio::join!(
        left(b""),
        left(b"HTTP/1.1 200 OK\r\n"),
        left(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123"),
        slow,
    );
    assert_eq!((head, part, file), (Vec::new(), Vec::new(), b"0123".to_vec()));
    assert!(matches!(slow, Err(HttpsError::TimedOut { after }) if after == SILENCE), "{slow:?}");
}

#[tokio::test]
async fn redirects_are_followed_to_https_only_and_not_for_ever() {
    let to = |location: &str| Act::Close(answer("302 Found", &format!("Location: {location}\r\n"), b""));
    let server = Server::start(move |_, head| match head.split(' ').nth(1).unwrap() {
        "/registry/index.jsonl" => to("/elsewhere/index.jsonl?x=1"),
        "/elsewhere/index.jsonl?x=1" => whole(b"index"),
        path => panic!("{path}"),
    })
    .await;
    let mut download = Download::new(100);
    assert_eq!(get(&server.client(), &mut download).await.unwrap(), Fetched::Complete);
    assert_eq!(download.bytes(), b"index");
    for location in ["http://127.0.0.1/index.jsonl", "//127.0.0.1/x", "file:///etc/passwd", "../x"] {
        let server = Server::start(move |_, _| to(location)).await;
        let refused = get(&server.client(), &mut Download::new(100)).await;
        assert!(matches!(&refused, Err(HttpsError::Redirect { location: found }) if found == location), "{refused:?}");
    }
    let server = Server::start(move |_, _| to("/again")).await;
    let round = get(&server.client(), &mut Download::new(100)).await;
    assert!(matches!(round, Err(HttpsError::Redirects)), "{round:?}");
    assert_eq!(server.requests().len(), 6);
}

#[tokio::test]
async fn answers_that_are_none_have_names() {
    for (case, bytes, expected) in [
        ("missing", answer("404 Not Found", "", b""), "Ok(NotFound)"),
        ("gone", answer("410 Gone", "", b""), "Ok(NotFound)"),
        ("busy", answer("503 Service Unavailable", "", b""), "Err(Http(Status { status: 503 }))"),
        ("forbidden", answer("403 Forbidden", "", b""), "Err(Http(Status { status: 403 }))"),
        ("nowhere", answer("302 Found", "", b""), "Err(Http(Answer"),
        ("coded", answer("200 OK", "Content-Encoding: gzip\r\n", b"x"), "Err(Http(Answer"),
        ("no HTTP", b"index\r\n\r\n".to_vec(), "Err(Http(Http("),
        ("nothing", Vec::new(), "Err(Http(Http("),
    ] {
        let server = Server::start(move |_, _| Act::Close(bytes.clone())).await;
        let answered = format!("{:?}", get(&server.client(), &mut Download::new(100)).await);
        assert!(answered.starts_with(expected), "{case}: {answered}");
    }
}

#[tokio::test]
async fn a_server_without_the_right_certificate_is_not_spoken_to() {
    let server = Server::start(|_, _| whole(b"index")).await;
    let other = generate_simple_self_signed(["127.0.0.1".into()]).unwrap();
    let https = Https::new(&server.address).unwrap();
    for https in [https.clone(), https.roots(other.cert.pem().as_bytes()).unwrap()] {
        let refused = get(&https, &mut Download::new(100)).await;
        assert!(matches!(refused, Err(HttpsError::Http(HttpError::Connect(_)))), "{refused:?}");
    }
    assert!(server.requests().is_empty());
    assert!(get(&server.client(), &mut Download::new(100)).await.is_ok());
}

#[test]
fn only_https_is_an_address() {
    for address in ["http://registry.test", "registry.test", "https://user@registry.test", "file:///registry", ""] {
        assert_eq!(Https::new(address).err(), Some(InvalidHttps::Address { address: address.into() }));
    }
    let https = Https::new("https://registry.test").unwrap();
    assert_eq!(https.clone().roots(b"").err(), Some(InvalidHttps::Roots));
    assert_eq!(format!("{https:?}"), "Https(https://registry.test/)");
}

#[tokio::test]
async fn a_registry_is_followed_over_https_and_goes_on_after_a_break() {
    let file = |sequence: u64| {
        let text = index(sequence);
        Envelope::join(&signed_by(&[11], &text), text.as_bytes())
    };
    let (seven, eight) = (file(7), file(8));
    let half = seven.len() / 2;
    let rest = seven[half..].to_vec();
    let range = format!("ETag: \"one\"\r\nContent-Range: bytes {half}-{}/{}\r\n", seven.len() - 1, seven.len());
    let indexes = Mutex::new(0);
    let server = Server::start(move |_, head| {
        if head.contains("/root/") {
            return Act::Close(answer("404 Not Found", "", b""));
        }
        let mut number = indexes.lock().unwrap();
        *number += 1;
        match *number {
            // Half of it, then silence, and no answer to the next attempt: the refresh fails, and the next goes on.
            1 => {
                let whole = answer("200 OK", "ETag: \"one\"\r\n", &seven);
                Act::Stall(whole[..whole.len() - (seven.len() - half)].to_vec())
            }
            2 => Act::Close(Vec::new()),
            3 if has(head, &format!("Range: bytes={half}-")) => {
                Act::Close(answer("206 Partial Content", &range, &rest))
            }
            4 if has(head, "If-None-Match: \"one\"") => Act::Close(b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()),
            5 => Act::Close(answer("200 OK", "ETag: \"two\"\r\n", &eight)),
            // A cache with an old copy under a new tag.
            6 => Act::Close(answer("200 OK", "ETag: \"three\"\r\n", &seven)),
            number => panic!("{number}: {head}"),
        }
    })
    .await;
    let text = Root::new(std::num::NonZeroU64::MIN, expiry(), keys(&[1], 1), keys(&[11], 1)).unwrap().to_json();
    let signatures = Signatures::new(vec![signer(1).sign_root(text.as_bytes())]);
    let root = SignedRoot::pinned(text.as_bytes(), &signatures).unwrap();
    let now = fresh().now;
    let mut client = IndexClient::new(root, State::default(), now).unwrap();
    let https = server.client().stall(SILENCE);
    let broken = client.refresh(&https, now).await;
    assert!(matches!(broken, Err(RefreshError::Fetch { file: RegistryFile::Index, .. })), "{broken:?}");
    assert_eq!(client.refresh(&https, now).await.unwrap(), Refreshed::Updated);
    assert_eq!(client.refresh(&https, now).await.unwrap(), Refreshed::Unchanged);
    assert_eq!(client.refresh(&https, now).await.unwrap(), Refreshed::Updated);
    let older = client.refresh(&https, now).await;
    assert!(matches!(older, Err(RefreshError::Index(_))), "{older:?}");
    assert_eq!(client.index(now).unwrap().sequence, 8);
}

#[tokio::test]
async fn only_what_may_be_dialled_is() {
    let server = Server::start(|_, _| whole(b"index")).await;
    for (case, client, allowed) in [
        ("twin: no check", server.client(), true),
        (
            "twin: allowed",
            server.client().addresses(|host, address| host == "127.0.0.1" && address.is_loopback()),
            true,
        ),
        ("denied", server.client().addresses(|_, address| !address.is_loopback()), false),
    ] {
        match get(&client, &mut Download::new(100)).await {
            Ok(fetched) => assert!(allowed && fetched == Fetched::Complete, "{case}"),
            Err(HttpsError::Http(HttpError::Address { address, .. })) => {
                assert!(!allowed && address.is_loopback(), "{case}");
            }
            Err(error) => panic!("{case}: {error:?}"),
        }
    }
    assert_eq!(server.requests().len(), 2, "nothing was asked where nothing may be dialled");
}
