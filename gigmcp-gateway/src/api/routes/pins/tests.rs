use gigmcp_mcp::Process;
use serde_json::{Value, json};

use super::{super::world::*, *};
use crate::{
    people::{Actor, Role},
    pins::Reading,
    store::{TestDatabase, on_both},
};

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("JSON")
}

fn tool(description: &str) -> std::sync::Arc<Definition> {
    let text = json!({ "name": "send", "description": description }).to_string();
    std::sync::Arc::new(Definition::new(DefinitionKind::Tool, "send", &raw(&text)))
}

/// Ann has agreed to `notes`, and it says this.
async fn says(world: &World, description: &str) {
    let of = PinnedServer { owner: "ann".parse().expect("an id"), server: server("notes") };
    let revision = world.store().server(server("notes")).await.expect("it is there").revision;
    let reading = Reading { revision, said: [tool(description)].into(), process: Process::First, noted: true };
    world.store().judge(of, reading).await.expect("it works").expect("she has agreed");
}

async fn with_work(test: TestDatabase) -> (World, Actor) {
    let world = World::new(test).await;
    let ann = signed_in("ann", Role::User);
    let body = json!({ "slug": "work", "servers": { "notes": world.revision("notes").await } });
    assert_eq!(world.code(&ann, Method::POST, "/profiles", body).await, "ok");
    says(&world, "Sends a message.").await;
    (world, ann)
}

async fn shown(world: &World, actor: &Actor) -> Value {
    world.ask(actor, Method::GET, "/servers/notes/pins/diff", json!(null)).await.1
}

#[tokio::test]
async fn only_what_was_looked_at_is_accepted() {
    on_both(async |test| {
        let (world, ann) = with_work(test).await;
        let path = "/servers/notes/pins/accept";
        let zero = format!("sha256:{}", "0".repeat(64));
        let nothing = world.code(&ann, Method::POST, path, json!({ "digest": zero })).await;
        assert_eq!(nothing, "conflict", "nothing is held back");
        says(&world, "Sends a message to everybody.").await;
        let looked_at = shown(&world, &ann).await;
        let digest = looked_at["held_digest"].as_str().expect("something is held back").to_owned();
        let pieces = looked_at["differences"][0]["pieces"].to_string();
        assert!(pieces.contains("everybody"), "{pieces}");
        let (_, whole) =
            world.ask(&ann, Method::GET, "/servers/notes/pins/definition?kind=tool&name=send", json!(null)).await;
        assert_eq!(whole["pinned"]["definition"], r#"{"description":"Sends a message.","name":"send"}"#);
        assert_eq!(whole["offered"]["digest"], digest.as_str());
        // It changes once more after she looked.
        says(&world, "Sends a message to everybody, twice.").await;
        let adm = signed_in("adm", Role::Admin);
        for (case, actor, body, expected) in [
            ("what is not there any more", &ann, json!({ "digest": digest }), "conflict"),
            ("no digest", &ann, json!({}), "invalid"),
            ("no digest that is one", &ann, json!({ "digest": "sha256:0" }), "invalid"),
            ("another name", &ann, json!({ "names": ["stay"], "digest": digest }), "not_found"),
            ("another's", &adm, json!({ "digest": digest }), "conflict"),
            ("who looks on", &viewing("adm", "ann"), json!({ "digest": digest }), "view_only"),
            ("a key to read", &with_key("ann", Role::User, "profiles:read"), json!({ "digest": digest }), "forbidden"),
        ] {
            assert_eq!(world.code(actor, Method::POST, path, body).await, expected, "{case}");
        }
        let now = shown(&world, &ann).await["held_digest"].clone();
        let key = with_key("ann", Role::User, "profiles:write");
        let (_, accepted) = world.ask(&key, Method::POST, path, json!({ "names": ["tool:send"], "digest": now })).await;
        assert_eq!(accepted["definitions"], json!(["tool send"]), "twin: {accepted}");
        assert_eq!(shown(&world, &ann).await["held_digest"], json!(null));
        let rows = world.store().audit_tail(1).await.expect("it can be read");
        assert!(rows[0].row.subject.starts_with("1 by ann with the key ci: tool send sha256:"), "{rows:?}");
    })
    .await;
}

#[tokio::test]
async fn pins_are_their_owners_and_forgotten_by_name_only() {
    let (world, ann) = with_work(TestDatabase::sqlite()).await;
    for (who, actor, expected) in [
        ("the owner", ann.clone(), 1),
        ("another", signed_in("bob", Role::User), 0),
        ("an administrator", signed_in("adm", Role::Admin), 0),
        ("who looks on", viewing("adm", "ann"), 1),
    ] {
        for path in ["/pins", "/servers/notes/pins"] {
            let (_, page) = world.ask(&actor, Method::GET, path, json!(null)).await;
            assert_eq!(page["items"].as_array().map(Vec::len), Some(expected), "{who}: {page}");
        }
    }
    let path = "/servers/notes/pins/reset";
    let pinned = shown(&world, &ann).await["pinned_digest"].clone();
    let zero = format!("sha256:{}", "0".repeat(64));
    for (case, actor, body, expected) in [
        ("another digest", &ann, json!({ "digest": zero }), "conflict"),
        ("a key", &with_key("ann", Role::User, "profiles:write"), json!({ "digest": pinned }), "forbidden"),
        ("another", &signed_in("bob", Role::User), json!({ "digest": pinned }), "conflict"),
        ("twin", &ann, json!({ "digest": pinned }), "ok"),
    ] {
        assert_eq!(world.code(actor, Method::POST, path, body).await, expected, "{case}");
    }
    says(&world, "Sends it somewhere else.").await;
    assert_ne!(shown(&world, &ann).await["pinned_digest"], pinned, "what came next is pinned");
}

#[tokio::test]
async fn digests_are_those_of_the_command_line() {
    let world = World::new(TestDatabase::sqlite()).await;
    let ann = signed_in("ann", Role::User);
    let said = json!({ "tools": [{ "name": "send", "description": "Sends a message." }] });
    let (_, found) = world.ask(&ann, Method::POST, "/definitions/digest", said).await;
    assert_eq!(found["tools"][0]["definition"], tool("Sends a message.").digest.to_string());
    let nameless = json!({ "tools": [{ "description": "?" }] });
    assert_eq!(world.code(&ann, Method::POST, "/definitions/digest", nameless).await, "invalid");
}
