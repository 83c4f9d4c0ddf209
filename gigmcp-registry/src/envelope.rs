//! A document and its signatures in one file, so that neither can be published without the other.

use crate::signatures::{InvalidSignatures, MAX_SIGNATURES_BYTES, Signatures};

/// A signed document as it is published, nothing of it verified yet: one line with its signatures as JSON, and then the
/// document's bytes as they were signed.
///
/// Canonical documents have one line too, which makes the file one of JSON lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Envelope<'a> {
    /// The line with the signatures, without its end.
    signatures: &'a [u8],
    document: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Finds the two parts.
    ///
    /// # Errors
    /// [`InvalidSignatures::NoLine`] if the first line has no end within the 64 KiB that signatures may take.
    pub fn split(bytes: &'a [u8]) -> Result<Self, InvalidSignatures> {
        let head = &bytes[..bytes.len().min(MAX_SIGNATURES_BYTES + 1)];
        let end = head.iter().position(|byte| *byte == b'\n').ok_or(InvalidSignatures::NoLine)?;
        Ok(Self { signatures: &bytes[..end], document: &bytes[end + 1..] })
    }

    /// The file to publish.
    #[must_use]
    pub fn join(signatures: &Signatures, document: &[u8]) -> Vec<u8> {
        let mut file = signatures.to_json().into_bytes();
        file.push(b'\n');
        file.extend_from_slice(document);
        file
    }

    /// The bytes that are said to be signed.
    #[must_use]
    pub fn document(&self) -> &'a [u8] {
        self.document
    }

    /// Reads the signatures.
    ///
    /// # Errors
    /// [`InvalidSignatures`] if the first line is not a signatures document.
    pub fn signatures(&self) -> Result<Signatures, InvalidSignatures> {
        Signatures::from_json(self.signatures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_newline_divides() {
        for (file, expected) in [
            (&b"a\nb"[..], Some((&b"a"[..], &b"b"[..]))),
            (b"a\nb\nc\n", Some((b"a", b"b\nc\n"))),
            (b"\n", Some((b"", b""))),
            (b"a\r\nb", Some((b"a\r", b"b"))),
            (b"a", None),
            (b"", None),
        ] {
            let parts = Envelope::split(file).ok().map(|envelope| (envelope.signatures, envelope.document));
            assert_eq!(parts, expected, "{file:?}");
        }
        let line = |length| [vec![b' '; length], b"\nb".to_vec()].concat();
        assert!(Envelope::split(&line(MAX_SIGNATURES_BYTES)).is_ok());
        assert!(matches!(Envelope::split(&line(MAX_SIGNATURES_BYTES + 1)), Err(InvalidSignatures::NoLine)));
    }

    #[test]
    fn what_was_joined_is_split() {
        let signatures = Signatures::default();
        let file = Envelope::join(&signatures, b"{}\n\n");
        let envelope = Envelope::split(&file).expect("joined");
        assert_eq!((envelope.signatures().expect("joined"), envelope.document()), (signatures, &b"{}\n\n"[..]));
    }
}
