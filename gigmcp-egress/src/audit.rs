use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use tokio::sync::watch;

use crate::body::Progress;
use crate::grant::BoxFuture;
use crate::identity::{CredentialId, Identity};
use crate::rates::Rates;
use crate::refusal::Refusal;

/// Takes one event for every decision. A sink that cannot take events makes the proxy refuse.
pub trait AuditSink: Send + Sync {
    /// Whether the next event of this identity will be taken. Asked before a credential is read or anything is sent; an error
    /// refuses the request. A sink with a queue answers in its order, behind the identity's earlier events: then no requests
    /// leave faster than events are taken.
    fn ready<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>>;

    /// Takes an event: for a refusal before the sandbox is told, for a request let through when its answer has ended.
    fn record<'a>(&'a self, event: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>>;
}

/// What was decided and what came of it. Holds names of credentials, never values, and no text of an upstream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuditEvent {
    /// Tells it apart from every other.
    pub id: EventId,
    /// Who asked.
    pub identity: Identity,
    /// When.
    pub time: SystemTime,
    /// The same by a clock that is never set.
    pub began: Instant,
    /// What kind of thing was asked.
    pub kind: AuditKind,
    /// The method of a request, or the type of a DNS question.
    pub method: Option<String>,
    /// The host, escaped and at most 256 bytes, as it was asked for.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The path without query, escaped and at most 1024 bytes. The name of a credential in braces stands where its placeholder
    /// stood in its place; left out when one stands elsewhere.
    pub path: Option<String>,
    /// The decision.
    pub verdict: Verdict,
    /// The status the sandbox saw.
    pub status: Option<u16>,
    /// The credentials that were injected.
    pub credentials: Vec<CredentialId>,
    /// Body bytes to the upstream.
    pub bytes_up: u64,
    /// Body bytes to the sandbox.
    pub bytes_down: u64,
    /// From the question to the end of the answer.
    pub duration: Duration,
    /// Whether somebody should look at this now.
    pub alarm: bool,
    /// The version of the [`Grant`](crate::Grant) that decided, if one was read.
    pub policy_version: Option<u64>,
}

/// The id of an [`AuditEvent`], known from the beginning of what it tells of: [`Credentials`](crate::Credentials) are asked with
/// it. No two are the same, in this process or another. As text, 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EventId(u128);

impl EventId {
    /// 64 bits that are this process's, and a counter: a system call for each would cost more than it is worth.
    fn next() -> Self {
        static PROCESS: OnceLock<u64> = OnceLock::new();
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let process = PROCESS.get_or_init(|| {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).expect("the kernel gives random numbers");
            u64::from_ne_bytes(bytes)
        });
        Self(u128::from(*process) << 64 | u128::from(COUNTER.fetch_add(1, Ordering::Relaxed)))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What an [`AuditEvent`] is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AuditKind {
    /// A DNS question: refused, or the first for a name.
    Dns,
    /// A connection that was refused before it carried a request.
    Connect,
    /// An HTTP request.
    Request,
    /// A connection of plain TCP, from its beginning to its end.
    Tcp,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Let through, and the answer arrived whole.
    Allowed,
    /// Let through, but one side ended before the answer did.
    Aborted,
    /// Not let through, or its answer was not.
    Refused(Refusal),
}

impl Verdict {
    /// A code that stays the same: `allowed`, `aborted`, or the code of the refusal.
    pub fn code(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Aborted => "aborted",
            Self::Refused(refusal) => refusal.code(),
        }
    }
}

impl AuditKind {
    /// `dns`, `connect`, `request` or `tcp`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Request => "request",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The audit log did not take an event, or will not.
#[derive(Debug, thiserror::Error)]
#[error("the audit log is not available")]
pub struct AuditUnavailable {
    /// The cause, for the operator's log.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The one event of a decision in the making. Recorded exactly once, however the exchange ends: by [`Entry::record`], or
/// when it is dropped.
pub(crate) struct Entry {
    sink: Arc<dyn AuditSink>,
    event: Option<AuditEvent>,
    progress: Option<Arc<Progress>>,
    deliveries: Deliveries,
    /// Who gives up requests before their answer pays for their records, see [`Rates::settle`].
    charged: Option<(Arc<Rates>, u32)>,
}

/// How many events are on their way to the sink.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deliveries(Arc<watch::Sender<usize>>);

impl Deliveries {
    fn begin(&self) -> Delivery {
        self.0.send_modify(|under_way| *under_way += 1);
        Delivery(self.clone())
    }

    /// Waits until the sink has taken all, for a while: others go on making them.
    pub(crate) async fn settled(&self) {
        let mut under_way = self.0.subscribe();
        let _ = tokio::time::timeout(SETTLE_DEADLINE, under_way.wait_for(|under_way| *under_way == 0)).await;
    }
}

struct Delivery(Deliveries);

impl Drop for Delivery {
    fn drop(&mut self) {
        self.0.0.send_modify(|under_way| *under_way -= 1);
    }
}

impl Entry {
    pub(crate) fn new(sink: Arc<dyn AuditSink>, kind: AuditKind, identity: Identity) -> Self {
        let event = AuditEvent {
            id: EventId::next(),
            identity,
            time: SystemTime::now(),
            began: Instant::now(),
            kind,
            method: None,
            host: None,
            port: None,
            path: None,
            // What an exchange that just stops has been.
            verdict: Verdict::Aborted,
            status: None,
            credentials: Vec::new(),
            bytes_up: 0,
            bytes_down: 0,
            duration: Duration::ZERO,
            alarm: false,
            policy_version: None,
        };
        let deliveries = Deliveries::default();
        Self { sink, event: Some(event), progress: None, deliveries, charged: None }
    }

    pub(crate) fn id(&self) -> EventId {
        self.event.as_ref().expect("an entry is recorded by consuming it").id
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.event.as_ref().expect("an entry is recorded by consuming it").identity
    }

    pub(crate) fn host(mut self, host: &str, port: Option<u16>) -> Self {
        let event = self.event();
        event.host = Some(escaped(host, MAX_HOST_BYTES));
        event.port = port;
        self
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        self.event().method = Some(escaped(method, MAX_METHOD_BYTES));
        self
    }

    pub(crate) fn set_path(&mut self, path: Option<&str>) {
        self.event().path = path.map(|path| escaped(path, MAX_PATH_BYTES));
    }

    pub(crate) fn set_policy_version(&mut self, version: Option<u64>) {
        self.event().policy_version = version;
    }

    pub(crate) fn set_credentials(&mut self, credentials: Vec<CredentialId>) {
        self.event().credentials = credentials;
    }

    pub(crate) fn set_status(&mut self, status: StatusCode) {
        self.event().status = Some(status.as_u16());
    }

    pub(crate) fn set_bytes(&mut self, up: u64, down: u64) {
        let event = self.event();
        (event.bytes_up, event.bytes_down) = (up, down);
    }

    /// Counted among these while it is on its way.
    pub(crate) fn counted(mut self, deliveries: &Deliveries) -> Self {
        self.deliveries = deliveries.clone();
        self
    }

    pub(crate) fn charged(mut self, charged: (Arc<Rates>, u32)) -> Self {
        self.charged = Some(charged);
        self
    }

    /// Whatever ends the exchange, the event tells how much had left, and what was found in it.
    pub(crate) fn set_progress(&mut self, progress: Arc<Progress>) {
        self.progress = Some(progress);
    }

    pub(crate) fn set_down(&mut self, down: u64) {
        self.event().bytes_down = down;
    }

    pub(crate) fn set_verdict(&mut self, verdict: Verdict) {
        let event = self.event();
        event.verdict = verdict;
        event.alarm = matches!(verdict, Verdict::Refused(refusal) if refusal.is_alarm());
    }

    /// Records now, and waits for the sink. A failure is logged; [`AuditSink::ready`] will refuse what comes next.
    ///
    /// Who waits may be dropped; the event is delivered all the same.
    pub(crate) async fn record(mut self) {
        if let Some(event) = self.take() {
            let _ = tokio::spawn(deliver(Arc::clone(&self.sink), event, self.deliveries.begin())).await;
        }
    }

    /// Records nothing: the decision was recorded when it was first made.
    pub(crate) fn forget(mut self) {
        self.event = None;
    }

    fn event(&mut self) -> &mut AuditEvent {
        self.event.as_mut().expect("an entry is recorded by consuming it")
    }

    fn take(&mut self) -> Option<AuditEvent> {
        if let Some(progress) = self.progress.take() {
            progress.over.store(true, Ordering::Relaxed);
            if let Some(refusal) = progress.refused.get() {
                self.set_verdict(Verdict::Refused(*refusal));
            }
            let event = self.event.as_mut()?;
            event.bytes_up = event.bytes_up.max(progress.up.load(Ordering::Relaxed));
        }
        let mut event = self.event.take()?;
        event.duration = event.began.elapsed();
        Some(event)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(event) = self.take() else { return };
        if let (Some((rates, per_second)), None) = (&self.charged, event.status) {
            rates.charge(&event.identity, *per_second);
        }
        let sink = Arc::clone(&self.sink);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(deliver(sink, event, self.deliveries.begin()))),
            Err(_) => tracing::error!(?event, "audit event lost: the runtime is gone"),
        }
    }
}

async fn deliver(sink: Arc<dyn AuditSink>, event: AuditEvent, _under_way: Delivery) {
    tracing::debug!(identity = %event.identity, kind = event.kind.code(), host = event.host, verdict = %event.verdict, "egress decision");
    if let Err(error) = sink.record(event).await {
        tracing::error!(error = &error as &dyn std::error::Error, "audit event not recorded");
    }
}

/// Text of a sandbox as it may stand in a log: printable ASCII, cut to a length.
fn escaped(text: &str, max_bytes: usize) -> String {
    let mut escaped: String = text.chars().take(max_bytes).flat_map(char::escape_default).collect();
    escaped.truncate(max_bytes);
    escaped
}

const SETTLE_DEADLINE: Duration = Duration::from_secs(5);
const MAX_HOST_BYTES: usize = 256;
const MAX_METHOD_BYTES: usize = 32;
const MAX_PATH_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_sandbox_cannot_break_a_log() {
        for (case, text, expected) in [
            ("plain", "api.example.com", "api.example.com"),
            ("line break", "a\r\nb", "a\\r\\nb"),
            ("escape sequence", "a\x1b[2Jb", "a\\u{1b}["),
            ("too long", "aaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaa"),
        ] {
            let cap = if case == "escape sequence" { 8 } else { 15 };
            assert_eq!(escaped(text, cap), expected, "{case}");
        }
    }
}
