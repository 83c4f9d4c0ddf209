//! Clients that listen and do nothing else.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::task::JoinSet;

use super::{
    target::Target,
    wire::{Wire, has_result},
};
use crate::{Failure, calls::INITIALIZE};

pub(super) struct Idle {
    /// Which clients have a session, and its name.
    sessions: Vec<(usize, String)>,
    listening: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

/// What is left of them.
pub(super) struct Kept {
    pub(super) listening: usize,
    pub(super) sessions: usize,
    pub(super) known: usize,
}

impl Idle {
    /// So many clients that have begun to listen.
    pub(super) async fn open(target: &Arc<Target>, clients: usize) -> Result<Self, Failure> {
        let (mut sessions, mut running) = (Vec::new(), JoinSet::new());
        let listening = Arc::new(AtomicUsize::new(0));
        for number in 0..clients {
            let mut wire = Wire::open(target.address, home(number)).await?;
            // Places take turns faster than revisions do, so each has clients of both.
            match (number / target.places.len()).is_multiple_of(2) {
                true => sessions.push((number, listen_in_session(target, number, &mut wire).await?)),
                false => listen_without(target, number, &mut wire).await?,
            }
            listening.fetch_add(1, SeqCst);
            let count = Arc::clone(&listening);
            running.spawn(async move {
                wire.listen().await;
                count.fetch_sub(1, SeqCst);
            });
        }
        Ok(Self { sessions, listening, clients: running })
    }

    /// Counts those that are left, and whether their sessions are any good.
    pub(super) async fn end(mut self, target: &Target) -> Result<Kept, Failure> {
        let (listening, mut known) = (self.listening.load(SeqCst), 0);
        for (number, session) in &self.sessions {
            let mut wire = Wire::open(target.address, home(*number)).await?;
            let headers = [VERSION, ("mcp-session-id", session), ("connection", "close")];
            let answer = wire.exchange(&target.request(*number, "POST", &headers, PING)).await;
            known += usize::from(answer.is_ok_and(has_result));
        }
        self.clients.shutdown().await;
        Ok(Kept { listening, sessions: self.sessions.len(), known })
    }
}

/// Opens a session, and gives its name.
pub(super) async fn open_session(target: &Target, number: usize, wire: &mut Wire) -> Result<String, Failure> {
    let answer = wire.exchange(&target.request(number, "POST", &[], INITIALIZE)).await?;
    let head = String::from_utf8_lossy(answer).into_owned();
    let session = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("mcp-session-id").then(|| value.trim().to_owned())
    });
    let session = session.ok_or_else(|| format!("{}: no session: {head}", target.name))?;
    let headers = [VERSION, ("mcp-session-id", &*session)];
    wire.exchange(&target.request(number, "POST", &headers, INITIALIZED)).await?;
    Ok(session)
}

async fn listen_in_session(target: &Target, number: usize, wire: &mut Wire) -> Result<String, Failure> {
    let session = open_session(target, number, wire).await?;
    let headers = [VERSION, ("mcp-session-id", &*session)];
    let head = wire.begin(&target.request(number, "GET", &headers, "")).await?;
    check(target, &head)?;
    Ok(session)
}

/// As clients of 2026-07-28 do.
async fn listen_without(target: &Target, number: usize, wire: &mut Wire) -> Result<(), Failure> {
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
    check(target, &wire.begin(&target.request(number, "POST", &headers, LISTEN)).await?)
}

fn check(target: &Target, head: &str) -> Result<(), Failure> {
    let is_stream = head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream");
    is_stream.then_some(()).ok_or_else(|| format!("{}: no stream: {head}", target.name).into())
}

/// Clients come from several addresses, as one may not have so many connections.
fn home(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1 + u8::try_from(number / OF_ADDRESS).unwrap_or(u8::MAX), 1)
}

pub(super) const VERSION: (&str, &str) = ("mcp-protocol-version", "2025-06-18");
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const LISTEN: &str = r#"{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
const OF_ADDRESS: usize = 500;
