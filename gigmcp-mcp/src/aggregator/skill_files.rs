//! Where skills are pinned, so are their files: the entry that somebody agreed to has the digest of each.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{json, value::RawValue};

use super::{
    backend::{Entry, Ready},
    offer::Offer,
    pins::HeldItem,
    skills::held,
};
use crate::{
    catalogue::File,
    hygiene::is_dirty,
    object::{Members, items, quoted},
    upstream::Outcome,
};

/// Whether what a server says of itself is pinned.
pub(super) fn is_pinned(entry: &Entry) -> bool {
    entry.policy().pins.as_ref().is_some_and(|pins| !pins.follows())
}

impl Offer {
    /// A skill that is held back and has this in its directory, unless it is also in that of one that is not.
    pub(super) fn held_skill(&self, own: &str) -> Option<&HeldItem> {
        self.held.skill(own).filter(|_| self.catalogue.skills.around(own).next().is_none())
    }
}

/// What was read, if it is no file of a skill, or the one that was agreed to.
pub(super) fn agreed(entry: &Arc<Entry>, ready: &Ready, (own, exposed): (&str, &str), outcome: Outcome) -> Outcome {
    let Outcome::Complete(result) = &outcome else { return outcome };
    let skills = &ready.catalogue.skills;
    if !is_pinned(entry) || skills.skills().is_empty() {
        return outcome;
    }
    let mut around = skills.around(own).filter(|skill| !skill.is_made_anew()).peekable();
    if around.peek().is_none() {
        return outcome;
    }
    let mut said = skills.files(own).peekable();
    if said.peek().is_none() {
        let why = "is held back, as it is no file of the skill that was agreed to";
        return Outcome::refused(&held(entry, exposed, CHANGED, why));
    }
    let shown = bytes(own, result).map(|bytes| File::of(&bytes));
    let written = shown.as_ref().and_then(|shown| entry.guard.written(shown));
    if shown.is_some() && said.all(|file| Some(file) == shown.as_ref() || Some(file) == written.as_ref()) {
        return outcome;
    }
    entry.doubts_skills();
    let why = "is held back, as it is not the file of the skill that was agreed to";
    Outcome::refused(&held(entry, exposed, CHANGED, why))
}

/// The bytes of a resource, if there is nothing else in what was read.
fn bytes(own: &str, result: &RawValue) -> Option<Vec<u8>> {
    let contents = items(Members::of(result).ok()?.value("contents")?, 1).ok()?;
    let content = Members::of(contents.first()?).ok()?;
    if content.string("uri").as_deref() != Some(own) {
        return None;
    }
    match (content.string("text"), content.string("blob")) {
        (Some(text), None) => Some(text.into_owned().into_bytes()),
        (None, Some(blob)) => BASE64_STANDARD.decode(&*blob).ok(),
        _ => None,
    }
}

/// What is in a directory, under the URIs that clients know, without what is held back. Where skills are pinned, only what leads to
/// files that were agreed to is told, and only what it is called and how large it is.
pub(super) fn agreed_children(
    entry: &Entry,
    ready: &Ready,
    directory: &str,
    result: &RawValue,
    name: &dyn Fn(&str) -> String,
) -> Option<Box<RawValue>> {
    let pinned = is_pinned(entry);
    let members = Members::of(result).ok()?;
    let mut kept = Vec::new();
    for child in items(members.value("resources")?, MAX_CHILDREN).ok()? {
        let child = Members::of(child).ok()?;
        let own = child.string("uri")?;
        let inside = own.strip_prefix(directory)?.strip_prefix('/')?;
        if inside.is_empty() || inside.contains('/') || is_dirty(inside) {
            return None;
        }
        if ready.held_skill(&own).is_some() || pinned && !ready.catalogue.skills.leads_to(&own) {
            continue;
        }
        let shown = if pinned { bare(&child, inside) } else { child.with("uri", &own)? };
        kept.push(Members::of(&shown).ok()?.with("uri", &name(&own))?.get().to_owned());
    }
    let kept = format!("[{}]", kept.join(","));
    if !pinned {
        return members.with_raw("resources", &kept);
    }
    let next = members.string("nextCursor").map(|cursor| format!(r#","nextCursor":{}"#, quoted(&cursor)));
    RawValue::from_string(format!(r#"{{"resources":{kept}{}}}"#, next.unwrap_or_default())).ok()
}

fn bare(child: &Members<'_>, inside: &str) -> Box<RawValue> {
    let mut bare = json!({ "uri": "", "name": inside });
    let plain = |kind: &str| {
        kind.len() <= MAX_TYPE && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/+-.".contains(&byte))
    };
    if let Some(kind) = child.string("mimeType").filter(|kind| plain(kind)) {
        bare["mimeType"] = (*kind).into();
    }
    if let Some(size) = child.value("size").and_then(|size| size.get().parse::<u64>().ok()) {
        bare["size"] = size.into();
    }
    RawValue::from_string(bare.to_string()).expect("it is JSON")
}

/// The stable code of what is not as it was agreed to.
const CHANGED: &str = "definition-changed";
/// Of one page of a directory.
const MAX_CHILDREN: usize = 5_000;
const MAX_TYPE: usize = 100;
