//! The real key is nowhere in the sandbox: not in an environment, a command line, a file or the memory of a process.

use std::fs;

use crate::{
    search::{holds, in_files, in_memory},
    world::{Running, World},
};

/// Looks through the sandbox of a client at work, and gives the placeholder that it holds.
pub(crate) fn search(world: &World, client: &Running<'_>) -> String {
    let processes = client.processes();
    let everywhere = |needle: &str| {
        let places = processes.iter().flat_map(|pid| places(*pid, needle));
        places.collect::<Vec<_>>()
    };
    assert_eq!(everywhere(&world.key), Vec::<String>::new(), "the key is in the sandbox");
    // The same search finds what was planted on purpose, or it would prove nothing.
    let found = everywhere(&world.decoy);
    for place in ["environ", "memory"] {
        assert!(found.iter().any(|found| found.starts_with(place)), "the decoy is in {place}: {found:?}");
    }
    let found = everywhere("BEGIN CERTIFICATE");
    assert!(found.iter().any(|found| found.starts_with("file")), "a file known to be there is found: {found:?}");
    let placeholder = processes.iter().find_map(|pid| {
        let environment = fs::read_to_string(format!("/proc/{pid}/environ")).ok()?;
        environment.split('\0').find_map(|pair| pair.strip_prefix("API_KEY=").map(str::to_owned))
    });
    placeholder.expect("some process has the placeholder in its environment")
}

/// Where `needle` stands in one process and the files it could write or was given by us.
fn places(pid: u32, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["environ", "cmdline"] {
        // A process may end while we look.
        if fs::read(format!("/proc/{pid}/{name}")).is_ok_and(|bytes| holds(&bytes, needle)) {
            found.push(format!("{name} of {pid}"));
        }
    }
    if in_memory(pid, needle) {
        found.push(format!("memory of {pid}"));
    }
    for directory in ["tmp", "run", "dev/shm", ".gig"] {
        found.extend(in_files(&format!("/proc/{pid}/root/{directory}"), needle));
    }
    found
}
