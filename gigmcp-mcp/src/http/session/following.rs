//! How far a client is with what it was asked.

use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{Session, lock};
use crate::{
    aggregator::Talk,
    message::{Notification, Request, RpcError, Verdict},
    object::{Members, is_object, string},
    sink::Hearing,
};

/// A request that the client has not answered yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) answer: oneshot::Sender<Verdict>,
    /// Nothing if whoever asked does not want to hear of it.
    hearing: Option<Hearing>,
    progress: f64,
    talk: Talk,
}

impl Waiting {
    pub(super) fn new(answer: oneshot::Sender<Verdict>, hearing: Option<Hearing>) -> Self {
        Self { answer, hearing, progress: f64::NEG_INFINITY, talk: Talk::default() }
    }

    /// Passes on what gets on, and not too much of it.
    fn tell(&mut self, value: f64, said: Box<RawValue>) {
        if let Some(hearing) = self.hearing.as_ref().filter(|_| value > self.progress && value.is_finite())
            && self.talk.may_go_on(said.get().len())
        {
            self.progress = value;
            hearing.tell(said);
        }
    }
}

impl Session {
    /// The client says how far it is with what it was asked in this session and has not answered yet. Of anything else it says
    /// nothing to anybody.
    pub(in crate::http) fn gets_on(&self, notification: &Notification) {
        let said = notification.params.as_deref().filter(|params| params.get().len() <= MAX_BYTES);
        let Some(members) = said.and_then(|said| Members::of(said).ok()) else { return };
        let asked = members.string("progressToken").and_then(|token| asked_by(&token));
        let value = members.value("progress").and_then(number);
        if let Some((id, value)) = asked.zip(value)
            && let Some(waiting) = lock(&self.asks).get_mut(&id)
        {
            waiting.tell(value, plain(&members));
        }
    }
}

/// The request with a token of our own, which no two have in a session; or without one. The server's own would be another
/// server's too, and so what cannot be read is refused.
pub(in crate::http) fn renumber(request: &mut Request, asked: Option<u64>) -> Result<(), RpcError> {
    let Some(params) = request.params.as_deref().filter(|params| is_object(params)) else { return Ok(()) };
    let unread =
        |_| RpcError::new(RpcError::INVALID_PARAMS, "params or params._meta names a member twice, or has too many");
    let members = Members::of(params).map_err(unread)?;
    let Some(meta) = members.value("_meta").filter(|meta| is_object(meta)) else { return Ok(()) };
    let meta = Members::of(meta).map_err(unread)?;
    if meta.value("progressToken").is_none() {
        return Ok(());
    }
    let meta = match asked {
        Some(id) => meta.set("progressToken", &format!(r#""{PREFIX}{id}""#)),
        None => meta.without("progressToken"),
    };
    request.params = members.with_raw("_meta", meta.get());
    Ok(())
}

fn asked_by(token: &str) -> Option<u64> {
    let id = token.strip_prefix(PREFIX)?.parse().ok()?;
    (format!("{PREFIX}{id}") == token).then_some(id)
}

fn number(value: &RawValue) -> Option<f64> {
    value.get().parse().ok()
}

/// What progress can say, and nothing else.
fn plain(members: &Members<'_>) -> Box<RawValue> {
    let numbers = ["progress", "total"].map(|name| (name, members.value(name).filter(|it| number(it).is_some())));
    let message = ("message", members.value("message").filter(|message| string(message).is_some()));
    let said = numbers.into_iter().chain([message]);
    let said: Vec<_> = said.filter_map(|(name, value)| Some(format!(r#""{name}":{}"#, value?.get()))).collect();
    RawValue::from_string(format!("{{{}}}", said.join(","))).expect("it is JSON")
}

const PREFIX: &str = "asked-";
const MAX_BYTES: usize = 8 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn a_token_that_cannot_be_taken_out_goes_nowhere() {
        for (params, expected) in [
            (r#"{"_meta":{"progressToken":"asked-7","progressToken":"asked-7"}}"#, None),
            (r#"{"_meta":{"progressToken":"asked-7"},"_meta":{}}"#, None),
            (r#"{"_meta":{"progressToken":"asked-7","a":1}}"#, Some(r#"{"_meta":{"progressToken":"asked-1","a":1}}"#)),
            (r#"{"_meta":{"a":1,"a\u0031":2}}"#, Some(r#"{"_meta":{"a":1,"a\u0031":2}}"#)),
            (r#"{"_meta":7}"#, Some(r#"{"_meta":7}"#)),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{params}}}"#);
            let mut request = match crate::message::Message::parse(text.as_bytes()) {
                Ok(crate::message::Message::Request(request)) => request,
                other => panic!("{other:?}"),
            };
            let read = renumber(&mut request, Some(1)).is_ok();
            let params = request.params.as_deref().map(RawValue::get);
            assert_eq!(read.then_some(params).flatten(), expected, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_says_no_more_than_so_much_in_a_second() {
        let (hearing, mut heard) = Hearing::open();
        let mut waiting = Waiting::new(oneshot::channel().0, Some(hearing));
        let mut said = 0;
        let mut burst = |values: std::ops::Range<i32>| {
            for value in values {
                waiting.tell(value.into(), RawValue::from_string("{}".to_owned()).unwrap());
                said += usize::from(heard.try_recv().is_ok());
            }
            std::mem::take(&mut said)
        };
        assert_eq!(burst(0..200), 64);
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert_eq!(burst(200..210), 10, "twin: a second later");
        assert_eq!(burst(0..10), 0, "that is no progress");
    }
}
