//! The text of a key file. One spelling for each ring, so that reading is comparing.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::MAX_FILE_BYTES;
use super::error::MalformedKeyFile;
use crate::key::{Key, KeyId, WrappingKey};
use crate::key_ring::KeyRing;
use crate::memory::leaving_no_trace;

/// Hashing and turning into digits leave keys behind, as text.
pub(crate) fn render(ring: &KeyRing) -> Zeroizing<String> {
    leaving_no_trace(|| render_now(ring))
}

/// On error also the number of the line, from 1.
pub(crate) fn parse(content: &[u8]) -> Result<KeyRing, (usize, MalformedKeyFile)> {
    leaving_no_trace(|| parse_now(content))
}

fn render_now(ring: &KeyRing) -> Zeroizing<String> {
    // Reserved in full: a String that grows leaves copies of the keys behind.
    let mut text = Zeroizing::new(String::with_capacity(128 * (ring.keys().len() + 3)));
    text.push_str(HEADER);
    text.push_str(&format!("\nminimum-version {}\n", ring.minimum_version()));
    for (role, key) in roles().zip(ring.keys()) {
        let mut digits = Zeroizing::new([0; 64]);
        hex::encode_to_slice(key.key.as_bytes(), digits.as_mut_slice()).expect("twice as long");
        text.push_str(&format!("{role} {} {} ", key.version, key.id));
        text.push_str(std::str::from_utf8(digits.as_slice()).expect("hex is ASCII"));
        text.push('\n');
    }
    let digest = hex::encode(Sha256::digest(text.as_bytes()));
    text.push_str(DIGEST);
    text.push_str(&digest);
    text.push('\n');
    text
}

fn parse_now(content: &[u8]) -> Result<KeyRing, (usize, MalformedKeyFile)> {
    if content.len() > MAX_FILE_BYTES {
        return Err((1, MalformedKeyFile::TooLong));
    }
    let text = std::str::from_utf8(content).ok().filter(|text| text.is_ascii() && text.ends_with('\n'));
    let text = text.ok_or((1, MalformedKeyFile::NotText))?;
    let lines: Vec<&str> = text[..text.len() - 1].split('\n').collect();
    let last = lines.len();
    let (header, lines) = lines.split_first().expect("split gives at least one line");
    if *header == super::wrapped::HEADER {
        return Err((1, MalformedKeyFile::Wrapped));
    }
    if *header != HEADER {
        return Err((1, MalformedKeyFile::Header));
    }
    let minimum = lines.first().and_then(|line| line.strip_prefix("minimum-version "));
    let minimum = minimum.ok_or((2, MalformedKeyFile::Line { expected: "minimum-version N" }))?;
    let minimum = number(minimum).map_err(|problem| (2, problem))?;
    let (digest, key_lines) = lines[1..].split_last().ok_or((3, MalformedKeyFile::Line { expected: ACTIVE_LINE }))?;
    let digest = digest.strip_prefix(DIGEST).ok_or((last, MalformedKeyFile::Line { expected: "digest SHA256" }))?;
    let mut keys = Vec::with_capacity(key_lines.len());
    for ((number, role), line) in (3..).zip(roles()).zip(key_lines) {
        keys.push(key_line(role, line).map_err(|problem| (number, problem))?);
    }
    let hashed = text.len() - DIGEST.len() - digest.len() - 1;
    if digest != hex::encode(Sha256::digest(&content[..hashed])) {
        return Err((last, MalformedKeyFile::Digest));
    }
    KeyRing::from_keys(keys, minimum).map_err(|problem| (3, problem.into()))
}

fn key_line(role: &'static str, line: &str) -> Result<WrappingKey, MalformedKeyFile> {
    let expected = if role == ACTIVE { ACTIVE_LINE } else { RETIRED_LINE };
    let words: Vec<&str> = line.split(' ').collect();
    let [found, version, id, key] = words[..] else {
        return Err(MalformedKeyFile::Line { expected });
    };
    if found != role {
        return Err(MalformedKeyFile::Line { expected });
    }
    let mut id_bytes = [0; 16];
    let version = number(version)?;
    hex_digits(id, &mut id_bytes)?;
    Ok(WrappingKey { id: KeyId::from_bytes(id_bytes), version, key: Key::fill(|place| hex_digits(key, place))? })
}

fn number(word: &str) -> Result<u32, MalformedKeyFile> {
    let number: u32 = word.parse().map_err(|_| MalformedKeyFile::Number)?;
    (number.to_string() == word).then_some(number).ok_or(MalformedKeyFile::Number)
}

fn hex_digits(word: &str, place: &mut [u8]) -> Result<(), MalformedKeyFile> {
    let refused = MalformedKeyFile::Hex { digits: place.len() * 2 };
    if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(refused);
    }
    hex::decode_to_slice(word, place).map_err(|_| refused)
}

fn roles() -> impl Iterator<Item = &'static str> {
    std::iter::once(ACTIVE).chain(std::iter::repeat(RETIRED))
}

pub(super) const HEADER: &str = "gigmcp-vault-keys 1";
const ACTIVE: &str = "active";
const RETIRED: &str = "retired";
const DIGEST: &str = "digest ";
const ACTIVE_LINE: &str = "active VERSION ID KEY";
const RETIRED_LINE: &str = "retired VERSION ID KEY";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_ring::InvalidKeyRing;

    fn lines(body: &str) -> String {
        let text = format!("gigmcp-vault-keys 1\n{body}");
        let digest = hex::encode(Sha256::digest(text.as_bytes()));
        format!("{text}digest {digest}\n")
    }

    fn two_keys() -> String {
        let (id, key) = ("1f".repeat(16), "2e".repeat(32));
        lines(&format!("minimum-version 3\nactive 4 {id} {key}\nretired 2 {} {}\n", "00".repeat(16), "00".repeat(32)))
    }

    #[test]
    fn what_is_rendered_reads_back() {
        let ring = parse(two_keys().as_bytes()).expect("valid");
        assert_eq!((ring.minimum_version(), ring.keys().len()), (3, 2));
        assert_eq!((ring.active_version(), ring.active_id()), (4, KeyId::from_bytes([0x1f; 16])));
        assert_eq!(ring.active().key.as_bytes(), &[0x2e; 32]);
        assert_eq!(*render(&ring), two_keys());
    }

    #[test]
    fn any_other_spelling_is_refused() {
        let (id, key) = ("1f".repeat(16), "2e".repeat(32));
        let upper = "2E".repeat(32);
        for (case, text, line, problem) in [
            ("empty", String::new(), 1, MalformedKeyFile::NotText),
            ("not text", "\u{e9}\n".into(), 1, MalformedKeyFile::NotText),
            ("no last newline", two_keys().trim_end().into(), 1, MalformedKeyFile::NotText),
            ("another version", two_keys().replace("keys 1", "keys 2"), 1, MalformedKeyFile::Header),
            ("carriage returns", two_keys().replace('\n', "\r\n"), 1, MalformedKeyFile::Header),
            ("wrapped", "gigmcp-vault-wrapped-keys 1\n".into(), 1, MalformedKeyFile::Wrapped),
            ("a raw key", format!("{key}\n"), 1, MalformedKeyFile::Header),
            (
                "header alone",
                "gigmcp-vault-keys 1\n".into(),
                2,
                MalformedKeyFile::Line { expected: "minimum-version N" },
            ),
            ("leading zero", lines(&format!("minimum-version 01\nactive 1 {id} {key}\n")), 2, MalformedKeyFile::Number),
            ("plus sign", lines(&format!("minimum-version 1\nactive +1 {id} {key}\n")), 3, MalformedKeyFile::Number),
            ("no key", lines("minimum-version 1\n"), 3, InvalidKeyRing::NoKey.into()),
            (
                "two spaces",
                lines(&format!("minimum-version 1\nactive  1 {id} {key}\n")),
                3,
                MalformedKeyFile::Line { expected: ACTIVE_LINE },
            ),
            (
                "trailing space",
                lines(&format!("minimum-version 1\nactive 1 {id} {key} \n")),
                3,
                MalformedKeyFile::Line { expected: ACTIVE_LINE },
            ),
            (
                "retired first",
                lines(&format!("minimum-version 1\nretired 1 {id} {key}\n")),
                3,
                MalformedKeyFile::Line { expected: ACTIVE_LINE },
            ),
            (
                "two active",
                two_keys().replace("retired", "active"),
                4,
                MalformedKeyFile::Line { expected: RETIRED_LINE },
            ),
            (
                "short id",
                lines(&format!("minimum-version 1\nactive 1 {} {key}\n", &id[2..])),
                3,
                MalformedKeyFile::Hex { digits: 32 },
            ),
            (
                "upper-case hex",
                lines(&format!("minimum-version 1\nactive 1 {id} {upper}\n")),
                3,
                MalformedKeyFile::Hex { digits: 64 },
            ),
            (
                "a digit of the key",
                two_keys().replace("2e2e ", "2e2e").replacen("2e2e", "2e2f", 1),
                5,
                MalformedKeyFile::Digest,
            ),
            (
                "a line lost",
                two_keys()
                    .lines()
                    .filter(|line| !line.starts_with("retired"))
                    .map(|line| format!("{line}\n"))
                    .collect(),
                4,
                MalformedKeyFile::Digest,
            ),
            (
                "no digest",
                two_keys().lines().take(4).map(|line| format!("{line}\n")).collect(),
                4,
                MalformedKeyFile::Line { expected: "digest SHA256" },
            ),
            ("more after it", two_keys() + "\n", 6, MalformedKeyFile::Line { expected: "digest SHA256" }),
            (
                "wrong order",
                lines(&format!("minimum-version 1\nactive 1 {id} {key}\nretired 2 {} {key}\n", "00".repeat(16))),
                3,
                InvalidKeyRing::Order.into(),
            ),
            ("too long", "x".repeat(MAX_FILE_BYTES + 1), 1, MalformedKeyFile::TooLong),
        ] {
            assert_eq!(parse(text.as_bytes()).err(), Some((line, problem)), "{case}");
        }
        let twin = lines(&format!("minimum-version 1\nactive 1 {id} {key}\n"));
        assert!(parse(twin.as_bytes()).is_ok());
    }
}
