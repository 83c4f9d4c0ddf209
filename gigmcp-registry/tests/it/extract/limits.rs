//! Bombs, each at the limit and one above.

use std::io::{self, Read as _};

use gigmcp_registry::{Compression, Digest, Exceeded, ExtractError, ImageLimits, Layer, LayerRefusal, extract};

use super::Place;
use crate::tar_bytes::{Header, Tar};

fn tar() -> Tar {
    Tar::new()
}

fn limits(change: impl FnOnce(&mut ImageLimits)) -> ImageLimits {
    let mut limits = ImageLimits::default();
    change(&mut limits);
    limits
}

#[test]
fn limits_hold_to_the_last_one() {
    let holes = |size: &str| {
        let records = [("GNU.sparse.size", size), ("GNU.sparse.numblocks", "1"), ("GNU.sparse.map", "0,2")];
        tar().pax(&records).file("a", "xy")
    };
    for (case, limits, within, beyond, exceeded) in [
        (
            "entries",
            limits(|limits| limits.entries = 2),
            vec![tar().dir("a").dir("b")],
            vec![tar().dir("a").dir("b").dir("c")],
            Exceeded::Entries,
        ),
        (
            "entries of two layers",
            limits(|limits| limits.entries = 2),
            vec![tar().dir("a"), tar().dir("a")],
            vec![tar().dir("a").dir("b"), tar().dir("a")],
            Exceeded::Entries,
        ),
        (
            "entries that are dropped",
            limits(|limits| limits.entries = 1),
            vec![tar().entry(Header::new(b'6', "p"), b"")],
            vec![tar().entry(Header::new(b'6', "p"), b"").entry(Header::new(b'6', "p"), b"")],
            Exceeded::Entries,
        ),
        (
            "directories that no entry names",
            limits(|limits| limits.entries = 3),
            vec![tar().file("a/b/c", "")],
            vec![tar().file("a/b/c/d", "")],
            Exceeded::Entries,
        ),
        (
            "directories that no entry names, of a link",
            limits(|limits| limits.entries = 4),
            vec![tar().file("f", "").hard_link("a/b/c", "f")],
            vec![tar().file("f", "").hard_link("a/b/c/d", "f")],
            Exceeded::Entries,
        ),
        ("layers", limits(|limits| limits.layers = 1), vec![tar()], vec![tar(), tar()], Exceeded::Layers),
        (
            "bytes",
            limits(|limits| limits.bytes = 2048),
            vec![tar().file("a", "x")],
            vec![tar().file("a", &"x".repeat(600))],
            Exceeded::Bytes,
        ),
        (
            "bytes of two layers",
            limits(|limits| limits.bytes = 3072),
            vec![tar().file("a", "x"), tar()],
            vec![tar().file("a", "x"), tar().file("a", "x")],
            Exceeded::Bytes,
        ),
        (
            "bytes of holes",
            limits(|limits| limits.bytes = 1 << 20),
            vec![holes("1048576")],
            vec![holes("1048577")],
            Exceeded::Bytes,
        ),
    ] {
        let end = |tars: Vec<Tar>| tars.into_iter().map(Tar::end).collect::<Vec<_>>();
        if let Err(error) = Place::new().extract(&end(within), &limits) {
            panic!("{case}: {error}");
        }
        match Place::new().extract(&end(beyond), &limits) {
            Err(ExtractError::TooLarge { exceeded: found, .. }) => assert_eq!(found, exceeded, "{case}"),
            other => panic!("{case}: {other:?}"),
        }
    }
}

#[test]
fn depth_and_headers_are_bounded() {
    let limits = limits(|limits| (limits.depth, limits.extension_bytes) = (3, 30));
    for (case, layer, expected) in [
        ("three names", tar().dir("a/b/c"), None),
        ("four names", tar().dir("a/b/c/d"), Some(LayerRefusal::Deep)),
        ("a short header", tar().pax(&[("comment", "x")]).dir("a"), None),
        (
            "a long header",
            tar().pax(&[("comment", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")]).dir("a"),
            Some(LayerRefusal::LongExtension),
        ),
    ] {
        match Place::new().extract(&[layer.end()], &limits) {
            Ok(_) => assert_eq!(None, expected, "{case}"),
            Err(ExtractError::Refused { why, .. }) => assert_eq!(Some(why), expected, "{case}"),
            Err(error) => panic!("{case}: {error}"),
        }
    }
}

#[test]
fn a_bomb_is_told_by_its_ratio() {
    // A file of 80 MiB, all zeros.
    let header = tar().entry(Header::new(b'0', "a").size("00500000000\0"), b"").0;
    let plain = io::Cursor::new(header).chain(io::repeat(0)).take(512 + (80 << 20) + 1024);
    let bomb = zstd::encode_all(plain, 1).unwrap();
    assert!(bomb.len() < 1 << 20);
    for (ratio, expected) in [(200, "it unpacks to too many times its size"), (100_000, "")] {
        let place = Place::new();
        // The digest is of no interest: what is too large is told before it is known.
        let layer = Layer { content: &bomb[..], compression: Compression::Zstd, diff_id: Digest::of(b"") };
        let limits = limits(|limits| limits.ratio = ratio);
        match extract(&place.tree(), [layer], &limits) {
            Err(ExtractError::TooLarge { exceeded, .. }) => assert_eq!(exceeded.to_string(), expected),
            Err(ExtractError::DiffId { .. }) => assert_eq!(expected, ""),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_directory_is_cleared_once_however_often_a_layer_says_so() {
    let names = || 0..4000;
    let files = |tar: Tar, prefix: &str| names().fold(tar, |tar, name| tar.file(&format!("{prefix}{name}"), ""));
    let again = names().fold(files(tar(), "d/own"), |tar, name| match name % 2 {
        0 => tar.file("d/.wh..wh..opq", ""),
        _ => tar.file(".wh.d", ""),
    });
    let place = Place::new();
    let begun = std::time::Instant::now();
    place.extract(&[files(tar(), "d/lower").end(), again.file("d/last", "").end()], &ImageLimits::default()).unwrap();
    // Each time would take minutes.
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
    let listing = place.listing();
    assert_eq!(listing.len(), 4002);
    assert!(!listing.iter().any(|line| line.contains("lower")) && listing.contains(&"f d/last ".to_owned()));
}
