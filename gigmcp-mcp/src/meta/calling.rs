//! `call_tool` and `call_read_only_tool`: another way to write a call.

use serde_json::value::RawValue;

use super::MetaTool;
use crate::{
    catalogue::Named,
    object::{Members, is_object, quoted},
};

/// The parameters of the call that is meant: those of the call of ours, with the name and the arguments that it carries as
/// arguments. All else (`_meta`, what later revisions bring) stays as it is.
pub(crate) fn meant(tool: MetaTool, params: &RawValue) -> Result<Box<RawValue>, String> {
    let wrong = |what: &str| format!("The arguments of {} do not fit: {what}.", tool.name());
    let outer = Members::of(params).map_err(|_| wrong("a member is named twice"))?;
    let given = outer.value("arguments").filter(|given| is_object(given));
    let given = given.ok_or_else(|| wrong("they are an object with `name` and `arguments`"))?;
    let given = Members::of(given).map_err(|_| wrong("a member is named twice"))?;
    if let Some((unknown, _)) = given.iter().find(|(name, _)| !matches!(*name, "name" | "arguments")) {
        let text = format!(
            "unknown member {}; what the tool takes goes into `arguments`",
            quoted(&unknown.chars().take(64).collect::<String>())
        );
        return Err(wrong(&text));
    }
    let name = given.string("name").ok_or_else(|| wrong("`name` is not a string"))?;
    let named = outer.with("name", &name).ok_or_else(|| wrong("there is no name"))?;
    let named = Members::of(&named).map_err(|_| wrong("a member is named twice"))?;
    match given.value("arguments") {
        None => Ok(named.without("arguments")),
        // Some clients write `null` for none, and servers know it.
        Some(arguments) if is_object(arguments) || arguments.get() == "null" => {
            Ok(named.with_raw("arguments", arguments.get()).expect("it is there"))
        }
        Some(_) => Err(wrong("`arguments` is not an object; give the object itself, not its text")),
    }
}

/// The tools whose names are nearest to one that is none, for whoever mistyped it or left out the server.
pub(crate) fn nearest<'a>(name: &str, tools: impl Iterator<Item = &'a Named>) -> Vec<&'a str> {
    let name: String = name.chars().take(MAX_COMPARED).collect();
    let near = |other: &str| strsim::jaro_winkler(&name, other);
    let mut tools: Vec<(f64, &str)> =
        tools.map(|tool| (near(&tool.exposed).max(near(&tool.name)), &*tool.exposed)).collect();
    tools.sort_by(|(a, first), (b, second)| b.total_cmp(a).then(first.cmp(second)));
    tools.into_iter().take(NEAREST).map(|(_, name)| name).collect()
}

/// What is said of a tool that there is not.
pub(crate) fn no_tool(name: &str, nearest: &[&str]) -> String {
    let name = quoted(&name.chars().take(MAX_COMPARED).collect::<String>());
    match nearest {
        [] => format!("There is no tool {name}. Find one with search_tools."),
        names => {
            format!("There is no tool {name}. The nearest names: {}. Or find one with search_tools.", names.join(", "))
        }
    }
}

const NEAREST: usize = 3;
/// Longer than any name.
const MAX_COMPARED: usize = 128;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn a_call_through_us_becomes_the_call_that_is_meant() {
        for (params, expected) in [
            (
                r#"{"name":"call_tool","arguments":{"name":"a_b","arguments":{ "n":1.0 , "x":1e400}},"_meta":{"progressToken":1.0},"x":[ 1 ]}"#,
                Ok(r#"{"name":"a_b","arguments":{ "n":1.0 , "x":1e400},"_meta":{"progressToken":1.0},"x":[ 1 ]}"#),
            ),
            (r#"{"_meta":{},"arguments":{"name":"a_b"},"name":"call_tool"}"#, Ok(r#"{"_meta":{},"name":"a_b"}"#)),
            (r#"{"name":"call_tool"}"#, Err("an object with")),
            (r#"{"name":"call_tool","arguments":[]}"#, Err("an object with")),
            (r#"{"name":"call_tool","arguments":{}}"#, Err("`name` is not a string")),
            (r#"{"name":"call_tool","arguments":{"name":1}}"#, Err("`name` is not a string")),
            (r#"{"name":"call_tool","arguments":{"name":"a","name":"b"}}"#, Err("named twice")),
            (r#"{"name":"call_tool","arguments":{"name":"a","n":1}}"#, Err(r#"unknown member "n""#)),
            (r#"{"name":"call_tool","arguments":{"name":"a","arguments":"{}"}}"#, Err("not its text")),
            (
                r#"{"name":"call_tool","arguments":{"name":"a","arguments":null}}"#,
                Ok(r#"{"name":"a","arguments":null}"#),
            ),
        ] {
            let raw = RawValue::from_string(params.to_owned()).unwrap();
            match (meant(MetaTool::Call, &raw), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.get(), expected),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{params}: {found}"),
                (found, _) => panic!("{params}: {found:?}"),
            }
        }
    }
}
