//! Registries, images, files and databases that are not what they should be: nothing is installed, nothing runs, and nothing is
//! left.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::json;

use crate::{
    client::Session,
    docker_registry::{DockerRegistry, PASSWORD, USER},
    gateway::demo_server,
    install::{Scene, fetch, image},
    internet::Internet,
    registry::{Registry, manifest},
};

#[test]
fn only_an_index_that_is_signed_and_newer_is_believed() {
    let mut scene = Scene::new();
    let (good, other) = (image("gigmcp-demo-echo", &[]), image("gigmcp-demo-echo", &[("/app/evil", b"1")]));
    let of = |version: &str, image: &crate::registry::Image| manifest("echo", version, image.digest, |_| {});
    let (first, second) = (of("1.0.0", &good), of("1.1.0", &good));
    scene.registry.forge(2, &[&first], Some(9));
    let said = scene.refused(&["catalog", "list"]);
    assert!(
        said.contains("no index that may be used") && said.contains("not signed by those who are trusted"),
        "{said}"
    );
    scene.registry.publish(&[&first]);
    let versions = |scene: &Scene| scene.json(&["catalog", "show", "echo"])["versions"].clone();
    assert_eq!(versions(&scene), json!(["1.0.0"]), "twin");
    scene.registry.publish(&[&first, &second]);
    assert_eq!(versions(&scene), json!(["1.1.0", "1.0.0"]), "twin: a newer one is taken");
    let index = fs::read(scene.registry.index()).unwrap();
    type Case<'a> = (&'a str, &'a dyn Fn(&Registry), &'a str);
    let cases: [Case<'_>; 6] = [
        (
            "signed by other keys",
            &|registry| registry.forge(9, &[&first], Some(9)),
            "not signed by those who are trusted",
        ),
        ("an older one", &|registry| registry.forge(2, &[&first], None), "has sequence 2"),
        ("two of one number", &|registry| registry.forge(3, &[&first], None), "two different indexes"),
        (
            "another image under one version",
            &|registry| registry.forge(9, &[&of("1.0.0", &other)], None),
            "under the same version",
        ),
        ("cut off", &|registry| fs::write(registry.index(), &index[..index.len() / 2]).unwrap(), "not signed"),
        ("gone", &|registry| fs::remove_file(registry.index()).unwrap(), "there is no index"),
    ];
    for (case, damage, expected) in cases {
        damage(&scene.registry);
        let output = scene.run(&["--json", "catalog", "show", "echo"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("last good one") && said.contains(expected), "{case}: {said}");
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["versions"], json!(["1.1.0", "1.0.0"]), "{case}: the last good one is kept");
    }
    let stranger = Registry::new(8);
    let root = stranger.root().display().to_string();
    let said = scene.run_with(&[("GIG_REGISTRY_ROOT", &root)], &["catalog", "list"], "");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("another registry now"), "the root of another registry: {said}");
}

#[test]
fn images_that_are_not_what_was_signed_leave_nothing() {
    let mut scene = Scene::new();
    let echo = image("gigmcp-demo-echo", &[]);
    let layout = echo.write(&scene.registry.layouts());
    let blob = |digest: &str| layout.join("blobs/sha256").join(&digest["sha256:".len()..]);
    let (layer, document) = (blob(&echo.layer), blob(&echo.digest.to_string()));
    scene.registry.publish(&[&manifest("echo", "1.0.0", echo.digest, |_| {})]);
    scene.install("echo", &[]);
    scene.json(&["server", "remove", "echo"]);
    let (before, accept) = (scene.left(), scene.accept("echo"));
    let edit = |path: &Path, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut content = fs::read(path).unwrap();
        edit(&mut content);
        fs::write(path, content).unwrap();
    };
    type Case<'a> = (&'a str, &'a Path, &'a dyn Fn(&mut Vec<u8>), &'a str);
    let cases: [Case<'_>; 6] = [
        ("twin", &layer, &|_| {}, ""),
        ("a byte of a layer", &layer, &|content| content[600] ^= 1, "instead of"),
        ("a layer cut off", &layer, &|content| content.truncate(5000), "should have"),
        ("a longer layer", &layer, &|content| content.push(0), "should have"),
        ("an empty layer", &layer, &Vec::clear, "should have"),
        ("a byte of the manifest", &document, &|content| content[0] ^= 1, "instead of"),
    ];
    for (case, path, damage, expected) in cases {
        let whole = fs::read(path).unwrap();
        edit(path, damage);
        match expected {
            "" => drop(scene.json(&["server", "install", "echo", "--accept", &accept])),
            _ => {
                let said = scene.refused(&["server", "install", "echo", "--accept", &accept]);
                assert!(said.contains(expected), "{case}: {said}");
                assert_eq!(scene.servers(), Vec::<String>::new(), "{case}");
            }
        }
        if expected.is_empty() {
            scene.json(&["server", "remove", "echo"]);
        }
        assert_eq!(scene.left(), before, "{case}: nothing is left");
        fs::write(path, whole).unwrap();
    }
}

#[test]
fn what_another_installation_began_is_no_part_of_an_image() {
    let mut scene = Scene::new();
    let mut images = [image("gigmcp-demo-echo", &[]), image("gigmcp-demo-echo", &[("/app/more", b"1")])];
    images.sort_by_key(|image| image.digest.to_string());
    // The second one is looked for in the layout of the first one before.
    let [first, second] = images;
    let layouts = [&first, &second].map(|image| image.write(&scene.registry.layouts()));
    let of = |name: &str, image: &crate::registry::Image| manifest(name, "1.0.0", image.digest, |_| {});
    scene.registry.publish(&[&of("first", &first), &of("second", &second)]);
    scene.install("first", &[]);
    // As when a process is killed, or another one brings the same image at this moment.
    let begun = |digest: &str| {
        let hex = &digest["sha256:".len()..];
        let to = scene.installation.data().join("images/blobs").join(hex);
        fs::copy(layouts[1].join("blobs/sha256").join(hex), to).unwrap();
    };
    let (digest, accept) = (second.digest.to_string(), scene.accept("second"));
    begun(&digest);
    let broken = scene.registry.layouts().join("0.tar");
    fs::write(&broken, [b'x'; 2048]).unwrap();
    scene.install("second", &[]);
    scene.json(&["server", "remove", "second"]);
    let elsewhere = scene.registry.root().with_file_name("elsewhere");
    fs::rename(&layouts[1], &elsewhere).unwrap();
    let said = scene.refused(&["server", "install", "second", "--accept", &accept]);
    assert!(said.contains("0.tar") && said.contains("checksum"), "who could have it is named: {said}");
    fs::rename(&elsewhere, &layouts[1]).unwrap();
    fs::remove_file(&broken).unwrap();
    // What a layout has itself has to be whole.
    let hex = &second.layer["sha256:".len()..];
    fs::remove_file(layouts[1].join("blobs/sha256").join(hex)).unwrap();
    begun(&digest);
    let said = scene.refused(&["server", "install", "second", "--accept", &accept]);
    assert!(said.contains(&layouts[1].display().to_string()) && said.contains(&second.layer), "{said}");
    assert_eq!(scene.servers(), ["first"]);
}

#[test]
fn consent_is_to_one_manifest() {
    let mut scene = Scene::new();
    let (first, second) = (image("gigmcp-demo-echo", &[]), image("gigmcp-demo-echo", &[("/app/new", b"1")]));
    for image in [&first, &second] {
        image.write(&scene.registry.layouts());
    }
    let of = |version: &str, image: &crate::registry::Image| manifest("echo", version, image.digest, |_| {});
    scene.registry.publish(&[&of("1.0.0", &first), &of("1.1.0", &second)]);
    let (old, new) = (scene.accept("echo@1.0.0"), scene.accept("echo"));
    assert_ne!(old, new);
    for (case, arguments, expected) in [
        ("to another version", vec!["echo", "--accept", &*old], "what you agreed to is"),
        ("to the image alone", vec!["echo", "--accept", &*second.digest.to_string()], "what you agreed to is"),
        ("to whatever comes", vec!["echo", "--yes"], "name what you looked at"),
        ("to a version", vec!["echo@1.1.0", "--yes"], "name what you looked at"),
        ("to an image", vec![&*format!("echo@{}", second.digest), "--yes"], "name what you looked at"),
        ("to nothing", vec!["echo"], "nobody agreed"),
        ("no such version", vec!["echo@2.0.0"], "it has: 1.0.0, 1.1.0"),
        ("no such server", vec!["ecko"], "no server `ecko`"),
    ] {
        let said = scene.refused(&[&["server", "install"], &arguments[..]].concat());
        assert!(said.contains(expected), "{case}: {said}");
        assert_eq!(scene.servers(), Vec::<String>::new(), "{case}");
    }
    scene.json(&["server", "install", &format!("echo@{new}"), "--yes"]); // twin
    assert_eq!(scene.json(&["server", "list"])[0]["spec"]["source"]["image"]["version"], "1.1.0");
    // What was agreed to needs no consent, and nothing is changed by it.
    assert_eq!(scene.json(&["server", "install", "echo"])["changed"], false);

    let echo = demo_server("gigmcp-demo-echo");
    scene.json(&["server", "add", "hand", "--binary", echo.to_str().unwrap()]);
    scene.registry.publish(&[
        &of("1.0.0", &first),
        &of("1.1.0", &second),
        &manifest("hand", "1.0.0", first.digest, |_| {}),
        &manifest("registry", "1.0.0", first.digest, |_| {}),
        &manifest("exec", "1.0.0", first.digest, |_| {}),
    ]);
    for (server, expected) in
        [("hand", "did not come from an index"), ("registry", "is kept for"), ("exec", "is kept for")]
    {
        let accept = scene.accept(server);
        let said = scene.refused(&["server", "install", server, "--accept", &accept]);
        assert!(said.contains(expected), "{server}: {said}");
    }
}

#[test]
fn an_image_that_holds_another_manifest_is_not_installed() {
    let mut scene = Scene::new();
    let program = fs::read(demo_server("gigmcp-demo-echo")).unwrap();
    let toolpack = |host: &'static str| {
        move |document: &mut serde_json::Value| {
            document["image"]["builder"] = json!("toolpack");
            document["entitlements"]["egress"] = json!([host]);
        }
    };
    let nothing = gigmcp_registry::Digest::of(b"");
    for (case, inside, expected) in [
        ("twin", Some("api.example.com"), None),
        ("other rights", Some("evil.test"), Some("runtime hash")),
        ("no manifest", None, Some("No such file")),
    ] {
        let bundled = inside.map(|host| manifest("echo", "1.0.0", nothing, toolpack(host)).to_yaml());
        let mut files = vec![("/app/server", &program[..])];
        files.extend(bundled.as_ref().map(|text| ("/app/manifest.yaml", text.as_bytes())));
        let image = crate::registry::Image::of(&files);
        image.write(&scene.registry.layouts());
        let signed = manifest("echo", "1.0.0", image.digest, toolpack("api.example.com"));
        scene.registry = {
            // a registry of its own, as a version keeps its image
            let registry = Registry::new(7);
            image.write(&registry.layouts());
            registry
        };
        scene.installation = crate::gateway::Installation::on_sqlite();
        scene.registry.publish(&[&signed]);
        let accept = scene.accept("echo");
        match expected {
            None => drop(scene.install("echo", &[])),
            Some(expected) => {
                let said = scene.refused(&["server", "install", "echo", "--accept", &accept]);
                assert!(said.contains(expected), "{case}: {said}");
                assert_eq!(scene.servers(), Vec::<String>::new(), "{case}");
            }
        }
    }
}

#[test]
fn files_that_were_changed_after_the_installation_are_not_run() {
    let (internet, mut scene) = (Internet::new(), Scene::new());
    let echo = image("gigmcp-demo-echo", &[("/app/data", b"as it was")]);
    echo.write(&scene.registry.layouts());
    scene.registry.publish(&[&manifest("echo", "1.0.0", echo.digest, |_| {})]);
    let token = scene.installation.profile("work", &[]);
    scene.install("echo", &["--profile", "work"]);
    let tree = scene.tree();
    let edits: [(&str, &dyn Fn()); 4] = [
        ("a file's content", &|| fs::write(tree.join("app/data"), "as it is").unwrap()),
        ("a file more", &|| fs::write(tree.join("app/more"), "").unwrap()),
        ("a file's mode", &|| fs::set_permissions(tree.join("app/data"), fs::Permissions::from_mode(0o444)).unwrap()),
        ("a file less", &|| fs::remove_file(tree.join("app/data")).unwrap()),
    ];
    let text = json!({"text": "hello"});
    for (case, edit) in edits {
        {
            let _gateway = scene.serve(&internet);
            let session = Session::open(&internet, "/mcp/p/work", &token);
            assert_eq!(session.call("echo_echo", &text).text(), "hello", "twin of: {case}");
        }
        fs::set_permissions(tree.join("app"), fs::Permissions::from_mode(0o755)).unwrap();
        edit();
        fs::set_permissions(tree.join("app"), fs::Permissions::from_mode(0o555)).unwrap();
        {
            let gateway = scene.serve(&internet);
            let session = Session::open(&internet, "/mcp/p/work", &token);
            assert_eq!(
                session.call("echo_echo", &text).json()["error"]["data"]["code"],
                "sandbox-not-started",
                "{case}"
            );
            let log = gateway.wait_for("are not those that were installed");
            assert!(log.contains("server install echo@1.0.0"), "{case}: {log}");
        }
        // What was agreed to is unpacked anew, and nobody is asked.
        assert_eq!(scene.json(&["server", "install", "echo@1.0.0"])["changed"], false, "{case}");
        assert_eq!(fs::read(scene.tree().join("app/data")).unwrap(), b"as it was", "{case}");
    }
}

#[test]
fn who_writes_to_the_database_installs_nothing() {
    let (internet, mut scene) = (Internet::new(), Scene::new());
    let (echo, other) = (image("gigmcp-demo-fetch", &[]), image("gigmcp-demo-fetch", &[("/app/evil", b"1")]));
    for image in [&echo, &other] {
        image.write(&scene.registry.layouts());
    }
    let notes =
        manifest("notes", "1.0.0", other.digest, |document| document["entitlements"]["egress"] = json!(["evil.test"]));
    scene.registry.publish(&[&fetch("1.0.0", &echo, &["api.example.com"]), &notes]);
    let token = scene.installation.profile("work", &[]);
    scene.install("notes", &[]);
    for (case, edit) in [
        (
            "another host",
            "UPDATE servers SET spec = replace(spec, '\"allow\":[\"api.example.com\"]', '\"allow\":[\"evil.test\"]')",
        ),
        (
            "another host, also in the policy",
            "UPDATE servers SET spec = replace(spec, '\"allow\":[\"api.example.com\"]', '\"allow\":[\"evil.test\"]');
             UPDATE policies SET spec = replace(spec, '\"allow\":[\"api.example.com\"]', '\"allow\":[\"evil.test\"]')",
        ),
        (
            "what was agreed to for another server",
            "UPDATE servers SET spec = (SELECT spec FROM servers WHERE name = 'notes') WHERE name = 'fetch';
             UPDATE policies SET (spec, signer, signature) =
                 (SELECT spec, signer, signature FROM policies WHERE server = 'notes') WHERE server = 'fetch'",
        ),
        ("no signature", "UPDATE policies SET signer = NULL, signature = NULL WHERE server = 'fetch'"),
    ] {
        scene.install("fetch", &["--profile", "work"]);
        let works = |scene: &Scene| {
            let gateway = scene.serve(&internet);
            let session = Session::open(&internet, "/mcp/p/work", &token);
            // What it listed before may be listed still; only a call starts it.
            let answer = session.call("fetch_fetch", &json!({"url": "https://api.example.com/"})).json();
            let runs = answer.get("result").is_some();
            if !runs {
                assert_eq!(answer["error"]["data"]["code"], "sandbox-not-started", "{answer}");
                gateway.wait_for("is not what was agreed to");
            }
            runs
        };
        assert!(works(&scene), "twin of: {case}");
        assert!(scene.database().execute_batch(edit).is_ok(), "{case}");
        assert!(!works(&scene), "{case}");
        // It needs a new consent, and not only the word of the database.
        let said = scene.refused(&["server", "install", "fetch"]);
        assert!(said.contains("nobody agreed"), "{case}: {said}");
        scene.json(&["server", "remove", "fetch"]);
    }
}

#[test]
fn a_rule_that_appears_while_a_server_runs_is_none() {
    let (internet, mut scene) = (Internet::new(), Scene::new());
    let image = image("gigmcp-demo-fetch", &[]);
    image.write(&scene.registry.layouts());
    scene.registry.publish(&[&manifest("fetch", "1.0.0", image.digest, |document| {
        document["entitlements"]["egress"] = json!(["api.example.com"]);
        document["runtime"] = json!({"env": [{"name": "API_KEY", "value": "none"}]});
    })]);
    let token = scene.installation.profile("work", &[]);
    scene.install("fetch", &["--profile", "work"]);
    let _gateway = scene.serve(&internet);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    let call = |host: &str| session.call("fetch_fetch", &json!({"url": format!("https://{host}/")}));
    call("api.example.com");
    assert_eq!(internet.seen().len(), 1, "twin");
    scene.database().execute("UPDATE servers SET spec = replace(spec, 'api.example.com', 'evil.test')", []).unwrap();
    for host in ["evil.test", "api.example.com"] {
        call(host);
        assert_eq!(internet.seen().len(), 1, "{host}");
    }
    assert!(!internet.asked.lock().unwrap().iter().any(|name| name == "evil.test"));
}

#[test]
fn images_come_from_a_private_registry_to_who_may_have_them() {
    let mut scene = Scene::new();
    let registry = DockerRegistry::start();
    let echo = image("gigmcp-demo-echo", &[]);
    registry.push("demo/echo", &echo);
    scene.registry.publish(&[&manifest("echo", "1.0.0", echo.digest, |document| {
        document["image"]["ref"] = json!(format!("{}/demo/echo", registry.name));
    })]);
    let accept = scene.accept("echo");
    let certificate = registry.certificate().display().to_string();
    let settings = |reach: &'static str| {
        [("GIG_IMAGE_LAYOUTS", ""), ("GIG_UPSTREAM_EXTRA_ROOTS", &*certificate), ("GIG_REGISTRY_ALLOW", reach)]
            .map(|(name, value)| (name, value.to_owned()))
    };
    let install = |scene: &Scene, reach| {
        let settings = settings(reach);
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
        let output = scene.run_with(&settings, &["server", "install", "echo", "--accept", &accept], "");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let login = |scene: &Scene, password: &str| {
        let login = ["registry", "login", &registry.name, "--username", USER];
        assert!(scene.run_with(&[], &login, password).status.success());
    };
    let before = {
        login(&scene, "for the key");
        scene.json(&["registry", "logout", &registry.name]);
        drop(scene.json(&["images", "gc"]));
        scene.left()
    };
    for (case, password, reach, expected) in [
        ("nobody logged in", None, "localhost", "demands a credential"),
        ("another password", Some("open barley"), "localhost", "demands a credential"),
        ("an address that nobody named", Some(PASSWORD), "", "127.0.0.1"),
        ("a network that is not it", Some(PASSWORD), "10.0.0.0/8", "127.0.0.1"),
    ] {
        if let Some(password) = password {
            login(&scene, password);
        }
        let (installed, said) = install(&scene, reach);
        assert!(!installed && said.contains(expected), "{case}: {said}");
        assert_eq!((scene.servers(), scene.left()), (vec![], before.clone()), "{case}: nothing is left");
    }
    let layer = registry.blob(&echo.layer);
    let whole = fs::read(&layer).unwrap();
    for (case, damaged) in [
        ("a byte changed", {
            let mut it = whole.clone();
            it[600] ^= 1;
            it
        }),
        ("cut off", whole[..5000].to_vec()),
    ] {
        fs::write(&layer, damaged).unwrap();
        let (installed, said) = install(&scene, "localhost");
        assert!(!installed && said.contains("cannot be had"), "{case}: {said}");
        assert_eq!((scene.servers(), scene.left()), (vec![], before.clone()), "{case}: nothing is left");
    }
    fs::write(&layer, whole).unwrap();
    let (installed, said) = install(&scene, "localhost"); // twin
    assert!(installed, "{said}");
    scene.json(&["server", "remove", "echo"]);
    // The same image by another name, which a mirror has.
    scene.registry.publish(&[&manifest("echo", "1.0.1", echo.digest, |document| {
        document["image"]["ref"] = json!("registry.example/demo/echo");
    })]);
    let mirror = format!("registry.example={}", registry.name);
    let settings =
        [("GIG_IMAGE_LAYOUTS", ""), ("GIG_UPSTREAM_EXTRA_ROOTS", &*certificate), ("GIG_IMAGE_MIRROR", &*mirror)];
    let accept = scene.accept("echo");
    let output = scene.run_with(&settings, &["server", "install", "echo", "--accept", &accept], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = scene.json(&["secret", "list"]).to_string();
    assert!(listed.contains(&registry.name) && !listed.contains(PASSWORD), "{listed}");
    let held = scene.installation.files();
    assert!(held.iter().all(|(_, bytes)| !bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes())));
}
