//! Writes a tree as a tar archive, the same bytes every time.
//!
//! Sorted by path, owned by root, one time for all, modes 0644, 0755 and 0777 for symlinks. The format is POSIX ustar, with pax
//! records for names that do not fit.

use std::io::{self, Write};

use super::tree::{FileMode, Node, Tree};

/// Writes all of `tree`, with its end.
pub(super) fn write(tree: &Tree, modified: u32, mut out: impl Write) -> io::Result<()> {
    for (path, node) in tree.nodes() {
        let entry = match node {
            Node::Directory => Entry { kind: b'5', mode: 0o755, name: format!("{path}/"), link: "", content: b"" },
            Node::File { content, mode } => {
                let mode = if *mode == FileMode::Executable { 0o755 } else { 0o644 };
                Entry { kind: b'0', mode, name: path.to_owned(), link: "", content }
            }
            Node::Symlink(target) => {
                Entry { kind: b'2', mode: 0o777, name: path.to_owned(), link: target, content: b"" }
            }
        };
        entry.write(modified, &mut out)?;
    }
    out.write_all(&[0; 2 * BLOCK])
}

struct Entry<'a> {
    kind: u8,
    mode: u32,
    name: String,
    link: &'a str,
    content: &'a [u8],
}

impl Entry<'_> {
    fn write(&self, modified: u32, out: &mut impl Write) -> io::Result<()> {
        let mut records = Vec::new();
        for (key, value) in [("path", self.name.as_str()), ("linkpath", self.link)] {
            if !fits(value) {
                records.extend(record(key, value));
            }
        }
        if !records.is_empty() {
            block(out, b'x', 0o644, modified, "pax", "", records.len())?;
            padded(out, &records)?;
        }
        let short = |value| if fits(value) { value } else { "" };
        let name = if fits(&self.name) { self.name.as_str() } else { "pax" };
        block(out, self.kind, self.mode, modified, name, short(self.link), self.content.len())?;
        padded(out, self.content)
    }
}

fn fits(value: &str) -> bool {
    value.len() <= 100 && value.is_ascii()
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

fn block(
    out: &mut impl Write,
    kind: u8,
    mode: u32,
    modified: u32,
    name: &str,
    link: &str,
    size: usize,
) -> io::Result<()> {
    let size = u64::try_from(size).ok().filter(|size| *size < 8 << 30);
    let size = size.ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, format!("{name} has 8 GiB or more")))?;
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, &format!("{modified:011o}"));
    put(148, "        ");
    put(157, link);
    put(257, "ustar\x0000");
    put(329, "0000000");
    put(337, "0000000");
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    out.write_all(&block)
}

fn padded(out: &mut impl Write, content: &[u8]) -> io::Result<()> {
    out.write_all(content)?;
    out.write_all(&[0; BLOCK][..content.len().wrapping_neg() % BLOCK])
}

const BLOCK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::ImageLimits;
    use crate::tar::{Archive, Kind};

    #[test]
    fn our_reader_reads_what_is_written() {
        let long = "directory/".repeat(12) + "file";
        let mut tree = Tree::new();
        tree.file("app/server", "content", FileMode::Executable).expect("a path");
        tree.file(&long, vec![7; 513], FileMode::Data).expect("a path");
        tree.file("ä", "", FileMode::Data).expect("a path");
        tree.symlink("link", &long).expect("a path");
        let mut out = Vec::new();
        write(&tree, 1_700_000_000, &mut out).expect("a vector");
        let limits = ImageLimits::default();
        let mut archive = Archive::new(&*out, &limits);
        let mut found = Vec::new();
        while let Some(entry) = archive.entry().expect("an archive") {
            assert_eq!(entry.modified, 1_700_000_000);
            let what = match entry.kind {
                Kind::Directory => "directory".to_owned(),
                Kind::File { bytes, .. } => format!("{bytes} {:o}", entry.mode),
                Kind::Symlink(target) => String::from_utf8(target).expect("text"),
                other => panic!("{other:?}"),
            };
            found.push((String::from_utf8(entry.path.as_bytes().to_vec()).expect("text"), what));
        }
        let paths: Vec<_> = tree.paths().collect();
        assert_eq!(found.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), paths);
        for (path, what) in
            [("app", "directory"), ("app/server", "7 755"), (&long, "513 644"), ("ä", "0 644"), ("link", &long)]
        {
            assert!(found.contains(&(path.to_owned(), what.to_owned())), "{path}: {found:?}");
        }
    }
}
