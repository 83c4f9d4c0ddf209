//! The API of a real gateway, asked with keys.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    client::{Answer, send},
    gateway::Installation,
    install::{Scene, fetch, image},
    internet::Internet,
};

pub(crate) struct Caller<'a> {
    internet: &'a Internet,
    key: String,
}

impl<'a> Caller<'a> {
    fn new(scene: &Scene, internet: &'a Internet, name: &str, scopes: &str) -> Self {
        Self::of(&scene.installation, internet, name, scopes)
    }

    pub(crate) fn of(installation: &Installation, internet: &'a Internet, name: &str, scopes: &str) -> Self {
        let created = installation.json(&["api-key", "create", name, "--scopes", scopes], "");
        let key = ["key", "token"].into_iter().find_map(|member| created[member].as_str());
        Self { internet, key: key.unwrap_or_else(|| panic!("{created}")).to_owned() }
    }

    pub(crate) fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header::HOST, crate::client::ADDRESS);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        send(self.internet, request.body(body).unwrap())
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, Value::Null);
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        answer.json()
    }
}

#[test]
fn a_server_is_installed_by_naming_what_was_looked_at() {
    let (internet, mut scene) = (Internet::new(), Scene::new());
    let (first, second) = (image("gigmcp-demo-fetch", &[]), image("gigmcp-demo-fetch", &[("/app/new", b"1")]));
    for image in [&first, &second] {
        image.write(&scene.registry.layouts());
    }
    let hosts = ["api.example.com", "other.example.com"];
    let (old, new) = (fetch("1.0.0", &first, &hosts[..1]), fetch("1.1.0", &second, &hosts));
    scene.registry.publish(&[&old, &new]);
    let caller = Caller::new(&scene, &internet, "ci", "servers:write,system:read,audit:read");
    let settings = scene.registry.settings();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let _gateway = scene.installation.serve(&internet, &settings);

    assert_eq!(caller.get("/api/v1/catalog?search=FETCH")["items"][0]["version"], "1.1.0");
    assert_eq!(caller.get("/api/v1/catalog/fetch")["versions"], json!(["1.1.0", "1.0.0"]));
    let plan = |reference: &str| caller.ask(Method::POST, "/api/v1/installs/plan", json!({ "reference": reference }));
    let planned = plan("fetch@1.0.0").json();
    assert_eq!((&planned["standing"], &planned["entrusted"]), (&json!("new"), &json!(false)), "{planned}");
    assert_eq!(caller.get("/api/v1/servers")["items"], json!([]), "nothing was agreed to yet");
    let install = |reference: &str, hash: &Value| {
        let body = json!({ "reference": reference, "manifest_hash": hash });
        caller.ask(Method::POST, "/api/v1/installs", body)
    };
    let other = install("fetch@1.1.0", &planned["manifest_hash"]);
    assert_eq!((other.status, &other.json()["error"]["code"]), (StatusCode::CONFLICT, &json!("conflict")), "{other:?}");
    let done = install("fetch@1.0.0", &planned["manifest_hash"]);
    assert_eq!(done.status, StatusCode::OK, "twin: {done:?}");
    assert_eq!(done.json()["credentials_to_set"], json!(["api-key"]));

    let changes = caller.get("/api/v1/servers/fetch/diff");
    assert_eq!(changes["after"], "1.1.0");
    let planned = plan("fetch").json();
    assert_eq!((&planned["standing"], &planned["before"]), (&json!("other"), &json!("1.0.0")));
    assert!(planned["changes"].to_string().contains("other.example.com"), "{planned}");
    assert_eq!(install("fetch", &planned["manifest_hash"]).status, StatusCode::OK);
    let reaches = caller.get("/api/v1/servers/fetch")["reaches"].to_string();
    assert!(reaches.contains("other.example.com"), "{reaches}");
    let revision = |document: &Value| document["revision"].as_i64().unwrap();
    let (first, second) = (revision(&done.json()), revision(&caller.get("/api/v1/servers/fetch")));
    // For whoever agreed to the first, and for whoever would go back to it.
    let since = caller.get(&format!("/api/v1/servers/fetch/diff?from={first}"));
    assert_eq!((&since["before"], &since["after"], revision(&since)), (&json!("1.0.0"), &json!("1.1.0"), second));
    assert!(since["changes"].to_string().contains("other.example.com"), "{since}");
    let nothing = caller.get(&format!("/api/v1/servers/fetch/diff?from={second}"));
    assert_eq!(nothing["changes"], json!([]), "twin");
    let before = caller.get("/api/v1/servers/fetch/diff?previous=true");
    assert_eq!((&before["after"], revision(&before)), (&json!("1.0.0"), first));
    let unknown = caller.ask(Method::GET, "/api/v1/servers/fetch/diff?from=999", Value::Null);
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let back = |seen: i64| caller.ask(Method::POST, "/api/v1/servers/fetch/rollback", json!({ "revision": seen }));
    assert_eq!(back(first).status, StatusCode::CONFLICT, "it is another by now");
    let back = back(second);
    assert_eq!((back.status, &back.json()["version"]), (StatusCode::OK, &json!("1.0.0")), "{back:?}");
    for reference in ["none", "fetch@9.9.9"] {
        assert_eq!(plan(reference).status, StatusCode::NOT_FOUND, "{reference}");
    }
    assert_eq!(caller.ask(Method::DELETE, "/api/v1/servers/fetch", Value::Null).status, StatusCode::NO_CONTENT);
    let told = caller.get("/api/v1/audit?limit=200");
    let told = told["items"].as_array().unwrap().iter();
    let consents = told.filter(|row| row["kind"] == "consent").map(|row| row["owner"].clone());
    assert_eq!(consents.collect::<Vec<_>>(), ["local", "local"]);
    let told = caller.get("/api/v1/audit?kind=rollback");
    let told = told["items"][0]["subject"].as_str().unwrap().to_owned();
    assert!(told.starts_with("1.0.0 ") && told.ends_with(", by local with the key ci"), "{told}");
}

#[test]
fn health_is_told_to_all_and_counters_to_who_may_see_them() {
    let (internet, scene) = (Internet::new(), Scene::new());
    let watcher = Caller::new(&scene, &internet, "prometheus", "system:read");
    let other = Caller::new(&scene, &internet, "other", "servers:read");
    let nobody = Caller { internet: &internet, key: "none".to_owned() };
    let _gateway = scene.serve(&internet);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(nobody.ask(Method::GET, path, Value::Null).status, StatusCode::OK, "{path}");
    }
    for path in ["/metrics", "/api/v1/metrics"] {
        let counters = watcher.ask(Method::GET, path, Value::Null);
        assert_eq!(counters.status, StatusCode::OK);
        assert!(String::from_utf8_lossy(&counters.body).contains("\ngigmcp_instances 0\n"), "{counters:?}");
        assert_eq!(other.ask(Method::GET, path, Value::Null).status, StatusCode::FORBIDDEN);
        assert_eq!(nobody.ask(Method::GET, path, Value::Null).status, StatusCode::UNAUTHORIZED);
    }
}
