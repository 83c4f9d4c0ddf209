//! `registryctl lint` and `lint-toolspecs`, and what `build-index` does not take.

use std::fs;

use serde_json::Value;

use crate::registryctl::Desk;

const MANIFEST: &str = "\
schemaVersion: 1
name: desk
version: 1.0.0
source: {repo: github.com/example/desk-mcp, tag: v1.0.0}
image:
  ref: ghcr.io/example/desk-mcp
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  entrypoint: /app/server
  builder: toolpack
tier: sealed
entitlements: {egress: [api.desk.dev]}
tools: [{name: list_tickets, default: true}]
";

const TOOLSPEC: &str = "\
schemaVersion: 1
name: desk
version: 1.0.0
baseUrl: https://api.desk.dev
tools:
  - name: list_tickets
    description: Lists tickets.
    method: GET
    path: /v1/tickets
";

const ZERO: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A registry with one server.
fn desk(manifest: &str, toolspec: Option<&str>) -> Desk {
    let desk = Desk::new();
    fs::create_dir_all(desk.path("manifests/desk")).unwrap();
    fs::write(desk.path("manifests/desk/1.0.0.yaml"), manifest).unwrap();
    if let Some(toolspec) = toolspec {
        fs::write(desk.path("manifests/desk/1.0.0.toolspec.yaml"), toolspec).unwrap();
    }
    desk
}

/// Exit code, standard output, standard error.
fn run(desk: &Desk, line: &str) -> (i32, String, String) {
    let output = desk.run(line);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn lint_tells_errors_by_its_exit_code() {
    let unwise = MANIFEST.replace("[api.desk.dev]", "[webhook.site]");
    let zero = MANIFEST.replace(DIGEST, ZERO);
    for (case, manifest, code, says) in [
        ("good", MANIFEST, 0, "1 file: 0 errors, 0 warnings, 0 notes"),
        ("a denied host", &unwise, 1, "webhook.site"),
        ("not built yet", &zero, 0, "warning[L012]: the image is not built yet"),
        ("no manifest", "name: desk\n", 1, "schemaVersion"),
    ] {
        let desk = desk(manifest, None);
        for path in ["manifests", "manifests/desk", "manifests/desk/1.0.0.yaml"] {
            let (found, out, err) = run(&desk, &format!("lint {path}"));
            assert_eq!((found, err.as_str()), (code, ""), "{case}: {out}");
            assert!(out.contains(says), "{case}: {out}");
        }
    }
}

#[test]
fn lint_prints_what_programs_read() {
    let desk = desk(&MANIFEST.replace("[api.desk.dev]", "[webhook.site]"), None);
    for line in ["lint manifests --json", "lint manifests --format json"] {
        let (code, out, _) = run(&desk, line);
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &report["errors"]), (1, &1.into()), "{out}");
    }
    let (code, out, _) = run(&desk, "lint manifests --format sarif");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["version"]), (1, &"2.1.0".into()));
    assert_eq!(report["runs"][0]["results"][0]["level"], "error");
}

#[test]
fn a_denylist_of_ones_own_is_used() {
    let desk = desk(MANIFEST, None);
    fs::write(desk.path("deny"), "desk.dev # not yet\n").unwrap();
    fs::write(desk.path("fine"), "# nobody\nelse.example\n").unwrap();
    let (code, _, err) = run(&desk, "lint manifests --denylist deny");
    assert!(code == 3 && err.contains("line 1 of the denylist"), "{err}");
    fs::write(desk.path("deny"), "# nobody\ndesk.dev\n").unwrap();
    assert_eq!(run(&desk, "lint manifests --denylist deny").0, 1);
    assert_eq!(run(&desk, "lint manifests --denylist fine").0, 0);
}

#[test]
fn what_is_not_there_is_no_finding() {
    let desk = desk(MANIFEST, None);
    fs::create_dir(desk.path("empty")).unwrap();
    for (line, says) in [
        ("lint nowhere", "nowhere cannot be read"),
        ("lint empty", "there is no manifest in empty"),
        ("lint-toolspecs empty", "there is no manifest in empty"),
        ("lint-toolspecs nowhere.yaml", "there is neither nowhere.yaml nor nowhere.toolspec.yaml"),
    ] {
        let (code, out, err) = run(&desk, line);
        assert!(code == 3 && out.is_empty() && err.contains(says), "{line}: {err}");
    }
    assert_eq!(desk.run("lint").status.code(), Some(2));
}

#[test]
fn toolspecs_are_linted_beside_their_manifests() {
    let elsewhere = TOOLSPEC.replace("api.desk.dev", "api.other.dev");
    for (case, toolspec, code, says) in [
        ("good", TOOLSPEC, 0, "2 files: 0 errors"),
        ("another host", &elsewhere, 1, "api.other.dev"),
        ("no toolspec", "tools: []\n", 1, "schemaVersion"),
    ] {
        let desk = desk(MANIFEST, Some(toolspec));
        for path in ["manifests", "manifests/desk", "manifests/desk/1.0.0.yaml", "manifests/desk/1.0.0.toolspec.yaml"] {
            let (found, out, err) = run(&desk, &format!("lint-toolspecs {path}"));
            assert_eq!((found, err.as_str()), (code, ""), "{case}, {path}: {out}");
            assert!(out.contains(says), "{case}, {path}: {out}");
        }
    }
}

#[test]
fn each_toolpack_has_a_toolspec_and_each_toolspec_a_manifest() {
    let desk = desk(MANIFEST, None);
    let (code, out, err) = run(&desk, "lint-toolspecs manifests");
    assert!(
        code == 1 && out.is_empty() && err.contains("1.0.0.yaml has no manifests/desk/1.0.0.toolspec.yaml"),
        "{err}"
    );
    // Twins: with the toolspec; and another builder needs none.
    fs::write(desk.path("manifests/desk/1.0.0.toolspec.yaml"), TOOLSPEC).unwrap();
    assert_eq!(run(&desk, "lint-toolspecs manifests").0, 0);
    let node = MANIFEST.replace("builder: toolpack", "builder: node").replace("name: desk", "name: node");
    fs::create_dir(desk.path("manifests/node")).unwrap();
    fs::write(desk.path("manifests/node/1.0.0.yaml"), node).unwrap();
    assert_eq!(run(&desk, "lint-toolspecs manifests").0, 0);

    fs::write(desk.path("manifests/desk/1.0.1.toolspec.yaml"), TOOLSPEC).unwrap();
    let (code, _, err) = run(&desk, "lint-toolspecs manifests --json");
    let failure: Value = serde_json::from_str(&err).unwrap();
    assert_eq!(
        (code, &failure["error"]),
        (1, &"manifests/desk/1.0.1.toolspec.yaml has no manifests/desk/1.0.1.yaml".into())
    );
}

#[test]
fn an_image_that_is_not_built_is_not_published() {
    let desk = desk(&MANIFEST.replace(DIGEST, ZERO), None);
    let (code, said) = desk.refused("build-index manifests --sequence 1 -o index.json");
    assert!(code == 1 && said.contains("the image of desk 1.0.0 is not built yet"), "{said}");
    assert!(!desk.path("index.json").exists());
    fs::write(desk.path("manifests/desk/1.0.0.yaml"), MANIFEST).unwrap();
    desk.done("build-index manifests --sequence 1 -o index.json");
}
