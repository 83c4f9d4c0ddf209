//! The lists that clients see.

use std::{borrow::Cow, cell::Cell, sync::Arc};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::time::{Duration, Instant, timeout_at};

use super::{
    Aggregator, Listing,
    backend::Entry,
    fault::{Fault, FaultKind},
    hub::prefixed,
    named::Kind,
    naming::Shown,
    offer::Offer,
    pointing::MAX_WORK,
    skill_uris::exposed,
};
use crate::{
    catalogue::{Catalogue, LocatedList},
    describe::{Capabilities, Description},
    extension::{Extensions, TASKS},
    message::RpcError,
    object::{Members, quoted},
    upstream::Outcome,
};

/// The servers that work, and what is wrong with the others.
pub(super) struct Gathered {
    pub(super) servers: Vec<(Arc<Entry>, Arc<Offer>)>,
    pub(super) faults: Vec<Fault>,
    /// Some were not there in time, or failed.
    pub(super) incomplete: bool,
}

impl Aggregator {
    /// Lists the tools of every server, starting those that do not run and of which nothing is known.
    ///
    /// Cancel safe: starts under way go on for whoever asks next.
    pub async fn tools(&self) -> Listing {
        let Gathered { servers, faults, .. } = self.gather(self.limits.list_wait).await;
        let tools = servers.iter().flat_map(|(entry, ready)| entry.policy().offered(&ready.catalogue.tools).cloned());
        Listing { tools: tools.collect(), faults }
    }

    /// The same after starting every server that does not run: who wants to see what there is now, and not what there was.
    ///
    /// Cancel safe, as [`tools`](Self::tools).
    pub async fn refresh(&self) -> Listing {
        let deadline = Instant::now() + self.limits.list_wait;
        let starting: Vec<_> = self.entries.iter().map(|entry| entry.ready()).collect();
        for ready in starting {
            // What is wrong with it is told with the list.
            drop(timeout_at(deadline, ready).await);
        }
        self.tools().await
    }

    /// What is known of every server, once it is there, if that is in time.
    pub(super) async fn gather(&self, wait: Duration) -> Gathered {
        self.gather_of(&self.entries, wait).await
    }

    /// Of these servers, every one that is there in time.
    pub(super) async fn gather_of(&self, entries: impl IntoIterator<Item = &Arc<Entry>>, wait: Duration) -> Gathered {
        let deadline = Instant::now() + wait;
        // All are set going before the first is waited for; each runs in a task of its own.
        let starting: Vec<_> = entries.into_iter().map(|entry| (entry, entry.offer())).collect();
        let mut gathered = Gathered { servers: Vec::new(), faults: Vec::new(), incomplete: false };
        for (entry, offer) in starting {
            let missing = match timeout_at(entry.waited_for(wait).min(deadline), offer).await {
                Ok(Ok(offer)) => {
                    gathered.faults.extend(entry.known_faults());
                    gathered.servers.push((Arc::clone(entry), offer));
                    continue;
                }
                Ok(Err(error)) => FaultKind::from(&error),
                Err(_) => FaultKind::StillStarting,
            };
            tracing::warn!(server = %entry.name, fault = %missing, "not in a list");
            entry.is_missed();
            gathered.incomplete = true;
            gathered.faults.push(entry.fault(missing));
        }
        gathered
    }

    /// Answers one of the four `list` methods.
    pub(super) async fn list(&self, list: &'static str, params: Option<&RawValue>) -> Outcome {
        if list == "tools" && self.shows_meta().await {
            let items = self.meta_list().await;
            return self.page(list, &items.iter().map(|item| &**item).collect::<Vec<_>>(), params);
        }
        let gathered = self.gather(self.limits.list_wait).await;
        let shown;
        let renamed;
        let items: Vec<&RawValue> = match list {
            "tools" => {
                shown = self.definitions(Kind::Tool, &gathered);
                shown.iter().map(AsRef::as_ref).collect()
            }
            "prompts" => {
                shown = self.definitions(Kind::Prompt, &gathered);
                shown.iter().map(AsRef::as_ref).collect()
            }
            "resources" => {
                renamed = self.located(&gathered, |catalogue| &catalogue.resources);
                renamed.iter().map(AsRef::as_ref).collect()
            }
            _ => {
                renamed = self.located(&gathered, |catalogue| &catalogue.templates);
                renamed.iter().map(AsRef::as_ref).collect()
            }
        };
        self.page(list, &items, params)
    }

    /// What clients see of tools or prompts.
    fn definitions<'a>(&self, kind: Kind, gathered: &'a Gathered) -> Vec<Cow<'a, RawValue>> {
        let shown = self.shown(kind, gathered).into_iter();
        shown.map(|Shown { entry, item, name, .. }| self.definition(kind, entry.index, item, name)).collect()
    }

    /// Definitions of resources or templates. Of two servers with the same URI, the second one's is changed, and so is any that
    /// could be taken for one with a server's name in it.
    fn located(&self, gathered: &Gathered, of: fn(&Catalogue) -> &LocatedList) -> Vec<Box<RawValue>> {
        let work = &Cell::new(MAX_WORK);
        let mut taken = std::collections::HashSet::new();
        let mut items = Vec::new();
        for (entry, ready) in &gathered.servers {
            for item in of(&ready.catalogue).items() {
                let name = entry.name.as_str();
                let misleading = self.hub.is_misleading(&item.uri, work);
                if !misleading && taken.insert(item.uri.to_string()) {
                    items.push(item.definition.clone());
                    continue;
                }
                let uri = if misleading { exposed(name, &item.uri) } else { prefixed(name, &item.uri) };
                if taken.insert(uri.clone()) {
                    items.push(item.under(&uri));
                }
            }
        }
        items
    }

    pub(super) fn page(&self, list: &'static str, items: &[&RawValue], params: Option<&RawValue>) -> Outcome {
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
        for (_, ready) in &gathered.servers {
            all = all.or(ready.description.capabilities);
            extensions.merge(&ready.description.extensions);
        }
        if self.decide() {
            let instructions = Some(self.overview(&gathered));
            return Description { capabilities: all, instructions, extensions, ..Description::default() };
        }
        let mut instructions = String::new();
        for (entry, ready) in &gathered.servers {
            if let Some(text) = &ready.description.instructions {
                let text: String = text.chars().take(MAX_INSTRUCTIONS).collect();
                instructions += &format!("## {}\n{}\n\n", entry.name, text.trim());
            }
        }
        let instructions: String = instructions.trim_end().chars().take(4 * MAX_INSTRUCTIONS).collect();
        Description {
            capabilities: all,
            instructions: (!instructions.is_empty()).then_some(instructions),
            extensions,
            ..Description::default()
        }
    }
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
