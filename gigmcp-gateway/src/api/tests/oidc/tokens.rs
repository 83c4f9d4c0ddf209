//! What is believed of the provider's answers.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Scene, cookie,
    provider::{Plan, Signing, answer, key},
};
use crate::store::now_seconds;

type Lie = fn(&mut Plan);

/// It is counted, and has a row for each source and minute.
const NOT_BEGUN: &str = "not begun";

#[tokio::test]
async fn one_lie_in_a_token_is_enough_to_be_refused() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let cases: [(&str, Lie, &str); 37] = [
        ("twin", |_| {}, "ok"),
        (
            "others named beside us, made for us",
            |plan| plan.claims = json!({ "aud": ["gigmcp", "x"], "azp": "gigmcp" }),
            "ok",
        ),
        ("no hash of the access token", |plan| plan.claims = json!({ "at_hash": null }), "ok"),
        ("unsigned", |plan| plan.signing = Signing::Unsigned, "algorithm"),
        ("its public key as a secret", |plan| plan.signing = Signing::PublicKeyAsSecret, "algorithm"),
        ("our own secret", |plan| plan.signing = Signing::ClientSecret, "algorithm"),
        ("another key", |plan| plan.signing = Signing::OtherKey, "signature"),
        ("another algorithm", |plan| plan.header = json!({ "alg": "RS256" }), "unknown-key"),
        ("a key that nobody knows", |plan| plan.header = json!({ "kid": "none" }), "unknown-key"),
        ("what must be understood", |plan| plan.header = json!({ "crit": ["b64"] }), "token"),
        ("another kind of token", |plan| plan.header = json!({ "typ": "logout+jwt" }), "token"),
        ("another issuer", |plan| plan.claims = json!({ "iss": "http://127.0.0.1:1" }), "issuer"),
        ("issuer with a slash", |plan| plan.claims = json!({ "iss": "http://127.0.0.1:1/" }), "issuer"),
        ("another's", |plan| plan.claims = json!({ "aud": "other" }), "audience"),
        ("nobody's", |plan| plan.claims = json!({ "aud": [] }), "audience"),
        ("made for another", |plan| plan.claims = json!({ "azp": "other" }), "authorized-party"),
        (
            "several, made for another",
            |plan| plan.claims = json!({ "aud": ["gigmcp", "x"], "azp": "x" }),
            "authorized-party",
        ),
        ("several, made for nobody", |plan| plan.claims = json!({ "aud": ["gigmcp", "x"] }), "authorized-party"),
        ("expired", |plan| plan.claims = json!({ "exp": now_seconds() - 1 }), "expired"),
        ("of the future", |plan| plan.claims = json!({ "iat": now_seconds() + 120 }), "future"),
        ("another nonce", |plan| plan.nonce = "other".to_owned(), "nonce"),
        ("no nonce", |plan| plan.claims = json!({ "nonce": null }), "nonce"),
        ("another access token", |plan| plan.token = json!({ "access_token": "other" }), "access-token-hash"),
        ("nobody", |plan| plan.claims = json!({ "sub": "" }), "subject"),
        ("a line in a name", |plan| plan.claims = json!({ "sub": "ann\nroot" }), "subject"),
        ("a long name", |plan| plan.claims = json!({ "sub": "x".repeat(256) }), "subject"),
        ("no expiry", |plan| plan.claims = json!({ "exp": null }), "exchange-failed"),
        ("no ID token", |plan| plan.token = json!({ "id_token": null }), "no-id-token"),
        ("no token at all", |plan| plan.token = json!({ "id_token": "x" }), "exchange-failed"),
        ("a code that was used", |plan| plan.token = json!({ "error": "invalid_grant" }), "exchange-refused"),
        ("somebody else at the userinfo endpoint", |plan| plan.userinfo = json!({ "sub": "root" }), "userinfo-subject"),
        ("nobody at the userinfo endpoint", |plan| plan.userinfo = json!({ "sub": null }), "userinfo-subject"),
        (
            "userinfo leads elsewhere",
            |plan| plan.raw = Some(("/userinfo", elsewhere("/userinfo2"))),
            "provider-unreachable",
        ),
        ("token endpoint leads elsewhere", |plan| plan.raw = Some(("/token", elsewhere("/token2"))), "exchange-failed"),
        (
            "a page",
            |plan| plan.raw = Some(("/token", answer("200 OK", "content-type: text/html\r\n", "<html>"))),
            "exchange-failed",
        ),
        (
            "without end",
            |plan| plan.raw = Some(("/token", answer("200 OK", JSON, &" ".repeat(600 << 10)))),
            "provider-unreachable",
        ),
        ("twin: after all that", |_| {}, "ok"),
    ];
    for (case, lie, expected) in cases {
        scene.provider.right();
        let begun = scene.begin().await;
        scene.provider.change(lie);
        let answer = scene.back(&begun).await;
        let cause = scene.cause().await;
        match expected {
            "ok" => {
                assert_eq!(answer.status, StatusCode::OK, "{case}: {cause} {}", answer.body);
                assert!(cookie(&answer, "gig_session").is_some(), "{case}");
            }
            expected => {
                assert_eq!(cause, expected, "{case}: {}", answer.body);
                assert!(answer.status.is_client_error() || answer.status == StatusCode::BAD_GATEWAY, "{case}");
                assert!(cookie(&answer, "gig_session").is_none(), "{case}");
                let told = answer.body["error"]["message"].as_str().expect("a text");
                assert!(!told.contains("127.0.0.1") && told.len() < 100, "a fixed text: {told}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_is_for_the_browser_that_was_sent() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let issuer = scene.provider.issuer.clone();
    let other = scene.begin().await;
    let begun = scene.begin().await;
    let good = format!("state={}&code=good&iss={issuer}", begun.state);
    for (case, query, cookies, expected) in [
        ("no cookie", good.clone(), "", NOT_BEGUN),
        ("another browser's cookie", good.clone(), &*other.cookie, NOT_BEGUN),
        ("no state", format!("code=good&iss={issuer}"), &begun.cookie, NOT_BEGUN),
        ("another state", format!("state={}&code=good&iss={issuer}", other.state), &begun.cookie, NOT_BEGUN),
        (
            "twin: with what providers add",
            format!("{good}&session_state=x&scope=openid&authuser=0"),
            &begun.cookie,
            "allowed",
        ),
        ("once more", good.clone(), &begun.cookie, "state-replayed"),
    ] {
        let before = scene.not_begun();
        let answer = scene.get(&format!("/oidc/callback?{query}"), cookies).await;
        let not_begun = scene.not_begun() > before;
        let cause = if not_begun { NOT_BEGUN.to_owned() } else { scene.cause().await };
        assert_eq!(cause, expected, "{case}: {}", answer.body);
        assert_eq!(answer.status.is_success(), expected == "allowed", "{case}");
        assert_eq!(cookie(&answer, "gig_session").is_some(), expected == "allowed", "{case}");
    }
    for (case, query, expected) in [
        ("another issuer", "code=good&iss=http://127.0.0.1:1", "issuer-of-answer"),
        ("no issuer, though it says that it gives one", "code=good", "issuer-of-answer"),
        ("not let in", &*format!("error=access_denied&iss={issuer}"), "provider-denied"),
        ("no code", &*format!("iss={issuer}"), "no-code"),
        ("twin", &*format!("code=good&iss={issuer}"), "allowed"),
    ] {
        let begun = scene.begin().await;
        let answer = scene.get(&format!("/oidc/callback?state={}&{query}", begun.state), &begun.cookie).await;
        assert_eq!(scene.cause().await, expected, "{case}: {}", answer.body);
    }
    // Twice the same is none: which of them counts is not for the sender to choose.
    let begun = scene.begin().await;
    let twice = format!("/oidc/callback?state={}&code=bad&code=good&iss={issuer}", begun.state);
    assert_eq!(scene.get(&twice, &begun.cookie).await.code(), "invalid");
    assert_eq!(scene.back(&begun).await.status, StatusCode::OK, "twin");
}

#[tokio::test]
async fn a_browser_is_led_to_pages_of_ours_only_and_its_session_of_before_ends() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    for (path, expected) in [
        ("/servers", StatusCode::SEE_OTHER), // twin
        ("//evil.example", StatusCode::BAD_REQUEST),
        ("https://evil.example", StatusCode::BAD_REQUEST),
        ("/%5Cevil.example", StatusCode::BAD_REQUEST),
        ("/x%0d%0aset-cookie:a=b", StatusCode::BAD_REQUEST),
        ("/api/v1/oidc/login", StatusCode::BAD_REQUEST),
        ("/x/%252e%252e/api/v1/oidc/login", StatusCode::BAD_REQUEST),
    ] {
        let answer = scene.get(&format!("/oidc/login?return_to={path}"), "").await;
        assert_eq!(answer.status, expected, "{path}");
    }
    let first = scene.signed_in().await;
    let begun = scene.begin().await;
    let cookies = format!("{}; {first}", begun.cookie);
    let issuer = scene.provider.issuer.clone();
    let answer = scene.get(&format!("/oidc/callback?state={}&code=good&iss={issuer}", begun.state), &cookies).await;
    let second = cookie(&answer, "gig_session").expect("it is set");
    assert!(first != second && !scene.is_in(&first).await && scene.is_in(&second).await);
    // What somebody puts there themselves is no session.
    let forged = format!("gig_session=gigs_{}", "A".repeat(43));
    let begun = scene.begin().await;
    let cookies = format!("{}; {forged}", begun.cookie);
    let answer = scene.get(&format!("/oidc/callback?state={}&code=good&iss={issuer}", begun.state), &cookies).await;
    assert!(cookie(&answer, "gig_session").is_some_and(|set| set != forged) && !scene.is_in(&forged).await);
}

#[tokio::test]
async fn keys_are_asked_for_again_when_one_is_not_known_but_not_each_time() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let asked = |scene: &Scene| scene.provider.plan().asked.iter().filter(|path| *path == "/keys").count();
    assert_eq!(asked(&scene), 1);
    scene.provider.change(|plan| (plan.key, plan.kid) = (key(), "second".to_owned()));
    scene.signed_in().await;
    assert_eq!(asked(&scene), 2);
    for _ in 0..3 {
        let begun = scene.begin().await;
        scene.provider.change(|plan| plan.header = json!({ "kid": "none" }));
        scene.back(&begun).await;
        assert_eq!((scene.cause().await.as_str(), asked(&scene)), ("unknown-key", 2), "at most once in ten seconds");
    }
    scene.provider.change(|plan| plan.header = json!({}));
    scene.signed_in().await; // twin
}

#[tokio::test]
async fn a_provider_is_not_used_that_says_what_it_must_not() {
    let mut scene = Scene::new(&["--oidc-new-accounts", "anyone"]).await;
    let early = scene.get("/oidc/login", "").await;
    assert_eq!((early.status, early.code()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    let slash = format!("{}/", scene.provider.issuer);
    let other = |name: &str, value: &str| json!({ name: value });
    let document = "/.well-known/openid-configuration";
    let lies: [(&str, Value, Option<String>, &str); 11] = [
        ("another issuer", other("issuer", "http://127.0.0.1:1"), None, "must be the same"),
        ("a slash", other("issuer", &slash), None, "must be the same"),
        ("plain token endpoint", other("token_endpoint", "http://id.example/token"), None, "token_endpoint"),
        ("plain keys", other("jwks_uri", "http://10.0.0.1/keys"), None, "jwks_uri"),
        ("files", other("jwks_uri", "file:///etc/passwd"), None, "jwks_uri"),
        ("a script", other("authorization_endpoint", "javascript:alert(1)"), None, "authorization_endpoint"),
        ("a name in it", other("userinfo_endpoint", "https://a@id.example/x"), None, "userinfo_endpoint"),
        ("no S256", json!({ "code_challenge_methods_supported": ["plain"] }), None, "S256"),
        ("leads elsewhere", json!({}), Some(elsewhere("/elsewhere")), "answered 302"),
        ("a page", json!({}), Some(answer("200 OK", "", "<html>")), "not understood"),
        ("without end", json!({}), Some(answer("200 OK", "", &"x".repeat(600 << 10))), "longer than"),
    ];
    let oidc = std::sync::Arc::clone(scene.world.state.oidc.as_ref().expect("it is set"));
    for (case, lie, raw, expected) in lies {
        scene.provider.right();
        scene.provider.change(|plan| (plan.discovery, plan.raw) = (lie, raw.map(|raw| (document, raw))));
        let error = oidc.discover().await.expect_err(case);
        let told = crate::output::whole(&error);
        assert!(told.contains(expected), "{case}: {told}");
        assert_eq!(scene.get("/oidc/login", "").await.status, StatusCode::SERVICE_UNAVAILABLE, "{case}");
    }
    scene.provider.right();
    oidc.discover().await.expect("twin");
    scene.signed_in().await;
}

fn elsewhere(path: &str) -> String {
    answer("302 Found", &format!("location: {path}\r\n"), "")
}

const JSON: &str = "content-type: application/json\r\n";
