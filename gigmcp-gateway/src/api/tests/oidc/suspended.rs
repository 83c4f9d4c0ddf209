//! What somebody has whom the provider refuses: nothing of theirs comes in or runs until it stands by them again.

use http::{Method, StatusCode};
use serde_json::json;

use super::{
    super::world::Proof,
    Scene,
    provider::{Plan, Signing, answer},
    refresh::LATER,
};
use crate::{
    people::{Actor, Lifetime, UserId},
    token::Token,
};

/// What comes in for somebody without their signing in.
struct Programs {
    user: UserId,
    key: Proof,
    token: String,
}

impl Scene {
    /// A profile with a token, and a key, of whoever is in a session.
    async fn programs(&mut self, session: &str) -> Programs {
        let id = self.get("/session", session).await.body["user"]["id"].as_str().expect("text").to_owned();
        let user: UserId = id.parse().expect("an id");
        let token = Token::mint().hash();
        let slug = "hers".parse().expect("a profile name");
        let store = self.world.state.store();
        store.create_profile(slug, user.clone(), Vec::new(), token.clone()).await.expect("the name is free");
        let body = json!({ "name": "ci", "scopes": "profiles:read" });
        let key = self.ask(session, Method::POST, "/api-keys", Some(body)).await;
        let key = Proof::Key(key.body["token"].as_str().unwrap_or_else(|| panic!("{}", key.body)).to_owned());
        Programs { user, key, token }
    }

    /// Whether they come in, which is the same for all.
    async fn lets_in(&self, programs: &Programs) -> bool {
        let store = self.world.state.store();
        let opens = store.admission(&programs.token).await.expect("it can be read").owner.is_some();
        let key = self.world.ask(&programs.key, Method::GET, "/profiles", None).await.status == StatusCode::OK;
        let profile = store.profile("hers".parse().expect("a profile name")).await.expect("it is there");
        assert_eq!((opens, opens), (key, profile.active), "all or none");
        opens
    }
}

#[tokio::test]
async fn whom_the_provider_refuses_has_nothing_that_comes_in() {
    let given = ["--oidc-new-accounts", "anyone", "--oidc-role-map", "staff=user", "--oidc-allowed-groups", "gig"];
    type Lie = fn(&mut Plan);
    let cases: [(&str, Lie, bool); 7] = [
        ("refused", |plan| plan.token = json!({ "error": "invalid_grant" }), true),
        ("no role any more", |plan| plan.claims = json!({ "roles": [], "groups": ["gig"] }), true),
        ("in no group any more", |plan| plan.claims = json!({ "roles": ["staff"], "groups": [] }), true),
        // Whatever is no answer to the question.
        ("twin: it does not answer", |plan| plan.raw = Some(("/token", answer("503 Busy", "", ""))), false),
        ("twin: it is busy", |plan| plan.token = json!({ "error": "temporarily_unavailable" }), false),
        ("twin: what it says is not believed", |plan| plan.signing = Signing::OtherKey, false),
        ("twin: it stands by them", |_| {}, false),
    ];
    for (case, lie, suspended) in cases {
        let mut scene = Scene::ready(&given).await;
        let session = scene.member().await;
        let programs = scene.programs(&session).await;
        assert!(scene.lets_in(&programs).await, "{case}: twin");
        scene.world.state.store().meddle(LATER).await;
        scene.provider.change(lie);
        scene.get("/session", &session).await;
        assert_eq!(scene.lets_in(&programs).await, !suspended, "{case}");
        let user = scene.world.state.people.account(&Actor::local(), &programs.user).await.expect("it is there");
        assert_eq!(user.suspended_at.is_some(), suspended, "{case}");
        // Once the provider stands by them, all is as before.
        scene.member().await;
        assert!(scene.lets_in(&programs).await, "{case}: after they have signed in");
    }
}

impl Scene {
    /// Somebody whom the provider lets in, and can be asked about.
    async fn member(&mut self) -> String {
        self.provider.right();
        self.provider.change(|plan| {
            plan.token = json!({ "refresh_token": "the first" });
            plan.claims = json!({ "roles": ["staff"], "groups": ["gig"] });
        });
        self.signed_in().await
    }
}

#[tokio::test]
async fn whom_the_provider_does_not_admit_at_a_sign_in_has_nothing_that_comes_in() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone", "--oidc-allowed-groups", "gig"]).await;
    let session = scene.member().await;
    let programs = scene.programs(&session).await;
    // Somebody else who is not let in takes nothing from her.
    scene.provider.change(|plan| {
        plan.claims = json!({ "sub": "eve", "groups": [], "email": "eve@example.com" });
        plan.userinfo = json!({ "sub": "eve" });
    });
    scene.sign_in().await;
    assert!(scene.cause().await == "group" && scene.lets_in(&programs).await, "twin");
    scene.provider.right();
    scene.sign_in().await;
    assert!(scene.cause().await == "group" && !scene.lets_in(&programs).await);
    // An administrator, who knows better, lets them in again.
    scene.world.state.people.enable(&Actor::local(), &programs.user).await.expect("done");
    assert!(scene.lets_in(&programs).await);
}

#[tokio::test]
async fn programs_of_somebody_who_is_not_seen_any_more_wait() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let session = scene.member().await;
    let programs = scene.programs(&session).await;
    let week = Lifetime::hours(168);
    let days_ago = |days: i64| format!("- {}", days * 86_400);
    let (past, recent) = (days_ago(8), days_ago(6));
    for (case, change, suspended) in [
        ("twin: seen just now", "UPDATE users SET last_login_at = last_login_at".to_owned(), false),
        ("twin: a week is not over", format!("UPDATE users SET last_login_at = last_login_at {recent}"), false),
        ("twin: confirmed since", format!("UPDATE users SET last_login_at = last_login_at {past}"), false),
        ("not seen", format!("UPDATE provider_sessions SET confirmed_at = confirmed_at {past}"), true),
    ] {
        scene.world.state.store().meddle(&change).await;
        let found = scene.world.state.people.suspend_unseen(week).await.expect("it can be written");
        assert_eq!(found, if suspended { vec![programs.user.clone()] } else { Vec::new() }, "{case}");
        assert_eq!(scene.lets_in(&programs).await, !suspended, "{case}");
    }
    assert_eq!(scene.world.state.people.suspend_unseen(week).await.expect("it can be read"), [], "once");
    scene.member().await;
    assert!(scene.lets_in(&programs).await, "they are seen again");
    // Who has a password is not the provider's to vouch for.
    scene.world.state.store().meddle("UPDATE users SET password = 'x', last_login_at = 5").await;
    assert_eq!(scene.world.state.people.suspend_unseen(week).await.expect("it can be read"), []);
}

#[tokio::test]
async fn another_session_is_confirmed_at_once_and_says_whether_they_are_refused() {
    for still_known in [true, false] {
        let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
        let [first, other] = [scene.member().await, scene.member().await];
        let programs = scene.programs(&other).await;
        let store = scene.world.state.store().clone();
        let ended = crate::people::SessionToken::parse(first.strip_prefix("gig_session=").expect("a cookie"));
        let hash = ended.expect("a token").hash();
        let later = LATER.to_owned() + &format!(" WHERE token_hash = '{hash}'");
        store.meddle(&later).await;
        scene.provider.change(|plan| plan.token = json!({ "error": "invalid_grant" }));
        assert!(!scene.is_in(&first).await && !scene.lets_in(&programs).await);
        if still_known {
            scene.provider.change(|plan| plan.token = json!({ "refresh_token": "the second" }));
        }
        scene.provider.change(|plan| plan.asked.clear());
        assert_eq!(scene.is_in(&other).await, still_known);
        assert!(scene.provider.plan().asked.contains(&"/token".to_owned()), "it is asked at once");
        assert_eq!(scene.lets_in(&programs).await, still_known);
    }
}
