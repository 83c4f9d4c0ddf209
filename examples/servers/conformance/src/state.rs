//! The state that a client carries between the rounds of one request.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Answers of earlier rounds as a text that only this program can have written, for one subject.
pub(crate) fn seal(subject: &str, answers: &Map<String, Value>) -> String {
    let payload = hex::encode(Value::Object(answers.clone()).to_string());
    format!("{payload}.{}", mark(subject, &payload))
}

/// The answers in a state, unless anything about it was changed.
pub(crate) fn open(subject: &str, state: &str) -> Option<Map<String, Value>> {
    let (payload, seen) = state.split_once('.')?;
    if mark(subject, payload) != seen {
        return None;
    }
    serde_json::from_slice(&hex::decode(payload).ok()?).ok()
}

/// Keyed twice, so that nothing can be appended. The key is no secret: a test must notice a changed state, not an
/// attacker with the source.
fn mark(subject: &str, payload: &str) -> String {
    let inner =
        Sha256::new().chain_update(KEY).chain_update(subject).chain_update([0]).chain_update(payload).finalize();
    hex::encode(Sha256::new().chain_update(KEY).chain_update(inner).finalize())
}

const KEY: [u8; 64] = [0x5a; 64];
