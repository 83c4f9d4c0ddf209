//! The laws that the parsers of foreign bytes keep. Each takes any bytes at all and panics if its law is broken. `fuzz/` runs
//! one target for each; the tests below run the same laws on a few thousand inputs.
//!
//! Not part of the API: compiled by cargo-fuzz and for tests only.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a broken law")]

#[cfg(test)]
mod smoke;

pub use crate::{
    canonical::laws::mcp_canonical,
    http::{mcp_headers, mcp_sessions},
    hygiene::cleaned::mcp_hygiene,
    seal::laws::mcp_tokens,
    stdio::mcp_lines,
};
