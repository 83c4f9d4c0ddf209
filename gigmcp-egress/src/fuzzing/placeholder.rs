use std::sync::OnceLock;

use super::pieces::{Escapes, Pieces, Text};
use crate::credential::CredentialRule;
use crate::encoding::spellings;
use crate::escape::unescape;
use crate::identity::{CredentialId, Identity};
use crate::live::LivePlaceholders;
use crate::placeholder::{Placeholder, Shape};
use crate::sink::Sink;

/// A placeholder is found for every cut if it is there, and for none if it is not.
pub fn placeholder_scan(input: &[u8]) {
    static KNOWN: OnceLock<(LivePlaceholders, [Placeholder; 2])> = OnceLock::new();
    let (live, placeholders) = KNOWN.get_or_init(known);
    let Some(pieces) = Pieces::of(input) else { return };
    let Text { bytes, whole } = pieces.text(&[placeholders[0].as_str(), placeholders[1].as_str()], Escapes::Simple);
    let mut scan = live.scan();
    let found = pieces.cut(&bytes).into_iter().filter(|piece| scan.feed(live, piece).is_some()).count() > 0;
    assert_eq!(found, live.find(&bytes).is_some(), "the same for every cut of {}", bytes.escape_ascii());
    // A half escape before an escaped placeholder changes how it reads.
    let alone = |at: usize| at == 0 || bytes[at - 1] == b' ';
    if whole.iter().any(|word| !word.escaped || alone(word.at)) {
        assert!(found, "missed in {}", bytes.escape_ascii());
    }
    // A fuzzer learns what it is compared with, and writes it out itself.
    if whole.is_empty() && !placeholders.iter().any(|placeholder| stands_in(&bytes, placeholder)) {
        assert!(!found, "found in {}", bytes.escape_ascii());
    }
}

/// Whether a placeholder is in a text in any spelling, as it is or with escapes read.
fn stands_in(text: &[u8], placeholder: &Placeholder) -> bool {
    let mut read = Vec::new();
    let _ = unescape(text, &mut read);
    let holds = |text: &[u8], spelling: &Vec<u8>| text.windows(spelling.len()).any(|window| window == *spelling);
    spellings(placeholder.as_str()).iter().any(|spelling| holds(text, spelling) || holds(&read, spelling))
}

fn known() -> (LivePlaceholders, [Placeholder; 2]) {
    let placeholders = [Placeholder::mint(&Shape::opaque()), Placeholder::mint(&Shape::opaque())];
    let live = LivePlaceholders::default();
    for (name, placeholder) in ["one", "two"].into_iter().zip(&placeholders) {
        let host = "api.example.com".parse().unwrap();
        let rule =
            CredentialRule::new(CredentialId::new("key"), placeholder.clone(), [host], Sink::Header { name: None });
        live.note(&Identity::new(name), &[rule]);
    }
    (live, placeholders)
}
