//! What the audit says of pins.

use std::sync::Arc;

use gigmcp_mcp::{Definition, DefinitionDigest};

use super::{Known, PinKey, judge::digest_of};
use crate::{
    output::harmless,
    store::{AuditRow, PinnedServer, now_millis},
};

/// The first reading after its owner agreed to a server.
pub(crate) fn pinned_row(of: &PinnedServer, revision: i64, first: &[Arc<Definition>], known: &Known) -> AuditRow {
    let all = keys(first);
    let changed = all.iter().filter(|(key, digest)| known.pins.get(key).is_some_and(|before| before != digest)).count();
    let gone = known.pins.keys().filter(|before| !all.iter().any(|(key, _)| key == *before)).count();
    let since = match known.pins.is_empty() {
        true => String::new(),
        false => format!(" ({changed} changed and {gone} gone since the pins of before)"),
    };
    row(of, revision, "pinned", &format!("{} at first use{since}", first.len()), &all)
}

/// What nobody has agreed to yet.
pub(crate) fn held_row(of: &PinnedServer, revision: i64, held: &[Arc<Definition>]) -> AuditRow {
    row(of, revision, "held", &held.len().to_string(), &keys(held))
}

/// What was agreed to now.
pub(crate) fn accepted_row(
    of: &PinnedServer,
    revision: i64,
    accepted: &[(PinKey, DefinitionDigest)],
    by: &str,
) -> AuditRow {
    row(of, revision, "accepted", &format!("{} by {by}", accepted.len()), accepted)
}

/// What comes next is to be pinned.
pub(crate) fn reset_row(of: &PinnedServer, by: &str) -> AuditRow {
    let row = row(of, 0, "reset", &format!("by {by}: the next that is read is pinned"), &[]);
    AuditRow { policy_version: None, definition: None, ..row }
}

fn keys(definitions: &[Arc<Definition>]) -> Vec<(PinKey, DefinitionDigest)> {
    definitions.iter().map(|said| (PinKey::of(said), said.digest)).collect()
}

fn row(
    of: &PinnedServer,
    revision: i64,
    verdict: &str,
    what: &str,
    definitions: &[(PinKey, DefinitionDigest)],
) -> AuditRow {
    let mut subject = what.to_owned();
    for (index, (key, digest)) in definitions.iter().enumerate() {
        if subject.len() > MAX_SUBJECT_BYTES {
            subject += &format!(", and {} more", definitions.len() - index);
            break;
        }
        subject += if index == 0 { ": " } else { ", " };
        subject += &format!("{} {digest}", harmless(&key.to_string()));
    }
    AuditRow {
        at_ms: now_millis(),
        kind: "pin".to_owned(),
        owner: of.owner.to_string(),
        server: of.server.to_string(),
        subject,
        verdict: verdict.to_owned(),
        policy_version: Some(revision),
        definition: Some(digest_of(definitions).to_string()),
        ..AuditRow::default()
    }
}

/// The digest stands for what is not written out.
const MAX_SUBJECT_BYTES: usize = 16 << 10;
