use serde_json::json;

use super::{super::world::*, *};
use crate::people::Actor;
use crate::store::on_both;

async fn with_work(world: &World) {
    let ann = signed_in("ann", Role::User);
    let revision = world.revision("notes").await;
    let other = json!({ "slug": "work", "servers": { "notes": revision + 1 } });
    assert_eq!(world.code(&ann, Method::POST, "/profiles", other).await, "conflict", "nobody looked at that");
    let body = json!({ "slug": "work", "servers": { "notes": revision } });
    let (status, answer) = world.ask(&ann, Method::POST, "/profiles", body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert!(answer["token"].as_str().is_some_and(|token| token.starts_with("gig")), "{answer}");
}

#[tokio::test]
async fn a_profile_is_its_owners() {
    on_both(async |test| {
        let world = World::new(test).await;
        with_work(&world).await;
        let (ann, bob) = (signed_in("ann", Role::User), signed_in("bob", Role::User));
        let (aud, adm) = (signed_in("aud", Role::Auditor), signed_in("adm", Role::Admin));
        let settings = json!({ "settings": { "tools": "meta" } });
        let off = json!({ "enabled": false });
        for (method, path, body, [ann_, bob_, aud_, adm_, viewer, key]) in [
            (Method::GET, "/profiles/work", json!(null), ["ok", "not_found", "ok", "ok", "ok", "forbidden"]),
            (
                Method::PATCH,
                "/profiles/work",
                settings,
                ["ok", "not_found", "not_found", "not_found", "view_only", "forbidden"],
            ),
            (
                Method::PUT,
                "/profiles/work/servers/notes",
                json!({ "revision": world.revision("notes").await }),
                ["ok", "not_found", "not_found", "not_found", "view_only", "forbidden"],
            ),
            (
                Method::PUT,
                "/profiles/work/servers/notes/tools/rm",
                off,
                ["ok", "not_found", "not_found", "not_found", "view_only", "forbidden"],
            ),
            (
                Method::POST,
                "/profiles/work/token-report",
                json!(null),
                ["-", "not_found", "not_found", "not_found", "view_only", "forbidden"],
            ),
            (
                Method::POST,
                "/profiles",
                json!({ "slug": "more" }),
                ["ok", "conflict", "conflict", "conflict", "view_only", "forbidden"],
            ),
            // The last: it is gone then, for whoever may.
            (
                Method::DELETE,
                "/profiles/work/servers/notes",
                json!(null),
                ["ok", "not_found", "not_found", "not_found", "view_only", "forbidden"],
            ),
            (
                Method::DELETE,
                "/profiles/work",
                json!(null),
                ["ok", "not_found", "not_found", "not_found", "view_only", "forbidden"],
            ),
        ] {
            let other = with_key("ann", Role::User, "audit:read");
            let viewing = viewing("adm", "ann");
            for (who, actor, expected) in [
                ("a key for something else", &other, key),
                ("who looks on", &viewing, viewer),
                ("the owner", &ann, ann_),
                ("another", &bob, bob_),
                ("an auditor", &aud, aud_),
                ("an administrator", &adm, adm_),
            ] {
                if expected != "-" {
                    let found = world.code(actor, method.clone(), path, body.clone()).await;
                    assert_eq!(found, expected, "{who}: {method} {path}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_administrator_may_take_away_and_a_key_may_change_what_it_was_made_for() {
    let world = World::new(crate::store::TestDatabase::sqlite()).await;
    with_work(&world).await;
    let key = with_key("ann", Role::User, "profiles:write");
    let settings = json!({ "settings": { "max_servers": 2 } });
    assert_eq!(world.code(&key, Method::PATCH, "/profiles/work", settings).await, "ok");
    assert_eq!(world.code(&key, Method::POST, "/profiles/work/token-report", json!(null)).await, "forbidden");
    let adm = signed_in("adm", Role::Admin);
    assert_eq!(world.code(&adm, Method::DELETE, "/profiles/work/servers/notes", json!(null)).await, "ok");
    assert_eq!(world.code(&adm, Method::DELETE, "/profiles/work", json!(null)).await, "ok");
    let told = world.told().await;
    assert_eq!(
        told,
        [
            "said max_servers of work, by ann with the key ci",
            "took notes out of work, by the command line",
            "deleted work, by the command line"
        ]
    );
}

#[tokio::test]
async fn what_is_said_is_said_whole_or_not_at_all() {
    let world = World::new(crate::store::TestDatabase::sqlite()).await;
    with_work(&world).await;
    let ann = signed_in("ann", Role::User);
    for (case, body, expected) in [
        ("twin", json!({ "settings": { "tools": "auto" }, "servers": { "notes": { "disabled_tools": ["a"] } } }), "ok"),
        ("a value that is none", json!({ "settings": { "tools": "meta", "max_servers": 0 } }), "unacceptable"),
        ("an unknown name", json!({ "settings": { "owner": "bob" } }), "unacceptable"),
        ("an unknown member", json!({ "owner": "bob" }), "invalid"),
        ("a server that is not in it", json!({ "servers": { "other": { "spares": 1 } } }), "not_found"),
        ("no server's name", json!({ "servers": { "../x": { "spares": 1 } } }), "not_found"),
        ("a server within a server", json!({ "settings": { "servers": { "x": { "y": 1 } } } }), "unacceptable"),
    ] {
        assert_eq!(world.code(&ann, Method::PATCH, "/profiles/work", body).await, expected, "{case}");
    }
    let (_, shown) = world.ask(&ann, Method::GET, "/profiles/work", json!(null)).await;
    assert_eq!(shown["settings"], json!({ "tools": "auto", "servers": { "notes": { "disabled_tools": ["a"] } } }));
    assert_eq!(shown["servers"][0]["agreed"], true);
    let path = "/profiles/work/servers/notes/tools/b";
    assert_eq!(world.code(&ann, Method::PUT, path, json!({ "enabled": false })).await, "ok");
    assert_eq!(
        world.code(&ann, Method::PUT, "/profiles/work/servers/notes/tools/a", json!({ "enabled": true })).await,
        "ok"
    );
    let (_, shown) = world.ask(&ann, Method::GET, "/profiles/work", json!(null)).await;
    assert_eq!(shown["settings"]["servers"]["notes"]["disabled_tools"], json!(["b"]));
    let revision = shown["servers"][0]["revision"].as_i64().expect("a number");
    let path = "/profiles/work/servers/notes";
    assert_eq!(world.code(&ann, Method::PUT, path, json!({})).await, "invalid", "what nobody looked at");
    assert_eq!(world.code(&ann, Method::PUT, path, json!({ "revision": revision + 1 })).await, "conflict");
    assert_eq!(world.code(&ann, Method::PUT, path, json!({ "revision": revision })).await, "ok", "twin");
}

#[tokio::test]
async fn everybody_lists_their_own_and_auditors_all() {
    let world = World::new(crate::store::TestDatabase::sqlite()).await;
    with_work(&world).await;
    let bob = signed_in("bob", Role::User);
    assert_eq!(world.code(&bob, Method::POST, "/profiles", json!({ "slug": "home" })).await, "ok");
    let names = async |actor: &Actor, path: &str| {
        let (_, page) = world.ask(actor, Method::GET, path, json!(null)).await;
        let items = page["items"].as_array().expect("a list").iter();
        let names: Vec<_> = items.map(|item| item["slug"].as_str().expect("text").to_owned()).collect();
        (names.join(","), page["next_cursor"].as_str().map(ToOwned::to_owned))
    };
    assert_eq!(names(&signed_in("ann", Role::User), "/profiles").await.0, "work");
    assert_eq!(names(&bob, "/profiles").await.0, "home");
    assert_eq!(names(&viewing("adm", "bob"), "/profiles").await.0, "home", "as they see it");
    let aud = signed_in("aud", Role::Auditor);
    assert_eq!(names(&aud, "/profiles").await.0, "home,work");
    let (first, next) = names(&aud, "/profiles?limit=1").await;
    let (second, end) = names(&aud, &format!("/profiles?limit=1&cursor={}", next.expect("more"))).await;
    assert_eq!((first.as_str(), second.as_str(), end), ("home", "work", None));
}
