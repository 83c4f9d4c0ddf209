//! A client that agrees to everything.

use std::sync::{Arc, Mutex};

use gigmcp_mcp::{BoxFuture, Notification, Request, Sink, Verdict};
use serde_json::value::RawValue;

/// Keeps what reaches it.
#[derive(Debug, Default)]
pub(crate) struct Client {
    notes: Mutex<Vec<String>>,
    questions: Mutex<Vec<String>>,
}

impl Client {
    pub(crate) fn connect() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn questions(&self) -> Vec<String> {
        self.questions.lock().unwrap().clone()
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }
}

impl Sink for Client {
    fn notify(&self, notification: Notification) {
        self.notes.lock().unwrap().push(text(notification.params));
    }

    fn ask<'a>(&'a self, request: Request) -> BoxFuture<'a, Verdict> {
        let answer = match &*request.method {
            "elicitation/create" => r#"{"action":"accept","content":{}}"#,
            _ => r#"{"role":"assistant","content":{"type":"text","text":"yes"},"model":"m"}"#,
        };
        self.questions.lock().unwrap().push(text(request.params));
        Box::pin(async move { Verdict::Result(RawValue::from_string(answer.to_owned()).unwrap()) })
    }
}

/// A client that cannot be asked.
#[derive(Debug)]
pub(crate) struct Deaf(pub(crate) Arc<Client>);

impl Sink for Deaf {
    fn notify(&self, notification: Notification) {
        self.0.notify(notification);
    }

    fn ask<'a>(&'a self, _: Request) -> BoxFuture<'a, Verdict> {
        let error = r#"{"code":-32601,"message":"cannot be asked"}"#;
        Box::pin(async move { Verdict::Error(RawValue::from_string(error.to_owned()).unwrap()) })
    }
}

fn text(params: Option<Box<RawValue>>) -> String {
    params.map_or_else(String::new, |params| crate::attack::plain(params.get()))
}
