//! The format of recorded exchanges.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// All that is recorded of one server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Where the facts come from.
    pub(crate) source: String,
    pub(crate) exchanges: Vec<Exchange>,
}

/// One call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    pub(crate) tool: String,
    #[serde(default)]
    pub(crate) arguments: Map<String, Value>,
    /// The user's variables.
    #[serde(default)]
    pub(crate) variables: BTreeMap<String, String>,
    request: Option<Asked>,
    response: Option<Answered>,
    #[serde(default)]
    steps: Vec<Step>,
    pub(crate) result: Expected,
}

impl Exchange {
    /// Its requests and answers; none is a call that is refused before anything is sent.
    pub(crate) fn steps(&self) -> Result<Vec<(&Asked, &Answered)>, &'static str> {
        match (&self.request, &self.response, &self.steps[..]) {
            (Some(request), Some(response), []) => Ok(vec![(request, response)]),
            (None, None, steps) => Ok(steps.iter().map(|step| (&step.request, &step.response)).collect()),
            _ => Err("it has to have `request` and `response`, or `steps`"),
        }
    }
}

/// A request and its answer, where a call has several.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    request: Asked,
    response: Answered,
}

/// What must arrive. `{placeholder}` is what stands for the credential.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) host: String,
    /// As on the wire.
    pub(crate) path: String,
    /// Decoded; a list where a name repeats.
    #[serde(default)]
    pub(crate) query: Map<String, Value>,
    /// Must be there with these values.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) absent_headers: Vec<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub(crate) credential: Vec<CredentialPlace>,
    pub(crate) body: Option<Body>,
}

/// Where the credential must be.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum CredentialPlace {
    Header { header: String, value: String },
    Query { query: String },
    Basic { basic: String },
    Path { path: String },
    Form { form: String },
    Json { json: String },
}

/// One place, or a list of them.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<CredentialPlace>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Places {
        One(CredentialPlace),
        Many(Vec<CredentialPlace>),
    }
    Ok(match Places::deserialize(deserializer)? {
        Places::One(place) => vec![place],
        Places::Many(places) => places,
    })
}

/// A body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(crate) enum Body {
    Json(Value),
    Form(Map<String, Value>),
    Multipart(BTreeMap<String, PartText>),
    Text(String),
}

/// A part: its text, and for a file its name and type.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum PartText {
    #[serde(rename_all = "camelCase")]
    File {
        text: String,
        file_name: String,
        content_type: Option<String>,
    },
    Plain(Value),
}

/// What the service answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<Body>,
}

/// What the tool then says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    #[serde(default, rename = "isError")]
    pub(crate) is_error: bool,
    /// The text as JSON.
    pub(crate) json: Option<Value>,
    /// A part of the text.
    pub(crate) contains: Option<String>,
}
