//! The image, made by the shipped Dockerfile (of what the tests have compiled, or the one that TEST_GATEWAY_IMAGE names), and the shipped compose file in a directory as somebody has it who runs it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use super::engine::{Engine, output, said};
use crate::{gateway::GATEWAY, internet::Internet, registry::Registry};

/// A directory with what is shipped, and an image of it in the engine.
pub(super) struct Installation<'a> {
    pub(super) engine: &'a Engine,
    directory: tempfile::TempDir,
}

impl<'a> Installation<'a> {
    /// With the image, and nothing that a person adds.
    pub(super) fn new(engine: &'a Engine) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for below in ["given", "deploy/docker"] {
            fs::create_dir_all(directory.path().join(below)).unwrap();
        }
        for name in [
            ".dockerignore",
            "LICENSE-APACHE",
            "LICENSE-MIT",
            "deploy/docker-compose.yml",
            "deploy/docker-compose.dev.yml",
            "deploy/docker/Dockerfile",
            "deploy/docker/assemble",
            "deploy/docker/seccomp.json",
        ] {
            fs::copy(repository.join(name), directory.path().join(name))
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        // Without what is there for debuggers, which nobody ships.
        let program = directory.path().join("given/gigmcp-gateway");
        said(Command::new("strip").arg("-o").arg(&program).arg(GATEWAY));
        let base = std::env::var_os("TEST_DOCKER_BASE");
        let base = base.expect("run the tests by ./dev test: TEST_DOCKER_BASE is not set");
        said(engine.docker(["import"]).arg(base).arg("debian-of-the-tests"));
        let installation = Self { engine, directory };
        match std::env::var_os("TEST_GATEWAY_IMAGE") {
            Some(image) => said(engine.docker(["load", "--input"]).arg(image)),
            None => said(&mut installation.build("gigmcp-gateway")),
        };
        installation
    }

    /// `docker build`, of the program that the tests have compiled.
    pub(super) fn build(&self, name: &str) -> Command {
        let mut build = self.engine.docker(["build", "--network=none", "--tag", name]);
        build.args(["--build-arg=PROGRAM=given", "--build-arg=DEBIAN=debian-of-the-tests"]);
        build.arg("--build-arg=VERSION=1.2.3").arg("--file").arg(self.deploy().join("docker/Dockerfile"));
        build.arg(self.directory.path());
        build
    }

    /// Where the compose file is.
    pub(super) fn deploy(&self) -> PathBuf {
        self.directory.path().join("deploy")
    }

    /// Makes the key as `deploy/README.md` says.
    pub(super) fn make_key(&self) {
        let secrets = self.deploy().join("secrets");
        fs::create_dir(&secrets).unwrap();
        fs::set_permissions(&secrets, PermissionsExt::from_mode(0o700)).unwrap();
        let volume = format!("--volume={}:/secrets", secrets.display());
        let as_root = ["run", "--rm", "--user=0", &volume, "gigmcp-gateway", "key", "create", "--to"];
        said(self.engine.docker(as_root).arg("/secrets/master.key"));
        chown(secrets.join("master.key"), Some(1000), Some(1000)).unwrap();
    }

    /// What somebody writes beside the shipped file, here for the tests' internet and their registry.
    pub(super) fn configure(&self, internet: &Internet, registry: &Registry) {
        let config = self.deploy().join("config");
        fs::create_dir(&config).unwrap();
        fs::copy(&internet.authority, config.join("authority.pem")).unwrap();
        fs::copy(registry.root(), config.join("registry-root.jsonl")).unwrap();
        let site = registry.layouts().parent().unwrap().to_owned();
        fs::set_permissions(&site, PermissionsExt::from_mode(0o755)).unwrap();
        let settings = "GIG_PUBLIC_URL=http://localhost:8080\nGIG_REGISTRY_URL=/registry/registry\n\
            GIG_REGISTRY_ROOT=/config/registry-root.jsonl\nGIG_LOG=debug\n";
        fs::write(self.deploy().join(".env"), settings).unwrap();
        let more = serde_json::json!({"services": {"gateway": {
            "restart": "no", // what ends is looked at
            "healthcheck": {"interval": "1s"}, // who waits for it to be healthy waits for the first look
            "environment": {"GIG_UPSTREAM_EXTRA_ROOTS": "/config/authority.pem", "GIG_IMAGE_LAYOUTS": "/registry/layouts"},
            "volumes": [format!("{}:/registry:ro", site.display())],
        }}});
        fs::write(self.deploy().join("docker-compose.override.yml"), more.to_string()).unwrap();
    }

    pub(super) fn compose(&self, arguments: &[&str]) -> Command {
        let mut compose = self.engine.compose(&self.deploy());
        compose.args(arguments);
        compose
    }

    /// Starts it, and waits until the engine calls it healthy.
    pub(super) fn up(&self) {
        let found = output(&mut self.compose(&["up", "--detach", "--wait", "--wait-timeout", "120"]), "");
        assert!(found.status.success(), "{}\n{}", String::from_utf8_lossy(&found.stderr), self.log());
    }

    /// All that the gateway has said.
    pub(super) fn log(&self) -> String {
        let found = output(&mut self.compose(&["logs", "--no-log-prefix", "--no-color", "gateway"]), "");
        String::from_utf8(found.stdout).unwrap() + &String::from_utf8_lossy(&found.stderr)
    }

    /// A command beside the gateway that serves.
    pub(super) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let command = [&["exec", "--no-TTY", "gateway", "gigmcp-gateway", "--json"], arguments].concat();
        output(&mut self.compose(&command), input)
    }

    /// The same, where it must succeed.
    pub(super) fn json(&self, arguments: &[&str], input: &str) -> Value {
        let found = self.run(arguments, input);
        let error = String::from_utf8_lossy(&found.stderr);
        assert!(found.status.success(), "{arguments:?}: {}{error}", String::from_utf8_lossy(&found.stdout));
        serde_json::from_slice(&found.stdout).unwrap()
    }

    /// What the engine says of the container.
    pub(super) fn inspect(&self) -> Value {
        let id = said(&mut self.compose(&["ps", "--all", "--quiet", "gateway"]));
        let told = said(&mut self.engine.docker(["inspect", id.trim()]));
        serde_json::from_str::<Value>(&told).unwrap()[0].take()
    }
}

impl Drop for Installation<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- gateway ---\n{}", self.log());
        }
    }
}
