//! MCP over a pair of pipes.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use serde_json::{Value, json, value::RawValue};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use super::upstream::ToolpackUpstream;
use crate::{
    message::{InvalidMessage, Message, Notification, Request, RequestId, RpcError, Verdict, write_response},
    object::Members,
    stdio::{Line, Lines},
    upstream::{Call, Outcome, Upstream},
    version::{LATEST_LEGACY, ProtocolVersion},
};

/// Answers until the input ends; what is being answered then may take a few seconds more.
///
/// Speaks every revision with an `initialize` handshake. Calls run beside each other, and one that is cancelled gets no answer.
///
/// # Errors
/// If the input cannot be read or the output not be written.
pub async fn serve(
    upstream: Arc<ToolpackUpstream>,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Send + Unpin + 'static,
) -> io::Result<()> {
    let (answers, waiting) = mpsc::channel(MAX_WAITING);
    let writer = tokio::spawn(write(output, waiting));
    let mut server = Server { upstream, answers, calls: JoinSet::new(), running: HashMap::new() };
    let mut lines = Lines::new(input, MAX_LINE_BYTES);
    while let Some(line) = lines.next().await? {
        let Line::Whole(line) = line else {
            server.refuse(None, RpcError::INVALID_REQUEST, "the message is too long").await;
            continue;
        };
        if !line.iter().all(u8::is_ascii_whitespace) {
            server.message(line).await;
        }
        if writer.is_finished() {
            break;
        }
    }
    let ended = tokio::time::timeout(LAST_WORDS, async { while server.calls.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::debug!("calls under way were given up");
    }
    server.calls.abort_all();
    while server.calls.join_next().await.is_some() {}
    drop(server);
    writer.await.map_err(io::Error::other)?
}

struct Server {
    upstream: Arc<ToolpackUpstream>,
    answers: mpsc::Sender<Vec<u8>>,
    calls: JoinSet<RequestId>,
    running: HashMap<RequestId, AbortHandle>,
}

impl Server {
    async fn message(&mut self, line: &[u8]) {
        match Message::parse(line) {
            Ok(Message::Request(request)) => self.request(request).await,
            Ok(Message::Notification(notification)) => self.notification(&notification),
            // Nothing is asked of clients.
            Ok(Message::Response(_)) => {}
            Err(InvalidMessage::Json(_)) => self.refuse(None, RpcError::PARSE_ERROR, "not JSON").await,
            Err(error) => self.refuse(None, RpcError::INVALID_REQUEST, &error.to_string()).await,
        }
    }

    async fn request(&mut self, request: Request) {
        while let Some(ended) = self.calls.try_join_next() {
            // A cancelled one was taken out when it was cancelled.
            if let Ok(id) = ended {
                self.running.remove(&id);
            }
        }
        if &*request.method == "initialize" {
            let result = self.initialize(request.params.as_deref());
            let result = serde_json::value::to_raw_value(&result).expect("a value is always JSON");
            return self.answer(Some(&request.id), &Verdict::Result(result)).await;
        }
        if self.calls.len() >= MAX_CALLS || self.running.contains_key(&request.id) {
            let text = "too many calls at the same time, or an id that is in use";
            return self.refuse(Some(&request.id), RpcError::INVALID_REQUEST, text).await;
        }
        let (upstream, answers, id) = (self.upstream.clone(), self.answers.clone(), request.id.clone());
        let handle = self.calls.spawn(async move {
            let verdict = match upstream.call(Call::new(request.method, request.params)).await {
                // A toolpack never asks for input.
                Outcome::Complete(result) | Outcome::InputRequired(result) | Outcome::Task(result) => {
                    Verdict::Result(result)
                }
                Outcome::Error(error) => Verdict::Error(error),
                Outcome::Failed(error) => {
                    Verdict::Error(RpcError::new(RpcError::INTERNAL_ERROR, error.to_string()).to_raw())
                }
            };
            // If nobody reads any more, nobody misses it.
            let _ = answers.send(write_response(Some(&request.id), &verdict)).await;
            request.id
        });
        self.running.insert(id, handle);
    }

    fn notification(&mut self, notification: &Notification) {
        if &*notification.method != "notifications/cancelled" {
            return;
        }
        let members = notification.params.as_deref().and_then(|params| Members::of(params).ok());
        let id = members.and_then(|members| members.value("requestId").and_then(RequestId::from_raw));
        if let Some(call) = id.and_then(|id| self.running.remove(&id)) {
            call.abort();
        }
    }

    fn initialize(&self, params: Option<&RawValue>) -> Value {
        let members = params.and_then(|params| Members::of(params).ok());
        let asked = members.and_then(|members| members.string("protocolVersion")?.parse::<ProtocolVersion>().ok());
        let toolpack = &self.upstream.toolpack;
        let mut info = json!({ "name": toolpack.name, "version": toolpack.version });
        if let Some(title) = &toolpack.title {
            info["title"] = title.as_str().into();
        }
        json!({
            "protocolVersion": asked.unwrap_or(LATEST_LEGACY).as_str(),
            "capabilities": { "tools": {} },
            "serverInfo": info,
        })
    }

    async fn refuse(&self, id: Option<&RequestId>, code: i64, text: &str) {
        self.answer(id, &Verdict::Error(RpcError::new(code, text).to_raw())).await;
    }

    async fn answer(&self, id: Option<&RequestId>, verdict: &Verdict) {
        let _ = self.answers.send(write_response(id, verdict)).await; // as above
    }
}

async fn write(mut output: impl AsyncWrite + Unpin, mut answers: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(mut answer) = answers.recv().await {
        answer.push(b'\n');
        output.write_all(&answer).await?;
        output.flush().await?;
    }
    Ok(())
}

const MAX_LINE_BYTES: usize = 4 << 20;
/// Calls that run or wait for their turn; against a client that only asks.
const MAX_CALLS: usize = 256;
const MAX_WAITING: usize = 16;
const LAST_WORDS: Duration = Duration::from_secs(10);
