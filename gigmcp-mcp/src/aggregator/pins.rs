//! Which definitions somebody has agreed to: all others are held back.

use std::{
    cell::Cell,
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use super::fault::{BackendError, FaultKind};
use crate::{
    catalogue::{Catalogue, Located, LocatedList, NamedList, SkillList, TooLong},
    definition::{Defined, Definition, DefinitionKind},
    describe::Description,
    message::RpcError,
    name::ServerId,
    upstream::BoxFuture,
};

/// What one server may say of itself. It is told of everything that was read of the server, and says for each definition
/// whether it is one that somebody agreed to. What is not is held back: clients do not see it and cannot call it, and all else
/// goes on working.
pub trait Pins: fmt::Debug + Send + Sync {
    /// How each of these stands, in their order. Asked whenever the server was started or one of its lists was read again, and
    /// when [`revision`](Self::revision) has grown.
    ///
    /// # Errors
    /// If that is not known. The server is not used then; of what was [kept](Process::Kept) nothing is shown, and whoever asks
    /// for it starts the server.
    fn judge<'a>(
        &'a self,
        said: &'a [Arc<Definition>],
        process: Process,
    ) -> BoxFuture<'a, Result<Vec<Standing>, PinsUnknown>>;

    /// Grows when something may stand otherwise than it did.
    fn revision(&self) -> u64 {
        0
    }

    /// Whether definitions may change as the server likes, within bounds. Clients are then also told of what has changed in a
    /// process beside the first.
    fn follows(&self) -> bool {
        false
    }

    /// What is to be done about a definition that is held back; a client is told, so it says nothing that is secret.
    fn advice(&self, _held: &Definition, _standing: Standing) -> String {
        "its owner has not agreed to it".to_owned()
    }
}

/// Which process of a server has said something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Process {
    /// The one whose lists clients see.
    First,
    /// One beside it, started to work on a call meanwhile. It is the same program, so there is no first use of what it says.
    Beside,
    /// None now: it was kept of one that ran before. There is no first use of that either.
    Kept,
}

/// How a definition stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Standing {
    /// It is as it was agreed to.
    Agreed,
    /// Nobody has agreed to anything of this kind and name.
    New,
    /// Something else was agreed to under this name.
    Changed,
    /// It is none that anybody could agree to here: the manifest of the server has no such, or another.
    Barred,
}

impl Standing {
    /// The stable code that a client gets for a call of it.
    #[must_use]
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Agreed => None,
            Self::New => Some("definition-new"),
            Self::Changed => Some("definition-changed"),
            Self::Barred => Some("definition-not-declared"),
        }
    }
}

/// Which definitions somebody agreed to could not be found out.
#[derive(Clone, Debug, thiserror::Error)]
#[error("which of its definitions were agreed to is not known now")]
pub struct PinsUnknown;

/// What remains of what a server has said once the rest was held back.
#[derive(Clone, Debug, Default)]
pub(super) struct Judged {
    pub(super) description: Arc<Description>,
    pub(super) catalogue: Catalogue,
    pub(super) held: Held,
    /// Of the pins, when they were asked.
    pub(super) revision: u64,
}

impl Judged {
    pub(super) async fn of(
        pins: Option<&Arc<dyn Pins>>,
        description: &Arc<Description>,
        catalogue: &Catalogue,
        process: Process,
    ) -> Result<Self, BackendError> {
        let all = |revision| Self {
            description: Arc::clone(description),
            catalogue: catalogue.clone(),
            held: Held::default(),
            revision,
        };
        let Some(pins) = pins else { return Ok(all(0)) };
        // Before they are asked: what changes meanwhile is not lost.
        let revision = pins.revision();
        let standings = standings(&**pins, description, catalogue, process).await?;
        if standings.is_empty() {
            return Ok(all(revision));
        }
        let mut judged = all(revision);
        judged.catalogue = catalogue.only(|said| !standings.contains_key(&key(said)));
        let is_held = |name: &str| standings.contains_key(&(DefinitionKind::Instructions, name.into()));
        let mut shown = (**description).clone();
        shown.instructions = shown.instructions.filter(|_| !is_held(""));
        shown.extensions.retain(|id| !is_held(id));
        judged.description = Arc::new(shown);
        judged.held = Held::of(&standings, (description, catalogue), &**pins);
        Ok(judged)
    }

    /// What is left for whoever may use these tools and nothing else.
    pub(super) fn only(self, tools: &BTreeSet<Box<str>>) -> Self {
        let mut held = self.held;
        held.tools.retain(|_, item| tools.contains(&item.said.name));
        Self {
            description: Arc::new(self.description.only_tools()),
            catalogue: self.catalogue.only_tools(|said| tools.contains(&said.name)),
            held: Held { tools: held.tools, ..Held::default() },
            revision: self.revision,
        }
    }
}

pub(super) type Key = (DefinitionKind, Box<str>);

pub(super) fn key(said: &Definition) -> Key {
    (said.kind, said.name.clone())
}

/// How everything stands that is not agreed to.
async fn standings(
    pins: &dyn Pins,
    description: &Description,
    catalogue: &Catalogue,
    process: Process,
) -> Result<HashMap<Key, Standing>, BackendError> {
    let mut said = catalogue.said();
    said.extend(description.instructions.as_deref().map(|text| Arc::new(Definition::of_instructions(text))));
    said.extend(declared(description));
    let standings = pins.judge(&said, process).await.map_err(BackendError::Pins)?;
    // What nothing was said of is not agreed to.
    let standings = standings.into_iter().chain(std::iter::repeat(Standing::New));
    let held = said.iter().zip(standings).filter(|(_, standing)| *standing != Standing::Agreed);
    Ok(held.map(|(said, standing)| (key(said), standing)).collect())
}

/// What it declares of extensions: as much as instructions, that says what it is used for.
fn declared(description: &Description) -> impl Iterator<Item = Defined> {
    description.extensions.said().map(|(id, settings)| Arc::new(Definition::of_extension(id, settings)))
}

/// One thing that is held back.
#[derive(Clone, Debug)]
pub(super) struct HeldItem {
    pub(super) said: Defined,
    pub(super) standing: Standing,
    advice: Box<str>,
}

/// What of one server is held back.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    tools: HashMap<Box<str>, HeldItem>,
    prompts: HashMap<Box<str>, HeldItem>,
    located: HashMap<Box<str>, HeldItem>,
    instructions: Option<HeldItem>,
    /// Skills, by URI, and what was said of them.
    skills: HashMap<Box<str>, HeldItem>,
    in_skills: Option<Arc<SkillList>>,
    /// By identifier.
    extensions: HashMap<Box<str>, HeldItem>,
    /// What it was before some of it was held back, for URIs that a template fits.
    templates: Option<Arc<LocatedList>>,
}

impl Held {
    fn of(
        standings: &HashMap<Key, Standing>,
        (description, catalogue): (&Description, &Catalogue),
        pins: &dyn Pins,
    ) -> Self {
        let item = |said: &Defined| {
            let standing = *standings.get(&key(said))?;
            Some(HeldItem { said: Arc::clone(said), standing, advice: pins.advice(said, standing).into() })
        };
        let named = |list: &NamedList| {
            list.items().iter().filter_map(|named| Some((named.exposed.clone(), item(&named.said)?))).collect()
        };
        let located = catalogue.resources.items().iter().chain(catalogue.templates.items());
        let located = located.filter_map(|located| Some((located.uri.clone(), item(located.said.as_ref()?)?)));
        let templates = catalogue.templates.only(|said| standings.contains_key(&key(said)));
        let skills = catalogue.skills.only(|said| standings.contains_key(&key(said)));
        let held_skills = skills.skills().iter().filter_map(|skill| Some((skill.uri.clone(), item(&skill.said)?)));
        let instructions = standings.get(&(DefinitionKind::Instructions, "".into())).map(|standing| {
            let said = Arc::new(Definition::of_instructions(""));
            HeldItem { advice: pins.advice(&said, *standing).into(), said, standing: *standing }
        });
        Self {
            tools: named(&catalogue.tools),
            prompts: named(&catalogue.prompts),
            located: located.collect(),
            instructions,
            skills: held_skills.collect(),
            in_skills: (!skills.skills().is_empty()).then(|| Arc::new(skills.clone())),
            extensions: declared(description).filter_map(|said| Some((said.name.clone(), item(&said)?))).collect(),
            templates: (!templates.items().is_empty()).then(|| Arc::new(templates)),
        }
    }

    /// A tool or prompt by the name that clients would know it by.
    pub(super) fn named(&self, kind: DefinitionKind, exposed: &str) -> Option<&HeldItem> {
        match kind {
            DefinitionKind::Tool => self.tools.get(exposed),
            _ => self.prompts.get(exposed),
        }
    }

    /// The name that clients would know a tool or prompt by, by the server's own.
    pub(super) fn own(&self, kind: DefinitionKind, name: &str) -> Option<&str> {
        let items = if kind == DefinitionKind::Tool { &self.tools } else { &self.prompts };
        items.iter().find(|(_, item)| *item.said.name == *name).map(|(exposed, _)| &**exposed)
    }

    /// A declaration of this extension.
    pub(super) fn extension(&self, id: &str) -> Option<&HeldItem> {
        self.extensions.get(id)
    }

    /// What is held back and has this URI, or a template that fits.
    pub(super) fn located(&self, uri: &str) -> Option<&HeldItem> {
        self.located_by(uri, |templates| templates.matching_or_unknown(uri))
    }

    /// The same, where no more than this `work` is done for several questions together.
    pub(super) fn located_within(&self, uri: &str, work: &Cell<usize>, too_long: TooLong) -> Option<&HeldItem> {
        self.located_by(uri, |templates| templates.first(uri, work, too_long))
    }

    fn located_by<'a>(
        &'a self,
        uri: &str,
        fitting: impl Fn(&'a LocatedList) -> Option<&'a Located>,
    ) -> Option<&'a HeldItem> {
        self.located.get(uri).or_else(|| self.located.get(&fitting(self.templates.as_ref()?)?.uri))
    }

    /// A skill that is held back, in whose directory this is.
    pub(super) fn skill(&self, uri: &str) -> Option<&HeldItem> {
        let around = self.in_skills.as_ref()?.around(uri).next()?;
        self.skills.get(&around.uri)
    }

    /// All of it.
    pub(super) fn items(&self) -> impl Iterator<Item = &HeldItem> {
        let all = self.tools.values().chain(self.prompts.values()).chain(self.located.values());
        all.chain(&self.instructions).chain(self.skills.values()).chain(self.extensions.values())
    }
}

impl HeldItem {
    pub(super) fn fault(&self) -> FaultKind {
        FaultKind::HeldBack { kind: self.said.kind, name: self.said.name.clone(), standing: self.standing }
    }

    pub(super) fn code(&self) -> &'static str {
        self.standing.code().unwrap_or("definition-new")
    }

    /// What whoever asks for it is told.
    pub(super) fn to_rpc(&self, server: &ServerId, exposed: &str) -> RpcError {
        let kind = self.said.kind;
        let text = match self.standing {
            Standing::Barred => format!("Unknown {kind}: {exposed} ({})", self.advice),
            Standing::Changed => format!("{exposed} is held back, as its definition has changed: {}", self.advice),
            Standing::New | Standing::Agreed => format!("{exposed} is held back, as it is new: {}", self.advice),
        };
        let data = serde_json::json!({ "code": self.code(), "server": server.as_str(), "kind": kind.as_str() });
        RpcError::new(RpcError::INVALID_PARAMS, text).with_data(&data)
    }
}
