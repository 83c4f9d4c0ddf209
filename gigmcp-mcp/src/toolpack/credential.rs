//! Credentials that the engine holds: placeholders of a sealed server, keys of an entrusted one.

use std::fmt;

use gigmcp_registry::{Binding, Inject};
use zeroize::Zeroizing;

/// A credential, where it goes, and with which requests.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) id: String,
    /// The variable it is read from.
    pub(super) variable: String,
    /// Absent if the environment does not have it.
    pub(super) secret: Option<Secret>,
    pub(super) place: Inject,
    /// With which requests; with all if empty.
    pub(super) bindings: Vec<Binding>,
}

/// The text of a credential, wiped when it is dropped and never shown.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    /// A credential of visible ASCII, which can neither end a header nor a line.
    pub(super) fn new(text: String) -> Result<Self, ()> {
        let text = Zeroizing::new(text);
        let valid = (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if valid { Ok(Self(text)) } else { Err(()) }
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

const MAX_BYTES: usize = 16 << 10;
