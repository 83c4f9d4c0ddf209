//! The crate through its public API, with real pipes and sockets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod aggregator;
mod amplified;
mod apps;
mod embedding;
mod fidelity;
mod flow;
mod guarded;
mod hostile_client;
mod hostile_server;
mod legacy;
mod lifecycle;
mod meta;
mod mirrored;
mod modern;
mod modern_server;
mod names;
mod offers;
mod oracle;
mod oracle_modern;
mod pins;
mod played;
mod rounds;
mod scripted;
mod seam;
mod seams;
mod serving;
mod sessions;
mod skills;
mod spares;
mod stdio;
mod streamable_http;
mod strict;
mod tasks;
mod tasks_guarded;
mod waiting;
