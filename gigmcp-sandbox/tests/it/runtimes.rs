//! Real runtimes do the work of a server under their profile, and never touch a tripwire.
//!
//! What is not there is a failure: `./dev test` installs it. Only of Pythons, of which Debian has one,
//! are later ones tested where `pyenv` has put them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gigmcp_sandbox::{Event, Exit, Layer, Network, OnTripwire, Profile, Rootfs, Sandbox, SandboxBuilder};
use tokio::io::AsyncReadExt;

use crate::internet::{ADDRESS, Internet};
use crate::left_out::has_root;
use crate::probe::{Dir, run, sandbox};

const URL: &str = "http://example.test/";

fn tools(command: &[&str]) -> SandboxBuilder {
    Sandbox::builder(Rootfs::host_tools()).command(command.iter().copied()).env("HOME", "/tmp").env("PATH", "/usr/bin")
}

/// What a server says that has work to do, with the internet at hand.
async fn output(builder: SandboxBuilder, profile: Profile) -> String {
    let builder = builder.network(Network::handoff()).profile(profile).require(Layer::Seccomp);
    let mut sandbox = builder.on_tripwire(OnTripwire::Kill).spawn().await.unwrap();
    let internet = Internet::serve(&mut sandbox);
    let (_stdin, mut stdout) = sandbox.stdio().unwrap();
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    let exit = sandbox.wait().await;
    assert_eq!(exit, Exit::Exited(0), "{text}{}", sandbox.stderr_tail().join("\n"));
    assert_eq!(sandbox.events().next().await, Some(Event::Ended(exit)));
    assert_eq!(internet.dialled(), ADDRESS, "what it fetched came from us");
    text
}

async fn node_works(node: &Path) {
    let command = [node.to_str().unwrap(), "/job/work.mjs", URL];
    let mut builder = tools(&command).file("/job/work.mjs", include_str!("../runtimes/work.mjs"));
    if !node.starts_with("/usr") {
        builder = builder.read_only(node);
    }
    let expected = format!(
        "files a,c 100001\nthreads 14 true true\nchildren through a child and echo SIGTERM\nhash 32\n\
         unix over a socket\nlookup {ADDRESS}\nresolve {ADDRESS}\nfetch ours\n"
    );
    assert_eq!(output(builder, Profile::Node).await, expected, "{node:?}");
}

/// Node 20 where the system has it, as the distribution's newest does.
#[tokio::test]
async fn the_systems_node_works() {
    node_works(Path::new("/usr/bin/node")).await;
}

#[tokio::test]
async fn node_24_works() {
    // What takes long, or lies in root's own directories, runs as root alone: the policy is the same.
    if has_root("the same programs run as root") {
        node_works(&crate::real_servers::node_24()).await;
    }
}

/// Every Python from 3.11 on, with the directory to show for it.
fn pythons() -> Vec<(PathBuf, Option<PathBuf>)> {
    let mut found = vec![(PathBuf::from("/usr/bin/python3"), None)];
    let home = std::env::var_os("HOME").unwrap_or_default();
    let root = std::env::var_os("PYENV_ROOT").map_or(Path::new(&home).join(".pyenv"), PathBuf::from);
    for entry in fs::read_dir(root.join("versions")).into_iter().flatten() {
        let dir = entry.unwrap().path();
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let minor: Option<u32> = name.strip_prefix("3.").and_then(|rest| rest.split('.').next()?.parse().ok());
        if minor.is_some_and(|minor| minor >= 11) {
            found.push((dir.join("bin/python3"), Some(dir)));
        }
    }
    found
}

#[tokio::test]
async fn every_python_from_3_11_on_works() {
    for (python, dir) in pythons() {
        let command = [python.to_str().unwrap(), "/job/work.py", URL];
        let mut builder = tools(&command).file("/job/work.py", include_str!("../runtimes/work.py"));
        if let Some(dir) = &dir {
            builder = builder.read_only(dir);
        }
        let expected = format!(
            "sendfile 1000 1000\nfiles a,c,database 100000 7\nthreads 14 True\nchildren 14 through a child SIGTERM\n\
             loop from a loop over a socket\nhash 32\nlookup {ADDRESS}\nfetch ours\n"
        );
        assert_eq!(output(builder, Profile::Python).await, expected, "{python:?}");
    }
}

#[tokio::test]
async fn a_static_go_server_works_alone_in_its_root() {
    if !has_root("the same programs run as root") {
        return;
    }
    let dir = Dir::new("go");
    let binary = dir.path().join("work");
    let go = ["go", "/usr/local/go/bin/go", "/usr/lib/go/bin/go"]
        .into_iter()
        .find(|go| Command::new(go).arg("version").output().is_ok_and(|output| output.status.success()))
        .expect("the tests need Go; ./dev test installs it");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let built = Command::new(go)
        .args(["build", "-trimpath", "-o"])
        .arg(&binary)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/runtimes/go"))
        .envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=mod -buildvcs=false")])
        .env("GOCACHE", cache.join("go-cache"))
        .env("GOPATH", cache.join("go-path"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let builder = Sandbox::builder(Rootfs::single_file(&binary)).command(["/server", URL]);
    let expected = format!(
        "files a,c 100000\nthreads 14 true\nchildren through a child terminated\nunix 100000 100000\n\
         splice spliced\nhash 32\nlookup {ADDRESS}\nfetch ours\n"
    );
    assert_eq!(output(builder, Profile::Static).await, expected);
}

#[tokio::test]
async fn a_static_rust_server_works_alone_in_its_root() {
    let said = output(sandbox(&["http", &format!("{ADDRESS}:80")]), Profile::Static).await;
    assert!(said.starts_with("allowed HTTP/1.1 200 OK") && said.ends_with("ours\n"), "{said}");
    // By sendfile where it may, as `std::io::copy` does.
    assert_eq!(run(sandbox(&["copy"]).profile(Profile::Static)).await, "allowed 13");
}

#[tokio::test]
async fn java_works_with_the_default_profile() {
    if !has_root("the same programs run as root") {
        return;
    }
    let java = fs::canonicalize("/usr/bin/java").expect("the tests need a JDK; ./dev test installs it");
    // A little heap: it takes a quarter of the host's memory otherwise.
    let command = [java.to_str().unwrap(), "-Xmx128m", "/job/Work.java", URL];
    let mut builder = tools(&command).file("/job/Work.java", include_str!("../runtimes/Work.java"));
    // Debian keeps the settings of each version here and links to them.
    for entry in fs::read_dir("/etc").unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_str().is_some_and(|name| name.starts_with("java-"))) {
            builder = builder.read_only(path);
        }
    }
    let expected = format!(
        "transfer 100000\nfiles a,c 100000\nthreads 14 true\nchildren through a child 143\nunix over a socket\nhash 32\n\
         lookup {ADDRESS}\nfetch ours\n"
    );
    assert_eq!(output(builder, Profile::Any).await, expected);
}
