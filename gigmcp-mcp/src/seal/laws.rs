//! What we did not seal does not open, and what we did opens whole and in its own context only.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a broken law")]

use std::sync::LazyLock;

use super::*;

static SEALER: LazyLock<Sealer> = LazyLock::new(Sealer::new);

/// Texts between bytes `0xff`: what is sealed, then its context. The whole is also tried as a token.
pub fn mcp_tokens(input: &[u8]) {
    let mut parts: Vec<String> =
        input.split(|byte| *byte == 0xff).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    let plain = parts.remove(0);
    let context: Vec<&str> = parts.iter().map(String::as_str).collect();
    assert_eq!(SEALER.open(&context, &String::from_utf8_lossy(input)), None, "a token of somebody else's making");
    assert_eq!(SEALER.open(&context, &BASE64_URL_SAFE_NO_PAD.encode(input)), None);
    let token = SEALER.seal(&context, plain.as_bytes());
    assert_eq!(SEALER.open(&context, &token).as_deref(), Some(plain.as_bytes()));
    for other in others(&parts) {
        let other: Vec<&str> = other.iter().map(String::as_str).collect();
        assert!(other == context || SEALER.open(&other, &token).is_none(), "{context:?} is not {other:?}");
    }
    for changed in changed(&token, input) {
        assert!(changed == token || SEALER.open(&context, &changed).is_none(), "{changed}");
    }
}

/// Contexts that look much like this one: a part more or less, two joined, one cut, two exchanged.
fn others(parts: &[String]) -> Vec<Vec<String>> {
    let mut others = vec![[parts, &[String::new()]].concat(), parts.iter().rev().cloned().collect()];
    for at in 0..parts.len() {
        let mut less = parts.to_vec();
        let taken = less.remove(at);
        others.push(less.clone());
        if let Some(next) = less.get_mut(at) {
            next.insert_str(0, &taken);
            others.push(less);
        }
        if let Some((middle, _)) = taken.char_indices().nth(1) {
            let mut more = parts.to_vec();
            more.splice(at..=at, [taken[..middle].to_owned(), taken[middle..].to_owned()]);
            others.push(more);
        }
    }
    others
}

/// Tokens that look much like this one.
fn changed(token: &str, input: &[u8]) -> Vec<String> {
    let at = input.first().map_or(0, |byte| usize::from(*byte)) % token.len();
    let mut flipped = token.as_bytes().to_vec();
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    vec![
        String::from_utf8(flipped).unwrap(),
        token[..at].to_owned(),
        token[at..].to_owned(),
        format!("{token}A"),
        format!("{token}="),
        format!("{token}\n"),
        format!("{}{token}", &token[..at]),
    ]
}
