//! Credentials do not come back: what is shown is searched for all that were sent.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gigmcp_registry::Inject;
use zeroize::Zeroizing;

use super::{credential::Secret, encode::percent_encoded, plan::ToolPlan};

/// The spellings of a tool's credentials. A placeholder is searched for as well: said by a model later, it would be an alarm.
pub(super) struct Scrubber(Vec<Zeroizing<String>>);

impl Scrubber {
    pub(super) fn of(plan: &ToolPlan) -> Self {
        let mut spellings = Vec::new();
        for used in &plan.uses {
            let Some(secret) = &used.held.secret else { continue };
            spell(secret, &mut spellings);
            if matches!(used.held.place, Inject::Basic(_)) {
                for pair in [
                    format!("{}:{}", plan.basic_other, secret.expose()),
                    format!("{}:{}", secret.expose(), plan.basic_other),
                ] {
                    spellings.push(Zeroizing::new(STANDARD.encode(pair)));
                }
            }
        }
        spellings.retain(|spelling| spelling.len() >= MIN_CHARS);
        // The longest first: a shorter one may be a part of it.
        spellings.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
        spellings.dedup();
        Self(spellings)
    }

    /// The beginning of a text without credentials, nor the beginning of one at its end.
    pub(super) fn clean_beginning(&self, text: String) -> String {
        let longest = self.0.first().map_or(0, |spelling| spelling.len());
        let mut text = self.clean(text);
        text.truncate(text.floor_char_boundary(text.len().saturating_sub(longest)));
        text
    }

    /// Whether a credential is in a file.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|spelling| bytes.windows(spelling.len()).any(|window| window == spelling.as_bytes()))
    }

    /// The text without credentials.
    pub(super) fn clean(&self, text: String) -> String {
        let clean = |text: String, spelling: &Zeroizing<String>| {
            if text.contains(spelling.as_str()) { text.replace(spelling.as_str(), SHOWN) } else { text }
        };
        self.0.iter().fold(text, clean)
    }
}

fn spell(secret: &Secret, into: &mut Vec<Zeroizing<String>>) {
    let text = secret.expose();
    let json = serde_json::to_string(text).unwrap_or_default();
    let percent = percent_encoded(text);
    into.push(Zeroizing::new(percent.to_ascii_lowercase()));
    into.push(Zeroizing::new(percent));
    into.push(Zeroizing::new(json.trim_matches('"').into()));
    into.push(Zeroizing::new(text.into()));
    // In base64 a text has three spellings, by where it begins; the characters at its ends depend on its neighbours.
    for before in 0..3 {
        let encoded = STANDARD.encode([&vec![0; before], text.as_bytes()].concat());
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
