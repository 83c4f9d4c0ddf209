//! What layers make, one above the other.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;

use gigmcp_registry::{Compression, Digest, Dropped, ExtractError, ImageLimits, Layer, LayerRefusal, extract};

use super::Place;
use crate::tar_bytes::{Header, Tar};

fn tar() -> Tar {
    Tar::new()
}

#[test]
fn upper_layers_replace_and_remove() {
    let lower = || tar().file("d/a", "1").file("d/b", "1").file("f", "1").symlink("l", "f");
    for (case, upper, expected) in [
        ("nothing", tar(), &["d d", "f d/a 1", "f d/b 1", "f f 1", "l l f"][..]),
        ("a file replaces a file", tar().file("f", "2"), &["d d", "f d/a 1", "f d/b 1", "f f 2", "l l f"]),
        ("a file replaces a symlink", tar().file("l", "2"), &["d d", "f d/a 1", "f d/b 1", "f f 1", "f l 2"]),
        ("a file replaces a directory", tar().file("d", "2"), &["f d 2", "f f 1", "l l f"]),
        ("a directory replaces a file", tar().dir("f"), &["d d", "f d/a 1", "f d/b 1", "d f", "l l f"]),
        ("a directory replaces a symlink", tar().dir("l"), &["d d", "f d/a 1", "f d/b 1", "f f 1", "d l"]),
        (
            "a directory joins a directory",
            tar().dir("d").file("d/c", "2"),
            &["d d", "f d/a 1", "f d/b 1", "f d/c 2", "f f 1", "l l f"],
        ),
        ("a device replaces a file", tar().entry(Header::new(b'3', "f"), b""), &["d d", "f d/a 1", "f d/b 1", "l l f"]),
        ("a whiteout removes a file", tar().file(".wh.f", ""), &["d d", "f d/a 1", "f d/b 1", "l l f"]),
        ("a whiteout removes a directory", tar().file(".wh.d", ""), &["f f 1", "l l f"]),
        ("a whiteout of nothing", tar().file("x/.wh.y", ""), &["d d", "f d/a 1", "f d/b 1", "f f 1", "l l f"]),
        (
            "a whiteout before its own layer's",
            tar().file(".wh.d", "").file("d/c", "2"),
            &["d d", "f d/c 2", "f f 1", "l l f"],
        ),
        (
            "a whiteout after its own layer's",
            tar().file("d/c", "2").file(".wh.d", ""),
            &["d d", "f d/c 2", "f f 1", "l l f"],
        ),
        (
            "a whiteout of its own layer's file",
            tar().file("f", "2").file(".wh.f", ""),
            &["d d", "f d/a 1", "f d/b 1", "f f 2", "l l f"],
        ),
        ("an opaque directory", tar().dir("d").file("d/.wh..wh..opq", ""), &["d d", "f f 1", "l l f"]),
        ("opaque before", tar().file("d/.wh..wh..opq", "").file("d/b", "2"), &["d d", "f d/b 2", "f f 1", "l l f"]),
        ("opaque after", tar().file("d/b", "2").file("d/.wh..wh..opq", ""), &["d d", "f d/b 2", "f f 1", "l l f"]),
        ("opaque at the root", tar().file("d/b", "2").file(".wh..wh..opq", ""), &["d d", "f d/b 2"]),
        (
            "a hard link to the lower layer",
            tar().hard_link("h", "d/a"),
            &["d d", "f d/a 1", "f d/b 1", "f f 1", "f h 1", "l l f"],
        ),
        ("a file twice", tar().file("f", "2").file("f", "3"), &["d d", "f d/a 1", "f d/b 1", "f f 3", "l l f"]),
    ] {
        let place = Place::new();
        place.extract(&[lower().end(), upper.end()], &ImageLimits::default()).unwrap();
        assert_eq!(place.listing(), expected, "{case}");
    }
}

#[test]
fn a_file_replaces_a_link_and_not_what_it_is_linked_to() {
    let place = Place::new();
    let lower = tar().file("a", "1").hard_link("b", "a").symlink("c", "../canary").end();
    place.extract(&[lower, tar().file("b", "2").file("c", "2").end()], &ImageLimits::default()).unwrap();
    assert_eq!(place.listing(), ["f a 1", "f b 2", "f c 2"]);
}

#[test]
fn hard_links_are_one_file() {
    let place = Place::new();
    place.extract(&[tar().file("a", "1").hard_link("b", "a").end()], &ImageLimits::default()).unwrap();
    let [a, b] = ["a", "b"].map(|name| fs::metadata(place.tree().join(name)).unwrap().ino());
    assert_eq!(a, b);
}

#[test]
fn what_a_server_must_not_get_is_dropped_and_counted() {
    let place = Place::new();
    let layer = tar()
        .entry(Header::new(b'3', "dev/null"), b"")
        .entry(Header::new(b'4', "dev/sda"), b"")
        .entry(Header::new(b'6', "pipe"), b"")
        .entry(Header::new(b'0', "sudo").mode("4755"), b"1")
        .entry(Header::new(b'0', "wall").mode("2755"), b"1")
        .entry(Header::new(b'5', "tmp").mode("1777"), b"")
        .pax(&[("SCHILY.xattr.security.capability", "x"), ("SCHILY.xattr.user.note", "x")])
        .file("ping", "1")
        .entry(Header::new(b'0', "secret").mode("0000"), b"1");
    let report = place.extract(&[layer.end()], &ImageLimits::default()).unwrap();
    assert_eq!(place.listing(), ["f ping 1", "f secret 1", "x sudo 1", "d tmp", "x wall 1"]);
    let Dropped { special, mode_bits, attributes, .. } = report.dropped;
    assert_eq!((special, mode_bits, attributes), (3, 2, 2));
}

#[test]
fn names_that_are_almost_the_same_stay_two() {
    let place = Place::new();
    let layer = tar().file("Readme", "1").file("README", "2").file("\u{e9}", "3").file("e\u{301}", "4");
    place.extract(&[layer.end()], &ImageLimits::default()).unwrap();
    assert_eq!(place.listing(), ["f README 2", "f Readme 1", "f e\u{301} 4", "f \u{e9} 3"]);
}

#[test]
fn holes_stay_holes() {
    let place = Place::new();
    let size = (64_u64 << 20).to_string();
    let records = [("GNU.sparse.size", &*size), ("GNU.sparse.numblocks", "1"), ("GNU.sparse.map", "33554432,2")];
    place.extract(&[tar().pax(&records).file("a", "xy").end()], &ImageLimits::default()).unwrap();
    let found = fs::metadata(place.tree().join("a")).unwrap();
    assert_eq!(found.size(), 64 << 20);
    assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
    let content = fs::read(place.tree().join("a")).unwrap();
    assert_eq!(&content[33_554_430..33_554_436], b"\0\0xy\0\0");
}

#[test]
fn the_tree_says_what_it_is_and_not_how_it_was_made() {
    let digest = |layers: &[Tar]| {
        let place = Place::new();
        let layers: Vec<_> = layers.iter().cloned().map(Tar::end).collect();
        place.extract(&layers, &ImageLimits::default()).unwrap().tree
    };
    let tree = digest(&[tar().dir("d").file("d/a", "1").file("b", "2")]);
    for (case, layers, same) in [
        ("another order", &[tar().file("b", "2").file("d/a", "1")][..], true),
        (
            "two layers",
            &[tar().file("b", "1").file("d/a", "1").file("c", ""), tar().file("b", "2").file(".wh.c", "")],
            true,
        ),
        ("another content", &[tar().file("b", "3").file("d/a", "1")], false),
        ("another name", &[tar().file("c", "2").file("d/a", "1")], false),
        ("another place", &[tar().file("b", "2").file("a", "1").dir("d")], false),
        ("executable", &[tar().entry(Header::new(b'0', "b").mode("0755"), b"2").file("d/a", "1")], false),
        (
            "another time",
            &[tar().entry(Header::new(b'0', "b").at(136, b"14524761001\0"), b"2").file("d/a", "1")],
            false,
        ),
        ("a symlink", &[tar().symlink("b", "2").file("d/a", "1")], false),
        ("an empty directory more", &[tar().file("b", "2").file("d/a", "1").dir("e")], false),
    ] {
        assert_eq!(digest(layers) == tree, same, "{case}");
    }
    // As another program computes it from what `seal.rs` says. A change of the encoding must come with another name.
    let known = "sha256:8f861e40169bd58dace29b5f787709aba605d3dbc3ed507af2a82e6937545db8";
    assert_eq!(tree.to_string(), known);
}

#[test]
fn layers_are_compressed_as_the_manifest_says() {
    let content = tar().file("a", &"1".repeat(100_000)).end();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&content).unwrap();
    let gzip = encoder.finish().unwrap();
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(&content).unwrap();
    let zstd = encoder.finish().unwrap();
    let unpacked = |stored: &[u8], compression| {
        let place = Place::new();
        let layer = Layer { content: stored, compression, diff_id: Digest::of(&content) };
        match extract(&place.tree(), [layer], &ImageLimits::default()) {
            Ok(_) => Ok(()),
            Err(ExtractError::Refused { why, .. }) => Err(why),
            Err(error) => panic!("{error}"),
        }
    };
    let damaged = |stored: &[u8]| {
        let mut stored = stored.to_vec();
        *stored.last_mut().unwrap() ^= 0x40; // of the checksum: what comes before it is read first
        stored
    };
    let more = |stored: &[u8]| [stored, b"more"].concat();
    for (case, stored, compression, expected) in [
        ("none", content.clone(), Compression::None, Ok(())),
        ("gzip", gzip.clone(), Compression::Gzip, Ok(())),
        ("zstd", zstd.clone(), Compression::Zstd, Ok(())),
        ("none as gzip", content.clone(), Compression::Gzip, Err(LayerRefusal::Compression)),
        ("gzip as none", gzip.clone(), Compression::None, Err(LayerRefusal::Compression)),
        ("gzip as zstd", gzip.clone(), Compression::Zstd, Err(LayerRefusal::Compression)),
        ("damaged gzip", damaged(&gzip), Compression::Gzip, Err(LayerRefusal::Damaged)),
        ("damaged zstd", damaged(&zstd), Compression::Zstd, Err(LayerRefusal::Damaged)),
        ("gzip cut short", gzip[..gzip.len() - 1].to_vec(), Compression::Gzip, Err(LayerRefusal::Damaged)),
        ("zstd cut short", zstd[..zstd.len() - 1].to_vec(), Compression::Zstd, Err(LayerRefusal::Damaged)),
        ("gzip and more", more(&gzip), Compression::Gzip, Err(LayerRefusal::Damaged)),
        ("zstd and more", more(&zstd), Compression::Zstd, Err(LayerRefusal::Damaged)),
    ] {
        assert_eq!(unpacked(&stored, compression), expected, "{case}");
    }
}

#[test]
fn another_layer_than_the_configuration_promises_is_refused() {
    let (promised, given) = (tar().file("a", "1").end(), tar().file("a", "2").end());
    for (content, is_right) in [(&promised, true), (&given, false)] {
        let place = Place::new();
        let layer = Layer { content: &content[..], compression: Compression::None, diff_id: Digest::of(&promised) };
        let extracted = extract(&place.tree(), [layer], &ImageLimits::default());
        match extracted {
            Ok(_) => assert!(is_right),
            Err(ExtractError::DiffId { found, .. }) => assert!(!is_right && found == Digest::of(&given)),
            Err(error) => panic!("{error}"),
        }
    }
}
