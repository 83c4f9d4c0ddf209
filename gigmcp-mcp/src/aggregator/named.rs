//! What is asked by name: tools, prompts, and completions.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    Aggregator,
    backend::{Entry, Offer, Ready},
    fault::BackendError,
    passing::{FromServer, labelled_outcome},
};
use crate::{
    catalogue::NamedList,
    message::{RpcError, beginning},
    name::server_of,
    object::Members,
    upstream::{Call, Outcome},
};

/// What a name is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Tool,
    Prompt,
}

impl Kind {
    fn unknown(self, exposed: &str) -> RpcError {
        let what = if self == Self::Tool { "tool" } else { "prompt" };
        RpcError::new(RpcError::INVALID_PARAMS, format!("Unknown {what}: {}", beginning(exposed)))
    }

    fn list(self, offer: &Offer) -> &NamedList {
        match self {
            Self::Tool => &offer.catalogue.tools,
            Self::Prompt => &offer.catalogue.prompts,
        }
    }
}

/// Where a name leads.
pub(super) struct Route<'a> {
    pub(super) entry: &'a Arc<Entry>,
    pub(super) ready: Arc<Ready>,
    /// The server's own name.
    pub(super) name: Box<str>,
}

/// Why a name leads nowhere.
pub(super) struct Refusal<'a> {
    pub(super) entry: Option<&'a Entry>,
    pub(super) code: Option<&'static str>,
    pub(super) error: RpcError,
}

impl Refusal<'_> {
    pub(super) fn invalid(reason: &str) -> Self {
        Self { entry: None, code: None, error: RpcError::new(RpcError::INVALID_PARAMS, reason) }
    }
}

fn disabled<'a>(entry: &'a Entry, exposed: &str) -> Refusal<'a> {
    let text = format!("The tool {exposed} is switched off here; whoever set this up can switch it on");
    let error = RpcError::new(RpcError::INVALID_PARAMS, text).with_data(&serde_json::json!({ "code": DISABLED }));
    Refusal { entry: Some(entry), code: Some(DISABLED), error }
}

/// The stable code of a call of a tool that is switched off.
const DISABLED: &str = "tool-disabled";

impl Aggregator {
    /// Where the `name` in these parameters leads, and the parameters with the server's own.
    pub(super) async fn route<'a>(
        &'a self,
        kind: Kind,
        params: Option<&RawValue>,
    ) -> Result<(Route<'a>, Box<RawValue>), Refusal<'a>> {
        let params = params.ok_or_else(|| Refusal::invalid("params are missing"))?;
        let members =
            Members::of(params).map_err(|_| Refusal::invalid("params is no object, or names a member twice"))?;
        let exposed = members.string("name").ok_or_else(|| Refusal::invalid("params.name is not a string"))?;
        let route = self.find(kind, &exposed).await?;
        let params = members.with("name", &route.name).expect("the name was just read");
        Ok((route, params))
    }

    /// Where a name leads. Starts the server, if it is not known that there is no such name.
    pub(super) async fn find<'a>(&'a self, kind: Kind, exposed: &str) -> Result<Route<'a>, Refusal<'a>> {
        let unknown = || Refusal { entry: None, code: None, error: kind.unknown(exposed) };
        let entry = server_of(exposed)
            .and_then(|server| self.by_name.get(server))
            .map(|&index| &self.entries[index])
            .ok_or_else(unknown)?;
        let failed = |error: BackendError| Refusal {
            entry: Some(&**entry),
            code: Some(error.code()),
            error: entry.refusal(&error),
        };
        // What is known is called at once; only for what is not, a stale list is read anew.
        let mut ready = match entry.running() {
            Some(ready) => ready,
            None => {
                if entry.known().await.is_some_and(|offer| kind.list(&offer).find(exposed).is_none()) {
                    return Err(unknown());
                }
                entry.ready().await.map_err(failed)?
            }
        };
        if kind.list(&ready).find(exposed).is_none() && entry.is_stale(&ready) {
            ready = entry.ready().await.map_err(failed)?;
        }
        let named = kind.list(&ready).find(exposed).ok_or_else(unknown)?;
        if kind == Kind::Tool && entry.policy.is_disabled(named) {
            return Err(disabled(entry, exposed));
        }
        let name = named.name.clone();
        Ok(Route { entry, ready, name })
    }

    pub(super) async fn prompt(&self, call: Call) -> Outcome {
        match self.route(Kind::Prompt, call.params.as_deref()).await {
            Ok((route, params)) => self.pass(route.entry, &route.ready, Call { params: Some(params), ..call }).await,
            Err(Refusal { error, .. }) => Outcome::refused(&error),
        }
    }

    /// Completes an argument of a prompt, or of a template of resources.
    pub(super) async fn complete(&self, call: Call) -> Outcome {
        let invalid = |text| Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, text));
        let Some(members) = call.params.as_deref().and_then(|params| Members::of(params).ok()) else {
            return invalid("params is no object, or names a member twice");
        };
        let Some(reference) = members.value("ref").and_then(|reference| Members::of(reference).ok()) else {
            return invalid("params.ref is no object, or names a member twice");
        };
        let (entry, ready, reference) = if let Some(name) = reference.string("name") {
            match self.find(Kind::Prompt, &name).await {
                Ok(Route { entry, ready, name }) => (Arc::clone(entry), ready, reference.with("name", &name)),
                Err(Refusal { error, .. }) => return Outcome::refused(&error),
            }
        } else if let Some(uri) = reference.string("uri") {
            match self.locate(&uri).await.into_iter().next() {
                Some(place) => match place.entry.ready().await {
                    Ok(ready) => (Arc::clone(&place.entry), ready, reference.with("uri", &place.uri)),
                    Err(error) => return Outcome::refused(&place.entry.refusal(&error)),
                },
                None => return invalid("params.ref.uri is of no resource and no template"),
            }
        } else {
            return invalid("params.ref has neither name nor uri");
        };
        if !ready.description.capabilities.completions {
            let none = r#"{"completion":{"values":[],"total":0,"hasMore":false}}"#;
            return Outcome::Complete(RawValue::from_string(none.to_owned()).expect("it is JSON"));
        }
        let params = reference.and_then(|reference| members.with_raw("ref", reference.get()));
        self.pass(&entry, &ready, Call { params, ..call }).await
    }

    /// Makes a call of one server, with its name on whatever it says meanwhile.
    pub(super) async fn pass(&self, entry: &Arc<Entry>, ready: &Ready, mut call: Call) -> Outcome {
        let held = match entry.upstream_for(ready, &call).await {
            Ok(held) => held,
            Err(error) => return Outcome::refused(&entry.refusal(&error)),
        };
        call.sink = call.sink.map(|sink| FromServer::new(&entry.name, sink) as _);
        match held.call(call).await {
            Outcome::Failed(error) => Outcome::refused(&error.to_rpc(&entry.name)),
            Outcome::Complete(result) => {
                if ready.description.capabilities.resources {
                    self.hub.links.learn(entry.index, &result);
                }
                Outcome::Complete(result)
            }
            outcome @ (Outcome::InputRequired(_) | Outcome::Error(_)) => labelled_outcome(&entry.name, outcome),
        }
    }
}
