//! Servers of the catalogue as they are published: installed from the signed index, run by the engine in its sandbox, against
//! services of the tests' own internet.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    client::Session,
    gateway::{Installation, catalog},
    internet::{Internet, Seen},
};

const KEY: &str = "ghp_abcdefghijklmnopqrstuvwxyz0123456789";

/// A command that believes the registry of the catalogue.
fn command(installation: &Installation) -> Command {
    let (mut command, catalog) = (installation.command(), catalog());
    command.env("GIG_REGISTRY_URL", catalog.join("site"));
    command.env("GIG_REGISTRY_ROOT", catalog.join("root/1.jsonl"));
    command.env("GIG_IMAGE_LAYOUTS", catalog.join("images")).arg("--json");
    command
}

fn json(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Installs what `catalog show` shows.
fn install(installation: &Installation, server: &str, more: &[&str]) -> Value {
    let shown = json(command(installation).args(["catalog", "show", server]));
    let accept = shown["entitlements"]["accept"].as_str().unwrap().to_owned();
    json(command(installation).args(["server", "install", server, "--accept", &accept]).args(more))
}

fn header<'a>(seen: &'a Seen, name: &str) -> Option<&'a str> {
    seen.headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn a_tool_of_the_catalogue_sends_the_key_to_its_service_and_brings_back_none() {
    let (internet, installation) = (Internet::new(), Installation::new());
    // A service that shows the key that it got.
    let issue = json!({"number": 7, "title": format!("you sent {KEY}"), "state": "open", "unknown": KEY});
    internet.publish("/repos/octocat/hello/issues/7", issue.to_string());
    let token = installation.profile("work", &[]);
    let installed = install(&installation, "github", &["--profile", "work"]);
    assert_eq!(installed["entitlements"]["tier"], "sealed");
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    let issue = |owner: &str| session.call("github_get_issue", &json!({"owner": owner, "repo": "hello", "number": 7}));

    let refused = issue("octocat");
    assert_eq!(
        (refused.json()["result"]["isError"].clone(), internet.seen().len()),
        (json!(true), 0),
        "no secret is set"
    );

    installation.json(&["secret", "set", "github", "token"], KEY);
    let answer = issue("octocat"); // twin
    let seen = internet.seen();
    let seen = seen.first().unwrap_or_else(|| panic!("{answer:?}\n{}", gateway.log()));
    assert_eq!((seen.method.as_str(), &*seen.target), ("GET", "/repos/octocat/hello/issues/7"));
    assert_eq!(header(seen, "host"), Some("api.github.com"));
    assert_eq!(header(seen, "authorization"), Some(&*format!("Bearer {KEY}")));
    assert_eq!(header(seen, "x-github-api-version"), Some("2022-11-28"));
    assert_eq!(header(seen, "accept"), Some("application/vnd.github+json"));
    assert_eq!(seen.count(KEY), 1, "in its place and nowhere else");
    let text = answer.text();
    assert!(text.contains("you sent ") && text.contains("open"), "{text}");
    assert!(!text.contains("ghp_"), "neither the key nor its placeholder: {text}");

    // What a model says cannot lead out of the path that a tool has.
    for owner in ["..", "../../user", "octocat/../..", "octocat?x=", "octocat#", "octo cat\r\nX-A: b"] {
        let answer = issue(owner);
        let arrived = internet.seen().into_iter().skip(1).map(|seen| seen.target).collect::<Vec<_>>();
        assert!(
            arrived.iter().all(|target| target.starts_with("/repos/") && target.ends_with("/hello/issues/7")),
            "{owner:?}: {arrived:?} {answer:?}"
        );
        assert!(arrived.iter().all(|target| !target.contains("..")), "{owner:?}: {arrived:?}");
    }

    let audit = installation.json(&["audit"], "").to_string();
    assert!(audit.contains("GET api.github.com:443/repos/octocat/hello/issues/7") && !audit.contains(KEY), "{audit}");
    let log = gateway.log();
    assert!(!log.contains(KEY) && !log.contains("ghp_"), "{log}");
    let kept = installation.files();
    assert!(kept.iter().all(|(_, bytes)| !bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes())));
}

#[test]
fn a_variable_says_which_service_is_asked_and_no_other_is() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let token = installation.profile("work", &[]);
    for said in [None, Some("language=en.wikipedia.org/"), Some("language=evil.test#")] {
        let mut command = command(&installation);
        command.args(["server", "install", "wikipedia", "--profile", "work"]);
        let output = command.args(said.iter().flat_map(|said| ["--variable", said])).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains("--variable language="), "{said:?}: {error}");
    }
    let summary = json!({"title": "Sandbox", "extract": "A place to play."});
    let target = "/api/rest_v1/page/summary/Sandbox?redirect=true";
    internet.publish(target, summary.to_string());
    for (language, reached) in [("en", true), ("de", false)] {
        install(&installation, "wikipedia", &["--profile", "work", "--variable", &format!("language={language}")]);
        let gateway = installation.serve(&internet, &[]);
        let session = Session::open(&internet, "/mcp/p/work", &token);
        let before = internet.seen().len();
        let answer = session.call("wikipedia_get_summary", &json!({"title": "Sandbox"}));
        let seen = internet.seen();
        assert_eq!(seen.len() > before, reached, "{language}: {answer:?}\n{}", gateway.log());
        if reached {
            let seen = seen.last().unwrap();
            assert_eq!((seen.method.as_str(), &*seen.target), ("GET", target));
            assert_eq!((header(seen, "host"), header(seen, "authorization")), (Some("en.wikipedia.org"), None));
            assert!(answer.text().contains("A place to play."), "{answer:?}");
        } else {
            // There is no such name in the tests' internet, and no other is asked for.
            assert_eq!(answer.json()["result"]["isError"], true, "{answer:?}");
            let asked = internet.asked.lock().unwrap();
            assert_eq!(asked.last().map(|name| &**name), Some("de.wikipedia.org"));
        }
    }
    let audit = installation.json(&["audit"], "").to_string();
    assert!(
        audit.contains("language=en") && audit.contains("language=de"),
        "what was said is part of the consent: {audit}"
    );
}
