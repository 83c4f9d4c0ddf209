//! The tools of one server, read whole and renamed.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use crate::{
    message::{RpcError, error_code},
    name::{ServerId, mended, plain},
    object::{Members, is_object, quoted, string},
    upstream::{Call, CallError, Outcome, Upstream},
};

/// Bounds on what a server can make us read for its list.
#[derive(Clone, Copy, Debug)]
pub struct CatalogueLimits {
    /// Pages of one list; against a list that never ends. Default 100.
    pub max_pages: usize,
    /// Bytes of all pages together; against a list that fills the memory. Default 32 MiB.
    pub max_bytes: usize,
    /// Tools of one server. Default 5,000.
    pub max_tools: usize,
    /// Time for the whole list. Default 30 s.
    pub timeout: Duration,
}

impl Default for CatalogueLimits {
    fn default() -> Self {
        Self { max_pages: 100, max_bytes: 32 << 20, max_tools: 5_000, timeout: Duration::from_secs(30) }
    }
}

/// One tool, as clients see it.
#[derive(Clone, Debug)]
pub struct Tool {
    /// The name clients call.
    pub exposed: Box<str>,
    /// The server's own name for it.
    pub name: Box<str>,
    /// The server's definition with `exposed` as its name and every other byte as it came.
    pub definition: Box<RawValue>,
}

/// Something in a list that could not be offered. It costs only itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OddTool {
    /// Where it stood in the list, from 0.
    pub position: usize,
    /// What is wrong with it; fixed text.
    pub reason: &'static str,
}

/// The tools of one server: no two have the same exposed name.
#[derive(Debug, Default)]
pub struct Catalogue {
    tools: Vec<Tool>,
    odd: Vec<OddTool>,
    by_exposed: HashMap<Box<str>, usize>,
}

impl Catalogue {
    /// Reads every page of a server's `tools/list`. A server that knows no tools has none.
    ///
    /// Cancel safe: nothing is kept of a list that was not read to its end.
    ///
    /// # Errors
    /// If there is no whole list. Odd tools are no error, see [`Catalogue::odd`].
    pub async fn read(
        server: &ServerId,
        upstream: &dyn Upstream,
        limits: &CatalogueLimits,
    ) -> Result<Self, CatalogueError> {
        let deadline = Instant::now() + limits.timeout;
        timeout_at(deadline, Self::pages(server, upstream, limits))
            .await
            .unwrap_or(Err(CatalogueError::Timeout(limits.timeout)))
    }

    async fn pages(
        server: &ServerId,
        upstream: &dyn Upstream,
        limits: &CatalogueLimits,
    ) -> Result<Self, CatalogueError> {
        let mut tools: Vec<Box<RawValue>> = Vec::new();
        let mut seen_cursors: HashSet<String> = HashSet::new();
        let mut bytes = 0;
        let mut params = None;
        for _ in 0..limits.max_pages {
            let result = match upstream.call(Call::new("tools/list", params)).await {
                Outcome::Complete(result) => result,
                Outcome::Error(error) if error_code(&error) == Some(RpcError::METHOD_NOT_FOUND) => {
                    return Ok(Self::default());
                }
                Outcome::Error(error) => return Err(CatalogueError::Refused(error)),
                Outcome::Failed(error) => return Err(CatalogueError::Call(error)),
                Outcome::InputRequired(_) => return Err(CatalogueError::Malformed),
            };
            bytes += result.get().len();
            if bytes > limits.max_bytes {
                return Err(CatalogueError::TooLarge("bytes"));
            }
            let page: Page<'_> = serde_json::from_str(result.get()).map_err(|_| CatalogueError::Malformed)?;
            tools.extend(page.tools.into_iter().map(ToOwned::to_owned));
            if tools.len() > limits.max_tools {
                return Err(CatalogueError::TooLarge("tools"));
            }
            let next = match page.next_cursor {
                None => None,
                Some(cursor) if cursor.get() == "null" => None,
                Some(cursor) => Some(string(cursor).ok_or(CatalogueError::Malformed)?),
            };
            match next {
                Some(cursor) if seen_cursors.insert(cursor.clone().into_owned()) => {
                    let text = format!(r#"{{"cursor":{}}}"#, quoted(&cursor));
                    params = Some(RawValue::from_string(text).expect("a quoted string is JSON"));
                }
                // A cursor that comes back would come back for ever; what was read is the list.
                Some(_) | None => return Ok(Self::of(server, &tools)),
            }
        }
        Err(CatalogueError::TooLarge("pages"))
    }

    /// The catalogue of these definitions.
    #[must_use]
    pub fn of(server: &ServerId, definitions: &[Box<RawValue>]) -> Self {
        let mut catalogue = Self::default();
        let mut named = Vec::new();
        let mut names = HashSet::new();
        for (position, definition) in definitions.iter().enumerate() {
            match read_tool(definition) {
                Ok((name, _)) if names.contains(&name) => {
                    catalogue.fault(position, "its name is already taken");
                }
                Ok((name, members)) => {
                    names.insert(name.clone());
                    named.push((name, members));
                }
                Err(reason) => catalogue.fault(position, reason),
            }
        }
        // Names that fit are given away first, so that a mended one can never take them.
        let mut taken: HashSet<String> = named.iter().filter_map(|(name, _)| plain(server, name)).collect();
        for (name, members) in named {
            let exposed = plain(server, &name).unwrap_or_else(|| {
                (0..)
                    .map(|attempt| mended(server, &name, attempt))
                    .find(|exposed| taken.insert(exposed.clone()))
                    .expect("there are more names than tools")
            });
            let definition = members.with("name", &exposed).expect("a tool has a name");
            catalogue.add(exposed, name, definition);
        }
        catalogue
    }

    /// The tools in the server's order.
    #[must_use]
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// What could not be offered.
    #[must_use]
    pub fn odd(&self) -> &[OddTool] {
        &self.odd
    }

    /// The tool that clients call by this name.
    #[must_use]
    pub fn tool(&self, exposed: &str) -> Option<&Tool> {
        self.by_exposed.get(exposed).map(|&index| &self.tools[index])
    }

    fn add(&mut self, exposed: String, name: String, definition: Box<RawValue>) {
        let exposed: Box<str> = exposed.into();
        self.by_exposed.insert(exposed.clone(), self.tools.len());
        self.tools.push(Tool { exposed, name: name.into(), definition });
    }

    fn fault(&mut self, position: usize, reason: &'static str) {
        self.odd.push(OddTool { position, reason });
    }
}

/// Why a server's list could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// The server did not answer.
    #[error("{0}")]
    Call(CallError),
    /// The server answered with an error object; it is for the operator only.
    #[error("the server refused to list its tools")]
    Refused(Box<RawValue>),
    /// The answer is not a list of tools.
    #[error("the server's list of tools is malformed")]
    Malformed,
    /// There is more of something than the limits allow.
    #[error("the server's list of tools has too many {0}")]
    TooLarge(&'static str),
    /// The list was not complete in time.
    #[error("the list of tools was not complete within {} s", .0.as_secs_f32())]
    Timeout(Duration),
}

impl CatalogueError {
    /// The stable code a client finds in the error's `data`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Call(error) => error.code(),
            Self::Refused(_) => "server-list-refused",
            Self::Malformed => "server-protocol",
            Self::TooLarge(_) => "server-list-too-large",
            Self::Timeout(_) => "server-timeout",
        }
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(borrow, default, rename = "nextCursor")]
    next_cursor: Option<&'a RawValue>,
}

fn read_tool(definition: &RawValue) -> Result<(String, Members<'_>), &'static str> {
    if !is_object(definition) {
        return Err("it is not an object");
    }
    let members = Members::of(definition).map_err(|_| "a member is named twice")?;
    let name = members.string("name").ok_or("it has no name")?;
    if name.is_empty() {
        return Err("its name is empty");
    }
    match members.value("inputSchema") {
        Some(schema) if is_object(schema) => Ok((name.into_owned(), members)),
        Some(_) => Err("its inputSchema is not an object"),
        None => Err("it has no inputSchema"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

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
            ("no schema", r#"{"name":"a"}"#, Some("it has no inputSchema")),
            ("boolean schema", r#"{"name":"a","inputSchema":true}"#, Some("its inputSchema is not an object")),
            ("two names", r#"{"name":"a","name":"b","inputSchema":{}}"#, Some("a member is named twice")),
            ("same as a neighbour", r#"{"name":"good","inputSchema":{}}"#, Some("its name is already taken")),
            ("whole", r#"{"name":"a","inputSchema":{}}"#, None),
        ] {
            let good = raw(r#"{"name":"good","inputSchema":{}}"#);
            let catalogue = Catalogue::of(&server(), &[good, raw(text)]);
            let found = catalogue.odd().first().map(|odd| odd.reason);
            assert_eq!(found, reason, "{case}");
            assert!(catalogue.tool("test_good").is_some(), "{case}");
            assert_eq!(catalogue.tools().len(), if reason.is_some() { 1 } else { 2 }, "{case}");
        }
    }

    #[test]
    fn a_definition_changes_in_its_name_only() {
        let definition =
            r#"{ "x-vendor":[1e400, 1.0] ,"name" : "do" ,"inputSchema":{"b":1,"a":null},"title":"\u00e9" }"#;
        let catalogue = Catalogue::of(&server(), &[raw(definition)]);
        assert_eq!(catalogue.tool("test_do").unwrap().definition.get(), definition.replace(r#""do""#, r#""test_do""#));
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
        let mut names: HashSet<String> = HashSet::new();
        for _ in 0..2_000 {
            let length = [1, 2, 3, 57, 58, 59, 60, 200][next(8)];
            names.insert((0..length).map(|_| alphabet[next(alphabet.len())]).collect());
        }
        // What mending makes of a name, claimed by a tool that is really called so.
        let claimed: Vec<String> = names
            .iter()
            .filter(|name| plain(&server(), name).is_none())
            .take(50)
            .map(|name| mended(&server(), name, 0)["test_".len()..].to_owned())
            .collect();
        names.extend(claimed);
        let definitions: Vec<_> =
            names.iter().map(|name| raw(&format!(r#"{{"name":{},"inputSchema":{{}}}}"#, quoted(name)))).collect();
        let catalogue = Catalogue::of(&server(), &definitions);
        assert_eq!(catalogue.tools().len(), names.len());
        let exposed: HashSet<&str> = catalogue.tools().iter().map(|tool| &*tool.exposed).collect();
        assert_eq!(exposed.len(), names.len(), "no two tools share a name");
        for tool in catalogue.tools() {
            assert!(tool.exposed.len() <= crate::MAX_NAME_LENGTH, "{tool:?}");
            assert!(tool.exposed.starts_with("test_"), "{tool:?}");
            assert_eq!(catalogue.tool(&tool.exposed).unwrap().name, tool.name);
            if let Some(plain) = plain(&server(), &tool.name) {
                assert_eq!(&*tool.exposed, plain, "a name that fits is never changed");
            }
        }
        let again = Catalogue::of(&server(), &definitions);
        for (one, two) in catalogue.tools().iter().zip(again.tools()) {
            assert_eq!(one.exposed, two.exposed);
        }
    }
}
