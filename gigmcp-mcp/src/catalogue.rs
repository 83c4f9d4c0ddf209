//! What one server offers, read whole and made fit for clients.

mod definitions;
mod mend;
mod named;
mod pages;
mod resources;
mod skills;
mod template;

use std::{sync::Arc, time::Duration};

use serde_json::value::RawValue;

pub use self::{
    definitions::Definitions,
    named::{Named, NamedList},
};
use self::{definitions::Items, pages::Pages, resources::Place};
pub(crate) use self::{
    mend::mended_resource,
    resources::{Located, LocatedList, TooLong},
    skills::{File, Skill, SkillList, entry_under},
};
use crate::{
    definition::Defined,
    describe::{Capabilities, Description},
    extension::SKILLS,
    guard::Guard,
    name::Naming,
    upstream::{CallError, List, Upstream},
};

/// Bounds on what a server can make us read for its lists.
#[derive(Clone, Copy, Debug)]
pub struct CatalogueLimits {
    /// Pages of one list; against a list that never ends. Default 100.
    pub max_pages: usize,
    /// Bytes of all pages of a list together; against a list that fills the memory. Default 32 MiB.
    pub max_bytes: usize,
    /// Items of one list. Default 5,000.
    pub max_items: usize,
    /// Time for the list of tools. Default 30 s.
    pub timeout: Duration,
    /// Time for each of the other lists; tools do not wait longer for them. Default 10 s.
    pub other_timeout: Duration,
}

impl Default for CatalogueLimits {
    fn default() -> Self {
        Self {
            max_pages: 100,
            max_bytes: 32 << 20,
            max_items: 5_000,
            timeout: Duration::from_secs(30),
            other_timeout: Duration::from_secs(10),
        }
    }
}

/// Something in a list that is not as it should be. It costs only itself.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OddItem {
    /// Which list.
    pub list: &'static str,
    /// Where it stood in the list, from 0.
    pub position: usize,
    /// What is wrong with it; fixed text.
    pub reason: &'static str,
    /// What was done about it.
    pub remedy: Remedy,
}

/// What was done about an odd item.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Remedy {
    /// It is not offered.
    LeftOut,
    /// It was made what it must have meant, and is offered.
    Mended,
}

/// An item of a list as it may be shown, if it may be.
pub(crate) type Shown<'a> = &'a dyn Fn(&'static str, &RawValue) -> Option<Box<RawValue>>;

/// What one server offers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) tools: Arc<NamedList>,
    pub(crate) prompts: Arc<NamedList>,
    pub(crate) resources: Arc<LocatedList>,
    pub(crate) templates: Arc<LocatedList>,
    pub(crate) skills: Arc<SkillList>,
    /// What all of that was made of, and what was left out of it.
    pub(crate) definitions: Definitions,
    errors: Vec<CatalogueError>,
}

impl Catalogue {
    /// Reads every page of a server's lists, as far as it has them. `before` is kept for lists that are not among `changed`.
    ///
    /// Cancel safe: nothing is kept of a list that was not read to its end.
    ///
    /// # Errors
    /// If there is no whole list of tools. What is wrong with any other costs only that one.
    pub(crate) async fn read(
        (naming, guard): (&Naming, &Guard),
        upstream: &dyn Upstream,
        description: &Description,
        limits: &CatalogueLimits,
        before: Option<&Self>,
        changed: &[List],
    ) -> Result<Self, CatalogueError> {
        let items =
            async |list: List, name: &'static str, there: bool, limit, kept: fn(&Definitions) -> &Items| match before
                .filter(|_| !changed.contains(&list))
            {
                Some(before) => Ok(Arc::clone(kept(&before.definitions))),
                None if !there => Ok(Items::default()),
                None => Pages { list: name, upstream, limits }.within(limit).await.map(Items::from),
            };
        let (first, other) = (limits.timeout, limits.other_timeout);
        let Capabilities { prompts, resources, .. } = description.capabilities;
        let skills = description.extensions.has(SKILLS);
        let (tools, prompts, resources, templates, skills) = tokio::join!(
            // A server may have tools without saying so; old ones do.
            items(List::Tools, "tools", true, first, |kept| &kept.tools),
            items(List::Prompts, "prompts", prompts, other, |kept| &kept.prompts),
            items(List::Resources, "resources", resources, other, |kept| &kept.resources),
            items(List::Resources, "resourceTemplates", resources, other, |kept| &kept.templates),
            // Of which nothing says that they have changed; their files are resources.
            items(List::Resources, skills::LIST, skills, other, |kept| &kept.skills),
        );
        let mut errors = Vec::new();
        let definitions = Definitions {
            tools: tools?,
            prompts: or_none(prompts, &mut errors),
            resources: or_none(resources, &mut errors),
            templates: or_none(templates, &mut errors),
            skills: or_none(skills, &mut errors),
        };
        Ok(Self { errors, ..Self::of((naming, guard), definitions, before) })
    }

    /// What these definitions offer. What is the same as `before` is not made anew.
    pub(crate) fn of((naming, guard): (&Naming, &Guard), definitions: Definitions, before: Option<&Self>) -> Self {
        let shown: Shown<'_> = &|list, item| guard.listed(list, item);
        let (now, before) = (&definitions, before.map(|before| (before, &before.definitions)));
        Self {
            tools: made(&now.tools, before.map(|(made, from)| (&made.tools, &from.tools)), |items| {
                NamedList::tools_named(naming, items, shown)
            }),
            prompts: made(&now.prompts, before.map(|(made, from)| (&made.prompts, &from.prompts)), |items| {
                NamedList::prompts_named(naming, items, shown)
            }),
            resources: made(&now.resources, before.map(|(made, from)| (&made.resources, &from.resources)), |items| {
                LocatedList::of("resources", Place::Uri, items, shown)
            }),
            templates: made(&now.templates, before.map(|(made, from)| (&made.templates, &from.templates)), |items| {
                LocatedList::of("resourceTemplates", Place::Template, items, shown)
            }),
            skills: made(&now.skills, before.map(|(made, from)| (&made.skills, &from.skills)), |items| {
                SkillList::of(items, shown)
            }),
            errors: Vec::new(),
            definitions,
        }
    }

    /// What is not as it should be.
    pub(crate) fn odd(&self) -> impl Iterator<Item = &OddItem> {
        let named = self.tools.odd().iter().chain(self.prompts.odd());
        named.chain(self.resources.odd()).chain(self.templates.odd()).chain(self.skills.odd())
    }

    /// Which lists, other than that of the tools, could not be read.
    pub(crate) fn errors(&self) -> &[CatalogueError] {
        &self.errors
    }

    /// All that the server says of what it offers, as far as it says anything in words.
    pub(crate) fn said(&self) -> Vec<Defined> {
        let named = self.tools.items().iter().chain(self.prompts.items()).map(|item| &item.said);
        let located = self.resources.items().iter().chain(self.templates.items()).filter_map(|item| item.said.as_ref());
        let skills = self.skills.skills().iter().map(|skill| &skill.said);
        named.chain(located).chain(skills).cloned().collect()
    }

    /// What is left of it when only this is kept.
    pub(crate) fn only(&self, kept: impl Fn(&Defined) -> bool) -> Self {
        Self {
            tools: Arc::new(self.tools.only(&kept)),
            prompts: Arc::new(self.prompts.only(&kept)),
            resources: Arc::new(self.resources.only(&kept)),
            templates: Arc::new(self.templates.only(&kept)),
            skills: Arc::new(self.skills.only(&kept)),
            definitions: self.definitions.clone(),
            errors: self.errors.clone(),
        }
    }

    /// Those of its tools that are kept, and nothing else.
    pub(crate) fn only_tools(&self, kept: impl Fn(&Defined) -> bool) -> Self {
        Self { tools: Arc::new(self.tools.only(kept)), definitions: self.definitions.clone(), ..Self::default() }
    }

    /// Which lists are not what they were.
    pub(crate) fn differences(&self, before: &Self) -> Vec<List> {
        let mut changed = Vec::new();
        if !self.tools.same(&before.tools) {
            changed.push(List::Tools);
        }
        if !self.prompts.same(&before.prompts) {
            changed.push(List::Prompts);
        }
        let located = self.resources.same(&before.resources) && self.templates.same(&before.templates);
        if !(located && self.skills.same(&before.skills)) {
            changed.push(List::Resources);
        }
        changed
    }
}

/// A list of these items: that of before, if it was made of the same.
fn made<T>(items: &Items, before: Option<(&Arc<T>, &Items)>, make: impl Fn(&[Box<RawValue>]) -> T) -> Arc<T> {
    match before {
        Some((made, from)) if Arc::ptr_eq(from, items) => Arc::clone(made),
        _ => Arc::new(make(items)),
    }
}

fn or_none(items: Result<Items, CatalogueError>, errors: &mut Vec<CatalogueError>) -> Items {
    items.unwrap_or_else(|error| {
        errors.push(error);
        Items::default()
    })
}

/// Why a server's list could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// The server did not answer.
    #[error(transparent)]
    Call(CallError),
    /// The server answered with an error object; it is for the operator only.
    #[error("the server refused to list its {list}")]
    Refused {
        /// Which list.
        list: &'static str,
        /// The error object, as written.
        error: Box<RawValue>,
    },
    /// The answer is no such list.
    #[error("the server's list of {0} is malformed")]
    Malformed(&'static str),
    /// There is more of something than the limits allow.
    #[error("the server's list of {list} has too many {what}")]
    TooLarge {
        /// Which list.
        list: &'static str,
        /// What there is too much of.
        what: &'static str,
    },
    /// The list was not complete in time.
    #[error("the list of {list} was not complete within {} s", after.as_secs_f32())]
    Timeout {
        /// Which list.
        list: &'static str,
        /// The deadline.
        after: Duration,
    },
}

impl CatalogueError {
    /// The stable code a client finds in the error's `data`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Call(error) => error.code(),
            Self::Refused { .. } => "server-list-refused",
            Self::Malformed(_) => "server-protocol",
            Self::TooLarge { .. } => "server-list-too-large",
            Self::Timeout { .. } => "server-timeout",
        }
    }
}
