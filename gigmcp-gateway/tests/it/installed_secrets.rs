//! Secrets of installed servers across upgrades: who sets one agrees to a place and to hosts, and to nothing else.

use serde_json::{Value, json};

use crate::{
    client::Session,
    gateway::Installation,
    install::{Scene, environment, image},
    internet::Internet,
    registry::{Registry, manifest},
};

const KEY: &str = "set-for-the-sealed-one";
const OTHER: &str = "set-for-the-entrusted-one";

#[test]
fn a_secret_of_a_sealed_server_is_not_given_to_an_entrusted_one_of_its_name_nor_the_other_way() {
    let internet = Internet::new();
    let mut scene = Scene { registry: Registry::new(7), installation: Installation::new() };
    let image = image("gigmcp-demo-fetch", &[]);
    image.write(&scene.registry.layouts());
    let of = |version: &str, tier: &'static str, credential: Value| {
        manifest("fetch", version, image.digest, move |document| {
            document["tier"] = json!(tier);
            document["entitlements"]["egress"] = json!(["api.example.com"]);
            document["credentials"] = json!([credential]);
        })
    };
    let sealed = json!({
        "id": "key", "type": "api_key", "inject": {"header": "Authorization", "format": "Bearer {token}"},
        "placeholder": {"env": "API_KEY"},
    });
    let sealed = of("1.0.0", "sealed", sealed);
    let entrusted = json!({"id": "key", "type": "api_key", "inject": {"env": "API_KEY"}});
    let entrusted = of("1.1.0", "entrusted", entrusted);
    scene.registry.publish(&[&sealed]);
    let token = scene.installation.profile("work", &[]);
    scene.install("fetch", &["--profile", "work"]);
    scene.installation.json(&["secret", "set", "fetch", "key"], KEY);
    scene.registry.publish(&[&sealed, &entrusted]);

    let upgraded = scene.install("fetch", &["--entrust"]);
    assert_eq!(upgraded["secrets_to_set"], json!(["key"]), "what was set is for another place");
    let gateway = scene.serve(&internet);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    let call = || session.call("fetch_fetch", &json!({"url": "https://api.example.com/"})).json();
    assert_eq!(call()["error"]["data"]["code"], "sandbox-not-started");
    gateway.wait_for("was set for other hosts or another place");
    assert!(internet.seen().is_empty());
    drop(gateway);
    scene.installation.json(&["secret", "set", "fetch", "key"], OTHER);
    let gateway = scene.serve(&internet);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    let call = || session.call("fetch_fetch", &json!({"url": "https://api.example.com/"})).json();
    call();
    assert!(environment(&gateway).contains(&format!("API_KEY={OTHER}")), "twin: {}", gateway.log());
    let asked = internet.seen().len();

    let back = scene.json(&["server", "rollback", "fetch"]);
    assert_eq!((&back["version"], &back["secrets_to_set"]), (&json!("1.0.0"), &json!(["key"])));
    call();
    assert!(internet.seen()[asked..].iter().all(|seen| seen.count(OTHER) == 0));
    drop(gateway);
    let asked = internet.seen().len();
    scene.installation.json(&["secret", "set", "fetch", "key"], KEY);
    let gateway = scene.serve(&internet);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    let answer = session.call("fetch_fetch", &json!({"url": "https://api.example.com/"})).json();
    let seen = internet.seen();
    let sent = seen[asked..].iter().filter(|seen| seen.count(KEY) == 1).count();
    assert_eq!(sent, 1, "twin: {answer} {seen:?}\n{}", gateway.log());
}
