//! What is made once for the whole process.

use std::sync::{Mutex, OnceLock, PoisonError};

/// Something made at first use and kept. A failure is not kept: a process that was short of descriptors for a
/// moment must not be unable to start sandboxes, or start them with less, for ever.
#[derive(Debug)]
pub(crate) struct MadeOnce<T> {
    made: OnceLock<T>,
    /// Held while it is made, so that nobody makes a second.
    making: Mutex<()>,
}

impl<T> MadeOnce<T> {
    pub(crate) const fn new() -> Self {
        Self { made: OnceLock::new(), making: Mutex::new(()) }
    }

    /// What was made, or is made now.
    pub(crate) fn get_or_make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let _making = match self.made.get() {
            Some(made) => return Ok(made),
            None => self.making.lock().unwrap_or_else(PoisonError::into_inner),
        };
        match self.made.get() {
            Some(made) => Ok(made),
            None => make().map(|made| self.made.get_or_init(|| made)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_tried_again_and_what_was_made_is_kept() {
        let once = MadeOnce::new();
        assert_eq!(once.get_or_make(|| Err("short")), Err("short"));
        assert_eq!(once.get_or_make(|| Ok::<_, &str>(1)), Ok(&1));
        assert_eq!(once.get_or_make(|| Err("never asked")), Ok(&1));
    }
}
