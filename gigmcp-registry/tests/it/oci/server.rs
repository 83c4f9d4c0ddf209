//! Servers that answer as a test says, over real sockets.

use std::sync::{Arc, Mutex};

use gigmcp_registry::{Digest, ImageReference};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::image::Image;

/// What a server does once it has read a request.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// The same again and again, until nobody listens.
    Endless(Vec<u8>),
    /// Nothing, until nobody waits.
    Hang,
}

/// A server on loopback that speaks plain HTTP, one request a connection.
pub(crate) struct Server {
    /// `127.0.0.1:PORT`.
    pub(crate) name: String,
    requests: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (heard, answer) = (Arc::clone(&requests), Arc::new(answer));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (heard, answer) = (Arc::clone(&heard), Arc::clone(&answer));
                tokio::spawn(async move {
                    let _ = serve(stream, &heard, &*answer).await;
                });
            }
        });
        Self { name, requests, task }
    }

    /// The heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn image(&self, image: &Image) -> ImageReference {
        ImageReference::new(&format!("{}/example/a", self.name), image.digest).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    heard: &Mutex<Vec<String>>,
    answer: &(dyn Fn(&str) -> Vec<Step> + Send + Sync),
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    heard.lock().unwrap().push(head.clone());
    for step in answer(&head) {
        match step {
            Step::Send(bytes) => stream.write_all(&bytes).await?,
            Step::Endless(bytes) => loop {
                stream.write_all(&bytes).await?;
            },
            Step::Hang => drop(stream.read_u8().await),
        }
    }
    stream.shutdown().await
}

/// The path of a request.
pub(crate) fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

/// The value of a header, which hyper writes in lower case.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

pub(crate) fn head(status: &str, headers: &str) -> Step {
    Step::Send(format!("HTTP/1.1 {status}\r\n{headers}\r\n").into_bytes())
}

pub(crate) fn ok(content: &[u8]) -> Vec<Step> {
    vec![head("200 OK", &format!("Content-Length: {}\r\n", content.len())), Step::Send(content.to_vec())]
}

pub(crate) fn empty(status: &str, headers: &str) -> Vec<Step> {
    vec![head(status, &format!("Content-Length: 0\r\n{headers}"))]
}

/// What a registry that tells the truth answers, ranges included.
pub(crate) fn honest(image: &Image, request: &str) -> Vec<Step> {
    let digest = path(request).rsplit('/').next().unwrap();
    let Some(content) = image.content.get(digest) else { return empty("404 Not Found", "") };
    assert!(digest.parse::<Digest>().is_ok());
    let is_manifest = path(request) == format!("/v2/example/a/manifests/{digest}");
    assert_eq!(is_manifest, image.manifests.iter().any(|manifest| manifest == digest), "{request}");
    let range = header(request, "range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let Some(from) = range.map(|from| from.parse::<usize>().unwrap()) else { return ok(content) };
    let headers = format!(
        "Content-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n",
        content.len() - from,
        content.len() - 1,
        content.len()
    );
    vec![head("206 Partial Content", &headers), Step::Send(content[from..].to_vec())]
}
