//! Resources that were only ever named inside a result, and who named them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use serde_json::value::RawValue;

use crate::object::{Members, items};

/// Which server named a URI first. Bounded; the oldest are forgotten.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    owners: HashMap<Box<str>, usize>,
    /// Of each server, oldest first.
    order: HashMap<usize, VecDeque<Box<str>>>,
}

impl Links {
    /// Notes what a server's result names. The first to name a URI keeps it: a later server must not draw to itself what
    /// another one's result pointed at.
    pub(super) fn learn(&self, server: usize, result: &RawValue) {
        // Most results name none, and reading all of them would be a waste.
        if !result.get().contains(r#""resource"#) {
            return;
        }
        for uri in uris(result) {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if uri.len() > MAX_URI_BYTES || known.owners.contains_key(&*uri) {
                continue;
            }
            let uri: Box<str> = uri.into();
            known.owners.insert(uri.clone(), server);
            let order = known.order.entry(server).or_default();
            order.push_back(uri);
            let oldest = if order.len() > MAX_LINKS { order.pop_front() } else { None };
            oldest.and_then(|oldest| known.owners.remove(&oldest));
        }
    }

    pub(super) fn owner(&self, uri: &str) -> Option<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).owners.get(uri).copied()
    }
}

/// The URIs of `resource_link` and embedded resources in the result of `tools/call` or `prompts/get`.
fn uris(result: &RawValue) -> Vec<String> {
    let Ok(members) = Members::of(result) else { return Vec::new() };
    let list = |name| members.value(name).and_then(|list| items(list, MAX_BLOCKS).ok());
    let mut blocks: Vec<&RawValue> = list("content").unwrap_or_default();
    for message in list("messages").unwrap_or_default() {
        blocks.extend(Members::of(message).ok().and_then(|message| message.value("content")));
    }
    let uri = |block: &RawValue| {
        let block = Members::of(block).ok()?;
        match &*block.string("type")? {
            "resource_link" => block.string("uri").map(Into::into),
            "resource" => Members::of(block.value("resource")?).ok()?.string("uri").map(Into::into),
            _ => None,
        }
    };
    blocks.into_iter().filter_map(uri).collect()
}

/// Of one server, so that none can make those of another be forgotten.
const MAX_LINKS: usize = 1024;
/// Blocks of one result, or messages of a prompt.
const MAX_BLOCKS: usize = 10_000;
const MAX_URI_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn who_names_a_resource_first_keeps_it() {
        let links = Links::default();
        let learn = |server, text: &str| links.learn(server, &RawValue::from_string(text.to_owned()).unwrap());
        learn(1, r#"{"content":[{"type":"text","text":"x"},{"type":"resource_link","uri":"a:1"}]}"#);
        learn(2, r#"{"content":[{"type":"resource_link","uri":"a:1"},{"type":"resource","resource":{"uri":"a:2"}}]}"#);
        learn(3, r#"{"messages":[{"content":{"type":"resource","resource":{"uri":"a:3"}}}]}"#);
        learn(4, r#"{"content":"resource_link"}"#);
        assert_eq!(["a:1", "a:2", "a:3", "a:4"].map(|uri| links.owner(uri)), [Some(1), Some(2), Some(3), None]);
        for number in 0..MAX_LINKS {
            learn(1, &format!(r#"{{"content":[{{"type":"resource_link","uri":"b:{number}"}}]}}"#));
        }
        assert_eq!(links.owner("a:1"), None, "the oldest of the same server are forgotten");
        assert_eq!((links.owner("b:0"), links.owner("a:2")), (Some(1), Some(2)), "and no others");
    }
}
