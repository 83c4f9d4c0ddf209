//! npm packages, unpacked: files, and nothing else.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::tree::{FileMode, Tree, TreeError};
use crate::extract::ImageLimits;
use crate::tar::{Archive, Kind, LayerRefusal, TarError};

/// Adds the files of a package below `into`. Its first directory, whatever it is called, is left out, as `npm` does.
pub(super) fn npm(tree: &mut Tree, packed: &[u8], into: &str) -> Result<(), UnpackFault> {
    let limits = ImageLimits::default();
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed).take(LARGEST_BYTES + 1).read_to_end(&mut bytes).map_err(|_| UnpackFault::Damaged)?;
    if bytes.len() as u64 > LARGEST_BYTES {
        return Err(UnpackFault::TooLarge);
    }
    let mut archive = Archive::new(&*bytes, &limits);
    while let Some(entry) = archive.entry().map_err(refused)? {
        let path = str::from_utf8(entry.path.as_bytes()).map_err(|_| UnpackFault::Name)?.to_owned();
        match entry.kind {
            Kind::Directory => {}
            Kind::File { bytes, segments: None } => {
                let mut content = vec![0; usize::try_from(bytes).map_err(|_| UnpackFault::TooLarge)?];
                let mut read = 0;
                while read < content.len() {
                    read += archive.content(&mut content[read..]).map_err(refused)?;
                }
                let Some((_, inside)) = path.split_once('/') else { return Err(UnpackFault::Link { path }) };
                // A package has no business with what others are installed as beside it.
                let mode = if entry.mode & 0o111 == 0 { FileMode::Data } else { FileMode::Executable };
                tree.file(&format!("{into}/{inside}"), content, mode)?;
            }
            _ => return Err(UnpackFault::Link { path }),
        }
    }
    Ok(())
}

/// What `npm` makes of a package's programs: files that can be executed, and links by their names in `.bin`. A name that another
/// package has already stays that package's.
pub(super) fn npm_programs(tree: &mut Tree, into: &str, bin: &BTreeMap<String, String>) -> Result<(), UnpackFault> {
    let around = into.rfind("node_modules/").map_or(into, |at| &into[..at + "node_modules".len()]);
    for (name, path) in bin {
        let path = path.trim_start_matches("./");
        // What the lock file names and the package does not have, `npm` leaves out too.
        if tree.make_program(&format!("{into}/{path}"), interpreter_in_its_place).is_none() {
            continue;
        }
        let name = name.rsplit('/').next().unwrap_or(name);
        let target = format!("..{}/{path}", &into[around.len()..]);
        match tree.symlink(&format!("{around}/.bin/{name}"), &target) {
            Ok(()) | Err(TreeError::Taken { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// `#!/usr/bin/env node` becomes `#!/usr/bin/node`: there is no `env` in an image that has Node alone.
pub(super) fn interpreter_in_its_place(content: &mut Vec<u8>) {
    let Some(end) = content.iter().position(|byte| *byte == b'\n') else { return };
    let line = String::from_utf8_lossy(&content[..end]).into_owned();
    let line = line.trim_end();
    let words = line.strip_prefix("#!").map(str::trim).and_then(|line| line.strip_prefix("/usr/bin/env"));
    let words = words.map(|words| words.trim().trim_start_matches("-S").trim());
    if let Some(rest) =
        words.and_then(|words| words.strip_prefix("node")).filter(|rest| rest.is_empty() || rest.starts_with(' '))
    {
        content.splice(..end, format!("#!/usr/bin/node{rest}").into_bytes());
    }
}

fn refused(error: TarError) -> UnpackFault {
    match error {
        TarError::Read(_) => UnpackFault::Damaged,
        TarError::Refused(refusal) => UnpackFault::Refused(refusal),
    }
}

/// Why a package was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackFault {
    #[error("it is damaged")]
    Damaged,
    #[error("it unpacks to more than 1 GiB")]
    TooLarge,
    #[error("a name in it is no UTF-8")]
    Name,
    #[error("{path:?} in it is no file in a directory")]
    Link { path: String },
    #[error("its archive is refused: {0}")]
    Refused(LayerRefusal),
    #[error(transparent)]
    Place(#[from] TreeError),
}

pub(super) const LARGEST_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn packed(entries: &[(u8, &str, &str)]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for (kind, name, text) in entries {
            let mut block = [0; 512];
            block[..name.len()].copy_from_slice(name.as_bytes());
            block[100..107].copy_from_slice(b"0000755");
            let content = if *kind == b'0' { text.as_bytes() } else { b"" };
            block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
            block[136..147].copy_from_slice(b"00000000000");
            block[148..156].fill(b' ');
            block[156] = *kind;
            if *kind != b'0' {
                block[157..157 + text.len()].copy_from_slice(text.as_bytes());
            }
            block[257..263].copy_from_slice(b"ustar\0");
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            out.write_all(&block).expect("a vector");
            out.write_all(content).expect("a vector");
            out.write_all(&[0; 512][..content.len().wrapping_neg() % 512]).expect("a vector");
        }
        out.write_all(&[0; 1024]).expect("a vector");
        out.finish().expect("a vector")
    }

    #[test]
    fn a_package_is_files_below_its_directory() {
        let ok: &[(u8, &str, &str)] = &[(b'0', "package/index.js", "x"), (b'0', "package/lib/a.js", "y")];
        for (case, entries, expected) in [
            ("files", ok, Ok("app/index.js app/lib/a.js")),
            ("another directory", &[(b'0', "a-1.0/index.js", "x")], Ok("app/index.js")),
            ("a symlink", &[(b'2', "package/a", "/etc/passwd")], Err("no file in a directory")),
            (
                "a hard link",
                &[(b'0', "package/b", "x"), (b'1', "package/a", "package/b")],
                Err("no file in a directory"),
            ),
            ("a device", &[(b'3', "package/a", "")], Err("no file in a directory")),
            ("up", &[(b'0', "package/../../a", "x")], Err("its archive is refused")),
            ("absolute", &[(b'0', "/etc/passwd", "x")], Err("its archive is refused")),
            ("no directory", &[(b'0', "index.js", "x")], Err("no file in a directory")),
            ("twice", &[(b'0', "package/a", "x"), (b'0', "package/a", "y")], Err("two different things")),
        ] {
            let mut tree = Tree::new();
            let done = npm(&mut tree, &packed(entries), "app").map_err(|fault| fault.to_string());
            match expected {
                Ok(paths) => {
                    done.expect(case);
                    let files: Vec<_> = tree.paths().filter(|path| tree.content(path).is_some()).collect();
                    assert_eq!(files.join(" "), paths, "{case}");
                }
                Err(says) => assert!(done.as_ref().is_err_and(|said| said.contains(says)), "{case}: {done:?}"),
            }
        }
        let whole = packed(ok);
        assert!(npm(&mut Tree::new(), &whole[..whole.len() / 2], "app").is_err(), "cut short");
    }

    #[test]
    fn programs_are_linked_and_find_node() {
        let mut tree = Tree::new();
        for (line, path) in
            [("#!/usr/bin/env node", "a"), ("#! /usr/bin/env -S node --no-warnings\r", "b"), ("#!/bin/sh", "c")]
        {
            tree.file(&format!("app/node_modules/@s/p/{path}"), format!("{line}\nrest"), FileMode::Data)
                .expect("a path");
        }
        let bin = [("x", "./a"), ("y", "b"), ("z", "c"), ("w", "missing")];
        let bin = bin.map(|(name, path)| (name.to_owned(), path.to_owned())).into();
        npm_programs(&mut tree, "app/node_modules/@s/p", &bin).expect("places");
        let content = |path: &str| {
            String::from_utf8(tree.content(&format!("app/node_modules/@s/p/{path}")).expect("a file").to_vec())
        };
        assert_eq!(content("a").as_deref(), Ok("#!/usr/bin/node\nrest"));
        assert_eq!(content("b").as_deref(), Ok("#!/usr/bin/node --no-warnings\nrest"));
        assert_eq!(content("c").as_deref(), Ok("#!/bin/sh\nrest"));
        let links: Vec<_> = tree.paths().filter(|path| path.contains(".bin/")).collect();
        assert_eq!(links, ["app/node_modules/.bin/x", "app/node_modules/.bin/y", "app/node_modules/.bin/z"]);
        let mut same = tree.clone();
        assert!(same.symlink("app/node_modules/.bin/x", "../@s/p/a").is_ok(), "as npm links it");
    }
}
