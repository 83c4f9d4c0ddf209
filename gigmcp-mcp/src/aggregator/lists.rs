//! The lists that clients see.

use std::sync::Arc;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::time::{Duration, Instant, timeout_at};

use super::{
    Aggregator, Listing,
    backend::{Entry, Fault, FaultKind, Ready},
    hub::prefixed,
    named::Kind,
};
use crate::{
    catalogue::{Catalogue, LocatedList, Remedy},
    describe::{Capabilities, Description},
    extension::{Extensions, TASKS},
    message::RpcError,
    object::{Members, quoted},
    upstream::Outcome,
};

/// The servers that work, and what is wrong with the others.
pub(super) struct Gathered {
    pub(super) servers: Vec<(Arc<Entry>, Arc<Ready>)>,
    pub(super) faults: Vec<Fault>,
    /// Some were not there in time, or failed.
    pub(super) incomplete: bool,
}

impl Aggregator {
    /// Lists the tools of every server that works, starting those that do not run.
    ///
    /// Cancel safe: starts under way go on for whoever asks next.
    pub async fn tools(&self) -> Listing {
        let Gathered { servers, faults, .. } = self.gather(self.limits.list_wait).await;
        let tools = servers.iter().flat_map(|(_, ready)| ready.catalogue.tools.items().iter().cloned());
        Listing { tools: tools.collect(), faults }
    }

    /// Every server that is there in time.
    pub(super) async fn gather(&self, wait: Duration) -> Gathered {
        let deadline = Instant::now() + wait;
        // All are set going before the first is waited for; each runs in a task of its own.
        let starting: Vec<_> = self.entries.iter().map(|entry| (entry, entry.ready())).collect();
        let mut gathered = Gathered { servers: Vec::new(), faults: Vec::new(), incomplete: false };
        for (entry, ready) in starting {
            let missing = match timeout_at(deadline, ready).await {
                Ok(Ok(ready)) => {
                    gathered.faults.extend(entry.faults_of(&ready));
                    gathered.servers.push((Arc::clone(entry), ready));
                    continue;
                }
                Ok(Err(error)) => FaultKind::from(&error),
                Err(_) => FaultKind::StillStarting,
            };
            entry.is_missed();
            gathered.incomplete = true;
            gathered.faults.push(entry.fault(missing));
        }
        for fault in &gathered.faults {
            match &fault.kind {
                FaultKind::Item(odd) if odd.remedy == Remedy::Mended => {
                    tracing::debug!(server = %fault.server, fault = %fault.kind, "mended in a list");
                }
                kind => tracing::warn!(server = %fault.server, fault = %kind, "not in a list"),
            }
        }
        gathered
    }

    /// Answers one of the four `list` methods.
    pub(super) async fn list(&self, list: &'static str, params: Option<&RawValue>) -> Outcome {
        let gathered = self.gather(self.limits.list_wait).await;
        let shown;
        let renamed;
        let items: Vec<&RawValue> = match list {
            "tools" => {
                shown = self.shown(Kind::Tool, &gathered);
                shown.iter().map(AsRef::as_ref).collect()
            }
            "prompts" => {
                shown = self.shown(Kind::Prompt, &gathered);
                shown.iter().map(AsRef::as_ref).collect()
            }
            "resources" => {
                renamed = located(&gathered, |catalogue| &catalogue.resources);
                renamed.iter().map(AsRef::as_ref).collect()
            }
            _ => {
                renamed = located(&gathered, |catalogue| &catalogue.templates);
                renamed.iter().map(AsRef::as_ref).collect()
            }
        };
        self.page(list, &items, params)
    }

    fn page(&self, list: &'static str, items: &[&RawValue], params: Option<&RawValue>) -> Outcome {
        let cursor = params.and_then(|params| Members::of(params).ok()?.value("cursor"));
        let start = match cursor.filter(|cursor| cursor.get() != "null") {
            None => 0,
            Some(cursor) => match self.position(list, items, cursor) {
                Some(position) => position,
                None => return Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, "unknown cursor")),
            },
        };
        let (mut end, mut bytes) = (start, 0);
        while let Some(item) = items.get(end) {
            bytes += item.get().len() + 1;
            if end > start && (bytes > self.limits.page_bytes || end - start >= self.limits.page_items) {
                break;
            }
            end += 1;
        }
        let mut text = String::with_capacity(bytes + 32);
        text.extend([r#"{""#, list, r#"":["#]);
        for (index, item) in items[start..end].iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(item.get());
        }
        text.push(']');
        if end < items.len() {
            let position = [&generation(items)[..], &(end as u64).to_be_bytes()].concat();
            let cursor = self.sealer.seal(&["cursor", list], &position);
            text.extend([r#","nextCursor":"#, &quoted(&cursor)]);
        }
        text.push('}');
        Outcome::Complete(RawValue::from_string(text).expect("a list of JSON texts is JSON"))
    }

    /// Where a page begins; nothing if the cursor is not ours, of another list, or the list has changed since.
    fn position(&self, list: &str, items: &[&RawValue], cursor: &RawValue) -> Option<usize> {
        let cursor = crate::object::string(cursor)?;
        let sealed = self.sealer.open(&["cursor", list], &cursor)?;
        let (known, position) = sealed.split_first_chunk::<GENERATION_BYTES>()?;
        let position = u64::from_be_bytes(position.try_into().ok()?);
        (*known == generation(items)).then(|| usize::try_from(position).ok()).flatten()
    }

    /// What all servers can do together. One that is not there in time is taken to be able to do everything: what a client
    /// was not told of, it never asks for.
    pub(super) async fn description(&self) -> Description {
        let gathered = self.gather(self.limits.describe_wait).await;
        let mut all = Capabilities { tools: true, list_changed: true, ..Capabilities::default() };
        let mut extensions = Extensions::default();
        if gathered.incomplete {
            all = Capabilities::ALL;
            extensions.insert(TASKS);
        }
        let mut instructions = String::new();
        for (entry, ready) in &gathered.servers {
            all = all.or(ready.description.capabilities);
            extensions.merge(&ready.description.extensions);
            if let Some(text) = &ready.description.instructions {
                let text: String = text.chars().take(MAX_INSTRUCTIONS).collect();
                instructions += &format!("## {}\n{}\n\n", entry.name, text.trim());
            }
        }
        let instructions: String = instructions.trim_end().chars().take(4 * MAX_INSTRUCTIONS).collect();
        Description { capabilities: all, instructions: (!instructions.is_empty()).then_some(instructions), extensions }
    }
}

/// Definitions of resources or templates. Of two servers with the same URI, the second one's is changed.
fn located(gathered: &Gathered, of: fn(&Catalogue) -> &LocatedList) -> Vec<Box<RawValue>> {
    let mut taken = std::collections::HashSet::new();
    let mut items = Vec::new();
    for (entry, ready) in &gathered.servers {
        for item in of(&ready.catalogue).items() {
            if taken.insert(item.uri.to_string()) {
                items.push(item.definition.clone());
                continue;
            }
            let uri = prefixed(entry.name.as_str(), &item.uri);
            if taken.insert(uri.clone()) {
                items.push(item.under(&uri));
            }
        }
    }
    items
}

/// What tells a list from any other.
fn generation(items: &[&RawValue]) -> [u8; GENERATION_BYTES] {
    let mut digest = Sha256::new();
    for item in items {
        digest.update((item.get().len() as u64).to_be_bytes());
        digest.update(item.get());
    }
    let digest: [u8; 32] = digest.finalize().into();
    *digest.first_chunk().expect("it is longer")
}

const GENERATION_BYTES: usize = 16;
/// Characters of one server's instructions; of all together, four times as many.
const MAX_INSTRUCTIONS: usize = 8 << 10;
