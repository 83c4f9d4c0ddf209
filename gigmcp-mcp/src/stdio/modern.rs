//! Servers of revision 2026-07-28: no handshake, no requests of their own, and metadata with every request of ours.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use serde_json::{json, value::RawValue};
use tokio::{sync::oneshot, time::timeout};

use super::{
    Hello, StdioUpstream,
    exchange::{Asked, GivingUp},
    handshake::ConnectError,
    pending::Answer,
    shared::Shared,
};
use crate::{
    aggregator::{SUBSCRIBE, UNSUBSCRIBE},
    describe::Description,
    extension::{OF_PROTOCOL, TASKS, is_question_of_protocol},
    level::LogLevel,
    message::{Request, RequestId, RpcError, Verdict, write_notification, write_request},
    object::{Members, is_object, quoted},
    sink::{self, ClientContext, Features, Passing, Roots, Sink, Treatment},
    upstream::{Call, CallError, Outcome},
    version::{Era, MODERN},
};

/// Listen requests under way, by what each is for.
#[derive(Debug, Default)]
pub(super) struct Listens(Mutex<HashMap<Followed, Listen>>);

/// What a listen request is for. URIs and ids are any text, and none of them may be taken for one of another kind.
#[derive(Debug, Eq, Hash, PartialEq)]
enum Followed {
    Lists,
    Uri(Box<str>),
    Task(Box<str>),
}

/// Its answer is its end, which nobody waits for.
type Listen = (u64, oneshot::Receiver<Answer>);

/// Asks a server what it is, which must be one of this revision.
pub(super) async fn discover(upstream: &StdioUpstream) -> Result<Hello, ConnectError> {
    let asked = Asked {
        method: "server/discover",
        params: None,
        caller: None,
        again: None,
        context: None,
        giving_up: GivingUp::Silently,
    };
    let verdict = upstream.request(asked, upstream.limits.initialize_timeout).await.map_err(ConnectError::from)?;
    let result = match verdict {
        Verdict::Result(result) => result,
        Verdict::Error(error) => return Err(ConnectError::Refused { error }),
    };
    let versions = Members::of(&result).ok().and_then(|members| members.value("supportedVersions"));
    let versions: Vec<String> = versions.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
    if !versions.iter().any(|version| version == MODERN) {
        return Err(ConnectError::Version { offered: versions.join(", ") });
    }
    if Description::read(&result).capabilities.list_changed {
        let all = json!({ "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true });
        upstream.listen(Followed::Lists, &all).await.map_err(ConnectError::from)?;
    }
    Ok(Hello { era: Era::Modern, version: MODERN, result })
}

impl StdioUpstream {
    pub(super) async fn call_modern(&self, call: Call) -> Outcome {
        let uri = || Members::of(call.params.as_deref()?).ok()?.string("uri").map(|uri| Box::<str>::from(&*uri));
        match (&*call.method, uri()) {
            // Every request says itself what it wants.
            ("logging/setLevel", _) => nothing(),
            ("resources/subscribe", Some(uri)) => {
                let filter = json!({ "resourceSubscriptions": [&*uri] });
                match self.listen(Followed::Uri(uri), &filter).await {
                    Ok(()) => nothing(),
                    Err(error) => Outcome::Failed(error),
                }
            }
            ("resources/unsubscribe", Some(uri)) => {
                self.unlisten(&Followed::Uri(uri));
                nothing()
            }
            (SUBSCRIBE, _) => self.follow_task(&call).await,
            (UNSUBSCRIBE, _) => {
                task_of(&call).into_iter().for_each(|id| self.unlisten(&Followed::Task(id)));
                nothing()
            }
            _ => self.rounds(call).await,
        }
    }

    /// Makes a call, and makes it again with the answers of a client that knows requests only.
    async fn rounds(&self, call: Call) -> Outcome {
        let after = self.limits.max_call_time;
        let rounds = timeout(after, self.all_rounds(call)).await;
        rounds.unwrap_or(Outcome::Failed(CallError::Timeout { after }))
    }

    async fn all_rounds(&self, call: Call) -> Outcome {
        let mut context = call.context.as_deref().cloned();
        for _ in 0..MAX_ROUNDS {
            let outcome = self.once(&call, context.as_ref()).await;
            let (Outcome::InputRequired(result), Some(known), Some(sink)) = (&outcome, &mut context, &call.sink) else {
                return outcome;
            };
            if known.asked == sink::Asked::ByOutcome {
                return outcome;
            }
            match answers(&**sink, result, self.limits.ask_timeout).await {
                Ok((responses, state)) => (known.responses, known.state) = (Some(responses), state),
                Err(error) => return Outcome::Error(error),
            }
        }
        Outcome::Failed(CallError::Protocol { reason: "the server asks again and again" })
    }

    async fn once(&self, call: &Call, context: Option<&ClientContext>) -> Outcome {
        match self.verdict(call, context).await {
            Ok(Verdict::Result(result)) => {
                match sorted(&call.method, result, context.is_some_and(ClientContext::follows_tasks)) {
                    Outcome::InputRequired(asking) | Outcome::Complete(asking) | Outcome::Task(asking)
                        if !self.shared.asks_only_what_is_offered(&asking) =>
                    {
                        Outcome::Failed(CallError::Protocol { reason: "the server asks for what is not offered to it" })
                    }
                    outcome => outcome,
                }
            }
            Ok(Verdict::Error(error)) => Outcome::Error(error),
            Err(error) => Outcome::Failed(error),
        }
    }

    /// Opens a stream of notifications, which goes on until the server ends or it is cancelled.
    async fn listen(&self, to: Followed, filter: &serde_json::Value) -> Result<(), CallError> {
        let (id, ended) = self.shared.pending.enter(None)?;
        let params = RawValue::from_string(json!({ "notifications": filter }).to_string()).expect("it is JSON");
        let params = self.shared.dressed(id, Some(&params), false, None);
        let before = self.shared.listens.lock().insert(to, (id, ended));
        before.into_iter().for_each(|(id, _)| self.shared.cancel(id));
        self.shared.send(write_request(id, "subscriptions/listen", Some(&params))).await
    }

    async fn follow_task(&self, call: &Call) -> Outcome {
        let Some(id) = task_of(call) else { return nothing() };
        let filter = json!({ "taskIds": [&*id] });
        match self.listen(Followed::Task(id), &filter).await {
            Ok(()) => nothing(),
            Err(error) => Outcome::Failed(error),
        }
    }

    fn unlisten(&self, to: &Followed) {
        let listen = self.shared.listens.lock().remove(to);
        listen.into_iter().for_each(|(id, _)| self.shared.cancel(id));
    }
}

impl Listens {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Followed, Listen>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Shared {
    /// Gives a request up at the server.
    fn cancel(&self, id: u64) {
        self.pending.forget(id);
        let params = RawValue::from_string(format!(r#"{{"requestId":{id}}}"#)).expect("it is JSON");
        self.send_now(write_notification("notifications/cancelled", Some(&params)));
    }

    /// Parameters with all that a server of this revision has to be told.
    pub(super) fn dressed(
        &self,
        id: u64,
        params: Option<&RawValue>,
        wants_progress: bool,
        context: Option<&ClientContext>,
    ) -> Box<RawValue> {
        let none = RawValue::from_string("{}".to_owned()).expect("it is JSON");
        // Parameters that are no object, or name a member twice, are nothing that a server could answer.
        let mut params = params.filter(|params| Members::of(params).is_ok()).unwrap_or(&none).to_owned();
        // A client of the older era has no words for these: to it, a state was given by nobody, and may be another client's.
        if context.is_some_and(|context| context.asked == sink::Asked::BySink) {
            for name in ["inputResponses", "requestState"] {
                let members = Members::grown(&params).expect("it was read before");
                if members.value(name).is_some() {
                    params = members.without(name);
                }
            }
        }
        let set = |object: &RawValue, name: &str, json: &str| {
            Members::grown(object).expect("it was read before").set(name, json)
        };
        let meta = Members::grown(&params).expect("it was read before").value("_meta").filter(|meta| is_object(meta));
        let mut meta = meta.filter(|meta| Members::of(meta).is_ok()).unwrap_or(&none).to_owned();
        let info = json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") });
        meta = set(&meta, "io.modelcontextprotocol/clientInfo", &info.to_string());
        let declared = mirrored(&self.features, context);
        meta = set(&meta, "io.modelcontextprotocol/clientCapabilities", &declared);
        meta = set(&meta, "io.modelcontextprotocol/protocolVersion", &quoted(MODERN));
        // In the older era, a server decides what it logs until it is told.
        let usual = |context: &ClientContext| (context.asked == sink::Asked::BySink).then_some(LogLevel::Info);
        if let Some(level) = context.and_then(|context| context.level.or_else(|| usual(context))) {
            meta = set(&meta, "io.modelcontextprotocol/logLevel", &quoted(level.as_str()));
        }
        if wants_progress {
            meta = set(&meta, "progressToken", &quoted(&self.tokens.of_call(id)));
        }
        params = set(&params, "_meta", meta.get());
        if let Some(responses) = context.and_then(|context| context.responses.as_deref()) {
            params = set(&params, "inputResponses", responses.get());
        }
        if let Some(state) = context.and_then(|context| context.state.as_deref()) {
            params = set(&params, "requestState", state.get());
        }
        params
    }
}

/// What the client has declared, as far as it may be asked.
fn mirrored(features: &Features, context: Option<&ClientContext>) -> String {
    let Some(declared) = context.map(|context| &context.capabilities) else { return "{}".to_owned() };
    let mut left = declared.clone();
    for (name, passes) in [
        ("sampling", features.sampling == Passing::Forward),
        ("elicitation", features.elicitation == Passing::Forward),
        ("roots", features.roots == Roots::Forward),
    ] {
        if let Ok(members) = Members::of(&left)
            && members.value(name).is_some()
            && !passes
        {
            left = members.without(name);
        }
    }
    // In the older era, tasks are something else.
    if context.is_some_and(|context| context.asked == sink::Asked::BySink)
        && let Ok(members) = Members::of(&left)
        && let Some(without) = members
            .value("extensions")
            .and_then(|extensions| Members::of(extensions).ok())
            .filter(|extensions| extensions.value(TASKS).is_some())
            .map(|extensions| extensions.without(TASKS))
    {
        left = members.with_raw("extensions", without.get()).expect("it is there");
    }
    left.get().to_owned()
}

/// A result as what it says it is, without what only this revision has.
fn sorted(method: &str, result: Box<RawValue>, follows_tasks: bool) -> Outcome {
    let broken = |reason| Outcome::Failed(CallError::Protocol { reason });
    let Ok(members) = Members::of(&result) else { return broken("the result is no object, or names a member twice") };
    match members.string("resultType").as_deref() {
        Some("complete") => {}
        None if members.value("resultType").is_none() => {}
        Some("input_required") if matches!(method, "tools/call" | "prompts/get" | "resources/read") => {
            return Outcome::InputRequired(result);
        }
        Some("task") if method == "tools/call" && follows_tasks => return Outcome::Task(result),
        Some("task") => return broken("the result is a task, which the client cannot follow"),
        _ => return broken("the result is of an unknown type"),
    }
    let mut left = result.clone();
    let cached =
        method.ends_with("/list") || matches!(method, "resources/read" | "skills/get" | "resources/directory/read");
    for name in ["resultType", "ttlMs", "cacheScope"].into_iter().take(if cached { 3 } else { 1 }) {
        let members = Members::grown(&left).expect("it was read before");
        if members.value(name).is_some() {
            left = members.without(name);
        }
    }
    Outcome::Complete(left)
}

impl Shared {
    /// A server must not ask for what it was told is not there; one that does would reach clients past its owner's refusal.
    /// What no client knows reaches none anyway.
    pub(super) fn asks_only_what_is_offered(&self, said: &RawValue) -> bool {
        // A name may be spelled with escapes.
        if !said.get().contains("inputRequests") && !said.get().contains(r"\u") {
            return true;
        }
        let offered = |request: &RawValue| {
            let members = Members::of(request).ok();
            members.and_then(|members| members.string("method").map(String::from)).is_some_and(|method| {
                let known = OF_PROTOCOL.contains(&method.split('/').next().unwrap_or_default());
                !known || matches!(self.features.treat(&method), Treatment::Forward)
            })
        };
        let requests = Members::of(said).ok().and_then(|members| members.value("inputRequests"));
        requests.is_none_or(|requests| {
            Members::of(requests).is_ok_and(|requests| requests.iter().all(|(_, request)| offered(request)))
        })
    }
}

fn task_of(call: &Call) -> Option<Box<str>> {
    Members::of(call.params.as_deref()?).ok()?.string("taskId").map(|id| Box::from(&*id))
}

type Answers = (Box<RawValue>, Option<Box<RawValue>>);

/// Puts what a server needs to a client one by one, and gives the answers and the server's state.
async fn answers(sink: &dyn Sink, result: &RawValue, limit: Duration) -> Result<Answers, Box<RawValue>> {
    let late = || RpcError::new(RpcError::INTERNAL_ERROR, "the client did not answer in time").to_raw();
    let malformed = || RpcError::new(RpcError::INTERNAL_ERROR, "the server asks for input in a malformed way").to_raw();
    let members = Members::of(result).map_err(|_| malformed())?;
    let mut answers = Vec::new();
    if let Some(requests) = members.value("inputRequests") {
        let requests = Members::of(requests).map_err(|_| malformed())?;
        for (key, request) in requests.iter().take(MAX_QUESTIONS) {
            let request = Members::of(request).map_err(|_| malformed())?;
            let id = RawValue::from_string(quoted(key)).expect("a string is JSON");
            let request = Request {
                // One that is too long is none.
                id: RequestId::from_raw(&id).ok_or_else(malformed)?,
                method: request.string("method").ok_or_else(malformed)?.into(),
                params: request.value("params").map(ToOwned::to_owned),
            };
            // Nothing else can be there (`InputRequest` of revision 2026-07-28), whatever extensions the client has.
            if !is_question_of_protocol(&request.method) {
                return Err(
                    RpcError::new(RpcError::METHOD_NOT_FOUND, "the client does not support this request").to_raw()
                );
            }
            match timeout(limit, sink.ask(request)).await.map_err(|_| late())? {
                Verdict::Result(answer) => answers.push(format!("{}:{}", quoted(key), answer.get())),
                Verdict::Error(error) => return Err(error),
            }
        }
    }
    let responses = RawValue::from_string(format!("{{{}}}", answers.join(","))).expect("it is JSON");
    Ok((responses, members.value("requestState").map(ToOwned::to_owned)))
}

fn nothing() -> Outcome {
    Outcome::Complete(RawValue::from_string("{}".to_owned()).expect("it is JSON"))
}

/// How often one call may be made again.
const MAX_ROUNDS: usize = 10;
/// Questions of one round.
const MAX_QUESTIONS: usize = 16;
