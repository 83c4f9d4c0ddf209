//! Every command prints one document with `--json`.

use std::{fs, path::Path, process::Stdio};

use serde_json::Value;

use crate::gateway::Installation;

#[test]
fn every_command_prints_one_document() {
    let installation = Installation::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    let mut code = String::new();
    for line in include_str!("documents.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (command, rest) = line.split_once(':').unwrap();
        if let Some((_, place)) = rest.split_once("-> ") {
            is_run_elsewhere(command, place.trim());
            continue;
        }
        let (arguments, input) = rest.split_once('<').unwrap_or((rest, ""));
        let input = input.trim().replace("{code}", &code).replace("\\n", "\n");
        let arguments = arguments.replace("{file}", file.to_str().unwrap());
        let words: Vec<&str> = command.split(' ').chain(arguments.split_whitespace()).collect();
        let input = if input.is_empty() { input } else { input + "\n" };
        let output = installation.run(&[&["--json"], &words[..]].concat(), &input);
        let (stdout, stderr) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
        // On a host that enforces less, `doctor` says so.
        assert!(output.status.success() || command == "doctor", "{line}: {stderr}");
        let document: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{line}: {error}: {stdout}"));
        assert!(document.is_object() || document.is_array(), "{line}: {document}");
        if let Some(found) = document["code"].as_str() {
            code = found.to_owned();
        }
    }
}

/// Whether the file of tests runs the command, by its words.
fn is_run_elsewhere(command: &str, file: &str) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(file);
    let text = fs::read_to_string(&tests).unwrap_or_else(|error| panic!("{}: {error}", tests.display()));
    for word in command.split(' ') {
        assert!(text.contains(&format!("\"{word}\"")), "{command} is not in {file}");
    }
}

#[test]
fn what_is_wrong_is_a_document_too() {
    let installation = Installation::on_sqlite();
    for (words, status, expected) in [
        (&["server", "remove", "none"][..], 1, "there is no server `none`"),
        (&["server", "remov", "none"], 2, "unrecognized subcommand"),
        (&["server", "remove", "No_Good"], 2, "No_Good"),
    ] {
        let output = installation.run(&[&["--json"], words].concat(), "");
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{words:?}: {told}");
        assert!(told["error"].as_str().unwrap().contains(expected) && told["causes"].is_array(), "{words:?}: {told}");
    }
}

#[test]
fn a_reader_that_has_enough_is_no_error_but_what_nobody_saw_is() {
    let installation = Installation::on_sqlite();
    let run = |words: &[&str], stdout: Stdio| {
        let output = installation.command().args(words).stdout(stdout).stderr(Stdio::piped()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let full = || Stdio::from(fs::File::create("/dev/full").unwrap());
    for words in [&["server", "list"][..], &["--json", "server", "list"]] {
        assert!(run(words, closed()).0, "{words:?}");
        let (done, error) = run(words, full()); // twin: it was to be kept
        assert!(!done && error.contains("No space left"), "{words:?}: {error}");
    }
    let (done, error) = run(&["profile", "create", "lost"], closed());
    assert!(!done && error.contains("could not be shown"), "{error}");
    assert!(run(&["profile", "create", "seen"], Stdio::piped()).0, "twin");
}
