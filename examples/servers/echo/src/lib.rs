//! The protocol of the demo servers: one tool over standard input and output, a message a line.

#![forbid(unsafe_code)]

use std::io::{self, BufRead, Read, Write};

use serde_json::{Value, json};

/// The one tool of a server.
pub trait Tool {
    /// Its definition, as `tools/list` shows it.
    fn definition(&self) -> Value;

    /// Calls it: the text and the structured result, or why it failed.
    ///
    /// # Errors
    /// With a text for the model if the arguments do not fit or the work failed.
    fn call(&self, arguments: &Value) -> Result<Answer, String>;
}

/// What a tool answers.
#[derive(Debug)]
pub struct Answer {
    /// For the model.
    pub text: String,
    /// The same for programs, as the tool's `outputSchema` describes it.
    pub structured: Value,
}

/// Answers until the input ends.
///
/// # Errors
/// If the input cannot be read or the output not be written.
pub fn serve(name: &str, tool: &dyn Tool, mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut input).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE_BYTES {
            return Err(io::Error::other("a line is too long"));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Some(answer) = answer(name, tool, &line) {
            serde_json::to_writer(&mut output, &answer)?;
            output.write_all(b"\n")?;
            output.flush()?;
        }
    }
}

fn answer(name: &str, tool: &dyn Tool, line: &[u8]) -> Option<Value> {
    let Ok(message) = serde_json::from_slice::<Value>(line) else {
        return Some(failure(&Value::Null, -32700, "Parse error"));
    };
    let id = message.get("id");
    let Some(method) = message.get("method").and_then(Value::as_str) else {
        // Without a method it is an answer, and nothing was asked, or no message at all.
        let answered = message.get("result").or(message.get("error")).is_some();
        return (!answered).then(|| failure(&Value::Null, -32600, "Invalid Request"));
    };
    let id = id?; // a notification
    let params = &message["params"];
    Some(match method {
        "initialize" => success(id, &initialize(name, params)),
        "ping" => success(id, &json!({})),
        "tools/list" => success(id, &json!({ "tools": [tool.definition()] })),
        "tools/call" if params["name"] == tool.definition()["name"] => success(id, &call(tool, &params["arguments"])),
        "tools/call" => failure(id, -32602, "Unknown tool"),
        _ => failure(id, -32601, "Method not found"),
    })
}

fn initialize(name: &str, params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let known = VERSIONS.into_iter().find(|&version| version == asked);
    json!({
        "protocolVersion": known.unwrap_or(VERSIONS[0]),
        "capabilities": { "tools": {} },
        "serverInfo": { "name": name, "version": env!("CARGO_PKG_VERSION") },
    })
}

fn call(tool: &dyn Tool, arguments: &Value) -> Value {
    match tool.call(arguments) {
        Ok(Answer { text, structured }) => json!({
            "content": [{ "type": "text", "text": text }],
            "structuredContent": structured,
        }),
        Err(text) => json!({ "content": [{ "type": "text", "text": text }], "isError": true }),
    }
}

fn success(id: &Value, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

fn failure(id: &Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

/// What is spoken, the preferred one first.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const MAX_LINE_BYTES: u64 = 16 << 20;
