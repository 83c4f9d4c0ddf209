//! The toolpack engine against a real service on loopback.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

#[path = "../support/origin.rs"]
mod origin;

mod answers;
mod arguments;
mod credentials;
mod laws;
mod pack;
mod pages;
mod program;
mod requests;
mod seam;
mod starting;
