//! Real packages of npm and PyPI, from their lock files to a server that runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gigmcp_registry::{Anonymous, Digest, ImageReference, Installed};
use serde_json::json;
use tempfile::TempDir;

use super::mcp::Server;
use super::{built, files, manifest};
use crate::oci::Place;
use crate::oci::real::{Listens, Real};
use crate::registryctl::Desk;

/// `LAYOUT@DIGEST` of a base, made once for all tests.
pub(super) fn base(runtime: &str) -> String {
    static BASES: OnceLock<(TempDir, [String; 2])> = OnceLock::new();
    let (_, bases) = BASES.get_or_init(|| {
        let place = tempfile::tempdir().unwrap();
        let desk = Desk::new();
        let made = ["node", "python"].map(|runtime| {
            let layout = place.path().join(runtime);
            let digest = built(&desk, &format!("build-base {runtime} --debian trixie -o {}", layout.display()));
            format!("{}@{digest}", layout.display())
        });
        (place, made)
    });
    bases[usize::from(runtime == "python")].clone()
}

/// Where a registry's name leads to something else than a public address, that is named, as an operator would.
pub(super) fn dial(host: &str) -> String {
    use std::net::ToSocketAddrs as _;
    let addresses: Vec<_> = (host, 443).to_socket_addrs().unwrap().collect();
    let all: Vec<_> = addresses.iter().map(std::net::SocketAddr::ip).collect();
    match gigmcp_egress::AddressGuard::new().check(&all, 443) {
        Ok(_) => String::new(),
        Err(_) => format!("--danger-dial {}", addresses[0]),
    }
}

/// A directory of these tests.
pub(super) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/build").join(name)
}

pub(super) fn everything() -> Desk {
    let desk = Desk::new();
    let tools = ["echo", "get-sum"];
    fs::write(desk.path("everything.yaml"), manifest("everything", "node", EVERYTHING, &tools)).unwrap();
    copy(&fixture("everything"), &desk.path("source"));
    desk
}

pub(super) fn time() -> Desk {
    let desk = Desk::new();
    let tools = ["get_current_time", "convert_time"];
    fs::write(desk.path("time.yaml"), manifest("time", "python", "/usr/local/bin/mcp-server-time", &tools)).unwrap();
    copy(&fixture("time"), &desk.path("source"));
    desk
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Pushed to a real registry, and pulled from there by the digest.
async fn through_a_registry(desk: &Desk, digest: Digest, place: &Place) -> Installed {
    let registry = Real::start(Listens::Open);
    fs::write(desk.path("ca.pem"), &registry.ca_pem).unwrap();
    let pushed = desk.json(&format!("push layout {}/example/a:1 --ca ca.pem", registry.name));
    assert_eq!(super::digest(&pushed), digest);
    let image = ImageReference::new(&format!("{}/example/a", registry.name), digest).unwrap();
    place.installer().pull(&registry.remote(Anonymous), &image).await.unwrap()
}

#[tokio::test]
async fn an_npm_package_becomes_an_image_and_runs() {
    let (desk, place) = (everything(), Place::new());
    let line = format!(
        "build everything.yaml --npm source --output layout --base {} {}",
        base("node"),
        dial("registry.npmjs.org")
    );
    let said = desk.json(&line);
    assert!(said["base"]["nodejs"].is_string() && said["base"]["libc6"].is_string(), "{said}");
    let digest = super::digest(&said);
    let installed = through_a_registry(&desk, digest, &place).await;
    let root = installed.lease.rootfs();
    for path in [
        "usr/bin/node",
        "app/package.json",
        "app/node_modules/zod/package.json",
        "app/node_modules/.bin/mcp-server-everything",
    ] {
        assert!(root.join(path).exists(), "{path}");
    }
    let mut server = Server::start(root, &[EVERYTHING]).await;
    let tools = server.tools().await;
    assert!(tools.contains(&"echo".to_owned()), "{tools:?}");
    assert_eq!(server.tool("echo", json!({"message": "hello"})).await, "Echo: hello");
    server.end().await;

    // Elsewhere, later, with what must not matter.
    let second = everything();
    fs::write(second.path("source/.npmrc"), "//registry.npmjs.org/:_authToken=secret").unwrap();
    std::process::Command::new("touch")
        .args(["-d", "2001-01-01"])
        .arg(second.path("source/package.json"))
        .status()
        .unwrap();
    assert_eq!(built(&second, &line), digest);
}

#[tokio::test]
async fn a_pypi_package_becomes_an_image_and_runs() {
    let (desk, place) = (time(), Place::new());
    let line =
        format!("build time.yaml --python source --output layout --base {} {}", base("python"), dial("pypi.org"));
    let digest = built(&desk, &line);
    let installed = through_a_registry(&desk, digest, &place).await;
    let root = installed.lease.rootfs();
    let all = files(root);
    assert!(all.iter().any(|path| path.ends_with("dist-packages/mcp_server_time/server.py")), "{all:?}");
    assert!(!all.iter().any(|path| path.ends_with(".pyc")), "nothing is compiled");
    let mut server = Server::start(root, &["/usr/local/bin/mcp-server-time"]).await;
    assert_eq!(server.tools().await, ["get_current_time", "convert_time"]);
    let now = server.tool("get_current_time", json!({"timezone": "Europe/Warsaw"})).await;
    assert!(now.contains("Europe/Warsaw"), "{now}");
    server.end().await;

    let second = time();
    fs::write(second.path("source/.env"), "KEY=secret").unwrap();
    assert_eq!(built(&second, &line), digest);
}

#[test]
fn a_base_is_the_same_for_the_same_packages() {
    let desk = Desk::new();
    let said = desk.json("build-base python --debian trixie -o layout");
    assert!(base("python").ends_with(said["digest"].as_str().unwrap()), "{said}");
    let (_, digest) =
        base("python").rsplit_once('@').map(|(layout, digest)| (layout.to_owned(), digest.to_owned())).unwrap();
    // Only what it needs, and no program to manage packages with.
    let packages: Vec<_> = said["packages"].as_object().unwrap().keys().cloned().collect();
    assert!(
        packages.contains(&"libc6".to_owned()) && !packages.iter().any(|name| name == "dpkg" || name == "perl-base"),
        "{packages:?}"
    );
    // A damaged one is no base.
    let damaged = desk.path("layout/blobs/sha256").join(&digest["sha256:".len()..]);
    let whole = fs::read(&damaged).unwrap();
    fs::write(&damaged, [&whole[..], b" "].concat()).unwrap();
    let second = time();
    let line = format!(
        "build time.yaml --python source --output out --base {}@{digest} {}",
        desk.path("layout").display(),
        dial("pypi.org")
    );
    let (code, said) = second.refused(&line);
    assert!(code == 1 && said.contains("instead of sha256:"), "{said}");
    fs::write(&damaged, whole).unwrap();
    let on_it = built(&second, &line);
    // An image on a base that is made with it is the same.
    let at_once = format!("build time.yaml --python source --output out --base-debian trixie {}", dial("pypi.org"));
    assert_eq!(built(&second, &at_once), on_it);
}

pub(super) const EVERYTHING: &str = "/app/node_modules/@modelcontextprotocol/server-everything/dist/index.js";
