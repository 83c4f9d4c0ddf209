//! The server as a process, spoken to over its pipes, in each of its modes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod client;
mod jobs;
mod legacy;
mod modern;
mod noisy;
mod skills;
