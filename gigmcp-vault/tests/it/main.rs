//! The vault through its public API, on real files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod audit;
mod key_file;
mod properties;
mod rows;
mod sealing;
mod source;
mod transit;
mod vectors;
mod wrapped;

use gigmcp_vault::{Context, PolicyHash};

fn context() -> Context {
    Context {
        tenant: "profile-7".parse().unwrap(),
        vault: "main".parse().unwrap(),
        secret: "github/token".parse().unwrap(),
        version: 3,
        purpose: "header".parse().unwrap(),
        created_at: 1_767_225_600,
        policy: PolicyHash::of(&[("hosts", &["api.github.com"])]),
    }
}
