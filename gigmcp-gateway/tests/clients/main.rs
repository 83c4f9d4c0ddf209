//! Clients that nobody here wrote, inside the real sandbox, through the real gateway, to an internet of the tests' own.
//!
//! Each holds a placeholder; the origin must get the real key, and the client nothing of it. A host that is not allowed
//! stays out of reach. Needs root, because it joins network namespaces. `./dev test` installs everything else.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod bulk;
mod compiled;
mod conversation;
mod custody;
mod events;
mod git;
mod grpc;
mod guards;
mod origin;
mod scripts;
mod tools;
mod websocket;
mod world;

// The other test binary's internet and searches; each binary leaves out what it has no use for.
#[allow(dead_code, reason = "shared with the other test binary")]
#[path = "../it/gateway.rs"]
mod gateway;
#[allow(dead_code, reason = "shared with the other test binary")]
#[path = "../it/internet.rs"]
mod internet;
#[allow(dead_code, reason = "shared with the other test binary")]
#[path = "../support/postgres.rs"]
mod postgres;
#[allow(dead_code, reason = "shared with the other test binary")]
#[path = "../it/search.rs"]
mod search;
