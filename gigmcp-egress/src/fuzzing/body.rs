use std::ops::Range;
use std::sync::OnceLock;

use crate::encoding::percent_decoded;
use crate::placeholder::{Placeholder, Shape};
use crate::secret::SecretString;
use crate::sink::{Place, Sink, Spelling};

/// In the text, `P` stands for the placeholder. If it is found in its place in a JSON document, another parser finds it
/// there, and finds the secret there once that was put in.
pub fn json_string(input: &[u8]) {
    let sink = Sink::Json("/auth/token".parse().unwrap());
    let Some((body, range)) = found(&sink, input) else { return };
    let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
    // The other parser takes no number that a double cannot hold.
    let Some(before) = read(&body) else { return assert!(body.iter().any(u8::is_ascii_digit), "{}", show(&body)) };
    let at = |value: &serde_json::Value| value.pointer("/auth/token").and_then(|it| it.as_str().map(str::to_owned));
    assert_eq!(at(&before).as_deref(), Some(placeholder().as_str()), "{}", show(&body));
    let after = read(&fill(&body, range, Spelling::Json)).unwrap();
    assert_eq!(at(&after).as_deref(), Some(SECRET));
}

/// In the text, `P` stands for the placeholder. If it is found in its place in a form, no reader finds another field of
/// that name, and each finds the secret there once that was put in.
pub fn form_field(input: &[u8]) {
    let sink = Sink::Form("key".parse().unwrap());
    let Some((body, range)) = found(&sink, input) else { return };
    let filled = fill(&body, range, Spelling::Percent);
    for separators in [&b"&"[..], b"&;"] {
        let values: Vec<_> = filled
            .split(|byte| separators.contains(byte))
            .filter_map(|pair| {
                let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
                let name = percent_decoded(&pair[..at]).to_ascii_lowercase();
                let value = percent_decoded(pair.get(at + 1..).unwrap_or_default());
                (name.trim_ascii() == b"key").then_some(value)
            })
            .collect();
        assert_eq!(values, [SECRET.as_bytes()], "{}", show(&filled));
    }
}

/// The body with the placeholder in it, and where it was found.
fn found(sink: &Sink, input: &[u8]) -> Option<(Vec<u8>, Range<usize>)> {
    let mut body = Vec::new();
    for byte in input {
        match byte {
            b'P' => body.extend_from_slice(placeholder().as_str().as_bytes()),
            byte => body.push(*byte),
        }
    }
    let places = sink.find_in_body(&body, placeholder()).ok()?;
    let [Place::Body { range, .. }] = places.as_slice() else {
        assert!(places.is_empty(), "{places:?}");
        return None;
    };
    assert_eq!(&body[range.clone()], placeholder().as_str().as_bytes());
    Some((body, range.clone()))
}

fn fill(body: &[u8], range: Range<usize>, spelling: Spelling) -> Vec<u8> {
    let mut filled = body[..range.start].to_vec();
    spelling.spell(&SecretString::new(SECRET), &mut filled).unwrap();
    filled.extend_from_slice(&body[range.end..]);
    filled
}

fn placeholder() -> &'static Placeholder {
    static PLACEHOLDER: OnceLock<Placeholder> = OnceLock::new();
    PLACEHOLDER.get_or_init(|| Placeholder::mint(&Shape::opaque()))
}

fn show(text: &[u8]) -> String {
    text.escape_ascii().to_string()
}

/// With what each spelling has to escape.
const SECRET: &str = "sk-\"\\&=;%+/#~key=0123456789";
