//! What a client can do.

use serde_json::{Value, json, value::RawValue};

use crate::{
    message::{Request, RpcError},
    object::{Members, is_object},
    sink::ClientContext,
};

/// What a client has declared that it can be asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ClientCapabilities {
    sampling: bool,
    sampling_tools: bool,
    elicitation_form: bool,
    elicitation_url: bool,
    roots: bool,
}

impl ClientCapabilities {
    /// Of whoever has made a call; nothing, if nobody has said.
    pub(crate) fn of(context: Option<&ClientContext>) -> Self {
        Self::read(context.map(|context| &*context.capabilities))
    }

    /// Out of a `capabilities` or `clientCapabilities` object. What cannot be read is not there.
    pub(super) fn read(declared: Option<&RawValue>) -> Self {
        let Some(declared) = declared.and_then(|declared| Members::of(declared).ok()) else { return Self::default() };
        let inside = |name: &str| declared.value(name).filter(|value| is_object(value));
        let has = |name: &str, member: &str| {
            let members = inside(name).and_then(|value| Members::of(value).ok());
            members.is_some_and(|members| members.value(member).is_some_and(is_object))
        };
        let elicitation = inside("elicitation").is_some();
        Self {
            sampling: inside("sampling").is_some(),
            sampling_tools: has("sampling", "tools"),
            // Before there were modes, there were forms.
            elicitation_form: elicitation && (has("elicitation", "form") || !has("elicitation", "url")),
            elicitation_url: has("elicitation", "url"),
            roots: inside("roots").is_some(),
        }
    }

    /// The same in our own words, with these extensions and nothing else that was declared.
    pub(crate) fn written(self, extensions: &[&str]) -> Box<RawValue> {
        let there = |there: bool, name: &'static str| there.then(|| (name.to_owned(), json!({})));
        let inside = |members: [Option<(String, Value)>; 2]| Value::Object(members.into_iter().flatten().collect());
        let mut declared = serde_json::Map::new();
        if self.sampling {
            let tools = there(self.sampling_tools, "tools");
            declared.insert("sampling".to_owned(), inside([tools, None]));
        }
        if self.elicitation_form || self.elicitation_url {
            let modes = [there(self.elicitation_form, "form"), there(self.elicitation_url, "url")];
            declared.insert("elicitation".to_owned(), inside(modes));
        }
        declared.extend(there(self.roots, "roots"));
        let extensions: serde_json::Map<_, _> = extensions.iter().map(|id| ((*id).to_owned(), json!({}))).collect();
        declared.insert("extensions".to_owned(), extensions.into());
        serde_json::value::to_raw_value(&declared).expect("it is JSON")
    }

    pub(super) fn has_roots(self) -> bool {
        self.roots
    }

    /// Whether the client may be asked all that a result asks for, or what is told of a task.
    pub(crate) fn allow_all(self, said: &RawValue) -> Result<(), RpcError> {
        let malformed = || RpcError::new(RpcError::INTERNAL_ERROR, "the server asks for input in a malformed way");
        let members = Members::of(said).map_err(|_| malformed())?;
        let Some(requests) = members.value("inputRequests") else { return Ok(()) };
        for (_, request) in Members::of(requests).map_err(|_| malformed())?.iter() {
            let members = Members::of(request).map_err(|_| malformed())?;
            let method = members.string("method").ok_or_else(malformed)?.into();
            let params = members.value("params").map(ToOwned::to_owned);
            self.allow(&Request { id: 0.into(), method, params }).map_err(Undeclared::explained)?;
        }
        Ok(())
    }

    /// Whether the client may be asked this.
    pub(super) fn allow(self, request: &Request) -> Result<(), Undeclared> {
        let params = request.params.as_deref().and_then(|params| Members::of(params).ok());
        let mode = params.as_ref().and_then(|params| params.string("mode"));
        let (declared, needed) = match &*request.method {
            "sampling/createMessage" if params.is_some_and(|params| params.value("tools").is_some()) => {
                (self.sampling_tools, r#"{"sampling":{"tools":{}}}"#)
            }
            "sampling/createMessage" => (self.sampling, r#"{"sampling":{}}"#),
            "elicitation/create" if mode.as_deref() == Some("url") => {
                (self.elicitation_url, r#"{"elicitation":{"url":{}}}"#)
            }
            "elicitation/create" => (self.elicitation_form, r#"{"elicitation":{"form":{}}}"#),
            "roots/list" => (self.roots, r#"{"roots":{}}"#),
            _ => (false, "{}"),
        };
        declared.then_some(()).ok_or(Undeclared { needed })
    }
}

/// The client has not said that it can be asked this.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Undeclared {
    /// What it would have had to declare, as JSON.
    needed: &'static str,
}

impl Undeclared {
    /// What the client is told.
    pub(super) fn explained(self) -> RpcError {
        let data = format!(r#"{{"requiredCapabilities":{}}}"#, self.needed);
        let mut error = RpcError::new(RpcError::MISSING_CAPABILITY, "Missing required client capability");
        error.data = RawValue::from_string(data).ok();
        error
    }

    /// What the server is told.
    pub(super) fn to_rpc(self) -> RpcError {
        RpcError::new(RpcError::METHOD_NOT_FOUND, "the client does not support this request")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn a_client_is_asked_only_for_what_it_has_declared() {
        for (declared, method, params, expected) in [
            (r#"{"sampling":{}}"#, "sampling/createMessage", "{}", true),
            (r#"{"sampling":{}}"#, "sampling/createMessage", r#"{"tools":[]}"#, false),
            (r#"{"sampling":{"tools":{}}}"#, "sampling/createMessage", r#"{"tools":[]}"#, true),
            (r#"{"sampling":null}"#, "sampling/createMessage", "{}", false),
            (r#"{"elicitation":{}}"#, "elicitation/create", "{}", true),
            (r#"{"elicitation":{}}"#, "elicitation/create", r#"{"mode":"form"}"#, true),
            (r#"{"elicitation":{}}"#, "elicitation/create", r#"{"mode":"url"}"#, false),
            (r#"{"elicitation":{"url":{}}}"#, "elicitation/create", r#"{"mode":"url"}"#, true),
            (r#"{"elicitation":{"url":{}}}"#, "elicitation/create", "{}", false),
            (r#"{"elicitation":{"url":{},"form":{}}}"#, "elicitation/create", "{}", true),
            (r#"{"roots":{"listChanged":true}}"#, "roots/list", "{}", true),
            ("{}", "roots/list", "{}", false),
            ("[]", "roots/list", "{}", false),
            (r#"{"tools":{}}"#, "tools/list", "{}", false),
        ] {
            let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
            let client = ClientCapabilities::read(Some(&raw(declared)));
            let request = Request { id: 1.into(), method: method.into(), params: Some(raw(params)) };
            assert_eq!(client.allow(&request).is_ok(), expected, "{declared} {method} {params}");
            let asks = |name: &str| raw(&format!(r#"{{"{name}":{{"k":{{"method":"{method}","params":{params}}}}}}}"#));
            assert_eq!(client.allow_all(&asks("inputRequests")).is_ok(), expected, "{declared} {method} {params}");
            assert!(client.allow_all(&asks("x")).is_ok(), "twin");
            let written = client.written(&["a/b"]);
            assert_eq!(ClientCapabilities::read(Some(&written)), client, "{written}");
            assert!(written.get().contains(r#""extensions":{"a/b":{}}"#), "{written}");
        }
    }
}
