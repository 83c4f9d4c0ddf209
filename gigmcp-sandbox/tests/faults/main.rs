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
fn holds(plan: &str, part: &str) {
    let chosen = std::env::var("GIGMCP_TEST_ERRORS");
    let errors = chosen.map(|list| list.split(' ').map(|errno| errno.parse().unwrap()).collect());
    for errno in errors.unwrap_or(vec![EPERM, ENOMEM]) {
        let outcomes = walk(plan, part, errno);
        assert!(outcomes.len() > 30, "{plan}, {part}: {} calls", outcomes.len());
        assert!(outcomes.iter().any(|outcome| !outcome.ran), "{plan}, {part}: nothing failed");
        let wrong: Vec<&Outcome> = listed::wrong(part, errno, &outcomes);
        assert!(wrong.is_empty(), "{plan}, {part}, error {errno}: {wrong:#?}");
    }
}

/// A test for each plan and part, so that they run beside one another.
macro_rules! hold {
    ($($name:ident: $plan:ident $part:literal;)*) => {
        $(
            #[test]
            fn $name() {
                holds(host::$plan, $part);
            }
        )*
    };
}

hold! {
    a_call_of_the_bootstrap_that_fails_is_told_and_no_server_runs: FILE "outer";
    a_call_of_pid_1_that_fails_is_told_and_no_server_runs: FILE "init";
    a_call_of_the_servers_process_that_fails_is_told_and_no_server_runs: FILE "server";
    a_call_of_the_callers_thread_that_fails_is_told_and_no_server_runs: FILE "caller";
    a_call_of_the_supervisors_thread_that_fails_is_told_and_no_server_runs: FILE "supervisor";
    the_same_for_the_bootstrap_with_a_link_and_an_image: IMAGE "outer";
    the_same_for_pid_1_with_a_link_and_an_image: IMAGE "init";
    the_same_for_the_servers_process_with_a_link_and_an_image: IMAGE "server";
    the_same_for_the_callers_thread_with_a_link_and_an_image: IMAGE "caller";
    the_same_for_the_supervisors_thread_with_a_link_and_an_image: IMAGE "supervisor";
    the_same_for_the_bootstrap_with_the_hosts_tools: TOOLS "outer";
    the_same_for_the_callers_thread_with_the_hosts_tools: TOOLS "caller";
}
