//! Credentials do not come back: what is shown is searched for all that the engine holds, in whatever way a service writes them.

mod spelling;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gigmcp_registry::Inject;
use zeroize::Zeroizing;

use super::{credential::Secret, plan::ToolPlan};
use spelling::{LONGEST_ESCAPE, spelled_at};

/// The encodings of a server's credentials, those of its other tools as well: a service may keep what it got with another call. A
/// placeholder is searched for as well: said by a model later, it would be an alarm.
pub(super) struct Scrubber(Vec<Zeroizing<String>>);

impl Scrubber {
    pub(super) fn of(plan: &ToolPlan) -> Self {
        let mut encodings = Vec::new();
        plan.held.iter().filter_map(|held| held.secret.as_ref()).for_each(|secret| encode(secret, &mut encodings));
        for used in plan.uses.iter().filter(|used| matches!(used.held.place, Inject::Basic(_))) {
            let Some(secret) = &used.held.secret else { continue };
            for (user, password) in
                [(plan.basic_other.as_str(), secret.expose()), (secret.expose(), plan.basic_other.as_str())]
            {
                let pair = Zeroizing::new(format!("{user}:{password}"));
                encodings.push(Zeroizing::new(STANDARD.encode(pair.as_bytes())));
            }
        }
        encodings.retain(|encoding| encoding.len() >= MIN_CHARS);
        // The longest first: a shorter one may be a part of it.
        encodings.sort_by_key(|encoding| std::cmp::Reverse(encoding.len()));
        encodings.dedup();
        Self(encodings)
    }

    /// The beginning of a text without credentials, nor the beginning of one at its end.
    pub(super) fn clean_beginning(&self, text: String) -> String {
        let longest = self.0.first().map_or(0, |encoding| encoding.len() * LONGEST_ESCAPE);
        let mut text = self.clean(text);
        text.truncate(text.floor_char_boundary(text.len().saturating_sub(longest)));
        text
    }

    /// Whether a credential is in a file.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        (0..bytes.len()).any(|at| self.at(&bytes[at..]).is_some())
    }

    /// The text without credentials.
    pub(super) fn clean(&self, text: String) -> String {
        let bytes = text.as_bytes();
        let (mut cleaned, mut kept, mut at) = (String::new(), 0, 0);
        while at < bytes.len() {
            match self.at(&bytes[at..]) {
                // Credentials are ASCII in all their spellings, so that both ends are those of characters.
                Some(length) => {
                    cleaned.push_str(&text[kept..at]);
                    cleaned.push_str(SHOWN);
                    at += length;
                    kept = at;
                }
                None => at += 1,
            }
        }
        if kept == 0 {
            return text;
        }
        cleaned.push_str(&text[kept..]);
        cleaned
    }

    /// How long the credential is that a text begins with.
    fn at(&self, text: &[u8]) -> Option<usize> {
        self.0.iter().find_map(|encoding| spelled_at(text, encoding.as_bytes()))
    }
}

/// The text itself, in hex, and in base64.
fn encode(secret: &Secret, into: &mut Vec<Zeroizing<String>>) {
    let text = secret.expose();
    into.push(Zeroizing::new(text.into()));
    into.push(Zeroizing::new(text.bytes().map(|byte| format!("{byte:02x}")).collect()));
    // In base64 a text has three spellings, by where it begins; the characters at its ends depend on its neighbours.
    for before in 0..3 {
        let padded = Zeroizing::new([&vec![0; before], text.as_bytes()].concat());
        let encoded = Zeroizing::new(STANDARD.encode(&*padded));
        let begin = [0, 2, 3][before];
        let end = (before + text.len()) * 8 / 6;
        if let Some(core) = encoded.get(begin..end).filter(|core| core.len() >= MIN_BASE64_CHARS) {
            into.push(Zeroizing::new(core.replace('+', "-").replace('/', "_")));
            into.push(Zeroizing::new(core.into()));
        }
    }
}

const SHOWN: &str = "[credential]";
/// Anything shorter is in every text.
const MIN_CHARS: usize = 4;
const MIN_BASE64_CHARS: usize = 12;
