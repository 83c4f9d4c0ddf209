use bytes::BytesMut;
use zeroize::Zeroizing;

use super::frame::Opcode;
use super::reader::Piece;
use super::relay::{Filter, POLICY_VIOLATION, Violation};
use super::search::CODE_BYTES;
use crate::refusal::Refusal;
use crate::scrub::{Scrubber, StreamScrub};

/// Puts placeholders back into what an upstream sends, whatever its type says.
///
/// Within a message a secret is replaced over the bounds of its fragments. A message cannot wait for the next one, so a
/// secret that begins in one and ends in another is only seen when its first part is gone; then its last part does not
/// follow.
pub(crate) struct Scrub {
    stream: Option<StreamScrub>,
    /// What the next fragment is, if none of its message has left yet.
    opcode: Opcode,
    /// The end of what has left, as far as a secret could begin in it.
    left: Zeroizing<Vec<u8>>,
}

impl Scrub {
    pub(crate) fn new(scrubber: Option<Scrubber>) -> Self {
        Self { stream: scrubber.map(StreamScrub::new), opcode: Opcode::Continuation, left: Zeroizing::default() }
    }
}

impl Filter for Scrub {
    const MALFORMED: Refusal = Refusal::UpstreamProtocol;

    fn pass(&mut self, mut piece: Piece) -> Result<Option<Piece>, Violation> {
        let Some(stream) = &mut self.stream else { return Ok(Some(piece)) };
        if piece.opcode.is_control() {
            // Without payload instead of with a placeholder, which may be too long, and which a pong would bring back to us.
            if stream.scrubber().finds(&piece.payload) {
                piece.payload.truncate(if piece.opcode == Opcode::Close { CODE_BYTES } else { 0 });
            }
            return Ok(Some(piece));
        }
        if piece.opcode != Opcode::Continuation {
            self.opcode = piece.opcode;
        }
        let mut clean = BytesMut::from(stream.feed(piece.payload.freeze()));
        if piece.fin {
            clean.extend_from_slice(&stream.finish());
        }
        if ends_secret(&mut self.left, &clean, stream.scrubber()) {
            return Err(Violation { refusal: Refusal::Unscannable, code: POLICY_VIOLATION });
        }
        if clean.is_empty() && !piece.fin {
            return Ok(None);
        }
        let opcode = std::mem::replace(&mut self.opcode, Opcode::Continuation);
        Ok(Some(Piece { opcode, fin: piece.fin, payload: clean }))
    }
}

/// Whether `clean` completes a secret that begins in what `left` before it. Both alone hold none.
fn ends_secret(left: &mut Zeroizing<Vec<u8>>, clean: &[u8], scrubber: &Scrubber) -> bool {
    let (until, longest) = (clean.iter().position(|byte| !byte.is_ascii_graphic()), scrubber.longest());
    if !left.is_empty() {
        let seam = Zeroizing::new([&left[..], &clean[..until.unwrap_or(clean.len()).min(longest)]].concat());
        if scrubber.finds(&seam) {
            return true;
        }
    }
    let after_break = clean.iter().rposition(|byte| !byte.is_ascii_graphic());
    if let Some(at) = after_break {
        left.clear();
        left.extend_from_slice(&clean[at + 1..]);
    } else {
        left.extend_from_slice(clean);
    }
    let excess = left.len().saturating_sub(longest);
    left.drain(..excess);
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::placeholder::{Placeholder, Shape};
    use crate::secret::SecretString;

    const SECRET: &str = "sk-live-S3NT1N3L+/0123456789";

    fn scrub() -> (Scrub, Placeholder) {
        let secret = SecretString::new(SECRET);
        let placeholder = Placeholder::mint(&Shape::of(&secret));
        (Scrub::new(Some(Scrubber::new([(&secret, &placeholder)]))), placeholder)
    }

    fn run(scrub: &mut Scrub, pieces: &[(Opcode, bool, &str)]) -> Result<Vec<(Opcode, bool, String)>, Refusal> {
        let mut passed = Vec::new();
        for (opcode, fin, text) in pieces {
            let piece = Piece { opcode: *opcode, fin: *fin, payload: text.as_bytes().into() };
            if let Some(piece) = scrub.pass(piece).map_err(|violation| violation.refusal)? {
                passed.push((piece.opcode, piece.fin, String::from_utf8(piece.payload.to_vec()).unwrap()));
            }
        }
        Ok(passed)
    }

    #[test]
    fn a_secret_is_replaced_over_every_split_into_fragments() {
        let message = format!("key: {SECRET}.");
        for split in 0..=message.len() {
            let (mut scrub, placeholder) = scrub();
            let (left, right) = message.split_at(split);
            let fragments =
                [(Opcode::Text, false, left), (Opcode::Ping, true, "x"), (Opcode::Continuation, true, right)];
            let passed = run(&mut scrub, &fragments).unwrap();
            let messages: Vec<_> = passed.iter().filter(|piece| piece.0 != Opcode::Ping).collect();
            let text: String = messages.iter().map(|piece| piece.2.as_str()).collect();
            assert_eq!(text, format!("key: {placeholder}."), "split at {split}");
            assert_eq!(messages[0].0, Opcode::Text, "the first that leaves says what it is");
            assert!(messages[1..].iter().all(|piece| piece.0 == Opcode::Continuation));
            assert!(messages.last().unwrap().1, "and the message ends");
        }
    }

    #[test]
    fn a_message_is_not_held_back_and_stays_one_frame() {
        let (mut scrub, _) = scrub();
        for (opcode, text) in [(Opcode::Text, "sk-live-"), (Opcode::Binary, "no break"), (Opcode::Text, "")] {
            assert_eq!(run(&mut scrub, &[(opcode, true, text)]), Ok(vec![(opcode, true, text.to_owned())]));
        }
    }

    #[test]
    fn the_last_part_of_a_secret_over_messages_does_not_leave() {
        let message = format!("x{SECRET}y");
        for split in 2..SECRET.len() + 1 {
            let (left, right) = message.split_at(split);
            let messages = [(Opcode::Text, true, left), (Opcode::Text, true, right)];
            assert_eq!(run(&mut scrub().0, &messages), Err(Refusal::Unscannable), "split at {split}");
            let harmless = [(Opcode::Text, true, left), (Opcode::Text, true, &right[1..])];
            assert!(run(&mut scrub().0, &harmless).is_ok(), "split at {split}");
            let other_line = [(Opcode::Text, true, left), (Opcode::Text, true, "\n"), (Opcode::Text, true, right)];
            assert!(run(&mut scrub().0, &other_line).is_ok(), "split at {split}");
        }
        let letters: Vec<_> = (0..SECRET.len()).map(|at| (Opcode::Text, true, &SECRET[at..=at])).collect();
        assert_eq!(run(&mut scrub().0, &letters), Err(Refusal::Unscannable), "a letter a message");
        assert!(run(&mut scrub().0, &letters[1..]).is_ok());
    }

    #[test]
    fn a_control_frame_with_a_secret_loses_its_payload() {
        let (mut scrub, _) = scrub();
        let (reason, other) = (format!("\u{f}A{SECRET}"), "\u{f}Abye");
        for (case, opcode, text, expected) in [
            ("ping", Opcode::Ping, SECRET, ""),
            ("other ping", Opcode::Ping, "17", "17"),
            ("pong", Opcode::Pong, SECRET, ""),
            ("close", Opcode::Close, &*reason, "\u{f}A"),
            ("other close", Opcode::Close, other, other),
        ] {
            assert_eq!(run(&mut scrub, &[(opcode, true, text)]).unwrap()[0].2, expected, "{case}");
        }
    }
}
