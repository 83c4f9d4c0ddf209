//! `registryctl build` and `push`: from files to a server that runs.

mod attacks;
mod images;
mod mcp;
mod mirror;
mod packages;
mod packages_attacks;
mod pushed;

use std::fs;
use std::path::{Path, PathBuf};

use gigmcp_registry::{Digest, Installed};
use serde_json::Value;

use crate::oci::Place;
use crate::registryctl::Desk;

/// A manifest that is not built yet.
pub(crate) fn manifest(name: &str, builder: &str, entrypoint: &str, tools: &[&str]) -> String {
    let tools: String = tools.iter().map(|tool| format!("  - {{name: {tool}, default: true}}\n")).collect();
    format!(
        "# Comments stay.\nschemaVersion: 1\nname: {name}\nversion: 1.0.0\n\
         source: {{repo: github.com/example/{name}-mcp, tag: v1.0.0}}\nimage:\n  ref: ghcr.io/example/{name}-mcp\n  \
         digest: sha256:{}\n  entrypoint: {entrypoint}\n  builder: {builder}\ntier: sealed\n\
         entitlements: {{egress: [api.desk.dev]}}\ntools:\n{tools}",
        "0".repeat(64)
    )
}

/// The static program that `./dev test` builds.
pub(crate) fn echo_server() -> PathBuf {
    let servers = std::env::var_os("TEST_DEMO_SERVERS").expect("TEST_DEMO_SERVERS: ./dev test sees to it");
    Path::new(&servers).join("gigmcp-demo-echo")
}

/// A desk with a manifest `echo.yaml` and a static `server`.
pub(crate) fn echo() -> Desk {
    let desk = Desk::new();
    fs::write(desk.path("echo.yaml"), manifest("echo", "go-static", "/app/server", &["echo"])).unwrap();
    fs::copy(echo_server(), desk.path("server")).unwrap();
    desk
}

/// Builds, and gives the digest.
pub(crate) fn built(desk: &Desk, line: &str) -> Digest {
    digest(&desk.json(line))
}

pub(crate) fn digest(said: &Value) -> Digest {
    said["digest"].as_str().unwrap().parse().unwrap()
}

pub(crate) async fn installed(place: &Place, layout: &Path, digest: Digest) -> Installed {
    place.installer().from_layout(layout, digest).await.unwrap()
}

/// All files of a directory, by their paths in it.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(directory).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}
