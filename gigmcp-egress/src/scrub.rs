use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use crate::encoding::spellings;
use crate::escape::{DEPTH, MAX_ESCAPE_BYTES, begins_escape, escapes};
use crate::placeholder::Placeholder;
use crate::secret::SecretString;

/// Puts the placeholder back wherever an answer repeats the secret, in every spelling it could return in.
///
/// Built for every request, so that no secret is kept. No automaton: the spellings that may begin at a byte are compared
/// with what follows it, which costs next to nothing to set up, however long the secret.
pub(crate) struct Scrubber {
    /// In the order of their first bytes.
    spellings: Vec<Spelling>,
    /// Where those that begin with a byte stand, first and end.
    by_first: Box<[(u16, u16); 256]>,
    /// Whether a spelling, or an escape, may begin with a byte. Nearly all of a text is skipped by this.
    begins: [bool; 256],
    /// The longest match, rounded up so that it tells no more than the class of the secret's length.
    longest: usize,
}

struct Spelling {
    secret: Zeroizing<Vec<u8>>,
    replacement: Vec<u8>,
}

/// What begins at some byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found<'a> {
    Nothing,
    /// A spelling of this length, and what stands for it.
    Secret(usize, &'a [u8]),
    /// The text ends before that can be told.
    Cut,
}

impl Scrubber {
    /// A scrubber for these secrets, each with what stands for it. They are visible ASCII, see [`SecretString::check`].
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = (&'a SecretString, &'a Placeholder)>) -> Self {
        let (mut all, mut longest) = (Vec::<Spelling>::new(), 0);
        for (secret, placeholder) in secrets {
            for (secret, replacement) in spellings(secret.expose()).into_iter().zip(spellings(placeholder.as_str())) {
                let secret = Zeroizing::new(secret);
                if !secret.is_empty() && all.iter().all(|old| old.secret != secret) {
                    longest = longest.max((secret.len() * MAX_ESCAPE_BYTES).next_power_of_two());
                    all.push(Spelling { secret, replacement });
                }
            }
        }
        all.sort_by_key(|spelling| spelling.secret[0]);
        let mut this = Self { spellings: all, by_first: Box::new([(0, 0); 256]), begins: [false; 256], longest };
        for (index, spelling) in (0_u16..).zip(&this.spellings) {
            let (first, end) = &mut this.by_first[usize::from(spelling.secret[0])];
            if *end == 0 {
                *first = index;
            }
            *end = index + 1;
        }
        for byte in 0..=u8::MAX {
            this.begins[usize::from(byte)] = this.by_first[usize::from(byte)].1 > 0 || begins_escape(byte);
        }
        this
    }

    /// The spellings that begin with a byte.
    fn beginning(&self, byte: u8) -> &[Spelling] {
        let (first, end) = self.by_first[usize::from(byte)];
        &self.spellings[usize::from(first)..usize::from(end)]
    }

    /// Scrubs one whole text; `None` if there is nothing to scrub.
    pub(crate) fn scrub(&self, text: &[u8]) -> Option<Vec<u8>> {
        let (mut clean, text) = (Vec::new(), [text, BREAK].concat());
        let pass = self.pass(&text, 0, text.len(), &mut clean);
        clean.truncate(clean.len().saturating_sub(BREAK.len()));
        pass.replaced.then_some(clean)
    }

    /// Whether the text holds a secret.
    pub(crate) fn finds(&self, text: &[u8]) -> bool {
        self.scrub(text).is_some()
    }

    /// No match is longer.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Scrubs `text` as far as `until`, or to the end of a match that begins before it. Up to `from` it was searched before.
    /// Writes to `clean` only if something was replaced.
    fn pass(&self, text: &[u8], from: usize, until: usize, clean: &mut Vec<u8>) -> Pass {
        let (mut at, mut copied, mut replaced) = (from, 0, false);
        loop {
            at += text[at..].iter().take_while(|byte| !self.begins[usize::from(**byte)]).count();
            if at == text.len() {
                break;
            }
            match self.found(&text[at..]) {
                Found::Nothing => at += 1,
                Found::Secret(length, replacement) if at < until => {
                    clean.extend_from_slice(&text[copied..at]);
                    clean.extend_from_slice(replacement);
                    at += length;
                    (copied, replaced) = (at, true);
                }
                Found::Secret(..) | Found::Cut => break,
            }
        }
        let end = until.min(at).max(copied);
        if replaced {
            clean.extend_from_slice(&text[copied..end]);
        }
        Pass { end, searched: at, replaced }
    }

    /// The longest spelling that begins with `text`.
    fn found(&self, text: &[u8]) -> Found<'_> {
        let mut longest = Found::Nothing;
        let escaped = if begins_escape(text[0]) { escapes(text) } else { Ok([None; DEPTH]) };
        let Ok(escaped) = escaped else { return Found::Cut };
        let escaped = escaped.into_iter().flatten().flat_map(|(byte, _)| self.beginning(byte));
        for Spelling { secret, replacement } in self.beginning(text[0]).iter().chain(escaped) {
            match (begins(text, secret), longest) {
                (Begins::Cut, _) => return Found::Cut,
                (Begins::Yes(length), Found::Secret(other, _)) if length <= other => {}
                (Begins::Yes(length), _) => longest = Found::Secret(length, replacement),
                (Begins::No, _) => {}
            }
        }
        longest
    }
}

struct Pass {
    /// As far as the text was scrubbed.
    end: usize,
    /// As far as it was searched.
    searched: usize,
    replaced: bool,
}

enum Begins {
    Yes(usize),
    No,
    Cut,
}

/// Whether a text begins with a spelling, as it is or with any of its characters escaped.
fn begins(text: &[u8], spelling: &[u8]) -> Begins {
    // Nearly every comparison ends here.
    if let ([_, byte, ..], [_, expected, ..]) = (text, spelling)
        && byte != expected
        && !begins_escape(text[0])
        && !begins_escape(*byte)
    {
        return Begins::No;
    }
    if text.starts_with(spelling) {
        return Begins::Yes(spelling.len());
    }
    if spelling.starts_with(text) {
        return Begins::Cut;
    }
    // What looks like an escape may be one, or stand in the secret as it is: all ways are followed. Each is at another byte,
    // so they are few.
    let mut ways = vec![0];
    for expected in spelling {
        let mut next = Vec::with_capacity(ways.len() + 1);
        for at in ways {
            let Some(byte) = text.get(at) else { return Begins::Cut };
            if byte == expected && !next.contains(&(at + 1)) {
                next.push(at + 1);
            }
            if begins_escape(*byte) {
                let Ok(escaped) = escapes(&text[at..]) else { return Begins::Cut };
                for (_, length) in escaped.into_iter().flatten().filter(|(meant, _)| meant == expected) {
                    if !next.contains(&(at + length)) {
                        next.push(at + length);
                    }
                }
            }
        }
        if next.is_empty() {
            return Begins::No;
        }
        ways = next;
    }
    ways.into_iter().max().map_or(Begins::No, Begins::Yes)
}

/// Stands in no spelling and in no escape, so nothing is undecided before it.
const BREAK: &[u8] = b"\n";

/// A scrubber at work on a stream. Holds back what follows the last blank or line end, so that events pass at once.
///
/// What it gives has the same sizes for every secret of one length class, unless a whole secret stands in the text: only
/// then the placeholder may be of another length.
pub(crate) struct StreamScrub {
    scrubber: Arc<Scrubber>,
    held: BytesMut,
    /// How much was taken that is not held.
    certain: u64,
    /// How much of what is held was searched.
    searched: usize,
    /// Whether a secret stood in it.
    found: bool,
}

impl StreamScrub {
    pub(crate) fn new(scrubber: impl Into<Arc<Scrubber>>) -> Self {
        Self { scrubber: scrubber.into(), held: BytesMut::new(), certain: 0, searched: 0, found: false }
    }

    /// Takes the next chunk and gives what is certain by now, possibly nothing.
    pub(crate) fn feed(&mut self, chunk: Bytes) -> Bytes {
        // What was held has no break in it.
        let after_break = chunk.iter().rposition(|byte| !byte.is_ascii_graphic()).map(|at| self.held.len() + at + 1);
        if self.held.is_empty() {
            let (clean, pass) = self.step(&chunk, after_break);
            self.held.extend_from_slice(&chunk[pass.end..]);
            return if pass.replaced { clean.into() } else { chunk.slice(..pass.end) };
        }
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(&chunk);
        let (clean, pass) = self.step(&text, after_break);
        self.held = text.split_off(pass.end);
        if pass.replaced { clean.into() } else { text.freeze() }
    }

    /// Scrubs as much of the text as may be given. How much that is must not depend on what the secrets are, or whoever has a
    /// host echo guesses would read them off the sizes of the pieces: all up to the last byte that stands in no spelling of
    /// any secret, and all but what the longest of them may take.
    fn step(&mut self, text: &[u8], after_break: Option<usize>) -> (Vec<u8>, Pass) {
        let mut clean = Vec::new();
        let until = after_break.unwrap_or_default().max(text.len().saturating_sub(self.scrubber.longest));
        let pass = self.scrubber.pass(text, self.searched, until, &mut clean);
        self.searched = pass.searched - pass.end;
        self.certain += pass.end as u64;
        self.found |= pass.replaced;
        (clean, pass)
    }

    /// Whether a secret stood in what was given so far.
    pub(crate) fn has_found(&self) -> bool {
        self.found
    }

    /// How many bytes were taken of which it is certain whether a secret begins there.
    pub(crate) fn certain(&self) -> u64 {
        self.certain
    }

    /// How many bytes were taken.
    pub(crate) fn fed(&self) -> u64 {
        self.certain + self.held.len() as u64
    }

    /// Gives what was held back, when nothing more comes.
    pub(crate) fn finish(&mut self) -> Bytes {
        let mut rest = self.feed(Bytes::from_static(BREAK));
        rest.truncate(rest.len() - BREAK.len());
        rest
    }

    /// Scrubs one whole text beside the stream, such as a trailer.
    pub(crate) fn scrubber(&self) -> &Scrubber {
        &self.scrubber
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;
    use crate::placeholder::Shape;

    const SECRET: &str = "sk-live-S3NT1N3L+/0123456789";

    fn stream() -> (StreamScrub, Placeholder) {
        let secret = SecretString::new(SECRET);
        let placeholder = Placeholder::mint(&Shape::of(&secret));
        (StreamScrub::new(Scrubber::new([(&secret, &placeholder)])), placeholder)
    }

    fn run(chunks: &[&[u8]]) -> (String, Placeholder) {
        let (mut stream, placeholder) = stream();
        let mut out: Vec<u8> = chunks.iter().flat_map(|chunk| stream.feed(Bytes::copy_from_slice(chunk))).collect();
        out.extend(stream.finish());
        (String::from_utf8(out).unwrap(), placeholder)
    }

    #[test]
    fn the_secret_is_replaced_at_every_split() {
        let message = format!("a {SECRET}sk-live- b {SECRET}{SECRET} sk-l");
        for split in 0..=message.len() {
            let (left, right) = message.as_bytes().split_at(split);
            let (out, placeholder) = run(&[left, right]);
            assert_eq!(out, format!("a {placeholder}sk-live- b {placeholder}{placeholder} sk-l"), "split at {split}");
        }
        let bytes: Vec<&[u8]> = message.as_bytes().chunks(1).collect();
        assert!(!run(&bytes).0.contains("S3NT1N3L"), "one byte at a time");
    }

    #[test]
    fn every_spelling_is_replaced() {
        for (case, text) in [
            ("base64", STANDARD.encode(format!("user:{SECRET}"))),
            ("base64 alone", STANDARD.encode(SECRET)),
            ("url-safe base64", URL_SAFE.encode(format!("u:{SECRET}:x"))),
            ("percent", SECRET.replace('+', "%2B").replace('/', "%2F")),
            ("hex", SECRET.bytes().map(|byte| format!("{byte:02x}")).collect()),
            ("JSON", SECRET.replace('/', "\\/")),
            ("JSON by code", SECRET.bytes().map(|byte| format!("\\u{byte:04x}")).collect()),
            ("percent, the slash kept", SECRET.replace('+', "%2b")),
            ("JSON for web pages", SECRET.replace('+', "\\u002B")),
            ("HTML", SECRET.replace('+', "&#43;").replace('/', "&#x2F;")),
            ("HTML by name", SECRET.replace('+', "&plus;").replace('/', "&sol;")),
            ("base64 in a URL", STANDARD.encode(format!("u:{SECRET}")).replace('+', "%2B").replace('/', "%2F")),
            ("upper case", SECRET.to_uppercase()),
            ("a URL in a URL", SECRET.replace('+', "%252B").replace('/', "%252F")),
            ("a URL in a URL in a URL", SECRET.replace('+', "%25252B").replace('/', "%25252F")),
            ("a URL in a URL, to the last byte", SECRET.bytes().map(|byte| twice(&format!("{byte:02x}"))).collect()),
            ("JSON in JSON", SECRET.replace('/', r"\\\/")),
            ("JSON in JSON in JSON", SECRET.replace('/', r"\\\\\\\/")),
            ("JSON in JSON, by code", SECRET.bytes().map(|byte| format!("\\\\u{byte:04x}")).collect()),
            ("HTML in HTML", SECRET.replace('+', "&amp;#43;").replace('/', "&amp;#x2F;")),
            ("HTML in JSON, as Go writes it", SECRET.replace('+', r"\u0026#43;")),
            ("JSON in a URL", SECRET.replace('/', "%5C%2F").replace('+', "%5Cu002b")),
            ("HTML in a URL", SECRET.replace('+', "%26%2343%3B")),
            ("a URL in HTML", SECRET.replace('+', "&#37;2B").replace('/', "%2F")),
            ("each byte of an escape escaped", SECRET.replace('+', "%25%32%42")),
            ("all but its beginning escaped", SECRET.replace('+', "%%32%42")),
        ] {
            let core = text.as_bytes()[text.len() / 3..text.len() * 2 / 3].to_vec();
            let (out, _) = run(&[b"x", text.as_bytes(), b"y"]);
            assert!(!out.as_bytes().windows(core.len()).any(|window| window == core), "{case}: {text} became {out}");
        }
    }

    fn twice(code: &str) -> String {
        code.bytes().fold("%25".to_owned(), |text, byte| text + &format!("%{byte:02X}"))
    }

    #[test]
    fn escapes_are_read_three_times_and_mean_what_they_say() {
        for (text, expected) in [
            (SECRET.replace('+', "%25252B"), true),
            (SECRET.replace('+', "%2525252B"), false),
            (SECRET.replace('+', "%25252C"), false),
            (SECRET.replace('+', "%25 2B"), false),
            (SECRET.replace('+', "&amp;amp;plus;"), true),
            (SECRET.replace('+', "&amp;amp;amp;plus;"), false),
            (SECRET.replace('/', r"\\\\/"), true),
            (SECRET.replace('/', r"\\\\\\\\/"), false),
        ] {
            let (out, placeholder) = run(&[text.as_bytes()]);
            let expected = if expected { placeholder.as_str() } else { &text };
            assert_eq!(out, expected, "{text}");
        }
    }

    #[test]
    fn what_looks_like_an_escape_in_the_secret_is_read_both_ways() {
        for (secret, text) in [
            (r"sk-\/0123456789", r"sk-\\u002f0123456789"),
            (r"sk-\/0123456789", r"%73k-\/0123456789"),
            (r"sk-\/0123456789", r"sk-\\\/0123456789"),
            ("sk-%25/0123456789", "sk-%25%2f0123456789"),
            ("sk-%25/0123456789", "sk-%2525%2f0123456789"),
            ("sk-&amp;/0123456789", "sk-&amp;&sol;0123456789"),
        ] {
            let placeholder = Placeholder::mint(&Shape::opaque());
            let scrubber = Scrubber::new([(&SecretString::new(secret), &placeholder)]);
            assert!(scrubber.finds(text.as_bytes()), "{secret} in {text}");
            let other = text.replace("0123456789", "012345678x");
            assert!(!scrubber.finds(other.as_bytes()), "{secret} in {other}");
        }
    }

    #[test]
    fn a_stream_without_breaks_is_held_back_only_so_far() {
        let (mut stream, _) = stream();
        let longest = stream.scrubber().longest;
        let given: Vec<_> = (0..longest + 3).map(|_| stream.feed(Bytes::from_static(b"x")).len()).collect();
        assert_eq!((&given[..longest], &given[longest..]), (&vec![0; longest][..], &[1, 1, 1][..]));
        assert_eq!(stream.finish().len(), longest);
    }

    #[test]
    fn a_stream_without_the_secret_passes_unchanged_and_at_once() {
        let (mut stream, _) = stream();
        for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
            assert_eq!(stream.feed(Bytes::from(event)), event, "nothing is held back");
        }
        assert_eq!(stream.finish(), "");
    }

    /// Letters and digits, breaks, and parts of the secrets, from a small generator of our own.
    fn noise(seed: &mut u64, secrets: &[String]) -> String {
        let mut next = |below: usize| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 33) as usize % below
        };
        let mut text = String::new();
        while text.len() < 600 {
            let secret = &secrets[next(secrets.len())];
            match next(12) {
                0 => text.push_str(&secret[..1 + next(secret.len() - 1)]),
                1 => text.push_str(&STANDARD.encode(&secret[..1 + next(secret.len() - 1)])),
                2 => text.push_str(["%", "\\u00", "&#", " ", "\n", "%2", "&am"][next(7)]),
                _ => text.push(char::from(b'a' + next(26) as u8)),
            }
        }
        text
    }

    #[test]
    fn what_is_held_back_tells_nothing_about_the_secret() {
        let secrets = ["sk-live-S3NT1N3L+/0123456789".to_owned(), "qa&%x\\ab-0123456789abcdefghi".to_owned()];
        let mut seed = 7;
        for round in 0..300 {
            let mut text = noise(&mut seed, &secrets);
            if round % 2 == 0 {
                // Nothing to release anything but its length.
                text = text.replace(char::is_whitespace, "") + &text.replace(char::is_whitespace, "");
            }
            if secrets.iter().any(|secret| text.contains(secret)) {
                continue;
            }
            let cuts: Vec<usize> = (0..8).map(|cut| (seed as usize >> (cut * 5)) % 40 + 1).collect();
            let lengths = secrets.each_ref().map(|secret| {
                let secret = SecretString::new(secret.as_str());
                let placeholder = Placeholder::mint(&Shape::of(&secret));
                let mut stream = StreamScrub::new(Scrubber::new([(&secret, &placeholder)]));
                let (mut rest, mut lengths) = (text.as_bytes(), Vec::new());
                for cut in cuts.iter().cycle() {
                    let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                    lengths.push(stream.feed(Bytes::copy_from_slice(chunk)).len());
                    rest = after;
                    if rest.is_empty() {
                        break;
                    }
                }
                lengths.push(stream.finish().len());
                lengths
            });
            assert_eq!(lengths[0], lengths[1], "round {round}: {text:?}");
            assert_eq!(lengths[0].iter().sum::<usize>(), text.len(), "and nothing is lost");
        }
    }
}
