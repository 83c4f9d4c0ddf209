//! The key ring in a file that is encrypted, with a key that a [`KeyWrap`] keeps.

use std::path::Path;

use super::error::{KeyFileError, MalformedKeyFile};
use super::private::{self, Readers};
use super::text;
use crate::context::{Context, PolicyHash};
use crate::key::{Key, KeyId};
use crate::key_ring::KeyRing;
use crate::key_wrap::{KeyWrap, KeyWrapError, MAX_WRAPPED_BYTES};
use crate::memory::Protected;
use crate::sealed::Sealed;
use crate::secret::SecretBytes;
use crate::vault::{SealError, Vault};

/// A key ring that is encrypted in its file: with a key, a passphrase or a key service, see [`KeyWrap`]. The file must be as
/// private as a plain one.
///
/// These read and write files within one poll, and ask the key service once. Dropped before they are done, they leave the
/// file as it was.
impl KeyRing {
    /// Reads a wrapped key file.
    ///
    /// # Errors
    /// [`KeyFileError::Unwrap`] if `wrap` cannot open it; otherwise as [`load`](Self::load).
    ///
    /// # Panics
    /// All of these: if [`KeyWrap::kind`] is not a name as it should be.
    pub async fn load_wrapped(path: impl AsRef<Path> + Send, wrap: &dyn KeyWrap) -> Result<Self, KeyFileError> {
        Self::load_wrapped_shared(path, wrap, Readers::Owner).await
    }

    /// [`load_shared`](Self::load_shared), wrapped.
    ///
    /// # Errors
    /// As [`load_wrapped`](Self::load_wrapped).
    pub async fn load_wrapped_shared(
        path: impl AsRef<Path> + Send,
        wrap: &dyn KeyWrap,
        readers: Readers,
    ) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let file = Wrapped::load(path, wrap, readers)?;
        let key = wrap.unwrap(&file.key).await;
        key.and_then(|key| file.open(wrap.kind(), &key))
            .map_err(|source| KeyFileError::Unwrap { path: path.into(), source })
    }

    /// [`create`](Self::create), wrapped.
    ///
    /// # Errors
    /// [`KeyFileError::Wrap`] if `wrap` does not work; otherwise as [`create`](Self::create).
    pub async fn create_wrapped(path: impl AsRef<Path> + Send, wrap: &dyn KeyWrap) -> Result<Self, KeyFileError> {
        let ring = Self::generate()?;
        ring.save_new_wrapped(path, wrap).await?;
        Ok(ring)
    }

    /// [`save_new`](Self::save_new), wrapped.
    ///
    /// # Errors
    /// As [`create_wrapped`](Self::create_wrapped).
    pub async fn save_new_wrapped(
        &self,
        path: impl AsRef<Path> + Send,
        wrap: &dyn KeyWrap,
    ) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        private::create(path, &Wrapped::seal(path, self, wrap).await?)
    }

    /// [`load_or_create`](Self::load_or_create), wrapped.
    ///
    /// # Errors
    /// As [`load_wrapped`](Self::load_wrapped) and [`create_wrapped`](Self::create_wrapped).
    pub async fn load_or_create_wrapped(
        path: impl AsRef<Path> + Send,
        wrap: &dyn KeyWrap,
    ) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        match Self::load_wrapped(path, wrap).await {
            Err(KeyFileError::Missing { .. }) => {}
            loaded => return loaded,
        }
        match Self::create_wrapped(path, wrap).await {
            Err(KeyFileError::Exists { .. }) => Self::load_wrapped(path, wrap).await,
            created => created,
        }
    }

    /// [`save`](Self::save), wrapped; also for a ring that came from a plain file or was wrapped by something else.
    ///
    /// # Errors
    /// [`KeyFileError::Wrap`] if `wrap` does not work; otherwise as [`save`](Self::save).
    pub async fn save_wrapped(&self, path: impl AsRef<Path> + Send, wrap: &dyn KeyWrap) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        private::replace(path, &Wrapped::seal(path, self, wrap).await?)
    }

    /// Has the file's key wrapped anew, for when the key service's key has a new version. The ring is not decrypted.
    ///
    /// # Errors
    /// As [`load_wrapped`](Self::load_wrapped) and [`save_wrapped`](Self::save_wrapped).
    pub async fn rewrap_file(path: impl AsRef<Path> + Send, wrap: &dyn KeyWrap) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        let mut file = Wrapped::load(path, wrap, Readers::Owner)?;
        let rewrapped = wrap.rewrap(&file.key).await;
        file.key = rewrapped.map_err(|source| KeyFileError::Unwrap { path: path.into(), source })?;
        assert!(is_wrapped_text(&file.key), "a KeyWrap must make printable text");
        private::replace(path, file.render(wrap.kind()).as_bytes())
    }
}

/// What stands in the file.
pub(super) struct Wrapped {
    /// What the [`KeyWrap`] made of the file's key.
    key: String,
    /// The text of a plain key file, sealed with the file's key.
    keys: Sealed,
}

impl Wrapped {
    fn load(path: &Path, wrap: &dyn KeyWrap, readers: Readers) -> Result<Self, KeyFileError> {
        let content = private::read(path, readers, MAX_FILE_BYTES)?;
        let (kind, file) =
            parse(&content).map_err(|(line, problem)| KeyFileError::Malformed { path: path.into(), line, problem })?;
        let expected = wrap.kind();
        match kind == expected {
            true => Ok(file),
            false => Err(KeyFileError::OtherWrap { path: path.into(), found: kind, expected }),
        }
    }

    fn open(&self, kind: &str, key: &SecretBytes) -> Result<KeyRing, KeyWrapError> {
        let opened = vault(key)?.open(&context(kind), &self.keys).map_err(|_| KeyWrapError::Refused)?;
        // Only who has the key made this, so a text that is wrong comes from another program.
        text::parse(opened.as_slice()).map_err(|_| KeyWrapError::Refused)
    }

    async fn seal(path: &Path, ring: &KeyRing, wrap: &dyn KeyWrap) -> Result<Vec<u8>, KeyFileError> {
        let kind = wrap.kind();
        assert!(is_kind(kind), "a KeyWrap must have a kind");
        let wrapping = |source| KeyFileError::Wrap { path: path.into(), source };
        let mut key = Protected::zeroed(32);
        getrandom::fill(key.as_mut_slice())?;
        let key = SecretBytes::from_protected(key);
        let keys = SecretBytes::from_protected(Protected::copy_of(ring.text_for(path)?.as_bytes()));
        let keys = vault(&key).map_err(wrapping)?.seal(&context(kind), keys);
        let keys = keys.map_err(|error| match error {
            SealError::Random(source) => KeyFileError::Random(source),
            SealError::TooLong { .. } => unreachable!("a key file is no longer than a secret may be"),
        })?;
        let wrapped = wrap.wrap(&key).await.map_err(wrapping)?;
        assert!(is_wrapped_text(&wrapped), "a KeyWrap must make printable text");
        Ok(Self { key: wrapped, keys }.render(kind).into_bytes())
    }

    pub(super) fn render(&self, kind: &str) -> String {
        format!("{HEADER}\n{KEY} {kind} {}\n{KEYS} {}\n", self.key, hex::encode(self.keys.as_bytes()))
    }
}

/// The kind of wrap and what is wrapped; on error also the number of the line, from 1.
pub(super) fn parse(content: &[u8]) -> Result<(String, Wrapped), (usize, MalformedKeyFile)> {
    if content.len() > MAX_FILE_BYTES {
        return Err((1, MalformedKeyFile::TooLong));
    }
    let text = std::str::from_utf8(content).ok().filter(|text| text.is_ascii());
    let text = text.and_then(|text| text.strip_suffix('\n')).ok_or((1, MalformedKeyFile::NotText))?;
    let mut lines = text.split('\n');
    match lines.next() {
        Some(HEADER) => {}
        Some(text::HEADER) => return Err((1, MalformedKeyFile::NotWrapped)),
        _ => return Err((1, MalformedKeyFile::Header)),
    }
    let expected = |line, expected| (line, MalformedKeyFile::Line { expected });
    let wrong = || expected(2, "wrapped-key KIND TEXT");
    let (kind, key) = words(lines.next(), KEY).and_then(|words| words.split_once(' ')).ok_or_else(wrong)?;
    if !is_kind(kind) || !is_wrapped_text(key) {
        return Err(wrong());
    }
    let wrong = || expected(3, "keys SEALED");
    let digits = words(lines.next(), KEYS).ok_or_else(wrong)?;
    let keys = hex::decode(digits).ok().and_then(|bytes| Sealed::from_bytes(&bytes).ok()).ok_or_else(wrong)?;
    if lines.next().is_some() || digits != hex::encode(keys.as_bytes()) {
        return Err(wrong());
    }
    Ok((kind.into(), Wrapped { key: key.into(), keys }))
}

fn words<'a>(line: Option<&'a str>, name: &str) -> Option<&'a str> {
    line?.strip_prefix(name)?.strip_prefix(' ')
}

fn is_kind(kind: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&kind.len()) && kind.bytes().all(allowed)
}

fn is_wrapped_text(text: &str) -> bool {
    (1..=MAX_WRAPPED_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The kind of wrap is bound in, so that the line above cannot be exchanged for one of another kind.
fn context(kind: &str) -> Context {
    Context::of_key_file("key-ring", kind, PolicyHash::of(&[]))
}

fn vault(key: &SecretBytes) -> Result<Vault, KeyWrapError> {
    let key = key.as_slice().try_into().map_err(|_| KeyWrapError::Refused)?;
    Ok(Vault::new(KeyRing::of(KeyId::from_bytes([0; 16]), Key::copy_of(key))))
}

pub(super) const HEADER: &str = "gigmcp-vault-wrapped-keys 1";
const KEY: &str = "wrapped-key";
const KEYS: &str = "keys";
/// A sealed ring of 64 KiB in hex and a long wrapped key.
const MAX_FILE_BYTES: usize = 256 << 10;
