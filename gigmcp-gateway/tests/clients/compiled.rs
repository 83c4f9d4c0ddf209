//! Programs that have to be built first: Go and Java, with what their standard libraries bring.

use std::{path::Path, process::Command};

use http::Version;

use crate::{
    conversation::{Client, hold},
    world::{PROGRAMS, Way},
};

#[test]
fn go_with_its_own_roots_and_resolver() {
    let program = build_directory().join("conversation");
    let go = ["go", "/usr/local/go/bin/go", "/usr/lib/go/bin/go"]
        .into_iter()
        .find(|go| Command::new(go).arg("version").output().is_ok_and(|output| output.status.success()))
        .expect("the tests need Go; ./dev test installs it");
    built(
        Command::new(go)
            .args(["build", "-trimpath", "-o"])
            .arg(&program)
            .current_dir(Path::new(PROGRAMS).join("go"))
            .envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=mod -buildvcs=false")])
            .env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go-cache"))
            .env("GOPATH", concat!(env!("CARGO_TARGET_TMPDIR"), "/go-path")),
    );
    let program = program.to_str().unwrap();
    for way in Way::BOTH {
        let finished = hold(way, &Client { name: "go", command: &[program], version: Version::HTTP_2 });
        assert!(finished.stdout.contains("spoken HTTP/2.0"), "{way:?}: {finished:#?}");
    }
}

#[test]
fn java_with_both_of_its_clients() {
    let classes = build_directory().join("classes");
    built(Command::new("javac").arg("-d").arg(&classes).arg(Path::new(PROGRAMS).join("Conversation.java")));
    let classes = classes.to_str().unwrap();
    for way in Way::BOTH {
        for (library, spoken, version) in
            [("new", "spoken HTTP_2", Version::HTTP_2), ("old", "spoken HTTP/1.1 200 OK", Version::HTTP_11)]
        {
            let command = ["java", "-Xmx128m", "-cp", classes, "Conversation", library];
            let finished = hold(way, &Client { name: library, command: &command, version });
            assert!(finished.stdout.contains(spoken), "{library} {way:?}: {finished:#?}");
        }
    }
}

/// Below a directory that clients can read.
pub(crate) fn build_directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/clients"))
}

fn built(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
