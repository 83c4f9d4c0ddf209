//! What keeps a toolpack from starting.

use gigmcp_registry::Toolspec;
use std::{fs, sync::Arc};

use bytes::Bytes;
use gigmcp_mcp::{
    BoxFuture, Call, Outcome, Upstream,
    toolpack::{HttpAnswer, HttpClient, HttpFailure, Sidecars, StartError},
};
use http::Request;
use serde_json::{Value, json};

use crate::pack::Pack;

const KEY: &str =
    "credentials: [{id: key, type: api_key, provider: acme, inject: {header: X-Key, format: \"{token}\"}}]\n";

#[test]
fn sidecars_have_to_be_there_valid_and_a_pair() {
    let pack = Pack::tool("GET", "/x", "");
    let directory = tempfile::tempdir().unwrap();
    let read = || Sidecars::read(directory.path());
    assert!(matches!(read(), Err(StartError::Read { path, .. }) if path.ends_with("manifest.yaml")));
    fs::write(directory.path().join("manifest.yaml"), pack.manifest_text()).unwrap();
    assert!(matches!(read(), Err(StartError::Read { path, .. }) if path.ends_with("toolspec.yaml")));
    fs::write(directory.path().join("toolspec.yaml"), pack.toolspec_text().replace("GET", "FETCH")).unwrap();
    assert!(matches!(read(), Err(StartError::Sidecar { path, .. }) if path.ends_with("toolspec.yaml")));
    fs::write(directory.path().join("toolspec.yaml"), pack.toolspec_text().replace("1.2.0", "1.2.1")).unwrap();
    let error = read().unwrap_err();
    assert!(matches!(error, StartError::Pair { .. }) && error.to_string().contains("version"), "{error}");
    fs::write(directory.path().join("toolspec.yaml"), pack.toolspec_text()).unwrap();
    let sidecars = read().unwrap();
    assert_eq!(sidecars.manifest().name.as_str(), "acme-notes");
}

#[test]
fn variables_are_the_users_and_checked() {
    let pack = Pack::tool("GET", "/x", "")
        .manifest("entitlements: {egress: [\"{tenant}.acme-notes.example\"]}\nvariables: [{name: tenant, type: label, description: Yours}]\n")
        .toolspec("baseUrl: https://{tenant}.acme-notes.example\n");
    let sidecars = pack.sidecars().unwrap();
    for (value, told) in [
        (None, Some("GIG_VAR_TENANT has no value")),
        (Some("evil.example/x"), Some("GIG_VAR_TENANT is not lower-case letters")),
        (Some("x.evil"), Some("GIG_VAR_TENANT is not")),
        (Some(""), Some("GIG_VAR_TENANT is not")),
        (Some("blue"), None),
    ] {
        let bound = sidecars.bind(|name| value.filter(|_| name == "GIG_VAR_TENANT").map(str::to_owned));
        let error = bound.err().map(|error| error.to_string());
        assert_eq!(error.is_some(), told.is_some(), "{value:?}: {error:?}");
        assert!(error.unwrap_or_default().contains(told.unwrap_or_default()), "{value:?}");
    }
}

#[test]
fn a_credential_has_to_be_one_line_of_visible_ascii() {
    let sidecars = Pack::tool("GET", "/x", "").manifest(KEY).sidecars().unwrap();
    for (key, starts) in [("k\r\nx-admin: 1", false), ("k k", false), ("ü", false), ("k0123456789", true), ("", true)]
    {
        let bound = sidecars.bind(|name| (name == "GIG_PLACEHOLDER").then(|| key.to_owned()));
        assert_eq!(bound.is_ok(), starts, "{key:?}");
        if let Err(error) = bound {
            assert!(
                matches!(&error, StartError::Credential { variable, .. } if variable == "GIG_PLACEHOLDER"),
                "{error}"
            );
            assert!(!error.to_string().contains(key), "{error}");
        }
    }
}

#[test]
fn no_two_values_may_have_one_place() {
    let second = "credentials: [{id: a, type: api_key, provider: acme, inject: {header: X-A, format: \"{token}\"}}, \
                  {id: b, type: api_key, provider: acme, inject: {header: X-B, format: \"{token}\"}ENV}]\n";
    let refused = |pack: &Pack| pack.sidecars().unwrap().bind(|_| None).err();
    // Most of them are told by the toolspec itself, or by its manifest.
    let told = |pack: &Pack| match Toolspec::from_yaml(pack.toolspec_text().as_bytes()) {
        Ok(_) => pack.sidecars().and_then(|sidecars| sidecars.bind(|_| None)).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    for (case, pack, twin, expected) in [
        (
            "a parameter where the key goes",
            Pack::tool("GET", "/x", "params: [{name: x-key, in: header, type: string}]").manifest(KEY),
            Pack::tool("GET", "/x", "params: [{name: x-keys, in: header, type: string}]").manifest(KEY),
            "tools[0].params[0].name",
        ),
        (
            "two parameters of one name",
            Pack::tool(
                "GET",
                "/x",
                "params: [{name: a, in: query, type: string}, {name: b, as: a, in: query, type: string}]",
            ),
            Pack::tool(
                "GET",
                "/x",
                "params: [{name: a, in: query, type: string}, {name: b, as: c, in: query, type: string}]",
            ),
            "tools[0].params[1].as",
        ),
        (
            "one on the way of another",
            Pack::tool(
                "POST",
                "/x",
                "params: [{name: a, in: body, type: string}, {name: b, as: /a/b, in: body, type: string}]",
            ),
            Pack::tool(
                "POST",
                "/x",
                "params: [{name: a, in: body, type: string}, {name: b, as: /c/b, in: body, type: string}]",
            ),
            "would have two values in the body `/a/b`",
        ),
        (
            "a parameter where the page goes",
            Pack::tool(
                "GET",
                "/x",
                "constants: [{name: p, in: query, value: 1}]\npagination: {type: page, param: p, maxPages: 2}",
            ),
            Pack::tool(
                "GET",
                "/x",
                "constants: [{name: q, in: query, value: 1}]\npagination: {type: page, param: p, maxPages: 2}",
            ),
            "tools[0].pagination.param",
        ),
    ] {
        let said = told(&pack).unwrap_or_default();
        assert!(said.contains(expected), "{case}: {said}");
        assert_eq!(told(&twin), None, "{case}");
    }
    let shared = Pack::tool("GET", "/x", "").manifest(&second.replace("ENV", ""));
    assert!(matches!(refused(&shared), Some(StartError::SharedVariable { .. })));
    let apart = Pack::tool("GET", "/x", "").manifest(&second.replace("ENV", ", placeholder: {env: B_KEY}"));
    assert!(refused(&apart).is_none());
    let header =
        |value: &str| Pack::tool("GET", "/x", &format!("constants: [{{name: x-a, in: header, value: \"{value}\"}}]"));
    assert!(matches!(refused(&header("ü")), Some(StartError::Constant { .. })));
    assert!(refused(&header("u")).is_none());
}

struct Nobody;

impl HttpClient for Nobody {
    fn send<'a>(&'a self, _: Request<Bytes>, _: usize) -> BoxFuture<'a, Result<HttpAnswer, HttpFailure>> {
        unreachable!("listing sends nothing")
    }
}

#[test]
fn tools_are_listed_with_schema_and_hints() {
    let mut pack = Pack::tool("GET", "/x", "params: [{name: a, in: query, type: integer, required: true}]");
    pack.tools.push_str("  - name: drop\n    description: Drops\n    method: DELETE\n    path: /x\n");
    pack.tools.push_str("  - name: make\n    description: Makes\n    method: POST\n    path: /x\n");
    let upstream = pack.start_with(Arc::new(Nobody)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ask = |method: &str| match runtime.block_on(upstream.call(Call::new(method, None))) {
        Outcome::Complete(result) => serde_json::from_str::<Value>(result.get()).unwrap(),
        Outcome::Error(error) => serde_json::from_str(error.get()).unwrap(),
        other => panic!("{other:?}"),
    };
    let listed = ask("tools/list");
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": false, "required": ["a"]});
    let expected = json!({
        "name": "call",
        "description": "Calls",
        "inputSchema": schema,
        "annotations": {"readOnlyHint": true, "openWorldHint": true},
    });
    assert_eq!(listed["tools"][0], expected);
    let hints = json!({"readOnlyHint": false, "openWorldHint": true, "destructiveHint": true, "idempotentHint": true});
    assert_eq!(listed["tools"][1]["annotations"], hints);
    assert_eq!(listed["tools"][2]["annotations"], json!({"readOnlyHint": false, "openWorldHint": true}));
    assert_eq!(ask("ping"), json!({}));
    assert_eq!(ask("resources/list")["code"], -32601);
}
