//! What is asked is done once, also if it has to be asked twice.

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::{Path, RemoteError};

/// One thing that is asked, whose repetitions can be told from another.
pub(super) struct Asked<'a> {
    pub(super) method: Method,
    pub(super) path: &'a Path,
    pub(super) body: Option<Bytes>,
    /// Of what changes something; none of what is asked by nobody, of whom a gateway keeps none.
    pub(super) once: Option<HeaderValue>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(method: Method, path: &'a Path, body: Option<Bytes>) -> Result<Self, RemoteError> {
        let once = match path.needs_key && path.changes && !method.is_safe() {
            true => Some(key()?),
            false => None,
        };
        Ok(Self { method, path, body, once })
    }

    /// What is told of what was asked again after a connection broke. Where that is not answered, it is not known what came of
    /// it the first time; and what was to go and is not there may have gone then.
    pub(super) fn again<T>(&self, broken: RemoteError, answer: Result<T, RemoteError>) -> Result<T, RemoteError> {
        match answer {
            Err(RemoteError::Refused { code, .. }) if self.method == Method::DELETE && code == NOT_FOUND => {
                Err(RemoteError::GoneMeanwhile)
            }
            Err(error) if error.is_no_answer() => Err(broken),
            answer => answer,
        }
    }

    /// Whether it may be asked again: by its method (RFC 9110, section 9.2.2), by its key, or as it changes nothing. A gateway needs none with PATCH,
    /// where what is said becomes what is there, however often.
    pub(super) fn is_repeatable(&self) -> bool {
        self.once.is_some() || self.method.is_idempotent() || !self.path.changes
    }
}

/// One that nobody guesses, as a structured field.
fn key() -> Result<HeaderValue, RemoteError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(RemoteError::Random)?;
    let mut key = HeaderValue::from_str(&format!("\"{}\"", hex::encode(random))).expect("it is ASCII");
    key.set_sensitive(true);
    Ok(key)
}

const NOT_FOUND: &str = "not_found";
