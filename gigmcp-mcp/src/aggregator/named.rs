//! What is asked by name: tools, prompts, and completions.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    Aggregator,
    backend::{Entry, Ready},
    fault::BackendError,
    flow::Admitted,
    identity::Caller,
    offer::Offer,
    passing::{labelled_outcome, uri_of},
    spares::Wanted,
};
use crate::{
    catalogue::{Catalogue, Named, NamedList},
    definition::{Defined, DefinitionKind},
    mend::mended,
    message::{RpcError, beginning},
    mirror::Mirrored,
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

    pub(super) fn definition(self) -> DefinitionKind {
        match self {
            Self::Tool => DefinitionKind::Tool,
            Self::Prompt => DefinitionKind::Prompt,
        }
    }

    pub(super) fn list(self, offer: &Offer) -> &NamedList {
        self.of(&offer.catalogue)
    }

    fn of(self, catalogue: &Catalogue) -> &NamedList {
        match self {
            Self::Tool => &catalogue.tools,
            Self::Prompt => &catalogue.prompts,
        }
    }

    /// What is called so, by its name without a prefix or by the one that clients usually see.
    fn named<'a>(self, catalogue: &'a Catalogue, name: &str, bare: bool) -> Option<&'a Named> {
        match bare {
            true => self.of(catalogue).find_own(name),
            false => self.of(catalogue).find(name),
        }
    }
}

/// Where a name leads.
pub(super) struct Route<'a> {
    pub(super) entry: &'a Arc<Entry>,
    pub(super) ready: Arc<Ready>,
    /// What the server says of it, under its own name.
    pub(super) said: Defined,
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

pub(super) fn disabled<'a>(entry: &'a Entry, exposed: &str) -> Refusal<'a> {
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
        let params = members.with("name", &route.said.name).expect("the name was just read");
        Ok((route, params))
    }

    /// Where a name leads. Starts the server, if it is not known that there is no such name.
    pub(super) async fn find<'a>(&'a self, kind: Kind, exposed: &str) -> Result<Route<'a>, Refusal<'a>> {
        let unknown = || Refusal { entry: None, code: None, error: kind.unknown(exposed) };
        let (entry, bare) = match self.find_bare(kind, exposed).await? {
            Some(entry) => (entry, true),
            None => (self.named_server(exposed).ok_or_else(unknown)?, false),
        };
        let failed = |error: BackendError| Refusal {
            entry: Some(&**entry),
            code: Some(error.code()),
            error: entry.refusal(&error),
        };
        // What is known is called at once; only for what is not, a stale list is read anew.
        let mut ready = match entry.running() {
            Some(ready) => ready,
            None => {
                // Be it held back or not: what the server says now may be what was agreed to.
                if entry.known().await.is_some_and(|offer| kind.named(&offer.said.catalogue, exposed, bare).is_none()) {
                    return Err(unknown());
                }
                entry.ready().await.map_err(failed)?
            }
        };
        let is_known = kind.named(&ready.catalogue, exposed, bare).is_some();
        if !is_known && entry.is_stale(&ready) || entry.is_in_doubt(&ready) {
            ready = entry.ready().await.map_err(failed)?;
        }
        let said = kind.named(&ready.said.catalogue, exposed, bare).ok_or_else(unknown)?;
        if let Some(held) = ready.held.named(kind.definition(), &said.exposed) {
            let error = held.to_rpc(&entry.name, exposed);
            return Err(Refusal { entry: Some(&**entry), code: Some(held.code()), error });
        }
        let named = kind.named(&ready.catalogue, exposed, bare).ok_or_else(unknown)?;
        if kind == Kind::Tool && entry.policy().is_disabled(named) {
            return Err(disabled(entry, exposed));
        }
        let said = Arc::clone(&named.said);
        Ok(Route { entry, ready, said })
    }

    /// Which arguments of a tool headers repeat; none of a name that leads nowhere.
    pub(super) async fn mirrored_of(&self, exposed: &str) -> Arc<[Mirrored]> {
        if self.is_ours(exposed) {
            return Arc::default();
        }
        match self.find(Kind::Tool, exposed).await {
            Ok(Route { ready, said, .. }) => {
                ready.catalogue.tools.find_own(&said.name).map(|tool| Arc::clone(&tool.mirrored)).unwrap_or_default()
            }
            Err(_) => Arc::default(),
        }
    }

    pub(super) async fn prompt(&self, call: Call) -> Outcome {
        match self.route(Kind::Prompt, call.params.as_deref()).await {
            Ok((Route { entry, ready, said }, params)) => {
                self.pass(entry, &ready, Wanted::Said(&said), Call { params: Some(params), ..call }).await
            }
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
        let mut completed = Box::<str>::default();
        // What it says it is decides, and the server does not hear of what another reader might go by.
        let kind = reference.string("type");
        let (entry, ready, said, reference) = match kind.as_deref() {
            Some("ref/prompt") => {
                let Some(name) = reference.string("name") else { return invalid("params.ref.name is not a string") };
                match self.find(Kind::Prompt, &name).await {
                    Ok(Route { entry, ready, said }) => {
                        let reference = reference.with("name", &said.name).map(|reference| without(&reference, "uri"));
                        (Arc::clone(entry), ready, Some(said), reference)
                    }
                    Err(Refusal { error, .. }) => return Outcome::refused(&error),
                }
            }
            Some("ref/resource") => {
                let Some(uri) = reference.string("uri") else { return invalid("params.ref.uri is not a string") };
                match self.locate(&uri).await.into_iter().next() {
                    Some(place) => match place.reach(&uri).await {
                        Ok(ready) => {
                            completed = place.uri;
                            let reference = reference.with("uri", &completed);
                            (place.entry, ready, None, reference.map(|reference| without(&reference, "name")))
                        }
                        Err(error) => return Outcome::refused(&error),
                    },
                    None => return invalid("params.ref.uri is of no resource and no template"),
                }
            }
            _ => return invalid("params.ref.type is neither ref/prompt nor ref/resource"),
        };
        if !ready.description.capabilities.completions {
            let none = r#"{"completion":{"values":[],"total":0,"hasMore":false}}"#;
            return Outcome::Complete(RawValue::from_string(none.to_owned()).expect("it is JSON"));
        }
        let params = reference.and_then(|reference| members.with_raw("ref", reference.get()));
        let wanted = said.as_ref().map_or(Wanted::Uri(&completed), Wanted::Said);
        self.pass(&entry, &ready, wanted, Call { params, ..call }).await
    }

    /// Makes a call of one server, with its name on whatever it says meanwhile.
    pub(super) async fn pass(&self, entry: &Arc<Entry>, ready: &Ready, wanted: Wanted<'_>, mut call: Call) -> Outcome {
        if let Err(error) = entry.open_state(wanted, &mut call) {
            return Outcome::refused(&error);
        }
        let mut asked = false;
        // Whatever is asked of a server can tell it something, and what it answers is read. Only an end says nothing new.
        if &*call.method != "resources/unsubscribe" {
            let caller = Caller::of(&call);
            let guarded = (&*entry.guard, entry.policy().labels);
            match self.hub.flow.admit(&entry.name, guarded, &caller, call.sink.as_deref()).await {
                Ok(admitted) => asked |= admitted == Admitted::Asked,
                Err((_, refused)) => return refused,
            }
        }
        let held = match asked {
            true => self.borrowed_again(entry, ready, (&call, wanted)).await.map_err(|(_, error)| error),
            false => entry.upstream_for(ready, &call, wanted).await.map_err(|error| entry.refusal(&error)),
        };
        let held = match held {
            Ok(held) => held,
            Err(error) => return Outcome::refused(&error),
        };
        self.names_server(&mut call, entry, entry.policy().labels);
        let (method, uri) = (call.method.clone(), call.params.as_deref().and_then(uri_of));
        let context = call.context.clone();
        match mended(&method, uri.as_deref(), held.call(call).await) {
            Outcome::Failed(error) => Outcome::refused(&error.to_rpc(&entry.name)),
            outcome @ Outcome::Complete(_) => self.hub.pointing(entry.index, ready, outcome).await,
            outcome @ (Outcome::InputRequired(_) | Outcome::Task(_) | Outcome::Error(_)) => {
                let outcome = labelled_outcome(&entry.name, context.as_deref(), outcome);
                entry.sealing_state(wanted, context.as_deref(), outcome)
            }
        }
    }
}

fn without(object: &RawValue, name: &str) -> Box<RawValue> {
    match Members::of(object) {
        Ok(members) if members.value(name).is_some() => members.without(name),
        _ => object.to_owned(),
    }
}
