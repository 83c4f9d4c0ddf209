//! Skills (SEP-2640): instructions with files, each known by the URI of its `SKILL.md`. An entry holds the digest of every file, so
//! who agrees to an entry agrees to what is in them.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Bound::{Included, Unbounded},
};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{OddItem, Remedy, Shown};
use crate::{
    definition::{Defined, Definition},
    hygiene::is_dirty,
    object::{Members, items},
};

/// One skill.
#[derive(Clone, Debug)]
pub(crate) struct Skill {
    /// The server's own URI of its `SKILL.md`.
    pub(crate) uri: Box<str>,
    /// As it came, if it was clean.
    pub(crate) definition: Box<RawValue>,
    /// All that the server said of it.
    pub(crate) said: Defined,
    /// By the server's own URI; nothing is known of those of a skill that is made anew each time.
    files: HashMap<Box<str>, File>,
}

/// What the entry of a skill says of the bytes of a file.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct File {
    digest: Box<str>,
    size: u64,
}

/// The skills of one server: no two have the same URI.
#[derive(Clone, Debug, Default)]
pub(crate) struct SkillList {
    skills: Vec<Skill>,
    odd: Vec<OddItem>,
    by_uri: HashMap<Box<str>, usize>,
    /// By directory, with the slash at its end.
    by_root: HashMap<Box<str>, usize>,
    /// Every `SKILL.md` and every file.
    paths: BTreeSet<Box<str>>,
}

impl SkillList {
    pub(super) fn of(definitions: &[Box<RawValue>], shown: Shown<'_>) -> Self {
        let mut found = Self::default();
        for (position, definition) in definitions.iter().enumerate() {
            let Some(shown) = shown(LIST, definition) else { continue };
            match Skill::read(definition, &shown) {
                Ok(skill) if !found.by_uri.contains_key(&skill.uri) => found.add(skill),
                Ok(_) => found.odd.push(left_out(position, "its URI is already taken")),
                Err(reason) => found.odd.push(left_out(position, reason)),
            }
        }
        found
    }

    /// In the server's order.
    pub(crate) fn skills(&self) -> &[Skill] {
        &self.skills
    }

    pub(crate) fn odd(&self) -> &[OddItem] {
        &self.odd
    }

    /// The skill whose `SKILL.md` has this URI.
    pub(crate) fn find(&self, uri: &str) -> Option<&Skill> {
        self.by_uri.get(uri).map(|index| &self.skills[*index])
    }

    /// What entries say of a file: one that is of a skill within another is in both.
    pub(crate) fn files<'a>(&'a self, uri: &'a str) -> impl Iterator<Item = &'a File> {
        self.around(uri).filter_map(move |skill| skill.files.get(uri))
    }

    /// The skills in whose directories this is, be it one of their files, a directory, or something that they do not name.
    pub(crate) fn around<'a>(&'a self, uri: &'a str) -> impl Iterator<Item = &'a Skill> {
        let within = uri.match_indices('/').filter_map(|(slash, _)| self.by_root.get(&uri[..=slash]));
        // The directory itself, without the slash.
        let own = (!self.by_root.is_empty() && !uri.ends_with('/')).then(|| self.by_root.get(&*format!("{uri}/")));
        within.chain(own.flatten()).map(|index| &self.skills[*index])
    }

    /// Whether one of them has a URI that does not begin so.
    pub(crate) fn has_others(&self, scheme: &str) -> bool {
        // They are sorted: what does not begin so is before or after all that does.
        let is_other = |path: Option<&Box<str>>| path.is_some_and(|path| !path.starts_with(scheme));
        is_other(self.paths.first()) || is_other(self.paths.last())
    }

    /// Whether this is a file of a skill, a directory on the way to one, or of a skill whose files nobody knows.
    pub(crate) fn leads_to(&self, uri: &str) -> bool {
        let below = format!("{uri}/");
        self.paths.contains(uri)
            || self
                .paths
                .range::<str, _>((Included(&*below), Unbounded))
                .next()
                .is_some_and(|path| path.starts_with(&below))
            || self.around(uri).any(Skill::is_made_anew)
    }

    /// Those that are kept.
    pub(crate) fn only(&self, kept: impl Fn(&Defined) -> bool) -> Self {
        let mut only = Self { odd: self.odd.clone(), ..Self::default() };
        self.skills.iter().filter(|skill| kept(&skill.said)).for_each(|skill| only.add(skill.clone()));
        only
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        let texts = |list: &Self| -> Vec<_> { list.skills.iter().map(|skill| skill.said.digest).collect() };
        std::ptr::eq(self, other) || texts(self) == texts(other)
    }

    fn add(&mut self, skill: Skill) {
        self.by_uri.insert(skill.uri.clone(), self.skills.len());
        self.by_root.insert(skill.root().into(), self.skills.len());
        self.paths.insert(skill.uri.clone());
        self.paths.extend(skill.files.keys().cloned());
        self.skills.push(skill);
    }
}

impl Skill {
    /// One entry, as it came and as it is `shown`.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub(crate) fn read(definition: &RawValue, shown: &RawValue) -> Result<Self, &'static str> {
        #[derive(Deserialize)]
        struct Entry<'a> {
            uri: String,
            #[serde(borrow)]
            frontmatter: &'a RawValue,
            #[serde(borrow)]
            resources: &'a RawValue,
        }
        Members::of(shown).map_err(|_| "it is no object, or a member is named twice")?;
        let Entry { uri, frontmatter, resources } =
            serde_json::from_str(shown.get()).map_err(|_| "it has no uri, no frontmatter or no resources")?;
        let frontmatter = Members::of(frontmatter).map_err(|_| "its frontmatter is no object, or names one twice")?;
        let (name, description) = (frontmatter.string("name"), frontmatter.string("description"));
        let (Some(name), Some(_)) = (name, description) else {
            return Err("its frontmatter has no name or description");
        };
        let root = uri.strip_suffix(SKILL_MD).filter(|root| root.contains("://")).ok_or("its URI is of no SKILL.md")?;
        let directory = root.strip_suffix('/').and_then(|root| root.rsplit('/').next());
        if directory != Some(&*name) || name.is_empty() {
            return Err("its directory is not called what it is");
        }
        if !is_plain(root.split_once("://").map_or("", |(_, path)| path).trim_end_matches('/')) {
            return Err("its URI is none that leads to one place");
        }
        let files = match resources.get() {
            r#""dynamic""# => HashMap::new(),
            _ => files(&uri, root, resources)?,
        };
        let said = Definition::of_skill(&uri, definition).into();
        Ok(Self { uri: uri.into(), definition: shown.to_owned(), said, files })
    }
}

impl Skill {
    /// Its directory, with the slash at its end.
    fn root(&self) -> &str {
        self.uri.strip_suffix(SKILL_MD).unwrap_or(&self.uri)
    }

    /// Whether nothing is said of its files, because they are made anew each time.
    pub(crate) fn is_made_anew(&self) -> bool {
        self.files.is_empty()
    }
}

impl File {
    /// What an entry would say of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { digest: digest(bytes).into(), size: bytes.len() as u64 }
    }
}

/// The entry of a skill under other URIs.
pub(crate) fn entry_under(entry: &RawValue, exposed: &dyn Fn(&str) -> String) -> Option<Box<RawValue>> {
    let members = Members::of(entry).ok()?;
    let entry = members.with("uri", &exposed(&members.string("uri")?))?;
    let members = Members::of(&entry).ok()?;
    let Ok(files) = items(members.value("resources")?, MAX_FILES) else { return Some(entry.clone()) };
    let mut renamed = Vec::with_capacity(files.len());
    for file in files {
        let file = Members::of(file).ok()?;
        renamed.push(file.with("uri", &exposed(&file.string("uri")?))?.get().to_owned());
    }
    members.with_raw("resources", &format!("[{}]", renamed.join(",")))
}

/// The files of the skill of this URI, in this directory.
fn files(uri: &str, root: &str, resources: &RawValue) -> Result<HashMap<Box<str>, File>, &'static str> {
    #[derive(Deserialize)]
    struct Listed {
        uri: String,
        digest: String,
        size: u64,
    }
    let mut files = HashMap::new();
    // Two spellings of one name could be two files to whoever checks them, and one to whoever reads them.
    let mut names = HashSet::new();
    for file in items(resources, MAX_FILES).map_err(|_| "its resources are no list, or too many")? {
        let Listed { uri, digest, size } =
            serde_json::from_str(file.get()).map_err(|_| "a file of it has no uri, digest or size")?;
        let name =
            uri.strip_prefix(root).filter(|name| is_plain(name)).ok_or("a file of it is not in its directory")?;
        if !is_digest(&digest) {
            return Err("the digest of a file of it is none");
        }
        if !names.insert(name.to_lowercase()) {
            return Err("a file of it is named twice");
        }
        files.insert(uri.into(), File { digest: digest.into(), size });
    }
    if files.contains_key(uri) { Ok(files) } else { Err("its SKILL.md is not among its files") }
}

/// Whether a path leads down from where it begins, and is spelled in one way only.
fn is_plain(path: &str) -> bool {
    let plain = |segment: &str| {
        let dots = segment.to_ascii_lowercase().replace("%2e", ".");
        !matches!(&*dots, "" | "." | "..") && !dots.contains("%2f") && !dots.contains("%5c")
    };
    path.split('/').all(plain)
        && !path.contains(['?', '#', '\\'])
        && !path.contains(char::is_whitespace)
        && !is_dirty(path)
}

fn digest(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes).iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"));
    format!("sha256:{digits}")
}

fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit))
}

fn left_out(position: usize, reason: &'static str) -> OddItem {
    OddItem { list: LIST, position, reason, remedy: Remedy::LeftOut }
}

pub(super) const LIST: &str = "skills";
const SKILL_MD: &str = "SKILL.md";
/// Of one skill; every host takes 512.
const MAX_FILES: usize = 4096;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use serde_json::{Value, json};

    use super::*;

    const AS_IT_IS: Shown<'static> = &|_, item| Some(item.to_owned());

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).unwrap()
    }

    fn entry() -> Value {
        let (digest, root) = (digest(b"words"), "skill://acme/pdf");
        json!({
            "uri": format!("{root}/SKILL.md"),
            "frontmatter": { "name": "pdf", "description": "d", "x": 1.5 },
            "resources": [
                { "uri": format!("{root}/SKILL.md"), "digest": digest, "size": 5 },
                { "uri": format!("{root}/a/b.md"), "digest": digest, "size": 5, "y": 1 },
            ],
        })
    }

    #[test]
    fn one_odd_skill_costs_only_itself() {
        type Change = fn(&mut Value);
        let changes: [(Change, Option<&str>); 20] = [
            (|_| {}, None),
            (|it| it["resources"] = json!("dynamic"), None),
            (|it| it["resources"] = json!("static"), Some("its resources are no list, or too many")),
            (
                |it| drop(it.as_object_mut().unwrap().remove("resources")),
                Some("it has no uri, no frontmatter or no resources"),
            ),
            (|it| it["uri"] = json!("skill://acme/pdf/README.md"), Some("its URI is of no SKILL.md")),
            (|it| it["uri"] = json!("pdf/SKILL.md"), Some("its URI is of no SKILL.md")),
            (|it| it["uri"] = json!("skill://acme/other/SKILL.md"), Some("its directory is not called what it is")),
            (|it| it["uri"] = json!("skill://acme/../pdf/SKILL.md"), Some("its URI is none that leads to one place")),
            (|it| it["uri"] = json!("skill://%2E%2e/pdf/SKILL.md"), Some("its URI is none that leads to one place")),
            (|it| it["frontmatter"] = json!([]), Some("its frontmatter is no object, or names one twice")),
            (|it| it["frontmatter"]["description"] = json!(1), Some("its frontmatter has no name or description")),
            (
                |it| it["resources"][0]["uri"] = json!("skill://acme/pdf/x.md"),
                Some("its SKILL.md is not among its files"),
            ),
            (
                |it| it["resources"][1]["uri"] = json!("skill://acme/pdfs/b.md"),
                Some("a file of it is not in its directory"),
            ),
            (
                |it| it["resources"][1]["uri"] = json!("skill://acme/pdf/../b.md"),
                Some("a file of it is not in its directory"),
            ),
            (
                |it| it["resources"][1]["uri"] = json!("skill://acme/pdf/%2e./b"),
                Some("a file of it is not in its directory"),
            ),
            (
                |it| it["resources"][1]["uri"] = json!("skill://acme/pdf/a#b"),
                Some("a file of it is not in its directory"),
            ),
            (
                |it| it["resources"][1]["uri"] = json!("skill://acme/pdf/a\u{200b}"),
                Some("a file of it is not in its directory"),
            ),
            (|it| it["resources"][1]["uri"] = json!("skill://acme/pdf/skill.MD"), Some("a file of it is named twice")),
            (|it| it["resources"][1]["digest"] = json!("sha256:0"), Some("the digest of a file of it is none")),
            (|it| it["resources"][1]["size"] = json!(-1), Some("a file of it has no uri, digest or size")),
        ];
        for (change, reason) in changes {
            let mut changed = entry();
            change(&mut changed);
            let list = SkillList::of(&[raw(&changed)], AS_IT_IS);
            assert_eq!(list.odd().first().map(|odd| odd.reason), reason, "{changed}");
            assert_eq!(list.skills().len(), usize::from(reason.is_none()), "{changed}");
        }
        let twice = SkillList::of(&[raw(&entry()), raw(&entry())], AS_IT_IS);
        assert_eq!(twice.odd()[0].reason, "its URI is already taken");
    }

    #[test]
    fn an_entry_says_what_is_in_a_file_and_which_are_its() {
        let list = SkillList::of(&[raw(&entry())], AS_IT_IS);
        let fits = |uri: &str, bytes: &[u8]| list.files(uri).map(|file| *file == File::of(bytes)).collect::<Vec<_>>();
        assert_eq!(fits("skill://acme/pdf/a/b.md", b"words"), [true]);
        assert_eq!(fits("skill://acme/pdf/a/b.md", b"worse"), [false]);
        assert!(fits("skill://acme/pdf/a/c.md", b"words").is_empty());
        for (uri, leads) in [("skill://acme", true), ("skill://acme/pdf/a", true), ("skill://acme/pdf/c", false)] {
            assert_eq!(list.leads_to(uri), leads, "{uri}");
        }
        let around = |uri: &str| list.around(uri).count();
        let inside = ["skill://acme/pdf", "skill://acme/pdf/SKILL.md", "skill://acme/pdf/x"];
        assert_eq!(inside.map(around), [1; 3]);
        assert_eq!(["skill://acme", "skill://acme/pdfs", "skill://acme/pd"].map(around), [0; 3]);
    }

    #[test]
    fn all_uris_of_an_entry_are_renamed_and_nothing_else() {
        let renamed = entry_under(&raw(&entry()), &|own| own.replace("skill://", "skill://docs/")).unwrap();
        let expected = entry().to_string().replace("skill://", "skill://docs/");
        assert_eq!(renamed.get(), expected);
    }

    #[test]
    fn a_directory_of_many_files_in_skills_within_skills_is_read_in_little_time() {
        let digest = digest(b"words");
        let mut root = "skill://acme".to_owned();
        let nested = (0..8).map(|depth| {
            root += &format!("/s{depth}");
            let file = |name: &str| json!({ "uri": format!("{root}/{name}"), "digest": digest, "size": 5 });
            let mut files: Vec<Value> = (0..4_000).map(|number| file(&format!("d/{number}"))).collect();
            files.push(file("SKILL.md"));
            let frontmatter = json!({ "name": format!("s{depth}"), "description": "d" });
            raw(&json!({ "uri": format!("{root}/SKILL.md"), "frontmatter": frontmatter, "resources": files }))
        });
        let definitions: Vec<_> = nested.collect();
        let list = SkillList::of(&definitions, AS_IT_IS);
        assert_eq!((list.skills().len(), list.around(&root).count()), (8, 8));
        let began = std::time::Instant::now();
        let leads = (0..5_000).filter(|number| list.leads_to(&format!("{root}/d/{number}"))).count();
        assert_eq!(leads, 4_000);
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
