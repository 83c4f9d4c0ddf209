//! Which hash a row has.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::AuditRow;

/// A row's place in the chain, which is its id. The places of a chain have no gaps.
pub(crate) type Place = i64;

/// The hash of a row and of all before it; as text, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct RowHash([u8; 32]);

/// The end of a chain: the next row goes to the place after this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Link {
    pub(crate) place: Place,
    pub(crate) hash: RowHash,
}

impl Link {
    /// The end of a chain that has no row yet, and begins after this place.
    pub(crate) fn begin_after(place: Place) -> Self {
        let digest = Sha256::new().chain_update(LABEL_BEGIN).chain_update(place.to_be_bytes());
        Self { place, hash: RowHash(digest.finalize().into()) }
    }

    /// The end of the chain once this row was added; none where no place is left.
    ///
    /// SHA-256 over a label, the hash before, the place, and each column that is not null: its number (one byte), and a number
    /// as 8 bytes or a text as its length (4 bytes) and its bytes, all big-endian. A column that a later version adds
    /// is null in the rows of before, and so changes none of their hashes.
    pub(crate) fn try_then(&self, row: &AuditRow) -> Option<Self> {
        let place = self.place.checked_add(1)?;
        let mut encoded = Encoding(Vec::with_capacity(512));
        encoded.0.extend_from_slice(LABEL_ROW);
        encoded.0.extend_from_slice(&self.hash.0);
        encoded.0.extend_from_slice(&place.to_be_bytes());
        encoded.row(row);
        Some(Self { place, hash: RowHash(Sha256::digest(&encoded.0).into()) })
    }

    /// The same, where it is known that there is room.
    #[cfg(test)]
    pub(crate) fn then(&self, row: &AuditRow) -> Self {
        self.try_then(row).expect("a place is left")
    }
}

/// Two rows have the same encoding only if they are equal: what follows a column's number has a length that is known.
struct Encoding(Vec<u8>);

impl Encoding {
    fn row(&mut self, row: &AuditRow) {
        self.number(1, row.at_ms);
        self.text(2, &row.kind);
        self.text(3, &row.owner);
        self.text(4, &row.profile);
        self.text(5, &row.server);
        self.text(6, &row.instance);
        self.text(7, &row.subject);
        self.text(8, &row.verdict);
        row.status.into_iter().for_each(|status| self.number(9, status));
        self.text(10, &row.credentials);
        self.number(11, row.bytes_up);
        self.number(12, row.bytes_down);
        self.number(13, row.duration_us);
        self.number(14, i64::from(row.alarm));
        row.policy_version.into_iter().for_each(|version| self.number(15, version));
        row.calls.iter().for_each(|calls| self.text(16, calls));
        row.request.iter().for_each(|request| self.text(17, request));
        row.definition.iter().for_each(|definition| self.text(18, definition));
        row.arguments.iter().for_each(|arguments| self.text(19, arguments));
    }

    fn number(&mut self, column: u8, number: i64) {
        self.0.push(column);
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn text(&mut self, column: u8, text: &str) {
        self.0.push(column);
        self.0.extend_from_slice(&u32::try_from(text.len()).expect("no text of a row has 4 GiB").to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }
}

impl RowHash {
    /// As it stands in the database.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// It has not 32 bytes, or as text not 64 lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a hash of the audit trail is 32 bytes, or 64 lower-case hexadecimal digits")]
pub(crate) struct InvalidRowHash;

impl TryFrom<Vec<u8>> for RowHash {
    type Error = InvalidRowHash;

    fn try_from(bytes: Vec<u8>) -> Result<Self, InvalidRowHash> {
        bytes.try_into().map(Self).map_err(|_| InvalidRowHash)
    }
}

impl FromStr for RowHash {
    type Err = InvalidRowHash;

    fn from_str(text: &str) -> Result<Self, InvalidRowHash> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidRowHash)?;
        match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Err(InvalidRowHash),
            false => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for RowHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RowHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for RowHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What an operator keeps to compare with later: `PLACE:HASH`.
impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.place, self.hash)
    }
}

/// It is not `PLACE:HASH`.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a head of the audit trail as `audit verify` prints it, PLACE:HASH")]
pub(crate) struct InvalidLink {
    text: String,
}

impl FromStr for Link {
    type Err = InvalidLink;

    fn from_str(text: &str) -> Result<Self, InvalidLink> {
        let read = || {
            let (place, hash) = text.split_once(':')?;
            let place = place.parse().ok().filter(|place| *place >= 0)?;
            Some(Self { place, hash: hash.parse().ok()? })
        };
        read().ok_or_else(|| InvalidLink { text: text.to_owned() })
    }
}

const LABEL_BEGIN: &[u8] = b"gigmcp audit begin v1\0";
const LABEL_ROW: &[u8] = b"gigmcp audit row v1\0";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::testing::row;

    #[test]
    fn every_column_and_what_is_before_changes_the_hash() {
        let begin = Link::begin_after(0);
        let hash = begin.then(&row("a")).hash;
        assert_eq!(begin.then(&row("a")).hash, hash, "twin: the same row");
        let changed: [fn(&mut AuditRow); 20] = [
            |row| row.at_ms += 1,
            |row| row.kind.push('x'),
            |row| row.owner.push('x'),
            |row| row.profile.push('x'),
            |row| row.server.push('x'),
            |row| row.instance.push('x'),
            |row| row.subject.push('x'),
            |row| row.verdict.push('x'),
            |row| row.status = None,
            |row| row.credentials.push('x'),
            |row| row.bytes_up += 1,
            |row| row.bytes_down += 1,
            |row| row.duration_us += 1,
            |row| row.alarm = true,
            |row| row.policy_version = None,
            |row| row.calls = Some(String::new()),
            |row| row.request = Some(String::new()),
            |row| row.definition = Some(String::new()),
            |row| row.arguments = Some(String::new()),
            // What stands in one column cannot be moved to its neighbour.
            |row| (row.owner, row.profile) = ("loca".to_owned(), "lwork".to_owned()),
        ];
        for (column, change) in changed.iter().enumerate() {
            let mut row = row("a");
            change(&mut row);
            assert_ne!(begin.then(&row).hash, hash, "change {column}");
        }
        assert_ne!(Link::begin_after(1).then(&row("a")).hash, hash, "another place");
        let other = Link { place: 0, ..begin.then(&row("b")) };
        assert_ne!(other.then(&row("a")).hash, hash, "another row before");
    }

    /// Written down, so that a change of the encoding does not go unnoticed: it would break every chain there is.
    #[test]
    fn hashes_stay_what_they_are() {
        let first = Link::begin_after(0).then(&row("a"));
        assert_eq!(first.to_string(), EXPECTED);
        assert_eq!(EXPECTED.parse::<Link>().expect("a link"), first);
        for wrong in ["", "1", "1:ab", &EXPECTED.to_uppercase(), &format!("-{EXPECTED}"), &format!("{EXPECTED}0")] {
            assert!(wrong.parse::<Link>().is_err(), "{wrong}");
        }
    }

    const EXPECTED: &str = "1:7772a3472f0e022e84148603d98c20a0f0e72f39dbcfc2a67b2be305c1ec6944";
}
