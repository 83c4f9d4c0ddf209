//! Whether a stranger's text could send private data away: by servers that read the one, that read the other, and that send.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{json, value::RawValue};
use tokio::time::{Duration, Instant};

use super::{FlowLabels, checked::Unasked, identity::Caller};
use crate::{
    guard::{Finding, Guard, OURS},
    message::{Request, RequestId, RpcError, Verdict},
    name::ServerId,
    object::Members,
    sink::{ClientId, Sink},
    upstream::Outcome,
};

/// What is done when a session has read a stranger's text and private data, and is about to call a server that can send.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FlowPolicy {
    /// Nothing.
    Off,
    /// The operator is told.
    #[default]
    Warn,
    /// The client's user is asked, once an hour and session; if that cannot be, the call is refused.
    Ask,
}

/// That something may be asked of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Admitted {
    AtOnce,
    /// The client's user was asked first: whatever was judged before may be otherwise by now.
    Asked,
}

/// What is done about what callers have read.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    policy: FlowPolicy,
    read: Arc<HasRead>,
}

/// What each caller has read: a session, or somebody without sessions. Requests of nobody are taken together. It is the same for
/// all aggregators over the same servers: a session goes on in the next.
#[derive(Debug, Default)]
pub(super) struct HasRead(Mutex<HashMap<Caller, Session>>);

#[derive(Clone, Copy, Debug)]
struct Session {
    seen: FlowLabels,
    agreed: Option<Instant>,
    used: Instant,
    /// It has said goodbye, at its end or on its way to another aggregator.
    has_left: bool,
}

impl HasRead {
    fn lock(&self) -> MutexGuard<'_, HashMap<Caller, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn new() -> Self {
        Self { seen: FlowLabels::default(), agreed: None, used: Instant::now(), has_left: false }
    }

    /// Whether it may call again.
    fn may_live(&self) -> bool {
        !self.has_left && self.used.elapsed() < LIFE
    }
}

impl Flow {
    pub(super) fn new(policy: FlowPolicy, read: Arc<HasRead>) -> Self {
        Self { policy, read }
    }

    /// What is known, for the next aggregator.
    pub(super) fn read(&self) -> Arc<HasRead> {
        Arc::clone(&self.read)
    }

    /// Whether something is known that a later call has to be judged by.
    pub(super) fn remembers(&self) -> bool {
        let read_something = |session: &Session| session.seen != FlowLabels::default();
        self.asks() && self.read.lock().values().any(|session| session.may_live() && read_something(session))
    }

    /// Whether anything is refused that nobody agrees to.
    pub(super) fn asks(&self) -> bool {
        self.policy == FlowPolicy::Ask
    }

    /// Whether this server may be asked for anything. What the server reads counts from now on.
    pub(super) async fn admit(
        &self,
        server: &ServerId,
        (guard, labels): (&Guard, FlowLabels),
        caller: &Caller,
        sink: Option<&dyn Sink>,
    ) -> Result<Admitted, Unasked> {
        if labels == FlowLabels::default() {
            return Ok(Admitted::AtOnce);
        }
        // Also while nobody asks for it: the owner may in the middle of a session.
        let session = self.session(caller, |session| {
            // What it reads by this very call cannot be sent by it, but a server that does all three can do so in the next.
            session.seen.reads_untrusted |= labels.reads_untrusted;
            session.seen.reads_private |= labels.reads_private;
        });
        let agreed = session.agreed.is_some_and(|at| at.elapsed() < CONSENT);
        let off = self.policy == FlowPolicy::Off;
        if off || !labels.can_send || agreed || !(session.seen.reads_untrusted && session.seen.reads_private) {
            return Ok(Admitted::AtOnce);
        }
        guard.tally.add(Finding::Flow, 1);
        if self.policy == FlowPolicy::Warn {
            return Ok(Admitted::AtOnce);
        }
        let agreed = match sink {
            Some(sink) => agrees(server, sink).await,
            None => false,
        };
        if agreed {
            self.session(caller, |session| session.agreed = Some(Instant::now()));
            return Ok(Admitted::Asked);
        }
        let instead = match sink {
            Some(_) => "start a new session for it, agree when asked by a client that can ask",
            None => {
                "nobody can be asked about this request: call one of its tools, agree when asked, and send it again"
            }
        };
        let text = format!(
            "server {server} can send data out, and this session has read both private data and text of strangers; \
             {instead}, or let the profile's owner set flow=warn"
        );
        let data = json!({ "code": FLOW, "server": server.as_str() });
        Err((FLOW, Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, text).with_data(&data))))
    }

    /// Nothing is forgotten at once: a client says goodbye to one aggregator when it goes on in another, too.
    pub(super) fn forget(&self, client: ClientId) {
        if let Some(session) = self.read.lock().get_mut(&Caller::Client(client)) {
            session.has_left = true;
        }
    }

    /// A client is there: it may have said goodbye to another aggregator, on its way to this one.
    pub(super) fn is_back(&self, client: ClientId) {
        if let Some(session) = self.read.lock().get_mut(&Caller::Client(client)) {
            session.has_left = false;
        }
    }

    fn session(&self, caller: &Caller, change: impl FnOnce(&mut Session)) -> Session {
        let mut sessions = self.read.lock();
        if sessions.len() >= MAX_SESSIONS && !sessions.contains_key(caller) {
            sessions.retain(|_, session| session.may_live());
        }
        // Clients that never say that they have gone must not fill the memory. One that is not remembered is one of those
        // that are nobody's.
        let known = sessions.len() < MAX_SESSIONS || sessions.contains_key(caller);
        let key = if known { caller.clone() } else { Caller::Unknown };
        // What one of them agrees to is not another's word.
        let shared = key == Caller::Unknown;
        let session = sessions.entry(key).or_insert_with(Session::new);
        (session.used, session.has_left) = (Instant::now(), false);
        change(session);
        let told = *session;
        session.agreed = session.agreed.filter(|_| !shared);
        told
    }
}

/// Asks the client's user.
async fn agrees(server: &ServerId, sink: &dyn Sink) -> bool {
    let params = json!({
        "message": format!(
            "This session has read private data and text that strangers wrote, which may have told it what to do. \
             Let it use {server}, which can send data out?"
        ),
        "requestedSchema": { "type": "object", "properties": {} },
    });
    let params = Some(RawValue::from_string(params.to_string()).expect("it is JSON"));
    // One that no server's own request has, or could have: what a client answers is kept by it.
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the kernel gives random numbers");
    let id = format!(r#""{OURS}flow-{:032x}""#, u128::from_ne_bytes(random));
    let id = RawValue::from_string(id).expect("it is JSON");
    let id = RequestId::from_raw(&id).expect("a string is an id");
    match sink.ask(Request { id, method: "elicitation/create".into(), params }).await {
        Verdict::Result(answer) => {
            Members::of(&answer).is_ok_and(|answer| answer.string("action").as_deref() == Some("accept"))
        }
        Verdict::Error(_) => false,
    }
}

/// What the labels of several servers come to: whether together they have all three.
pub(super) fn is_toxic(labels: impl IntoIterator<Item = FlowLabels>) -> bool {
    let all = labels.into_iter().fold(FlowLabels::default(), |all, one| FlowLabels {
        reads_untrusted: all.reads_untrusted || one.reads_untrusted,
        reads_private: all.reads_private || one.reads_private,
        can_send: all.can_send || one.can_send,
    });
    all.reads_untrusted && all.reads_private && all.can_send
}

/// The stable code of a call that needs somebody's word.
const FLOW: &str = "flow-needs-consent";
const MAX_SESSIONS: usize = 10_000;
/// How long a session may be unused.
const LIFE: Duration = Duration::from_secs(12 * 3600);
/// How long somebody's word is good: those without sessions never begin a new one.
const CONSENT: Duration = Duration::from_secs(3600);
