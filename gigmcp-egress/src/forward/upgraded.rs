use std::fmt;
use std::sync::{Arc, Mutex};

use crate::takeover::Stream;

/// The connection to an upstream that answered `101`, in the extensions of that answer. Whoever relays what follows takes
/// it, once; bytes that came right behind the answer are read from it first.
#[derive(Clone)]
pub(crate) struct Upgraded(Arc<Mutex<Option<Box<dyn Stream>>>>);

impl Upgraded {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Self(Arc::new(Mutex::new(Some(stream))))
    }

    /// The connection; nothing if it was taken already.
    pub(crate) fn take(&self) -> Option<Box<dyn Stream>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}
