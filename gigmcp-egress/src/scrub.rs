use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};
use bytes::{BufMut as _, Bytes, BytesMut};

use crate::encoding::spellings;
use crate::placeholder::Placeholder;
use crate::secret::SecretString;

/// Puts the placeholder back wherever an answer repeats the secret, in every spelling it could return in.
pub(crate) struct Scrubber {
    patterns: Vec<Vec<u8>>,
    replacements: Vec<Vec<u8>>,
    search: AhoCorasick,
}

impl Scrubber {
    /// A scrubber for the secrets that went out with one request.
    ///
    /// # Errors
    /// If the patterns exceed what one automaton can hold, that is gigabytes.
    pub(crate) fn new<'a>(
        injected: impl IntoIterator<Item = (&'a SecretString, &'a Placeholder)>,
    ) -> Result<Self, BuildError> {
        let (mut patterns, mut replacements) = (Vec::new(), Vec::new());
        for (secret, placeholder) in injected {
            for (pattern, replacement) in spellings(secret.expose()).into_iter().zip(spellings(placeholder.as_str())) {
                if !patterns.contains(&pattern) {
                    patterns.push(pattern);
                    replacements.push(replacement);
                }
            }
        }
        // Leftmost-longest, so that a spelling which begins like another is not cut in the middle.
        // This is built for every request, so that no secret is kept: a DFA took longer to build than the rest of a request.
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::NoncontiguousNFA))
            .build(&patterns)?;
        Ok(Self { patterns, replacements, search })
    }

    /// Scrubs one whole text; `None` if there is nothing to scrub.
    pub(crate) fn scrub(&self, text: &[u8]) -> Option<Vec<u8>> {
        self.search.is_match(text).then(|| self.search.replace_all_bytes(text, &self.replacements))
    }

    /// Whether the text holds a secret.
    pub(crate) fn finds(&self, text: &[u8]) -> bool {
        self.search.is_match(text)
    }

    /// Where the part of `text` begins that the next chunk may turn into a match.
    fn held_from(&self, text: &[u8]) -> usize {
        let longest = self.patterns.iter().map(Vec::len).max().unwrap_or_default();
        let first = (text.len() + 1).saturating_sub(longest);
        let starts_match = |at: &usize| {
            let tail = &text[*at..];
            self.patterns.iter().any(|pattern| pattern.len() > tail.len() && pattern.starts_with(tail))
        };
        (first..text.len()).find(starts_match).unwrap_or(text.len())
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        self.patterns.zeroize();
    }
}

/// A scrubber at work on a stream. Holds bytes back only while they could be the beginning of a secret.
pub(crate) struct StreamScrub {
    scrubber: Scrubber,
    held: BytesMut,
}

impl StreamScrub {
    pub(crate) fn new(scrubber: Scrubber) -> Self {
        Self { scrubber, held: BytesMut::new() }
    }

    /// Takes the next chunk and gives what is certain by now, possibly nothing.
    pub(crate) fn feed(&mut self, chunk: Bytes) -> Bytes {
        if self.held.is_empty() && !self.scrubber.finds(&chunk) && self.scrubber.held_from(&chunk) == chunk.len() {
            return chunk;
        }
        self.held.put_slice(&chunk);
        let text = self.held.split();
        let mut clean = BytesMut::with_capacity(text.len());
        let mut at = 0;
        loop {
            let rest = &text[at..];
            let certain = self.scrubber.held_from(rest);
            match self.scrubber.search.find(rest) {
                // A match that begins where the next chunk may still change something waits with the rest.
                Some(found) if found.start() < certain => {
                    clean.put_slice(&rest[..found.start()]);
                    clean.put_slice(&self.scrubber.replacements[found.pattern().as_usize()]);
                    at += found.end();
                }
                Some(_) | None => {
                    clean.put_slice(&rest[..certain]);
                    self.held.put_slice(&rest[certain..]);
                    return clean.freeze();
                }
            }
        }
    }

    /// Gives what was held back, when nothing more comes.
    pub(crate) fn finish(&mut self) -> Bytes {
        let rest = self.held.split();
        self.scrubber.scrub(&rest).map_or_else(|| rest.freeze(), Bytes::from)
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
        (StreamScrub::new(Scrubber::new([(&secret, &placeholder)]).unwrap()), placeholder)
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
            ("upper case", SECRET.to_uppercase()),
        ] {
            let core = text.as_bytes()[text.len() / 3..text.len() * 2 / 3].to_vec();
            let (out, _) = run(&[b"x", text.as_bytes(), b"y"]);
            assert!(!out.as_bytes().windows(core.len()).any(|window| window == core), "{case}: {text} became {out}");
        }
    }

    #[test]
    fn a_stream_without_the_secret_passes_unchanged_and_at_once() {
        let (mut stream, _) = stream();
        for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
            assert_eq!(stream.feed(Bytes::from(event)), event, "nothing is held back");
        }
        assert_eq!(stream.finish(), "");
    }
}
