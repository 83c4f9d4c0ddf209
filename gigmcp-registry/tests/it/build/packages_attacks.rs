//! Lock files and packages that want something else than to be unpacked, each beside one that does not.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use gigmcp_registry::build::{Fetcher, Plan};
use serde_json::{Value, json};

use super::mirror::{Mirror, integrity, packed};
use super::packages::{base, dial, everything, time};
use super::{built, files, manifest};
use crate::oci::Place;
use crate::registryctl::Desk;
use crate::tar_bytes::Tar;

/// A desk with the package `a` of a mirror in its lock file, and a program of its own.
fn desk(mirror: &Mirror, content: &[u8], change: impl FnOnce(&mut Value)) -> Desk {
    let desk = Desk::new();
    fs::write(desk.path("ca.pem"), &mirror.certificate).unwrap();
    fs::write(desk.path("a.yaml"), manifest("a", "node", "/app/index.js", &["echo"])).unwrap();
    fs::create_dir(desk.path("source")).unwrap();
    fs::write(desk.path("source/index.js"), "#!/usr/bin/env node\nrequire('a')").unwrap();
    fs::set_permissions(desk.path("source/index.js"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(desk.path("source/package.json"), r#"{"dependencies": {"a": "1.0.0"}}"#).unwrap();
    let mut lock = json!({"lockfileVersion": 3, "packages": {
        "": {"dependencies": {"a": "1.0.0"}},
        "node_modules/a": {"version": "1.0.0", "integrity": integrity(content), "hasInstallScript": true},
    }});
    change(&mut lock["packages"]["node_modules/a"]);
    fs::write(desk.path("source/package-lock.json"), lock.to_string()).unwrap();
    desk
}

/// A mirror with one package.
fn mirror(content: &[u8]) -> Mirror {
    Mirror::start(BTreeMap::from([("/a/-/a-1.0.0.tgz".to_owned(), content.to_vec())]))
}

fn line(mirror: &Mirror) -> String {
    format!("build a.yaml --npm source --output layout --base {} {}", base("node"), mirror.options())
}

/// Writes `canary` where it is installed, if it is.
fn with_install_script() -> Tar {
    let script =
        "require('fs').writeFileSync(__dirname + '/canary', ''); require('fs').writeFileSync('/tmp/gigmcp-canary', '')";
    Tar::new()
        .file(
            "package/package.json",
            r#"{"name": "a", "version": "1.0.0", "scripts": {"postinstall": "node install.js"}}"#,
        )
        .file("package/install.js", script)
        .file("package/index.js", "")
}

#[tokio::test]
async fn install_scripts_are_not_run() {
    let content = packed(with_install_script());
    let mirror = mirror(&content);
    let (desk, place) = (desk(&mirror, &content, |_| ()), Place::new());
    drop(fs::remove_file("/tmp/gigmcp-canary"));
    let said = desk.json(&line(&mirror));
    assert_eq!(said["notRun"], json!(["node_modules/a"]));
    assert!(!fs::exists("/tmp/gigmcp-canary").unwrap());
    let installed = super::installed(&place, &desk.path("layout"), super::digest(&said)).await;
    assert_eq!(files(&installed.lease.rootfs().join("app/node_modules/a")), ["index.js", "install.js", "package.json"]);
    let own = fs::read_to_string(installed.lease.rootfs().join("app/index.js")).unwrap();
    assert!(own.starts_with("#!/usr/bin/node\n"), "{own}");

    // Twin: whoever runs them finds the canary.
    fs::write(desk.path("a-1.0.0.tgz"), content).unwrap();
    let npm = Command::new("npm")
        .args(["install", "--offline", "--no-audit", "--no-fund", "--prefix", "twin", "./a-1.0.0.tgz"])
        .current_dir(desk.path(""))
        .output()
        .unwrap();
    assert!(fs::exists(desk.path("twin/node_modules/a/canary")).unwrap(), "{}", String::from_utf8_lossy(&npm.stderr));
    drop(fs::remove_file("/tmp/gigmcp-canary"));
}

#[test]
fn lock_files_that_lead_elsewhere_are_refused_before_anything_is_asked() {
    let content = packed(with_install_script());
    let mirror = mirror(&content);
    for (case, change, says) in [
        (
            "no integrity",
            (|entry: &mut Value| drop(entry.as_object_mut().unwrap().remove("integrity"))) as fn(&mut Value),
            "has no integrity",
        ),
        (
            "SHA-1",
            |entry| entry["integrity"] = "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=".into(),
            "neither SHA-512 nor SHA-256",
        ),
        (
            "another host",
            |entry| entry["resolved"] = "https://other.example.test/a/-/a-1.0.0.tgz".into(),
            "comes from other.example.test",
        ),
        ("git", |entry| entry["resolved"] = "git+ssh://git@github.com/a/a.git#0".into(), "no package of a registry"),
        (
            "plain HTTP",
            |entry| entry["resolved"] = "http://npm.example.test/a/-/a-1.0.0.tgz".into(),
            "no package of a registry",
        ),
        ("a file", |entry| entry["resolved"] = "file:../a".into(), "no package of a registry"),
        ("a link", |entry| entry["link"] = true.into(), "a link to a directory"),
    ] {
        let (code, said) = desk(&mirror, &content, change).refused(&line(&mirror));
        assert!(code == 1 && said.contains(says) && said.contains("node_modules/a"), "{case}: {said}");
    }
    let git = desk(&mirror, &content, |_| ());
    fs::write(git.path("source/package.json"), r#"{"dependencies": {"a": "github:a/a"}}"#).unwrap();
    let (code, said) = git.refused(&line(&mirror));
    assert!(code == 1 && said.contains("github:a/a"), "{said}");
    assert_eq!(*mirror.asked.lock().unwrap(), [""; 0]);
    // Twin: nothing of that.
    built(
        &desk(&mirror, &content, |entry| entry["resolved"] = "https://npm.example.test/a/-/a-1.0.0.tgz".into()),
        &line(&mirror),
    );
    assert_eq!(*mirror.asked.lock().unwrap(), ["/a/-/a-1.0.0.tgz"]);
}

#[test]
fn a_dependency_does_not_become_the_server_by_the_name_of_its_program() {
    let desk = Desk::new();
    fs::write(desk.path("a.yaml"), manifest("a", "node", "/app/node_modules/.bin/serve", &["echo"])).unwrap();
    fs::create_dir(desk.path("source")).unwrap();
    fs::write(desk.path("source/package.json"), r#"{"dependencies": {"server": "1.0.0"}}"#).unwrap();
    for (case, place, program, is_rival) in [
        ("another program", "node_modules/left", "left", false),
        ("the same name", "node_modules/left", "serve", true),
        ("the same name in a scope", "node_modules/left", "@x/serve", true),
        ("for others of its own", "node_modules/server/node_modules/left", "serve", false),
    ] {
        let lock = json!({"lockfileVersion": 3, "packages": {
            "": {"dependencies": {"server": "1.0.0"}},
            "node_modules/server": {"version": "1.0.0", "integrity": integrity(b""), "bin": {"serve": "serve.js"}},
            place: {"version": "1.0.0", "integrity": integrity(b""), "bin": {program: "left.js"}},
        }});
        fs::write(desk.path("source/package-lock.json"), lock.to_string()).unwrap();
        let (code, said) = desk.refused("build a.yaml --npm source --output layout");
        let expected = match is_rival {
            true => "/app/node_modules/.bin/serve is a program of node_modules/left and of node_modules/server",
            false => "an image of packages stands on a base", // what is asked for next
        };
        assert!(code == 1 && said.contains(expected), "{case}: {said}");
    }
}

#[test]
fn packages_that_are_not_what_was_locked_are_refused() {
    let content = packed(with_install_script());
    let other = packed(with_install_script().file("package/more.js", ""));
    for (case, published, is_right) in [("the same", &content, true), ("something else", &other, false)] {
        let mirror = mirror(published);
        let desk = desk(&mirror, &content, |_| ());
        match is_right {
            true => drop(built(&desk, &line(&mirror))),
            false => {
                let (code, said) = desk.refused(&line(&mirror));
                assert!(code == 1 && said.contains("is not what its digest says"), "{case}: {said}");
            }
        }
    }
    // The same with a real one.
    let real = everything();
    let lock = fs::read_to_string(real.path("source/package-lock.json")).unwrap();
    let at = lock.find("sha512-").unwrap() + 20;
    let changed = format!("{}{}{}", &lock[..at], if &lock[at..=at] == "A" { "B" } else { "A" }, &lock[at + 1..]);
    fs::write(real.path("source/package-lock.json"), changed).unwrap();
    let line = format!(
        "build everything.yaml --npm source --output layout --base {} {}",
        base("node"),
        dial("registry.npmjs.org")
    );
    let (code, said) = real.refused(&line);
    assert!(code == 1 && said.contains("is not what its digest says"), "{said}");
    fs::write(real.path("source/package-lock.json"), lock).unwrap();
    built(&real, &line);
}

#[test]
fn packages_are_files_below_their_directory() {
    let good = || Tar::new().file("package/package.json", "{}");
    for (case, tar, says) in [
        ("a file", good().file("package/a", "/etc/passwd"), None),
        ("a symlink", good().symlink("package/a", "/etc/passwd"), Some("no file in a directory")),
        ("a hard link", good().hard_link("package/a", "package/package.json"), Some("no file in a directory")),
        ("up", good().file("package/../../a", "x"), Some("its archive is refused")),
        ("over another package", good().file("package/../b/index.js", "x"), Some("its archive is refused")),
    ] {
        let content = packed(tar);
        let mirror = mirror(&content);
        let desk = desk(&mirror, &content, |_| ());
        match says {
            None => drop(built(&desk, &line(&mirror))),
            Some(says) => {
                let (code, said) = desk.refused(&line(&mirror));
                assert!(code == 1 && said.contains(says), "{case}: {said}");
            }
        }
    }
}

#[tokio::test]
async fn symlinks_and_secrets_of_the_directory_stay_where_they_are() {
    let content = packed(with_install_script());
    let mirror = mirror(&content);
    let (desk, place) = (desk(&mirror, &content, |_| ()), Place::new());
    fs::write(desk.path("outside"), "secret").unwrap();
    symlink(desk.path("outside"), desk.path("source/inside.js")).unwrap();
    let (code, said) = desk.refused(&line(&mirror));
    assert!(code == 1 && said.contains("source/inside.js is a symlink"), "{said}");

    fs::remove_file(desk.path("source/inside.js")).unwrap();
    fs::create_dir_all(desk.path("source/lib/.git")).unwrap();
    fs::write(desk.path("source/lib/ours.js"), "ours").unwrap();
    let secrets = [".env", ".npmrc", "id_rsa", "lib/.env.production", "lib/server.key"];
    for name in secrets {
        fs::write(desk.path("source").join(name), "secret").unwrap();
    }
    let said = desk.json(&line(&mirror));
    assert_eq!(
        said["leftOut"],
        json!([".env", ".npmrc", "id_rsa", "lib/.env.production", "lib/.git", "lib/server.key"])
    );
    let installed = super::installed(&place, &desk.path("layout"), super::digest(&said)).await;
    let app: Vec<_> = files(&installed.lease.rootfs().join("app"))
        .into_iter()
        .filter(|path| !path.starts_with("node_modules"))
        .collect();
    assert_eq!(app, ["index.js", "lib/ours.js", "package-lock.json", "package.json"]);
}

#[test]
fn an_entrypoint_that_is_not_there_is_told() {
    let content = packed(with_install_script());
    let mirror = mirror(&content);
    for (entrypoint, is_right) in
        [("/app/index.js", true), ("/usr/bin/node", true), ("/app/main.js", false), ("/app/package.json", false)]
    {
        let desk = desk(&mirror, &content, |_| ());
        fs::write(desk.path("a.yaml"), manifest("a", "node", entrypoint, &["echo"])).unwrap();
        match is_right {
            true => drop(built(&desk, &line(&mirror))),
            false => {
                let (code, said) = desk.refused(&line(&mirror));
                assert!(code == 1 && said.contains(&format!("no program at {entrypoint}")), "{said}");
            }
        }
    }
}

#[test]
fn a_build_stands_on_the_right_base() {
    let content = packed(with_install_script());
    let mirror = mirror(&content);
    let desk = desk(&mirror, &content, |_| ());
    let line = line(&mirror);
    let without = line.replace(&format!("--base {}", base("node")), "");
    let (code, said) = desk.refused(&without);
    assert!(code == 1 && said.contains("registryctl build-base node"), "{said}");
    let (code, said) = desk.refused(&line.replace(&base("node"), &base("python")));
    assert!(code == 1 && said.contains("it has python, and not node"), "{said}");
    let (code, said) = desk.refused(&format!("{line} --platform arm64"));
    assert!(code == 1 && said.contains("not for linux/arm64"), "{said}");
    built(&desk, &line);
}

/// Whatever happens to the program in the sandbox, its packets go to the hosts of the plan.
#[tokio::test]
async fn the_sandbox_reaches_the_registry_and_nothing_else() {
    let content = packed(with_install_script());
    let mirror = mirror(&content);
    let plan = |hosts: &[&str]| -> Plan {
        let download = json!({"url": "https://other.example.test/a/-/a-1.0.0.tgz",
            "integrity": {"Sha512": hex::encode(<sha2::Sha512 as sha2::Digest>::digest(&content))},
            "unpack": {"Npm": {"into": "app/node_modules/a", "bin": {}}}});
        serde_json::from_value(json!({"hosts": hosts, "downloads": [download], "wheels": null})).unwrap()
    };
    let fetcher = Fetcher::new(env!("CARGO_BIN_EXE_registryctl"), ["build-step".to_owned()])
        .roots_pem(mirror.certificate.as_bytes())
        .danger_dial(([127, 0, 0, 1], mirror.port).into());
    let refused = fetcher.fetch(&plan(&["npm.example.test"])).await.unwrap_err().to_string();
    assert!(refused.contains("refused: other.example.test"), "{refused}");
    assert_eq!(*mirror.asked.lock().unwrap(), [""; 0]);
    let tree = fetcher.fetch(&plan(&["npm.example.test", "other.example.test"])).await.unwrap();
    assert!(tree.content("app/node_modules/a/index.js").is_some());
    // Nor is loopback anything but the sandbox's own, or an address one without --danger-dial.
    let honest = Fetcher::new(env!("CARGO_BIN_EXE_registryctl"), ["build-step".to_owned()])
        .roots_pem(mirror.certificate.as_bytes());
    honest.fetch(&plan(&["other.example.test"])).await.unwrap_err();
}

#[test]
fn requirements_without_hashes_or_wheels_are_refused() {
    let line =
        format!("build time.yaml --python source --output layout --base {} {}", base("python"), dial("pypi.org"));
    let whole = "tzdata==2024.1 --hash=sha256:9068bc196136463f5245e51efda838afa15aaeca9903f49050dfa2679db4d252";
    let source = "tzdata==2024.1 --hash=sha256:2674120f8d891909751c38abcdfd386ac0a5a1127954fbc332af6b5ceae07efd";
    let neither = format!("tzdata==2024.1 --hash=sha256:{}", "0".repeat(64));
    let alone = "mcp-server-time==0.5.1 --hash=sha256:2c6a25e3877b13a135efe0546989722b37469b1287e8310c27709048d3e79722";
    for (case, text, says) in [
        ("no hash", "tzdata==2024.1", "line 1: tzdata has no --hash"),
        ("source only", source, "is there as source only (tzdata-2024.1.tar.gz)"),
        ("another hash", &neither, "has no file with one of the hashes"),
        (
            "another index",
            &format!("--extra-index-url https://other.example.test\n{whole}"),
            "is not taken from a file",
        ),
        ("git", "git+https://github.com/a/a", "is no package of an index"),
        ("without what it needs", alone, "needs mcp, which is not among the requirements"),
    ] {
        let desk = time();
        fs::write(desk.path("source/requirements.txt"), text).unwrap();
        let (code, said) = desk.refused(&line);
        assert!(code == 1 && said.contains(says), "{case}: {said}");
    }
    let desk = time();
    fs::write(desk.path("time.yaml"), manifest("time", "python", "/usr/bin/python3", &["echo"])).unwrap();
    fs::write(desk.path("source/requirements.txt"), whole).unwrap();
    built(&desk, &line);
}

#[test]
fn an_index_does_not_lead_to_another_host() {
    let wheel = {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file("a/__init__.py", zip::write::SimpleFileOptions::default()).unwrap();
        zip.finish().unwrap().into_inner()
    };
    let hash = gigmcp_registry::Digest::of(&wheel).to_string()["sha256:".len()..].to_owned();
    for (case, at, is_right) in [("its own", "pypi.example.test", true), ("another", "other.example.test", false)] {
        let page = json!({"files": [{"filename": "a-1.0-py3-none-any.whl", "hashes": {"sha256": hash}, "url": format!("https://{at}/files/a-1.0-py3-none-any.whl")}]});
        let mirror = Mirror::start(BTreeMap::from([
            ("/simple/a/".to_owned(), page.to_string().into_bytes()),
            ("/files/a-1.0-py3-none-any.whl".to_owned(), wheel.clone()),
        ]));
        let desk = time();
        fs::write(desk.path("ca.pem"), &mirror.certificate).unwrap();
        fs::write(desk.path("time.yaml"), manifest("time", "python", "/usr/bin/python3", &["echo"])).unwrap();
        fs::write(desk.path("source/requirements.txt"), format!("a==1.0 --hash=sha256:{hash}")).unwrap();
        let line =
            format!("build time.yaml --python source --output layout --base {} {}", base("python"), mirror.options());
        match is_right {
            true => drop(built(&desk, &line)),
            false => {
                let (code, said) = desk.refused(&line);
                assert!(code == 1 && said.contains("at a host that is not asked"), "{case}: {said}");
                assert_eq!(*mirror.asked.lock().unwrap(), ["/simple/a/"]);
            }
        }
    }
}
