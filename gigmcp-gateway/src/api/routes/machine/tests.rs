use serde_json::json;

use super::{super::world::*, *};
use crate::store::TestDatabase;

#[tokio::test]
async fn a_registrys_credential_is_kept_for_it_and_not_told() {
    let world = World::new(TestDatabase::sqlite()).await;
    let adm = signed_in("adm", Role::Admin);
    let login = |user: &str, password: &str| json!({ "username": user, "password": password });
    for (case, actor, path, body, expected) in [
        ("a user", &signed_in("ann", Role::User), "ghcr.io", login("ann", "sentinel-pass"), "forbidden"),
        ("who looks on", &viewing("adm", "ann"), "ghcr.io", login("ann", "sentinel-pass"), "view_only"),
        ("no registry", &adm, "ghcr.io%2F..", login("ann", "sentinel-pass"), "not_found"),
        ("an address with a user", &adm, "a@ghcr.io", login("ann", "sentinel-pass"), "not_found"),
        ("two lines", &adm, "ghcr.io", login("ann", "sentinel-pass\nmore"), "unacceptable"),
        ("two users", &adm, "ghcr.io", login("ann:bob", "sentinel-pass"), "unacceptable"),
        ("twin", &adm, "ghcr.io", login("ann", "sentinel-pass"), "ok"),
        ("twin: a key", &with_key("adm", Role::Admin, "servers:write"), "r.example:5000", login("ann", "x"), "ok"),
    ] {
        let found = world.code(actor, Method::PUT, &format!("/registries/{path}"), body).await;
        assert_eq!(found, expected, "{case}");
    }
    let (_, listed) = world.ask(&adm, Method::GET, "/registries", json!(null)).await;
    let hosts: Vec<_> = listed["items"].as_array().expect("a list").iter().map(|item| item["host"].clone()).collect();
    assert_eq!(hosts, ["ghcr.io", "r.example:5000"]);
    let rows = world.store().audit_tail(100).await.expect("it can be read");
    assert!(!format!("{listed}{rows:?}").contains("sentinel-pass"));
    assert_eq!(world.told().await.len(), 2, "each that was done");
    for expected in ["ok", "not_found"] {
        assert_eq!(world.code(&adm, Method::DELETE, "/registries/ghcr.io", json!(null)).await, expected);
    }
}

#[tokio::test]
async fn the_state_of_keys_and_host_is_told_without_the_keys() {
    let world = World::new(TestDatabase::sqlite()).await;
    let adm = signed_in("adm", Role::Admin);
    let body = json!({ "value": "sentinel" });
    assert_eq!(world.code(&adm, Method::PUT, "/credentials/notes/API_KEY", body).await, "ok");
    let (_, keys) = world.ask(&adm, Method::GET, "/keys", json!(null)).await;
    assert_eq!((&keys["secrets"], &keys["refused"], &keys["ledger"]), (&json!(1), &json!([]), &json!(null)), "{keys}");
    let aud = signed_in("aud", Role::Auditor);
    let (_, host) = world.ask(&aud, Method::GET, "/host", json!(null)).await;
    assert!(host["layers"].as_array().is_some_and(|layers| layers.len() > 3), "{host}");
    assert_eq!(world.code(&aud, Method::GET, "/keys", json!(null)).await, "forbidden");
    let (_, collected) = world.ask(&adm, Method::POST, "/images/collect", json!(null)).await;
    assert_eq!(collected["trees"], 0, "{collected}");
}
