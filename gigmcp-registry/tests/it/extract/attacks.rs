//! What layers must not do, each beside the same without it.

use gigmcp_registry::{ExtractError, ImageLimits, LayerRefusal};

use super::Place;
use crate::tar_bytes::{Header, Tar};

/// A trick, what it is refused as, and its twin: the same without the trick, and what that makes.
struct Row {
    trick: &'static str,
    attack: Vec<Tar>,
    refused: LayerRefusal,
    twin: Vec<Tar>,
    makes: &'static [&'static str],
}

fn row(
    trick: &'static str,
    attack: impl Into<Vec<Tar>>,
    refused: LayerRefusal,
    twin: impl Into<Vec<Tar>>,
    makes: &'static [&'static str],
) -> Row {
    Row { trick, attack: attack.into(), refused, twin: twin.into(), makes }
}

#[test]
fn attacks_are_refused_and_their_twins_are_unpacked() {
    for Row { trick, attack, refused, twin, makes } in
        paths().into_iter().chain(links()).chain(headers()).chain(whiteouts())
    {
        let ended = |tars: Vec<Tar>| tars.into_iter().map(Tar::end).collect::<Vec<_>>();
        let place = Place::new();
        match place.extract(&ended(attack), &ImageLimits::default()) {
            Err(ExtractError::Refused { why, .. }) => assert_eq!(why, refused, "{trick}"),
            other => panic!("{trick}: {other:?}"),
        }
        let place = Place::new();
        if let Err(error) = place.extract(&ended(twin), &ImageLimits::default()) {
            panic!("the twin of {trick:?} is refused: {error}");
        }
        assert_eq!(place.listing(), makes, "the twin of {trick:?}");
    }
}

fn tar() -> Tar {
    Tar::new()
}

fn paths() -> Vec<Row> {
    vec![
        row("up", [tar().file("../canary", "x")], LayerRefusal::Parent, [tar().file("canary", "x")], &["f canary x"]),
        row(
            "down and up",
            [tar().file("a/../../canary", "x")],
            LayerRefusal::Parent,
            [tar().file("a/canary", "x")],
            &["d a", "f a/canary x"],
        ),
        row("up, as a directory", [tar().dir("..")], LayerRefusal::Parent, [tar().dir(".")], &[]),
        row(
            "up, in a pax record",
            [tar().pax(&[("path", "../canary")]).file("a", "x")],
            LayerRefusal::Parent,
            [tar().pax(&[("path", "canary")]).file("a", "x")],
            &["f canary x"],
        ),
        row(
            "up, in a long name",
            [tar().entry(Header::new(b'L', "././@LongLink").gnu(), b"../canary\0").file("a", "x")],
            LayerRefusal::Parent,
            [tar().entry(Header::new(b'L', "././@LongLink").gnu(), b"canary\0").file("a", "x")],
            &["f canary x"],
        ),
        row(
            "up, in the prefix of ustar",
            [tar().entry(Header::new(b'0', "canary").at(345, b".."), b"x")],
            LayerRefusal::Parent,
            [tar().entry(Header::new(b'0', "canary").at(345, b"a"), b"x")],
            &["d a", "f a/canary x"],
        ),
        row(
            "absolute",
            [tar().file("/tmp/x", "x")],
            LayerRefusal::Absolute,
            [tar().file("tmp/x", "x")],
            &["d tmp", "f tmp/x x"],
        ),
        row("an empty name", [tar().file("", "x")], LayerRefusal::Name, [tar().file("a", "x")], &["f a x"]),
        row(
            "NUL in a name",
            [tar().pax(&[("path", "a\0b")]).file("a", "")],
            LayerRefusal::Name,
            [tar().pax(&[("path", "ab")]).file("a", "")],
            &["f ab "],
        ),
        row("the root as a file", [tar().file(".", "x")], LayerRefusal::Root, [tar().file("./a", "x")], &["f a x"]),
        row(
            "the root as a symlink",
            [tar().symlink("./", "/etc")],
            LayerRefusal::Root,
            [tar().symlink("./a", "/etc")],
            &["l a /etc"],
        ),
        row(
            "below a file",
            [tar().file("a", "").file("a/b", "")],
            LayerRefusal::BelowFile,
            [tar().dir("a").file("a/b", "")],
            &["d a", "f a/b "],
        ),
    ]
}

fn links() -> Vec<Row> {
    vec![
        row(
            "through an absolute symlink",
            [tar().symlink("a", "/tmp").file("a/x", "x")],
            LayerRefusal::ThroughSymlink,
            [tar().symlink("a", "/tmp").file("b/x", "x")],
            &["l a /tmp", "d b", "f b/x x"],
        ),
        row(
            "through a symlink that goes up",
            [tar().symlink("a", "..").file("a/canary", "x")],
            LayerRefusal::ThroughSymlink,
            [tar().symlink("a", "..").file("canary", "x")],
            &["l a ..", "f canary x"],
        ),
        row(
            "through a symlink that stays",
            [tar().dir("d").symlink("a", "d").file("a/x", "x")],
            LayerRefusal::ThroughSymlink,
            [tar().dir("d").symlink("a", "d").file("d/x", "x")],
            &["l a d", "d d", "f d/x x"],
        ),
        row(
            "through a symlink of a lower layer",
            [tar().symlink("a", ".."), tar().file("a/canary", "x")],
            LayerRefusal::ThroughSymlink,
            [tar().symlink("a", ".."), tar().dir("a").file("a/canary", "x")],
            &["d a", "f a/canary x"],
        ),
        row(
            "through a symlink on the way",
            [tar().symlink("a", "..").dir("a/b/c")],
            LayerRefusal::ThroughSymlink,
            [tar().dir("a/b/c")],
            &["d a", "d a/b", "d a/b/c"],
        ),
        row(
            "through a chain of symlinks",
            [tar().symlink("a", "b").symlink("b", "..").file("a/canary", "x")],
            LayerRefusal::ThroughSymlink,
            [tar().symlink("a", "b").symlink("b", "..").file("c", "x")],
            &["l a b", "l b ..", "f c x"],
        ),
        row(
            "a device through a symlink",
            [tar().symlink("a", "..").entry(Header::new(b'3', "a/canary"), b"")],
            LayerRefusal::ThroughSymlink,
            [tar().symlink("a", "..").entry(Header::new(b'3', "b/canary"), b"")],
            &["l a .."],
        ),
        row(
            "a whiteout through a symlink",
            [tar().symlink("a", ".."), tar().file("a/.wh.canary", "")],
            LayerRefusal::ThroughSymlink,
            [tar().symlink("a", ".."), tar().file(".wh.a", "")],
            &[],
        ),
        row(
            "an opaque whiteout of a symlink",
            [tar().symlink("a", ".."), tar().file("a/.wh..wh..opq", "")],
            LayerRefusal::ThroughSymlink,
            [tar().file("a/b", ""), tar().file("a/.wh..wh..opq", "")],
            &["d a"],
        ),
        row(
            "a hard link up",
            [tar().hard_link("a", "../canary")],
            LayerRefusal::Parent,
            [tar().file("canary", "x").hard_link("a", "canary")],
            &["f a x", "f canary x"],
        ),
        row(
            "an absolute hard link",
            [tar().hard_link("a", "/etc/passwd")],
            LayerRefusal::Absolute,
            [tar().file("etc/passwd", "x").hard_link("a", "etc/passwd")],
            &["f a x", "d etc", "f etc/passwd x"],
        ),
        row(
            "a hard link through a symlink",
            [tar().symlink("s", "..").hard_link("a", "s/canary")],
            LayerRefusal::ThroughSymlink,
            [tar().file("s/canary", "x").hard_link("a", "s/canary")],
            &["f a x", "d s", "f s/canary x"],
        ),
        row(
            "a hard link to a directory",
            [tar().dir("d").hard_link("a", "d")],
            LayerRefusal::HardLink,
            [tar().file("d", "x").hard_link("a", "d")],
            &["f a x", "f d x"],
        ),
        row(
            "a hard link to nothing",
            [tar().hard_link("a", "b")],
            LayerRefusal::HardLink,
            [tar().file("b", "x").hard_link("a", "b")],
            &["f a x", "f b x"],
        ),
        row(
            "a hard link to itself",
            [tar().file("a", "x").hard_link("a", "a")],
            LayerRefusal::HardLink,
            [tar().file("a", "x").hard_link("b", "a")],
            &["f a x", "f b x"],
        ),
        row(
            "a hard link to what it replaces",
            [tar().file("a/b", "x").hard_link("a", "a/b")],
            LayerRefusal::HardLink,
            [tar().file("a/b", "x").hard_link("c", "a/b")],
            &["d a", "f a/b x", "f c x"],
        ),
        // Written in place, the content would go where the symlink points: see `a_file_replaces_a_link`.
        row(
            "a hard link to a symlink, written through",
            [tar().symlink("s", "../canary").hard_link("a", "s").file("a/x", "x")],
            LayerRefusal::ThroughSymlink,
            [tar().symlink("s", "../canary").hard_link("a", "s").file("a", "x")],
            &["f a x", "l s ../canary"],
        ),
        row("an empty symlink", [tar().symlink("a", "")], LayerRefusal::Name, [tar().symlink("a", "b")], &["l a b"]),
    ]
}

fn headers() -> Vec<Row> {
    let sized = |kind, field: &str| Header::new(kind, "a").size(field);
    vec![
        row(
            "a wrong checksum",
            [tar().entry(Header::new(b'0', "a").damaged(), b"")],
            LayerRefusal::Checksum,
            [tar().file("a", "")],
            &["f a "],
        ),
        row(
            "a negative size",
            [tar().entry(sized(b'0', "-0000000001\0"), b"")],
            LayerRefusal::Number,
            [tar().file("a", "")],
            &["f a "],
        ),
        row(
            "a size beyond the end",
            [tar().entry(sized(b'0', "00000010000\0"), b"x")],
            LayerRefusal::CutShort,
            [tar().entry(sized(b'0', "00000000001\0"), b"x")],
            &["f a x"],
        ),
        row(
            "a size that a pax record makes smaller",
            [tar().pax(&[("size", "0")]).file("a", "x")],
            LayerRefusal::SaidTwice,
            [tar().pax(&[("size", "1")]).file("a", "x")],
            &["f a x"],
        ),
        row(
            "a size that a pax record makes larger",
            [tar().pax(&[("size", "1024")]).entry(sized(b'0', "00000000000\0"), &inner())],
            LayerRefusal::SaidTwice,
            [tar().file("a", "")],
            &["f a "],
        ),
        row(
            "two names in one pax header",
            [tar().pax(&[("path", "a"), ("path", "b")]).file("c", "")],
            LayerRefusal::SaidTwice,
            [tar().pax(&[("path", "a")]).file("c", "")],
            &["f a "],
        ),
        row(
            "two pax headers",
            [tar().pax(&[("path", "a")]).pax(&[("path", "b")]).file("c", "")],
            LayerRefusal::SaidTwice,
            [tar().pax(&[("path", "a")]).file("c", "")],
            &["f a "],
        ),
        row(
            "a name in a pax and a GNU header",
            [tar().pax(&[("path", "a")]).entry(Header::new(b'L', "x"), b"b\0").file("c", "")],
            LayerRefusal::SaidTwice,
            [tar().entry(Header::new(b'L', "x"), b"b\0").file("c", "")],
            &["f b "],
        ),
        row(
            "a global name",
            [tar().global(&[("path", "a")]).file("b", "")],
            LayerRefusal::Global,
            [tar().global(&[("comment", "0123abcd")]).file("b", "")],
            &["f b "],
        ),
        row(
            "a record that is none",
            [tar().entry(Header::new(b'x', "p"), b"99 path=a\n").file("b", "")],
            LayerRefusal::Record,
            [tar().entry(Header::new(b'x', "p"), b"10 path=a\n").file("b", "")],
            &["f a "],
        ),
        row(
            "an endless pax header",
            [tar().entry(sized(b'x', "77777777777\0"), b"")],
            LayerRefusal::LongExtension,
            [tar().pax(&[("path", "a")]).file("b", "")],
            &["f a "],
        ),
        row(
            "an endless long name",
            [tar().entry(sized(b'L', "77777777777\0"), b"")],
            LayerRefusal::LongExtension,
            [tar().entry(Header::new(b'L', "x"), b"a\0").file("b", "")],
            &["f a "],
        ),
        row(
            "a pax header of nothing",
            [tar().pax(&[("path", "a")])],
            LayerRefusal::CutShort,
            [tar().pax(&[("path", "a")]).file("b", "")],
            &["f a "],
        ),
        row(
            "a directory with content",
            [tar().entry(Header::new(b'5', "a"), &inner())],
            LayerRefusal::ContentOfNoFile,
            [tar().dir("a")],
            &["d a"],
        ),
        row(
            "a symlink with content",
            [tar().entry(Header::new(b'2', "a").link("b"), &inner())],
            LayerRefusal::ContentOfNoFile,
            [tar().symlink("a", "b")],
            &["l a b"],
        ),
        row(
            "a hard link with content",
            [tar().file("b", "").entry(Header::new(b'1', "a").link("b"), &inner())],
            LayerRefusal::ContentOfNoFile,
            [tar().file("b", "").hard_link("a", "b")],
            &["f a ", "f b "],
        ),
        row(
            "a file with a slash",
            [tar().file("a/", "")],
            LayerRefusal::FileOrDirectory,
            [tar().entry(Header::new(0, "a/"), b"")],
            &["d a"],
        ),
        row(
            "a file with a slash and holes",
            [sparse(&[(0, 2)], "5"), tar().pax(&[("path", "a/")]).entry(Header::new(b'7', "a"), b"x")],
            LayerRefusal::FileOrDirectory,
            [sparse(&[(0, 2)], "5"), tar().pax(&[("path", "a")]).entry(Header::new(b'7', "a"), b"x")],
            &["f a x"],
        ),
        row(
            "an old file with a slash and content",
            [tar().entry(Header::new(0, "a/"), b"x")],
            LayerRefusal::ContentOfNoFile,
            [tar().entry(Header::new(0, "a"), b"x")],
            &["f a x"],
        ),
        row(
            "a prefix for Go only",
            [tar().entry(Header::new(b'0', "a").gnu().at(345, b"etc"), b"x")],
            LayerRefusal::Prefix,
            [tar().entry(Header::new(b'0', "a").gnu().at(345, b"14524761000\x0014524761000\0"), b"x")],
            &["f a x"],
        ),
        row(
            "a prefix for Python only",
            [tar().entry(Header::new(b'0', "a").at(257, &[0; 8]).at(345, b"etc"), b"x")],
            LayerRefusal::Prefix,
            [tar().entry(Header::new(b'0', "a").at(257, &[0; 8]), b"x")],
            &["f a x"],
        ),
        row(
            "a prefix that star ends before",
            [tar().entry(Header::new(b'0', "a").at(345, &[b'p'; 132]).at(508, b"tar\0"), b"x")],
            LayerRefusal::Prefix,
            [tar().entry(Header::new(b'0', "a").at(345, b"p").at(508, b"tar\0"), b"x")],
            &["d p", "f p/a x"],
        ),
        row(
            "content of another volume",
            [tar().entry(Header::new(b'M', "a"), b"x")],
            LayerRefusal::UnknownType,
            [tar().entry(Header::new(b'7', "a"), b"x")],
            &["f a x"],
        ),
        row(
            "an archive behind the end",
            [tar().file("a", "").raw(&[0; 1024]).file("b", "x")],
            LayerRefusal::BehindTheEnd,
            [tar().file("a", "").file("b", "x").raw(&[0; 8192])],
            &["f a ", "f b x"],
        ),
        row(
            "holes of GNU in a header of ustar",
            [tar().entry(old_sparse(), b"xy")],
            LayerRefusal::Sparse,
            [tar().entry(old_sparse().gnu(), b"xy")],
            &["f a xy\0\0\0"],
        ),
        row(
            "holes beyond the file",
            [sparse(&[(0, 1), (4096, 1)], "2")],
            LayerRefusal::Sparse,
            [sparse(&[(0, 1), (4, 1)], "5")],
            &["f a x\0\0\0y"],
        ),
        row(
            "holes that overlap",
            [sparse(&[(0, 2), (1, 0)], "5")],
            LayerRefusal::Sparse,
            [sparse(&[(0, 2), (2, 0)], "5")],
            &["f a xy\0\0\0"],
        ),
        row(
            "holes with less content",
            [sparse(&[(0, 1)], "5")],
            LayerRefusal::Sparse,
            [sparse(&[(0, 2)], "5")],
            &["f a xy\0\0\0"],
        ),
        row(
            "holes that wrap",
            [sparse(&[(1, i64::MAX as u64), (i64::MAX as u64, 2)], "5")],
            LayerRefusal::Sparse,
            [sparse(&[(1, 2)], "5")],
            &["f a \0xy\0\0"],
        ),
    ]
}

/// What a reader takes for a header that skips less than we do.
fn inner() -> Vec<u8> {
    Tar::new().file("../smuggled", "x").0
}

/// A file `a` of two bytes, `xy`, with a map in pax records.
fn sparse(segments: &[(u64, u64)], size: &str) -> Tar {
    let map: Vec<String> = segments.iter().map(|(offset, bytes)| format!("{offset},{bytes}")).collect();
    let count = segments.len().to_string();
    let records = [("GNU.sparse.size", size), ("GNU.sparse.numblocks", &*count), ("GNU.sparse.map", &*map.join(","))];
    Tar::new().pax(&records).file("a", "xy")
}

/// A file `a` of two bytes and a hole of three, with a map in its header.
fn old_sparse() -> Header {
    Header::new(b'S', "a").at(386, b"00000000000\x0000000000002\0").at(483, b"00000000005\0")
}

fn whiteouts() -> Vec<Row> {
    let lower = || tar().file("a", "x");
    vec![
        row(
            "a whiteout of nothing",
            [lower(), tar().file(".wh.", "")],
            LayerRefusal::Whiteout,
            [lower(), tar().file(".wh.a", "")],
            &[],
        ),
        row(
            "a whiteout of this directory",
            [lower(), tar().file(".wh..", "")],
            LayerRefusal::Whiteout,
            [lower(), tar().file(".wh..a", "")],
            &["f a x"],
        ),
        row(
            "a whiteout of the directory above",
            [lower(), tar().file("d/.wh...", "")],
            LayerRefusal::Whiteout,
            [lower(), tar().file("d/.wh....", "")],
            &["f a x"],
        ),
        row(
            "a whiteout with content",
            [lower(), tar().file(".wh.a", "x")],
            LayerRefusal::Whiteout,
            [lower(), tar().file(".wh.a", "")],
            &[],
        ),
        row(
            "a whiteout as a directory",
            [lower(), tar().dir(".wh.a")],
            LayerRefusal::Whiteout,
            [lower(), tar().dir("wh.a")],
            &["f a x", "d wh.a"],
        ),
        row(
            "a whiteout as a link",
            [lower(), tar().hard_link(".wh.a", "a")],
            LayerRefusal::Whiteout,
            [lower(), tar().hard_link("wh.a", "a")],
            &["f a x", "f wh.a x"],
        ),
        row(
            "below a whiteout",
            [lower(), tar().file(".wh.a/b", "")],
            LayerRefusal::Whiteout,
            [lower(), tar().file("wh.a/b", "")],
            &["f a x", "d wh.a", "f wh.a/b "],
        ),
        row(
            "a name of AUFS",
            [tar().file(".wh..wh.plnk", "")],
            LayerRefusal::Whiteout,
            [tar().file(".wh..wh..opq", "")],
            &[],
        ),
    ]
}
