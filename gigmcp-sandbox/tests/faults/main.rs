//! Every system call of a start, made to fail in turn: the start fails with a typed error and the server's
//! program never runs, or the call is one of those listed, whose failure changes nothing or is told.
//!
//! Nothing in the crate helps with that. A tracer lets one call of one process fail, see `tests/tracer`.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

#[path = "../attacks/compile.rs"]
mod compile;
mod host;
mod listed;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../it/probe.rs"]
mod probe;
mod walk;

use walk::{Outcome, walk};

/// What a system call may always be answered: a right or memory is missing. Others, named in
/// `GIGMCP_TEST_ERRORS`, are for the curious: what is taken for "not there" needs a longer list.
const EPERM: i32 = 1;
const ENOMEM: i32 = 12;

/// Lets every call of a part fail and judges what came of it.
fn holds(part: &str) {
    let chosen = std::env::var("GIGMCP_TEST_ERRORS");
    let errors = chosen.map(|list| list.split(' ').map(|errno| errno.parse().unwrap()).collect());
    for errno in errors.unwrap_or(vec![EPERM, ENOMEM]) {
        let outcomes = walk(part, errno);
        assert!(outcomes.len() > 30, "{part}: {} calls", outcomes.len());
        assert!(outcomes.iter().any(|outcome| !outcome.ran), "{part}: nothing failed");
        let wrong: Vec<&Outcome> = listed::wrong(part, &outcomes);
        assert!(wrong.is_empty(), "{part}, error {errno}: {wrong:#?}");
    }
}

#[test]
fn a_call_of_the_bootstrap_that_fails_is_told_and_no_server_runs() {
    holds("outer");
}

#[test]
fn a_call_of_pid_1_that_fails_is_told_and_no_server_runs() {
    holds("init");
}

#[test]
fn a_call_of_the_servers_process_that_fails_is_told_and_no_server_runs() {
    holds("server");
}

#[test]
fn a_call_of_the_callers_thread_that_fails_is_told_and_no_server_runs() {
    holds("caller");
}

#[test]
fn a_call_of_the_supervisors_thread_that_fails_is_told_and_no_server_runs() {
    holds("supervisor");
}
