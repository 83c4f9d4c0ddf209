//! Messages as text, a line each.

use std::{
    io::{self, BufRead, Read, Write},
    process,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

/// A message as it came. What is inside `params` is kept as it was written.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    #[serde(default)]
    pub(crate) id: Option<Value>,
    pub(crate) method: Option<String>,
    pub(crate) params: Option<Box<RawValue>>,
    pub(crate) result: Option<Value>,
    pub(crate) error: Option<Value>,
}

/// Standard output, one message at a time.
#[derive(Debug, Default)]
pub(crate) struct Output(Mutex<()>);

impl Output {
    /// Writes one line. Without a reader there is nothing left to do.
    pub(crate) fn line(&self, text: &str) {
        let _turn = locked(&self.0);
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n"));
        if written.and_then(|()| stdout.flush()).is_err() {
            process::exit(0);
        }
    }

    /// Answers with a result that is already text.
    pub(crate) fn result(&self, id: &Value, result: &str) {
        self.line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
    }

    pub(crate) fn error(&self, id: &Value, error: &Value) {
        self.line(&json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string());
    }

    pub(crate) fn notify(&self, method: &str, params: &Value) {
        self.line(&json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string());
    }

    pub(crate) fn request(&self, id: &Value, method: &str, params: &Value) {
        self.line(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string());
    }
}

/// Reads one line, without its end; nothing at the end of the input.
pub(crate) fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if input.take(MAX_LINE_BYTES).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE_BYTES {
        return Err(io::Error::other("a line is too long"));
    }
    Ok(true)
}

/// A panic of another thread is no reason to go silent.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// JSON that was laid out for people, on one line and otherwise as it was written.
pub(crate) fn on_one_line(text: &str) -> String {
    text.lines().map(str::trim).collect()
}

const MAX_LINE_BYTES: u64 = 16 << 20;
