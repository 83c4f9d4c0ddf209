//! Images from directories and archives, and what is refused in them.

use std::fs;
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use gigmcp_registry::{Digest, DocumentFault, Installed, PullError, PullEvent};
use serde_json::json;

use super::image::{CONFIG, GZIP, Image, gzip};
use super::{Place, names};
use crate::tar_bytes::Tar;

fn layers() -> Vec<Tar> {
    vec![
        Tar::new().file("etc/name", "lower").file("gone", ""),
        Tar::new().file("etc/name", "upper").file(".wh.gone", ""),
    ]
}

async fn install(place: &Place, image: &Image) -> Result<Installed, PullError> {
    let layout = place.path("layout");
    image.write_layout(&layout);
    place.installer().from_layout(&layout, image.digest).await
}

#[tokio::test]
async fn images_are_installed_by_digest() {
    for (case, image) in [("single", Image::single(&layers())), ("index", Image::index(&layers()))] {
        let place = Place::new();
        let installed = install(&place, &image).await.unwrap();
        assert_eq!(fs::read_to_string(installed.lease.rootfs().join("etc/name")).unwrap(), "upper", "{case}");
        assert_eq!(names(installed.lease.rootfs()), ["etc"], "{case}");
        assert_eq!(installed.config.entrypoint, ["/server"]);
        assert_eq!(installed.tree, installed.extracted.unwrap().tree);
        for directory in ["staging", "partial"] {
            assert_eq!(place.names(directory), [""; 0], "{case}");
        }

        let again = install(&place, &image).await.unwrap();
        assert_eq!((again.tree, again.extracted, again.config), (installed.tree, None, installed.config), "{case}");
    }
}

#[tokio::test]
async fn an_archive_is_installed_too() {
    let (place, image) = (Place::new(), Image::index(&layers()));
    let archive = image.archive();
    for (case, cut) in [("whole", 0), ("without its last blob", archive.len() - 3000)] {
        let place = if cut == 0 { &place } else { &Place::new() };
        let content = archive[..if cut == 0 { archive.len() } else { cut / 512 * 512 - 512 }].to_vec();
        let installed = place.installer().from_archive(Cursor::new(content), image.digest).await;
        assert_eq!(installed.is_ok(), cut == 0, "{case}: {installed:?}");
    }
    let [tree] = &*place.names("trees") else { panic!("not one tree") };
    assert_eq!(names(&place.path("store/trees").join(tree)), ["rootfs"]);
}

#[tokio::test]
async fn an_archive_of_nothing_but_directories_ends() {
    let image = Image::single(&layers());
    let archive = || Tar::new().file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#).dir("a").dir("b").end();
    for (entries, expected) in [(3, "missing"), (2, "the archive has too many entries")] {
        let place = Place::new();
        let mut limits = gigmcp_registry::ImageLimits::default();
        limits.entries = entries;
        let installer = place.installer().limits(limits);
        let found = match installer.from_archive(Cursor::new(archive()), image.digest).await {
            Err(PullError::Layout(error)) => error.to_string(),
            other => fault(&other.unwrap_err()),
        };
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn progress_is_told() {
    let (place, image) = (Place::new(), Image::single(&layers()));
    image.write_layout(&place.path("layout"));
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&events);
    let installer = place.installer().progress(move |event| heard.lock().unwrap().push(event));
    installer.from_layout(place.path("layout"), image.digest).await.unwrap();
    let events = events.lock().unwrap();
    let bytes = image.layers.iter().map(|layer| image.content[layer].len() as u64).sum();
    assert_eq!(events.first(), Some(&PullEvent::Layers { count: 2, bytes }));
    assert_eq!(events[events.len() - 2..], [PullEvent::Unpacking, PullEvent::Installed]);
    let whole = |event: &&PullEvent| matches!(event, PullEvent::Fetched { bytes, of, .. } if bytes == of);
    assert_eq!(events.iter().filter(whole).count(), 2);
}

/// What is wrong, in a word.
fn fault(error: &PullError) -> String {
    match error {
        PullError::Document { source, .. } => match source {
            DocumentFault::Json(_) => "no JSON".to_owned(),
            other => other.to_string(),
        },
        PullError::Extract(error) => error.to_string(),
        PullError::NoPlatform { offered, .. } => format!("for {}", offered.join(", ")),
        PullError::WrongDigest { .. } => "wrong digest".to_owned(),
        PullError::WrongSize { found, .. } => format!("wrong size, {}", if found.is_some() { "less" } else { "more" }),
        PullError::TooLarge { .. } => "too large".to_owned(),
        PullError::Missing { .. } => "missing".to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn images_that_are_not_what_they_say_are_refused() {
    let plain: Vec<_> = layers().into_iter().map(Tar::end).collect();
    let stored = || plain.iter().map(|layer| (GZIP, gzip(layer))).collect::<Vec<_>>();
    let damage = |image: &Image, which: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut image = image.clone();
        change(image.content.get_mut(which).unwrap());
        image
    };
    let good = Image::single(&layers());
    let layer = good.layers[1].clone();
    let manifest = good.digest.to_string();
    let other = Digest::of(b"other").to_string();
    for (case, image, expected) in [
        ("nothing wrong", good.clone(), None),
        ("a damaged layer", damage(&good, &layer, &|content| content[20] ^= 1), Some("wrong digest")),
        (
            "a short layer",
            damage(&good, &layer, &|content| content.truncate(content.len() - 1)),
            Some("wrong size, less"),
        ),
        ("a long layer", damage(&good, &layer, &|content| content.push(0)), Some("wrong size, more")),
        ("a damaged manifest", damage(&good, &manifest, &|content| content[0] = b' '), Some("wrong digest")),
        ("a huge manifest", damage(&good, &manifest, &|content| content.resize(5 << 20, b' ')), Some("too large")),
        (
            "no layer",
            {
                let mut image = good.clone();
                image.content.remove(&layer);
                image
            },
            Some("missing"),
        ),
        (
            "a layer that is another",
            Image::made(&plain, stored(), "amd64", |config| config["rootfs"]["diff_ids"][1] = json!(other), |_| {}),
            Some("layer 1 is"),
        ),
        (
            "a layer more",
            Image::made(
                &plain,
                stored(),
                "amd64",
                |config| drop(config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop()),
                |_| {},
            ),
            Some("there are 2 layers and 1 diff IDs"),
        ),
        ("another machine", Image::made(&plain, stored(), "s390x", |_| {}, |_| {}), Some("for linux/s390x")),
        (
            "another system",
            Image::made(&plain, stored(), "amd64", |config| config["os"] = json!("windows"), |_| {}),
            Some("for windows/amd64"),
        ),
        (
            "a later variant",
            Image::made(&plain, stored(), "amd64", |config| config["variant"] = json!("v3"), |_| {}),
            Some("for linux/amd64/v3"),
        ),
        (
            "a huge layer",
            Image::made(
                &plain,
                stored(),
                "amd64",
                |_| {},
                |manifest| manifest["layers"][0]["size"] = json!(3_u64 << 30),
            ),
            Some("too large"),
        ),
        (
            "a wrong size",
            Image::made(&plain, stored(), "amd64", |_| {}, |manifest| manifest["layers"][0]["size"] = json!(1)),
            Some("wrong size, more"),
        ),
        (
            "a wrong size of the configuration",
            Image::made(&plain, stored(), "amd64", |_| {}, |manifest| manifest["config"]["size"] = json!(1)),
            Some("wrong size, less"),
        ),
        (
            "a layer of another kind",
            Image::made(
                &plain,
                stored(),
                "amd64",
                |_| {},
                |manifest| manifest["layers"][0]["mediaType"] = json!(CONFIG),
            ),
            Some("the media type"),
        ),
        (
            "no platform",
            Image::made(&plain, stored(), "amd64", |config| drop(config.as_object_mut().unwrap().remove("os")), |_| {}),
            Some("no JSON"),
        ),
        (
            "another configuration for programs in Go",
            Image::made(&plain, stored(), "amd64", |config| config["config"]["ENTRYPOINT"] = json!(["/other"]), |_| {}),
            Some("the field \"ENTRYPOINT\" is spelled"),
        ),
        ("an attack in a layer", Image::single(&[Tar::new().file("../x", "")]), Some("layer 0, entry 1")),
    ] {
        let place = Place::new();
        match (install(&place, &image).await, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(expected)) => {
                let fault = fault(&error);
                assert!(fault.starts_with(expected), "{case}: {fault}");
                place.must_be_empty(case);
            }
            (other, _) => panic!("{case}: {other:?}"),
        }
    }
}

/// The bounds of an image hold before its first layer is fetched, and not only when the disk is full of layers.
#[tokio::test]
async fn layers_that_are_too_much_are_not_fetched() {
    let plain = vec![Tar::new().file("a", "x").end(); 128];
    let stored = || plain.iter().map(|layer| (GZIP, gzip(layer))).collect::<Vec<_>>();
    let again = |list: &mut serde_json::Value| {
        let list = list.as_array_mut().unwrap();
        list.push(list[0].clone());
    };
    let sized = |manifest: &mut serde_json::Value, sizes: &[u64]| {
        sizes.iter().enumerate().for_each(|(index, size)| manifest["layers"][index]["size"] = json!(size));
    };
    for (case, image, expected) in [
        ("128 layers", Image::made(&plain, stored(), "amd64", |_| {}, |_| {}), None),
        (
            "one more",
            Image::made(
                &plain,
                stored(),
                "amd64",
                |config| again(&mut config["rootfs"]["diff_ids"]),
                |manifest| again(&mut manifest["layers"]),
            ),
            Some("layer 128: there are too many layers"),
        ),
        (
            "layers of 5 GiB",
            Image::made(&plain, stored(), "amd64", |_| {}, |manifest| sized(manifest, &[2 << 30, 2 << 30, 1 << 30])),
            Some("too large"),
        ),
        (
            "layers of 2 GiB that are not there",
            Image::made(&plain, stored(), "amd64", |_| {}, |manifest| sized(manifest, &[2 << 30])),
            Some("wrong size, less"),
        ),
    ] {
        let place = Place::new();
        image.write_layout(&place.path("layout"));
        let announced = Arc::new(Mutex::new(false));
        let heard = Arc::clone(&announced);
        let installer = place.installer().progress(move |event| {
            *heard.lock().unwrap() |= matches!(event, PullEvent::Layers { .. });
        });
        let installed = installer.from_layout(place.path("layout"), image.digest).await;
        assert_eq!(installed.as_ref().err().map(fault).as_deref(), expected, "{case}");
        let is_fetched = expected.is_none_or(|expected| expected.starts_with("wrong size"));
        assert_eq!(*announced.lock().unwrap(), is_fetched, "{case}");
    }
}

#[tokio::test]
async fn links_and_pipes_in_a_layout_are_not_read() {
    let image = Image::single(&layers());
    let blob = format!("blobs/sha256/{}", &image.layers[0]["sha256:".len()..]);
    for (case, make) in [
        ("a symlink", (|path: &std::path::Path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap()) as fn(&_)),
        ("a pipe", |path| {
            let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
            assert!(made.success());
        }),
    ] {
        let place = Place::new();
        let layout = place.path("layout");
        image.write_layout(&layout);
        fs::remove_file(layout.join(&blob)).unwrap();
        make(&layout.join(&blob));
        let refused = place.installer().from_layout(&layout, image.digest).await;
        assert!(matches!(refused, Err(PullError::Layout(_))), "{case}: {refused:?}");
        place.must_be_empty(case);
    }
}
