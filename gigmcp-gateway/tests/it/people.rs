//! Accounts and tokens, with the real gateway: who is let in, and what ends when somebody is not any more.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    client::{ADDRESS, Session, post, send},
    gateway::{Installation, demo_server, wait_gone},
    internet::Internet,
};

const PASSWORD: &str = "Apollo 11 1202 alarm";

fn with_echoes(names: &[&str]) -> Installation {
    let installation = Installation::new();
    let echo = demo_server("gigmcp-demo-echo");
    for name in names {
        installation.json(&["server", "add", name, "--binary", echo.to_str().unwrap()], "");
    }
    installation
}

fn status(internet: &Internet, token: &str) -> StatusCode {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    send(internet, post("/mcp/p/work", Some(token), body)).status
}

/// The account with that address in a list.
fn account<'a>(list: &'a Value, email: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|user| user["email"] == email).unwrap_or_else(|| panic!("{email}: {list}"))
}

/// Runs the script of the page in Node.js, with as much of a browser as it asks for.
fn follow(internet: &Internet, link: &str, email: &str, password: &str) -> String {
    let node = crate::gateway::real_servers().join("node/node_modules/.bin/node");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/welcome/browser.mjs");
    let output = internet.command(node.to_str().unwrap()).args([script, link, email, password]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_first_administrator_comes_by_a_link_that_works_once() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let gateway = installation.serve(&internet, &[("GIG_PUBLIC_URL", "http://127.0.0.1:8080")]);
    let log = gateway.wait_for("and a password on the next line");
    let link = log.split_whitespace().find(|word| word.contains("/welcome#")).unwrap_or_else(|| panic!("{log}"));
    assert!(link.starts_with("http://127.0.0.1:8080/welcome#gigi_"), "{link}");
    let other = link.replace("gigi_", "gigi_x");
    assert!(follow(&internet, &other, "root@example.com", PASSWORD).contains("does not work"));
    assert!(follow(&internet, link, "root@example.com", "password1234").contains("tried first"));
    let done = follow(&internet, link, "root@example.com", PASSWORD);
    assert!(done.contains("root@example.com can sign in") && !done.contains("gigi_"), "twin: {done}");
    assert!(follow(&internet, link, "eve@example.com", PASSWORD).contains("does not work"), "once");
    let users = installation.json(&["user", "list"], "");
    assert_eq!(account(&users, "root@example.com")["role"], "admin");
}

#[test]
fn the_first_administrator_comes_by_the_code_that_serve_prints() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let gateway = installation.serve(&internet, &[]);
    let log = gateway.wait_for("and a password on the next line");
    let code =
        log.split_whitespace().find(|word| word.starts_with("gigi_")).unwrap_or_else(|| panic!("{log}")).to_owned();
    // The link leads to a page that no other script runs in, and the code is sent to nobody on the way there.
    assert!(log.contains(&format!("http://{ADDRESS}/welcome#{code}\n")), "{log}");
    let page = send(&internet, Request::get("/welcome").header(header::HOST, ADDRESS).body(Bytes::new()).unwrap());
    let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-")
            && String::from_utf8_lossy(&page.body).contains("<script>")
    );
    let accept = |code: &str, password: &str| {
        installation.run(&["user", "accept", "--email", "Root@Example.com"], &format!("{code}\n{password}\n"))
    };
    let weak = accept(&code, "password1234");
    assert!(!weak.status.success() && String::from_utf8_lossy(&weak.stderr).contains("tried first"), "{weak:?}");
    let wrong = accept(&code.replace("gigi_", "gigi_x"), PASSWORD);
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("does not work"), "{wrong:?}");
    assert!(accept(&code, PASSWORD).status.success(), "twin");
    assert!(!accept(&code, PASSWORD).status.success(), "once");
    let users = installation.json(&["user", "list"], "");
    let root = account(&users, "root@example.com");
    assert_eq!((&root["id"], &root["role"], &root["can_sign_in"]), (&json!("local"), &json!("admin"), &json!(true)));
    for (path, bytes) in installation.files() {
        for secret in [&code, PASSWORD] {
            assert!(!crate::search::holds(&bytes, secret), "{secret} lies open in {}", path.display());
        }
    }
    drop(gateway);
    let again = installation.serve(&internet, &[]);
    assert!(!again.log().contains("gigi_"), "{}", again.log());
    assert!(!installation.run(&["user", "setup"], "").status.success());
}

#[test]
fn people_are_invited_changed_and_deleted() {
    let installation = Installation::new();
    let code = |arguments: &[&str]| installation.json(arguments, "")["code"].as_str().unwrap().to_owned();
    let accept = |code: &str| installation.json(&["user", "accept"], &format!("{code}\n{PASSWORD}\n"));
    let setup = code(&["user", "setup"]);
    installation.json(&["user", "accept", "--email", "root@example.com"], &format!("{setup}\n{PASSWORD}\n"));
    let invited = code(&["user", "invite", "ann@example.com", "--role", "auditor", "--expires", "2d"]);
    assert_eq!(installation.json(&["user", "invitations"], "")[0]["email"], "ann@example.com");
    assert_eq!(accept(&invited)["role"], "auditor");
    installation.json(&["user", "role", "ann@example.com", "admin"], "");
    installation.json(&["user", "disable", "ann@example.com"], "");
    assert!(account(&installation.json(&["user", "list"], ""), "ann@example.com")["disabled_at"].is_i64());
    for (arguments, expected) in [
        (&["user", "role", "root@example.com", "user"][..], "last administrator"),
        (&["user", "disable", "local"], "last administrator"),
        (&["user", "delete", "local", "--yes"], "stays"),
        (&["user", "delete", "ann@example.com"], "--yes"),
        (&["user", "invite", "ann@example.com"], "already exists"),
        (&["user", "invite", "nonsense"], "not an e-mail address"),
        (&["user", "role", "bob@example.com", "user"], "no account `bob@example.com`"),
        (&["user", "sessions", "ann@example.com", "--end", "00"], "no such session"),
        (&["api-key", "create", "ci", "--scopes", "everything"], "there are: servers:read"),
        (&["api-key", "revoke", "ci"], "no key `ci`"),
    ] {
        let output = installation.run(arguments, "");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(expected), "{arguments:?}: {error}");
    }
    installation.json(&["user", "enable", "ann@example.com"], ""); // twins of the refusals
    assert_eq!(accept(&code(&["user", "reset-password", "ann@example.com"]))["email"], "ann@example.com");
    assert_eq!(installation.json(&["user", "sessions", "ann@example.com"], ""), json!([]));
    installation.json(&["user", "disable", "local"], "");
    installation.json(&["user", "enable", "local"], "");
    installation.json(&["user", "delete", "ann@example.com", "--yes"], "");
    let key = installation.json(&["api-key", "create", "ci", "--scopes", "servers:read,audit:read"], "");
    assert!(key["key"].as_str().unwrap().starts_with("gigk_"), "{key}");
    assert_eq!(installation.json(&["api-key", "list"], "")[0]["scopes"], "servers:read,audit:read");
    installation.json(&["api-key", "revoke", "ci"], "");
    let audit = installation.json(&["audit", "--limit", "100"], "");
    let kinds: Vec<_> = audit.as_array().unwrap().iter().filter_map(|row| row["kind"].as_str()).collect();
    for kind in ["account", "invitation", "api-key"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
}

#[test]
fn the_only_administrator_whom_a_provider_vouches_for_gets_a_code_all_the_same() {
    let installation = Installation::on_sqlite();
    let setup = installation.json(&["user", "setup"], "")["code"].as_str().unwrap().to_owned();
    installation.json(&["user", "accept", "--email", "root@example.com"], &format!("{setup}\n{PASSWORD}\n"));
    let database = rusqlite::Connection::open(installation.data().join("gigmcp.db")).unwrap();
    database
        .execute_batch(
            "UPDATE users SET password = NULL;
             INSERT INTO identities SELECT 'https://id.example', 'root', id, 1, 1 FROM users WHERE email IS NOT NULL;",
        )
        .unwrap();
    let reset = ["--json", "user", "reset-password", "root@example.com", "--identities"];
    let refused = installation.run(&reset, "");
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("last administrator"), "{error}");
    let shown: Value = serde_json::from_slice(&refused.stdout).unwrap_or_else(|error| panic!("{error}: {refused:?}"));
    let accept = |code: &Value| {
        installation.json(&["user", "accept"], &format!("{}\n{PASSWORD}\n", code["code"].as_str().unwrap()))
    };
    assert_eq!(accept(&shown)["email"], "root@example.com");
    // Twin: with a password, nothing is refused.
    assert_eq!(accept(&installation.json(&reset[1..], ""))["email"], "root@example.com");
    assert_eq!(installation.json(&["user", "identities", "root@example.com"], ""), json!([]));
}

#[test]
fn a_token_reaches_what_it_was_made_for_until_it_is_revoked() {
    let (internet, installation) = (Internet::new(), with_echoes(&["echo", "other"]));
    let whole = installation.profile("work", &["echo", "other"]);
    let make = |name: &str, scope: &str| {
        let made = installation.json(&["token", "create", "work", name, "--for", scope], "");
        made["token"].as_str().unwrap().to_owned()
    };
    let (server, tool, none) = (make("phone", "echo"), make("guest", "echo/echo"), make("wrong", "echo/nothing"));
    let gateway = installation.serve(&internet, &[]);
    let open = |token: &str| Session::open(&internet, "/mcp/p/work", token);
    let all = open(&whole);
    assert_eq!(all.tools(), ["echo_echo", "other_echo"], "twin");
    let arguments = json!({"text": "hello"});
    assert_eq!(all.call("other_echo", &arguments).text(), "hello");
    for server in ["echo", "other"] {
        gateway.wait_for(&format!("2025-11-25) server={server}")); // what found out how it speaks has ended
    }
    let processes = gateway.descendants().len();
    for token in [&server, &tool] {
        let some = open(token);
        assert_eq!(some.tools(), ["echo_echo"]);
        assert_eq!(some.call("echo_echo", &arguments).text(), "hello");
        let refused = some.call("other_echo", &arguments).json();
        assert!(refused["error"].is_object(), "{refused}");
    }
    assert_eq!(gateway.descendants().len(), processes, "it is the same server, whichever token");
    let nothing = open(&none);
    assert_eq!(nothing.tools(), Vec::<String>::new());
    assert!(nothing.call("echo_echo", &arguments).json()["error"].is_object());
    let listed = installation.json(&["token", "list", "work"], "");
    let used = |name: &str| {
        let all = listed.as_array().unwrap();
        all.iter().find(|token| token["name"] == name).unwrap_or_else(|| panic!("{listed}"))["last_used_at"].is_i64()
    };
    assert!(used("default") && used("phone") && used("guest"), "{listed}");

    stream_ends_by(&internet, &installation, &server, "phone");
    assert_eq!(status(&internet, &server), StatusCode::UNAUTHORIZED);
    assert_eq!(open(&tool).call("echo_echo", &arguments).text(), "hello", "twin: the others go on");
    for refused in
        [["token", "create", "work", "x", "--for", "nothing"], ["token", "create", "work", "x", "--for", "a b"]]
    {
        assert!(!installation.run(&refused, "").status.success(), "{refused:?}");
    }
}

/// A client only listens when its token is revoked.
fn stream_ends_by(internet: &Internet, installation: &Installation, token: &str, name: &str) {
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    }});
    let answer = send(internet, post("/mcp/p/work", Some(token), initialize.to_string()));
    let request = Request::get("/mcp/p/work")
        .header(header::HOST, ADDRESS)
        .header(header::ACCEPT, "text/event-stream")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header("mcp-session-id", &answer.headers["mcp-session-id"])
        .body(Empty::<Bytes>::new())
        .unwrap();
    let mut revoke = installation.command();
    revoke.args(["token", "revoke", "work", name]);
    internet.near(move || async move {
        let stream = TcpStream::connect(ADDRESS).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(revoke.output().unwrap().status.success());
        let ended = async { while response.body_mut().frame().await.is_some() {} };
        tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.expect("the stream ends");
    });
}

#[test]
fn a_profile_whose_owner_is_disabled_lets_nobody_in_and_its_servers_end() {
    let (internet, installation) = (Internet::new(), with_echoes(&["echo"]));
    let token = installation.profile("work", &["echo"]);
    let setup = installation.json(&["user", "setup"], "")["code"].as_str().unwrap().to_owned();
    installation.json(&["user", "accept", "--email", "root@example.com"], &format!("{setup}\n{PASSWORD}\n"));
    let ann = installation.json(&["user", "invite", "ann@example.com", "--role", "admin"], "");
    installation.json(&["user", "accept"], &format!("{}\n{PASSWORD}\n", ann["code"].as_str().unwrap()));
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert_eq!(session.call("echo_echo", &json!({"text": "hello"})).text(), "hello", "twin");
    // The sweeper is no server; it stays as long as the gateway.
    let mut servers = gateway.descendants();
    servers.retain(|pid| !is_sweeper(*pid));
    assert!(!servers.is_empty());
    installation.json(&["user", "disable", "local"], "");
    assert_eq!(status(&internet, &token), StatusCode::UNAUTHORIZED, "at once");
    assert_eq!(wait_gone(&servers), Vec::<u32>::new());
    installation.json(&["user", "enable", "local"], "");
    assert_eq!(status(&internet, &token), StatusCode::UNAUTHORIZED, "tokens are made anew");
    let token = installation.json(&["profile", "token", "work"], "")["token"].as_str().unwrap().to_owned();
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert_eq!(session.call("echo_echo", &json!({"text": "hello"})).text(), "hello");
}

fn is_sweeper(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("gigmcp-sweep"))
}
