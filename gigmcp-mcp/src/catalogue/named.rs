//! Tools and prompts: known by a name, which clients see with that of the server.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use serde_json::value::RawValue;

use super::{
    OddItem, Remedy, Shown,
    mend::{Subject, mend},
};
use crate::{
    check::{Checks, ToolSchemas},
    definition::{Defined, Definition, DefinitionKind},
    guard::Hints,
    hygiene::folded,
    meta::estimated_tokens,
    mirror::Mirrored,
    name::{Naming, ServerId},
    object::{Members, is_object},
};

/// One tool or prompt, as clients see it.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name clients use.
    pub exposed: Box<str>,
    /// The server's own name for it.
    pub name: Box<str>,
    /// The server's definition with `exposed` as its name. Every other byte is as it came, if it was not odd.
    pub definition: Box<RawValue>,
    /// All that the server said of it, under its own name.
    pub said: Arc<Definition>,
    /// Whether the tool can only be called as a task of the older era, which is done for clients.
    pub(crate) needs_task: bool,
    /// Which arguments are sent in headers too.
    pub(crate) mirrored: Arc<[Mirrored]>,
    /// What the server says itself that makes things stricter.
    pub(crate) hints: Hints,
}

/// The tools, or the prompts, of one server: no two have the same exposed name.
#[derive(Debug, Default)]
pub struct NamedList {
    items: Vec<Named>,
    odd: Vec<OddItem>,
    by_exposed: HashMap<Box<str>, usize>,
    by_name: HashMap<Box<str>, usize>,
    tokens: OnceLock<Vec<usize>>,
    checks: Checks,
}

type Mended = (Box<RawValue>, Option<&'static str>);

impl NamedList {
    /// The tools of these definitions.
    #[must_use]
    pub fn tools(server: &ServerId, definitions: &[Box<RawValue>]) -> Self {
        Self::tools_named(&Naming::of(server), definitions, AS_IT_IS)
    }

    pub(crate) fn tools_named(naming: &Naming, definitions: &[Box<RawValue>], shown: Shown<'_>) -> Self {
        Self::of("tools", DefinitionKind::Tool, naming, (definitions, shown), mend_tool)
    }

    /// The prompts of these definitions.
    #[must_use]
    pub fn prompts(server: &ServerId, definitions: &[Box<RawValue>]) -> Self {
        Self::prompts_named(&Naming::of(server), definitions, AS_IT_IS)
    }

    pub(crate) fn prompts_named(naming: &Naming, definitions: &[Box<RawValue>], shown: Shown<'_>) -> Self {
        let mending = |definition: &RawValue| mend(Subject::Prompt, definition);
        Self::of("prompts", DefinitionKind::Prompt, naming, (definitions, shown), mending)
    }

    fn of(
        list: &'static str,
        kind: DefinitionKind,
        naming: &Naming,
        (definitions, shown): (&[Box<RawValue>], Shown<'_>),
        mending: fn(&RawValue) -> Result<Mended, &'static str>,
    ) -> Self {
        let mut found = Self::default();
        let mut fault = |position, reason, remedy| found.odd.push(OddItem { list, position, reason, remedy });
        let mut named = Vec::new();
        let (mut names, mut hints) = (HashSet::new(), HashMap::new());
        for (position, definition) in definitions.iter().enumerate() {
            // What is pinned is what the server wrote, and not what is shown of it.
            let name = match read_name(definition) {
                Ok(name) => name,
                Err(reason) => {
                    fault(position, reason, Remedy::LeftOut);
                    continue;
                }
            };
            let Some(shown) = shown(list, definition) else { continue };
            match mending(&shown).map(|mended| (name, mended)) {
                Ok((name, _)) if names.contains(&name) => {
                    fault(position, "its name is already taken", Remedy::LeftOut);
                }
                Ok((name, (definition, odd))) => {
                    odd.into_iter().for_each(|reason| fault(position, reason, Remedy::Mended));
                    names.insert(name.clone());
                    hints.insert(name.clone(), Hints::of(&definitions[position]));
                    let said = Arc::new(Definition::new(kind, &name, &definitions[position]));
                    named.push((position, name, definition, said));
                }
                Err(reason) => fault(position, reason, Remedy::LeftOut),
            }
        }
        without_lookalikes(&mut named, |position| {
            fault(position, "its name looks like that of another", Remedy::LeftOut);
        });
        // Names that fit are given away first, so that a mended one can never take them.
        let mut taken: HashSet<String> = named.iter().filter_map(|(_, name, ..)| naming.plain(name)).collect();
        for (_, name, definition, said) in named {
            let exposed = naming.plain(&name).unwrap_or_else(|| {
                (0..)
                    .map(|attempt| naming.mended(&name, attempt))
                    .find(|exposed| naming.is_free(exposed) && taken.insert(exposed.clone()))
                    .expect("there are more names than items")
            });
            let members = Members::of(&definition).expect("it was read before");
            let definition = members.with("name", &exposed).expect("it has a name");
            let without = without_need_of_task(&definition);
            let needs_task = without.is_some();
            let definition = without.unwrap_or(definition);
            let mirrored = Mirrored::of(&definition).into();
            let hints = hints.get(&name).copied().unwrap_or_default();
            found.add(Named {
                exposed: exposed.into(),
                name: name.into(),
                definition,
                said,
                needs_task,
                mirrored,
                hints,
            });
        }
        found
    }

    /// In the server's order.
    #[must_use]
    pub fn items(&self) -> &[Named] {
        &self.items
    }

    /// What is not as it should be.
    #[must_use]
    pub fn odd(&self) -> &[OddItem] {
        &self.odd
    }

    /// What clients know by this name.
    #[must_use]
    pub fn find(&self, exposed: &str) -> Option<&Named> {
        self.by_exposed.get(exposed).map(|&index| &self.items[index])
    }

    /// What the server itself knows by this name.
    pub(crate) fn find_own(&self, name: &str) -> Option<&Named> {
        self.by_name.get(name).map(|&index| &self.items[index])
    }

    /// How much of a model's context each definition takes. Counted once.
    pub(crate) fn tokens(&self) -> &[usize] {
        self.tokens.get_or_init(|| self.items.iter().map(|item| estimated_tokens(item.definition.get())).collect())
    }

    /// What the tool of this name, the server's own, takes and gives.
    pub(crate) fn schemas(&self, name: &str) -> Option<Arc<ToolSchemas>> {
        let named = || self.items.iter().find(|item| &*item.name == name);
        self.checks.of(name, || Some(&*named()?.definition))
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        let text = |list: &Self, index: usize| list.items[index].definition.get().to_owned();
        std::ptr::eq(self, other)
            || self.items.len() == other.items.len()
                && (0..self.items.len()).all(|index| text(self, index) == text(other, index))
    }

    /// Those that are kept, under the same names.
    pub(crate) fn only(&self, kept: impl Fn(&Defined) -> bool) -> Self {
        let mut only = Self { odd: self.odd.clone(), ..Self::default() };
        self.items.iter().filter(|item| kept(&item.said)).for_each(|item| only.add(item.clone()));
        only
    }

    fn add(&mut self, item: Named) {
        self.by_exposed.insert(item.exposed.clone(), self.items.len());
        self.by_name.insert(item.name.clone(), self.items.len());
        self.items.push(item);
    }
}

/// Keeps one of several names that look alike: one of ASCII, which people type, before any other, and then the first.
fn without_lookalikes(named: &mut Vec<(usize, String, Box<RawValue>, Defined)>, mut fault: impl FnMut(usize)) {
    let mut first: HashMap<String, usize> = HashMap::new();
    for ascii in [true, false] {
        for (position, name, ..) in named.iter().filter(|(_, name, ..)| name.is_ascii() == ascii) {
            first.entry(folded(name)).or_insert(*position);
        }
    }
    named.retain(|(position, name, ..)| {
        let kept = first[&folded(name)] == *position;
        if !kept {
            fault(*position);
        }
        kept
    });
}

/// The definition of a tool that can only be called as a task, as one that can be called. A client that believed the other
/// would not call it: here, tasks of the older era are no capability.
fn without_need_of_task(definition: &RawValue) -> Option<Box<RawValue>> {
    let members = Members::of(definition).ok()?;
    let execution = Members::of(members.value("execution").filter(|execution| is_object(execution))?).ok()?;
    let needed = execution.string("taskSupport").as_deref() == Some("required");
    needed.then(|| members.set("execution", execution.set("taskSupport", r#""optional""#).get()))
}

fn read_name(definition: &RawValue) -> Result<String, &'static str> {
    if !is_object(definition) {
        return Err("it is not an object");
    }
    let members = Members::of(definition).map_err(|_| "a member is named twice")?;
    let name = members.string("name").ok_or("it has no name")?;
    match name.is_empty() {
        true => Err("its name is empty"),
        false => Ok(name.into_owned()),
    }
}

/// A tool that every client can read. Strict ones lose the whole list to a single schema.
fn mend_tool(definition: &RawValue) -> Result<Mended, &'static str> {
    let (whole, otherwise) = mend(Subject::Tool, definition)?;
    let members = Members::of(&whole).map_err(|_| "a member is named twice")?;
    let (mut definition, mut odd) = match members.value("inputSchema") {
        None => (members.set("inputSchema", ANY_OBJECT), Some("it has no inputSchema")),
        Some(schema) if schema.get() == "true" => {
            (members.set("inputSchema", ANY_OBJECT), Some("its inputSchema is not an object"))
        }
        Some(schema) if is_object(schema) => {
            let schema = Members::of(schema).map_err(|_| "its inputSchema names a member twice")?;
            match schema.value("type") {
                Some(_) => (whole.clone(), otherwise),
                None => {
                    let schema = schema.set("type", r#""object""#);
                    (members.set("inputSchema", schema.get()), Some("its inputSchema does not say that it is one"))
                }
            }
        }
        Some(_) => return Err("its inputSchema is not an object"),
    };
    if members.value("outputSchema").is_some_and(|schema| !is_object(schema)) {
        let mended = Members::of(&definition).map_err(|_| "a member is named twice")?.without("outputSchema");
        (definition, odd) = (mended, Some("its outputSchema is not an object"));
    }
    Ok((definition, odd))
}

const AS_IT_IS: Shown<'static> = &|_, item| Some(item.to_owned());
const ANY_OBJECT: &str = r#"{"type":"object"}"#;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;
    use crate::object::quoted;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn server() -> ServerId {
        "test".parse().unwrap()
    }

    #[test]
    fn one_odd_tool_costs_only_itself() {
        for (case, text, reason) in [
            ("no object", r#""tool""#, Some("it is not an object")),
            ("no name", r#"{"inputSchema":{}}"#, Some("it has no name")),
            ("name is a number", r#"{"name":1,"inputSchema":{}}"#, Some("it has no name")),
            ("empty name", r#"{"name":"","inputSchema":{}}"#, Some("its name is empty")),
            ("accepts nothing", r#"{"name":"a","inputSchema":false}"#, Some("its inputSchema is not an object")),
            ("two names", r#"{"name":"a","name":"b","inputSchema":{}}"#, Some("a member is named twice")),
            ("same as a neighbour", r#"{"name":"good","inputSchema":{}}"#, Some("its name is already taken")),
            (
                "in capitals",
                r#"{"name":"Good","inputSchema":{"type":"object"}}"#,
                Some("its name looks like that of another"),
            ),
            (
                "in Cyrillic",
                r#"{"name":"g\u043e\u043ed","inputSchema":{"type":"object"}}"#,
                Some("its name looks like that of another"),
            ),
            (
                "with what nobody sees",
                r#"{"name":"go\u200bod","inputSchema":{"type":"object"}}"#,
                Some("its name looks like that of another"),
            ),
            ("whole", r#"{"name":"a","inputSchema":{"type":"object"}}"#, None),
        ] {
            let good = raw(r#"{"name":"good","inputSchema":{"type":"object"}}"#);
            let tools = NamedList::tools(&server(), &[good, raw(text)]);
            let found = tools.odd().first().map(|odd| (odd.reason, odd.remedy));
            assert_eq!(found, reason.map(|reason| (reason, Remedy::LeftOut)), "{case}");
            assert!(tools.find("test_good").is_some(), "{case}");
            assert_eq!(tools.items().len(), if reason.is_some() { 1 } else { 2 }, "{case}");
        }
    }

    #[test]
    fn an_odd_tool_that_can_be_mended_is_offered() {
        let any = r#"{"type":"object"}"#;
        for (text, expected) in [
            (r#"{"name":"a"}"#.to_owned(), format!(r#"{{"inputSchema":{any},"name":"test_a"}}"#)),
            (
                r#"{"x":1.0,"inputSchema":true,"name":"a"}"#.to_owned(),
                format!(r#"{{"x":1.0,"inputSchema":{any},"name":"test_a"}}"#),
            ),
            (
                r#"{"name":"a","inputSchema":{ "b":1.0}}"#.to_owned(),
                r#"{"name":"test_a","inputSchema":{"type":"object","b":1.0}}"#.to_owned(),
            ),
            (
                r#"{"name":"a","inputSchema":{ }}"#.to_owned(),
                r#"{"name":"test_a","inputSchema":{"type":"object"}}"#.to_owned(),
            ),
            (
                format!(r#"{{"name":"a","outputSchema":true,"inputSchema":{any}}}"#),
                format!(r#"{{"name":"test_a","inputSchema":{any}}}"#),
            ),
        ] {
            let tools = NamedList::tools(&server(), &[raw(&text)]);
            assert_eq!(tools.find("test_a").unwrap().definition.get(), expected);
            assert!(tools.odd().iter().all(|odd| odd.remedy == Remedy::Mended) && tools.odd().len() == 1);
        }
    }

    #[test]
    fn a_definition_changes_in_its_name_only() {
        let definition = r#"{ "x-vendor":[1e400, 1.0] ,"name" : "do" ,"inputSchema":{"b":1,"type":"object","a":null},"title":"\u00e9" }"#;
        let renamed = definition.replace(r#""do""#, r#""test_do""#);
        let tools = NamedList::tools(&server(), &[raw(definition)]);
        assert_eq!(tools.find("test_do").unwrap().definition.get(), renamed);
        let prompts = NamedList::prompts(&server(), &[raw(definition)]);
        assert_eq!(prompts.find("test_do").unwrap().definition.get(), renamed);
    }

    #[test]
    fn exposed_names_are_distinct_valid_and_stable() {
        // A pseudo-random walk over names that are long, odd, alike after mending, or look mended.
        let alphabet: Vec<char> = "ab_.-/ \u{e9}\u{202e}7Z".chars().collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % bound
        };
        let naming = Naming::of(&server());
        let mut names: HashSet<String> = HashSet::new();
        for _ in 0..2_000 {
            let length = [1, 2, 3, 57, 58, 59, 60, 200][next(8)];
            names.insert((0..length).map(|_| alphabet[next(alphabet.len())]).collect());
        }
        // What mending makes of a name, claimed by a tool that is really called so.
        let claimed: Vec<String> = names
            .iter()
            .filter(|name| naming.plain(name).is_none())
            .take(50)
            .map(|name| naming.mended(name, 0)["test_".len()..].to_owned())
            .collect();
        names.extend(claimed);
        // Those that look alike are left out, which is another test's.
        let mut looks = HashSet::new();
        names.retain(|name| looks.insert(folded(name)));
        let definitions: Vec<_> =
            names.iter().map(|name| raw(&format!(r#"{{"name":{},"inputSchema":{{}}}}"#, quoted(name)))).collect();
        for read in [NamedList::tools, NamedList::prompts] {
            let list = read(&server(), &definitions);
            assert_eq!(list.items().len(), names.len());
            let exposed: HashSet<&str> = list.items().iter().map(|item| &*item.exposed).collect();
            assert_eq!(exposed.len(), names.len(), "no two share a name");
            for item in list.items() {
                assert!(item.exposed.len() <= crate::MAX_NAME_LENGTH, "{item:?}");
                assert!(item.exposed.starts_with("test_"), "{item:?}");
                assert_eq!(list.find(&item.exposed).unwrap().name, item.name);
                if let Some(plain) = naming.plain(&item.name) {
                    assert_eq!(&*item.exposed, plain, "a name that fits is never changed");
                }
            }
            for (one, two) in list.items().iter().zip(read(&server(), &definitions).items()) {
                assert_eq!(one.exposed, two.exposed);
            }
        }
    }
}
