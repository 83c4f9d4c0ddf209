//! Resources and templates of resources: known by a URI, which clients see unchanged.

use std::{cell::Cell, collections::HashMap, sync::Arc};

use serde_json::value::RawValue;

use super::{
    OddItem, Remedy, Shown,
    mend::{Subject, mend},
    template::Template,
};
use crate::definition::{Defined, Definition, DefinitionKind};
use crate::object::{Members, is_object, quoted, string};

/// One resource, or one template of resources.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// Its URI, or its template of URIs.
    pub(crate) uri: Box<str>,
    /// As it came, if it was not odd.
    pub(crate) definition: Box<RawValue>,
    /// All that the server said of it, if it said anything in words.
    pub(crate) said: Option<Defined>,
    template: Option<Template>,
}

/// Where a definition says where it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Uri,
    Template,
}

impl Place {
    fn member(self) -> &'static str {
        match self {
            Self::Uri => "uri",
            Self::Template => "uriTemplate",
        }
    }
}

/// The resources, or the templates, of one server: no two have the same URI.
#[derive(Debug, Default)]
pub(crate) struct LocatedList {
    items: Vec<Located>,
    odd: Vec<OddItem>,
    by_uri: HashMap<Box<str>, usize>,
}

impl LocatedList {
    pub(super) fn of(list: &'static str, place: Place, definitions: &[Box<RawValue>], shown: Shown<'_>) -> Self {
        let mut found = Self::default();
        for (position, definition) in definitions.iter().enumerate() {
            let read = match read_uri(place, definition) {
                Ok(_) => match shown(list, definition) {
                    Some(shown) => read(place, definition, &shown),
                    None => continue,
                },
                Err(reason) => Err(reason),
            };
            let (reason, remedy) = match read {
                Err(reason) => (Some(reason), Remedy::LeftOut),
                Ok((item, _)) if found.by_uri.contains_key(&item.uri) => {
                    (Some("its URI is already taken"), Remedy::LeftOut)
                }
                Ok((item, odd)) => {
                    found.add(item);
                    (odd, Remedy::Mended)
                }
            };
            found.odd.extend(reason.map(|reason| OddItem { list, position, reason, remedy }));
        }
        found
    }

    /// In the server's order.
    pub(crate) fn items(&self) -> &[Located] {
        &self.items
    }

    pub(crate) fn odd(&self) -> &[OddItem] {
        &self.odd
    }

    /// Whether it holds exactly this URI or template.
    pub(crate) fn has(&self, uri: &str) -> bool {
        self.by_uri.contains_key(uri)
    }

    /// Whether one of the templates may expand to this URI.
    pub(crate) fn matches(&self, uri: &str) -> bool {
        self.matching(uri).is_some()
    }

    /// The first template that may expand to this URI.
    pub(crate) fn matching(&self, uri: &str) -> Option<&Located> {
        self.first(uri, &Cell::new(MAX_WORK), TooLong::FitsNot)
    }

    /// The same, where one that takes too long to compare counts as one that may.
    pub(crate) fn matching_or_unknown(&self, uri: &str) -> Option<&Located> {
        self.first(uri, &Cell::new(MAX_WORK), TooLong::Fits)
    }

    /// The same, where no more than this `work` is done for several questions together.
    pub(crate) fn first(&self, uri: &str, work: &Cell<usize>, too_long: TooLong) -> Option<&Located> {
        self.items.iter().find(|item| {
            let Some(template) = &item.template else { return false };
            let costs = (item.uri.len() + BESIDE).saturating_mul(uri.len() + BESIDE);
            work.set(work.get().saturating_sub(costs));
            if work.get() == 0 { too_long == TooLong::Fits } else { template.matches(uri) }
        })
    }

    /// Those that are kept.
    pub(crate) fn only(&self, kept: impl Fn(&Defined) -> bool) -> Self {
        let mut only = Self { odd: self.odd.clone(), ..Self::default() };
        let items = self.items.iter().filter(|item| item.said.as_ref().is_none_or(&kept));
        items.for_each(|item| only.add(item.clone()));
        only
    }

    fn add(&mut self, item: Located) {
        self.by_uri.insert(item.uri.clone(), self.items.len());
        self.items.push(item);
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || self.items.len() == other.items.len()
                && self.items.iter().zip(&other.items).all(|(one, two)| one.definition.get() == two.definition.get())
    }
}

/// Bytes of URI times bytes of template that are compared for one question; against many long templates, which would keep a
/// thread busy for minutes.
const MAX_WORK: usize = 32 << 20;
/// Bytes that each costs beside its own, so that very many short ones are not compared for nothing.
const BESIDE: usize = 16;

/// What a template counts as that would take too long to compare.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TooLong {
    /// As one that fits.
    Fits,
    /// As one that does not.
    FitsNot,
}

impl Located {
    /// The definition under another URI.
    pub(crate) fn under(&self, uri: &str) -> Box<RawValue> {
        let member = if self.template.is_some() { Place::Template } else { Place::Uri }.member();
        let members = Members::of(&self.definition).expect("it was read before");
        members.with(member, uri).expect("it has one")
    }
}

fn read_uri(place: Place, definition: &RawValue) -> Result<Box<str>, &'static str> {
    if !is_object(definition) {
        return Err("it is not an object");
    }
    let members = Members::of(definition).map_err(|_| "a member is named twice")?;
    let uri = members.string(place.member()).filter(|uri| !uri.is_empty()).ok_or("it has no URI")?;
    Ok(uri.into())
}

/// What is pinned is what the server wrote, and not what is `shown` of it.
fn read(
    place: Place,
    definition: &RawValue,
    shown: &RawValue,
) -> Result<(Located, Option<&'static str>), &'static str> {
    let uri = read_uri(place, definition)?;
    let template = (place == Place::Template).then(|| Template::parse(&uri).ok_or("its template cannot be read"));
    let said = match place {
        Place::Uri => Definition::of_resource(&uri, definition),
        Place::Template => Some(Definition::new(DefinitionKind::Template, &uri, definition)),
    };
    let said = said.map(Arc::new);
    let (mut definition, mut odd) = mend(Subject::Resource, shown)?;
    let members = Members::of(&definition).map_err(|_| "a member is named twice")?;
    if members.value("name").is_none_or(|name| string(name).is_none()) {
        definition = members.set("name", &quoted(&uri));
        odd = Some("it has no name");
    }
    let members = Members::of(&definition).map_err(|_| "a member is named twice")?;
    let size = members.value("size");
    let mended = size.filter(|size| size.get().parse::<u64>().is_err()).map(|_| members.without("size"));
    if let Some(mended) = mended {
        (definition, odd) = (mended, Some("its size is no number of bytes"));
    }
    Ok((Located { uri, definition, said, template: template.transpose()? }, odd))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    const AS_IT_IS: Shown<'static> = &|_, item| Some(item.to_owned());

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn one_odd_resource_costs_only_itself() {
        let good = r#"{ "uri":"a:good","name":"n","size":12, "x":1.0}"#;
        for (text, reason, offered) in [
            ("1", Some("it is not an object"), None),
            (r#"{"name":"n"}"#, Some("it has no URI"), None),
            (r#"{"uri":7,"name":"n"}"#, Some("it has no URI"), None),
            (r#"{"uri":"","name":"n"}"#, Some("it has no URI"), None),
            (r#"{"uri":"a:b","uri":"a:c","name":"n"}"#, Some("a member is named twice"), None),
            (r#"{"uri":"a:good","name":"n"}"#, Some("its URI is already taken"), None),
            (r#"{"uri":"a:b"}"#, Some("it has no name"), Some(r#"{"name":"a:b","uri":"a:b"}"#)),
            (
                r#"{"uri":"a:b","name":"n","size":"12"}"#,
                Some("its size is no number of bytes"),
                Some(r#"{"uri":"a:b","name":"n"}"#),
            ),
            (r#"{"uri":"a:b","name":"n" }"#, None, Some(r#"{"uri":"a:b","name":"n" }"#)),
        ] {
            let list = LocatedList::of("resources", Place::Uri, &[raw(good), raw(text)], AS_IT_IS);
            assert_eq!(list.odd().first().map(|odd| odd.reason), reason, "{text}");
            assert_eq!(list.items()[0].definition.get(), good);
            assert_eq!(list.items().get(1).map(|item| item.definition.get()), offered, "{text}");
        }
    }

    #[test]
    fn templates_are_known_by_what_they_expand_to() {
        let templates =
            [raw(r#"{"uriTemplate":"a://{id}/data","name":"n"}"#), raw(r#"{"uriTemplate":"b:{","name":"n"}"#)];
        let list = LocatedList::of("resourceTemplates", Place::Template, &templates, AS_IT_IS);
        assert!(list.matches("a://7/data") && !list.matches("a://7/8/data") && list.has("a://{id}/data"));
        assert_eq!(list.odd()[0].reason, "its template cannot be read");
        assert_eq!(list.items()[0].under("x+a").get(), r#"{"uriTemplate":"x+a","name":"n"}"#);
    }

    #[test]
    fn many_long_templates_do_not_take_long() {
        let long = format!("{{+x}}{}", "a".repeat(4000));
        let hostile = (0..500).map(|number| raw(&format!(r#"{{"uriTemplate":"{long}{{+y}}{number}","name":"n"}}"#)));
        let mut templates: Vec<_> = hostile.collect();
        templates.insert(0, raw(r#"{"uriTemplate":"a{+z}b","name":"n"}"#));
        let list = LocatedList::of("resourceTemplates", Place::Template, &templates, AS_IT_IS);
        let began = std::time::Instant::now();
        assert!(!list.matches(&"a".repeat(8000)));
        assert!(list.matches(&format!("{}b", "a".repeat(7000))), "twin: the first is still looked at");
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:?}", began.elapsed());
    }
}
