use std::sync::OnceLock;

use bytes::Bytes;

use super::pieces::{Escapes, Pieces};
use crate::encoding::spellings;
use crate::escape::{DEPTH, MAX_ESCAPE_BYTES, begins_escape, unescape};
use crate::placeholder::{Placeholder, Shape};
use crate::scrub::{Scrubber, StreamScrub};
use crate::secret::SecretString;

/// What comes out never holds the secret, is what came in if that did not, and is the same however the stream was cut; how
/// much comes out when does not tell one secret from another.
pub fn scrubber(input: &[u8]) {
    let Some(pieces) = Pieces::of(input) else { return };
    let text = pieces.text(&[SECRETS[0], PARTNER], Escapes::OfEscapes).bytes;
    let (whole, _) = run(0, &[&text]);
    let (cut, sizes) = run(0, &pieces.cut(&text));
    assert_eq!(show(&cut), show(&whole), "the same for every cut");
    assert!(!holds(&whole, SECRETS[0]), "the secret in {}", show(&whole));
    if holds(&text, SECRETS[0]) {
        return;
    }
    assert_eq!(show(&whole), show(&text), "unchanged without the secret");
    if !holds(&text, SECRETS[1]) {
        assert_eq!(sizes, run(1, &pieces.cut(&text)).1, "sizes for another secret");
    }
}

/// The output and the size of each of its pieces.
fn run(secret: usize, pieces: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
    static PLACEHOLDERS: OnceLock<Vec<(SecretString, Placeholder)>> = OnceLock::new();
    let pairs = PLACEHOLDERS.get_or_init(|| {
        let secrets = [SECRETS[0], SECRETS[1], PARTNER].map(SecretString::new);
        secrets.into_iter().map(|secret| (secret.clone(), Placeholder::mint(&Shape::of(&secret)))).collect()
    });
    let pairs = [&pairs[secret], &pairs[2]].map(|(secret, placeholder)| (secret, placeholder));
    let mut stream = StreamScrub::new(Scrubber::new(pairs));
    let (mut out, mut sizes) = (Vec::new(), Vec::new());
    for piece in pieces {
        let given = stream.feed(Bytes::copy_from_slice(piece));
        sizes.push(given.len());
        out.extend_from_slice(&given);
    }
    out.extend_from_slice(&stream.finish());
    (out, sizes)
}

/// Whether a text holds one of the words, in any spelling, beginning anywhere.
fn holds(text: &[u8], word: &str) -> bool {
    [word, PARTNER].into_iter().flat_map(spellings).any(|spelling| {
        let may = |byte: &u8| *byte == spelling[0] || begins_escape(*byte);
        (0..text.len()).filter(|at| may(&text[*at])).any(|at| begins(&text[at..], &spelling))
    })
}

/// Whether a text begins with a spelling, each byte of it as it is or escaped.
fn begins(text: &[u8], spelling: &[u8]) -> bool {
    let Some((expected, spelling)) = spelling.split_first() else { return true };
    let Some((byte, rest)) = text.split_first() else { return false };
    let escaped = || (2..=text.len().min(MAX_ESCAPE_BYTES)).filter(|length| stands_for(&text[..*length], *expected));
    byte == expected && begins(rest, spelling)
        || begins_escape(*byte) && escaped().any(|length| begins(&text[length..], spelling))
}

/// Whether some readings of a text, one after the other, leave this byte of it and nothing else.
fn stands_for(text: &[u8], byte: u8) -> bool {
    let mut text = text.to_vec();
    (0..DEPTH).any(|_| {
        let mut read = Vec::new();
        // A reading that is cut has no whole character; then neither has the next.
        text = if unescape(&text, &mut read).is_ok() { read } else { Vec::new() };
        text == [byte]
    })
}

fn show(text: &[u8]) -> String {
    text.escape_ascii().to_string()
}

/// Of one length class. The second is never put into a text.
const SECRETS: [&str; 2] = ["sk-live-S3NT1N3L+/0123456789", "qa&%x\\ab-0123456789abcdefghi"];
/// Another secret of the same request, which begins as the first does.
const PARTNER: &str = "sk-live-S&amp;\\/%2F==";
