//! From the body of a POST to its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    Principal, SESSION_HEADER, StreamableHttp,
    reply::{empty, json as json_reply, rpc_error},
    session::Session,
};
use crate::{
    message::{InvalidMessage, Message, Notification, Request, RequestId, RpcError, Verdict, write_response},
    object::Members,
    upstream::{Call, Outcome, Upstream},
    version::{LATEST_LEGACY, ProtocolVersion},
};

/// The headers that a message is read with.
pub(super) struct Headers<'a> {
    pub(super) version: Option<&'a str>,
    pub(super) session: Option<&'a str>,
}

impl StreamableHttp {
    pub(super) async fn dispatch<U: Upstream + ?Sized + 'static>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        headers: Headers<'_>,
        body: &Bytes,
    ) -> Response<Full<Bytes>> {
        let Ok(raw) = serde_json::from_slice::<&RawValue>(body) else {
            let error = RpcError::new(RpcError::PARSE_ERROR, "Parse error");
            return rpc_error(StatusCode::BAD_REQUEST, None, &error);
        };
        if raw.get().starts_with('[') {
            return self.batch(principal, upstream, headers, raw).await;
        }
        let message = match Message::from_raw(raw) {
            Ok(message) => message,
            Err(error) => return rpc_error(StatusCode::BAD_REQUEST, None, &invalid(&error)),
        };
        if let Message::Request(request) = &message
            && &*request.method == "initialize"
        {
            return self.initialize(principal, request);
        }
        let (id, method) = match &message {
            Message::Request(request) => (Some(&request.id), &*request.method),
            Message::Notification(notification) => (None, &*notification.method),
            Message::Response(_) => (None, ""),
        };
        let session = match self.session(principal, &headers, method) {
            Ok(session) => session,
            Err(NoSession { status, error }) => return rpc_error(status, id, &error),
        };
        match message {
            Message::Request(request) => {
                let id = request.id.clone();
                match answer(&session, upstream, request).await {
                    Ok(verdict) => json_reply(StatusCode::OK, write_response(Some(&id), &verdict)),
                    Err(error) => rpc_error(StatusCode::TOO_MANY_REQUESTS, Some(&id), &error),
                }
            }
            Message::Notification(notification) => {
                take_note(&session, &notification);
                empty(StatusCode::ACCEPTED)
            }
            Message::Response(_) => empty(StatusCode::ACCEPTED), // nothing was ever asked
        }
    }

    fn initialize(&self, principal: &Principal, request: &Request) -> Response<Full<Bytes>> {
        #[derive(Deserialize)]
        struct Asked {
            #[serde(rename = "protocolVersion")]
            version: String,
        }
        let asked = request.params.as_deref().and_then(|params| serde_json::from_str::<Asked>(params.get()).ok());
        let Some(Asked { version }) = asked else {
            let error = RpcError::new(RpcError::INVALID_PARAMS, "protocolVersion is missing");
            return rpc_error(StatusCode::OK, Some(&request.id), &error);
        };
        let version: ProtocolVersion = version.parse().unwrap_or(LATEST_LEGACY);
        let Ok(session) = self.sessions.begin(principal, version) else {
            let error = RpcError::new(RpcError::INTERNAL_ERROR, "no session could be made");
            return rpc_error(StatusCode::INTERNAL_SERVER_ERROR, Some(&request.id), &error);
        };
        let result = serde_json::value::to_raw_value(&json!({
            "protocolVersion": version.as_str(),
            "capabilities": { "tools": { "listChanged": false } },
            "serverInfo": { "name": self.identity.name, "version": self.identity.version },
        }))
        .expect("strings are JSON");
        let text = write_response(Some(&request.id), &Verdict::Result(result));
        let mut response = json_reply(StatusCode::OK, text);
        let session = HeaderValue::try_from(session).expect("base64 is visible ASCII");
        response.headers_mut().insert(SESSION_HEADER, session);
        response
    }

    /// The session of anything but `initialize`, or why there is none.
    fn session(&self, principal: &Principal, headers: &Headers<'_>, method: &str) -> Result<Arc<Session>, NoSession> {
        let refuse = |status, code, text: String| NoSession { status, error: RpcError::new(code, text) };
        let version = headers.version.map(str::parse::<ProtocolVersion>);
        if method == "server/discover" || matches!(version, Some(Err(_))) {
            // A client of both eras falls back to `initialize` when a 400 carries anything but one
            // of the errors that only servers of the newer era know. Saying "unsupported version"
            // in its code (-32022) would tell it that this server has no `initialize`.
            let (code, text) = match headers.version {
                _ if method == "server/discover" => (RpcError::METHOD_NOT_FOUND, format!("Method not found: {method}")),
                version => {
                    let version: String = version.unwrap_or_default().chars().take(32).collect();
                    (RpcError::INVALID_REQUEST, format!("Unsupported protocol version: {version}"))
                }
            };
            return Err(refuse(StatusCode::BAD_REQUEST, code, text));
        }
        let Some(session) = headers.session else {
            let text = "Mcp-Session-Id is missing; initialize first".to_owned();
            return Err(refuse(StatusCode::BAD_REQUEST, RpcError::INVALID_REQUEST, text));
        };
        self.sessions.find(principal, session).ok_or_else(|| {
            let text = "there is no such session; initialize again".to_owned();
            refuse(StatusCode::NOT_FOUND, RpcError::INVALID_REQUEST, text)
        })
    }

    /// Several messages in one array, which only revision 2025-03-26 has.
    async fn batch<U: Upstream + ?Sized + 'static>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        headers: Headers<'_>,
        raw: &RawValue,
    ) -> Response<Full<Bytes>> {
        let refuse = |text: &str| {
            let error = RpcError::new(RpcError::INVALID_REQUEST, text);
            rpc_error(StatusCode::BAD_REQUEST, None, &error)
        };
        let messages: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        if messages.is_empty() || messages.len() > self.limits.max_batch {
            return refuse("a batch is empty or too long");
        }
        let session = match self.session(principal, &headers, "") {
            Ok(session) if session.version.has_batches() => session,
            Ok(_) => return refuse("this revision of the protocol has no batches"),
            Err(NoSession { status, error }) => return rpc_error(status, None, &error),
        };
        let mut answers = Vec::new();
        let mut requests = Vec::new();
        for message in messages {
            match Message::from_raw(message) {
                Ok(Message::Request(request)) if &*request.method != "initialize" => {
                    let (session, upstream) = (Arc::clone(&session), Arc::clone(upstream));
                    requests.push(tokio::spawn(async move {
                        let id = request.id.clone();
                        let answer = answer(&session, &upstream, request).await;
                        let verdict = answer.unwrap_or_else(|error| Verdict::Error(error.to_raw()));
                        write_response(Some(&id), &verdict)
                    }));
                }
                Ok(Message::Request(request)) => {
                    let error = RpcError::new(RpcError::INVALID_REQUEST, "initialize in a batch");
                    answers.push(write_response(Some(&request.id), &Verdict::Error(error.to_raw())));
                }
                Ok(Message::Notification(notification)) => take_note(&session, &notification),
                Ok(Message::Response(_)) => {}
                Err(error) => {
                    answers.push(write_response(None, &Verdict::Error(invalid(&error).to_raw())));
                }
            }
        }
        for request in requests {
            answers.extend(request.await);
        }
        if answers.is_empty() {
            return empty(StatusCode::ACCEPTED);
        }
        json_reply(StatusCode::OK, [&b"["[..], &answers.join(&b','), b"]"].concat())
    }
}

/// Why a message has no session.
struct NoSession {
    status: StatusCode,
    error: RpcError,
}

/// Answers a request, or refuses it because too many are under way.
async fn answer<U: Upstream + ?Sized + 'static>(
    session: &Arc<Session>,
    upstream: &Arc<U>,
    request: Request,
) -> Result<Verdict, RpcError> {
    if &*request.method == "ping" {
        let result = RawValue::from_string("{}".to_owned()).expect("it is JSON");
        return Ok(Verdict::Result(result));
    }
    let Ok(place) = Arc::clone(&session.places).try_acquire_owned() else {
        return Err(RpcError::new(RpcError::INTERNAL_ERROR, "too many requests are under way"));
    };
    let under_way = session.enter(&request.id);
    let upstream = Arc::clone(upstream);
    // In a task of its own: when the connection is lost, the call goes on.
    let call = tokio::spawn(async move {
        let _place = place;
        let outcome = tokio::select! {
            outcome = upstream.call(Call::new(request.method, request.params)) => outcome,
            () = under_way.token.cancelled() => {
                let error = RpcError::new(RpcError::REQUEST_CANCELLED, "the request was cancelled");
                Outcome::refused(&error)
            }
        };
        match outcome {
            Outcome::Complete(result) | Outcome::InputRequired(result) => Verdict::Result(result),
            Outcome::Error(error) => Verdict::Error(error),
            Outcome::Failed(error) => {
                let data = json!({ "code": error.code() });
                let error = RpcError::new(RpcError::INTERNAL_ERROR, error.to_string());
                Verdict::Error(error.with_data(&data).to_raw())
            }
        }
    });
    Ok(call
        .await
        .unwrap_or_else(|_| Verdict::Error(RpcError::new(RpcError::INTERNAL_ERROR, "internal error").to_raw())))
}

fn take_note(session: &Session, notification: &Notification) {
    if &*notification.method != "notifications/cancelled" {
        return;
    }
    let id = notification
        .params
        .as_deref()
        .and_then(|params| Members::of(params).ok())
        .and_then(|members| RequestId::from_raw(members.value("requestId")?));
    if let Some(id) = id {
        session.cancel(&id);
    }
}

fn invalid(error: &InvalidMessage) -> RpcError {
    let code = match error {
        InvalidMessage::Json(_) => RpcError::PARSE_ERROR,
        InvalidMessage::Envelope { .. } => RpcError::INVALID_REQUEST,
    };
    RpcError::new(code, error.to_string())
}
