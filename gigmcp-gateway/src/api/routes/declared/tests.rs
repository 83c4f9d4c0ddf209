use serde_json::json;

use super::{super::world::*, *};
use crate::{people::ApiScope, people::Area, store::TestDatabase};

#[tokio::test]
async fn a_person_adds_what_nobody_reviewed_and_no_path_of_the_machine() {
    let world = World::new(TestDatabase::sqlite()).await;
    let adm = signed_in("adm", Role::Admin);
    let command = ["node", "server.js"];
    let good =
        json!({ "name": "mine", "command": command, "allow": ["api.example.com"], "secrets": ["KEY=api.example.com"] });
    let with = |name: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let write = ApiScope::write(Area::Servers).to_string();
    for (case, actor, body, expected) in [
        ("a user", signed_in("ann", Role::User), good.clone(), "forbidden"),
        ("a key", with_key("adm", Role::Admin, &write), good.clone(), "forbidden"),
        ("who looks on", viewing("adm", "ann"), good.clone(), "view_only"),
        ("a path of the machine", adm.clone(), with("read_only", json!(["/etc"])), "invalid"),
        ("a directory of the machine", adm.clone(), with("state", json!("/root")), "invalid"),
        ("an executable of the machine", adm.clone(), with("binary", json!("/bin/sh")), "invalid"),
        ("another source", adm.clone(), with("source", json!("image")), "invalid"),
        ("no command", adm.clone(), with("command", json!([])), "unacceptable"),
        ("every host", adm.clone(), with("allow", json!(["*"])), "unacceptable"),
        ("a loader's variable", adm.clone(), with("env", json!({ "LD_PRELOAD": "x" })), "unacceptable"),
        ("a variable twice", adm.clone(), with("env", json!({ "KEY": "x" })), "unacceptable"),
        ("too little memory", adm.clone(), with("memory_bytes", json!(1)), "unacceptable"),
        ("a name that is kept", adm.clone(), with("name", json!("registry")), "unacceptable"),
        ("twin", adm.clone(), good.clone(), "ok"),
        ("it is there", adm.clone(), good.clone(), "conflict"),
    ] {
        assert_eq!(world.code(&actor, Method::POST, "/servers", body).await, expected, "{case}");
    }
    let (_, shown) = world.ask(&adm, Method::GET, "/servers/mine", json!(null)).await;
    assert_eq!(shown["spec"]["command"], json!(command));
    assert_eq!(shown["reaches"][0]["host"], "api.example.com");
    assert_eq!(world.told().await, ["adds mine, which nobody reviewed, by the command line"]);
}
