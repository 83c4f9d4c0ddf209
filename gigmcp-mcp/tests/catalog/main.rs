//! Recorded exchanges of catalogues: for each, the engine is called with what a model says, a service on loopback checks what
//! arrives and answers as recorded, and what the tool then says is compared.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

#[path = "../support/origin.rs"]
mod origin;

mod check;
mod compare;
mod proxy;
mod recorded;
mod walk;

use std::{fs, path::Path};

use walk::Checked;

fn fixture() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/catalog_fixture"))
}

/// The faults of a catalogue, each in a line.
async fn faults(catalog: &Path) -> Checked {
    walk::check(catalog).await
}

#[tokio::test]
async fn the_fixture_answers_as_recorded() {
    let checked = faults(fixture()).await;
    assert_eq!(checked.faults, [""; 0], "{:#?}", checked.faults);
    assert_eq!((checked.servers, checked.exchanges), (2, 9));
}

/// The catalogue of this project.
#[tokio::test]
async fn the_catalogue_answers_as_recorded() {
    let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("../catalog");
    let checked = faults(&catalog).await;
    assert_eq!(checked.faults, [""; 0], "{:#?}", checked.faults);
    assert!(checked.servers >= 15, "{} servers", checked.servers);
    println!("{} servers, {} exchanges", checked.servers, checked.exchanges);
}

/// What is changed in a copy of the fixture, and what is then told. Without the change nothing is.
#[tokio::test]
async fn what_differs_from_its_record_is_told() {
    const NOTES: &str = "exchanges/acme-notes.yaml";
    for (case, file, from, to, told) in [
        (
            "another path",
            NOTES,
            "path: /v1/notes/a%2Fb",
            "path: /v1/notes/a/b",
            "the path is /v1/notes/a%2Fb, and should be /v1/notes/a/b",
        ),
        ("another method", NOTES, "method: DELETE", "method: POST", "the method is DELETE, and should be POST"),
        (
            "another host",
            NOTES,
            "host: api.acme-notes.example",
            "host: www.acme-notes.example",
            "the host is api.acme-notes.example",
        ),
        ("another query", NOTES, "query: {tag: [a, b], size: 2}", "query: {tag: [a, b]}", "the query is"),
        ("a query that is not recorded", NOTES, "query: {tag: [a, b], size: 2}", "", "the query is"),
        (
            "another header",
            NOTES,
            "acme-version: \"2026-01-01\"",
            "acme-version: \"2025-01-01\"",
            "the header acme-version is 2026-01-01",
        ),
        (
            "a header that should not be",
            NOTES,
            "absent_headers: [x-never]",
            "absent_headers: [acme-version]",
            "the header acme-version is there",
        ),
        ("another body", NOTES, "body: {json: {title: A}}", "body: {json: {title: B}}", "the body is"),
        ("a body that is not recorded", NOTES, "body: {json: {title: A}}", "", "the body is"),
        (
            "another credential",
            NOTES,
            "value: \"Bearer {placeholder}\"",
            "value: \"Token {placeholder}\"",
            "the credential is not in the header authorization",
        ),
        (
            "a credential that is not recorded",
            NOTES,
            "credential: {header: authorization, value: \"Bearer {placeholder}\"}",
            "",
            "1 credentials are in the request, and 0 are recorded",
        ),
        ("another result", NOTES, "json: {id: 7, title: A}", "json: {id: 8, title: A}", "the result is"),
        ("another outcome", NOTES, "isError: true", "isError: false", "isError is true, and should be false"),
        (
            "another error",
            NOTES,
            "contains: no such note",
            "contains: no such song",
            "the result does not contain `no such song`",
        ),
        (
            "a tool without an exchange",
            NOTES,
            "tool: add_note",
            "tool: get_note",
            "the tool `add_note` has no exchange",
        ),
        ("an exchange without a tool", NOTES, "tool: add_note", "tool: sing", "there is no tool `sing`"),
        ("a step that is not taken", NOTES, "next: c2", "next: \"\"", "1 requests arrived, and 2 are recorded"),
        (
            "another version",
            NOTES,
            "version: 1.2.0",
            "version: 1.2.1",
            "exchanges are of version 1.2.1, and the latest is 1.2.0",
        ),
        ("an unknown field", NOTES, "tool: add_note", "toool: add_note", "unknown field `toool`"),
        (
            "another part",
            "exchanges/acme-mail.yaml",
            "file: {text: \"# x\", fileName: note.md, contentType: text/markdown}",
            "file: {text: \"# y\", fileName: note.md, contentType: text/markdown}",
            "the body is",
        ),
        (
            "another field",
            "exchanges/acme-mail.yaml",
            "form: {to: \"a&b@x.example\"",
            "form: {to: \"a@x.example\"",
            "the body is",
        ),
        (
            "the other part of Basic",
            "exchanges/acme-mail.yaml",
            "basic: password",
            "basic: username",
            "the credential is not the username of Basic",
        ),
        (
            "a variable that is not the user's",
            "exchanges/acme-mail.yaml",
            "variables: {region: eu}",
            "variables: {region: moon}",
            "GIG_VAR_REGION is none of its choices",
        ),
        (
            "a manifest that allows too little",
            "manifests/acme-notes/1.2.0.yaml",
            "{egress: [api.acme-notes.example]}",
            "{rules: [{hosts: [api.acme-notes.example], methods: [GET]}]}",
            "the proxy refuses POST https://api.acme-notes.example/v1/notes: ",
        ),
        (
            "a path that the proxy does not judge",
            "manifests/acme-notes/1.2.0.yaml",
            "{egress: [api.acme-notes.example]}",
            "{rules: [{hosts: [api.acme-notes.example], paths: [/v1/**]}]}",
            "the proxy refuses GET https://api.acme-notes.example/v1/notes/a%2Fb: target-not-canonical",
        ),
        (
            "another engine",
            "manifests/acme-notes/1.2.0.toolspec.yaml",
            "path: /v1/notes/{id}",
            "path: /v2/notes/{id}",
            "the path is /v2/notes/a%2Fb, and should be /v1/notes/a%2Fb",
        ),
    ] {
        let copy = tempfile::tempdir().unwrap();
        copied(fixture(), copy.path());
        let path = copy.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{case}: {from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let faults = faults(copy.path()).await.faults;
        assert!(faults.iter().any(|fault| fault.contains(told)), "{case}: {faults:#?}");
    }
}

#[tokio::test]
async fn files_that_belong_to_nothing_are_told() {
    for (case, file, told) in [
        ("no exchanges", "exchanges/acme-mail.yaml", "acme-mail 0.1.0: there is no exchanges/acme-mail.yaml"),
        (
            "no toolspec",
            "manifests/acme-mail/0.1.0.toolspec.yaml",
            "acme-mail 0.1.0: there is no toolspec beside the manifest",
        ),
        ("no manifest", "manifests/acme-mail/0.1.0.yaml", "acme-mail: exchanges of a server that is not there"),
    ] {
        let copy = tempfile::tempdir().unwrap();
        copied(fixture(), copy.path());
        fs::remove_file(copy.path().join(file)).unwrap();
        let faults = faults(copy.path()).await.faults;
        assert!(faults.iter().any(|fault| fault.contains(told)), "{case}: {faults:#?}");
    }
}

fn copied(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copied(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
