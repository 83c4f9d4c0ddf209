//! The laws that the parsers of foreign bytes keep. Each takes any bytes at all and panics if its law is broken. `fuzz/` runs
//! one target for each; the tests below run the same laws on a few thousand inputs.
//!
//! Not part of the API: compiled by cargo-fuzz and for tests only.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a broken law")]

mod body;
mod coding;
mod dns;
mod name;
mod path;
pub(crate) mod pieces;
mod placeholder;
mod scrub;
#[cfg(test)]
mod smoke;

pub use crate::http1::laws::{chunked, request_head};
pub use crate::websocket::laws::websocket_frames;
pub use body::{form_field, json_string};
pub use coding::content_coding;
pub use dns::dns;
pub use name::{authority, host_name, host_pattern};
pub use path::path;
pub use placeholder::placeholder_scan;
pub use scrub::scrubber;

/// For what is asynchronous although it never waits here.
pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap())
}
