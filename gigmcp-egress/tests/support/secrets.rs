//! The keys that must not be seen, and how they are recognised in any spelling.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

/// The real key of every sandbox of these tests. Its tail occurs nowhere else.
pub(crate) const SECRET: &str = "sk-live-S3NT1N3L+/W4tchM3xyzQ7vB";

/// A text that is not a secret and goes the same ways: what finds the one finds the other.
pub(crate) const DECOY: &str = "dc-live-D3C0YB1RD+/F1ndM3xyzR8wC";

/// Which spelling of the secret, or of a part of it, is in there.
pub(crate) fn found_in(bytes: &[u8]) -> Option<&'static str> {
    SPELLINGS.find(bytes)
}

/// Which of these spellings of the decoy are not in there: the proof that the search would have found a secret.
pub(crate) fn decoys_missing_in(bytes: &[u8]) -> Vec<&'static str> {
    DECOYS.missing(bytes)
}

/// Whether the decoy is in there in any spelling.
pub(crate) fn decoy_in(bytes: &[u8]) -> bool {
    DECOYS.find(bytes).is_some()
}

/// A text as an upstream may spell it when it repeats it.
pub(crate) fn echoes(text: &str) -> Vec<String> {
    let each = |spell: fn(u8) -> String| text.bytes().map(spell).collect::<String>();
    let mut all = vec![
        text.to_owned(),
        text.replace('+', "%2B").replace('/', "%2F"),
        text.replace('/', "\\/"),
        each(|byte| format!("{byte:02x}")),
        each(|byte| format!("{byte:02X}")),
        each(|byte| format!("%{byte:02x}")),
        each(|byte| format!("%{byte:02X}")),
        each(|byte| format!("\\u{byte:04x}")),
        each(|byte| format!("\\u{byte:04X}")),
        each(|byte| format!("&#{byte};")),
        each(|byte| format!("&#x{byte:x};")),
        // Escaped twice and more often.
        text.replace('+', "%252B").replace('/', "%252F"),
        text.replace('+', "%25252b").replace('/', "%25252f"),
        text.replace('/', r"\\\/"),
        text.replace('+', r"\\u002b"),
        text.replace('+', "&amp;#43;").replace('/', "&amp;#x2F;"),
        text.replace('+', r"\u0026#43;").replace('/', r"\u0026#x2f;"),
        text.replace('+', "%5Cu002B").replace('/', "%5C%2F"),
        each(|byte| format!("%25{byte:02X}")),
        each(|byte| format!("\\\\u{byte:04x}")),
        each(|byte| format!("&amp;#{byte};")),
    ];
    for before in ["", "x", "xy"] {
        let shifted = format!("{before}{text}");
        all.extend([
            STANDARD.encode(&shifted),
            URL_SAFE.encode(&shifted),
            URL_SAFE_NO_PAD.encode(format!("{shifted}z")),
        ]);
    }
    all
}

static SPELLINGS: LazyLock<Spellings> = LazyLock::new(|| Spellings::of(SECRET));
static DECOYS: LazyLock<Spellings> = LazyLock::new(|| Spellings::of(DECOY));

/// By the first byte, so that most bytes of a text are looked at once.
struct Spellings(Vec<Vec<(&'static str, Vec<u8>)>>);

impl Spellings {
    fn of(text: &str) -> Self {
        // Behind the prefix that its issuer publishes, any eight bytes in a row are too many.
        let bytes = text.as_bytes();
        let mut all: Vec<_> = bytes[8..].windows(8).map(|part| ("raw", part.to_vec())).collect();
        for shift in 0..3 {
            let shifted = [&b"xyz"[..shift], bytes].concat();
            for (name, encoded) in [("base64", STANDARD.encode(&shifted)), ("url-safe", URL_SAFE.encode(&shifted))] {
                // Without what the neighbours of the text decide.
                all.push((name, encoded.trim_end_matches('=').as_bytes()[(8 + shift) * 4 / 3 + 2..40].to_vec()));
            }
        }
        let hex: String = bytes[8..].iter().map(|byte| format!("{byte:02x}")).collect();
        all.push(("hex", hex[..32].to_uppercase().into_bytes()));
        all.push(("hex", hex[..32].to_owned().into_bytes()));
        for (name, escaped) in [
            ("percent", bytes[8..20].iter().map(|byte| format!("%{byte:02X}")).collect::<String>()),
            ("percent", bytes[8..20].iter().map(|byte| format!("%{byte:02x}")).collect()),
            ("json", bytes[8..20].iter().map(|byte| format!("\\u{byte:04x}")).collect()),
            ("json", bytes[8..20].iter().map(|byte| format!("\\u{byte:04X}")).collect()),
            ("html", bytes[8..20].iter().map(|byte| format!("&#{byte};")).collect()),
            ("html", bytes[8..20].iter().map(|byte| format!("&#x{byte:x};")).collect()),
            ("percent twice", bytes[8..20].iter().map(|byte| format!("%25{byte:02X}")).collect()),
            ("json in json", bytes[8..20].iter().map(|byte| format!("\\\\u{byte:04x}")).collect()),
            ("html twice", bytes[8..20].iter().map(|byte| format!("&amp;#{byte};")).collect()),
        ] {
            all.push((name, escaped.into_bytes()));
        }
        let mut by_first = vec![Vec::new(); 256];
        for (name, needle) in all {
            by_first[usize::from(needle[0])].push((name, needle));
        }
        Self(by_first)
    }

    fn find(&self, bytes: &[u8]) -> Option<&'static str> {
        for (at, byte) in bytes.iter().enumerate() {
            for (name, needle) in &self.0[usize::from(*byte)] {
                if bytes[at..].starts_with(needle) {
                    return Some(name);
                }
            }
        }
        None
    }

    fn missing(&self, bytes: &[u8]) -> Vec<&'static str> {
        let absent = |(_, needle): &&(&str, Vec<u8>)| !bytes.windows(needle.len()).any(|window| window == &needle[..]);
        let mut names: Vec<_> = self.0.iter().flatten().filter(absent).map(|(name, _)| *name).collect();
        names.dedup();
        names
    }
}
