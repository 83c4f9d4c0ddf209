//! A tester of others (schemathesis, from PyPI) asks the API whatever its document lets it think of: what is well-formed and what is
//! not, one request and several that follow from each other. Everything it knows to check is checked.

use std::{fs, path::Path, process::Output};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    api::{Browser, administrator},
    client::{ADDRESS, send},
    gateway::{Gateway, Installation, catalog, demo_server},
    internet::Internet,
};

/// Operations that are not asked for, and why.
const EXCLUDED: &[(&str, &str)] = &[
    ("tail_audit", "it goes on until somebody ends it"),
    ("delete_user", "it may end the caller's own account"),
    ("disable_user", "it may end the caller's own account"),
    ("set_role", "it may take the caller's own role, and ends their sessions"),
    ("sign_out", "it ends the caller's session"),
    ("sign_out_oidc", "it ends the caller's session"),
    ("end_session", "it may end the caller's session"),
    ("change_password", "a guess may be right, and then the caller's other sessions end"),
];
const SCOPES: &str = "servers:write,profiles:write,credentials:write,users:write,audit:read,system:write";

struct Scene {
    internet: Internet,
    installation: Installation,
    gateway: Gateway,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let (internet, installation) = (Internet::new(), Installation::new());
        let echo = demo_server("gigmcp-demo-echo");
        installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
        let catalog = catalog();
        let place = |name: &str| catalog.join(name).to_str().unwrap().to_owned();
        let (url, root, layouts) = (place("site"), place("root/1.jsonl"), place("images"));
        let settings = [("GIG_REGISTRY_URL", &*url), ("GIG_REGISTRY_ROOT", &*root), ("GIG_IMAGE_LAYOUTS", &*layouts)];
        let gateway = installation.serve(&internet, &settings);
        Self { internet, installation, gateway, directory: tempfile::tempdir().unwrap() }
    }

    /// Somebody with something of everything.
    fn account(&self, root: &Browser<'_>, name: &str, role: &str) -> Browser<'_> {
        Browser::with_echo(&self.internet, root, name, role)
    }

    /// Runs the tester for so many seconds, with these further words.
    fn run(&self, document: &str, callers: &[String], seconds: u32, words: &[&str]) -> Ran {
        let tool =
            std::env::var_os("TEST_SCHEMATHESIS").expect("run the tests by ./dev test: TEST_SCHEMATHESIS is not set");
        let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis");
        let report = self.directory.path().join("report.json");
        drop(fs::remove_file(&report));
        let mut command = self.internet.command(Path::new(&tool).join("bin/schemathesis"));
        command.current_dir(self.directory.path()).env("CALLERS", callers.join(" "));
        command.env("SCHEMATHESIS_HOOKS", "hooks").env("PYTHONPATH", &settings).env("PYTHONDONTWRITEBYTECODE", "1");
        command.arg("--config-file").arg(settings.join("schemathesis.toml"));
        command.args([
            "run",
            document,
            "--url",
            &format!("http://{ADDRESS}"),
            "--mode=all",
            "--checks=all",
            "--no-color",
        ]);
        command.args(["--continue-on-failure", "--max-time", &seconds.to_string()]);
        for (operation, _) in EXCLUDED.iter().filter(|_| !words.contains(&"--include-operation-id")) {
            command.args(["--exclude-operation-id", operation]);
        }
        command.args(["--report=json", "--report-json-path"]).arg(&report);
        let output = command.args(words).output().unwrap();
        let report = fs::read(&report).unwrap_or_else(|error| panic!("{error}: {}", told(&output)));
        (output, serde_json::from_slice(&report).unwrap())
    }

    fn served(&self) -> String {
        format!("http://{ADDRESS}/api/v1/openapi.json")
    }
}

fn told(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

/// How a run went, and its report.
type Ran = (Output, Value);

/// Nothing was wrong, and enough was asked: on a machine that does much else, in more time, as what is asked is always the same.
fn clean(run: impl Fn(u32) -> Ran, least: u64) {
    let mut asked = 0;
    for times in [1, 3, 6] {
        let (output, report) = run(times);
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(report["failures"], json!([]), "{}", told(&output));
        let (all, tested) = (&report["operations"]["selected"], &report["operations"]["tested"]);
        assert!(all == tested && report["operations"]["errored"] == 0, "{report}");
        asked = report["test_cases"]["generated"].as_u64().unwrap();
        if asked >= least {
            return;
        }
    }
    panic!("only {asked} cases");
}

#[test]
fn the_api_does_what_its_document_says_for_an_administrator_a_user_and_nobody() {
    let scene = Scene::new();
    let root = administrator(&scene.internet, &scene.gateway);
    let admin = scene.account(&root, "admin", "admin");
    // Before an administrator does whatever comes to mind, such as removing the server.
    let users = ["ann", "ben", "cid", "dan"].map(|name| scene.account(&root, name, "user").proof());
    let key = |number: usize| {
        let body = json!({ "name": format!("key {number}"), "scopes": SCOPES });
        admin.ask(Method::POST, "/api-keys", Some(body)).json()["token"].as_str().unwrap().to_owned()
    };
    let keys: Vec<String> = (0..8).map(key).collect();
    clean(|times| scene.run(&scene.served(), &keys, 30 * times, &[]), 1000);
    clean(|times| scene.run(&scene.served(), &users, 20 * times, &[]), 500);
    let public =
        ["sign_in", "look_at_invitation", "accept_invitation"].map(|id| ["--include-operation-id", id]).concat();
    clean(|times| scene.run(&scene.served(), &["none".to_owned()], 5 * times, &public), 20);
    let log = scene.gateway.log();
    assert!(!log.contains("panicked") && !log.contains("a request to the API failed"), "{log}");
    assert_eq!(admin.ask(Method::GET, "/session", None).status, StatusCode::OK, "who asked is still there");
    drop(scene.installation);
}

#[test]
fn a_document_that_is_wrong_is_noticed() {
    let scene = Scene::new();
    let root = administrator(&scene.internet, &scene.gateway);
    let callers = [root.proof()];
    let request = Request::get("/api/v1/openapi.json").header(header::HOST, ADDRESS).body(Bytes::new()).unwrap();
    let document = send(&scene.internet, request).json();
    let place = scene.directory.path().join("openapi.json");
    let only = ["--include-operation-id", "servers"];
    let run = |document: &Value| {
        fs::write(&place, document.to_string()).unwrap();
        scene.run(place.to_str().unwrap(), &callers, 3, &only)
    };
    let schema = "/components/schemas/Server/properties/revision";
    for (what, change, is_right) in [
        ("twin", json!({ "type": "integer" }), true),
        ("another type", json!({ "type": "string" }), false),
        ("a smaller range", json!({ "type": "integer", "maximum": -1 }), false),
    ] {
        let mut changed = document.clone();
        *changed.pointer_mut(schema).expect("it is there") = change;
        let (output, report) = run(&changed);
        assert_eq!(output.status.success(), is_right, "{what}: {}", told(&output));
        assert_eq!(report["failures"] == json!([]), is_right, "{what}: {report}");
    }
    let mut changed = document;
    let operation = &mut changed["paths"]["/api/v1/servers"]["get"];
    operation["responses"]["200"]["content"] = json!({ "text/plain": { "schema": { "type": "string" } } });
    assert!(!run(&changed).0.status.success(), "another type of content");
}
