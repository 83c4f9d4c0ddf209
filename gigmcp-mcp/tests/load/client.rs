//! A client that looks closely at what it gets: everything must carry its own token.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::AbortOnDropHandle;

pub(crate) struct Client {
    address: SocketAddr,
    /// No two have the same.
    number: usize,
    principal: String,
    era: Era,
    session: Option<String>,
    connection: Option<Connection>,
    calls: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Era {
    Sessions,
    Stateless,
}

/// Dropping it closes the socket, whatever is under way.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _task: AbortOnDropHandle<()>,
}

/// What became of a call.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Told {
    /// Its own token came back.
    Token,
    /// An error, by the code that says why.
    Failed(String),
    /// The client did not wait.
    Vanished,
}

impl Client {
    pub(crate) async fn begin(address: SocketAddr, number: usize, era: Era) -> Self {
        // Five share a name, and so may do whatever the others may.
        let principal = format!("principal {}", number / 5);
        let mut client = Self { address, number, principal, era, session: None, connection: None, calls: 0 };
        client.open_session().await;
        client
    }

    /// Connects, and opens a session if its era has them.
    pub(crate) async fn open_session(&mut self) {
        let (method, params) = match self.era {
            Era::Sessions => (
                "initialize",
                json!({ "protocolVersion": "2025-11-25", "capabilities": { "elicitation": {} },
                        "clientInfo": { "name": "load", "version": "1" } }),
            ),
            Era::Stateless => ("server/discover", json!({ "_meta": meta() })),
        };
        let body = json!({ "jsonrpc": "2.0", "id": "open", "method": method, "params": params });
        let mut replies = self.post(method, None, &body).await;
        if self.era == Era::Sessions {
            self.session = Some(replies.response.headers()["mcp-session-id"].to_str().unwrap().to_owned());
        }
        assert_eq!(replies.next().await.unwrap()["id"], "open");
        while replies.next().await.is_some() {}
    }

    pub(crate) async fn end_session(&mut self) {
        if self.session.is_some() {
            let request = self.request(Method::DELETE, "", None);
            let response = self.send(request.body(Full::default()).unwrap()).await;
            assert_eq!(response.status(), StatusCode::NO_CONTENT);
            self.session = None;
        }
        self.connection = None;
    }

    pub(crate) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Calls a server's tool. With a `patience`, hangs up when it is over, and comes back on a new connection.
    pub(crate) async fn call(&mut self, server: &str, manner: Manner, patience: Option<Duration>) -> Told {
        self.calls += 1;
        let token = format!("call {} of {}", self.calls, self.number);
        let Some(patience) = patience else { return self.exchange(server, &token, manner).await };
        match timeout(patience, self.exchange(server, &token, manner)).await {
            Ok(told) => told,
            Err(_) => {
                self.connection = None;
                self.connect().await;
                Told::Vanished
            }
        }
    }

    async fn exchange(&mut self, server: &str, token: &str, manner: Manner) -> Told {
        let tool = format!("{server}_say");
        let mut params = json!({
            "name": tool,
            "arguments": { "token": token, "calm": manner == Manner::Calm },
            "_meta": if self.era == Era::Stateless { meta() } else { json!({}) },
        });
        if manner == Manner::Observant {
            params["_meta"]["progressToken"] = token.into();
        }
        loop {
            let id = format!("id of {token}");
            let body = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
            let mut replies = self.post("tools/call", Some(&tool), &body).await;
            let answer = loop {
                let message = replies.next().await.unwrap_or_else(|| panic!("{server}: no answer to {token}"));
                match message["method"].as_str() {
                    None => break message,
                    Some(_) => self.hear(server, token, &message).await,
                }
            };
            while replies.next().await.is_some() {}
            assert_eq!(answer["id"], id, "an answer to something else: {answer}");
            if answer["result"]["resultType"] == "input_required" {
                let asked = answer["result"]["inputRequests"].as_object().unwrap();
                asked.values().for_each(|asked| assert_eq!(asked["params"]["message"], format!("ask: {token}")));
                let given = asked.keys().map(|key| (key.clone(), accepted(token))).collect();
                params["inputResponses"] = Value::Object(given);
                params["requestState"] = answer["result"]["requestState"].clone();
                continue;
            }
            return told(server, &answer, token);
        }
    }

    /// What comes before the answer.
    async fn hear(&self, server: &str, token: &str, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str().unwrap() {
            "notifications/progress" => {
                assert_eq!((&params["progressToken"], &params["message"]), (&json!(token), &json!(token)));
            }
            "elicitation/create" => {
                assert_eq!(params["message"], format!("ask: {token}"));
                let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": accepted(token) });
                // The connection of the call is taken.
                let mut beside = Connection::open(self.address).await;
                let request = self.request(Method::POST, "", None);
                let request = request.body(Full::new(Bytes::from(answer.to_string()))).unwrap();
                assert_eq!(beside.sender.send_request(request).await.unwrap().status(), StatusCode::ACCEPTED);
            }
            "notifications/message" if server == "flood" => {}
            _ => panic!("{server} to {token}: {message}"),
        }
    }

    async fn post(&mut self, method: &str, tool: Option<&str>, body: &Value) -> Replies {
        let request = self.request(Method::POST, method, tool);
        let response = self.send(request.body(Full::new(Bytes::from(body.to_string()))).unwrap()).await;
        let status = response.status();
        assert!(status == StatusCode::OK, "{status}");
        let events = response.headers()["content-type"] == "text/event-stream";
        Replies { response, events, read: String::new() }
    }

    fn request(&self, method: Method, named: &str, tool: Option<&str>) -> http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri("/mcp")
            .header("host", self.address.to_string())
            .header("x-principal", &self.principal)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        if self.era == Era::Stateless {
            request = request.header("mcp-protocol-version", MODERN).header("mcp-method", named);
        }
        match tool.filter(|_| self.era == Era::Stateless) {
            Some(tool) => request.header("mcp-name", tool),
            None => request,
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.connect().await;
        let connection = self.connection.as_mut().unwrap();
        connection.sender.ready().await.unwrap();
        connection.sender.send_request(request).await.unwrap()
    }

    async fn connect(&mut self) {
        if self.connection.is_none() {
            self.connection = Some(Connection::open(self.address).await);
        }
    }
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        // What it ends with is seen by whoever waits for an answer.
        let task = tokio::spawn(async move { drop(connection.await) });
        Self { sender, _task: AbortOnDropHandle::new(task) }
    }
}

/// How a call is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Manner {
    Plain,
    /// With a token for progress.
    Observant,
    /// Asks the server to behave.
    Calm,
}

/// The messages of an answer: one, or many as events.
struct Replies {
    response: Response<Incoming>,
    events: bool,
    read: String,
}

impl Replies {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n").filter(|_| self.events) {
                // The id by which a client can come back may be before it.
                let message = event.split_once("event: message\ndata: ");
                let message = message.map(|(_, text)| serde_json::from_str(text).unwrap());
                self.read = rest.to_owned();
                match message {
                    Some(message) => return Some(message),
                    None => continue, // a sign of life, or an id alone
                }
            }
            match self.response.body_mut().frame().await {
                Some(frame) => self.read += std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap(),
                None if self.read.is_empty() => return None,
                None => return serde_json::from_str(&std::mem::take(&mut self.read)).unwrap(),
            }
        }
    }
}

fn told(server: &str, answer: &Value, token: &str) -> Told {
    let Some(error) = answer.get("error") else {
        let text = &answer["result"]["content"][0]["text"];
        // The server may still be at work on a call that was given up, and could have meant that one.
        if server == "ask" && text == NOT_ASKED {
            return Told::Failed(NOT_ASKED.to_owned());
        }
        assert_eq!(text, token, "another's answer: {answer}");
        return Told::Token;
    };
    match error["data"]["code"].as_str() {
        Some(code) => Told::Failed(code.to_owned()),
        None => Told::Failed(error["code"].to_string()),
    }
}

fn accepted(token: &str) -> Value {
    json!({ "action": "accept", "content": { "token": token } })
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
    })
}

/// The stable code with which a question reaches nobody, because it could be anybody's.
pub(crate) const NOT_ASKED: &str = "request-ambiguous";

const MODERN: &str = "2026-07-28";
