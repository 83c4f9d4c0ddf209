//! Libraries of Node and Python.

use http::Version;

use crate::{
    conversation::{Client, hold},
    gateway::real_servers,
    world::{PROGRAMS, Way},
};

#[test]
fn each_python_library_uses_a_key_that_it_does_not_hold() {
    for library in ["urllib", "http.client", "requests", "httpx", "httpx-h2", "aiohttp"] {
        python(library);
    }
}

#[test]
fn each_node_library_uses_a_key_that_it_does_not_hold() {
    let ours = format!("{}/node/node_modules/node-linux-{ARCH}/bin/node", real_servers().display());
    // Node of the system may be too old to be told of a proxy by its environment.
    for (node, ways) in [("node", &[Way::Transparent][..]), (&ours, &Way::BOTH[..])] {
        for way in ways {
            for library in ["fetch", "https"] {
                let program = format!("{PROGRAMS}/conversation.mjs");
                let command = [node, &program, library];
                hold(*way, &Client { name: library, command: &command, version: Version::HTTP_11 });
            }
        }
    }
}

#[test]
fn node_speaks_http2_by_itself() {
    let program = format!("{PROGRAMS}/conversation.mjs");
    let finished = hold(
        Way::Transparent,
        &Client { name: "node:http2", command: &["node", &program, "http2"], version: Version::HTTP_2 },
    );
    assert!(finished.stdout.contains("spoken h2"), "{finished:#?}");
}

fn python(library: &str) {
    let python = format!("{}/python/bin/python", real_servers().display());
    let program = format!("{PROGRAMS}/conversation.py");
    for way in Way::BOTH {
        let command = [&*python, &program, library];
        let (spoken, version) = match library {
            "httpx-h2" => ("spoken HTTP/2", Version::HTTP_2),
            _ => ("spoken HTTP/1.1", Version::HTTP_11),
        };
        let finished = hold(way, &Client { name: library, command: &command, version });
        assert!(finished.stdout.contains(spoken), "{library} {way:?}: {finished:#?}");
    }
}

const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
