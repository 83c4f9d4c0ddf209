//! Names of entries and what links point to.

use super::LayerRefusal;
use crate::extract::ImageLimits;

/// Where an entry is, below the root: components without `.`, `..` or an empty one, joined by `/`. Empty for the root itself.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct EntryPath(Box<[u8]>);

impl EntryPath {
    pub(super) fn parse(raw: &[u8], limits: &ImageLimits) -> Result<Self, LayerRefusal> {
        if raw.is_empty() || raw.contains(&0) {
            return Err(LayerRefusal::Name);
        }
        if raw.starts_with(b"/") {
            return Err(LayerRefusal::Absolute);
        }
        let mut path = Vec::with_capacity(raw.len());
        for (depth, part) in raw.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).enumerate() {
            if part == b".." {
                return Err(LayerRefusal::Parent);
            }
            if part.len() > NAME_BYTES {
                return Err(LayerRefusal::LongName);
            }
            if depth >= limits.depth {
                return Err(LayerRefusal::Deep);
            }
            if depth > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        if path.len() > PATH_BYTES {
            return Err(LayerRefusal::LongName);
        }
        Ok(Self(path.into()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory it is in, and its name there; both empty for the root.
    pub(crate) fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (b"", &self.0),
        }
    }
}

/// What a header `L` or `K` of GNU tar holds: a name, ended by NUL.
pub(super) fn long(mut content: Vec<u8>) -> Result<Vec<u8>, LayerRefusal> {
    while content.last() == Some(&0) {
        content.pop();
    }
    if content.contains(&0) { Err(LayerRefusal::Name) } else { Ok(content) }
}

/// Where a symlink points. Nothing here follows one, so it may be anything that the file system can hold.
pub(super) fn target(target: Vec<u8>) -> Result<Vec<u8>, LayerRefusal> {
    if target.is_empty() || target.contains(&0) {
        return Err(LayerRefusal::Name);
    }
    if target.len() > PATH_BYTES { Err(LayerRefusal::LongName) } else { Ok(target) }
}

/// Linux' `NAME_MAX`.
const NAME_BYTES: usize = 255;
/// Linux' `PATH_MAX` without the NUL.
const PATH_BYTES: usize = 4095;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        let long = "n".repeat(255);
        for (case, raw, expected) in [
            ("plain", "usr/bin/node".to_owned(), Ok("usr/bin/node")),
            ("as GNU tar writes it", "./usr/bin/".to_owned(), Ok("usr/bin")),
            ("the root", "./".to_owned(), Ok("")),
            ("empty components", "usr//./bin".to_owned(), Ok("usr/bin")),
            ("dots in a name", "..a/b..".to_owned(), Ok("..a/b..")),
            ("the longest name", long.clone(), Ok(long.as_str())),
            ("the deepest", "d/".repeat(64), Ok(&"d/".repeat(64)[..127])),
            ("up", "../etc".to_owned(), Err(LayerRefusal::Parent)),
            ("up and down", "usr/../etc".to_owned(), Err(LayerRefusal::Parent)),
            ("up at the end", "usr/..".to_owned(), Err(LayerRefusal::Parent)),
            ("absolute", "/etc".to_owned(), Err(LayerRefusal::Absolute)),
            ("absolute twice", "//etc".to_owned(), Err(LayerRefusal::Absolute)),
            ("empty", String::new(), Err(LayerRefusal::Name)),
            ("NUL", "etc\0/x".to_owned(), Err(LayerRefusal::Name)),
            ("a longer name", format!("{long}n"), Err(LayerRefusal::LongName)),
            ("a longer path", format!("{long}/").repeat(17), Err(LayerRefusal::LongName)),
            ("deeper", "d/".repeat(65), Err(LayerRefusal::Deep)),
        ] {
            let parsed = EntryPath::parse(raw.as_bytes(), &ImageLimits::default());
            assert_eq!(
                parsed.as_ref().map(EntryPath::as_bytes),
                expected.as_ref().map(|text| text.as_bytes()),
                "{case}"
            );
        }
    }
}
