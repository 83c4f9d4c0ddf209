//! pax records: `LENGTH KEY=VALUE\n`.
//!
//! Source: POSIX.1-2024, pax, pax Extended Header.

use super::LayerRefusal;
use super::header::Header;
use super::number::{decimal, decimal_seconds};
use super::sparse::SparseRecords;

/// What the records before an entry say about it.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) modified: Option<u32>,
    pub(super) attributes: u32,
    pub(super) sparse: SparseRecords,
    size: Option<u64>,
}

impl Records {
    pub(super) fn parse(content: &[u8]) -> Result<Self, LayerRefusal> {
        let mut records = Self::default();
        each(content, |key, value| records.add(key, value))?;
        Ok(records)
    }

    /// Global records may comment, and not say where files are or what they hold: readers differ on how long they hold.
    pub(super) fn check_global(content: &[u8]) -> Result<(), LayerRefusal> {
        each(content, |key, _| match key {
            b"path" | b"linkpath" | b"size" | b"mtime" => Err(LayerRefusal::Global),
            key if key.starts_with(b"GNU.sparse.") || is_attribute(key) => Err(LayerRefusal::Global),
            _ => Ok(()),
        })
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.sparse != SparseRecords::default()
    }

    /// How much content follows. A record counts, if the header's own field cannot say it or says the same: readers that do
    /// not know records would go on somewhere else.
    pub(super) fn stored_bytes(&self, header: &Header) -> Result<u64, LayerRefusal> {
        match self.size {
            None => Ok(header.size),
            Some(size) if size == header.size || size > LARGEST_OCTAL => Ok(size),
            Some(_) => Err(LayerRefusal::SaidTwice),
        }
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), LayerRefusal> {
        match key {
            b"path" => once(&mut self.path, value.to_vec()),
            b"linkpath" => once(&mut self.link, value.to_vec()),
            b"size" => once(&mut self.size, decimal(value).ok_or(LayerRefusal::Number)?),
            b"mtime" => once(&mut self.modified, decimal_seconds(value).ok_or(LayerRefusal::Number)?),
            _ if is_attribute(key) => {
                self.attributes += 1;
                Ok(())
            }
            _ => match key.strip_prefix(b"GNU.sparse.") {
                Some(key) => self.sparse.add(key, value),
                None => Ok(()), // owners, comments, other times, what vendors add
            },
        }
    }
}

/// The names under which tar programs keep extended attributes, file capabilities and access lists.
fn is_attribute(key: &[u8]) -> bool {
    [&b"SCHILY.xattr."[..], b"LIBARCHIVE.xattr.", b"SCHILY.acl.", b"RHT.security."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

pub(super) fn once<T>(place: &mut Option<T>, value: T) -> Result<(), LayerRefusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(LayerRefusal::SaidTwice),
    }
}

fn each(mut content: &[u8], mut add: impl FnMut(&[u8], &[u8]) -> Result<(), LayerRefusal>) -> Result<(), LayerRefusal> {
    while !content.is_empty() {
        let space = content.iter().take(20).position(|byte| *byte == b' ').ok_or(LayerRefusal::Record)?;
        let length =
            decimal(&content[..space]).and_then(|length| usize::try_from(length).ok()).ok_or(LayerRefusal::Record)?;
        // At least `LENGTH k=\n`.
        if length > content.len() || length < space + 4 {
            return Err(LayerRefusal::Record);
        }
        let (record, rest) = content.split_at(length);
        let record = record[space + 1..].strip_suffix(b"\n").ok_or(LayerRefusal::Record)?;
        let equals = record.iter().position(|byte| *byte == b'=').filter(|at| *at > 0).ok_or(LayerRefusal::Record)?;
        add(&record[..equals], &record[equals + 1..])?;
        content = rest;
    }
    Ok(())
}

/// What eleven octal digits hold.
const LARGEST_OCTAL: u64 = (1 << 33) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_or_refused() {
        for (case, content, expected) in [
            ("a path", &b"13 path=a/b\n\n"[..12], Err(LayerRefusal::Record)),
            ("a path", b"12 path=a/b\n", Ok(Some(&b"a/b"[..]))),
            ("an equals sign in it", b"12 path=a=b\n", Ok(Some(b"a=b"))),
            ("a line break in it", b"12 path=a\nb\n", Ok(Some(b"a\nb"))),
            ("nothing", b"", Ok(None)),
            ("another key", b"13 comment=x\n", Ok(None)),
            ("two paths", b"12 path=a/b\n12 path=a/c\n", Err(LayerRefusal::SaidTwice)),
            ("too long", b"99 path=a/b\n", Err(LayerRefusal::Record)),
            ("too short", b"4 path=a/b\n", Err(LayerRefusal::Record)),
            ("no line break", b"11 path=a/b\n", Err(LayerRefusal::Record)),
            ("no key", b"6 =a/b\n", Err(LayerRefusal::Record)),
            ("no length", b"path=a/b\n", Err(LayerRefusal::Record)),
            ("a negative length", b"-12 path=a/b\n", Err(LayerRefusal::Record)),
            ("a length that wraps", b"18446744073709551616 path=a\n", Err(LayerRefusal::Record)),
        ] {
            let parsed = Records::parse(content).map(|records| records.path);
            assert_eq!(parsed.as_ref().map(Option::as_deref), expected.as_ref().copied(), "{case}");
        }
    }
}
