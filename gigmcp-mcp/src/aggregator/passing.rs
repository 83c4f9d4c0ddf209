//! What a server says and asks, on its way to the client, with the server's name on it.

use std::sync::{Arc, Weak};

use serde_json::value::RawValue;

use super::{Aggregator, FlowLabels, backend::Entry, flow::Flow, identity::Caller};
use crate::{
    extension::{Extensions, is_of_protocol, is_question_of_protocol},
    guard::{Finding, Guard},
    http::ClientCapabilities,
    level::LogLevel,
    message::{Notification, Request, RpcError, Verdict, error_code},
    name::ServerId,
    object::{Members, is_object, items, quoted},
    sink::{ClientContext, Hearing, Sink},
    upstream::{BoxFuture, Call, Outcome},
};

/// A client's sink as one server sees it.
#[derive(Debug)]
struct FromServer {
    server: ServerId,
    client: Arc<dyn Sink>,
    flow: Flow,
    guard: Arc<Guard>,
    labels: FlowLabels,
    caller: Caller,
    entry: Weak<Entry>,
    context: Option<Arc<ClientContext>>,
}

impl Aggregator {
    /// From here on, whatever a server says in a call has the server's name on it, and what its client answers is judged like what
    /// it calls with.
    pub(super) fn names_server(&self, call: &mut Call, entry: &Arc<Entry>, labels: FlowLabels) {
        let caller = Caller::of(call);
        let (server, guard, flow) = (entry.name.clone(), Arc::clone(&entry.guard), self.hub.flow.clone());
        let (entry, context) = (Arc::downgrade(entry), call.context.clone());
        call.sink = call
            .sink
            .take()
            .map(|client| Arc::new(FromServer { server, client, flow, guard, labels, caller, entry, context }) as _);
    }
}

impl FromServer {
    /// Whether a notification of an extension passes: both sides have declared it, and nothing that it names is held back.
    fn may_say(&self, notification: &Notification) -> bool {
        let declared = self.declared().is_some_and(|declared| declared.owner_of_notice(&notification.method).is_some());
        if !declared {
            self.guard.tally.add(Finding::NoticeRefused, 1);
        }
        declared && self.entry.upgrade().is_some_and(|entry| entry.shows_notice(notification))
    }

    /// The same of a request of an extension.
    fn may_ask(&self, request: &Request) -> bool {
        let shows = |entry: Arc<Entry>| entry.shows_question(&request.method, request.params.as_deref());
        let shown = self.has_extension_of(&request.method) && self.entry.upgrade().is_some_and(shows);
        if !shown {
            self.guard.tally.add(Finding::QuestionRefused, 1);
        }
        shown
    }

    /// What the client has declared of extensions.
    fn declared(&self) -> Option<&Extensions> {
        self.context.as_deref().map(ClientContext::extensions)
    }

    /// A request as it is put to the client.
    ///
    /// # Errors
    /// The answer that the server gets instead.
    fn asked(&self, request: Request) -> Result<Request, RpcError> {
        if !is_question_of_protocol(&request.method) && !self.may_ask(&request) {
            return Err(RpcError::new(RpcError::METHOD_NOT_FOUND, "method not found"));
        }
        labelled(&self.server, request)
    }

    /// How far the client is, as long as it has not answered. It is judged like the answer, but nobody is asked about it.
    async fn followed(&self, request: Request, hearing: Hearing) -> Verdict {
        let (ours, mut heard) = Hearing::open();
        let mut asking = self.client.ask_following(request, ours);
        loop {
            let progress = tokio::select! {
                biased; // what was said before the answer comes before it
                Some(progress) = heard.recv() => progress,
                answer = &mut asking => return answer,
            };
            if self.flow.admit(&self.server, (&*self.guard, self.labels), &self.caller, None).await.is_ok() {
                hearing.tell(progress);
            }
        }
    }

    /// What the client answers, unless it has read something meanwhile that is not to be sent away.
    async fn answer(&self, request: Request, hearing: Option<Hearing>) -> Verdict {
        let answer = match hearing {
            Some(hearing) => self.followed(request, hearing).await,
            None => self.client.ask(request).await,
        };
        if matches!(answer, Verdict::Error(_)) {
            return answer;
        }
        let guarded = (&*self.guard, self.labels);
        match self.flow.admit(&self.server, guarded, &self.caller, Some(&*self.client)).await {
            Ok(_) => answer,
            Err(_) => {
                let text = "the answer is not told: it could hold what is not to be sent away, and nobody has agreed";
                Verdict::refused(&RpcError::new(RpcError::INTERNAL_ERROR, text))
            }
        }
    }
}

impl Sink for FromServer {
    fn notify(&self, notification: Notification) {
        if !is_of_protocol(&notification.method) && !self.may_say(&notification) {
            return;
        }
        self.client.notify(named(&self.server, notification));
    }

    fn can_be_asked(&self) -> bool {
        self.client.can_be_asked()
    }

    fn has_extension_of(&self, method: &str) -> bool {
        self.declared().is_some_and(|declared| declared.owner_of_request(method).is_some())
            && self.client.has_extension_of(method)
            && self.entry.upgrade().is_some_and(|entry| entry.shows_question(method, None))
    }

    fn ask<'a>(&'a self, request: Request) -> BoxFuture<'a, Verdict> {
        match self.asked(request) {
            Ok(request) => Box::pin(self.answer(request, None)),
            Err(error) => Box::pin(std::future::ready(Verdict::refused(&error))),
        }
    }

    fn ask_following<'a>(&'a self, request: Request, hearing: Hearing) -> BoxFuture<'a, Verdict> {
        match self.asked(request) {
            Ok(request) => Box::pin(self.answer(request, Some(hearing))),
            Err(error) => Box::pin(std::future::ready(Verdict::refused(&error))),
        }
    }
}

/// A line of a log says whose it is: the server's name goes before that of its logger.
pub(super) fn named(server: &ServerId, notification: Notification) -> Notification {
    if &*notification.method != "notifications/message" {
        return notification;
    }
    let params = notification.params.as_deref().and_then(|params| {
        let members = Members::of(params).ok()?;
        let logger = match members.string("logger") {
            Some(logger) => format!("{server}/{logger}"),
            None => server.to_string(),
        };
        let named = members.set("logger", &quoted(&logger));
        // A level that nobody knows would make a strict client fail the whole call.
        match members.string("level").is_some_and(|level| level.parse::<LogLevel>().is_ok()) {
            true => Some(named),
            false => Some(Members::of(&named).ok()?.set("level", r#""info""#)),
        }
    });
    Notification { params: params.or(notification.params), ..notification }
}

/// Whoever is asked for something must see who asks, and only sees addresses that are safe to open.
fn labelled(server: &ServerId, request: Request) -> Result<Request, RpcError> {
    if &*request.method != "elicitation/create" {
        return Ok(request);
    }
    let Some(params) = request.params.as_deref() else { return Ok(request) };
    let params = with_label(server, params, false)?;
    Ok(Request { params: Some(params), ..request })
}

fn with_label(server: &ServerId, params: &RawValue, always_address: bool) -> Result<Box<RawValue>, RpcError> {
    let invalid = |text: &str| RpcError::new(RpcError::INVALID_PARAMS, text);
    let members = Members::of(params).map_err(|_| invalid("params is no object, or names a member twice"))?;
    let message = members.string("message").unwrap_or_default();
    let mode = members.string("mode");
    let label = match mode.as_deref() {
        _ if members.value("mode").is_some() && !matches!(mode.as_deref(), Some("url" | "form")) => {
            return Err(invalid("params.mode is neither form nor url"));
        }
        mode if always_address || mode == Some("url") => {
            let url = members.string("url").unwrap_or_default();
            format!("{server} asks you to open {}: ", host_of(&url).ok_or(invalid("only https addresses are shown"))?)
        }
        _ => format!("{server}: "),
    };
    Ok(members.set("message", &quoted(&(label + &message))))
}

/// What a server asks by its result, with its name on it.
pub(super) fn labelled_outcome(server: &ServerId, context: Option<&ClientContext>, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::InputRequired(result) => match labelled_requests(server, &result).and_then(|labelled| {
            // Of whom nobody has said anything, whoever puts the questions knows more.
            let asks = labelled.as_deref().unwrap_or(&result);
            context.map_or(Ok(()), |_| ClientCapabilities::of(context).allow_all(asks)).map(|()| labelled)
        }) {
            // It would be asked again and again, and nobody could ever answer.
            Ok(Some(labelled)) if asks_nothing(&labelled) => {
                let text = "the server asks for something that no client knows";
                Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, text))
            }
            Ok(None) => Outcome::InputRequired(result),
            Ok(Some(labelled)) => Outcome::InputRequired(labelled),
            Err(error) => Outcome::refused(&error),
        },
        Outcome::Error(error) => Outcome::Error(labelled_error(server, error)),
        outcome => outcome,
    }
}

/// An error of a server, as one of a server. Some errors are of an endpoint: a client would take its revision or its headers
/// for refused, by all servers. And one has addresses in it, which are shown to people. Of one that names a member twice, a
/// client might read another code than we do.
pub(super) fn labelled_error(server: &ServerId, error: Box<RawValue>) -> Box<RawValue> {
    let instead = match error_code(&error) {
        _ if Members::of(&error).is_err() => {
            Err(RpcError::new(RpcError::INTERNAL_ERROR, format!("server {server} answered with a malformed error")))
        }
        Some(RpcError::HEADER_MISMATCH | RpcError::UNSUPPORTED_VERSION) => Err(RpcError::new(
            RpcError::INTERNAL_ERROR,
            format!("server {server} answered with an error of an endpoint"),
        )),
        Some(RpcError::URL_ELICITATION_REQUIRED) => with_labelled_addresses(server, &error),
        _ => Ok(None),
    };
    match instead {
        Ok(None) => error,
        Ok(Some(labelled)) => labelled,
        Err(error) => error.to_raw(),
    }
}

fn with_labelled_addresses(server: &ServerId, error: &RawValue) -> Result<Option<Box<RawValue>>, RpcError> {
    let malformed = || RpcError::new(RpcError::INTERNAL_ERROR, "the server asks for input in a malformed way");
    let members = Members::of(error).map_err(|_| malformed())?;
    let Some(data) = members.value("data").filter(|data| is_object(data)) else { return Ok(None) };
    let data = Members::of(data).map_err(|_| malformed())?;
    let Some(all) = data.value("elicitations") else { return Ok(None) };
    let mut labelled_all = Vec::new();
    for params in items(all, MAX_ADDRESSES).map_err(|_| malformed())? {
        let params =
            with_label(server, params, true).map_err(|error| RpcError { code: RpcError::INTERNAL_ERROR, ..error })?;
        labelled_all.push(params.get().to_owned());
    }
    let data = data.with_raw("elicitations", &format!("[{}]", labelled_all.join(",")));
    Ok(data.and_then(|data| members.with_raw("data", data.get())))
}

/// Of one error.
pub(crate) const MAX_ADDRESSES: usize = 64;

pub(super) fn labelled_requests(server: &ServerId, result: &RawValue) -> Result<Option<Box<RawValue>>, RpcError> {
    let malformed = || RpcError::new(RpcError::INTERNAL_ERROR, "the server asks for input in a malformed way");
    let members = Members::of(result).map_err(|_| malformed())?;
    let Some(requests) = members.value("inputRequests") else { return Ok(None) };
    let requests = Members::of(requests).map_err(|_| malformed())?;
    let mut all = Vec::new();
    for (key, request) in requests.iter() {
        let members = Members::of(request).map_err(|_| malformed())?;
        let method = members.string("method").ok_or_else(malformed)?;
        if !is_question_of_protocol(&method) {
            continue;
        }
        let params = members.value("params").map(ToOwned::to_owned);
        let asked = labelled(server, Request { id: 0.into(), method: method.into(), params })?;
        let changed = asked.params.and_then(|params| members.with_raw("params", params.get()));
        all.push(format!("{}:{}", quoted(key), changed.as_deref().unwrap_or(request).get()));
    }
    Ok(members.with_raw("inputRequests", &format!("{{{}}}", all.join(","))))
}

fn asks_nothing(result: &RawValue) -> bool {
    let members = Members::of(result).ok();
    let (requests, state) = members.map_or((None, None), |members| {
        (members.value("inputRequests").map(|requests| requests.get() == "{}"), members.value("requestState"))
    });
    requests == Some(true) && state.is_none()
}

/// The host of an address that is safe to open.
pub(crate) fn host_of(url: &str) -> Option<String> {
    let url: http::Uri = url.parse().ok()?;
    let authority = url.authority()?;
    let plain = url.scheme_str() == Some("https") && !authority.as_str().contains('@');
    plain.then(|| authority.host().to_owned())
}

/// Whether it is worth looking at: whether parameters name this URI.
pub(super) fn uri_of(params: &RawValue) -> Option<String> {
    Members::of(params).ok()?.string("uri").map(Into::into)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    fn raw(text: &str) -> Option<Box<RawValue>> {
        Some(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn a_log_line_is_named_and_nothing_else_is_changed() {
        let server: ServerId = "srv".parse().unwrap();
        for (method, params, expected) in [
            (
                "notifications/message",
                r#"{"level":"info","data":1.0,"logger":"db"}"#,
                r#"{"level":"info","data":1.0,"logger":"srv/db"}"#,
            ),
            (
                "notifications/message",
                r#"{"level":"loud","data":1.0}"#,
                r#"{"logger":"srv","level":"info","data":1.0}"#,
            ),
            ("notifications/message", r#"[1]"#, r#"[1]"#),
            ("notifications/progress", r#"{"logger":"db"}"#, r#"{"logger":"db"}"#),
        ] {
            let note = named(&server, Notification { method: method.into(), params: raw(params) });
            assert_eq!(note.params.unwrap().get(), expected);
        }
    }

    #[test]
    fn who_asks_is_shown_and_addresses_must_be_safe() {
        let server: ServerId = "srv".parse().unwrap();
        for (method, params, expected) in [
            ("elicitation/create", r#"{"message":"Name?","x":1.0}"#, Some(r#"{"message":"srv: Name?","x":1.0}"#)),
            (
                "elicitation/create",
                r#"{"mode":"url","url":"https://a.test/x","message":"Go"}"#,
                Some(r#"{"mode":"url","url":"https://a.test/x","message":"srv asks you to open a.test: Go"}"#),
            ),
            ("elicitation/create", r#"{"mode":"url","url":"http://a.test/x","message":"Go"}"#, None),
            ("elicitation/create", r#"{"mode":"url","url":"javascript:alert(1)","message":"Go"}"#, None),
            ("elicitation/create", r#"{"mode":"url","url":"https://good.test@evil.test/","message":"Go"}"#, None),
            ("elicitation/create", r#"{"mode":"url","message":"Go"}"#, None),
            ("elicitation/create", r#"{"mode":"url","url":"https:///evil.test/","message":"Go"}"#, None),
            ("elicitation/create", r#"{"mode":"url","url":"https://evil.test\\.good.test/","message":"Go"}"#, None),
            ("elicitation/create", r#"{"mode":"url","url":" https://good.test/","message":"Go"}"#, None),
            ("elicitation/create", r#"{"mode":"url","url":"ht\ntps://good.test/","message":"Go"}"#, None),
            ("elicitation/create", r#"{"mode":"URL","url":"javascript:alert(1)","message":"Go"}"#, None),
            ("elicitation/create", r#"{"mode":["url"],"url":"javascript:alert(1)","message":"Go"}"#, None),
            ("elicitation/create", r#"{"mode":"form","message":"Go"}"#, Some(r#"{"mode":"form","message":"srv: Go"}"#)),
            ("elicitation/create", r#"{"message":"a","message":"b"}"#, None),
            ("sampling/createMessage", r#"{"message":"a"}"#, Some(r#"{"message":"a"}"#)),
        ] {
            let request = Request { id: 1.into(), method: method.into(), params: raw(params) };
            let found = labelled(&server, request).ok().map(|request| request.params.unwrap());
            assert_eq!(found.as_deref().map(RawValue::get), expected, "{params}");
        }
    }
}
