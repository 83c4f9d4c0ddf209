use serde_json::json;

use super::{super::world::*, *};
use crate::{people::Role, store::on_both};

const VALUE: &str = "correct-horse-battery";

#[tokio::test]
async fn a_credential_is_set_by_its_owner_for_where_it_is_declared_and_never_told() {
    on_both(async |test| {
        let world = World::new(test).await;
        let ann = signed_in("ann", Role::User);
        let path = "/credentials/notes/API_KEY";
        for (case, actor, path, body, expected) in [
            ("twin", ann.clone(), path, json!({ "value": VALUE }), "ok"),
            ("twin: with its hosts", ann.clone(), path, json!({ "value": VALUE, "hosts": ["api.example.com"] }), "ok"),
            ("twin: a key", with_key("ann", Role::User, "credentials:write"), path, json!({ "value": VALUE }), "ok"),
            ("other hosts", ann.clone(), path, json!({ "value": VALUE, "hosts": ["evil.example"] }), "conflict"),
            ("no value", ann.clone(), path, json!({ "value": "" }), "invalid"),
            ("two lines", ann.clone(), path, json!({ "value": "a\r\nb" }), "unacceptable"),
            ("too long", ann.clone(), path, json!({ "value": "x".repeat(MAX_BYTES + 1) }), "invalid"),
            ("another's", ann.clone(), path, json!({ "value": VALUE, "owner": "bob" }), "invalid"),
            ("not declared", ann.clone(), "/credentials/notes/OTHER", json!({ "value": VALUE }), "not_found"),
            ("no server", ann.clone(), "/credentials/none/API_KEY", json!({ "value": VALUE }), "not_found"),
            ("of accounts", ann.clone(), "/credentials/account/totp", json!({ "value": VALUE }), "not_found"),
            ("who looks on", viewing("adm", "ann"), path, json!({ "value": VALUE }), "view_only"),
            (
                "a key to read",
                with_key("ann", Role::User, "credentials:read"),
                path,
                json!({ "value": VALUE }),
                "forbidden",
            ),
        ] {
            assert_eq!(world.code(&actor, Method::PUT, path, body).await, expected, "{case}");
        }
        let (_, listed) = world.ask(&ann, Method::GET, "/credentials", json!(null)).await;
        assert_eq!(listed["items"][0]["hosts"], json!(["api.example.com"]));
        assert_eq!(listed["items"][0]["version"], 3);
        let rows = world.store().audit_tail(100).await.expect("it can be read");
        assert!(!listed.to_string().contains(VALUE) && !format!("{rows:?}").contains(VALUE));
        assert_eq!(world.told().await.len(), 3, "each that was done");
        for other in [signed_in("bob", Role::User), signed_in("adm", Role::Admin), signed_in("aud", Role::Auditor)] {
            let (_, listed) = world.ask(&other, Method::GET, "/credentials", json!(null)).await;
            assert_eq!(listed["items"], json!([]));
            assert_eq!(world.code(&other, Method::DELETE, path, json!(null)).await, "not_found");
        }
        let (_, seen) = world.ask(&viewing("adm", "ann"), Method::GET, "/credentials", json!(null)).await;
        assert_eq!(seen["items"].as_array().map(Vec::len), Some(1), "that it is there");
        let (_, server) = world.ask(&ann, Method::GET, "/servers/notes", json!(null)).await;
        assert_eq!(server["credentials"][0]["set"], true);
        assert_eq!(world.code(&ann, Method::DELETE, path, json!(null)).await, "ok");
        assert_eq!(world.code(&ann, Method::DELETE, path, json!(null)).await, "not_found");
    })
    .await;
}
