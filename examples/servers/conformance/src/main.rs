//! An MCP server with everything that the conformance suite asks for, in raw JSON-RPC over standard input and output.
//!
//! The first argument says what it speaks: `legacy` (up to 2025-11-25), `modern` (2026-07-28), `dual` (either, decided by
//! the first message, as servers on the official Python SDK do it), `noisy` (legacy, and never silent) or `jobs` (modern,
//! with tasks; a second argument leaves only the tools whose names begin with it and `_`, without both). To the others,
//! the second argument `skills` adds skills.

#![forbid(unsafe_code)]

mod call;
mod catalogue;
mod completion;
mod jobs;
mod noise;
mod outcome;
mod prompts;
mod questions;
mod resources;
mod server;
mod skills;
mod state;
mod subscriptions;
mod tools;
mod wire;

use std::{io, process::ExitCode, sync::Arc};

use server::{Mode, Server};

fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_default();
    let Some(mode) = Mode::from_word(&word) else {
        eprintln!("the first argument is `{word}` and must be one of legacy, modern, dual, noisy, jobs");
        return ExitCode::FAILURE;
    };
    match Arc::new(Server::new(mode, std::env::args().nth(2))).serve(io::stdin().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
