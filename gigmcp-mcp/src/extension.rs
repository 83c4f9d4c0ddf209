//! Extensions of the protocol. What both ends have declared passes, and nothing else does.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use serde_json::value::RawValue;

use crate::object::{Members, is_object, quoted};

/// Work that goes on after the answer.
pub(crate) const TASKS: &str = "io.modelcontextprotocol/tasks";
/// Pages that a client shows beside the result of a tool.
pub(crate) const UI: &str = "io.modelcontextprotocol/ui";
/// Instructions with files.
pub(crate) const SKILLS: &str = "io.modelcontextprotocol/skills";

/// What a client, a server, or many servers as one have declared of extensions: settings by identifier, as written.
#[derive(Clone, Debug, Default)]
pub struct Extensions(BTreeMap<Box<str>, Box<RawValue>>);

impl Extensions {
    /// Out of an object of capabilities. What cannot be read is not there.
    pub(crate) fn read(capabilities: &RawValue) -> Self {
        let declared = Members::of(capabilities).ok().and_then(|members| members.value("extensions"));
        let Some(declared) = declared.filter(|declared| is_object(declared)).and_then(|raw| Members::of(raw).ok())
        else {
            return Self::default();
        };
        let mut room = MAX_BYTES;
        let mut fits = |bytes: usize| {
            let fits = bytes <= room;
            room -= if fits { bytes } else { 0 };
            fits
        };
        let settings = declared
            .iter()
            .filter(|(id, settings)| id.len() <= MAX_ID_BYTES && settings.get().len() <= MAX_SETTINGS_BYTES)
            .filter(|(_, settings)| is_object(settings))
            .filter(|(id, settings)| fits(id.len() + settings.get().len()))
            .take(MAX_EXTENSIONS);
        Self(settings.map(|(id, settings)| (id.into(), settings.to_owned())).collect())
    }

    /// Work that goes on after the answer.
    pub const TASKS: &str = TASKS;

    /// Whether this one is declared.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Those of another server too, however many there are by now: what one declares leaves room for the others. Where both have
    /// one, whatever either has switched on is.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (id, settings) in &other.0 {
            match self.0.get(id) {
                None => drop(self.0.insert(id.clone(), settings.clone())),
                Some(known) => {
                    if let Some(merged) = merged(known, settings) {
                        self.0.insert(id.clone(), merged);
                    }
                }
            }
        }
    }

    /// What is said of each, but for tasks that are declared without saying anything.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        let all = self.0.iter().map(|(id, settings)| (&**id, &**settings));
        all.filter(|(id, settings)| *id != TASKS || settings.get().bytes().any(|byte| byte == b':'))
    }

    /// Whether a setting of this one is switched on.
    pub(crate) fn is_on(&self, id: &str, setting: &str) -> bool {
        let settings = self.0.get(id).and_then(|settings| Members::of(settings).ok());
        settings.and_then(|settings| settings.value(setting)).is_some_and(|value| value.get() == "true")
    }

    pub(crate) fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        self.0.retain(|id, _| kept(id));
    }

    /// The same with settings that may be shown; those that may not be are not declared.
    pub(crate) fn shown(self, show: impl Fn(&str, Box<RawValue>) -> Option<Box<RawValue>>) -> Self {
        Self(self.0.into_iter().filter_map(|(id, settings)| Some((id.clone(), show(&id, settings)?))).collect())
    }

    /// Only this one, if it is declared.
    #[must_use]
    pub fn only(mut self, id: &str) -> Self {
        self.0.retain(|declared, _| **declared == *id);
        self
    }

    pub(crate) fn without(mut self, id: &str) -> Self {
        self.0.remove(id);
        self
    }

    pub(crate) fn insert(&mut self, id: &str) {
        let none = || RawValue::from_string("{}".to_owned()).expect("it is JSON");
        self.0.entry(id.into()).or_insert_with(none);
    }

    /// Which of these a method belongs to, if to any: of two of which one begins with the other, the longer one.
    pub(crate) fn owner_of(&self, method: &str) -> Option<&str> {
        let known = match method.split('/').next()? {
            "tasks" => Some(TASKS),
            "ui" => Some(UI),
            "skills" => Some(SKILLS),
            "resources" if method.starts_with("resources/directory/") => Some(SKILLS),
            _ => None,
        };
        let owns = |id: &str| match known {
            Some(known) => id == known,
            // A vendor's methods begin with the identifier itself.
            None => method.strip_prefix(id).is_some_and(|rest| rest.starts_with('/')),
        };
        self.0.keys().map(|id| &**id).filter(|id| owns(id)).max_by_key(|id| id.len())
    }

    /// Which of these a notification belongs to: `<id>/...`, with or without `notifications/` before it. None of those that have
    /// a way of their own (tasks and skills), and none that looks like one of the protocol.
    pub(crate) fn owner_of_notice(&self, method: &str) -> Option<&str> {
        let own = method.strip_prefix("notifications/").unwrap_or(method);
        self.owner_of_request(own).filter(|_| !is_of_protocol(method) && method.len() <= MAX_METHOD_BYTES)
    }

    /// The same of a request of a server: `<id>/...`.
    pub(crate) fn owner_of_request(&self, method: &str) -> Option<&str> {
        let known = method.split('/').next().is_some_and(|first| OF_PROTOCOL.contains(&first));
        let id = Some(method).filter(|_| !known).and_then(|_| self.owner_of(method))?;
        Some(id).filter(|id| id.contains('/') && method.len() <= MAX_METHOD_BYTES)
    }

    /// As the value of `extensions`, each as it was written.
    pub(crate) fn to_raw(&self) -> Option<Box<RawValue>> {
        let all: Vec<String> = self.0.iter().map(|(id, raw)| format!("{}:{}", quoted(id), raw.get())).collect();
        let text = (!all.is_empty()).then(|| format!("{{{}}}", all.join(",")))?;
        Some(RawValue::from_string(text).expect("it is JSON"))
    }

    pub(crate) fn to_json(&self) -> Option<serde_json::Value> {
        if self.0.is_empty() {
            return None;
        }
        let settings = |raw: &RawValue| serde_json::from_str::<serde_json::Value>(raw.get()).unwrap_or_default();
        Some(self.0.iter().map(|(id, raw)| (id.to_string(), settings(raw))).collect())
    }
}

/// Whether a notification is one that the protocol itself has, or tasks have; of all others, an extension must be the owner.
pub(crate) fn is_of_protocol(method: &str) -> bool {
    matches!(
        method,
        "notifications/cancelled"
            | "notifications/elicitation/complete"
            | "notifications/initialized"
            | "notifications/message"
            | "notifications/progress"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
            | "notifications/resources/updated"
            | "notifications/roots/list_changed"
            | "notifications/subscriptions/acknowledged"
            | "notifications/tasks"
            | "notifications/tools/list_changed"
    )
}

/// Whether this is what the protocol itself lets a server ask a client, in one era or the other; any other question must be an
/// extension's.
pub(crate) fn is_question_of_protocol(method: &str) -> bool {
    matches!(method, "elicitation/create" | "roots/list" | "sampling/createMessage")
}

/// Two settings as one.
fn merged(one: &RawValue, two: &RawValue) -> Option<Box<RawValue>> {
    let (one, two) = (Members::of(one).ok()?, Members::of(two).ok()?);
    let mut places = HashMap::new();
    let mut all: Vec<(&str, &str)> = Vec::new();
    for (name, value) in one.iter().chain(two.iter()) {
        match places.entry(name) {
            Entry::Vacant(place) => {
                place.insert(all.len());
                all.push((name, value.get()));
            }
            Entry::Occupied(place) if value.get() == "true" => all[*place.get()].1 = "true",
            Entry::Occupied(_) => {}
        }
    }
    let all: Vec<String> = all.into_iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
    RawValue::from_string(format!("{{{}}}", all.join(","))).ok()
}

/// What a client has to declare for this, as the `data` of an error.
pub(crate) fn required(id: &str) -> Box<RawValue> {
    let text = format!(r#"{{"requiredCapabilities":{{"extensions":{{{}:{{}}}}}}}}"#, quoted(id));
    RawValue::from_string(text).expect("it is JSON")
}

/// What the methods of the protocol, and of extensions with a way of their own, begin with.
pub(crate) const OF_PROTOCOL: [&str; 16] = [
    "completion",
    "elicitation",
    "initialize",
    "initialized",
    "logging",
    "notifications",
    "ping",
    "prompts",
    "resources",
    "roots",
    "sampling",
    "server",
    "skills",
    "subscriptions",
    "tasks",
    "tools",
];
const MAX_METHOD_BYTES: usize = 256;
/// Of one server or client.
const MAX_EXTENSIONS: usize = 32;
/// Of all these, with their settings.
const MAX_BYTES: usize = 64 << 10;
const MAX_ID_BYTES: usize = 128;
const MAX_SETTINGS_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    fn read(text: &str) -> Extensions {
        Extensions::read(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn a_method_belongs_to_a_declared_extension_or_to_none() {
        let all = read(
            r#"{"extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/skills":{},"com.example/x":{},"com.example/x/y":{},"odd":true}}"#,
        );
        for (method, expected) in [
            ("tasks/get", Some(TASKS)),
            ("skills/list", Some(SKILLS)),
            ("resources/directory/read", Some(SKILLS)),
            ("resources/read", None),
            ("ui/initialize", None),
            ("com.example/x/do", Some("com.example/x")),
            ("com.example/x/y/do", Some("com.example/x/y")),
            ("com.example/x/yz/do", Some("com.example/x")),
            ("com.example/xy/do", None),
            ("com.example/x", None),
            ("odd/do", None), // not an object, so not declared
            ("tasks", Some(TASKS)),
            ("", None),
        ] {
            assert_eq!(all.owner_of(method), expected, "{method}");
            assert_eq!(Extensions::default().owner_of(method), None);
        }
    }

    #[test]
    fn a_notification_belongs_to_a_declared_extension_and_never_to_the_protocol() {
        let all = read(
            r#"{"extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/skills":{},"io.modelcontextprotocol/ui":{},"com.example/x":{},"notifications":{},"notifications/message":{},"tools/x":{},"bare":{}}}"#,
        );
        let long = format!("com.example/x/{}", "a".repeat(MAX_METHOD_BYTES));
        for (method, expected) in [
            ("com.example/x/changed", Some("com.example/x")),
            ("notifications/com.example/x/changed", Some("com.example/x")),
            ("ui/notifications/changed", Some(UI)),
            ("com.example/xy/changed", None),
            ("com.example/x", None),
            ("notifications/message", None),
            ("notifications/message/x", None),
            ("notifications/notifications/message/x", None),
            ("notifications/resources/updated", None),
            ("notifications/resources/directory/changed", None),
            ("notifications/tasks", None),
            ("tasks/changed", None),
            ("skills/changed", None),
            ("tools/x/changed", None),
            ("bare/changed", None),
            (&*long, None),
        ] {
            assert_eq!(all.owner_of_notice(method), expected, "{method}");
            assert_eq!(Extensions::default().owner_of_notice(method), None);
            let asked = expected.filter(|_| !method.starts_with("notifications/"));
            assert_eq!(all.owner_of_request(method), asked, "as a request, {method}");
            assert_eq!(Extensions::default().owner_of_request(method), None);
        }
    }

    #[test]
    fn what_one_declares_is_bounded_and_leaves_room_for_others() {
        let many = |name: &str, count: usize, bytes: usize| {
            let all: Vec<_> = (0..count).map(|n| format!(r#""{name}/{n}":{{"x":"{}"}}"#, "a".repeat(bytes))).collect();
            read(&format!(r#"{{"extensions":{{{}}}}}"#, all.join(",")))
        };
        assert_eq!(many("a", 40, 1).0.len(), MAX_EXTENSIONS);
        assert_eq!(
            (many("a", 20, 10 << 10).0.len(), many("a", 6, 10 << 10).0.len()),
            (6, 6),
            "twin: as long, and fewer"
        );
        let mut all = many("a", 40, 1);
        all.merge(&many("b", 1, 1));
        assert!(all.has("b/0"));
    }

    #[test]
    fn what_either_server_has_switched_on_is_on() {
        let mut one = read(r#"{"extensions":{"a/s":{"x":false,"y":1.0}}}"#);
        one.merge(&read(r#"{"extensions":{"a/s":{"x":true,"y":2,"z":[]},"a/t":{}}}"#));
        let expected = serde_json::json!({ "a/s": { "x": true, "y": 1.0, "z": [] }, "a/t": {} });
        assert_eq!(one.to_json(), Some(expected));
        assert_eq!(read(r#"{"extensions":[]}"#).to_json(), None);
    }
}
