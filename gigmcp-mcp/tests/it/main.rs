//! The crate through its public API, with real pipes and sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod aggregator;
mod embedding;
mod fidelity;
mod hostile_client;
mod hostile_server;
mod legacy;
mod lifecycle;
mod meta;
mod modern;
mod modern_server;
mod offers;
mod oracle;
mod played;
mod scripted;
mod seam;
mod serving;
mod spares;
mod stdio;
mod streamable_http;
