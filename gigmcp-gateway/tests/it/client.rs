//! A small MCP client over HTTP, for what the official ones do not let a test say.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::internet::Internet;

/// Where the gateway listens inside the tests' internet.
pub(crate) const ADDRESS: &str = "127.0.0.1:8080";

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.message())
            .unwrap_or_else(|error| panic!("{error}: {:?} {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// The answer itself, also if it took so long that it came as a stream of events.
    fn message(&self) -> &[u8] {
        let events = self.headers.get("content-type").is_some_and(|value| value == "text/event-stream");
        let text = std::str::from_utf8(&self.body).unwrap();
        let last = text.rsplit("\n\n").find_map(|event| Some(event.split_once("event: message\ndata: ")?.1));
        last.filter(|_| events).map_or(&self.body, str::as_bytes)
    }

    /// The text of a tool's first content block.
    pub(crate) fn text(&self) -> String {
        let answer = self.json();
        let text = answer["result"]["content"][0]["text"].as_str().map(str::to_owned);
        text.unwrap_or_else(|| panic!("no text in {answer}"))
    }
}

/// Sends one request as it is.
pub(crate) fn send(internet: &Internet, request: Request<Bytes>) -> Answer {
    send_to(internet, ADDRESS, request)
}

/// The same to a gateway that listens elsewhere.
pub(crate) fn send_to(internet: &Internet, address: &str, request: Request<Bytes>) -> Answer {
    let address = address.to_owned();
    internet.near(move || async move {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let (parts, body) = request.into_parts();
        let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        drop(sender);
        drop(connection.await);
        Answer { status: parts.status, headers: parts.headers, body }
    })
}

/// Sends a request's head and what there is of its body, and gives the answer's first line.
pub(crate) fn send_head(internet: &Internet, request: Request<Bytes>) -> String {
    internet.near(move || async move {
        let mut stream = TcpStream::connect(ADDRESS).await.unwrap();
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri());
        for (name, value) in request.headers() {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        stream.write_all(request.body()).await.unwrap();
        let mut line = String::new();
        tokio::io::BufReader::new(stream).read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    })
}

/// A POST as an MCP client makes it.
pub(crate) fn post(path: &str, token: Option<&str>, body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::post(path)
        .header(header::HOST, ADDRESS)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(body.into()).unwrap()
}

/// An initialized session on one profile.
pub(crate) struct Session<'a> {
    internet: &'a Internet,
    address: String,
    path: String,
    token: String,
    id: String,
}

impl<'a> Session<'a> {
    pub(crate) fn open(internet: &'a Internet, path: &str, token: &str) -> Self {
        Self::open_at(internet, ADDRESS, path, token)
    }

    /// The same with a gateway that listens elsewhere.
    pub(crate) fn open_at(internet: &'a Internet, address: &str, path: &str, token: &str) -> Self {
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
        }});
        let answer = send_to(internet, address, post(path, Some(token), body.to_string()));
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let id = answer.headers["mcp-session-id"].to_str().unwrap().to_owned();
        Self { internet, address: address.to_owned(), path: path.to_owned(), token: token.to_owned(), id }
    }

    /// `Mcp-Session-Id`.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The same caller using another's session.
    pub(crate) fn with_id_of(mut self, other: &Session<'_>) -> Self {
        self.id = other.id.clone();
        self
    }

    /// Sends a request of any method.
    pub(crate) fn request(&self, method: &str, params: &Value) -> Answer {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = post(&self.path, Some(&self.token), body.to_string());
        request.headers_mut().insert("mcp-session-id", self.id.parse().unwrap());
        send_to(self.internet, &self.address, request)
    }

    pub(crate) fn call(&self, tool: &str, arguments: &Value) -> Answer {
        self.request("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    pub(crate) fn tools(&self) -> Vec<String> {
        let answer = self.request("tools/list", &json!({})).json();
        let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }
}
