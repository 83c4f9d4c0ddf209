//! Members that are not what the protocol says, made what they must have meant. A strict client loses a whole list to one.

use serde_json::value::RawValue;

use crate::object::{self, Members, is_object, string};

/// What becomes of a member.
enum Fate {
    Kept,
    Changed(String),
    Dropped,
}

/// What a definition is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Subject {
    Tool,
    Prompt,
    Resource,
}

/// The definition as every client can read it, and what was wrong with it. Nothing is changed that is not wrong.
///
/// # Errors
/// If a member is named twice.
pub(super) fn mend(
    subject: Subject,
    definition: &RawValue,
) -> Result<(Box<RawValue>, Option<&'static str>), &'static str> {
    let mut mended = definition.to_owned();
    let mut odd = None;
    for (name, reason, judge) in RULES {
        let members = Members::of(&mended).map_err(|_| "a member is named twice")?;
        let Some(value) = members.value(name) else { continue };
        let changed = match judge(subject, value) {
            Fate::Kept => continue,
            Fate::Changed(json) => members.with_raw(name, &json).expect("it is there"),
            Fate::Dropped => members.without(name),
        };
        (mended, odd) = (changed, Some(*reason));
    }
    Ok((mended, odd))
}

type Rule = (&'static str, &'static str, fn(Subject, &RawValue) -> Fate);

const RULES: &[Rule] = &[
    ("title", "its title is not text", text),
    ("description", "its description is not text", text),
    ("mimeType", "its media type is not text", text),
    ("icons", "an icon is malformed", |_, value| items(value, icon)),
    ("annotations", "its annotations are malformed", annotations),
    ("arguments", "an argument is malformed", |subject, value| match subject {
        Subject::Prompt => items(value, argument),
        Subject::Tool | Subject::Resource => Fate::Kept,
    }),
    ("execution", "its execution is no object", object),
    ("_meta", "its _meta is no object", object),
];

fn text(_: Subject, value: &RawValue) -> Fate {
    kept_if(string(value).is_some())
}

fn object(_: Subject, value: &RawValue) -> Fate {
    kept_if(is_object(value))
}

fn kept_if(right: bool) -> Fate {
    if right { Fate::Kept } else { Fate::Dropped }
}

/// The items of a list, each on its own.
fn items(value: &RawValue, judge: fn(&RawValue) -> Fate) -> Fate {
    let Ok(listed) = object::items(value, MAX_ITEMS) else { return Fate::Dropped };
    let mut kept = Vec::new();
    let mut odd = false;
    for item in listed {
        match judge(item) {
            Fate::Kept => kept.push(item.get().to_owned()),
            Fate::Changed(json) => {
                odd = true;
                kept.push(json);
            }
            Fate::Dropped => odd = true,
        }
    }
    if odd { Fate::Changed(format!("[{}]", kept.join(","))) } else { Fate::Kept }
}

/// Icons, or arguments, of one definition.
const MAX_ITEMS: usize = 1024;

/// The members of an object, as far as they are right.
fn members(value: &RawValue, right: impl Fn(&str, &RawValue) -> bool) -> Fate {
    let Ok(members) = Members::of(value) else { return Fate::Dropped };
    let wrong: Vec<&str> = members.iter().filter(|(name, value)| !right(name, value)).map(|(name, _)| name).collect();
    if wrong.is_empty() {
        return Fate::Kept;
    }
    let mut left = value.to_owned();
    for name in wrong {
        left = Members::of(&left).expect("it was read before").without(name);
    }
    Fate::Changed(left.get().to_owned())
}

fn icon(value: &RawValue) -> Fate {
    let Ok(icon) = Members::of(value) else { return Fate::Dropped };
    if icon.string("src").is_none() {
        return Fate::Dropped;
    }
    match icon.value("sizes") {
        // One size, as the first drafts had it.
        Some(sizes) if string(sizes).is_some() => {
            Fate::Changed(icon.with_raw("sizes", &format!("[{}]", sizes.get())).expect("it is there").get().to_owned())
        }
        _ => members(value, |name, value| match name {
            "sizes" => serde_json::from_str::<Vec<String>>(value.get()).is_ok(),
            "mimeType" | "theme" => string(value).is_some(),
            _ => true,
        }),
    }
}

fn argument(value: &RawValue) -> Fate {
    match Members::of(value).ok().and_then(|argument| argument.string("name").map(|_| ())) {
        None => Fate::Dropped,
        Some(()) => members(value, |name, value| match name {
            "title" | "description" => string(value).is_some(),
            "required" => is_bool(value),
            _ => true,
        }),
    }
}

fn annotations(subject: Subject, value: &RawValue) -> Fate {
    members(value, |name, value| match (subject, name) {
        (Subject::Tool, "title") => string(value).is_some(),
        (Subject::Tool, "readOnlyHint" | "destructiveHint" | "idempotentHint" | "openWorldHint") => is_bool(value),
        (Subject::Resource, "audience") => serde_json::from_str::<Vec<String>>(value.get())
            .is_ok_and(|roles| roles.iter().all(|role| matches!(&**role, "user" | "assistant"))),
        (Subject::Resource, "priority") => {
            value.get().parse().is_ok_and(|priority: f64| (0.0..=1.0).contains(&priority))
        }
        (Subject::Resource, "lastModified") => string(value).is_some(),
        _ => true,
    })
}

fn is_bool(value: &RawValue) -> bool {
    matches!(value.get(), "true" | "false")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn what_is_wrong_is_mended_and_what_is_right_is_left_alone() {
        for (subject, definition, expected) in [
            (Subject::Tool, r#"{"a":1.0,"title":7}"#, r#"{"a":1.0}"#),
            (Subject::Tool, r#"{"description":null, "a":1.0}"#, r#"{"a":1.0}"#),
            (
                Subject::Tool,
                r#"{"icons":[{"src":"a","sizes":"1x1"},{"src":"b","sizes":["any"]},{"x":1},7]}"#,
                r#"{"icons":[{"src":"a","sizes":["1x1"]},{"src":"b","sizes":["any"]}]}"#,
            ),
            (Subject::Tool, r#"{"icons":[{"src":"a","sizes":7}]}"#, r#"{"icons":[{"src":"a"}]}"#),
            (Subject::Tool, r#"{"icons":"a"}"#, "{}"),
            (
                Subject::Tool,
                r#"{"annotations":{"readOnlyHint":"yes","x":1.0,"title":"t"}}"#,
                r#"{"annotations":{"x":1.0,"title":"t"}}"#,
            ),
            (Subject::Tool, r#"{"annotations":[]}"#, "{}"),
            (Subject::Tool, r#"{"execution":true,"_meta":[]}"#, "{}"),
            (
                Subject::Prompt,
                r#"{"arguments":[{"required":true},{"name":"a","required":"yes"}]}"#,
                r#"{"arguments":[{"name":"a"}]}"#,
            ),
            (
                Subject::Resource,
                r#"{"annotations":{"audience":["robot"],"priority":2,"lastModified":1,"x":1}}"#,
                r#"{"annotations":{"x":1}}"#,
            ),
        ] {
            let raw = RawValue::from_string(definition.to_owned()).unwrap();
            let (mended, odd) = mend(subject, &raw).unwrap();
            assert_eq!(mended.get(), expected);
            assert!(odd.is_some(), "{definition}");
        }
        for (subject, definition) in [
            (Subject::Tool, r#"{ "title":"t" ,"annotations":{"audience":["robot"],"readOnlyHint":true},"x":1e400}"#),
            (Subject::Tool, r#"{"arguments":7,"icons":[{"src":"a","sizes":["1x1"],"x":1.0} ]}"#),
            (Subject::Prompt, r#"{"arguments":[ {"name":"a","required":false,"x":1.0}]}"#),
            (Subject::Resource, r#"{"annotations":{"audience":["user"],"priority":0.50}}"#),
        ] {
            let raw = RawValue::from_string(definition.to_owned()).unwrap();
            let (mended, odd) = mend(subject, &raw).unwrap();
            assert_eq!((mended.get(), odd), (definition, None));
        }
    }
}
