//! What is asked twice is done once.

use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::{
    super::once::{self, Replay},
    world::{Answer, Proof, World, proof, request},
};
use crate::people::Role;

const KEY: &str = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"";

async fn ask(world: &World, proof: &Proof, path: &str, body: Value, key: &str) -> Answer {
    let mut request = request(proof, Method::POST, path, Some(body));
    request.headers_mut().insert(once::HEADER, HeaderValue::from_str(key).expect("a header"));
    world.send(request).await
}

#[tokio::test]
async fn the_same_again_gets_the_same_answer_and_is_not_done_again() {
    let world = World::new(&[]).await;
    let (boss, other) = (world.account("boss", Role::Admin).await, world.account("other", Role::Admin).await);
    let boss = proof(&boss.session);
    let body = json!({ "name": "mine", "command": ["true"] });
    let first = ask(&world, &boss, "/servers", body.clone(), KEY).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.body);
    // Quotes are not part of it.
    for key in [KEY, KEY.trim_matches('"')] {
        let again = ask(&world, &boss, "/servers", body.clone(), key).await;
        assert_eq!((again.status, &again.body), (first.status, &first.body));
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!(again.headers["content-type"], "application/json");
    }
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let fresh = format!("{KEY}x").replace('"', "");
    assert_eq!(ask(&world, &boss, "/servers", body.clone(), &fresh).await.code(), "conflict", "twin: another key");
    let changed = json!({ "name": "mine2", "command": ["true"] });
    let mismatch = ask(&world, &boss, "/servers", changed.clone(), KEY).await;
    assert_eq!((mismatch.status.as_u16(), mismatch.code()), (422, "idempotency_mismatch"));
    let elsewhere = ask(&world, &boss, "/profiles", body.clone(), KEY).await;
    assert_eq!(elsewhere.code(), "idempotency_mismatch", "another path");
    let theirs = ask(&world, &proof(&other.session), "/servers", changed, KEY).await;
    assert_eq!(theirs.code(), "ok", "twin: another's key is another: {}", theirs.body);
    // What was refused was not done, so it can be mended and sent again.
    let bad = "0e03978e-40d5-43dd-bc93-6894a57f9324";
    assert_eq!(ask(&world, &boss, "/servers", json!({ "name": "third" }), bad).await.code(), "invalid");
    let mended = json!({ "name": "third", "command": ["true"] });
    assert_eq!(ask(&world, &boss, "/servers", mended, bad).await.code(), "ok");
}

#[tokio::test]
async fn what_is_shown_once_is_told_to_be_done_and_kept_nowhere() {
    let world = World::new(&[]).await;
    let ann = world.account("ann", Role::User).await;
    let path = format!("/profiles/{}/tokens", ann.profile);
    let ann = proof(&ann.session);
    let made = ask(&world, &ann, &path, json!({ "name": "laptop" }), KEY).await;
    let token = made.body["token"].as_str().expect("it is shown").to_owned();
    let again = ask(&world, &ann, &path, json!({ "name": "laptop" }), KEY).await;
    assert_eq!((again.status, again.code()), (StatusCode::CONFLICT, "idempotency_replayed"), "{}", again.body);
    assert!(!again.body.to_string().contains(&token));
    let listed = world.ask(&ann, Method::GET, &path, None).await;
    let names = listed.body["items"].as_array().expect("items").iter().filter(|item| item["name"] == "laptop");
    assert_eq!(names.count(), 1);
    let kept = world.kept();
    assert!(kept.contains("laptop") && kept.contains("idempotency_keys"), "twin: it is looked for in the right place");
    assert!(!kept.contains(&token) && !kept.contains(KEY.trim_matches('"')));
}

#[tokio::test]
async fn while_it_is_done_and_when_nobody_knows_it_is_not_done_again() {
    let world = World::new(&[]).await;
    let boss = world.account("boss", Role::Admin).await;
    let body = json!({ "name": "mine", "command": ["true"] });
    let text = body.to_string();
    let headers = std::iter::once((once::HEADER, HeaderValue::from_static(KEY))).collect();
    let actor = super::world::person(&boss.id, boss.role);
    let key = once::key(&headers, &Method::POST, "/api/v1/servers", Some(&actor), text.as_bytes());
    let key = key.expect("it is good").expect("there is one");
    world.state.store().begin_once(key.clone()).await.expect("it works");
    let boss = proof(&boss.session);
    let meanwhile = ask(&world, &boss, "/servers", body.clone(), KEY).await;
    assert_eq!((meanwhile.status, meanwhile.code()), (StatusCode::CONFLICT, "idempotency_in_flight"));
    assert_eq!(meanwhile.headers["retry-after"], "1");
    world.state.store().end_once(key, None).await.expect("it works");
    assert_eq!(ask(&world, &boss, "/servers", body.clone(), KEY).await.code(), "ok", "twin");
    // Many at once: one of them does it.
    let body = json!({ "name": "once", "command": ["true"] });
    let key = "1e03978e-40d5-43dd-bc93-6894a57f9324";
    let asked = (0..8).map(|_| ask(&world, &boss, "/servers", body.clone(), key));
    let answers = futures_util::future::join_all(asked).await;
    let first =
        answers.iter().filter(|answer| answer.code() == "ok" && !answer.headers.contains_key("idempotency-replayed"));
    assert_eq!(first.count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.code(), "ok" | "idempotency_in_flight")));
}

#[tokio::test]
async fn a_key_is_one_and_somebodys_and_only_of_what_is_not_repeatable() {
    let world = World::new(&[]).await;
    let ann = world.account("ann", Role::User).await;
    let signed_in = proof(&ann.session);
    let nobody = ask(&world, &Proof::None, "/session", json!({ "email": ann.email, "password": "x" }), KEY).await;
    assert_eq!(nobody.code(), "invalid", "whoever is nobody has none");
    let body = || json!({ "slug": "more" });
    assert_eq!(ask(&world, &signed_in, "/profiles", body(), "1").await.code(), "invalid", "what can be guessed");
    let mut two = request(&signed_in, Method::POST, "/profiles", Some(body()));
    for key in [KEY, KEY] {
        two.headers_mut().append(once::HEADER, HeaderValue::from_static(key));
    }
    assert_eq!(world.send(two).await.code(), "invalid", "two");
    assert_eq!(ask(&world, &signed_in, "/profiles", body(), KEY).await.code(), "ok", "twin");
    let mut read = request(&signed_in, Method::GET, "/profiles", None);
    read.headers_mut().insert(once::HEADER, HeaderValue::from_static("1"));
    assert_eq!(world.send(read).await.code(), "ok", "what is only read does not look at it");
}

/// Whatever tells something that is shown once is never kept.
#[tokio::test]
async fn every_route_that_shows_a_secret_says_so() {
    let world = World::new(&[]).await;
    let document = world.ask(&Proof::None, Method::GET, "/openapi.json", None).await.body;
    let text = |value: &Value| value.to_string();
    let mut found = 0;
    for route in world.router.routes().iter().filter(|route| route.method == Method::POST) {
        let operation = &document["paths"][format!("/api/v1{}", route.path)]["post"];
        let answer = &operation["responses"][route.answer.status.as_str()];
        let name = answer["content"]["application/json"]["schema"]["$ref"].as_str().unwrap_or_default();
        let schema = &document["components"]["schemas"][name.rsplit('/').next().expect("there is one")];
        let shows = ["\"token\"", "csrf_token", "recovery_codes", "\"uri\"", "\"code\"", "\"location\""].iter();
        let shows = shows.filter(|secret| text(&schema["properties"]).contains(**secret)).count();
        assert!(shows == 0 || route.replay == Replay::Done, "{}: {schema}", route.id);
        found += shows;
    }
    assert!(found > 8, "twin: they are found: {found}");
}

/// Whoever has a key that may only look could otherwise fill what is kept.
#[tokio::test]
async fn of_what_only_looks_nothing_is_kept() {
    let world = World::new(&[]).await;
    let boss = proof(&world.account("boss", Role::Admin).await.session);
    let ask = async |path, body: Value| {
        let answer = ask(&world, &boss, path, body, KEY).await;
        (answer.code().to_owned(), answer.headers.contains_key("idempotency-replayed"))
    };
    for name in ["one", "one", "other"] {
        let tools = json!({ "tools": [{ "name": name }] });
        assert_eq!(ask("/definitions/digest", tools).await, ("ok".to_owned(), false), "{name}");
    }
    for replayed in [false, true] {
        let server = json!({ "name": "mine", "command": ["true"] });
        assert_eq!(ask("/servers", server).await, ("ok".to_owned(), replayed), "twin: what changes something");
    }
}
