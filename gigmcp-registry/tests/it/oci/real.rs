//! Debian's `docker-registry`, which `./dev test` unpacks, on loopback: with TLS, and with a password.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

use gigmcp_registry::{
    Anonymous, BoxFuture, CredentialUnavailable, ImageReference, PullError, Registry, RegistryCredential,
    RegistryCredentials, Remote, RemoteError,
};

use super::Place;
use super::image::{INDEX, Image, MANIFEST};
use crate::tar_bytes::Tar;

/// The registry, which ends with the test.
pub(crate) struct Real {
    child: Child,
    pub(crate) name: String,
    pub(crate) ca_pem: String,
    place: tempfile::TempDir,
}

/// How the registry is reached.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Listens {
    Open,
    WithPassword,
    /// Without TLS.
    Plainly,
}

impl Real {
    pub(crate) fn start(how: Listens) -> Self {
        let place = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let write = |name: &str, content: &str| {
            fs::write(place.path().join(name), content).unwrap();
            place.path().join(name).display().to_string()
        };
        let ca_pem = made.cert.pem();
        let [certificate, key] = [write("cert.pem", &ca_pem), write("key.pem", &made.signing_key.serialize_pem())];
        let auth = match how == Listens::WithPassword {
            true => format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", write("htpasswd", HTPASSWD)),
            false => String::new(),
        };
        let tls = match how {
            Listens::Plainly => String::new(),
            Listens::Open | Listens::WithPassword => format!(", tls: {{certificate: {certificate}, key: {key}}}"),
        };
        let storage = place.path().join("storage").display().to_string();
        let config = format!(
            "version: 0.1\nlog: {{level: info, formatter: json}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\n\
             http: {{addr: \"127.0.0.1:0\", secret: test{tls}}}\n{auth}"
        );
        let program = std::env::var_os("TEST_REGISTRY").unwrap_or_else(|| "docker-registry".into());
        let mut child = Command::new(program)
            .args(["serve", &write("config.yml", &config)])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("TEST_REGISTRY is docker-registry: ./dev test sees to it");
        let port = port(&mut child);
        Self { child, name: format!("localhost:{port}"), ca_pem, place }
    }

    /// By the way everybody does, with a client that is not ours.
    fn push(&self, image: &Image) {
        for (digest, content) in &image.content {
            if !image.manifests.contains(digest) {
                let upload = self.curl(&["--request", "POST", &self.url("blobs/uploads/")], b"");
                let location = upload.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
                });
                let location = format!("{}&digest={digest}", location.unwrap());
                self.curl(
                    &["--request", "PUT", "--header", "Content-Type: application/octet-stream", &location],
                    content,
                );
            }
        }
        // An index comes after what it names.
        for digest in &image.manifests {
            let content = &image.content[digest];
            let is_index = content.windows(11).any(|window| window == b"\"manifests\"");
            let media_type = format!("Content-Type: {}", if is_index { INDEX } else { MANIFEST });
            self.curl(
                &["--request", "PUT", "--header", &media_type, &self.url(&format!("manifests/{digest}"))],
                content,
            );
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/v2/example/a/{path}", self.name)
    }

    fn curl(&self, arguments: &[&str], content: &[u8]) -> String {
        let file = self.place.path().join("content");
        fs::write(&file, content).unwrap();
        let done = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--include", "--noproxy", "*", "--user", "reader:open sesame"])
            .arg("--cacert")
            .arg(self.place.path().join("cert.pem"))
            .arg("--data-binary")
            .arg(format!("@{}", file.display()))
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    fn image(&self, image: &Image) -> ImageReference {
        ImageReference::new(&format!("{}/example/a", self.name), image.digest).unwrap()
    }

    pub(crate) fn remote(&self, credentials: impl RegistryCredentials + 'static) -> Remote {
        let loopback = |_: &str, address: IpAddr| address.is_loopback();
        Remote::builder(loopback, credentials).roots_pem(self.ca_pem.as_bytes()).build().unwrap()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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

pub(crate) struct Password(pub(crate) &'static str);

impl RegistryCredentials for Password {
    fn credential<'a>(
        &'a self,
        _registry: &'a Registry,
        _to: &'a Registry,
    ) -> BoxFuture<'a, Result<Option<RegistryCredential>, CredentialUnavailable>> {
        Box::pin(async { Ok(Some(RegistryCredential::new("reader", self.0))) })
    }
}

fn layers() -> [Tar; 2] {
    [Tar::new().file("a", &"text ".repeat(100_000)), Tar::new().file("b", "1")]
}

#[tokio::test]
async fn images_come_from_a_real_registry() {
    let registry = Real::start(Listens::Open);
    for (case, image) in [("single", Image::single(&layers())), ("index", Image::index(&layers()))] {
        registry.push(&image);
        let place = Place::new();
        let remote = registry.remote(Anonymous);
        let installed = place.installer().pull(&remote, &registry.image(&image)).await.unwrap();
        assert_eq!(fs::read(installed.lease.rootfs().join("b")).unwrap(), b"1", "{case}");
    }
}

#[tokio::test]
async fn a_real_registry_goes_on_where_it_was_interrupted() {
    let (registry, image, place) = (Real::start(Listens::Open), Image::single(&layers()), Place::new());
    registry.push(&image);
    let layer = &image.content[&image.layers[0]];
    let partial = place.path("store/partial").join(&image.layers[0]["sha256:".len()..]);
    fs::write(&partial, &layer[..100]).unwrap();
    let first = std::sync::Arc::new(std::sync::Mutex::new(None));
    let (heard, digest) = (std::sync::Arc::clone(&first), image.layers[0].parse().unwrap());
    let installer = place.installer().progress(move |event| match event {
        gigmcp_registry::PullEvent::Fetched { digest: of, bytes, .. } if of == digest => {
            heard.lock().unwrap().get_or_insert(bytes);
        }
        _ => {}
    });
    installer.pull(&registry.remote(Anonymous), &registry.image(&image)).await.unwrap();
    assert_eq!(*first.lock().unwrap(), Some(100));
}

#[tokio::test]
async fn a_private_registry_opens_to_the_right_password() {
    let (registry, image) = (Real::start(Listens::WithPassword), Image::index(&layers()));
    registry.push(&image);
    for (case, remote, is_right) in [
        ("right", registry.remote(Password("open sesame")), true),
        ("wrong", registry.remote(Password("open barley")), false),
        ("none", registry.remote(Anonymous), false),
    ] {
        let place = Place::new();
        match place.installer().pull(&remote, &registry.image(&image)).await {
            Ok(_) => assert!(is_right, "{case}"),
            Err(PullError::Remote { source: RemoteError::Unauthorized { .. }, .. }) => {
                assert!(!is_right, "{case}");
                place.must_be_empty(case);
            }
            Err(error) => panic!("{case}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn a_registry_that_nobody_vouches_for_is_not_asked() {
    let (registry, image, place) = (Real::start(Listens::Open), Image::single(&layers()), Place::new());
    registry.push(&image);
    let loopback = |_: &str, address: IpAddr| address.is_loopback();
    let remote = Remote::builder(loopback, Anonymous).build().unwrap();
    let error = place.installer().pull(&remote, &registry.image(&image)).await.unwrap_err();
    assert!(matches!(error, PullError::Remote { source: RemoteError::Connect { .. }, .. }), "{error:?}");
    place.must_be_empty("unknown authority");
}

#[tokio::test]
async fn what_a_registry_does_not_have_is_missing() {
    let (registry, place) = (Real::start(Listens::Open), Place::new());
    let error = place.installer().pull(&registry.remote(Anonymous), &registry.image(&Image::single(&layers()))).await;
    assert!(matches!(error, Err(PullError::Missing { .. })), "{error:?}");
}

/// `reader`, `open sesame`.
const HTPASSWD: &str = "reader:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";
