//! The official conformance suite against the real gateway: its bearer endpoint, its names, and the fixture server in
//! its sandbox beside one that is never silent.
//!
//! What fails is listed in `expected-REQUIREMENTS-MODE.yml`, in the suite's own format; a scenario that is listed and
//! passes fails the test, so the lists can only shrink. `GIGMCP_WRITE_CONFORMANCE=1` writes them, and the table of
//! `gigmcp-mcp/CONFORMANCE.md`, from what happens. Needs root, because it joins network namespaces. `./dev test`
//! installs everything else.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod results;
mod shim;
mod suite;
mod table;

// The other test binary's gateway and internet; each binary leaves out what it has no use for.
#[allow(dead_code, reason = "shared with the other test binary")]
#[path = "../it/gateway.rs"]
mod gateway;
#[allow(dead_code, reason = "shared with the other test binary")]
#[path = "../it/internet.rs"]
mod internet;
#[allow(dead_code, reason = "shared with the other test binary")]
#[path = "../support/postgres.rs"]
mod postgres;

use std::{fs, path::Path, thread};

use crate::{
    results::Results,
    suite::{MODES, OLDER, REQUIREMENTS, run},
};

#[test]
fn the_gateway_passes_what_is_not_listed_as_failing() {
    let writes = std::env::var_os("GIGMCP_WRITE_CONFORMANCE").is_some();
    let results: Vec<Results> = thread::scope(|scope| {
        let running = MODES.map(|mode| scope.spawn(move || run(mode, writes)));
        running.into_iter().flat_map(|running| running.join().unwrap()).collect()
    });
    if writes {
        for results in &results {
            fs::write(results.expected_file(), results.expected_failures()).unwrap();
        }
    }
    let table = table::page(&REQUIREMENTS, &OLDER, &MODES, &results);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gigmcp-mcp/CONFORMANCE.md");
    if writes {
        fs::write(&file, &table).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(written, table, "the table is old: write it again with GIGMCP_WRITE_CONFORMANCE=1");
}
