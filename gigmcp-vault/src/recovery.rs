//! The key ring on paper: whole, or in parts of which some are needed.

use std::fmt::Write;

use blahaj::{Share, Sharks};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::key::{Key, KeyId, WrappingKey};
use crate::key_ring::{InvalidKeyRing, KeyRing};
use crate::memory::Protected;
use crate::secret::{SecretBytes, SecretString};

/// Recovery forms: text to be printed and typed. See `FORMAT.md`.
impl KeyRing {
    /// Splits all keys of the ring into `parts` forms, of which any `needed` restore it (Shamir's scheme), and fewer tell
    /// nothing but how long it is. One of one is the whole ring on one form: whoever reads that has every key.
    ///
    /// # Errors
    /// [`RecoveryError::Parts`] if `needed` is 0 or more than `parts`; [`RecoveryError::Random`] if the kernel gives no random
    /// bytes.
    pub fn recovery_forms(&self, needed: u8, parts: u8) -> Result<Vec<SecretString>, RecoveryError> {
        if needed == 0 || needed > parts {
            return Err(RecoveryError::Parts);
        }
        let mut set = [0; 4];
        getrandom::fill(&mut set)?;
        let payload = self.payload();
        let shares = Sharks(needed).dealer(&payload).take(parts.into());
        Ok(shares.map(|share| form(needed, set, &Zeroizing::new(Vec::from(&share)))).collect())
    }

    /// The ring that forms restore: one text with one form or several, in any order. Case and blanks do not count, empty lines
    /// and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`RecoveryError`] says which line of which form was mistyped, or what is missing.
    pub fn from_recovery_forms(text: &SecretString) -> Result<Self, RecoveryError> {
        let forms = read_forms(text.as_str())?;
        let first = forms.first().ok_or(RecoveryError::NoForm)?;
        let (needed, set) = (first.needed, first.set);
        if forms.iter().any(|form| (form.needed, form.set) != (needed, set)) {
            return Err(RecoveryError::OtherSet);
        }
        let mut numbers: Vec<u8> = forms.iter().map(|form| form.share[0]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.len() < usize::from(needed) {
            return Err(RecoveryError::TooFew { needed, found: numbers.len() });
        }
        let shares: Result<Vec<Share>, _> = forms.iter().map(|form| Share::try_from(form.share.as_slice())).collect();
        let shares = shares.map_err(|_| RecoveryError::Damaged)?;
        let sharks = Sharks(needed);
        let payload = sharks.recover(&shares).map_err(|_| RecoveryError::Damaged)?;
        Self::from_payload(&Zeroizing::new(payload))
    }

    fn payload(&self) -> Zeroizing<Vec<u8>> {
        // Reserved in full: a Vec that grows leaves copies of the keys behind.
        let mut payload = Zeroizing::new(Vec::with_capacity(4 + self.keys().len() * KEY_BYTES + DIGEST_BYTES));
        payload.extend(self.minimum_version().to_be_bytes());
        for key in self.keys() {
            payload.extend(key.version.to_be_bytes());
            payload.extend(key.id.as_bytes());
            payload.extend(key.key.as_bytes());
        }
        let digest = digest(&payload);
        payload.extend(digest);
        payload
    }

    fn from_payload(payload: &[u8]) -> Result<Self, RecoveryError> {
        let (listed, expected) = payload.split_last_chunk().ok_or(RecoveryError::Damaged)?;
        if *expected != digest(listed) {
            return Err(RecoveryError::Damaged);
        }
        let (minimum_version, keys) = listed.split_first_chunk().ok_or(RecoveryError::Damaged)?;
        let (keys, rest) = keys.as_chunks::<KEY_BYTES>();
        if !rest.is_empty() {
            return Err(RecoveryError::Damaged);
        }
        let keys = keys.iter().map(|bytes| {
            let (version, rest) = bytes.split_first_chunk().expect("4 of 52");
            let (id, key) = rest.split_first_chunk().expect("16 of 48");
            let key = Key::copy_of(key.try_into().expect("the last 32"));
            WrappingKey { id: KeyId::from_bytes(*id), version: u32::from_be_bytes(*version), key }
        });
        Ok(Self::from_keys(keys.collect(), u32::from_be_bytes(*minimum_version))?)
    }
}

/// Why forms were not made or do not restore a ring. Quotes nothing of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// More parts are needed than are made, or none.
    #[error("of the parts at least one, and at most as many as there are, must be needed")]
    Parts,
    /// The kernel gave no random bytes.
    #[error("drawing random bytes")]
    Random(#[from] getrandom::Error),
    /// There is no form in the text.
    #[error("there is no recovery form; its first line is `{HEADER} ...`")]
    NoForm,
    /// A first line is not one.
    #[error("form {form}: its first line is not as it was printed; compare it")]
    Head {
        /// Which form, counted from 1.
        form: usize,
    },
    /// A line is not what was printed.
    #[error(
        "form {form}, line {line}: a character is wrong, missing or too many, or the line is not in its place; compare it"
    )]
    Line {
        /// Which form, counted from 1.
        form: usize,
        /// Which line, as it is numbered.
        line: usize,
    },
    /// Forms that were printed at different times.
    #[error("the forms do not belong together: they were printed at different times")]
    OtherSet,
    /// More are needed.
    #[error("{needed} different forms are needed, and there are {found}")]
    TooFew {
        /// How many.
        needed: u8,
        /// How many there are.
        found: usize,
    },
    /// All lines are as they should be, and still it is not what was split: a line is missing at the end of a form.
    #[error("the forms do not fit together; compare whether each has all its lines")]
    Damaged,
    /// Keys that make no ring.
    #[error(transparent)]
    Ring(#[from] InvalidKeyRing),
}

/// One form, read.
struct Form {
    needed: u8,
    set: [u8; 4],
    /// Its number and what belongs to it.
    share: Zeroizing<Vec<u8>>,
}

fn form(needed: u8, set: [u8; 4], share: &[u8]) -> SecretString {
    let lines = share[1..].chunks(LINE_BYTES);
    let mut text = Protected::zeroed(HEADER.len() + 64 + lines.len() * 64);
    let mut place = Cursor { bytes: text.as_mut_slice(), at: 0 };
    let written = "there is room";
    writeln!(place, "{HEADER} {needed} {} {}", share[0], hex::encode(set)).expect(written);
    for (number, bytes) in (1..).zip(lines) {
        write!(place, "{number:>3}:").expect(written);
        for pair in bytes.chunks(2) {
            place.write_str(" ").expect(written);
            for byte in pair {
                write!(place, "{byte:02x}").expect(written);
            }
        }
        let [one, two] = check(needed, set, share[0], number, bytes);
        writeln!(place, "  {one:02x}{two:02x}").expect(written);
    }
    let length = place.at;
    let exact = Protected::copy_of(&text.as_slice()[..length]);
    SecretBytes::from_protected(exact).into_text().expect("it is ASCII")
}

fn read_forms(text: &str) -> Result<Vec<Form>, RecoveryError> {
    let mut forms: Vec<Form> = Vec::new();
    let mut line = 0;
    for words in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let number = forms.len();
        if let Some(head) = strip_header(words) {
            let (needed, share, set) = head_of(head).ok_or(RecoveryError::Head { form: number + 1 })?;
            let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
            bytes.push(share);
            forms.push(Form { needed, set, share: bytes });
            line = 0;
            continue;
        }
        let form = forms.last_mut().ok_or(RecoveryError::NoForm)?;
        line += 1;
        let wrong = || RecoveryError::Line { form: number, line };
        let digits = words.split_once(':').filter(|(at, _)| at.trim().parse() == Ok(line)).ok_or_else(wrong)?.1;
        let digits: Zeroizing<String> = Zeroizing::new(digits.chars().filter(|digit| !digit.is_whitespace()).collect());
        let mut bytes = Zeroizing::new([0; LINE_BYTES + 2]);
        let bytes = bytes.get_mut(..digits.len() / 2).ok_or_else(wrong)?;
        hex::decode_to_slice(digits.as_bytes(), bytes).map_err(|_| wrong())?;
        let (bytes, expected) = bytes.split_last_chunk().ok_or_else(wrong)?;
        if bytes.is_empty() || *expected != check(form.needed, form.set, form.share[0], line, bytes) {
            return Err(wrong());
        }
        form.share.extend_from_slice(bytes);
    }
    Ok(forms)
}

/// What follows the words that every form begins with.
fn strip_header(line: &str) -> Option<&str> {
    let (head, rest) = line.split_at_checked(HEADER.len())?;
    head.eq_ignore_ascii_case(HEADER).then_some(rest)
}

fn head_of(words: &str) -> Option<(u8, u8, [u8; 4])> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let [needed, share, digits] = words[..] else { return None };
    let (needed, share): (u8, u8) = (needed.parse().ok()?, share.parse().ok()?);
    let mut set = [0; 4];
    hex::decode_to_slice(digits, &mut set).ok()?;
    (needed > 0 && share > 0).then_some((needed, share, set))
}

/// Finds a mistyped line. What stands in the first line counts too, and so does where the line stands.
fn check(needed: u8, set: [u8; 4], share: u8, line: usize, bytes: &[u8]) -> [u8; 2] {
    let line = u16::try_from(line).unwrap_or(u16::MAX);
    let digest = Sha256::new()
        .chain_update(HEADER)
        .chain_update([needed, share])
        .chain_update(set)
        .chain_update(line.to_be_bytes())
        .chain_update(bytes)
        .finalize();
    [digest[0], digest[1]]
}

fn digest(listed: &[u8]) -> [u8; DIGEST_BYTES] {
    let digest = Sha256::new().chain_update(HEADER).chain_update(listed).finalize();
    *digest.first_chunk().expect("a SHA-256 has 32 bytes")
}

/// Writes into memory that is protected, and not anywhere on the way.
struct Cursor<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Write for Cursor<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.at + text.len();
        self.bytes.get_mut(self.at..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.at = end;
        Ok(())
    }
}

const HEADER: &str = "gigmcp-vault-recovery 1";
/// Eight groups of four digits.
const LINE_BYTES: usize = 16;
/// Version, id, key.
const KEY_BYTES: usize = 4 + 16 + 32;
const DIGEST_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposure::Reason;

    fn ring() -> KeyRing {
        let mut ring = KeyRing::generate().expect("random bytes");
        ring.rotate().expect("random bytes");
        ring
    }

    fn texts(forms: &[SecretString]) -> Vec<String> {
        forms.iter().map(|form| form.expose(Reason::new("a test compares it"), str::to_owned)).collect()
    }

    fn restored(text: &str) -> Result<KeyRing, RecoveryError> {
        KeyRing::from_recovery_forms(&SecretString::from(text.to_owned()))
    }

    fn same(one: &KeyRing, other: &KeyRing) -> bool {
        *one.payload() == *other.payload()
    }

    #[test]
    fn any_so_many_of_the_forms_restore_the_ring_and_fewer_do_not() {
        let ring = ring();
        for (needed, parts) in [(1, 1), (1, 3), (2, 3), (3, 5), (5, 5), (17, 40), (1, 255)] {
            let forms = texts(&ring.recovery_forms(needed, parts).expect("forms"));
            assert_eq!(forms.len(), usize::from(parts));
            let last: String = forms.iter().rev().take(needed.into()).cloned().collect();
            assert!(same(&restored(&last).expect("enough"), &ring), "{needed} of {parts}");
            assert!(same(&restored(&forms.concat()).expect("all"), &ring), "{needed} of {parts}");
            let fewer: String = forms.iter().take(usize::from(needed) - 1).cloned().collect();
            let repeated = format!("{fewer}{}", forms[0]);
            match needed {
                1 => assert!(matches!(restored(&fewer), Err(RecoveryError::NoForm))),
                _ => {
                    let found = usize::from(needed) - 1;
                    for text in [fewer, repeated] {
                        let refused = restored(&text);
                        assert!(
                            matches!(refused, Err(RecoveryError::TooFew { needed: n, found: f }) if n == needed && f == found)
                        );
                    }
                }
            }
        }
        for (needed, parts) in [(0, 0), (0, 3), (4, 3)] {
            assert!(matches!(ring.recovery_forms(needed, parts), Err(RecoveryError::Parts)), "{needed} of {parts}");
        }
    }

    #[test]
    fn how_it_was_typed_does_not_matter() {
        let ring = ring();
        let form = texts(&ring.recovery_forms(1, 1).expect("a form")).remove(0);
        for (case, text) in [
            ("upper case", form.to_uppercase()),
            ("no blanks between groups", form.replacen(": ", ":", 99).replace("  ", "").replace(": ", ":")),
            ("more blanks", form.replace(": ", ":    ").replace('\n', " \r\n\n")),
            ("remarks", format!("# part 1\n\n{form}# end\n")),
            ("no last newline", form.trim_end().to_owned()),
        ] {
            assert!(same(&restored(&text).unwrap_or_else(|error| panic!("{case}: {error}")), &ring), "{case}");
        }
    }

    #[test]
    fn every_wrong_character_is_found_where_it_is() {
        let form = texts(&ring().recovery_forms(1, 1).expect("a form")).remove(0);
        let (head, lines) = form.split_once('\n').expect("lines");
        for (at, line) in lines.lines().enumerate() {
            for place in line.char_indices().filter(|(_, digit)| digit.is_ascii_hexdigit()).map(|(place, _)| place) {
                let mut wrong = line.to_owned();
                let other = if &line[place..=place] == "0" { "1" } else { "0" };
                wrong.replace_range(place..=place, other);
                let refused = restored(&form.replacen(line, &wrong, 1));
                assert!(
                    matches!(refused, Err(RecoveryError::Line { form: 1, line }) if line == at + 1),
                    "{at}, {place}"
                );
                wrong.remove(place);
                let refused = restored(&form.replacen(line, &wrong, 1));
                assert!(
                    matches!(refused, Err(RecoveryError::Line { form: 1, line }) if line == at + 1),
                    "{at}, {place}"
                );
            }
        }
        let without_last = form.trim_end().rsplit_once('\n').expect("lines").0;
        assert!(matches!(restored(without_last), Err(RecoveryError::Damaged)));
        for wrong in
            [head.replace("recovery 1 1 1", "recovery 1 0 1"), head.replace(" 1 1 ", " 1 "), format!("{head} 1")]
        {
            assert!(matches!(restored(&form.replace(head, &wrong)), Err(RecoveryError::Head { form: 1 })), "{wrong}");
        }
        for wrong in
            [head.replace("recovery 1 1 1", "recovery 1 1 2"), head.replace("recovery 1 1 1", "recovery 1 2 1")]
        {
            let refused = restored(&form.replace(head, &wrong));
            assert!(matches!(refused, Err(RecoveryError::Line { form: 1, line: 1 })), "{wrong}");
        }
        for text in ["", "1: 0000", "# nothing", "gigmcp-vault-recovery 2 1 1 00000000\n"] {
            assert!(matches!(restored(text), Err(RecoveryError::NoForm)), "{text}");
        }
        assert!(restored(&form).is_ok());
    }

    #[test]
    fn forms_of_two_times_do_not_mix() {
        let ring = ring();
        let [one, other] = [0, 1].map(|_| texts(&ring.recovery_forms(2, 3).expect("forms")));
        let mixed = format!("{}{}", one[0], other[1]);
        assert!(matches!(restored(&mixed), Err(RecoveryError::OtherSet)));
        assert!(restored(&format!("{}{}", one[0], one[1])).is_ok());
    }
}
