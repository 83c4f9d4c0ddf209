//! Toolspecs, alone and beside their manifests.

use gigmcp_registry::{Encoding, InvalidManifest, Manifest, Problem, Toolspec};
use serde_json::json;

use crate::manifest_v2::MANIFEST;

/// Everything that version 2 has.
pub(crate) const TOOLSPEC: &str = include_str!("toolspec/acme-desk.toolspec.yaml");

/// A toolspec of version 1, of the manifest in `main.rs`.
const FIRST: &str = r#"
schemaVersion: 1
name: acme-notes
version: 1.2.0
baseUrl: https://api.acme-notes.example
tools:
  - name: get_note
    description: Read one note
    method: GET
    path: /v1/notes/{id}
    params:
      - {name: id, in: path, type: string, required: true}
      - {name: "page[size]", in: query, type: integer}
  - name: drop_note
    description: Remove one note
    method: POST
    path: /v1/notes/drop
    baseUrl: https://img.cdn.acme-notes.example
    encoding: form
    params:
      - {name: ids, in: body, type: array}
      - {name: If-Match, in: header, type: string}
"#;

fn told(text: &str) -> Vec<(&'static str, String)> {
    match Toolspec::from_yaml(text.as_bytes()) {
        Err(InvalidManifest::Text(faults)) => {
            faults.iter().map(|fault| (fault.rule.code(), fault.field.clone())).collect()
        }
        other => panic!("{other:?}\n{text}"),
    }
}

#[test]
fn every_field_is_read_and_printed() {
    for (case, text) in [("version 1", FIRST), ("version 2", TOOLSPEC)] {
        let spec = Toolspec::from_yaml(text.as_bytes()).unwrap();
        let printed = spec.to_yaml();
        assert_eq!(Toolspec::from_yaml(printed.as_bytes()).unwrap(), spec, "{case}: {printed}");
    }
    let spec = Toolspec::from_yaml(TOOLSPEC.as_bytes()).unwrap();
    assert_eq!(spec.base_url.to_string(), "https://{subdomain}.acme-desk.example");
    let [list, drop] = &spec.tools[..] else { panic!("two tools") };
    assert_eq!(list.params[1].wire_name.as_deref(), Some("filter[tags]"));
    assert_eq!(list.response.as_ref().unwrap().fields, ["id", "subject"]);
    assert_eq!(list.pagination.as_ref().unwrap().max_pages, 5);
    assert_eq!(
        (drop.encoding, drop.params[1].part.as_ref().unwrap().file_name.as_str()),
        (Encoding::Multipart, "note.txt")
    );
}

#[test]
fn models_are_shown_a_schema_that_is_always_an_object() {
    let spec = Toolspec::from_yaml(TOOLSPEC.as_bytes()).unwrap();
    let expected = json!({
        "type": "object",
        "properties": {
            "status": { "type": "string", "description": "Which tickets", "enum": ["open", "closed"], "default": "open" },
            "tags": { "type": "array", "items": { "type": "string", "maxLength": 32 }, "maxItems": 8 },
            "limit": { "type": "integer", "minimum": 1, "maximum": 100, "default": 20 },
        },
        "additionalProperties": false,
    });
    assert_eq!(spec.tools[0].input_schema(), expected);
    let expected = json!({
        "type": "object",
        "properties": {
            "id": { "type": "integer" },
            "file": { "type": "string" },
            "note": {
                "type": "object",
                "properties": {
                    "text": { "type": "string", "minLength": 1 },
                    "lines": { "type": "array", "items": {
                        "type": "object", "properties": { "at": { "type": "number" } }, "additionalProperties": false,
                    } },
                },
                "required": ["text"],
                "additionalProperties": false,
            },
        },
        "required": ["id"],
        "additionalProperties": false,
    });
    assert_eq!(spec.tools[1].input_schema(), expected);
}

#[test]
fn a_schema_admits_what_it_says() {
    let spec = Toolspec::from_yaml(TOOLSPEC.as_bytes()).unwrap();
    let schema = |tool: usize, param: usize| &spec.tools[tool].params[param].schema;
    for (case, schema, value, expected) in [
        ("choice", schema(0, 0), json!("open"), true),
        ("no choice", schema(0, 0), json!("gone"), false),
        ("list", schema(0, 1), json!(["a", "b"]), true),
        ("item too long", schema(0, 1), json!(["a".repeat(33)]), false),
        ("item of another type", schema(0, 1), json!([1]), false),
        ("too many", schema(0, 1), json!(vec!["a"; 9]), false),
        ("within", schema(0, 2), json!(100), true),
        ("above", schema(0, 2), json!(101), false),
        ("no integer", schema(0, 2), json!(1.5), false),
        ("text", schema(0, 2), json!("1"), false),
        ("nested", schema(1, 2), json!({ "text": "x", "lines": [{ "at": 0.5 }] }), true),
        ("property missing", schema(1, 2), json!({ "lines": [] }), false),
        ("property unknown", schema(1, 2), json!({ "text": "x", "more": 1 }), false),
        ("deep inside", schema(1, 2), json!({ "text": "x", "lines": [{ "at": "soon" }] }), false),
        ("null", schema(1, 2), json!(null), false),
    ] {
        assert_eq!(schema.admits(&value), expected, "{case}: {value}");
    }
}

/// Each attack is one change to a toolspec that passes.
#[test]
fn one_fault_each() {
    for (case, from, to, code, field) in [
        ("clear text", "https://{subdomain}", "http://{subdomain}", "V003", "baseUrl"),
        ("port", "desk.example\nconst", "desk.example:8443\nconst", "V003", "baseUrl"),
        ("path", "desk.example\nconst", "desk.example/v1\nconst", "V003", "baseUrl"),
        ("user", "https://{subdomain}", "https://evil.test@{subdomain}", "V003", "baseUrl"),
        ("fragment", "https://{subdomain}", "https://evil.test#{subdomain}", "V003", "baseUrl"),
        ("address", "https://hooks.acme-desk.example", "https://127.0.0.1", "V003", "tools[1].baseUrl"),
        ("query in the path", "/v1/{area}/tickets", "/v1/{area}/tickets?all=1", "V015", "tools[0].path"),
        ("path that wanders", "/v1/{area}/tickets", "/v1/../{area}/tickets", "V015", "tools[0].path"),
        ("another host in the path", "/v1/{area}/tickets", "//evil.test/{area}", "V015", "tools[0].path"),
        ("newline in the path", "path: /v1/{area}/tickets", "path: \"/v1/{area}\\r\\nX: y\"", "V015", "tools[0].path"),
        ("hole without parameter", "/v1/{area}/tickets", "/v1/{area}/{other}", "V012", "tools[0].path"),
        ("parameter without hole", "/v1/tickets/{id}/drop", "/v1/tickets/drop", "V012", "tools[1].params[0].name"),
        ("open hole", "/v1/tickets/{id}/drop", "/v1/tickets/{id/drop", "V012", "tools[1].path"),
        ("optional segment", "type: integer, required: true", "type: integer", "V012", "tools[1].params[0].required"),
        ("body of a GET", "name: status, in: query", "name: status, in: body", "V015", "tools[0].params[0].in"),
        ("header that routes", "name: Acme-Version", "name: Host", "V006", "constants[0].name"),
        ("second header in a value", "value: \"2026-01-01\"", "value: \"1\\r\\nX: y\"", "V004", "constants[0].value"),
        (
            "constant twice, by another spelling",
            "value: \"2026-01-01\"}",
            "value: \"1\"}\n  - {name: acme-version, in: header, value: \"2\"}",
            "V008",
            "constants[1].name",
        ),
        (
            "constant of all tools and of one",
            "- {name: area, in: path, value: \"{region}\"}",
            "- {name: area, in: path, value: \"{region}\"}\n      - {name: ACME-version, in: header, value: \"2\"}",
            "V008",
            "tools[0].constants[1].name",
        ),
        ("two parameters in one place", "as: \"filter[tags]\"", "as: limit", "V008", "tools[0].params[2].name"),
        (
            "parameter in the place of a constant",
            "name: limit, in: query, type: integer, minimum",
            "name: limit, as: ACME-VERSION, in: header, type: integer, minimum",
            "V008",
            "tools[0].params[2].as",
        ),
        (
            "page in the place of a constant",
            "- {name: area, in: path, value: \"{region}\"}",
            "- {name: area, in: path, value: \"{region}\"}\n      - {name: after, in: query, value: x}",
            "V008",
            "tools[0].pagination.param",
        ),
        ("constant list", "value: \"2026-01-01\"", "value: [1]", "V016", "constants[0].value"),
        ("name no model can say", "name: tags, as", "name: \"tags[]\", as", "V002", "tools[0].params[1].name"),
        ("default that is no choice", "default: open", "default: gone", "V016", "tools[0].params[0].default"),
        ("default of another type", "default: 20", "default: \"20\"", "V016", "tools[0].params[2].default"),
        ("choice of another type", "[open, closed]", "[open, 1]", "V016", "tools[0].params[0].enum[1]"),
        ("choice twice", "[open, closed]", "[open, open]", "V008", "tools[0].params[0].enum[1]"),
        ("bounds crossed", "maxItems: 8", "minItems: 9, maxItems: 8", "V016", "tools[0].params[1].minItems"),
        ("bound of another type", "minimum: 1,", "minLength: 1,", "V016", "tools[0].params[2].minLength"),
        ("type", "in: query, type: integer", "in: query, type: int", "V001", "tools[0].params[2].type"),
        (
            "place in a property",
            "{name: at, type",
            "{name: at, in: body, type",
            "V016",
            "tools[1].params[2].properties[1].items.properties[0].in",
        ),
        (
            "named items",
            "items: {type: string",
            "items: {name: x, type: string",
            "V016",
            "tools[0].params[1].items.name",
        ),
        ("head of a part", "fileName: note.txt", "fileName: \"a\\\"; b\"", "V015", "tools[1].params[1].fileName"),
        ("file without parts", "encoding: multipart", "encoding: json", "V015", "tools[1].params[1].fileName"),
        ("pointer", "select: /data/tickets", "select: data.tickets", "V013", "tools[0].response.select"),
        ("page said by a model", "param: after", "param: limit", "V015", "tools[0].pagination.param"),
        ("endless", "maxPages: 5", "maxPages: 5000", "V011", "tools[0].pagination.maxPages"),
        ("cursor from nowhere", ", next: /meta/next", "", "S003", "tools[0].pagination.next"),
        ("no description", "description: List tickets", "description: \"\"", "S003", "tools[0].description"),
        ("method", "method: GET", "method: CONNECT", "V001", "tools[0].method"),
        ("tool twice", "name: drop_ticket", "name: list_tickets", "V008", "tools[1].name"),
    ] {
        assert_eq!(TOOLSPEC.matches(from).count(), 1, "{case}: {from}");
        assert_eq!(told(&TOOLSPEC.replace(from, to)), [(code, field.to_string())], "{case}");
    }
}

#[test]
fn version_1_has_none_of_it() {
    let first = TOOLSPEC.replace("schemaVersion: 2", "schemaVersion: 1");
    let fields: Vec<_> = told(&first).into_iter().filter(|(code, _)| *code == "S004").map(|(_, field)| field).collect();
    for field in [
        "baseUrl",
        "constants",
        "tools[0].constants",
        "tools[0].params[0].enum",
        "tools[0].params[0].default",
        "tools[0].params[1].as",
        "tools[0].params[1].items",
        "tools[0].params[2].minimum",
        "tools[0].response",
        "tools[0].pagination",
        "tools[1].encoding",
        "tools[1].params[2].properties",
    ] {
        assert!(fields.iter().any(|told| told == field), "{field}: {fields:?}");
    }
    // W44: a parameter named `on` is text or nothing.
    assert_eq!(told(&FIRST.replace("name: \"page[size]\"", "name: on")), [("Y011", String::new())]);
    assert!(Toolspec::from_yaml(FIRST.replace("name: \"page[size]\"", "name: \"on\"").as_bytes()).is_ok());
}

#[test]
fn json_says_nothing_twice() {
    let with = |default: &str| {
        let param = format!(r#"{{"name":"note","in":"body","type":"object","default":{default}}}"#);
        let tool = format!(r#"{{"name":"a","description":"A","method":"POST","path":"/a","params":[{param}]}}"#);
        let head = r#""schemaVersion":2,"name":"a","version":"1.0.0","baseUrl":"https://a.example""#;
        Toolspec::from_json(format!(r#"{{{head},"tools":[{tool}]}}"#).as_bytes())
    };
    assert!(with(r#"{"to":"a","as":{"b":1}}"#).is_ok());
    for default in [r#"{"to":"a","to":"b"}"#, r#"{"as":{"b":1,"\u0062":2}}"#] {
        let refused = with(default);
        assert!(matches!(refused, Err(InvalidManifest::Syntax(_))), "{default}: {refused:?}");
    }
}

#[test]
fn a_toolspec_asks_for_nothing_beyond_its_manifest() {
    let (first, second) = (crate::MANIFEST, MANIFEST);
    let pair = |manifest: &str, spec: &str| -> Vec<(String, Problem)> {
        let manifest = Manifest::from_yaml(manifest.as_bytes()).unwrap();
        let spec = Toolspec::from_yaml(spec.as_bytes()).unwrap();
        spec.check_against(&manifest).into_iter().map(|fault| (fault.path, fault.problem)).collect()
    };
    assert_eq!(pair(first, FIRST), []);
    assert_eq!(pair(second, TOOLSPEC), []);
    let host = |host: &str| Problem::HostNotAllowed { host: host.into() };
    for (case, manifest, spec, field, problem) in [
        ("another server", first, FIRST.replace("name: acme-notes", "name: other"), "name", Problem::NotManifests),
        ("another version", first, FIRST.replace("1.2.0", "1.2.1"), "version", Problem::NotManifests),
        (
            "another host",
            first,
            FIRST.replace("https://api.", "https://www."),
            "baseUrl",
            host("www.acme-notes.example"),
        ),
        (
            "W40 two labels under a wildcard for one",
            first,
            FIRST.replace("https://img.cdn", "https://a.img.cdn"),
            "tools[1].baseUrl",
            host("a.img.cdn.acme-notes.example"),
        ),
        (
            "W42 a fixed tenant",
            second,
            TOOLSPEC.replace("{subdomain}", "yourcompany"),
            "baseUrl",
            host("yourcompany.acme-desk.example"),
        ),
        (
            "undeclared variable",
            second,
            TOOLSPEC.replace("\"{region}\"", "\"{zone}\""),
            "tools[0].constants[0].value",
            Problem::UnknownVariable { variable: "zone".into() },
        ),
        (
            "auth in a sealed server",
            first,
            FIRST.replace("tools:\n", "auth: {header: X-Key, format: \"{token}\"}\ntools:\n"),
            "auth",
            Problem::AuthInSealed,
        ),
        (
            "W43 a model in the place of a sealed credential",
            first,
            FIRST.replace("If-Match", "authorization"),
            "tools[1].params[1].name",
            Problem::PlaceOfAuth,
        ),
        (
            "a toolspec in the place of a sealed credential",
            first,
            FIRST
                .replace("schemaVersion: 1", "schemaVersion: 2")
                .replace("\"page[size]\"", "page_size")
                .replace("tools:\n", "constants: [{name: AUTHORIZATION, in: header, value: mine}]\ntools:\n"),
            "constants[0].name",
            Problem::PlaceOfAuth,
        ),
    ] {
        assert_eq!(pair(manifest, &spec), [(field.into(), problem)], "{case}");
    }
    let renamed = FIRST.replace("name: drop_note", "name: add_note");
    let expected = [
        ("tools[1].name".into(), Problem::UnknownTool),
        ("tools".into(), Problem::ToolMissing { name: "drop_note".into() }),
    ];
    assert_eq!(pair(first, &renamed), expected);
}

/// A credential in a JSON body has a place in it, and all that is on the way there or inside.
#[test]
fn nothing_stands_where_a_nested_credential_goes() {
    let manifest = crate::MANIFEST
        .replace(
            r#"{"header":"Authorization","format":"Bearer {token}"}"#,
            r#"{"json":"/auth/to~1ken"},"bind":[{"hosts":["api.acme-notes.example"]}]"#,
        )
        .replace(r#""schemaVersion":1"#, r#""schemaVersion":2"#);
    let manifest = Manifest::from_yaml(manifest.as_bytes()).unwrap();
    for (name, wire_name, is_free) in [
        ("auth", "", false),
        ("a", "auth", false),
        ("a", "/auth", false),
        ("a", "/auth/to~1ken", false),
        ("a", "/auth/to~1ken/x", false),
        ("a", "/auth/to", true),
        ("a", "/auth/user", true),
        ("a", "/authority", true),
        ("a", "auth/to~1ken", true),
        ("to", "", true),
    ] {
        let wire = if wire_name.is_empty() { String::new() } else { format!(", as: \"{wire_name}\"") };
        let param = format!("{{name: {name}{wire}, in: body, type: string}}");
        let spec = FIRST
            .replace("schemaVersion: 1", "schemaVersion: 2")
            .replace("{name: \"page[size]\", in: query, type: integer}", &param)
            .replacen("method: GET", "method: POST", 1);
        let spec = Toolspec::from_yaml(spec.as_bytes()).unwrap();
        let problems: Vec<_> = spec.check_against(&manifest).into_iter().map(|fault| fault.problem).collect();
        assert_eq!(problems, if is_free { vec![] } else { vec![Problem::PlaceOfAuth] }, "{name} {wire_name}");
    }
}

#[test]
fn an_entrusted_server_says_where_its_credentials_go() {
    let entrusted = crate::MANIFEST
        .replace("\"sealed\"", "\"entrusted\"")
        .replace(r#"{"header":"Authorization","format":"Bearer {token}"}"#, r#"{"env":"ACME_KEY"}"#);
    let manifest = Manifest::from_yaml(entrusted.as_bytes()).unwrap();
    let check = |auth: &str| {
        let spec = Toolspec::from_yaml(FIRST.replace("tools:\n", &format!("{auth}tools:\n")).as_bytes()).unwrap();
        spec.check_against(&manifest).into_iter().map(|fault| fault.problem).collect::<Vec<_>>()
    };
    assert_eq!(check(""), [Problem::AuthMissing]);
    assert_eq!(check("auth: {header: X-Key, format: \"{token}\"}\n"), []);
    let second = |auths: &str| {
        FIRST
            .replace("schemaVersion: 1", "schemaVersion: 2")
            .replace("\"page[size]\"", "page_size")
            .replace("tools:\n", &format!("{auths}tools:\n"))
    };
    for (place, valid) in
        [("query: key", true), ("path: k", true), ("form: key", true), ("json: /auth/key", true), ("env: KEY", false)]
    {
        let text = second(&format!("auths: [{{credential: acme_token, inject: {{{place}}}}}]\n"));
        let spec = Toolspec::from_yaml(text.as_bytes());
        assert_eq!(
            spec.as_ref().map(|spec| spec.check_against(&manifest)).ok(),
            valid.then(Vec::new),
            "{place}: {spec:?}"
        );
    }
    assert_eq!(told(&second("auth: {header: X-Key, format: \"{token}\"}\n")), [("V010", "auth".into())]);
    let unknown = second("auths: [{credential: other, inject: {query: key}}]\n");
    let faults = Toolspec::from_yaml(unknown.as_bytes()).unwrap().check_against(&manifest);
    assert_eq!(faults[0].problem, Problem::UnknownCredential);
    // W43: a key is never a model's to say, even by another spelling of its place.
    let header = second("auths: [{credential: acme_token, inject: {header: if-match, format: \"{token}\"}}]\n");
    assert_eq!(told(&header), [("V010", "tools[1].params[1].name".into())]);
    let constant = |place: &str| {
        let auths = format!("auths: [{{credential: acme_token, inject: {place}}}]\n");
        second(&format!("{auths}constants: [{{name: X-KEY, in: header, value: mine}}]\n"))
    };
    let told = told(&constant("{header: x-key, format: \"{token}\"}"));
    assert_eq!(told, [("V010", "constants[0].name".into())]);
    assert!(Toolspec::from_yaml(constant("{query: x-key}").as_bytes()).is_ok());
}
