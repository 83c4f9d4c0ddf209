//! Whether the provider stands by a session, and what else it may say when it is asked.

use http::StatusCode;
use serde_json::json;

use super::{
    Scene,
    provider::{Plan, Signing, answer},
};
use crate::people::{SessionToken, Standing};

pub(super) const LATER: &str =
    "UPDATE provider_sessions SET confirmed_at = confirmed_at - 1000, tried_at = tried_at - 1000";

impl Scene {
    /// A session that the provider can be asked about, some time ago.
    async fn some_time_ago(&mut self) -> String {
        self.provider.right();
        self.provider.change(|plan| {
            plan.token = json!({ "refresh_token": "the first" });
            plan.claims = json!({ "roles": ["staff"] });
        });
        let session = self.signed_in().await;
        self.world.state.store().meddle(LATER).await;
        self.provider.change(|plan| plan.asked.clear());
        session
    }

    fn exchanges(&self) -> usize {
        self.provider.plan().asked.iter().filter(|path| *path == "/token").count()
    }
}

#[tokio::test]
async fn a_session_goes_on_as_long_as_the_provider_stands_by_it() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone", "--oidc-role-map", "staff=user,boss=admin"]).await;
    type Lie = fn(&mut Plan);
    let cases: [(&str, Lie, StatusCode, &str); 15] = [
        ("twin", |_| {}, StatusCode::OK, "allowed"),
        ("twin: no ID token, roles of the userinfo endpoint", without_id_token, StatusCode::OK, "allowed"),
        ("twin: no new refresh token", |plan| plan.token = json!({}), StatusCode::OK, "allowed"),
        (
            "not any more",
            |plan| plan.token = json!({ "error": "invalid_grant" }),
            StatusCode::UNAUTHORIZED,
            "exchange-refused",
        ),
        ("another person", |plan| plan.claims = json!({ "sub": "root" }), StatusCode::UNAUTHORIZED, "subject"),
        (
            "another person's data",
            |plan| plan.userinfo = json!({ "sub": "root" }),
            StatusCode::UNAUTHORIZED,
            "userinfo-subject",
        ),
        ("another key", |plan| plan.signing = Signing::OtherKey, StatusCode::UNAUTHORIZED, "signature"),
        ("unsigned", |plan| plan.signing = Signing::Unsigned, StatusCode::UNAUTHORIZED, "algorithm"),
        ("another's token", |plan| plan.claims = json!({ "aud": "other" }), StatusCode::UNAUTHORIZED, "audience"),
        ("no role any more", |plan| plan.claims = json!({ "roles": [] }), StatusCode::UNAUTHORIZED, "role"),
        ("another role", |plan| plan.claims = json!({ "roles": ["boss"] }), StatusCode::UNAUTHORIZED, "allowed"),
        // What does not answer says nothing.
        ("busy", |plan| plan.token = json!({ "error": "temporarily_unavailable" }), StatusCode::OK, "allowed"),
        ("a page", |plan| plan.raw = Some(("/token", answer("503 Busy", "", "<html>"))), StatusCode::OK, "allowed"),
        (
            "half of it",
            |plan| plan.raw = Some(("/userinfo", answer("503 Busy", "", "<html>"))),
            StatusCode::OK,
            "allowed",
        ),
        ("twin: after all that", |_| {}, StatusCode::OK, "allowed"),
    ];
    for (case, lie, expected, verdict) in cases {
        let session = scene.some_time_ago().await;
        scene.provider.change(lie);
        let answer = scene.get("/session", &session).await;
        assert_eq!((answer.status, scene.cause().await.as_str()), (expected, verdict), "{case}: {}", answer.body);
        let again = scene.get("/session", &session).await;
        assert_eq!((again.status, scene.exchanges()), (expected, 1), "{case}: it is asked once");
    }
}

fn without_id_token(plan: &mut Plan) {
    plan.token = json!({ "id_token": null });
    plan.userinfo = json!({ "roles": ["staff"] });
}

#[tokio::test]
async fn what_was_given_half_way_is_kept() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let session = scene.some_time_ago().await;
    scene.provider.change(|plan| {
        plan.token = json!({ "refresh_token": "the second" });
        plan.raw = Some(("/userinfo", answer("503 Busy", "", "")));
    });
    assert!(scene.is_in(&session).await);
    scene.world.state.store().meddle(LATER).await;
    scene.provider.change(|plan| (plan.raw, plan.expected_refresh) = (None, Some("the second")));
    assert!(scene.is_in(&session).await);
    assert_eq!(scene.exchanges(), 2);
}

#[tokio::test]
async fn of_many_requests_at_once_one_asks() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let session = scene.some_time_ago().await;
    // So long that none is let in before the provider has answered.
    scene.world.state.store().meddle("UPDATE provider_sessions SET confirmed_at = confirmed_at - 9000").await;
    let token = session.strip_prefix("gig_session=").and_then(SessionToken::parse).expect("a token");
    let state = &scene.world.state;
    let live = state.people.session(&token).await.expect("it can be read").expect("it holds");
    let asking = || state.people.standing(state.oidc.as_ref(), &token, &live);
    let (first, second, third, fourth) = tokio::join!(asking(), asking(), asking(), asking());
    let standings = [first, second, third, fourth].map(|standing| standing.expect("it can be found out"));
    assert!(standings.iter().all(|standing| *standing == Standing::Holds), "{standings:?}");
    assert_eq!(scene.exchanges(), 1);
}
