//! An image from a registry on loopback to a tree that can be run, beside curl, sha256sum and GNU tar.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gigmcp_registry::{Anonymous, Digest, ImageReference, Installer, Platform, PushTarget, Remote, Store};

use crate::Failure;
use crate::extraction::{compressed, done, gnu_tar, pack};
use crate::figures::{Figures, compare};

/// Both start with nothing. Ours also measures the tree, and keeps what it takes to go on after a loss of power.
pub(crate) async fn run() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let registry = Running::start(dir.path())?;
    let layout = dir.path().join("layout");
    let image = Image::write(&layout)?;
    let remote = registry.remote()?;
    let target: PushTarget = format!("{}/example/bench", registry.name).parse()?;
    remote.push(&layout, image.manifest, &target).await?;
    let reference: ImageReference = format!("{}/example/bench@{}", registry.name, image.manifest).parse()?;
    let (mut ours, mut bare) = (Figures::default(), Figures::default());
    for round in 0..ROUNDS {
        let place = dir.path().join(round.to_string());
        let clock = Instant::now();
        let platform = Platform::of_this_machine().ok_or("no images for this machine")?;
        let installed = Installer::new(Store::open(&place)?, platform).pull(&remote, &reference).await?;
        ours.add(clock.elapsed());
        drop(installed);
        bare.add(by_hand(&registry.name, &image.layer, dir.path())?);
    }
    let from = fs::metadata(layout.join("blobs/sha256").join(hex(&image.layer)))?.len() >> 20;
    compare(&format!("cold install of {from} MiB from a registry"), &ours, "curl, tar", &bare);
    Ok(())
}

fn by_hand(registry: &str, layer: &Digest, dir: &Path) -> Result<Duration, Failure> {
    let (file, tree) = (dir.join("layer"), dir.join("tree"));
    fs::create_dir(&tree)?;
    let clock = Instant::now();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--noproxy", "*", "--output"]).arg(&file);
    done(curl.arg(format!("http://{registry}/v2/example/bench/blobs/{layer}")))?;
    let sum = Command::new("sha256sum").arg(&file).output()?;
    if !sum.stdout.starts_with(hex(layer).as_bytes()) {
        return Err("the registry gave another layer".into());
    }
    gnu_tar(&file, "gzip", &tree)?;
    let taken = clock.elapsed();
    fs::remove_dir_all(&tree)?;
    Ok(taken)
}

/// One layer, as a layout directory.
struct Image {
    manifest: Digest,
    layer: Digest,
}

impl Image {
    fn write(layout: &Path) -> Result<Self, Failure> {
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        let plain = layout.join("layer.tar");
        pack(&plain)?;
        let diff_id = Digest::of(&fs::read(&plain)?);
        let stored = fs::read(compressed(&plain, "gzip")?)?;
        let platform = Platform::of_this_machine().ok_or("no images for this machine")?;
        let config = serde_json::to_vec(&serde_json::json!({
            "architecture": platform.to_string().split('/').nth(1), "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": [diff_id.to_string()] }, "config": {},
        }))?;
        let blob = |content: &[u8]| -> Result<Digest, Failure> {
            let digest = Digest::of(content);
            fs::write(blobs.join(hex(&digest)), content)?;
            Ok(digest)
        };
        let (layer, config_digest) = (blob(&stored)?, blob(&config)?);
        let manifest = serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest.to_string(), "size": config.len() },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer.to_string(), "size": stored.len(),
            }],
        }))?;
        let digest = blob(&manifest)?;
        fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest.to_string(), "size": manifest.len(),
        }]});
        fs::write(layout.join("index.json"), index.to_string())?;
        fs::remove_file(plain)?;
        Ok(Self { manifest: digest, layer })
    }
}

/// Debian's `docker-registry`, until it is dropped.
struct Running {
    child: Child,
    name: String,
}

impl Running {
    fn start(dir: &Path) -> Result<Self, Failure> {
        let config = dir.join("config.yml");
        let storage = dir.join("storage").display().to_string();
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: info, formatter: json}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\n\
                 http: {{addr: \"127.0.0.1:0\", secret: bench}}\n"
            ),
        )?;
        let program = std::env::var_os("TEST_REGISTRY").ok_or("run it by ./dev bench: TEST_REGISTRY is not set")?;
        let mut serve = Command::new(program);
        serve.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = serve.spawn()?;
        let mut log = BufReader::new(child.stderr.take().ok_or("it has no log")?);
        let port = loop {
            let mut line = String::new();
            if log.read_line(&mut line)? == 0 {
                return Err("docker-registry does not start".into());
            }
            if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
                break rest.chars().take_while(char::is_ascii_digit).collect::<String>();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Self { child, name: format!("localhost:{port}") })
    }

    fn remote(&self) -> Result<Remote, Failure> {
        let remote = Remote::builder(|_: &str, address: std::net::IpAddr| address.is_loopback(), Anonymous);
        Ok(remote.danger_plain_http(self.name.parse()?).build()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hex(digest: &Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").to_owned()
}

const ROUNDS: usize = 7;
