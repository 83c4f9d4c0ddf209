//! A session goes on in the kind of browser that it began in, and in no other.

use http::{Method, StatusCode, header};
use serde_json::json;

use super::world::{Answer, PASSWORD, Proof, World, proof, request};
use crate::people::SessionToken;

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0";

async fn ask(world: &World, proof: &Proof, agent: &str, method: Method, path: &str) -> Answer {
    let body = (method == Method::POST).then(|| json!({ "email": "root@example.com", "password": PASSWORD }));
    let mut request = request(proof, method, path, body);
    request.headers_mut().insert(header::USER_AGENT, agent.parse().expect("a header"));
    world.send(request).await
}

async fn session(world: &World, agent: &str) -> Proof {
    let answer = ask(world, &Proof::None, agent, Method::POST, "/session").await;
    let set = answer.headers.get(header::SET_COOKIE).unwrap_or_else(|| panic!("{}", answer.body));
    let token = set.to_str().expect("ASCII").strip_prefix("gig_session=").and_then(|rest| rest.split(';').next());
    proof(&SessionToken::parse(token.expect("a session")).expect("a token"))
}

#[tokio::test]
async fn a_session_ends_when_it_comes_from_another_browser() {
    let world = World::new(&[]).await;
    for (case, agent, holds) in [
        ("twin", FIREFOX, true),
        ("twin: renewed", "Mozilla/5.0 (X11; Linux x86_64; rv:152.0.1) Gecko/20100101 Firefox/152.0.1", true),
        ("another system", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0", false),
        ("a program", "curl/8.5.0", false),
        ("nothing", "", false),
    ] {
        let session = session(&world, FIREFOX).await;
        let asked = ask(&world, &session, agent, Method::GET, "/session").await;
        assert_eq!(asked.status, if holds { StatusCode::OK } else { StatusCode::UNAUTHORIZED }, "{case}");
        let again = ask(&world, &session, FIREFOX, Method::GET, "/session").await;
        assert_eq!(again.status, asked.status, "{case}: it is over for whoever took it, and for all");
        let told = world.state.store().audit_tail(9).await.expect("it can be read");
        let told = told.into_iter().map(|row| row.row).rfind(|row| row.verdict == "elsewhere");
        assert_eq!(told.as_ref().is_some_and(|row| row.alarm && row.owner == "local"), !holds, "{case}: {told:?}");
        world.state.store().meddle("DELETE FROM audit").await;
    }
}

#[tokio::test]
async fn what_one_signs_in_from_is_known_by_a_cookie_of_its_own() {
    let world = World::new(&[]).await;
    let answer = ask(&world, &Proof::None, FIREFOX, Method::POST, "/session").await;
    let set: Vec<_> = answer.headers.get_all(header::SET_COOKIE).iter().filter_map(|set| set.to_str().ok()).collect();
    let device = set.iter().find(|set| set.starts_with("gig_device=gigd_")).unwrap_or_else(|| panic!("{set:?}"));
    assert!(device.ends_with("; Path=/; Max-Age=15552000; HttpOnly; SameSite=Strict"), "{device}");
    let cookie = device.split(';').next().expect("a cookie").to_owned();
    // Somebody guesses, from here and for this account; whoever knows the password waits, but for where it was said.
    let sign_in = async |cookies: Option<&str>, password: &str| {
        let body = json!({ "email": "root@example.com", "password": password });
        let mut request = request(&Proof::None, Method::POST, "/session", Some(body));
        if let Some(cookies) = cookies {
            request.headers_mut().insert(header::COOKIE, cookies.parse().expect("a header"));
        }
        world.send(request).await
    };
    while sign_in(None, "not the password").await.status != StatusCode::TOO_MANY_REQUESTS {}
    let two = format!("{cookie}; {cookie}");
    for (case, cookies, expected) in [
        ("without", None, "rate_limited"),
        ("of nobody", Some("gig_device=gigd_0123456789012345678901234567890123456789012"), "rate_limited"),
        ("two", Some(two.as_str()), "rate_limited"),
        ("twin", Some(cookie.as_str()), "ok"),
        ("once: another has taken its place", Some(&cookie), "rate_limited"),
    ] {
        assert_eq!(sign_in(cookies, PASSWORD).await.code(), expected, "{case}");
    }
}
