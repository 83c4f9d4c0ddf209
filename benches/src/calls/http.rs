//! A client of streamable HTTP that costs as little as one can, so that what is measured is what answers it.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Work, subject::Subject};
use crate::Failure;

pub(crate) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":100000000,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
/// What stands for the number of a request, and is written over.
const ID: &str = "100000000";

/// A request as JSON.
pub(super) fn message(work: Work, tool: &str) -> String {
    let (method, params) = match work {
        Work::Call { bytes } => ("tools/call", format!(r#"{{"name":"{tool}","arguments":{{"bytes":{bytes}}}}}"#)),
        Work::List => ("tools/list", "{}".to_owned()),
    };
    format!(r#"{{"jsonrpc":"2.0","id":{ID},"method":"{method}","params":{params}}}"#)
}

/// Speaks the handshake, and gives the session's name if there is one.
pub(super) async fn open_session(subject: &Subject) -> Result<Option<String>, Failure> {
    let mut line = Line::open(subject, None, INITIALIZE, 0).await?;
    let answer = line.exchange().await?;
    let head = String::from_utf8_lossy(&answer[..head_end(answer).ok_or("no head")?]).into_owned();
    let session = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("mcp-session-id").then(|| value.trim().to_owned())
    });
    let mut line = Line::open(subject, session.as_deref(), INITIALIZED, 0).await?;
    line.send().await?;
    Ok(session)
}

/// One connection that makes one request again and again.
pub(super) struct Line {
    name: &'static str,
    stream: TcpStream,
    request: Vec<u8>,
    id: Option<usize>,
    next: u64,
    read: Vec<u8>,
}

impl Line {
    pub(super) async fn open(
        subject: &Subject,
        session: Option<&str>,
        message: &str,
        number: usize,
    ) -> Result<Self, Failure> {
        let stream = TcpStream::connect(subject.address()).await?;
        stream.set_nodelay(true)?;
        let mut request = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-06-18\r\ncontent-length: {}\r\n",
            subject.path(),
            subject.address(),
            message.len(),
        );
        let token = subject.token().map(|token| format!("authorization: Bearer {token}\r\n"));
        request.extend(token);
        request.extend(session.map(|session| format!("mcp-session-id: {session}\r\n")));
        request.push_str("\r\n");
        request.push_str(message);
        let id = request.rfind(ID);
        // No two lines of one session use the same number.
        let next = 100_000_000 + 1_000_000 * number as u64;
        Ok(Self { name: subject.name(), stream, request: request.into_bytes(), id, next, read: Vec::new() })
    }

    /// Sends the request and gives the whole answer, which has a result in it.
    pub(super) async fn exchange(&mut self) -> Result<&[u8], Failure> {
        if let Some(at) = self.id {
            self.next += 1;
            self.request[at..at + ID.len()].copy_from_slice(self.next.to_string().as_bytes());
        }
        self.send().await?;
        let body = head_end(&self.read).unwrap_or_default();
        let beginning = &self.read[body..self.read.len().min(body + 256)];
        match self.read.starts_with(b"HTTP/1.1 200") && beginning.windows(8).any(|window| window == b"\"result\"") {
            true => Ok(&self.read),
            false => Err(format!("{} answered {}", self.name, String::from_utf8_lossy(&self.read)).into()),
        }
    }

    async fn send(&mut self) -> Result<(), Failure> {
        self.stream.write_all(&self.request).await?;
        self.read.clear();
        while !is_whole(&self.read) {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(format!("{} hung up", self.name).into());
            }
        }
        Ok(())
    }
}

/// All lines at once for a while; how long each request took.
pub(super) async fn calls(lines: &mut Vec<Line>, slice: Duration) -> Result<Vec<Duration>, Failure> {
    let clock = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for mut line in lines.drain(..) {
        running.spawn(async move {
            let mut durations = Vec::new();
            while clock.elapsed() < slice {
                let began = Instant::now();
                line.exchange().await?;
                durations.push(began.elapsed());
            }
            Ok::<_, Failure>((line, durations))
        });
    }
    let mut all = Vec::new();
    while let Some(done) = running.join_next().await {
        let (line, durations) = done??;
        lines.push(line);
        all.extend(durations);
    }
    Ok(all)
}

/// Where the head of an answer ends.
pub(crate) fn head_end(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// Whether an answer is there whole: by its length, or to the last of its chunks.
pub(crate) fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = head_end(answer) else { return false };
    let (head, body) = answer.split_at(end);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match header("content-length:").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None if header("transfer-encoding:") == Some("chunked") => ends(body),
        None => true, // 202 and 204 have no body
    }
}

/// Whether the last chunk is there.
fn ends(mut body: &[u8]) -> bool {
    loop {
        let Some(line) = body.windows(2).position(|window| window == b"\r\n") else { return false };
        let size = std::str::from_utf8(&body[..line]).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        match size {
            Some(0) | None => return body.len() >= line + 4,
            Some(size) if body.len() >= line + 2 + size + 2 => body = &body[line + 2 + size + 2..],
            Some(_) => return false,
        }
    }
}
