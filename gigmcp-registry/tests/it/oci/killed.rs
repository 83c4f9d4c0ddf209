//! Processes that are killed while they install.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gigmcp_registry::{Digest, Installer, Keep, Platform, Store};

use super::Place;
use super::image::Image;
use crate::tar_bytes::Tar;

fn image() -> Image {
    let text = "0123456789abcdef".repeat(20_000);
    let layer = |name: &str| (0..20).fold(Tar::new(), |tar, number| tar.file(&format!("{name}/{number}"), &text));
    Image::single(&["a", "b", "c"].map(layer))
}

/// What the process that is killed does: this test, with variables that say where, and after how many events it kills itself.
#[tokio::test]
async fn child() {
    let Ok(dir) = std::env::var("TEST_KILLED") else { return };
    let left = AtomicU64::new(std::env::var("TEST_KILLED_AFTER").unwrap().parse().unwrap());
    let dir = std::path::Path::new(&dir);
    let digest = std::fs::read_to_string(dir.join("digest")).unwrap().parse().unwrap();
    let store = Store::open(dir.join("store")).unwrap();
    let installer = Installer::new(store, Platform::Amd64).progress(move |_| {
        if left.fetch_sub(1, Ordering::SeqCst) == 0 {
            let _ = Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
        }
    });
    installer.from_layout(dir.join("layout"), digest).await.unwrap();
}

fn run(place: &Place, after: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "oci::killed::child"]).env("TEST_KILLED", place.dir.path());
    command.env("TEST_KILLED_AFTER", after.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn nothing_half_done_is_taken_for_whole() {
    let (place, image) = (Place::new(), image());
    image.write_layout(&place.path("layout"));
    std::fs::write(place.path("digest"), image.digest.to_string()).unwrap();
    // At each thing that is told, from nothing each time.
    let mut events = 0;
    while !run(&place, events).wait().unwrap().success() {
        whole_or_not_there(&place);
        place.store.collect_garbage(&Keep::default()).unwrap();
        events += 1;
    }
    assert!(events >= 6, "layers, each of three, unpacking, installed: and only {events}");
    place.store.collect_garbage(&Keep::default()).unwrap();

    // And at any other moment: how far the process is then is not what is tested.
    let start = Instant::now();
    assert!(run(&place, u64::MAX).wait().unwrap().success());
    let whole = start.elapsed();
    for step in 0..16 {
        if step % 3 == 0 {
            place.store.collect_garbage(&Keep::default()).unwrap();
        }
        let mut child = run(&place, u64::MAX);
        std::thread::sleep(whole * step / 16);
        let _ = child.kill();
        child.wait().unwrap();
        whole_or_not_there(&place);
    }
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
