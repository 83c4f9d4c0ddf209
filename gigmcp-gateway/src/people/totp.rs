//! The second factor: codes by time (RFC 6238), and codes for when the device is lost.

use std::{fmt, str::FromStr};

use aws_lc_rs::hmac;
use data_encoding::{BASE32, BASE32_NOPAD};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Email;
use crate::token;

/// The secret that a device and we share: 160 bits, as RFC 4226 recommends.
pub(crate) struct TotpSecret(Zeroizing<Vec<u8>>);

/// Six digits.
#[derive(Clone)]
pub(crate) struct TotpCode(Zeroizing<String>);

/// What is given beside a password.
#[derive(Clone)]
pub(crate) enum SecondFactor {
    Totp(TotpCode),
    /// One of the codes that were written down, each good once; as its hash.
    Recovery(String),
}

/// A text that is neither.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a code has six digits, or is one of the recovery codes, such as abcd-efgh-ijkl-mnop")]
pub(crate) struct InvalidCode;

impl TotpSecret {
    /// One that nobody has seen.
    pub(crate) fn mint() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new(vec![0; SECRET_BYTES]);
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What a device is told, as text or in a picture.
    pub(crate) fn uri(&self, account: &Email) -> Zeroizing<String> {
        let secret = Zeroizing::new(BASE32_NOPAD.encode(&self.0));
        // What an address may hold and a path may not.
        let escape = |byte: u8| match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~@+".contains(&byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        let account: String = account.as_str().bytes().map(escape).collect();
        Zeroizing::new(format!("otpauth://totp/gigmcp:{account}?secret={}&issuer=gigmcp", *secret))
    }

    /// The step of time whose code this is, if it is near now and after the last whose code was taken: none is good twice.
    pub(crate) fn check(&self, code: &TotpCode, seconds: i64, taken: Option<i64>) -> Option<i64> {
        let now = seconds.div_euclid(STEP_SECONDS);
        let mut found = None;
        for step in now - WINDOW..=now + WINDOW {
            let same: bool = self.code(step).as_bytes().ct_eq(code.0.as_bytes()).into();
            if same && taken.is_none_or(|taken| step > taken) {
                found = Some(step);
            }
        }
        found
    }

    /// RFC 4226, 5.3.
    fn code(&self, step: i64) -> Zeroizing<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        let offset = usize::from(tag[tag.len() - 1] & 0xf);
        let four: [u8; 4] = tag[offset..offset + 4].try_into().expect("four of them");
        Zeroizing::new(format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000))
    }

    /// What a device would show.
    #[cfg(test)]
    pub(crate) fn shown(&self, seconds: i64) -> String {
        self.code(seconds.div_euclid(STEP_SECONDS)).to_string()
    }
}

impl FromStr for TotpCode {
    type Err = InvalidCode;

    fn from_str(text: &str) -> Result<Self, InvalidCode> {
        let digits: String = text.chars().filter(|character| *character != ' ').take(DIGITS + 1).collect();
        let valid = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        valid.then(|| Self(Zeroizing::new(digits))).ok_or(InvalidCode)
    }
}

impl FromStr for SecondFactor {
    type Err = InvalidCode;

    fn from_str(text: &str) -> Result<Self, InvalidCode> {
        match text.parse() {
            Ok(code) => Ok(Self::Totp(code)),
            Err(InvalidCode) => recovery_hash(text).map(Self::Recovery).ok_or(InvalidCode),
        }
    }
}

impl fmt::Debug for SecondFactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Totp(_) => "Totp(..)",
            Self::Recovery(_) => "Recovery(..)",
        })
    }
}

/// New recovery codes: 80 random bits each, in groups of four.
pub(crate) fn mint_recovery_codes() -> Result<Vec<Zeroizing<String>>, getrandom::Error> {
    let mint = || {
        let mut bytes = Zeroizing::new([0; RECOVERY_BYTES]);
        getrandom::fill(&mut *bytes)?;
        let text = Zeroizing::new(BASE32.encode(&*bytes).to_ascii_lowercase());
        let groups: Vec<&str> = (0..text.len()).step_by(4).map(|at| &text[at..at + 4]).collect();
        Ok(Zeroizing::new(groups.join("-")))
    };
    (0..RECOVERY_CODES).map(|_| mint()).collect()
}

/// What is kept of a recovery code. It has 80 random bits, and tries are limited, so a slow hash would add nothing.
pub(crate) fn recovery_hash(text: &str) -> Option<String> {
    if text.len() > 64 {
        return None;
    }
    let plain: Zeroizing<String> =
        Zeroizing::new(text.chars().filter(|c| !matches!(c, '-' | ' ')).collect::<String>().to_ascii_uppercase());
    let bytes = Zeroizing::new(BASE32.decode(plain.as_bytes()).ok()?);
    (bytes.len() == RECOVERY_BYTES).then(|| token::hash(&plain))
}

const SECRET_BYTES: usize = 20;
const DIGITS: usize = 6;
const STEP_SECONDS: i64 = 30;
/// One step before and one after, for clocks that differ.
const WINDOW: i64 = 1;
const RECOVERY_BYTES: usize = 10;
const RECOVERY_CODES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890");
        // RFC 6238, appendix B, the last six of eight digits.
        for (seconds, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(secret.shown(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn a_code_is_good_near_its_time_and_once() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890");
        let now = 1_111_111_111;
        let step = now / 30;
        let check = |shown: i64, taken| secret.check(&secret.shown(shown).parse().expect("digits"), now, taken);
        assert_eq!(check(now, None), Some(step)); // twin of the refusals
        assert_eq!(check(now - 30, None), Some(step - 1), "a slow clock");
        assert_eq!(check(now + 30, None), Some(step + 1), "a fast clock");
        assert_eq!((check(now - 60, None), check(now + 60, None)), (None, None), "too far away");
        assert_eq!(check(now, Some(step)), None, "once more");
        assert_eq!(check(now - 30, Some(step)), None, "one from before a taken one");
        assert_eq!(check(now, Some(step - 1)), Some(step), "twin");
        let other = TotpSecret::from_bytes(b"another secret there");
        assert_eq!(other.check(&secret.shown(now).parse().expect("digits"), now, None), None, "another's");
    }

    #[test]
    fn a_device_is_told_what_it_needs() {
        let uri =
            TotpSecret::from_bytes(b"12345678901234567890").uri(&"a/b?c@example.com".parse().expect("an address"));
        assert_eq!(
            &**uri,
            "otpauth://totp/gigmcp:a%2Fb%3Fc@example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=gigmcp"
        );
    }

    #[test]
    fn recovery_codes_are_read_however_they_are_typed() {
        let codes = mint_recovery_codes().expect("random bytes");
        let hashes: std::collections::BTreeSet<_> = codes.iter().filter_map(|code| recovery_hash(code)).collect();
        assert_eq!(hashes.len(), RECOVERY_CODES, "each is another");
        let code = &codes[0];
        assert_eq!(code.len(), 19);
        for typed in [code.to_uppercase(), code.replace('-', ""), code.replace('-', " ")] {
            assert_eq!(recovery_hash(&typed), recovery_hash(code), "{typed}");
        }
        for (case, text) in [("short", &code[..14]), ("letters that are none", "0189-0189-0189-0189"), ("nothing", "")]
        {
            assert_eq!(recovery_hash(text), None, "{case}");
        }
        for (text, valid) in [("123456", true), ("123 456", true), (code, true), ("12345", false), ("1234567", false)] {
            assert_eq!(text.parse::<SecondFactor>().is_ok(), valid, "{text}");
        }
    }
}
