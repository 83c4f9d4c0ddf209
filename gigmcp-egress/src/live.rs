use std::collections::HashMap;
use std::sync::RwLock;

use crate::credential::CredentialRule;
use crate::encoding::spellings;
use crate::escape::{begins_escape, unescape};
use crate::identity::{CredentialId, Identity};
use crate::placeholder::Placeholder;

/// Every placeholder that is in some sandbox now, to tell when one turns up where it does not belong.
///
/// A table of the last 16 bytes of each spelling, behind a bitmap, so that the cost of a byte does not grow with the
/// number of sandboxes. A hit counts only when the whole spelling stands before it.
#[derive(Default)]
pub(crate) struct LivePlaceholders(RwLock<Table>);

/// Whose placeholder was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    pub(crate) identity: Identity,
    pub(crate) credential: CredentialId,
}

struct Table {
    windows: HashMap<Window, Vec<Entry>>,
    bitmap: Vec<u64>,
    by_identity: HashMap<Identity, Vec<Placeholder>>,
    longest: usize,
}

struct Entry {
    spelling: Vec<u8>,
    owner: Owner,
}

type Window = [u8; WINDOW_BYTES];

impl LivePlaceholders {
    /// Notes the placeholders of a grant; cheap when they are known already.
    pub(crate) fn note(&self, identity: &Identity, credentials: &[CredentialRule]) {
        let known = |table: &Table| {
            let held = table.by_identity.get(identity).map(Vec::as_slice).unwrap_or_default();
            credentials.iter().all(|credential| held.contains(&credential.placeholder))
        };
        if known(&self.read()) {
            return;
        }
        let mut table = self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        for credential in credentials {
            table.insert(identity, credential);
        }
    }

    /// Forgets all placeholders of an identity whose sandbox is gone.
    pub(crate) fn forget(&self, identity: &Identity) {
        let mut table = self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if table.by_identity.remove(identity).is_some() {
            table.windows.retain(|_, entries| {
                entries.retain(|entry| entry.owner.identity != *identity);
                !entries.is_empty()
            });
            table.rebuild_bitmap();
        }
    }

    /// Looks for a placeholder in one whole text, as it is and with its escapes read.
    pub(crate) fn find(&self, text: &[u8]) -> Option<Owner> {
        self.scan().feed(self, text)
    }

    /// A search that follows a stream over chunk boundaries.
    pub(crate) fn scan(&self) -> StreamScan {
        StreamScan::default()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The state of a search through a stream, as it is and, from the first escape on, with its escapes read.
#[derive(Default)]
pub(crate) struct StreamScan {
    plain: Tail,
    unescaped: Option<Tail>,
    /// An escape of which the end has not come.
    cut: Vec<u8>,
}

/// The last bytes, as many as a spelling may be long.
#[derive(Clone, Default)]
struct Tail(Vec<u8>);

impl StreamScan {
    /// Looks at the next chunk together with what came before it.
    pub(crate) fn feed(&mut self, live: &LivePlaceholders, chunk: &[u8]) -> Option<Owner> {
        let table = live.read();
        if self.unescaped.is_none() && chunk.iter().copied().any(begins_escape) {
            self.unescaped = Some(self.plain.clone());
        }
        let as_it_is = self.plain.feed(&table, chunk);
        let Some(unescaped) = &mut self.unescaped else { return as_it_is };
        self.cut.extend_from_slice(chunk);
        let mut read = Vec::with_capacity(self.cut.len());
        let cut = unescape(&self.cut, &mut read).err().map(<[u8]>::to_vec);
        self.cut = cut.unwrap_or_default();
        as_it_is.or_else(|| unescaped.feed(&table, &read))
    }
}

impl Tail {
    fn feed(&mut self, table: &Table, chunk: &[u8]) -> Option<Owner> {
        let seen = self.0.len();
        self.0.extend_from_slice(chunk);
        let found = table.find(&self.0, (seen + 1).saturating_sub(WINDOW_BYTES));
        let keep = table.longest.min(self.0.len());
        self.0.drain(..self.0.len() - keep);
        found
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { windows: HashMap::new(), bitmap: vec![0; BITMAP_BITS / 64], by_identity: HashMap::new(), longest: 0 }
    }
}

impl Table {
    fn insert(&mut self, identity: &Identity, credential: &CredentialRule) {
        let held = self.by_identity.entry(identity.clone()).or_default();
        if held.contains(&credential.placeholder) {
            return;
        }
        held.push(credential.placeholder.clone());
        let owner = Owner { identity: identity.clone(), credential: credential.id.clone() };
        for spelling in spellings(credential.placeholder.as_str()) {
            let window: Window =
                *spelling.last_chunk().expect("a placeholder has more than 16 bytes in every spelling");
            self.longest = self.longest.max(spelling.len());
            mark(&mut self.bitmap, &window);
            let entries = self.windows.entry(window).or_default();
            if !entries.iter().any(|entry| entry.spelling == spelling) {
                entries.push(Entry { spelling, owner: owner.clone() });
            }
        }
    }

    fn find(&self, text: &[u8], from: usize) -> Option<Owner> {
        if self.windows.is_empty() {
            return None;
        }
        text.get(from..)?.windows(WINDOW_BYTES).enumerate().find_map(|(at, window)| {
            let window: &Window = window.try_into().expect("windows have this size");
            let slot = slot(window);
            if self.bitmap[slot / 64] >> (slot % 64) & 1 == 0 {
                return None;
            }
            let before = &text[..from + at + WINDOW_BYTES];
            let hit = self.windows.get(window)?.iter().find(|entry| before.ends_with(&entry.spelling))?;
            Some(hit.owner.clone())
        })
    }

    fn rebuild_bitmap(&mut self) {
        self.bitmap.fill(0);
        for window in self.windows.keys() {
            mark(&mut self.bitmap, window);
        }
    }
}

fn mark(bitmap: &mut [u64], window: &Window) {
    let slot = slot(window);
    bitmap[slot / 64] |= 1 << (slot % 64);
}

fn slot(window: &Window) -> usize {
    let number = u128::from_le_bytes(*window);
    let mixed = (number as u64 ^ (number >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> (64 - BITMAP_BITS.ilog2())) as usize
}

const WINDOW_BYTES: usize = 16;
const BITMAP_BITS: usize = 1 << 16;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::placeholder::Shape;
    use crate::sink::Sink;

    fn live(name: &str) -> (LivePlaceholders, Identity, String) {
        let (live, identity) = (LivePlaceholders::default(), Identity::new(name));
        let placeholder = Placeholder::mint(&Shape::opaque());
        let hosts = ["api.example.com".parse().unwrap()];
        let rule =
            CredentialRule::new(CredentialId::new("key"), placeholder.clone(), hosts, Sink::Header { name: None });
        live.note(&identity, std::slice::from_ref(&rule));
        (live, identity, placeholder.as_str().to_owned())
    }

    #[test]
    fn a_placeholder_is_found_in_every_spelling_and_a_part_of_it_is_not() {
        let (live, _, text) = live("one");
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let escaped: String = text.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        for (case, haystack, expected) in [
            ("EGR-184 plain", format!("xx{text}yy"), true),
            ("EGR-184 base64", STANDARD.encode(format!("u:{text}:p")), true),
            ("EGR-184 hex", hex, true),
            ("EGR-184 escaped", format!("\"{escaped}\""), true),
            ("EGR-184 upper case", text.to_uppercase(), true),
            ("one byte in percent", format!("k=%{:02x}{}", text.as_bytes()[0], &text[1..]), true),
            ("one byte in JSON", format!("{}\\u{:04X}\"", &text[..39], text.as_bytes()[39]), true),
            ("one byte in HTML", format!("&#{};{}", text.as_bytes()[0], &text[1..]), true),
            ("behind half an escape", format!("%4{text}"), true),
            ("all but the first byte", text[1..].to_owned(), false),
            ("all but the last byte", text[..text.len() - 1].to_owned(), false),
            ("nothing", "a".repeat(1000), false),
        ] {
            assert_eq!(live.find(haystack.as_bytes()).is_some(), expected, "{case}");
        }
    }

    #[test]
    fn a_stream_is_searched_over_every_split() {
        let (live, identity, text) = live("one");
        let escaped = format!("be\\\"fore {}&#x{:x};{} after", &text[..9], text.as_bytes()[9], &text[10..]);
        for message in [format!("before {text} after"), escaped] {
            for split in 0..message.len() {
                let mut scan = live.scan();
                let (left, right) = message.as_bytes().split_at(split);
                let found = scan.feed(&live, left).or_else(|| scan.feed(&live, right));
                assert_eq!(found.map(|owner| owner.identity), Some(identity.clone()), "split at {split}");
            }
            let mut scan = live.scan();
            assert!(message.bytes().any(|byte| scan.feed(&live, &[byte]).is_some()), "one byte at a time");
        }
    }

    #[test]
    fn a_forgotten_identity_is_not_found() {
        let (live, identity, text) = live("one");
        assert!(live.find(text.as_bytes()).is_some());
        live.forget(&identity);
        assert!(live.find(text.as_bytes()).is_none());
    }
}
