//! The provider says that sessions are over, or somebody does in its name.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{
    super::super::PREFIX,
    Scene, cookie,
    provider::{CLIENT_ID, Plan, Signing},
};
use crate::store::now_seconds;

/// A logout token with what is different from a good one.
pub(super) fn notice(plan: &Plan, issuer: &str, id: usize, different: &Value) -> String {
    let now = now_seconds();
    let mut claims = json!({
        "iss": issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": format!("notice-{id}"), "sub": "ann",
        "sid": "a-session", "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    for (name, value) in different.as_object().expect("an object") {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    plan.signed("logout+jwt", claims)
}

pub(super) async fn tell(scene: &mut Scene, token: &str) -> StatusCode {
    let request = Request::post(format!("{PREFIX}/oidc/backchannel-logout")).header(header::HOST, super::HOST);
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let body = Bytes::from(format!("logout_token={token}"));
    scene.send(request.body(Full::new(body)).expect("a request")).await.status
}

#[tokio::test]
async fn sessions_end_if_the_provider_says_so_and_nobody_else() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let issuer = scene.provider.issuer.clone();
    let signing = |plan: &mut Plan, signing| plan.signing = signing;
    let mut session = scene.signed_in().await;
    let now = now_seconds();
    let event = |name: &str| json!({ "events": { name: {} } });
    let cases: [(&str, Signing, Value, Value, &str); 25] = [
        ("another issuer", Signing::Right, json!({}), json!({ "iss": "http://127.0.0.1:1" }), "issuer"),
        ("another's", Signing::Right, json!({}), json!({ "aud": "other" }), "audience"),
        ("of the future", Signing::Right, json!({}), json!({ "iat": now + 120 }), "future"),
        ("old", Signing::Right, json!({}), json!({ "iat": now - 1000 }), "expired"),
        ("over", Signing::Right, json!({}), json!({ "exp": now - 1 }), "expired"),
        ("no event", Signing::Right, json!({}), json!({ "events": {} }), "events"),
        ("no events", Signing::Right, json!({}), json!({ "events": null }), "form"),
        ("another event", Signing::Right, json!({}), event("http://schemas.openid.net/event/other"), "events"),
        ("a nonce", Signing::Right, json!({}), json!({ "nonce": "x" }), "nonce"),
        ("of nobody", Signing::Right, json!({}), json!({ "sub": null, "sid": null }), "subject"),
        ("no id", Signing::Right, json!({}), json!({ "jti": null }), "form"),
        ("empty id", Signing::Right, json!({}), json!({ "jti": "" }), "id"),
        ("unsigned", Signing::Unsigned, json!({}), json!({}), "algorithm"),
        ("its public key as a secret", Signing::PublicKeyAsSecret, json!({}), json!({}), "algorithm"),
        ("our own secret", Signing::ClientSecret, json!({}), json!({}), "algorithm"),
        ("another key", Signing::OtherKey, json!({}), json!({}), "signature"),
        ("a key that nobody knows", Signing::Right, json!({ "kid": "none" }), json!({}), "unknown-key"),
        ("what must be understood", Signing::Right, json!({ "crit": ["b64"] }), json!({}), "form"),
        ("another kind", Signing::Right, json!({ "typ": "at+jwt" }), json!({}), "form"),
        ("twin", Signing::Right, json!({}), json!({}), "allowed"),
        ("twin: of several", Signing::Right, json!({}), json!({ "aud": ["x", CLIENT_ID] }), "allowed"),
        ("twin: only the person", Signing::Right, json!({}), json!({ "sid": null }), "allowed"),
        ("twin: only the session", Signing::Right, json!({}), json!({ "sub": null }), "allowed"),
        ("twin: no expiry, which came later", Signing::Right, json!({}), json!({ "exp": null }), "allowed"),
        ("twin: no kind", Signing::Right, json!({ "typ": null }), json!({}), "allowed"),
    ];
    for (id, (case, signed, head, different, expected)) in cases.into_iter().enumerate() {
        let token = {
            let mut plan = scene.provider.plan();
            signing(&mut plan, signed);
            plan.header = head;
            notice(&plan, &issuer, id, &different)
        };
        scene.provider.right();
        let status = tell(&mut scene, &token).await;
        assert_eq!(scene.cause().await, expected, "{case}: {status}");
        let is_done = expected == "allowed";
        assert_eq!(status, if is_done { StatusCode::OK } else { StatusCode::BAD_REQUEST }, "{case}");
        assert_eq!(scene.is_in(&session).await, !is_done, "{case}");
        if is_done {
            session = scene.signed_in().await;
            assert_eq!(tell(&mut scene, &token).await, StatusCode::BAD_REQUEST, "{case}: once");
            assert_eq!(
                (scene.cause().await.as_str(), scene.is_in(&session).await),
                ("logout-replayed", true),
                "{case}"
            );
        }
    }
    // Others' sessions go on, and an ID token is no notice.
    let (others, other_session, id_token) = {
        let plan = scene.provider.plan();
        let others = notice(&plan, &issuer, 100, &json!({ "sub": "bob", "sid": null }));
        let other_session = notice(&plan, &issuer, 101, &json!({ "sid": "another" }));
        (others, other_session, plan.id_token(&issuer))
    };
    for (token, expected) in
        [(others, StatusCode::OK), (other_session, StatusCode::OK), (id_token, StatusCode::BAD_REQUEST)]
    {
        assert_eq!(tell(&mut scene, &token).await, expected);
        assert!(scene.is_in(&session).await);
    }
}

#[tokio::test]
async fn a_session_without_a_name_of_the_provider_ends_with_any_of_its_person() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let issuer = scene.provider.issuer.clone();
    let named = scene.signed_in().await;
    scene.provider.change(|plan| plan.claims = json!({ "sid": null }));
    let unnamed = scene.signed_in().await;
    for (id, (case, different, is_over)) in [
        ("another person's", json!({ "sub": "bob", "sid": "another" }), false),
        ("of nobody", json!({ "sub": null, "sid": "another" }), false),
        ("twin", json!({ "sid": "another" }), true),
    ]
    .into_iter()
    .enumerate()
    {
        let token = notice(&scene.provider.plan(), &issuer, id, &different);
        assert_eq!(tell(&mut scene, &token).await, StatusCode::OK, "{case}");
        assert_eq!(scene.is_in(&unnamed).await, !is_over, "{case}");
        assert!(scene.is_in(&named).await, "{case}: it has another name");
    }
}

#[tokio::test]
async fn what_could_not_be_ended_can_be_told_again() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let issuer = scene.provider.issuer.clone();
    let session = scene.signed_in().await;
    let token = notice(&scene.provider.plan(), &issuer, 1, &json!({}));
    let stuck = "CREATE TRIGGER stuck BEFORE DELETE ON sessions BEGIN SELECT RAISE(ABORT, 'stuck'); END";
    scene.world.state.store().meddle(stuck).await;
    assert!(tell(&mut scene, &token).await.is_server_error());
    scene.world.state.store().meddle("DROP TRIGGER stuck").await;
    assert!(scene.is_in(&session).await);
    assert_eq!(tell(&mut scene, &token).await, StatusCode::OK);
    assert!(!scene.is_in(&session).await);
    assert_eq!(tell(&mut scene, &token).await, StatusCode::BAD_REQUEST, "twin: once");
}

#[tokio::test]
async fn signing_out_leads_to_the_provider_with_what_it_knows_the_session_by() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone", "--oidc-role-map", "admins=admin"]).await;
    scene.provider.change(|plan| plan.claims = json!({ "roles": "admins" }));
    let before = scene.signed_in().await;
    // A view gives the session another token; what the provider gave goes with it.
    let view = json!({ "user": "local", "holds": "5m" });
    let viewing = scene.ask(&before, Method::POST, "/session/view", Some(view)).await;
    let session = cookie(&viewing, "gig_session").expect("it is set");
    let answer = scene.ask(&session, Method::POST, "/oidc/logout", None).await;
    let location = answer.body["location"].as_str().expect("an address").to_owned();
    let url: openidconnect::url::Url = location.parse().expect("an address");
    let value = |wanted: &str| url.query_pairs().find(|(name, _)| name == wanted).expect("it is there").1.into_owned();
    assert!(location.starts_with(&format!("{}/end?", scene.provider.issuer)), "{location}");
    assert_eq!(value("post_logout_redirect_uri"), "http://127.0.0.1:8080/api/v1/oidc/signed-out");
    assert_eq!(value("id_token_hint").split('.').count(), 3);
    assert!(!scene.is_in(&session).await);
    let flow = cookie(&answer, "gig_oidc").expect("it is set");
    for (case, query, cookies, expected) in [
        ("another state", "state=x", &*flow, StatusCode::UNPROCESSABLE_ENTITY),
        ("no state", "", &flow, StatusCode::UNPROCESSABLE_ENTITY),
        ("another browser", &format!("state={}", value("state")), "", StatusCode::UNPROCESSABLE_ENTITY),
        ("twin", &format!("state={}", value("state")), &flow, StatusCode::OK),
    ] {
        let answer = scene.get(&format!("/oidc/signed-out?{query}"), cookies).await;
        assert_eq!(answer.status, expected, "{case}");
    }
    // With that nobody is signed in.
    let issuer = scene.provider.issuer.clone();
    let back = format!("/oidc/callback?state={}&code=good&iss={issuer}", value("state"));
    assert!(cookie(&scene.get(&back, &flow).await, "gig_session").is_none());
    assert_eq!(scene.not_begun(), 1);
}
