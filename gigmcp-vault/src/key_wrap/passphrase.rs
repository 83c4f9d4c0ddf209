//! A passphrase that a person remembers.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::local::{LocalKey, Purpose};
use super::{BoxFuture, KeyWrap, KeyWrapError};
use crate::key::Key;
use crate::memory::leaving_no_trace;
use crate::secret::{SecretBytes, SecretString};

/// Wraps with a key made from a passphrase by Argon2id.
///
/// Each wrap and unwrap takes the time and memory of its [`Argon2Cost`] within one poll: at the least some tenths of a second
/// and 64 MiB. Whoever has the file can try passphrases at that price, so take a long one.
pub struct Passphrase {
    passphrase: SecretString,
    cost: Argon2Cost,
}

impl Passphrase {
    /// Takes a passphrase of at least 12 bytes, at the default cost.
    ///
    /// # Errors
    /// [`PassphraseTooShort`].
    pub fn new(passphrase: SecretString) -> Result<Self, PassphraseTooShort> {
        if passphrase.len() < MIN_PASSPHRASE_BYTES {
            return Err(PassphraseTooShort);
        }
        Ok(Self { passphrase, cost: Argon2Cost::default() })
    }

    /// Wraps at this cost from now on. What is wrapped already says its own.
    #[must_use]
    pub fn cost(self, cost: Argon2Cost) -> Self {
        Self { cost, ..self }
    }

    fn key(&self, cost: Argon2Cost, salt: &[u8; 16]) -> Result<LocalKey, KeyWrapError> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).expect("within our bounds");
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        // Asked for in a way that can fail: the file says how much.
        let mut blocks = Zeroizing::new(Vec::new());
        let count = argon2.params().block_count();
        blocks.try_reserve_exact(count).map_err(|source| KeyWrapError::Unavailable { source: source.into() })?;
        blocks.resize(count, Block::default());
        let passphrase = self.passphrase.as_str().as_bytes();
        let key = leaving_no_trace(|| {
            Key::fill(|key| argon2.hash_password_into_with_memory(passphrase, salt, key, blocks.as_mut_slice()))
        });
        Ok(LocalKey::of(key.expect("a salt of 16 bytes, a key of 32 and blocks as counted")))
    }

    fn wrap_now(&self, key: &SecretBytes) -> Result<String, KeyWrapError> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)?;
        let parameters = Parameters { cost: self.cost, salt };
        let words = parameters.words();
        let sealed = self.key(self.cost, &salt)?.wrap_as(&purpose(&words.each_ref().map(String::as_str)), key)?;
        Ok(format!("{}:{sealed}", words.join(":")))
    }

    fn unwrap_now(&self, wrapped: &str) -> Result<SecretBytes, KeyWrapError> {
        let (parameters, sealed) = wrapped.rsplit_once(':').ok_or(KeyWrapError::Refused)?;
        let Parameters { cost, salt } = Parameters::parse(parameters)?;
        let words: Vec<&str> = parameters.split(':').collect();
        self.key(cost, &salt)?.unwrap_as(&purpose(&words), sealed)
    }
}

impl KeyWrap for Passphrase {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn wrap<'a>(&'a self, key: &'a SecretBytes) -> BoxFuture<'a, Result<String, KeyWrapError>> {
        Box::pin(async { self.wrap_now(key) })
    }

    fn unwrap<'a>(&'a self, wrapped: &'a str) -> BoxFuture<'a, Result<SecretBytes, KeyWrapError>> {
        Box::pin(async { self.unwrap_now(wrapped) })
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passphrase").field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// How hard one try of a passphrase is. The default is the least that is accepted: the second choice of RFC 9106, section 4,
/// 64 MiB, 3 passes, 4 lanes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Argon2Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Argon2Cost {
    /// Memory from 64 MiB to 1 GiB, 3 to 16 passes, 4 to 16 lanes. The upper bounds hold for what stands in a file too, so
    /// that a changed file cannot take all memory or hours.
    ///
    /// # Errors
    /// [`InvalidArgon2Cost`] outside of them.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, InvalidArgon2Cost> {
        let valid = (MIN.memory_kib..=MAX.memory_kib).contains(&memory_kib)
            && (MIN.passes..=MAX.passes).contains(&passes)
            && (MIN.lanes..=MAX.lanes).contains(&lanes);
        valid.then_some(Self { memory_kib, passes, lanes }).ok_or(InvalidArgon2Cost { memory_kib, passes, lanes })
    }
}

impl Default for Argon2Cost {
    fn default() -> Self {
        MIN
    }
}

/// A cost below what is safe or above what is bearable.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "an Argon2id cost of {memory_kib} KiB, {passes} passes and {lanes} lanes is not between {} KiB, {}, {} and {} KiB, {}, {}",
    MIN.memory_kib, MIN.passes, MIN.lanes, MAX.memory_kib, MAX.passes, MAX.lanes
)]
pub struct InvalidArgon2Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// The passphrase has fewer than 12 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a passphrase has at least {MIN_PASSPHRASE_BYTES} bytes")]
pub struct PassphraseTooShort;

/// What has to be known to make the same key of the same passphrase.
struct Parameters {
    cost: Argon2Cost,
    salt: [u8; 16],
}

impl Parameters {
    /// One spelling each: the words are bound into the wrap.
    fn words(&self) -> [String; 4] {
        let Argon2Cost { memory_kib, passes, lanes } = self.cost;
        [memory_kib.to_string(), passes.to_string(), lanes.to_string(), hex::encode(self.salt)]
    }

    fn parse(text: &str) -> Result<Self, KeyWrapError> {
        let words: Vec<&str> = text.split(':').collect();
        let [memory_kib, passes, lanes, salt] = words[..] else { return Err(KeyWrapError::Refused) };
        let number = |word: &str| word.parse::<u32>().map_err(|_| KeyWrapError::Refused);
        let cost = Argon2Cost::new(number(memory_kib)?, number(passes)?, number(lanes)?)?;
        let mut bytes = [0; 16];
        hex::decode_to_slice(salt, &mut bytes).map_err(|_| KeyWrapError::Refused)?;
        let parsed = Self { cost, salt: bytes };
        (parsed.words() == *words).then_some(parsed).ok_or(KeyWrapError::Refused)
    }
}

fn purpose<'a>(words: &'a [&'a str]) -> Purpose<'a> {
    Purpose { kind: KIND, parameters: words }
}

const KIND: &str = "argon2id";
const MIN: Argon2Cost = Argon2Cost { memory_kib: 64 << 10, passes: 3, lanes: 4 };
const MAX: Argon2Cost = Argon2Cost { memory_kib: 1 << 20, passes: 16, lanes: 16 };
const MIN_PASSPHRASE_BYTES: usize = 12;
