//! A Docker engine of a test's own: nothing of it is seen on the host, and nothing is left.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::left_out::THREADS;
use crate::probe::{Dir, PROBE_VARIABLE, probe};

/// Names a root file system, as a tar archive, for the image. Without it, the image is a skeleton
/// that shows the host's `/usr`.
const IMAGE_VARIABLE: &str = "GIGMCP_TEST_IMAGE";
const TEST: &str = "/tests/it";
const PROBE: &str = "/tests/probe";

/// An engine with one image.
pub(crate) struct Engine {
    script: Child,
    dir: Dir,
}

impl Engine {
    pub(crate) fn start() -> Self {
        Self::launch(None)
    }

    /// Containers whose uid 0 is this one of the host, and so on: what Kubernetes makes of
    /// `hostUsers: false`.
    pub(crate) fn with_users(first: u32) -> Self {
        Self::launch(Some(first))
    }

    fn launch(users: Option<u32>) -> Self {
        let dir = Dir::new("docker");
        let ready = UnixDatagram::bind(dir.path().join("ready")).unwrap();
        ready.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        let cgroup = dir.path().file_name().unwrap();
        let script = Command::new("unshare")
            .args(["--mount", "--propagation=private", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/docker/engine.sh")])
            .args([dir.path().as_os_str(), cgroup])
            .args(users.map(|first| first.to_string()))
            .env("NOTIFY_SOCKET", dir.path().join("ready"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let engine = Self { script, dir };
        let heard = ready.recv(&mut [0; 64]);
        assert!(heard.is_ok(), "the engine did not start (`./dev test` gets one): {}", engine.log());
        engine.import();
        engine
    }

    /// The client's command line.
    fn docker(&self) -> Command {
        let mut docker = Command::new("docker");
        docker.env("DOCKER_HOST", format!("unix://{}/socket", self.dir.path().display()));
        docker.env("DOCKER_CONFIG", self.dir.path());
        docker
    }

    fn import(&self) {
        let archive = match std::env::var_os(IMAGE_VARIABLE) {
            Some(archive) => PathBuf::from(archive),
            None => skeleton(&self.dir.path().join("image")),
        };
        said(self.docker().args(["import", "--change=USER 1000:1000"]).arg(archive).arg("image"));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

/// How a container is run. [`Container::restricted`] is what `deploy/README.md` tells people to do.
#[derive(Clone)]
pub(crate) struct Container {
    pub(crate) seccomp: Option<PathBuf>,
    pub(crate) system_paths: Option<&'static str>,
    pub(crate) options: Vec<String>,
}

impl Container {
    pub(crate) fn restricted() -> Self {
        Self {
            seccomp: Some(profile()),
            system_paths: Some("unconfined"),
            options: ["--cap-drop=ALL", "--security-opt=no-new-privileges"].map(str::to_owned).to_vec(),
        }
    }

    /// Runs some of the tests of this binary.
    pub(crate) fn tests(&self, engine: &Engine, arguments: &[&str]) -> String {
        self.run(engine, TEST, arguments)
    }

    /// Runs the probe as the container's program, so that nothing but the container confines it.
    pub(crate) fn probe(&self, engine: &Engine, arguments: &[&str]) -> String {
        self.run(engine, PROBE, arguments).trim_end().to_owned()
    }

    fn run(&self, engine: &Engine, program: &str, arguments: &[&str]) -> String {
        let mut docker = engine.docker();
        docker.args(["run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp:exec,mode=1777"]);
        let show = |from: &Path, to: &str| format!("--volume={}:{to}:ro", from.display());
        docker.arg(show(&std::env::current_exe().unwrap(), TEST)).arg(show(probe(), PROBE));
        docker.arg(format!("--env={PROBE_VARIABLE}={PROBE}")).arg(format!("--env={}={}", THREADS.0, THREADS.1));
        if std::env::var_os(IMAGE_VARIABLE).is_none() {
            docker.arg(show(Path::new("/usr"), "/usr"));
        }
        for (name, value) in [("seccomp", self.seccomp.as_deref()), ("systempaths", self.system_paths.map(Path::new))] {
            docker.args(value.map(|value| format!("--security-opt={name}={}", value.display())));
        }
        said(docker.args(&self.options).args(["image", program]).args(arguments))
    }
}

/// What is shipped for such hosts.
pub(crate) fn profile() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docker/seccomp.json")
}

/// A root file system with nothing but what a program expects to be there.
fn skeleton(dir: &Path) -> PathBuf {
    for name in ["dev", "etc", "home", "mnt", "proc", "run", "srv", "sys", "tests", "tmp", "usr", "var"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::set_permissions(dir.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    for name in ["bin", "lib", "lib64", "sbin"] {
        symlink(format!("usr/{name}"), dir.join(name)).unwrap();
    }
    fs::copy("/etc/passwd", dir.join("etc/passwd")).unwrap();
    let archive = dir.with_extension("tar");
    said(Command::new("tar").arg("--create").arg("--file").arg(&archive).arg("--directory").arg(dir).arg("."));
    archive
}

/// Standard output, or with a failure all that was said.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => text,
        false => format!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}
