//! The proxy through its public API: real sockets, real TLS on both sides, real HTTP.
//!
//! A sandbox is stood in for by listeners on all of 127.0.0.0/8, where every address is local as it is in a sandbox, and
//! the pool for DNS answers lies there. The internet is stood in for below the address guard: names resolve to
//! public addresses, and what passed the guard is dialled on loopback.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod answers;
mod coded_answers;
mod credentials;
mod dns;
mod frames;
mod hellos;
mod http1;
mod http2;
mod http2_upstream;
mod key_updates;
mod layer;
mod origin;
mod own_credentials;
mod places;
mod port;
mod proofs;
mod proxying;
mod rates;
mod revocation;
mod sinks;
mod tcp;
mod transparent;
mod uploads;
mod upstream_tls;
mod upstreams;
mod websocket;
mod wire;
mod world;
