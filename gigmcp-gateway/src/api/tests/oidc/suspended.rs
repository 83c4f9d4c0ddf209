//! What somebody has whom the provider refuses: nothing of theirs comes in or runs until it stands by them again.

use http::{Method, StatusCode};
use serde_json::json;

use super::{
    super::world::{PASSWORD, Proof},
    Scene,
    provider::{Plan, Signing, answer},
    refresh::LATER,
};
use crate::{
    people::{Actor, Lifetime, Role, SessionToken, Standing, UserId},
    store::{AuditRow, StoreError},
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
    let cases: [(&str, Lie, bool); 9] = [
        ("refused", |plan| plan.token = json!({ "error": "invalid_grant" }), true),
        ("no role any more", |plan| plan.claims = json!({ "roles": [], "groups": ["gig"] }), true),
        ("in no group any more", |plan| plan.claims = json!({ "roles": ["staff"], "groups": [] }), true),
        (
            "no role any more, without an ID token",
            |plan| {
                plan.token = json!({ "id_token": null });
                plan.userinfo = json!({ "roles": [], "groups": ["gig"] });
            },
            true,
        ),
        // Whatever is no answer to the question.
        (
            "twin: it says nothing of roles",
            |plan| {
                plan.token = json!({ "id_token": null });
                plan.userinfo = json!({ "groups": ["gig"] });
            },
            false,
        ),
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
        if case.contains("nothing of roles") {
            assert!(!scene.is_in(&session).await, "nobody is let in by silence");
        }
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
        ("twin: seen just now", "UPDATE identities SET last_login_at = last_login_at".to_owned(), false),
        ("twin: a week is not over", format!("UPDATE identities SET last_login_at = last_login_at {recent}"), false),
        ("twin: confirmed since", format!("UPDATE identities SET last_login_at = last_login_at {past}"), false),
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
    scene.world.state.store().meddle("UPDATE users SET password = 'x'").await;
    scene.world.state.store().meddle("UPDATE identities SET last_login_at = 5").await;
    scene.world.state.store().meddle("UPDATE provider_sessions SET confirmed_at = 5").await;
    assert_eq!(scene.world.state.people.suspend_unseen(week).await.expect("it can be read"), []);
}

#[tokio::test]
async fn that_a_session_was_confirmed_outlives_it() {
    for (case, confirmed) in [("twin: signed in long ago", false), ("confirmed since", true)] {
        let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
        let session = scene.member().await;
        let programs = scene.programs(&session).await;
        let store = scene.world.state.store().clone();
        store.meddle("UPDATE users SET last_login_at = 5, created_at = 5").await;
        store.meddle("UPDATE identities SET last_login_at = 5").await;
        if confirmed {
            store.meddle(LATER).await;
            assert!(scene.is_in(&session).await);
        }
        scene.ask(&session, Method::DELETE, "/session", None).await;
        assert!(!scene.is_in(&session).await);
        let unseen = scene.world.state.people.suspend_unseen(Lifetime::hours(168)).await.expect("it can be written");
        assert_eq!((unseen.is_empty(), scene.lets_in(&programs).await), (confirmed, confirmed), "{case}");
    }
}

#[tokio::test]
async fn a_password_does_not_speak_for_the_provider() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let session = scene.member().await;
    let programs = scene.programs(&session).await;
    let bob = scene.world.account("bob", Role::User).await;
    let same = format!("UPDATE users SET password = (SELECT password FROM users WHERE id = '{}')", bob.id);
    scene.world.state.store().meddle(&same).await;
    scene.world.state.store().meddle(LATER).await;
    scene.provider.change(|plan| plan.token = json!({ "error": "invalid_grant" }));
    assert!(!scene.is_in(&session).await && !scene.lets_in(&programs).await);
    let user = scene.world.state.people.account(&Actor::local(), &programs.user).await.expect("it is there");
    let body = json!({ "email": user.email.expect("an address").as_str(), "password": PASSWORD });
    let by_password = scene.world.ask(&Proof::None, Method::POST, "/session", Some(body)).await;
    assert_eq!(by_password.status, StatusCode::CREATED, "{}", by_password.body);
    assert!(!scene.lets_in(&programs).await, "it is still refused");
    scene.member().await;
    assert!(scene.lets_in(&programs).await, "twin: the provider vouches");
}

#[tokio::test]
async fn programs_of_somebody_whose_last_identity_is_taken_wait_for_a_password() {
    for (case, password) in [("the last way in", false), ("twin: there is a password", true)] {
        let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
        let session = scene.member().await;
        let programs = scene.programs(&session).await;
        if password {
            scene.world.state.store().meddle("UPDATE users SET password = 'x'").await;
        }
        let people = &scene.world.state.people;
        let identity = people.identities(&Actor::local(), &programs.user).await.expect("they can be read");
        people.unlink_of(&Actor::local(), &programs.user, &identity[0].id()).await.expect("an operator may");
        assert_eq!(scene.lets_in(&programs).await, password, "{case}");
        // An operator vouches for them from now on.
        let code = scene.world.state.people.reset_password(&Actor::local(), &programs.user).await.expect("done");
        let body = json!({ "code": code.expose(), "password": "Gemini 8 thruster 8" });
        let accepted = scene.world.ask(&Proof::None, Method::POST, "/invitations/accept", Some(body)).await;
        assert_eq!(accepted.code(), "ok", "{case}");
        assert!(scene.lets_in(&programs).await, "{case}");
    }
}

#[tokio::test]
async fn of_whom_the_provider_refuses_no_session_goes_on_that_it_cannot_be_asked_about() {
    for refused in [true, false] {
        let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
        scene.provider.right();
        let unasked = scene.signed_in().await;
        let asked = scene.member().await;
        scene.world.state.store().meddle(LATER).await;
        if refused {
            scene.provider.change(|plan| plan.token = json!({ "error": "invalid_grant" }));
        }
        assert_eq!(scene.is_in(&asked).await, !refused);
        assert_eq!(scene.is_in(&unasked).await, !refused);
    }
}

#[tokio::test]
async fn what_was_said_before_a_refusal_does_not_lift_it() {
    for refused_meanwhile in [true, false] {
        let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
        let session = scene.member().await;
        let programs = scene.programs(&session).await;
        let store = scene.world.state.store().clone();
        let hash = hash_of(&session);
        if !refused_meanwhile {
            store.meddle("UPDATE users SET suspended_at = 5").await;
        }
        let tried_at = store.session(hash.clone(), 9999).await.expect("it can be read").expect("it holds");
        let tried_at = tried_at.provider.expect("a provider").tried_at;
        let claim = store.claim_confirmation(hash.clone(), tried_at).await.expect("done").expect("nobody else");
        if refused_meanwhile {
            store.meddle("UPDATE users SET suspended_at = 5").await;
        }
        let sealed = store.grant(hash.clone()).await.expect("it can be read").expect("it is there");
        assert!(store.keep_grant(hash, sealed, Some(claim)).await.expect("done"));
        assert_eq!(scene.lets_in(&programs).await, !refused_meanwhile);
    }
}

#[tokio::test]
async fn a_session_renamed_while_the_provider_was_asked_suspends_nobody() {
    for (case, renewed) in [("renewed", Some("the second")), ("twin: not renewed", None)] {
        let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
        let session = scene.member().await;
        let programs = scene.programs(&session).await;
        let store = scene.world.state.store().clone();
        store.meddle(LATER).await;
        scene.provider.change(|plan| plan.token = json!({ "refresh_token": renewed }));
        let token = SessionToken::parse(session.strip_prefix("gig_session=").expect("a cookie")).expect("a token");
        let state = &scene.world.state;
        let live = state.people.session(&token).await.expect("it can be read").expect("it holds");
        // What is known of it is of before; by the time that the provider has answered, it is called otherwise.
        let (held, answer) = scene.provider.hold("/token");
        let asking = state.people.standing(state.oidc.as_ref(), &token, &live);
        let renaming = async {
            held.await.expect("it is asked");
            let renamed = format!("UPDATE sessions SET token_hash = 'renamed' WHERE token_hash = '{}'", token.hash());
            store.meddle(&renamed).await;
            answer.send(()).expect("it waits");
        };
        let (standing, ()) = tokio::join!(asking, renaming);
        assert_eq!(standing.expect("it can be found out"), Standing::Over, "{case}");
        let left = store.session("renamed".to_owned(), 9999).await.expect("it can be read");
        assert_eq!(left.is_some(), renewed.is_none(), "{case}: what it has would be taken for stolen");
        assert!(scene.lets_in(&programs).await, "{case}");
    }
}

#[tokio::test]
async fn a_view_does_not_put_back_what_the_provider_gave_before() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let hash = hash_of(&scene.member().await);
    let store = scene.world.state.store().clone();
    let before = store.grant(hash.clone()).await.expect("it can be read").expect("it is there");
    assert!(store.keep_grant(hash.clone(), b"newer".to_vec(), None).await.expect("done"));
    let rename = |before: &[u8]| {
        let sealed = Some((before.to_vec(), b"sealed anew".to_vec()));
        store.set_view(hash.clone(), "renamed".to_owned(), None, sealed, AuditRow::default())
    };
    assert!(matches!(rename(&before).await, Err(StoreError::Confirmed)));
    assert!(rename(b"newer").await.expect("twin"));
    assert_eq!(store.grant("renamed".to_owned()).await.expect("it can be read"), Some(b"sealed anew".to_vec()));
}

fn hash_of(session: &str) -> String {
    SessionToken::parse(session.strip_prefix("gig_session=").expect("a cookie")).expect("a token").hash()
}

#[tokio::test]
async fn another_session_is_confirmed_at_once_and_says_whether_they_are_refused() {
    for still_known in [true, false] {
        let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
        let [first, other] = [scene.member().await, scene.member().await];
        let programs = scene.programs(&other).await;
        let store = scene.world.state.store().clone();
        let hash = hash_of(&first);
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
