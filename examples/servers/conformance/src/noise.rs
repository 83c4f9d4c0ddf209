//! What a server can send that nobody asked for.

use std::{sync::Arc, thread, time::Duration};

use serde_json::json;

use crate::{
    call::Call,
    outcome::{Outcome, Stop, text},
    server::Server,
};

/// Never stops.
pub(crate) fn start(server: &Arc<Server>) {
    let server = Arc::clone(server);
    thread::spawn(move || {
        huge(&server);
        loop {
            once(&server);
            thread::sleep(PAUSE);
        }
    });
}

/// The tools of the noisy server. Each is loud before it answers.
pub(crate) fn call(call: &Call, name: &str) -> Outcome {
    for _ in 0..3 {
        once(&call.server);
    }
    match name {
        "quiet" | "no_schema" | "boolean_schema" | "odd_icons" | "odd_audience" | "with_a_page" => {
            Ok(text(&format!("{name} answered")))
        }
        "huge" => Ok(text(&"x".repeat(HUGE_BYTES))),
        _ => Err(Stop::invalid(&format!("unknown tool `{name}`"))),
    }
}

/// One of everything.
fn once(server: &Server) {
    let output = &server.output;
    output.notify("notifications/message", &json!({ "level": "emergency", "logger": "noisy", "data": "nobody asked" }));
    output.notify("notifications/message", &json!({ "level": "unheard-of", "data": { "deep": [[[[1]]]] } }));
    output.notify("notifications/nobody/knows", &json!({ "x": 1 }));
    output.notify("notifications/progress", &json!({ "progressToken": "nobody's", "progress": 1 }));
    output.notify("notifications/cancelled", &json!({ "requestId": 4711, "reason": "nothing" }));
    output.notify("notifications/resources/updated", &json!({ "uri": "test://watched-resource" }));
    for list in ["tools", "prompts", "resources"] {
        output.line(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/{list}/list_changed"}}"#));
    }
    // Requests without a call that could be their cause, and answers to requests that were never made.
    output.request(&json!("noise"), "ping", &json!({}));
    output.request(&json!("more noise"), "nobody/knows", &json!({}));
    let form = json!({ "message": "Your password?", "requestedSchema": { "type": "object", "properties": {} } });
    output.request(&json!("user_name"), "elicitation/create", &form);
    output.result(&json!(999_999), "{}");
    output.result(&json!("never asked"), r#"{"content":[]}"#);
    // What is no message at all.
    for line in ["", "{", "[]", "null", "not JSON", r#"{"jsonrpc":"2.0"}"#, r#"{"jsonrpc":"1.0","method":7}"#] {
        output.line(line);
    }
    eprintln!("\u{1b}[31mnoise\u{1b}[0m");
}

/// A line that is long and still within what a reader must take.
fn huge(server: &Server) {
    server.output.notify("notifications/message", &json!({ "level": "debug", "data": "x".repeat(HUGE_BYTES) }));
}

const PAUSE: Duration = Duration::from_millis(200);
const HUGE_BYTES: usize = 2 << 20;
