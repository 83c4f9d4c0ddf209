#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| gigmcp_mcp::fuzzing::mcp_hygiene(input));
