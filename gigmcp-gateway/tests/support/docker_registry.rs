//! Debian's `docker-registry`, which `./dev test` unpacks, on loopback with TLS and a password.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::registry::{Image, MANIFEST};

/// The registry, which ends with the test.
pub(crate) struct DockerRegistry {
    child: Child,
    /// Host and port.
    pub(crate) name: String,
    place: tempfile::TempDir,
}

impl DockerRegistry {
    pub(crate) fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let write = |name: &str, content: &str| {
            fs::write(place.path().join(name), content).unwrap();
            place.path().join(name).display().to_string()
        };
        let certificate = write("cert.pem", &made.cert.pem());
        let key = write("key.pem", &made.signing_key.serialize_pem());
        let (storage, passwords) = (place.path().join("storage").display().to_string(), write("htpasswd", HTPASSWD));
        let config = format!(
            "version: 0.1\nlog: {{level: info, formatter: json}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\n\
             http: {{addr: \"127.0.0.1:0\", secret: test, tls: {{certificate: {certificate}, key: {key}}}}}\n\
             auth: {{htpasswd: {{realm: test, path: {passwords}}}}}\n"
        );
        let program = std::env::var_os("TEST_REGISTRY").expect("run the tests by ./dev test: TEST_REGISTRY is not set");
        let mut child = Command::new(program)
            .args(["serve", &write("config.yml", &config)])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let port = port(&mut child);
        Self { child, name: format!("localhost:{port}"), place }
    }

    /// The certificate that it shows.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.place.path().join("cert.pem")
    }

    /// By the way everybody does, with a client that is not ours.
    pub(crate) fn push(&self, repository: &str, image: &Image) {
        let url = |path: &str| format!("https://{}/v2/{repository}/{path}", self.name);
        let manifest = image.digest.to_string();
        for (digest, content) in image.content.iter().filter(|(digest, _)| **digest != manifest) {
            let upload = self.curl("POST", "text/plain", &url("blobs/uploads/"), b"");
            let location = upload.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
            });
            let location = format!("{}&digest={digest}", location.unwrap());
            self.curl("PUT", "application/octet-stream", &location, content);
        }
        self.curl("PUT", MANIFEST, &url(&format!("manifests/{manifest}")), &image.content[&manifest]);
    }

    /// Where a blob lies.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let hex = &digest["sha256:".len()..];
        let blobs = Path::new("storage/docker/registry/v2/blobs/sha256");
        self.place.path().join(blobs).join(&hex[..2]).join(hex).join("data")
    }

    fn curl(&self, method: &str, media_type: &str, url: &str, content: &[u8]) -> String {
        let file = self.place.path().join("content");
        fs::write(&file, content).unwrap();
        let done = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--include", "--noproxy", "*", "--request", method])
            .args(["--user", &format!("{USER}:{PASSWORD}"), "--header", &format!("Content-Type: {media_type}")])
            .arg("--cacert")
            .arg(self.certificate())
            .args(["--data-binary", &format!("@{}", file.display()), url])
            .output()
            .unwrap();
        assert!(done.status.success(), "{url}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// From its log, which says where it listens.
fn port(child: &mut Child) -> u16 {
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let port = log.by_ref().map_while(Result::ok).find_map(|line| {
        said.push_str(&line);
        let (_, rest) = line.split_once("listening on 127.0.0.1:")?;
        rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
    });
    let port = port.unwrap_or_else(|| panic!("the registry does not listen: {said}"));
    // It would stop at a full pipe.
    std::thread::spawn(move || log.for_each(drop));
    port
}

pub(crate) const USER: &str = "reader";
pub(crate) const PASSWORD: &str = "open sesame";
/// Of both.
const HTPASSWD: &str = "reader:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";
