//! HashiCorp Vault's transit engine, and whatever else speaks its HTTP API (OpenBao).
//! Source: <https://developer.hashicorp.com/vault/api-docs/secret/transit>.

mod http;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use self::http::{Http, HttpError};
use super::{BoxFuture, KeyWrap, KeyWrapError};
use crate::memory::{Protected, leaving_no_trace};
use crate::secret::{SecretBytes, SecretString};

/// Has a key service wrap: its key never leaves it, and it can refuse and record each use.
///
/// Needs a tokio runtime, and a token that may `update` the paths `encrypt`, `decrypt` and `rewrap` of one key. (With
/// `create` too, `encrypt` would make a new key where the name is wrong.) Keys with `derived` or `convergent_encryption` do
/// not work. Every call is one request on a connection of its own, sent once. Cancelled, it may or may not have been
/// recorded by the service; nothing else is left.
///
/// The token and the key itself, in base64, pass through buffers of the TLS and HTTP layers, which are not wiped.
///
/// ```no_run
/// use gigmcp_vault::{KeyRing, SecretSource, Transit};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let token = SecretSource::Environment("VAULT_TOKEN".into()).read()?;
/// let transit = Transit::new("https://vault.example.com:8200", "gigmcp", token)?.minimum_version(2);
/// let ring = KeyRing::load_wrapped("/var/lib/example/keys", &transit).await?;
/// # Ok(())
/// # }
/// ```
pub struct Transit {
    http: Http,
    token: SecretString,
    namespace: Option<String>,
    mount: String,
    key: String,
    minimum_version: u32,
}

impl Transit {
    /// The key named `key` in the engine mounted at `transit`, of the service at `address`: `https://HOST[:PORT]`, or
    /// `http://` for a loopback address. The machine's certificate authorities are trusted.
    ///
    /// # Errors
    /// [`InvalidTransit`] says what is wrong with which.
    pub fn new(address: &str, key: &str, token: SecretString) -> Result<Self, InvalidTransit> {
        if token.is_empty() || !token.as_str().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidTransit::Token);
        }
        Ok(Self {
            http: Http::new(address)?,
            token,
            namespace: None,
            mount: "transit".into(),
            key: name(key)?,
            minimum_version: 1,
        })
    }

    /// Where the engine is mounted.
    ///
    /// # Errors
    /// [`InvalidTransit::Name`] for what is not a path of plain names.
    pub fn mount(self, mount: &str) -> Result<Self, InvalidTransit> {
        Ok(Self { mount: path(mount)?, ..self })
    }

    /// The namespace to ask in.
    ///
    /// # Errors
    /// As [`mount`](Self::mount).
    pub fn namespace(self, namespace: &str) -> Result<Self, InvalidTransit> {
        Ok(Self { namespace: Some(path(namespace)?), ..self })
    }

    /// Trusts these certificate authorities, in PEM, instead of the machine's.
    ///
    /// # Errors
    /// [`InvalidTransit::Roots`] if there is none, or one cannot be read.
    pub fn roots(self, pem: &[u8]) -> Result<Self, InvalidTransit> {
        Ok(Self { http: self.http.roots(pem)?, ..self })
    }

    /// Refuses what an older version of the service's key wrapped. The default is 1, which refuses nothing; raise it after
    /// the key was rotated and the file [rewrapped](crate::KeyRing::rewrap_file).
    #[must_use]
    pub fn minimum_version(self, minimum_version: u32) -> Self {
        Self { minimum_version, ..self }
    }

    /// How long one request may take in all; 10 seconds by default.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { http: self.http.timeout(timeout), ..self }
    }

    async fn ask(&self, operation: &str, body: Zeroizing<Vec<u8>>) -> Result<http::Body, KeyWrapError> {
        let path = format!("/v1/{}/{operation}/{}", self.mount, self.key);
        let mut headers = vec![("x-vault-token", self.token.as_str()), ("x-vault-request", "true")];
        headers.extend(self.namespace.as_deref().map(|namespace| ("x-vault-namespace", namespace)));
        self.http.post(&path, &headers, body).await.map_err(KeyWrapError::from)
    }

    /// The text that a key was wrapped into, if its version is accepted.
    fn wrapped(&self, answer: &http::Body) -> Result<String, KeyWrapError> {
        let data: Data<'_> = read(answer)?;
        let wrapped = data.ciphertext.ok_or(HttpError::Answer)?;
        self.check_version(wrapped)?;
        Ok(wrapped.into())
    }

    fn check_version(&self, wrapped: &str) -> Result<(), KeyWrapError> {
        let version = version(wrapped).ok_or(KeyWrapError::Refused)?;
        match version >= self.minimum_version {
            true => Ok(()),
            false => Err(KeyWrapError::TooOld { version, minimum: self.minimum_version }),
        }
    }
}

impl KeyWrap for Transit {
    fn kind(&self) -> &'static str {
        "transit"
    }

    fn wrap<'a>(&'a self, key: &'a SecretBytes) -> BoxFuture<'a, Result<String, KeyWrapError>> {
        Box::pin(async move {
            let encode = |place: &mut [u8]| STANDARD.encode_slice(key.as_slice(), place).unwrap_or(0);
            let body = leaving_no_trace(|| request("plaintext", encode));
            self.wrapped(&self.ask("encrypt", body).await?)
        })
    }

    fn unwrap<'a>(&'a self, wrapped: &'a str) -> BoxFuture<'a, Result<SecretBytes, KeyWrapError>> {
        Box::pin(async move {
            self.check_version(wrapped)?;
            let answer = self.ask("decrypt", ciphertext(wrapped)).await?;
            leaving_no_trace(|| key_in(&answer))
        })
    }

    fn rewrap<'a>(&'a self, wrapped: &'a str) -> BoxFuture<'a, Result<String, KeyWrapError>> {
        Box::pin(async move {
            // What is too old is refused here too: a file that an attacker put back would be made new.
            self.check_version(wrapped)?;
            self.wrapped(&self.ask("rewrap", ciphertext(wrapped)).await?)
        })
    }
}

impl fmt::Debug for Transit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transit")
            .field("address", &self.http)
            .field("mount", &self.mount)
            .field("key", &self.key)
            .field("minimum_version", &self.minimum_version)
            .finish_non_exhaustive()
    }
}

/// Why a key service cannot be asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTransit {
    /// Not `https://HOST[:PORT]`.
    #[error("{address:?} is not the address of a key service; write https://HOST or https://HOST:PORT")]
    Address {
        /// The refused address.
        address: String,
    },
    /// Not encrypted, and not on this machine.
    #[error("{address:?} would send the token and the key over the network in the clear; use https://")]
    Plain {
        /// The refused address.
        address: String,
    },
    /// A key, mount or namespace has 1 to 128 letters, digits, `-`, `_` and `.`; the last two also `/` between such names.
    #[error("{name:?} cannot be the name of a key, a mount or a namespace")]
    Name {
        /// The refused name.
        name: String,
    },
    /// The token is empty or has characters that no token has.
    #[error("the token is empty, or has blanks or other characters that no token has")]
    Token,
    /// There is no certificate authority to trust.
    #[error("there is no certificate authority that can be read")]
    Roots,
}

/// What the service answers, as far as it is needed.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    ciphertext: Option<&'a str>,
    plaintext: Option<&'a str>,
}

fn read(answer: &[u8]) -> Result<Data<'_>, KeyWrapError> {
    let answer: Answer<'_> = serde_json::from_slice(answer).map_err(|_| HttpError::Answer)?;
    Ok(answer.data)
}

fn key_in(answer: &[u8]) -> Result<SecretBytes, KeyWrapError> {
    let text = read(answer)?.plaintext.ok_or(HttpError::Answer)?;
    // 44 digits of base64 are 33 bytes at the most, before their padding is looked at.
    let mut decoded = Protected::zeroed(33);
    match STANDARD.decode_slice(text, decoded.as_mut_slice()) {
        Ok(32) => Ok(SecretBytes::from_protected(Protected::copy_of(&decoded.as_slice()[..32]))),
        _ => Err(KeyWrapError::Refused),
    }
}

fn ciphertext(wrapped: &str) -> Zeroizing<Vec<u8>> {
    request("ciphertext", |place| {
        place[..wrapped.len()].copy_from_slice(wrapped.as_bytes());
        wrapped.len()
    })
}

/// `{"field":"text"}` in one allocation; what `write` writes needs no escape.
fn request(field: &str, write: impl FnOnce(&mut [u8]) -> usize) -> Zeroizing<Vec<u8>> {
    let mut body = Zeroizing::new(vec![0; field.len() + super::MAX_WRAPPED_BYTES + 7]);
    let start = field.len() + 5;
    body[..start].copy_from_slice(format!("{{\"{field}\":\"").as_bytes());
    let end = start + write(&mut body[start..]);
    body[end..end + 2].copy_from_slice(b"\"}");
    body.truncate(end + 2);
    body
}

/// N of `vault:vN:BASE64`, if it is such a text and no other.
fn version(wrapped: &str) -> Option<u32> {
    let (version, digits) = wrapped.strip_prefix("vault:v")?.split_once(':')?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
    let number: u32 = version.parse().ok()?;
    let exact = number.to_string() == version && number > 0;
    let fits = wrapped.len() <= super::MAX_WRAPPED_BYTES && !digits.is_empty() && digits.bytes().all(allowed);
    (exact && fits).then_some(number)
}

fn name(name: &str) -> Result<String, InvalidTransit> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let valid = (1..=128).contains(&name.len()) && name.bytes().all(allowed) && name != "." && name != "..";
    valid.then(|| name.into()).ok_or_else(|| InvalidTransit::Name { name: name.into() })
}

fn path(text: &str) -> Result<String, InvalidTransit> {
    let names: Result<Vec<String>, InvalidTransit> = text.trim_matches('/').split('/').map(name).collect();
    Ok(names?.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_one_spelling_only() {
        for (text, expected) in [
            ("vault:v1:AAAA", Some(1)),
            ("vault:v12:a+/b==", Some(12)),
            ("vault:v4294967295:A", Some(u32::MAX)),
            ("vault:v4294967296:A", None),
            ("vault:v0:A", None),
            ("vault:v01:A", None),
            ("vault:v+1:A", None),
            ("vault:v1:", None),
            ("vault:v1", None),
            ("vault:v1:A\"}", None),
            ("vault:v1:A B", None),
            ("Vault:v1:A", None),
            ("", None),
        ] {
            assert_eq!(version(text), expected, "{text:?}");
        }
    }

    #[test]
    fn names_cannot_lead_elsewhere() {
        let token = || SecretString::from(String::from("s.token"));
        let transit = |key: &str| Transit::new("https://vault.test", key, token());
        for key in ["", ".", "..", "a/b", "a%2fb", "a?b", "a b", "é", &"x".repeat(129)] {
            assert_eq!(transit(key).err(), Some(InvalidTransit::Name { name: key.into() }), "{key:?}");
        }
        for mount in ["", "..", "a/../b", "a//b", "a?b"] {
            assert!(
                matches!(transit("key").and_then(|it| it.mount(mount)), Err(InvalidTransit::Name { .. })),
                "{mount}"
            );
        }
        assert_eq!(
            transit("key-1").and_then(|it| it.mount("/team/transit/")).map(|it| it.mount),
            Ok("team/transit".into())
        );
    }

    #[test]
    fn tokens_fit_a_header() {
        for (token, valid) in [("s.abc", true), ("", false), ("a b", false), ("a\r\nx: y", false), ("é", false)] {
            let made = Transit::new("https://vault.test", "key", SecretString::from(String::from(token)));
            assert_eq!(made.err(), (!valid).then_some(InvalidTransit::Token), "{token:?}");
        }
    }

    #[test]
    fn requests_are_json() {
        assert_eq!(*ciphertext("vault:v1:AAAA"), br#"{"ciphertext":"vault:v1:AAAA"}"#);
        let longest = "x".repeat(super::super::MAX_WRAPPED_BYTES);
        assert_eq!(ciphertext(&longest).len(), longest.len() + 17);
    }
}
