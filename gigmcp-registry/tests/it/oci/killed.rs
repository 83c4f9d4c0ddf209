//! Processes that are killed while they install.

use std::process::{Command, Stdio};

use gigmcp_registry::{Digest, Installer, Platform, Store};

use super::Place;
use super::image::Image;
use crate::tar_bytes::Tar;

fn image() -> Image {
    let text = "0123456789abcdef".repeat(20_000);
    let layer = |name: &str| (0..20).fold(Tar::new(), |tar, number| tar.file(&format!("{name}/{number}"), &text));
    Image::single(&["a", "b", "c"].map(layer))
}

/// What the process that is killed does: this test, with a variable that says where.
#[tokio::test]
async fn child() {
    let Ok(dir) = std::env::var("TEST_KILLED") else { return };
    let dir = std::path::Path::new(&dir);
    let digest = std::fs::read_to_string(dir.join("digest")).unwrap().parse().unwrap();
    let store = Store::open(dir.join("store")).unwrap();
    Installer::new(store, Platform::Amd64).from_layout(dir.join("layout"), digest).await.unwrap();
}

#[tokio::test]
async fn nothing_half_done_is_taken_for_whole() {
    let (place, image) = (Place::new(), image());
    image.write_layout(&place.path("layout"));
    std::fs::write(place.path("digest"), image.digest.to_string()).unwrap();
    let run = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "oci::killed::child"]).env("TEST_KILLED", place.dir.path());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    // How long it takes undisturbed: the kills are spread over that, and a bit more.
    let start = std::time::Instant::now();
    assert!(run().wait().unwrap().success());
    let whole = start.elapsed();
    place.store.collect_garbage(&Default::default()).unwrap();
    let (mut killed, mut finished) = (0, 0);
    for step in 0..24 {
        let mut child = run();
        // The moment is what is tried here; the last one is left alone, however slow it is.
        if step < 23 {
            std::thread::sleep(whole * step / 20);
            let _ = child.kill();
        }
        if child.wait().unwrap().success() {
            finished += 1
        } else {
            killed += 1
        }
        whole_or_not_there(&place);
        if step % 4 == 3 {
            place.store.collect_garbage(&Default::default()).unwrap();
        }
    }
    assert!(killed > 5 && finished > 0, "{killed} killed, {finished} finished");
    let installed = place.installer().from_layout(place.path("layout"), image.digest).await.unwrap();
    assert_eq!(std::fs::read_dir(installed.lease.rootfs()).unwrap().count(), 3);
    assert_eq!(place.names("staging"), [""; 0]);
}

fn whole_or_not_there(place: &Place) {
    let store = Store::open(place.path("store")).unwrap();
    assert_eq!(place.names("staging"), [""; 0]);
    for name in place.names("blobs") {
        let content = std::fs::read(place.path("store/blobs").join(&name)).unwrap();
        assert_eq!(Digest::of(&content).to_string(), format!("sha256:{name}"));
    }
    for name in place.names("trees") {
        store.lease(format!("sha256:{name}").parse().unwrap()).unwrap();
    }
    for name in place.names("images") {
        let record = std::fs::read_to_string(place.path("store/images").join(&name)).unwrap();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        store.lease(record["tree"].as_str().unwrap().parse().unwrap()).unwrap();
    }
}
