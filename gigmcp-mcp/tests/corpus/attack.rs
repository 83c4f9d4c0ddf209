//! The file of an attack.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// One attack, and what must come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attack {
    /// Rows of the table stand in this order.
    pub(crate) id: String,
    pub(crate) attack: String,
    /// Where it was published.
    pub(crate) source: String,
    /// What is done about it.
    pub(crate) outcome: String,
    /// What is not.
    #[serde(default)]
    pub(crate) limit: String,
    pub(crate) servers: Vec<Server>,
    #[serde(default)]
    pub(crate) flow: String,
    pub(crate) steps: Vec<Step>,
    /// What is found, by server; exactly.
    #[serde(default)]
    pub(crate) findings: BTreeMap<String, BTreeMap<String, u64>>,
    #[serde(default)]
    pub(crate) shadowings: Vec<String>,
    /// How the twin's text differs: each of these is replaced by what stands beside it. Without any, nothing was refused.
    #[serde(default)]
    pub(crate) without: Vec<(String, String)>,
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) instructions: Option<Box<RawValue>>,
    /// Results by method; of `tools/call` also by `tools/call NAME`.
    pub(crate) answers: BTreeMap<String, Box<RawValue>>,
    /// Results of the process after the first, which ends before the second step: a rug is pulled.
    #[serde(default)]
    pub(crate) then: BTreeMap<String, Box<RawValue>>,
    /// Errors by method.
    #[serde(default)]
    pub(crate) errors: BTreeMap<String, Box<RawValue>>,
    /// Messages that come before the answer to a `tools/call`; `$TOKEN` is the progress token.
    #[serde(default)]
    pub(crate) says: Vec<Box<RawValue>>,
    #[serde(default)]
    pub(crate) policy: Policy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    pub(crate) strict_results: bool,
    pub(crate) calls_per_minute: Option<u32>,
    pub(crate) text_bytes: Option<usize>,
    pub(crate) base64_bytes: Option<usize>,
    pub(crate) items: Option<usize>,
    pub(crate) labels: Vec<String>,
    /// What it said first is what its owner has agreed to.
    pub(crate) pinned: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) method: String,
    #[serde(default)]
    pub(crate) params: Option<Box<RawValue>>,
    #[serde(default = "once")]
    pub(crate) times: usize,
    /// Must be in what the client gets; in the twin's as well.
    #[serde(default)]
    pub(crate) shows: Vec<String>,
    /// Must not be in it. In the twin's it may be.
    #[serde(default)]
    pub(crate) hides: Vec<String>,
    /// Only of the attack: must be in it.
    #[serde(default)]
    pub(crate) says: Vec<String>,
    /// How many requests of the server reach the client.
    #[serde(default)]
    pub(crate) questions: Option<usize>,
    /// Whether the server hears of it.
    #[serde(default = "yes")]
    pub(crate) heard: bool,
}

fn once() -> usize {
    1
}

fn yes() -> bool {
    true
}

impl Attack {
    pub(crate) fn all() -> Vec<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/attacks");
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<Self> = files.map(|path| Self::read(&fs::read_to_string(&path).unwrap(), &path)).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        assert!(all.len() > 25, "the corpus is there");
        assert!(all.windows(2).all(|two| two[0].id != two[1].id), "no two have the same id");
        all
    }

    fn read(text: &str, path: &Path) -> Self {
        let attack: Self = serde_json::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { text: text.to_owned(), ..attack }
    }

    /// The same with only the attack removed. None if there is nothing that was removed or refused.
    pub(crate) fn twin(&self) -> Option<Self> {
        let (head, rest) = self.text.split_once(r#""servers""#).unwrap();
        let (body, without) = rest.split_once(r#""without""#).unwrap_or((rest, ""));
        let mut body = body.to_owned();
        for (from, to) in &self.without {
            let (from, to) = (written(from), written(to));
            assert!(body.contains(&from), "{}: {from} is not in it", self.id);
            body = body.replace(&from, &to);
        }
        let twin = || Self::read(&format!(r#"{head}"servers"{body}"without"{without}"#), Path::new(&self.id));
        (!self.without.is_empty()).then(twin)
    }
}

/// As it stands in the file, where everything but ASCII is an escape.
fn written(text: &str) -> String {
    let mut written = String::new();
    for character in text.chars() {
        match character {
            ' '..='~' => written.push(character),
            _ => character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| written += &format!("\\u{unit:04x}")),
        }
    }
    written
}

/// JSON with every escape undone that can be, so that texts can be looked for in it.
pub(crate) fn plain(json: &str) -> String {
    serde_json::from_str::<Value>(json).map_or_else(|_| json.to_owned(), |value| value.to_string())
}
