//! GNU tar unpacks the same from what nobody made to deceive.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use gigmcp_registry::ImageLimits;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Place, make_writable};

/// What is made at one path.
#[derive(Clone, Debug)]
enum Made {
    Directory,
    File {
        content: Vec<u8>,
        mode: u32,
        modified: u32,
    },
    /// Content at some offset, nothing before, and a length.
    Sparse {
        offset: u64,
        content: Vec<u8>,
        more: u64,
    },
    Symlink(String),
    /// To one of the files made before, by its number.
    HardLink(usize),
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![
        2 => Just(Made::Directory),
        4 => (vec(any::<u8>(), 0..2000), 0_u32..0o1000, 0_u32..2_000_000_000)
            .prop_map(|(content, mode, modified)| Made::File { content, mode, modified }),
        1 => (0_u64..2_000_000, vec(1_u8.., 1..5000), 0_u64..200_000)
            .prop_map(|(offset, content, more)| Made::Sparse { offset, content, more }),
        1 => "[a-z./]{1,150}".prop_map(Made::Symlink),
        1 => any::<usize>().prop_map(Made::HardLink),
    ]
}

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![6 => "[a-c]", 2 => "[a-zA-Z0-9 _\u{e4}=-]{1,20}", 1 => "[a-z]{90,250}"];
    vec(name, 1..5).prop_map(|names| names.join("/"))
}

/// Makes as much of it as fits together.
fn make(root: &Path, plan: &[(String, Made)]) {
    let mut files: Vec<PathBuf> = Vec::new();
    for (path, made) in plan {
        let path = root.join(path);
        if fs::create_dir_all(path.parent().unwrap()).is_err() || fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        match made {
            Made::Directory => fs::create_dir(&path).unwrap(),
            Made::File { content, mode, modified } => {
                fs::write(&path, content).unwrap();
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(*modified));
                fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
                files.push(path);
            }
            Made::Sparse { offset, content, more } => {
                let mut file = fs::File::create(&path).unwrap();
                file.seek(SeekFrom::Start(*offset)).unwrap();
                file.write_all(content).unwrap();
                file.set_len(offset + content.len() as u64 + more).unwrap();
                files.push(path);
            }
            Made::Symlink(target) => symlink(target, &path).unwrap(),
            Made::HardLink(_) if files.is_empty() => {}
            Made::HardLink(number) => fs::hard_link(&files[number % files.len()], &path).unwrap(),
        }
    }
}

/// What is at each path: kind, whether it can be executed, time, content or target, and the first name of the same file.
type Seen = BTreeMap<PathBuf, (char, bool, i64, Vec<u8>, PathBuf)>;

fn see(root: &Path, below: &Path, seen: &mut Seen, first: &mut BTreeMap<u64, PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(root.join(below)).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = below.join(entry.file_name());
        let found = entry.metadata().unwrap();
        let same = first.entry(found.ino()).or_insert_with(|| path.clone()).clone();
        if found.is_dir() {
            seen.insert(path.clone(), ('d', true, 0, Vec::new(), PathBuf::new()));
            see(root, &path, seen, first);
        } else if found.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes();
            seen.insert(path, ('l', true, 0, target, PathBuf::new()));
        } else {
            let content = fs::read(entry.path()).unwrap();
            seen.insert(path, ('f', found.mode() & 0o111 != 0, found.mtime(), content, same));
        }
    }
}

fn seen(root: &Path) -> Seen {
    let mut seen = Seen::new();
    see(root, Path::new(""), &mut seen, &mut BTreeMap::new());
    seen
}

fn gnu_tar(arguments: &[&str], dir: &Path, archive: &Path) {
    let done =
        Command::new("tar").args(arguments).arg("--directory").arg(dir).arg("--file").arg(archive).arg(".").output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn trees_come_out_as_gnu_tar_unpacks_them(
        plan in vec((path(), made()), 0..30),
        format in prop::sample::select(FORMATS),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let [source, theirs] = ["source", "theirs"].map(|name| dir.path().join(name));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&theirs).unwrap();
        make(&source, &plan);
        let archive = dir.path().join("archive.tar");
        gnu_tar(&[&["--create"], format].concat(), &source, &archive);
        gnu_tar(&["--extract", "--preserve-permissions"], &theirs, &archive);
        let place = Place::new();
        place.extract(&[fs::read(&archive).unwrap()], &ImageLimits::default()).unwrap();
        prop_assert_eq!(seen(&place.tree()), seen(&theirs));
        make_writable(&theirs);
    }
}

const FORMATS: &[&[&str]] = &[
    &["--format=gnu"],
    &["--format=gnu", "--sparse"],
    &["--format=posix"],
    &["--format=posix", "--sparse", "--sparse-version=0.0"],
    &["--format=posix", "--sparse", "--sparse-version=0.1"],
    &["--format=posix", "--sparse", "--sparse-version=1.0"],
];
