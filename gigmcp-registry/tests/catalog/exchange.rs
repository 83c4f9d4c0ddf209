//! Recorded exchanges: what a model says, what goes to the service, what comes back, what the model is told.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) source: String,
    pub(crate) exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    pub(crate) tool: String,
    #[serde(default)]
    pub(crate) arguments: Map<String, Value>,
    #[serde(default)]
    pub(crate) variables: BTreeMap<String, String>,
    request: Option<Request>,
    response: Option<Response>,
    #[serde(default)]
    steps: Vec<Step>,
    pub(crate) result: Outcome,
}

impl Exchange {
    /// Its requests with their answers; several only where there are `steps`.
    pub(crate) fn steps(&self) -> Result<Vec<(&Request, &Response)>, &'static str> {
        match (&self.request, &self.response, &*self.steps) {
            (Some(request), Some(response), []) => Ok(vec![(request, response)]),
            (None, None, [_, ..]) => Ok(self.steps.iter().map(|step| (&step.request, &step.response)).collect()),
            _ => Err("has neither request and response nor steps, or both"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what the engine's tests compare is only read here")]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    #[serde(default)]
    query: BTreeMap<String, OneOrMany>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    absent_headers: Vec<String>,
    credential: Option<OneOrMore>,
    body: Option<Body>,
}

impl Request {
    /// The credentials it shows, in the manifest's order.
    pub(crate) fn credentials(&self) -> &[Credential] {
        match &self.credential {
            None => &[],
            Some(OneOrMore::One(one)) => std::slice::from_ref(one),
            Some(OneOrMore::More(more)) => more,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only read here")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Credential),
    More(Vec<Credential>),
}

/// Where a placeholder stands: one of these places.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    pub(crate) header: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) query: Option<String>,
    pub(crate) basic: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) form: Option<String>,
    pub(crate) json: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read here")]
pub(crate) struct Response {
    pub(crate) status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Body>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only read here")]
enum Body {
    Json(Value),
    Form(BTreeMap<String, OneOrMany>),
    Multipart(Value),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outcome {
    #[serde(rename = "isError")]
    pub(crate) is_error: bool,
    pub(crate) json: Option<Value>,
    pub(crate) contains: Option<String>,
}
