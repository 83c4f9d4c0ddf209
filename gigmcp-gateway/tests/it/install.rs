//! Servers from a signed index, from the first look at it until nothing is left of them.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::PathBuf,
    process::{Output, Stdio},
};

use gigmcp_registry::Manifest;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    client::Session,
    gateway::{Gateway, Installation, demo_server, wait_gone},
    internet::Internet,
    registry::{Image, Registry, manifest},
};

/// A data directory, and a registry that it believes.
pub(crate) struct Scene {
    pub(crate) registry: Registry,
    pub(crate) installation: Installation,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { registry: Registry::new(7), installation: Installation::on_sqlite() }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(&[], arguments, "")
    }

    pub(crate) fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str], input: &str) -> Output {
        let mut command = self.installation.command();
        command.envs(self.registry.settings()).envs(variables.iter().copied()).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--json"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs what must be refused, and gives what was said.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
    }

    /// What one agrees to.
    pub(crate) fn accept(&self, server: &str) -> String {
        self.json(&["catalog", "show", server])["entitlements"]["accept"].as_str().unwrap().to_owned()
    }

    /// Installs by the hash of the manifest.
    pub(crate) fn install(&self, server: &str, more: &[&str]) -> Value {
        let accept = self.accept(server);
        self.json(&[&["server", "install", server, "--accept", &accept], more].concat())
    }

    pub(crate) fn servers(&self) -> Vec<String> {
        let servers = self.json(&["server", "list"]);
        servers.as_array().unwrap().iter().map(|server| server["name"].as_str().unwrap().to_owned()).collect()
    }

    /// What lies in the data directory, beside the database and the key.
    pub(crate) fn left(&self) -> BTreeSet<PathBuf> {
        let ours = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy();
            !name.starts_with("gigmcp.db") && !name.starts_with("master.key")
        };
        let files = self.installation.files().into_iter().map(|(path, _)| path);
        files.filter(ours).map(|path| path.strip_prefix(self.installation.data()).unwrap().to_owned()).collect()
    }

    pub(crate) fn database(&self) -> Connection {
        Connection::open(self.installation.data().join("gigmcp.db")).unwrap()
    }

    pub(crate) fn serve(&self, internet: &Internet) -> Gateway {
        self.installation.serve(internet, &[])
    }

    /// Where the one image is unpacked.
    pub(crate) fn tree(&self) -> PathBuf {
        let trees = fs::read_dir(self.installation.data().join("images/trees")).unwrap();
        let mut trees = trees.map(|tree| tree.unwrap().path().join("rootfs"));
        let tree = trees.next().unwrap();
        assert_eq!(trees.next(), None);
        tree
    }
}

pub(crate) fn image(server: &str, more: &[(&str, &[u8])]) -> Image {
    let program = fs::read(demo_server(server)).unwrap();
    Image::of(&[&[("/app/server", &program[..])], more].concat())
}

/// The demo server `fetch`, with a key that goes to one host.
pub(crate) fn fetch(version: &str, image: &Image, hosts: &[&str]) -> Manifest {
    manifest("fetch", version, image.digest, |document| {
        document["entitlements"]["egress"] = json!(hosts);
        document["credentials"] = json!([{
            "id": "api-key", "type": "api_key", "inject": {"header": "Authorization", "format": "Bearer {token}"},
            "bind": [{"hosts": ["api.example.com"], "methods": ["GET"]}], "placeholder": {"env": "API_KEY"},
        }]);
        document["tools"] = json!([{"name": "fetch", "default": true}]);
        document["displayName"] = json!("Fetch\u{e9}");
    })
}

const KEY: &str = "the-real-value-of-the-key";

#[test]
fn a_server_is_installed_upgraded_rolled_back_and_removed() {
    let (internet, mut scene) = (Internet::new(), Scene::new());
    let (first, second) = (image("gigmcp-demo-fetch", &[]), image("gigmcp-demo-fetch", &[("/app/new", b"1")]));
    let echo = image("gigmcp-demo-echo", &[]);
    for image in [&first, &second, &echo] {
        image.write(&scene.registry.layouts());
    }
    let echo = manifest("echo", "1.0.0", echo.digest, |_| {});
    let (old, new) = (
        fetch("1.0.0", &first, &["api.example.com"]),
        fetch("1.1.0", &second, &["api.example.com", "other.example.com"]),
    );
    scene.registry.publish(&[&echo, &old]);
    // Once, so that what a first installation leaves for ever is there: a key and the places of images.
    scene.install("echo", &[]);
    scene.json(&["server", "remove", "echo"]);
    let before = scene.left();

    let token = scene.installation.profile("work", &[]);
    let listed = scene.json(&["catalog", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(scene.json(&["catalog", "search", "fetch"])[0]["name"], "fetch");
    let shown = String::from_utf8(scene.run(&["catalog", "show", "fetch"]).stdout).unwrap();
    for expected in [
        "fetch 1.0.0: Fetch\\u{e9}",
        "api.example.com, any request",
        "in the header Authorization as `Bearer {token}`",
        "sealed",
        "sha256:",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let said = scene.refused(&["server", "install", "fetch", "--profile", "work"]);
    assert!(said.contains("nobody agreed") && said.contains(&scene.accept("fetch")), "{said}");
    assert_eq!((scene.servers(), scene.left()), (vec![], before.clone()), "nothing is left of what nobody agreed to");

    let installed = scene.install("fetch", &["--profile", "work"]);
    assert_eq!((&installed["version"], &installed["changed"]), (&json!("1.0.0"), &json!(true)));
    assert_eq!(installed["secrets_to_set"], json!(["api-key"]));
    scene.installation.json(&["secret", "set", "fetch", "api-key"], KEY);
    let gateway = scene.serve(&internet);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    let call = |host: &str| session.call("fetch_fetch", &json!({"url": format!("https://{host}/")}));
    let reached = |host: &str| {
        let count = internet.seen().len();
        let answer = call(host);
        let seen = internet.seen();
        (seen.len() > count)
            .then(|| seen.last().unwrap().headers.get("authorization").cloned())
            .ok_or_else(|| Box::new(answer))
    };
    let bearer = format!("Bearer {KEY}");
    let with_key = |host: &str| match reached(host) {
        Ok(Some(value)) => value == *bearer,
        other => panic!("{host}: {other:?}\n{}", gateway.log()),
    };
    assert!(with_key("api.example.com"), "the key goes out in place of its placeholder");
    assert!(reached("other.example.com").is_err(), "what the manifest does not name");

    scene.registry.publish(&[&echo, &old, &new]);
    let diff = scene.json(&["server", "diff", "fetch"]);
    let paths: Vec<_> =
        diff["changes"].as_array().unwrap().iter().map(|change| change["path"].as_str().unwrap()).collect();
    for expected in ["version", "image.digest", "entitlements.egress[other.example.com]"] {
        assert!(paths.contains(&expected), "{expected} in {paths:?}");
    }
    let said = scene.refused(&["server", "upgrade", "fetch"]);
    assert!(said.contains("+ entitlements.egress[other.example.com]") && said.contains("nobody agreed"), "{said}");
    assert!(with_key("api.example.com") && reached("other.example.com").is_err(), "what runs is as it was agreed to");
    let accept = scene.accept("fetch@1.1.0");
    let upgraded = scene.json(&["server", "upgrade", "fetch", "--accept", &accept]);
    assert_eq!((&upgraded["version"], &upgraded["secrets_to_set"]), (&json!("1.1.0"), &json!([])), "it goes on");
    assert!(with_key("api.example.com"));
    // The key is for the first host alone, so it is not sent here, and that is what the call fails for now.
    call("other.example.com");
    let audit = scene.installation.json(&["audit"], "");
    let asked = |row: &&Value| row["kind"] == "request" && row["subject"] == "GET other.example.com:443/";
    let row = audit.as_array().unwrap().iter().find(asked).unwrap_or_else(|| panic!("twin: {audit}"));
    assert_eq!(row["verdict"], "placeholder-wrong-host");

    assert_eq!(scene.json(&["server", "rollback", "fetch"])["version"], "1.0.0");
    assert!(with_key("api.example.com") && reached("other.example.com").is_err(), "as before");
    assert!(scene.refused(&["server", "rollback", "fetch"]).contains("nothing that fetch could go back to"));

    scene.json(&["server", "remove", "fetch"]);
    assert_eq!(scene.left(), before, "nothing is left");
    assert!(session.tools().is_empty());
    let database = scene.database();
    for table in ["servers", "manifests", "secrets", "consents", "profile_servers"] {
        let rows: i64 = database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    let audit = scene.installation.json(&["audit"], "");
    let consents = audit.as_array().unwrap().iter().filter(|row| row["kind"] == "consent" && row["server"] == "fetch");
    assert_eq!(consents.count(), 2, "each consent is in the audit");
    let back = audit.as_array().unwrap().iter().filter(|row| row["kind"] == "rollback" && row["server"] == "fetch");
    assert_eq!(back.count(), 1, "and that it was gone back");
    let removals = audit.as_array().unwrap().iter().filter(|row| row["kind"] == "removal" && row["server"] == "fetch");
    assert_eq!(removals.count(), 1);
}

#[test]
fn what_the_user_says_and_the_manifest_sets_reaches_the_server_and_nothing_else() {
    let (internet, mut scene) = (Internet::new(), Scene::new());
    let echo = image("gigmcp-demo-echo", &[("/data/of-the-image", b"1")]);
    echo.write(&scene.registry.layouts());
    let echo = manifest("echo", "1.0.0", echo.digest, |document| {
        document["entitlements"]["egress"] = json!(["{tenant}.example.com"]);
        document["variables"] = json!([{"name": "tenant", "type": "label", "description": "Your tenant"}]);
        document["runtime"] = json!({"profile": "static", "env": [{"name": "MODE", "value": "of-{tenant}"}]});
        document["entitlements"]["rules"] =
            json!([{"hosts": ["other.example.com"], "allow": ["cookies"], "maxBodyBytes": 99}]);
        document["limits"] = json!({"memoryMib": 64, "openFiles": 99});
        document["writable"] = json!([{"path": "/cache", "maxMib": 1}]);
        document["state"] = json!({"path": "/data", "maxMib": 8});
        document["credentials"] = json!([{
            "id": "key", "type": "api_key", "inject": {"query": "api_key"}, "bind": [{"hosts": ["{tenant}.example.com"]}],
            "placeholder": {"prefix": "dk_", "length": 40, "alphabet": "hex"},
        }]);
    });
    scene.registry.publish(&[&echo]);
    let shown = String::from_utf8(scene.run(&["catalog", "show", "echo"]).stdout).unwrap();
    for expected in [
        "other.example.com: any method, bodies up to 99 bytes, the proxy also lets through: cookies",
        "MODE=of-{tenant}",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let token = scene.installation.profile("work", &[]);
    for (case, said, expected) in [
        ("nothing said", None, "tenant has no value"),
        ("W42 another host", Some("tenant=evil.com/"), "lower-case letters"),
        ("W42 a fragment", Some("tenant=evil.com#"), "lower-case letters"),
        ("W42 another label", Some("tenant=evil.test"), "lower-case letters"),
        ("a variable that is none", Some("region=eu"), "not a variable of the manifest"),
    ] {
        let accept = scene.accept("echo");
        let arguments: Vec<_> = ["server", "install", "echo", "--accept", &accept].into_iter().collect();
        let said = said.map(|said| ["--variable", said]);
        let refused = scene.refused(&[&arguments[..], said.as_ref().map_or(&[][..], |said| &said[..])].concat());
        assert!(refused.contains(expected), "{case}: {refused}");
        assert!(scene.servers().is_empty(), "{case}");
    }
    scene.install("echo", &["--variable", "tenant=api", "--profile", "work"]);
    let said =
        scene.json(&["server", "install", "echo", "--accept", &scene.accept("echo"), "--variable", "tenant=other"]);
    let expected = json!([{"path": "variables.tenant", "before": "api", "after": "other", "bearing": "behaviour"}]);
    assert_eq!((&said["changed"], &said["changes"]), (&json!(true), &expected), "other values are other hosts");
    let said = scene.run(&["server", "install", "echo", "--accept", &scene.accept("echo"), "--variable", "tenant=api"]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("agreed to:\n  ~ tenant = other -> api\n"), "{said}");
    let audit = scene.installation.json(&["audit"], "").to_string();
    assert!(audit.contains(" tenant=api") && audit.contains(" tenant=other"), "which ones was agreed to: {audit}");
    let spec = &scene.json(&["server", "list"])[0]["spec"];
    assert_eq!(spec["allow"], json!(["api.example.com"]), "what is said is filled in before anything is compiled");
    let gateway = scene.serve(&internet);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert_eq!(session.call("echo_echo", &json!({"text": "hello"})).text(), "hello");
    let environment = environment(&gateway);
    let value = |name: &str| environment.iter().find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    assert_eq!((value("GIG_VAR_TENANT"), value("MODE")), (Some("api"), Some("of-api")));
    assert_eq!((value("IMAGE_MODE"), value("PATH")), (Some("image"), Some("/app")), "the image's own");
    let placeholder = value("GIG_PLACEHOLDER").unwrap();
    assert!(placeholder.starts_with("dk_") && placeholder.len() == 40, "{placeholder}");
    let mounts = mounts(&gateway);
    assert!(mounts.iter().any(|line| line.contains(" /cache ") && line.contains("tmpfs")), "{mounts:?}");
    let kept = mounts.iter().find(|line| line.contains(" /data ")).unwrap_or_else(|| panic!("{mounts:?}"));
    assert!(!kept.contains("echo") && !kept.contains("local"), "its path says nothing: {kept}");
    drop(gateway);
    assert!(scene.left().iter().all(|path| !path.starts_with("state")), "it kept nothing yet");
    scene.json(&["server", "remove", "echo"]);
    assert!(!scene.installation.data().join("state").read_dir().unwrap().any(|_| true), "nor is its directory left");
}

#[test]
fn what_a_server_kept_is_not_left_to_the_next_of_its_name() {
    let (internet, mut scene) = (Internet::new(), Scene::new());
    let echo = image("gigmcp-demo-echo", &[]);
    echo.write(&scene.registry.layouts());
    scene.registry.publish(&[&manifest("echo", "1.0.0", echo.digest, |document| {
        document["state"] = json!({"path": "/data", "maxMib": 8});
    })]);
    let token = scene.installation.profile("work", &[]);
    let state = scene.installation.data().join("state");
    let kept = || fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let install = |scene: &Scene| {
        scene.install("echo", &["--profile", "work"]);
        let gateway = scene.serve(&internet);
        let session = Session::open(&internet, "/mcp/p/work", &token);
        assert_eq!(session.call("echo_echo", &json!({"text": "hello"})).text(), "hello", "{}", gateway.log());
    };
    install(&scene);
    let [of_server] = &kept()[..] else { panic!("{:?}", kept()) };
    let of_owner = fs::read_dir(of_server).unwrap().next().unwrap().unwrap().path();
    fs::write(of_owner.join("note"), "of the first").unwrap();
    // An upgrade, or the same again, leaves it.
    scene.json(&["server", "install", "echo"]);
    assert!(of_owner.join("note").exists(), "twin");
    // As when a removal is killed before its end.
    let left = |scene: &Scene| {
        scene.json(&["server", "remove", "echo"]);
        assert!(kept().is_empty());
        fs::create_dir_all(&of_owner).unwrap();
        fs::write(of_owner.join("note"), "of the first").unwrap();
    };
    left(&scene);
    install(&scene);
    assert!(!of_owner.join("note").exists(), "a new one begins with nothing");
    left(&scene);
    scene.json(&["server", "remove", "echo"]);
    assert!(kept().is_empty(), "a removal goes on where it ended");
    assert!(scene.refused(&["server", "remove", "echo"]).contains("there is no server"));
}

#[test]
fn what_the_audit_does_not_take_is_not_done() {
    let mut scene = Scene::new();
    let echo = image("gigmcp-demo-echo", &[]);
    echo.write(&scene.registry.layouts());
    scene.registry.publish(&[&manifest("echo", "1.0.0", echo.digest, |_| {})]);
    let accept = scene.accept("echo");
    let full = |scene: &Scene, is_full: bool| {
        let change = match is_full {
            true => "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'the audit is full'); END",
            false => "DROP TRIGGER full",
        };
        scene.database().execute_batch(change).unwrap();
    };
    full(&scene, true);
    let said = scene.refused(&["server", "install", "echo", "--accept", &accept]);
    assert!(said.contains("the audit is full"), "{said}");
    assert_eq!(scene.servers(), Vec::<String>::new());
    full(&scene, false);
    scene.install("echo", &[]); // twin
    full(&scene, true);
    assert!(scene.refused(&["server", "remove", "echo"]).contains("the audit is full"));
    assert_eq!(scene.servers(), ["echo"]);
    full(&scene, false);
    scene.json(&["server", "remove", "echo"]); // twin
}

#[test]
fn an_entrusted_server_gets_its_key_if_somebody_agreed_to_that() {
    let (internet, mut scene) = (Internet::new(), Scene::new());
    let echo = image("gigmcp-demo-echo", &[]);
    echo.write(&scene.registry.layouts());
    let echo = manifest("echo", "1.0.0", echo.digest, |document| {
        document["tier"] = json!("entrusted");
        document["entitlements"]["egress"] = json!(["api.example.com"]);
        document["entitlements"]["tcp"] = json!([{"host": "other.example.com", "port": 5432}]);
        document["credentials"] = json!([{"id": "db", "type": "custom_env", "inject": {"env": "DB_PASSWORD"}}]);
    });
    scene.registry.publish(&[&echo]);
    let token = scene.installation.profile("work", &[]);
    let shown = String::from_utf8(scene.run(&["catalog", "show", "echo"]).stdout).unwrap();
    assert!(shown.contains("ENTRUSTED") && shown.contains("held by the server in DB_PASSWORD"), "{shown}");
    let accept = scene.accept("echo");
    let said = scene.refused(&["server", "install", "echo", "--accept", &accept, "--profile", "work"]);
    assert!(said.contains("--entrust"), "{said}");
    assert_eq!(scene.servers(), Vec::<String>::new());
    scene.json(&["server", "install", "echo", "--accept", &accept, "--entrust", "--profile", "work"]);
    let gateway = scene.serve(&internet);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    session.call("echo_echo", &json!({"text": "hello"}));
    gateway.wait_for("needs the value of db itself");
    drop(gateway);
    scene.installation.json(&["secret", "set", "echo", "db"], KEY);
    let gateway = scene.serve(&internet);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert_eq!(session.call("echo_echo", &json!({"text": "hello"})).text(), "hello");
    assert!(environment(&gateway).contains(&format!("DB_PASSWORD={KEY}")));
    let audit = scene.installation.json(&["audit"], "");
    assert!(audit.to_string().contains("echo/db version 1: give to the server"), "{audit}");
    // What runs with an older value ends, as it does with everything else that was revoked.
    let first = gateway.descendants();
    scene.installation.json(&["secret", "set", "echo", "db"], "another-value");
    let servers: Vec<u32> = first.iter().copied().filter(is_server).collect();
    assert_eq!((servers.len(), wait_gone(&servers)), (1, vec![]));
    assert_eq!(session.call("echo_echo", &json!({"text": "again"})).text(), "again");
    assert!(environment(&gateway).contains(&"DB_PASSWORD=another-value".to_owned()));
    let servers: Vec<u32> = gateway.descendants().into_iter().filter(is_server).collect();
    scene.installation.json(&["secret", "delete", "echo", "db"], "");
    assert_eq!((servers.len(), wait_gone(&servers)), (1, vec![]), "what was deleted is held by nobody");
    assert!(session.call("echo_echo", &json!({"text": "hello"})).json().get("error").is_some());
}

#[test]
fn a_manifest_of_version_1_finds_its_placeholder_where_it_always_was() {
    let (internet, mut scene) = (Internet::new(), Scene::new());
    let echo = image("gigmcp-demo-echo", &[]);
    echo.write(&scene.registry.layouts());
    let echo = manifest("echo", "1.0.0", echo.digest, |document| {
        document["schemaVersion"] = json!(1);
        document["entitlements"]["egress"] = json!(["api.example.com"]);
        document["credentials"] = json!([{
            "id": "key", "type": "api_key", "inject": {"header": "Authorization", "format": "Bearer {token}"},
        }]);
    });
    scene.registry.publish(&[&echo]);
    let token = scene.installation.profile("work", &[]);
    scene.install("echo", &["--profile", "work"]);
    scene.installation.json(&["secret", "set", "echo", "key"], "ghp_0123456789abcdefghijABCDEFGHIJ012345");
    let gateway = scene.serve(&internet);
    Session::open(&internet, "/mcp/p/work", &token).call("echo_echo", &json!({"text": "hello"}));
    let environment = environment(&gateway);
    let placeholder = environment.iter().find_map(|pair| pair.strip_prefix("GIG_PLACEHOLDER=")).unwrap();
    assert!(placeholder.starts_with("ghp_") && !placeholder.contains("0123456789abcdef"), "{placeholder}");
}

#[test]
fn a_person_at_a_terminal_is_asked() {
    let mut scene = Scene::new();
    let echo = image("gigmcp-demo-echo", &[]);
    echo.write(&scene.registry.layouts());
    let sealed = manifest("sealed", "1.0.0", echo.digest, |_| {});
    let entrusted = manifest("trusted", "1.0.0", echo.digest, |document| document["tier"] = json!("entrusted"));
    scene.registry.publish(&[&sealed, &entrusted]);
    for (server, typed, expected) in [
        ("sealed", "n\n", None),
        ("sealed", "\n", None),
        ("sealed", "yes please\n", None),
        ("sealed", "y\n", Some("is installed")),
        ("trusted", "y\ny\n", None),
        ("trusted", "trusted\nn\n", None),
        ("trusted", "trusted\ny\n", Some("is installed")),
    ] {
        let line = format!("{} server install {server}", crate::gateway::GATEWAY);
        let mut command = std::process::Command::new("script");
        scene.installation.settings(&mut command);
        command.envs(scene.registry.settings()).args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), expected.is_some(), "{server} {typed:?}: {said}");
        assert!(
            said.contains("agree") && said.contains(expected.unwrap_or("nothing was changed")),
            "{server} {typed:?}: {said}"
        );
        assert_eq!(scene.servers().contains(&server.to_owned()), expected.is_some(), "{server} {typed:?}");
    }
}

#[test]
fn an_index_is_followed_over_https() {
    let mut scene = Scene::new();
    let echo = image("gigmcp-demo-echo", &[]);
    scene.registry.publish(&[&manifest("echo", "1.0.0", echo.digest, |_| {})]);
    let directory = scene.registry.url();
    let internet = Internet::serving(&[], move |stream| {
        let directory = directory.clone();
        async move {
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let file = fs::read(directory.join(request.uri().path().trim_start_matches("/registry/")));
                let status = if file.is_ok() { 200 } else { 404 };
                let body = http_body_util::Full::new(bytes::Bytes::from(file.unwrap_or_default()));
                async move { http::Response::builder().status(status).body(body) }
            });
            let stream = hyper_util::rt::TokioIo::new(stream);
            drop(hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await);
        }
    });
    let list = |url: &str| {
        let mut command = scene.installation.command_within(&internet);
        command.envs(scene.registry.settings()).env("GIG_REGISTRY_URL", url).args(["--json", "catalog", "list"]);
        command.output().unwrap()
    };
    let listed = list("https://api.example.com/registry");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("echo"), "{}", String::from_utf8_lossy(&listed.stderr));
    for (case, url, expected) in [
        ("in clear text", "http://api.example.com/registry", "cannot be used"),
        ("a name that has no certificate", "https://wan.example.com/registry", "last good one"),
        ("nothing is there", "https://api.example.com/elsewhere", "there is no index"),
    ] {
        let output = list(url);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{case}: {said}");
    }
}

/// The environment of the one server that runs.
pub(crate) fn environment(gateway: &Gateway) -> Vec<String> {
    let environ = of_server(gateway, "environ");
    String::from_utf8(environ).unwrap().split_terminator('\0').map(str::to_owned).collect()
}

fn mounts(gateway: &Gateway) -> Vec<String> {
    String::from_utf8(of_server(gateway, "mountinfo")).unwrap().lines().map(str::to_owned).collect()
}

fn of_server(gateway: &Gateway, file: &str) -> Vec<u8> {
    let pid = gateway.descendants().into_iter().find(is_server).unwrap_or_else(|| panic!("{}", gateway.log()));
    fs::read(format!("/proc/{pid}/{file}")).unwrap()
}

/// The servers that run from an image.
pub(crate) fn servers(gateway: &Gateway) -> Vec<u32> {
    gateway.descendants().into_iter().filter(is_server).collect()
}

fn is_server(pid: &u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"/app/server"))
}
