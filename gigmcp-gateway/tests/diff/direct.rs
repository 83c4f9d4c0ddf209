//! A server without a gateway, over its pipes.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::compare::Answer;

/// A running server with a session. Ended when dropped.
pub(crate) struct Direct {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    next_id: u64,
}

/// A message, with its parts as they were written.
#[derive(Deserialize)]
pub(crate) struct Message {
    id: Option<u64>,
    method: Option<String>,
    result: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
}

impl Message {
    /// What it answers to the request `id`, if it does.
    pub(crate) fn answer(self, id: u64) -> Option<Answer> {
        if self.id != Some(id) || self.method.is_some() {
            return None;
        }
        let text = |raw: Box<RawValue>| raw.get().to_owned();
        self.result.map(text).map(Answer::Result).or(self.error.map(text).map(Answer::Error))
    }
}

impl Direct {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut server = Self { child, stdin, stdout, next_id: 0 };
        server.request("initialize", INITIALIZE);
        server.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        server
    }

    pub(crate) fn request(&mut self, method: &str, params: &str) -> Answer {
        self.next_id += 1;
        self.send(&format!(r#"{{"jsonrpc":"2.0","id":{},"method":"{method}","params":{params}}}"#, self.next_id));
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the server is gone: {method} {params}");
            // What is no message, or another one, is noise.
            let message = serde_json::from_str::<Message>(&line).ok();
            if let Some(answer) = message.and_then(|message| message.answer(self.next_id)) {
                return answer;
            }
        }
    }

    fn send(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a client says of itself on both ways: some servers list more tools for one that can do more.
pub(crate) const INITIALIZE: &str =
    r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"diff","version":"1"}}"#;
