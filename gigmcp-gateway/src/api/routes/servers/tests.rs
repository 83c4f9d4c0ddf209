use serde_json::json;

use super::{super::world::*, *};
use crate::store::{InstanceRow, TestDatabase};

#[tokio::test]
async fn everybody_sees_what_a_server_reaches_and_auditors_how_it_is_declared() {
    let world = World::new(TestDatabase::sqlite()).await;
    let (ann, aud) = (signed_in("ann", Role::User), signed_in("aud", Role::Auditor));
    let (_, shown) = world.ask(&ann, Method::GET, "/servers/notes", json!(null)).await;
    assert_eq!(shown["reaches"][0]["host"], "api.example.com");
    assert_eq!((&shown["source"], &shown["credentials"][0]["set"]), (&json!("host_tools"), &json!(false)));
    assert!(!shown.to_string().contains("/opt/inside"), "{shown}");
    let (_, shown) = world.ask(&aud, Method::GET, "/servers/notes", json!(null)).await;
    assert_eq!(shown["spec"]["read_only"], json!(["/opt/inside"]), "twin");
    let (_, listed) = world.ask(&ann, Method::GET, "/servers", json!(null)).await;
    assert_eq!(listed["items"][0]["name"], "notes");
    assert_eq!(world.code(&ann, Method::GET, "/servers/none", json!(null)).await, "not_found");
    let other = with_key("ann", Role::User, "audit:read");
    assert_eq!(world.code(&other, Method::GET, "/servers", json!(null)).await, "forbidden");
    let key = with_key("ann", Role::User, "servers:read");
    assert_eq!(world.code(&key, Method::GET, "/servers", json!(null)).await, "ok", "twin");
}

#[tokio::test]
async fn only_administrators_change_servers() {
    let world = World::new(TestDatabase::sqlite()).await;
    let hash = format!("sha256:{}", "0a".repeat(32));
    for (method, path, body, allowed) in [
        (Method::POST, "/installs/plan", json!({ "reference": "files" }), "unavailable"),
        (Method::POST, "/installs", json!({ "reference": "files", "manifest_hash": hash }), "unavailable"),
        (Method::POST, "/servers/notes/rollback", json!({ "revision": 1 }), "conflict"),
        (Method::DELETE, "/servers/notes", json!(null), "ok"),
    ] {
        for (who, actor, expected) in [
            ("a user", signed_in("ann", Role::User), "forbidden"),
            ("an auditor", signed_in("aud", Role::Auditor), "forbidden"),
            ("a user's key", with_key("ann", Role::User, "servers:write"), "forbidden"),
            ("an administrator's key to read", with_key("adm", Role::Admin, "servers:read"), "forbidden"),
            ("an administrator who looks on", viewing("adm", "ann"), "view_only"),
            ("twin: an administrator", signed_in("adm", Role::Admin), allowed),
        ] {
            let found = world.code(&actor, method.clone(), path, body.clone()).await;
            assert_eq!(found, expected, "{who}: {method} {path}");
        }
    }
    assert_eq!(world.told().await, ["removes notes, by the command line"]);
    let (ann, adm) = (signed_in("ann", Role::User), signed_in("adm", Role::Admin));
    assert_eq!(world.code(&ann, Method::GET, "/catalog", json!(null)).await, "unavailable", "no registry is set");
    for body in [json!({ "reference": "../files" }), json!({ "reference": "https://evil.example/files" })] {
        assert_eq!(world.code(&adm, Method::POST, "/installs/plan", body).await, "invalid");
    }
}

#[tokio::test]
async fn instances_are_shown_to_whom_they_run_for() {
    let world = World::new(TestDatabase::sqlite()).await;
    for (id, owner, ended_at) in [("a", "ann", Some(2)), ("b", "ann", None), ("c", "bob", None)] {
        let row = InstanceRow {
            id: gigmcp_egress::Identity::new(id.to_owned()),
            owner: owner.parse().expect("an owner"),
            profile: "work".to_owned(),
            server: server("notes"),
            revision: 1,
            started_at: 1,
            ended_at,
        };
        world.store().begin_instance(row).await.expect("it is written");
    }
    let seen = async |actor: &Actor, path: &str| {
        let (_, page) = world.ask(actor, Method::GET, path, json!(null)).await;
        let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}")).iter();
        let seen = items.map(|item| format!("{}:{} ", item["id"], item["state"]).replace('"', "")).collect::<String>();
        (seen, page["next_cursor"].as_str().map(ToOwned::to_owned))
    };
    assert_eq!(seen(&signed_in("ann", Role::User), "/instances").await.0, "a:ended b:unknown ");
    assert_eq!(seen(&signed_in("bob", Role::User), "/instances?unended=true&server=notes").await.0, "c:unknown ");
    let aud = signed_in("aud", Role::Auditor);
    let (first, next) = seen(&aud, "/instances?limit=2").await;
    let (second, end) = seen(&aud, &format!("/instances?limit=2&cursor={}", next.expect("more"))).await;
    assert_eq!((first.as_str(), second.as_str(), end), ("a:ended b:unknown ", "c:unknown ", None));
    let (ann, bob) = (signed_in("ann", Role::User), signed_in("bob", Role::User));
    let (adm, none) = (signed_in("adm", Role::Admin), json!(null));
    for (method, path, [ann_, bob_, aud_, adm_, viewer]) in [
        (Method::GET, "/instances/b", ["ok", "not_found", "ok", "ok", "ok"]),
        (Method::POST, "/instances/b/stop", ["conflict", "not_found", "not_found", "conflict", "view_only"]),
        (Method::POST, "/instances/b/restart", ["conflict", "not_found", "not_found", "not_found", "view_only"]),
    ] {
        for (who, actor, expected) in [
            ("the owner", &ann, ann_),
            ("another", &bob, bob_),
            ("an auditor", &aud, aud_),
            ("an administrator", &adm, adm_),
            ("who looks on", &viewing("adm", "ann"), viewer),
        ] {
            assert_eq!(world.code(actor, method.clone(), path, none.clone()).await, expected, "{who}: {path}");
        }
    }
    for (who, actor, expected) in [
        ("a user", signed_in("ann", Role::User), "forbidden"),
        ("a user's key", with_key("ann", Role::User, "system:read"), "forbidden"),
        ("an auditor's key for something else", with_key("aud", Role::Auditor, "audit:read"), "forbidden"),
        ("twin: an auditor's key", with_key("aud", Role::Auditor, "system:read"), "ok"),
        ("twin: an auditor", aud, "ok"),
    ] {
        assert_eq!(world.code(&actor, Method::GET, "/metrics", json!(null)).await, expected, "{who}");
    }
}
