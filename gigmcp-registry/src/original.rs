//! The index of the system that came before: schema version 1, one signature, no sequence and no expiry.

use std::time::Duration;

use serde::Deserialize;

use crate::digest::{Digest, lower_hex};
use crate::index::{Checked, Index, IndexFault, InvalidIndex, ServerDocument, servers};
use crate::keys::PublicKey;
use crate::moment;
use crate::strict_json::{self, Object, UniqueMap};
use crate::verify::{Freshness, MAX_INDEX_BYTES, SignedIndex, Verified, VerifyError};

impl SignedIndex {
    /// Verifies an index of the original system, whose one key signs the bare bytes.
    ///
    /// Only for an operator who has asked for it: the key cannot be rotated, one is enough, and nothing says that its
    /// signature is one of an index. What the format lacks is made of what it has: the second of `generated` is the
    /// sequence number, so that what was seen before does not come back, and it expires `lifetime` after that second,
    /// so that a mirror that holds newer ones back is noticed.
    ///
    /// `signature` is the content of `index.json.sig`: 128 lower-case hex digits, and a newline or none.
    ///
    /// # Errors
    /// As [`SignedIndex::verify`]; a signature that is not of its form is a wrong one.
    pub fn danger_verify_original(
        bytes: &[u8],
        signature: &[u8],
        key: &PublicKey,
        lifetime: Duration,
        freshness: &Freshness<'_>,
    ) -> Result<Verified<Index>, VerifyError> {
        if bytes.len() > MAX_INDEX_BYTES {
            return Err(VerifyError::TooLong { length: bytes.len() });
        }
        key.check_bare(bytes, hex_line(signature).as_ref())?;
        freshness.check(parse(bytes, lifetime)?, Digest::of(bytes))
    }
}

fn hex_line(signature: &[u8]) -> Option<[u8; 64]> {
    lower_hex(str::from_utf8(signature.strip_suffix(b"\n").unwrap_or(signature)).ok()?)
}

fn parse(bytes: &[u8], lifetime: Duration) -> Result<Index, InvalidIndex> {
    let document: Document = strict_json::object(bytes)?;
    let mut faults = Vec::new();
    if document.schema_version != 1 {
        faults.push(IndexFault::SchemaVersion { found: document.schema_version, supported: 1 });
    }
    let generated = moment::parse(&document.generated);
    let sequence = generated.and_then(|moment| moment.duration_since(std::time::UNIX_EPOCH).ok());
    if sequence.is_none() {
        faults.push(IndexFault::Generated);
    }
    // One that never expires is none of ours.
    let expires =
        generated.and_then(|moment| moment.checked_add(lifetime)).filter(|end| moment::format(*end).is_some());
    if generated.is_some() && expires.is_none() {
        faults.push(IndexFault::Expires);
    }
    let servers = servers(document.servers, &mut faults);
    match (generated, sequence, expires) {
        (Some(generated), Some(sequence), Some(expires)) if faults.is_empty() => {
            Ok(Index { sequence: sequence.as_secs(), generated, expires, servers })
        }
        _ => Err(InvalidIndex::Faults(faults)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    schema_version: u64,
    generated: String,
    servers: UniqueMap<Object<ServerDocument<Checked>>>,
}
