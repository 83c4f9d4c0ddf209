//! What is done over the API takes effect at once in servers that run.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    api::administrator,
    api_servers::Caller,
    client::Session,
    gateway::Installation,
    internet::Internet,
    pins::{Turncoat, wait_for_tools},
};

const PATH: &str = "/mcp/p/work";

#[test]
fn a_definition_is_accepted_by_the_digest_of_what_was_looked_at() {
    let (internet, installation, mut turncoat) = (Internet::new(), Installation::new(), Turncoat::new());
    let token = turncoat.add(&installation);
    let caller = Caller::of(&installation, &internet, "ci", "profiles:write");
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, PATH, &token);
    wait_for_tools(&session, &["turn_send", "turn_stay"]);
    turncoat.says(|said| said["tools"][0]["description"] = json!("Sends\u{200b} a message to everybody."));
    session.call("turn_stay", &json!({}));
    gateway.wait_for("1 of its definitions are held back");
    wait_for_tools(&session, &["turn_stay"]);

    let listed = caller.get("/api/v1/servers/turn/pins");
    let of = |name: &str| listed["items"].as_array().unwrap().iter().find(|pin| pin["name"] == name).unwrap().clone();
    assert_eq!((&of("send")["standing"], &of("stay")["standing"]), (&json!("changed"), &json!("agreed")));
    let shown = caller.get("/api/v1/servers/turn/pins/diff");
    assert_eq!(shown["held_digest"], of("send")["held"], "{shown}");
    let accept = |digest: Value| {
        caller.ask(Method::POST, "/api/v1/servers/turn/pins/accept", json!({ "digest": digest })).status
    };
    assert_eq!(accept(of("stay")["digest"].clone()), StatusCode::CONFLICT);
    assert_eq!(session.tools(), ["turn_stay"]);
    assert_eq!(accept(shown["held_digest"].clone()), StatusCode::OK, "twin");
    wait_for_tools(&session, &["turn_send", "turn_stay"]);
    let found = caller.get("/api/v1/profiles/work/findings");
    let counts = found["servers"][0]["counts"].to_string();
    assert!(found["used"] == true && counts.contains("invisible-character"), "{found}");
}

#[test]
fn an_instance_is_ended_and_the_next_call_starts_another() {
    let (internet, installation, turncoat) = (Internet::new(), Installation::new(), Turncoat::new());
    let token = turncoat.add(&installation);
    let caller = Caller::of(&installation, &internet, "ci", "system:write");
    let gateway = installation.serve(&internet, &[]);
    let root = administrator(&internet, &gateway);
    let session = Session::open(&internet, PATH, &token);
    let running = || {
        let items = caller.get("/api/v1/instances?unended=true")["items"].as_array().unwrap().clone();
        let running: Vec<String> = items
            .iter()
            .filter(|item| item["state"] == "running" && item["profile"] == "work")
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect();
        running
    };
    let stop = |id: &str| caller.ask(Method::POST, &format!("/api/v1/instances/{id}/stop"), Value::Null).status;
    let mut before = String::new();
    // More often than a server may crash.
    for _ in 0..8 {
        assert!(session.call("turn_stay", &json!({})).json()["result"].is_object(), "{}", gateway.log());
        let [id] = running().try_into().unwrap();
        assert_ne!(id, before);
        assert_eq!(stop(&id), StatusCode::NO_CONTENT);
        assert_eq!(running(), Vec::<String>::new(), "it is ended when it is said to be");
        assert_eq!(stop(&id), StatusCode::CONFLICT, "once");
        before = id;
    }
    session.call("turn_stay", &json!({}));
    let [id] = running().try_into().unwrap();
    let path = format!("/instances/{id}/restart");
    let refused = caller.ask(Method::POST, &format!("/api/v1{path}"), Value::Null);
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "a key starts nothing: {refused:?}");
    let restarted = root.ask(Method::POST, &path, None);
    assert_eq!(restarted.status, StatusCode::NO_CONTENT, "{restarted:?}");
    let [after] = running().try_into().unwrap();
    assert_ne!(after, id, "it runs without a call");
    assert!(session.call("turn_stay", &json!({})).json()["result"].is_object());
    assert_eq!(running(), [after]);
    let told = installation.json(&["audit", "--limit", "500"], "");
    let told = told.as_array().unwrap().iter().filter(|row| row["kind"] == "instance").count();
    assert_eq!(told, 9, "each that was done");
}
