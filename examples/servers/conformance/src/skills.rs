//! The skills extension: instructions with files, and an entry for each that says how long every file is and its digest.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    call::Call,
    catalogue::page,
    outcome::{Outcome, Stop},
};

/// The second argument that asks for them.
pub(crate) const WORD: &str = "skills";
pub(crate) const SKILLS: &str = "io.modelcontextprotocol/skills";

/// One directory, known by its name.
struct Skill {
    name: &'static str,
    description: &'static str,
    body: &'static str,
    /// A file in a directory below, and what is in it.
    reference: (&'static str, &'static str),
}

const ALL: [Skill; 2] = [
    Skill {
        name: "greeting",
        description: "How people are greeted.",
        body: "Greet in the words of references/words.md.\n",
        reference: ("words.md", "- Good morning\n- Grüß Gott\n"),
    },
    Skill {
        name: "counting",
        description: "How things are counted.",
        body: "Count as in references/steps.md.\n",
        reference: ("steps.md", "1. Look at each once.\n"),
    },
];

impl Skill {
    fn root(&self) -> String {
        format!("skill://{}", self.name)
    }

    fn manifest(&self) -> String {
        format!("{}/SKILL.md", self.root())
    }

    fn references(&self) -> String {
        format!("{}/references", self.root())
    }

    /// Every file: its URI and its text.
    fn files(&self) -> [(String, String); 2] {
        let Self { name, description, body, reference: (file, text) } = self;
        let manifest = format!("---\nname: {name}\ndescription: {description}\n---\n\n{body}");
        [(self.manifest(), manifest), (format!("{}/{file}", self.references()), (*text).to_owned())]
    }

    fn entry(&self) -> Value {
        let file = |(uri, text): (String, String)| {
            let digest = format!("sha256:{}", hex::encode(Sha256::digest(&text)));
            json!({ "uri": uri, "digest": digest, "size": text.len() })
        };
        json!({
            "uri": self.manifest(),
            "frontmatter": { "name": self.name, "description": self.description },
            "resources": self.files().map(file),
        })
    }

    /// What is directly in a directory of it.
    fn children(&self, directory: &str) -> Option<Value> {
        let [manifest, reference] = self.files();
        let file = |(uri, text): &(String, String), name: &str| json!({ "uri": uri, "name": name, "mimeType": MARKDOWN, "size": text.len() });
        if directory == self.root() {
            let below = json!({ "uri": self.references(), "name": "references", "mimeType": "inode/directory" });
            return Some(json!([file(&manifest, "SKILL.md"), below]));
        }
        (directory == self.references()).then(|| json!([file(&reference, self.reference.0)]))
    }
}

/// The methods of the extension.
pub(crate) fn handle(method: &str, call: &Call) -> Outcome {
    let uri = call.params["uri"].as_str().unwrap_or_default();
    match method {
        "skills/list" => page("skills", &ALL.map(|skill| skill.entry().to_string()), call.params.get("cursor")),
        "skills/get" => {
            let skill = ALL.into_iter().find(|skill| skill.manifest() == uri);
            let skill = skill.ok_or_else(|| Stop::invalid("there is no such skill"))?;
            Ok(json!({ "skill": skill.entry() }).to_string())
        }
        _ => {
            let children = ALL.into_iter().find_map(|skill| skill.children(uri));
            let children = children.ok_or_else(|| Stop::invalid("there is no such directory"))?;
            Ok(json!({ "resources": children }).to_string())
        }
    }
}

/// What is listed of them beside other resources.
pub(crate) fn resources() -> impl Iterator<Item = String> {
    ALL.into_iter().map(|skill| {
        let (uri, name, description) = (skill.manifest(), skill.name, skill.description);
        json!({ "uri": uri, "name": name, "description": description, "mimeType": MARKDOWN }).to_string()
    })
}

/// A file, as `resources/read` shows it.
pub(crate) fn content(uri: &str) -> Option<Value> {
    let (_, text) = ALL.into_iter().flat_map(|skill| skill.files()).find(|(file, _)| file == uri)?;
    Some(json!({ "uri": uri, "mimeType": MARKDOWN, "text": text }))
}

/// What is declared of the extension.
pub(crate) fn settings() -> Value {
    json!({ "directoryRead": true })
}

const MARKDOWN: &str = "text/markdown";
