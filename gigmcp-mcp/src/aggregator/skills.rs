//! The skills of several servers as one list (SEP-2640). A skill is known by its server and the server's own URI; clients get both
//! in one, so no server has a word in what the URIs of another lead to.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    Aggregator, NOT_OBSERVED,
    backend::{Entry, Ready},
    lists::Gathered,
    not_observed,
    observer::Observation,
    offer::Offer,
    passing::uri_of,
    resources::{no_uri, renamed},
    skill_files::{agreed_children, is_pinned},
    skill_uris::exposed,
    spares::Wanted,
};
use crate::{
    canonical::canonical,
    catalogue::{Skill, entry_under},
    extension::SKILLS,
    message::{RpcError, beginning},
    object::Members,
    upstream::{Call, Outcome},
};

/// A server that has skills, and what clients are shown of it.
type Skilled = (Arc<Entry>, Arc<Offer>);

/// What is asked of one server about a skill, or a directory of one.
struct Asked<'a> {
    entry: &'a Arc<Entry>,
    /// The server's own.
    uri: Box<str>,
    /// As the client wrote it.
    exposed: &'a str,
    /// Whether that has the server's name in it, and so have those of the answer.
    named: bool,
}

impl Asked<'_> {
    /// Under which URI the client is told of one of the server's own.
    fn name(&self, own: &str) -> String {
        if self.named { exposed(self.entry.name.as_str(), own) } else { own.to_owned() }
    }
}

impl Aggregator {
    /// Answers the methods of the extension. Clients need not have declared it: there is nothing that it would ask them for.
    pub(super) async fn skills(&self, call: Call) -> Outcome {
        let gathered = self.gather(self.limits.list_wait).await;
        let having = match having(&gathered, &call.method) {
            Ok(having) => having,
            Err(refused) => return refused,
        };
        if &*call.method == "skills/list" {
            let entries = having.iter().flat_map(|(entry, offer)| {
                let name = |own: &str| exposed(entry.name.as_str(), own);
                offer.catalogue.skills.skills().iter().filter_map(move |skill| entry_under(&skill.definition, &name))
            });
            let entries: Vec<_> = entries.collect();
            return self.page(
                "skills",
                &entries.iter().map(|entry| &**entry).collect::<Vec<_>>(),
                call.params.as_deref(),
            );
        }
        let Some(uri) = call.params.as_deref().and_then(uri_of) else { return no_uri() };
        let asked = match self.asked(&having, &uri) {
            Ok(asked) => asked,
            Err(error) => return Outcome::refused(&error),
        };
        let mut observation = Observation::begin(self.observer.as_ref(), &call.method, call.params.as_deref());
        observation.leads_to(&asked.entry.name, None);
        let (failure, outcome) = match observation.ready().await {
            Ok(()) => self.about_skill(&asked, call).await,
            Err(error) => (Some(NOT_OBSERVED), not_observed(error)),
        };
        observation.end(failure, &outcome).await;
        outcome
    }

    /// Whose skill is meant. Without a server's name in it, a URI says so only while one server has any.
    fn asked<'a>(&'a self, having: &[&'a Skilled], uri: &'a str) -> Result<Asked<'a>, RpcError> {
        if let Some((entry, own)) = self.named_in(uri) {
            return Ok(Asked { entry, uri: own, exposed: uri, named: true });
        }
        match having {
            [(only, _)] => Ok(Asked { entry: only, uri: uri.into(), exposed: uri, named: false }),
            _ => {
                let text = format!(
                    "{} is of no server here: several have skills, and the name of one stands first, as skills/list has it",
                    beginning(uri)
                );
                Err(RpcError::new(RpcError::INVALID_PARAMS, text))
            }
        }
    }

    async fn about_skill(&self, asked: &Asked<'_>, call: Call) -> (Option<&'static str>, Outcome) {
        let entry = asked.entry;
        let ready = match entry.ready().await {
            Ok(ready) => ready,
            Err(error) => return (Some(error.code()), Outcome::refused(&entry.refusal(&error))),
        };
        let invalid = |text: String| (None, Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, text)));
        if !ready.description.extensions.has(SKILLS) {
            return invalid(format!("server {} has no skills", entry.name));
        }
        let directory = &*call.method == "resources/directory/read";
        if directory && !ready.description.extensions.is_on(SKILLS, "directoryRead") {
            return invalid(format!("server {} shows no directories", entry.name));
        }
        if let Some(held) = ready.held_skill(&asked.uri) {
            return (Some(held.code()), Outcome::refused(&held.to_rpc(&entry.name, asked.exposed)));
        }
        let passed = self.pass(entry, &ready, Wanted::Declared(SKILLS), renamed(&call, &asked.uri)).await;
        let Outcome::Complete(result) = passed else { return (None, passed) };
        let told = match directory {
            true => {
                agreed_children(entry, &ready, &asked.uri, &result, &|own| asked.name(own)).ok_or(Untold::Malformed)
            }
            false => entry_of(asked, &ready, &result),
        };
        match told {
            Ok(told) => (None, Outcome::Complete(told)),
            Err(Untold::Malformed) => {
                let text = format!("server {} tells of its skill in a malformed way", entry.name);
                (None, Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, text)))
            }
            Err(Untold::Held(code, error)) => (Some(code), Outcome::refused(&error)),
        }
    }
}

/// Why a client is not told of a skill.
enum Untold {
    Malformed,
    Held(&'static str, RpcError),
}

/// The answer to `skills/get`. Where skills are pinned, it is the entry that was agreed to.
fn entry_of(asked: &Asked<'_>, ready: &Ready, result: &RawValue) -> Result<Box<RawValue>, Untold> {
    let members = Members::of(result).map_err(|_| Untold::Malformed)?;
    let entry = members.value("skill").ok_or(Untold::Malformed)?;
    let skill = Skill::read(entry, entry).map_err(|_| Untold::Malformed)?;
    if skill.uri != asked.uri {
        return Err(Untold::Malformed);
    }
    let known = ready.catalogue.skills.find(&asked.uri);
    let changed = known.is_some_and(|known| canonical(&known.definition) != canonical(entry));
    if changed {
        asked.entry.doubts_skills();
    }
    if is_pinned(asked.entry) && (changed || known.is_none()) {
        let (code, why) = match changed {
            true => ("definition-changed", "is held back, as it has changed since it was agreed to"),
            false => ("definition-new", "is held back: its server does not list it, so nobody could agree to it"),
        };
        return Err(Untold::Held(code, held(asked.entry, asked.exposed, code, why)));
    }
    let renamed = entry_under(entry, &|own| asked.name(own)).ok_or(Untold::Malformed)?;
    let told = match is_pinned(asked.entry) {
        true => RawValue::from_string(format!(r#"{{"skill":{}}}"#, renamed.get())).ok(),
        false => members.with_raw("skill", renamed.get()),
    };
    told.ok_or(Untold::Malformed)
}

pub(super) fn held(entry: &Entry, exposed: &str, code: &str, why: &str) -> RpcError {
    let data = serde_json::json!({ "code": code, "server": entry.name.as_str(), "kind": "instructions" });
    RpcError::new(RpcError::INVALID_PARAMS, format!("{} {why}", beginning(exposed))).with_data(&data)
}

/// The servers that have skills.
fn having<'a>(gathered: &'a Gathered, method: &str) -> Result<Vec<&'a Skilled>, Outcome> {
    let has = |(_, offer): &&Skilled| offer.description.extensions.has(SKILLS);
    let having: Vec<_> = gathered.servers.iter().filter(has).collect();
    if !having.is_empty() {
        return Ok(having);
    }
    let mut held = gathered.servers.iter().filter_map(|(entry, offer)| Some((entry, offer.held.extension(SKILLS)?)));
    let error = match held.next() {
        Some((entry, held)) => held.to_rpc(&entry.name, SKILLS),
        None => RpcError::new(RpcError::METHOD_NOT_FOUND, format!("Method not found: {}", beginning(method))),
    };
    Err(Outcome::refused(&error))
}
