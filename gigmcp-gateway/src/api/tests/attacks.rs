//! What others try over the network, each beside what differs from it by the attack only.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{
    super::CSRF_HEADER,
    world::{HOST, PASSWORD, Proof, World, proof, request},
};
use crate::people::{Actor, Role, SessionToken};

/// The value of the cookie that an answer sets.
fn cookie(answer: &super::world::Answer) -> String {
    let set = answer.headers[header::SET_COOKIE].to_str().expect("ASCII");
    let (name, rest) = set.split_once('=').expect("a pair");
    assert_eq!(name, "gig_session");
    rest.split(';').next().expect("a value").to_owned()
}

fn sign_in(email: &str) -> Option<Value> {
    Some(json!({ "email": email, "password": PASSWORD }))
}

#[tokio::test]
async fn what_another_site_sends_is_not_done() {
    let world = World::new(&[]).await;
    let ann = world.account("ann", Role::User).await;
    let ben = world.account("ben", Role::User).await;
    let key = || Some(json!({ "name": "new", "scopes": "users:read" }));
    let create = |proof: &Proof, number: usize| {
        let mut body = key().expect("a body");
        body["name"] = format!("new {number}").into();
        request(proof, Method::POST, "/api-keys", Some(body))
    };
    let good = proof(&ann.session);
    let none = Proof::Session(ann.session.expose().to_owned(), String::new());
    let of_ben = Proof::Session(ann.session.expose().to_owned(), ben.session.csrf());
    let same = format!("http://{HOST}");
    type Extra<'a> = &'a [(&'static str, &'a str)];
    let cases: [(&str, &Proof, Extra<'_>, &str); 12] = [
        ("twin", &good, &[], "ok"),
        ("twin: a browser", &good, &[("origin", &same), ("sec-fetch-site", "same-origin")], "ok"),
        ("twin: typed", &good, &[("sec-fetch-site", "none")], "ok"),
        ("no token", &none, &[], "cross_site"),
        ("another's token", &of_ben, &[], "cross_site"),
        ("two tokens", &good, &[(CSRF_HEADER, "x")], "cross_site"),
        ("another site", &good, &[("sec-fetch-site", "cross-site")], "cross_site"),
        ("another host of the site", &good, &[("sec-fetch-site", "same-site")], "cross_site"),
        ("another origin", &good, &[("origin", "https://evil.example")], "cross_site"),
        ("another port", &good, &[("origin", "http://127.0.0.1:9999")], "cross_site"),
        ("a frame without origin", &good, &[("origin", "null")], "cross_site"),
        ("a name that begins like ours", &good, &[("origin", "http://127.0.0.1:8080.evil.example")], "cross_site"),
    ];
    for (number, (case, proof, headers, expected)) in cases.into_iter().enumerate() {
        let mut request = create(proof, number);
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_str(value).expect("a header"));
        }
        assert_eq!(world.send(request).await.code(), expected, "{case}");
    }
    // Nobody is signed in as somebody else, either.
    for (site, expected) in [("same-origin", "ok"), ("cross-site", "cross_site")] {
        let mut request = request(&Proof::None, Method::POST, "/session", sign_in(&ann.email));
        request.headers_mut().insert("sec-fetch-site", HeaderValue::from_static(site));
        assert_eq!(world.send(request).await.code(), expected, "{site}");
    }
    let mut form = request(&Proof::None, Method::POST, "/session", sign_in(&ann.email));
    form.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    assert_eq!(world.send(form).await.code(), "unsupported_media_type", "what a form can send");
}

#[tokio::test]
async fn a_session_that_was_there_before_does_not_become_anothers() {
    let world = World::new(&[]).await;
    let (ann, mallory) = (world.account("ann", Role::Admin).await, world.account("mallory", Role::User).await);
    // Mallory put her own cookie into Ann's browser.
    let planted = proof(&mallory.session);
    let answer = world.ask(&planted, Method::POST, "/session", sign_in(&ann.email)).await;
    assert_eq!(answer.code(), "ok", "{}", answer.body);
    let token = SessionToken::parse(&cookie(&answer)).expect("a token");
    assert_ne!(token.expose(), mallory.session.expose());
    assert_eq!(world.ask(&planted, Method::GET, "/session", None).await.code(), "unauthenticated");
    let now = world.ask(&proof(&token), Method::GET, "/session", None).await;
    assert_eq!(now.body["user"]["email"], "ann@example.com", "twin");
    assert_eq!(now.body["csrf_token"], token.csrf());
    // A token that was made up is never taken.
    let made_up = format!("gigs_{}", "A".repeat(43));
    let made_up = Proof::Session(made_up, String::new());
    assert_eq!(world.ask(&made_up, Method::GET, "/session", None).await.code(), "unauthenticated");
    let answer = world.ask(&made_up, Method::POST, "/session", sign_in(&ann.email)).await;
    assert!(answer.code() == "ok" && !cookie(&answer).contains("AAAA"), "who has an old cookie can sign in");
    // A view has another token, too, and ends with another again.
    let view = Some(json!({ "user": mallory.id.as_str(), "holds": "5m" }));
    let begun = world.ask(&proof(&token), Method::POST, "/session/view", view).await;
    let viewing = SessionToken::parse(&cookie(&begun)).expect("a token");
    assert_eq!(begun.body["viewing"]["user"]["id"], mallory.id.as_str());
    assert_eq!(world.ask(&proof(&token), Method::GET, "/session", None).await.code(), "unauthenticated");
    let ended = world.ask(&proof(&viewing), Method::DELETE, "/session/view", None).await;
    assert_eq!((ended.code(), &ended.body["viewing"]), ("ok", &Value::Null));
    assert_ne!(cookie(&ended), viewing.expose());
}

#[tokio::test]
async fn a_session_that_was_ended_is_none_at_once() {
    let world = World::new(&[]).await;
    let (ann, root) = (world.account("ann", Role::User).await, world.account("boss", Role::Admin).await);
    let sessions = format!("/users/{}/sessions", ann.id.as_str());
    let second = world.sign_in(&ann.email).await;
    let listed = world.ask(&proof(&second), Method::GET, &sessions, None).await;
    let current = listed.body["items"].as_array().expect("items").iter().filter(|session| session["current"] == true);
    assert_eq!((listed.body["items"].as_array().map(Vec::len), current.count()), (Some(2), 1));
    for session in [&ann.session, &second] {
        assert!(
            !listed.body.to_string().contains(session.expose()) && !listed.body.to_string().contains(&session.hash())
        );
    }
    let first = &ann.session.hash()[..16];
    let ended = world.ask(&proof(&root.session), Method::DELETE, &format!("{sessions}/{first}"), None).await;
    assert_eq!(ended.code(), "ok");
    assert_eq!(world.ask(&proof(&ann.session), Method::GET, "/session", None).await.code(), "unauthenticated");
    assert_eq!(world.ask(&proof(&second), Method::GET, "/session", None).await.code(), "ok", "twin");
    let disabled = format!("/users/{}/disable", ann.id.as_str());
    assert_eq!(world.ask(&proof(&root.session), Method::POST, &disabled, None).await.code(), "ok");
    assert_eq!(world.ask(&proof(&second), Method::GET, "/session", None).await.code(), "unauthenticated");
    let out = world.ask(&proof(&root.session), Method::DELETE, "/session", None).await;
    assert!(out.code() == "ok" && cookie(&out).is_empty(), "the browser forgets it");
    assert_eq!(world.ask(&proof(&root.session), Method::GET, "/session", None).await.code(), "unauthenticated");
}

#[tokio::test]
async fn what_is_anothers_is_told_like_what_is_not_there() {
    let world = World::new(&[]).await;
    let (ann, ben) = (world.account("ann", Role::User).await, world.account("ben", Role::User).await);
    let (ann_is, ben_is) = (proof(&ann.session), ben.id.as_str());
    for (method, own, theirs, nobodys) in [
        (Method::GET, format!("/users/{}", ann.id.as_str()), format!("/users/{ben_is}"), "/users/u-none"),
        (Method::GET, "/profiles/of-ann/tokens".into(), "/profiles/of-ben/tokens".into(), "/profiles/of-none/tokens"),
        (
            Method::DELETE,
            "/profiles/of-ann/tokens/extra".into(),
            "/profiles/of-ben/tokens/extra".into(),
            "/profiles/of-none/tokens/extra",
        ),
    ] {
        let theirs = world.ask(&ann_is, method.clone(), &theirs, None).await;
        let nobodys = world.ask(&ann_is, method.clone(), nobodys, None).await;
        assert_eq!(theirs.status, nobodys.status);
        assert_eq!(theirs.body["error"]["message"], nobodys.body["error"]["message"], "{own}");
        assert_eq!(theirs.code(), "not_found");
        assert_eq!(world.ask(&ann_is, method, &own, None).await.code(), "ok", "twin");
    }
    let wrong = |email: &str| Some(json!({ "email": email, "password": "Apollo 13 1202 alarm" }));
    let known = world.ask(&Proof::None, Method::POST, "/session", wrong(&ann.email)).await;
    let unknown = world.ask(&Proof::None, Method::POST, "/session", wrong("nobody@example.com")).await;
    assert_eq!(known.status, unknown.status);
    assert_eq!(known.body["error"]["message"], unknown.body["error"]["message"]);
    assert_eq!(known.headers.len(), unknown.headers.len());
}

#[tokio::test]
async fn nobody_gives_themselves_what_they_may_not() {
    let world = World::new(&[]).await;
    let email = "ann@example.com";
    let address = email.parse().expect("an address");
    let invited = world.state.people.invite(&Actor::local(), address, Role::User, None).await.expect("it is free");
    let text = invited.expose();
    let accept = |body: Value| world.ask(&Proof::None, Method::POST, "/invitations/accept", Some(body));
    for extra in ["role", "user", "is_admin", "kind"] {
        let mut body = json!({ "code": text, "password": PASSWORD });
        body[extra] = "admin".into();
        assert_eq!(accept(body).await.code(), "invalid", "{extra}");
    }
    let taken = json!({ "code": text, "password": PASSWORD, "email": "root@example.com" });
    let accepted = accept(taken).await;
    assert_eq!(accepted.code(), "ok", "twin: {}", accepted.body);
    let id = accepted.body["user"].as_str().expect("an id").parse().expect("an id");
    let row = world.state.store().user(id).await.expect("an account").user;
    assert_eq!(
        (row.role, row.email.map(|email| email.to_string())),
        (Role::User, Some(email.to_owned())),
        "as the code said"
    );
    assert_eq!(accept(json!({ "code": text, "password": PASSWORD })).await.code(), "unacceptable", "once");
}

#[tokio::test]
async fn a_request_has_one_proof_and_headers_are_not_made_of_what_is_said() {
    let world = World::new(&[]).await;
    let ann = world.account("ann", Role::User).await;
    let Proof::Key(key) = world.key(&ann, "users:read").await else { panic!("it is a key") };
    let path = format!("/users/{}", ann.id.as_str());
    let bearer = HeaderValue::from_str(&format!("Bearer {key}")).expect("a header");
    let ask = |proof: &Proof, name: HeaderName, value: HeaderValue| {
        let mut request = request(proof, Method::GET, &path, None);
        request.headers_mut().append(name, value);
        world.send(request)
    };
    assert_eq!(ask(&Proof::None, header::AUTHORIZATION, bearer.clone()).await.code(), "ok", "twin");
    assert_eq!(world.ask(&proof(&ann.session), Method::GET, &path, None).await.code(), "ok", "twin");
    assert_eq!(ask(&proof(&ann.session), header::AUTHORIZATION, bearer.clone()).await.code(), "invalid", "both");
    assert_eq!(ask(&Proof::Key(key.clone()), header::AUTHORIZATION, bearer).await.code(), "invalid", "two keys");
    let other = HeaderValue::from_static("gig_session=x");
    assert_eq!(ask(&proof(&ann.session), header::COOKIE, other).await.code(), "invalid", "two cookies");
    let profile_token = HeaderValue::from_str(&format!("Bearer gig_{}", "A".repeat(43))).expect("a header");
    assert_eq!(ask(&Proof::None, header::AUTHORIZATION, profile_token).await.code(), "unauthenticated");
    // What names hold is read strictly, and the ids of requests are ours.
    for path in ["/users/a%0d%0aset-cookie:%20x=y", "/users/%00", "/api-keys/%0d%0a"] {
        let answer = world.ask(&proof(&ann.session), Method::GET, path, None).await;
        assert!(matches!(answer.code(), "not_found" | "method_not_allowed"), "{path}");
        assert!(!answer.headers.contains_key(header::SET_COOKIE));
    }
    let asked =
        ask(&proof(&ann.session), "x-request-id".parse().expect("a name"), HeaderValue::from_static("mine")).await;
    assert_ne!(asked.headers["x-request-id"], "mine");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(asked.headers[name], value);
    }
}

#[tokio::test]
async fn who_comes_with_what_lets_nobody_in_leaves_a_trace() {
    let world = World::new(&[]).await;
    let ann = world.account("ann", Role::User).await;
    let rows = async || {
        let rows = world.state.store().audit_tail(500).await.expect("it can be read");
        let rows = rows.into_iter().filter(|row| row.row.kind == "proof");
        rows.map(|row| format!("{}: {}", row.row.owner, row.row.subject)).collect::<Vec<_>>()
    };
    assert_eq!(world.ask(&proof(&ann.session), Method::GET, "/session", None).await.code(), "ok", "twin");
    assert_eq!(world.ask(&Proof::None, Method::GET, "/session", None).await.code(), "unauthenticated", "twin: nothing");
    assert_eq!(rows().await, Vec::<String>::new());
    let made_up = [
        Proof::Key(format!("gigk_{}", "A".repeat(43))),
        Proof::Session(format!("gigs_{}", "A".repeat(43)), String::new()),
    ];
    for proof in made_up.iter().chain(&made_up).chain(&made_up) {
        let answer = world.ask(proof, Method::GET, "/users", None).await;
        assert_eq!(answer.code(), "unauthenticated");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"gigmcp\"");
        let forgets = answer
            .headers
            .get(header::SET_COOKIE)
            .is_some_and(|set| set.to_str().is_ok_and(|set| set.contains("Max-Age=0")));
        assert_eq!(forgets, matches!(proof, Proof::Session(..)), "the browser forgets what lets nobody in");
    }
    world.ask(&Proof::None, Method::POST, "/invitations/look", Some(json!({ "code": "gigi_guess" }))).await;
    let wrong = json!({ "old": "Apollo 12 1202 alarm", "new": "Eagle has landed 20:17" });
    let refused = world.ask(&proof(&ann.session), Method::PUT, "/session/password", Some(wrong)).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (403, "wrong_proof"),
        "it does not look like a session that has ended"
    );
    assert_eq!(world.ask(&proof(&ann.session), Method::GET, "/session", None).await.code(), "ok", "and it has not");
    // Written after what was noted.
    world.key(&ann, "users:read").await;
    let confirmation = format!("{}: confirmation from 192.0.2.1", ann.id.as_str());
    let expected = [": api-key from 192.0.2.1", ": session from 192.0.2.1", ": code from 192.0.2.1", &confirmation];
    assert_eq!(rows().await, expected, "one each");
}

#[tokio::test]
async fn who_floods_with_what_lets_nobody_in_waits_before_anything_is_looked_up() {
    let world = World::new(&[]).await;
    let made_up = Proof::Key(format!("gigk_{}", "A".repeat(43)));
    let mut last = String::new();
    for _ in 0..3000 {
        last = world.ask(&made_up, Method::GET, "/users", None).await.code().to_owned();
        if last == "rate_limited" {
            break;
        }
    }
    assert_eq!(last, "rate_limited");
}

#[tokio::test]
async fn over_tls_the_cookie_is_another() {
    let world = World::new(&["--public-url", "https://gig.example.com"]).await;
    let signed_in = world.ask(&Proof::None, Method::POST, "/session", sign_in("root@example.com")).await;
    let set = signed_in.headers[header::SET_COOKIE].to_str().expect("ASCII").to_owned();
    assert!(set.starts_with("__Host-gig_session=gigs_") && set.ends_with("; Secure"), "{set}");
    let pair = set.split(';').next().expect("a pair");
    let ask = |cookie: &str| {
        let request = Request::get("/api/v1/session").header(header::HOST, "gig.example.com");
        world.send(request.header(header::COOKIE, cookie).body(Full::new(Bytes::new())).expect("a request"))
    };
    assert_eq!(ask(pair).await.code(), "ok");
    assert_eq!(
        ask(pair.trim_start_matches("__Host-")).await.code(),
        "unauthenticated",
        "which anybody before us could set"
    );
}

#[tokio::test]
async fn who_asks_too_often_waits_and_others_do_not() {
    let world = World::new(&[]).await;
    let (ann, ben) = (world.account("ann", Role::User).await, world.account("ben", Role::User).await);
    let mut waits = None;
    for _ in 0..2000 {
        let answer = world.ask(&proof(&ann.session), Method::GET, "/session", None).await;
        if answer.code() == "rate_limited" {
            waits = answer.headers.get(header::RETRY_AFTER).cloned();
            break;
        }
    }
    assert_eq!(waits.expect("it does not go on for ever"), "1");
    assert_eq!(world.ask(&proof(&ben.session), Method::GET, "/session", None).await.code(), "ok", "twin");
}

#[tokio::test]
async fn lists_come_a_page_at_a_time() {
    let world = World::new(&[]).await;
    let boss = world.account("boss", Role::Admin).await;
    for name in ["a", "b", "c"] {
        world.account(name, Role::User).await;
    }
    let (mut found, mut path) = (Vec::new(), "/users?limit=2".to_owned());
    loop {
        let page = world.ask(&proof(&boss.session), Method::GET, &path, None).await;
        found.extend(page.body["items"].as_array().expect("items").iter().map(|user| user["email"].clone()));
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/users?limit=2&cursor={cursor}");
    }
    found.sort_by_key(ToString::to_string);
    let expected = ["a", "b", "boss", "c", "root"].map(|name| Value::from(format!("{name}@example.com")));
    assert_eq!(found, expected);
    for (path, expected) in
        [("/users?limit=0", "invalid"), ("/users?limit=201", "invalid"), ("/users?cursor=%3F", "unacceptable")]
    {
        assert_eq!(world.ask(&proof(&boss.session), Method::GET, path, None).await.code(), expected, "{path}");
    }
}
