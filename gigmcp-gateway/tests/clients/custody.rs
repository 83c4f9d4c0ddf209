//! The real key is nowhere in the sandbox: not in an environment, a command line, a file or the memory of a process.

use std::fs;

use crate::{
    search::{holds, in_files, memory},
    world::{Running, World},
};

/// Looks through the sandbox of a client at work, and gives the placeholder that it holds.
pub(crate) fn search(world: &World, client: &Running<'_>) -> String {
    let mut found = Found::default();
    let mut placeholder = None;
    for pid in client.processes() {
        for name in ["environ", "cmdline"] {
            // A process may end while we look.
            found.note(
                world,
                &format!("{name} of {pid}"),
                &fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default(),
            );
        }
        for region in memory(pid) {
            found.note(world, &format!("memory of {pid}"), &region);
        }
        for directory in ["tmp", "run", "dev/shm", ".gig"] {
            let directory = format!("/proc/{pid}/root/{directory}");
            found.key.extend(in_files(&directory, &world.key));
            found.known.extend(in_files(&directory, "BEGIN CERTIFICATE"));
        }
        let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
        let value = environment.split('\0').find_map(|pair| pair.strip_prefix("API_KEY="));
        placeholder = placeholder.or(value.map(str::to_owned));
    }
    assert_eq!(found.key, Vec::<String>::new(), "the key is in the sandbox");
    // The same search finds what was planted on purpose or is known to be there, or it would prove nothing.
    for place in ["environ", "memory", "file"] {
        assert!(found.known.iter().any(|found| found.starts_with(place)), "{place}: {:?}", found.known);
    }
    placeholder.expect("some process has the placeholder in its environment")
}

/// Places where something was found.
#[derive(Default)]
struct Found {
    key: Vec<String>,
    known: Vec<String>,
}

impl Found {
    fn note(&mut self, world: &World, place: &str, bytes: &[u8]) {
        for (needle, places) in [(&world.key, &mut self.key), (&world.decoy, &mut self.known)] {
            if holds(bytes, needle) {
                places.push(place.to_owned());
            }
        }
    }
}
