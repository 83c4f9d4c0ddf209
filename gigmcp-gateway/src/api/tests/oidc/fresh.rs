//! Who has somebody's session and no more than that: other ways to sign in are neither added nor taken away.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    super::world::{Account, Answer, PASSWORD, Proof, person},
    Begun, Scene, cookie,
};
use crate::{
    people::{Actor, Role},
    store::now_seconds,
};

/// What the provider says of somebody who is asked now.
pub(super) fn asked(subject: &str, at: i64) -> Value {
    json!({ "sub": subject, "auth_time": at, "email_verified": false })
}

impl Scene {
    /// Somebody who is signed in by the provider and has no password.
    async fn known(&mut self, subject: &str) -> String {
        self.says(asked(subject, now_seconds()));
        self.signed_in().await
    }

    fn says(&self, claims: Value) {
        let subject = claims["sub"].clone();
        self.provider.change(|plan| (plan.claims, plan.userinfo) = (claims, json!({ "sub": subject })));
    }

    async fn begin_proof(&mut self, session: &str) -> Begun {
        let answer = self.ask(session, Method::POST, "/oidc/confirm", Some(json!({ "return_to": "/account" }))).await;
        let location = answer.body["location"].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned();
        assert!(location.contains("prompt=login") && location.contains("max_age=0"), "{location}");
        self.begun(&answer, &location)
    }

    /// Proves once more who is in a session, as the provider says these claims. Gives what the browser keeps of it.
    pub(super) async fn prove(&mut self, session: &str, claims: Value) -> (Answer, String) {
        let begun = self.begin_proof(session).await;
        self.says(claims);
        let answer = self.back(&begun).await;
        (answer, begun.cookie)
    }

    async fn link(&mut self, cookies: &str) -> Answer {
        self.ask(cookies, Method::POST, "/oidc/link", Some(json!({}))).await
    }

    async fn first_identity(&mut self, session: &str) -> String {
        let items = self.get("/identities", session).await.body["items"].clone();
        items[0]["id"].as_str().unwrap_or_else(|| panic!("{items}")).to_owned()
    }
}

#[tokio::test]
async fn without_a_password_an_identity_is_linked_after_a_fresh_sign_in_only() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let (ann, eve) = (scene.known("ann").await, scene.known("eve").await);
    assert_eq!(scene.link(&ann).await.code(), "fresh_sign_in", "with the session alone");
    let now = now_seconds();
    for (case, claims, cause) in [
        ("the provider did not ask", asked("ann", now - 3600), "auth-time"),
        ("it asks in the future", asked("ann", now + 3600), "auth-time"),
        ("it does not say when", json!({ "sub": "ann" }), "no-auth-time"),
        ("it says no time", json!({ "sub": "ann", "auth_time": "now" }), "exchange-failed"),
        ("somebody else is asked", asked("eve", now), "anothers-identity"),
        ("somebody who has no account", asked("new", now), "anothers-identity"),
    ] {
        let (answer, flow) = scene.prove(&ann, claims).await;
        assert_eq!((answer.status.is_success(), scene.cause().await.as_str()), (false, cause), "{case}");
        assert_eq!(scene.link(&format!("{ann}; {flow}")).await.code(), "fresh_sign_in", "{case}");
    }
    // What is begun and not ended proves nothing, nor does a sign-in.
    let begun = scene.begin_proof(&ann).await;
    assert_eq!(scene.link(&format!("{ann}; {}", begun.cookie)).await.code(), "fresh_sign_in");
    let sign_in = scene.begin().await;
    assert_eq!(scene.link(&format!("{ann}; {}", sign_in.cookie)).await.code(), "fresh_sign_in");
    // It is good for the session and the browser that it is of, for one change, and for ten minutes.
    let (answer, flow) = scene.prove(&ann, asked("ann", now_seconds())).await;
    assert_eq!((answer.status, cookie(&answer, "gig_session")), (StatusCode::OK, None), "{}", scene.cause().await);
    assert_eq!(scene.link(&ann).await.code(), "fresh_sign_in", "another browser with the same session");
    assert_eq!(scene.link(&format!("{eve}; {flow}")).await.code(), "fresh_sign_in", "another session");
    let linking = scene.link(&format!("{ann}; {flow}")).await;
    assert_eq!(linking.code(), "ok", "twin: {}", linking.body);
    assert_eq!(scene.link(&format!("{ann}; {flow}")).await.code(), "fresh_sign_in", "once");
    let (_, late) = scene.prove(&ann, asked("ann", now_seconds())).await;
    scene.world.state.store().meddle("UPDATE identity_links SET expires_at = expires_at - 601").await;
    assert_eq!(scene.link(&format!("{ann}; {late}")).await.code(), "fresh_sign_in", "too late");
    // And the other identity is hers.
    let (_, flow) = scene.prove(&ann, asked("ann", now_seconds())).await;
    let answer = scene.link(&format!("{ann}; {flow}")).await;
    let link = scene.begun(&answer, answer.body["location"].as_str().expect("an address"));
    scene.says(asked("ann at home", now_seconds()));
    scene.back(&link).await;
    assert_eq!(scene.get("/identities", &ann).await.body["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn without_a_password_an_identity_is_unlinked_after_a_fresh_sign_in_only() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let ann = scene.known("ann").await;
    let (_, flow) = scene.prove(&ann, asked("ann", now_seconds())).await;
    let answer = scene.link(&format!("{ann}; {flow}")).await;
    let link = scene.begun(&answer, answer.body["location"].as_str().expect("an address"));
    scene.says(asked("ann at home", now_seconds()));
    scene.back(&link).await;
    let path = format!("/identities/{}/unlink", scene.first_identity(&ann).await);
    let stolen = scene.ask(&ann, Method::POST, &path, Some(json!({}))).await;
    assert_eq!(stolen.code(), "fresh_sign_in");
    assert_eq!(scene.get("/identities", &ann).await.body["items"].as_array().map(Vec::len), Some(2));
    let (_, flow) = scene.prove(&ann, asked("ann at home", now_seconds())).await;
    let unlinked = scene.ask(&format!("{ann}; {flow}"), Method::POST, &path, Some(json!({}))).await;
    assert_eq!(unlinked.code(), "ok", "twin: {}", unlinked.body);
}

#[tokio::test]
async fn a_fresh_sign_in_does_not_stand_in_for_a_password() {
    let mut scene = Scene::ready(&[]).await;
    let ann = scene.world.account("ann", Role::User).await;
    let (session, _) = linked(&mut scene, &ann).await;
    let (_, flow) = scene.prove(&session, asked("ann", now_seconds())).await;
    assert_eq!(scene.link(&format!("{session}; {flow}")).await.code(), "wrong_proof");
    let body = Some(json!({ "password": PASSWORD }));
    assert_eq!(scene.ask(&session, Method::POST, "/oidc/link", body).await.code(), "ok", "twin");
}

#[tokio::test]
async fn where_no_passwords_are_taken_an_old_one_does_not_stand_in_for_a_fresh_sign_in() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone", "--local-login", "off"]).await;
    let session = scene.known("ann").await;
    let bob = scene.world.account("bob", Role::User).await;
    let same = format!("UPDATE users SET password = (SELECT password FROM users WHERE id = '{}')", bob.id);
    scene.world.state.store().meddle(&same).await;
    let body = Some(json!({ "password": PASSWORD }));
    assert_eq!(scene.ask(&session, Method::POST, "/oidc/link", body).await.code(), "fresh_sign_in");
    let (_, flow) = scene.prove(&session, asked("ann", now_seconds())).await;
    assert_eq!(scene.link(&format!("{session}; {flow}")).await.code(), "ok", "twin");
}

/// Gives somebody an identity by the password that they have.
async fn linked(scene: &mut Scene, account: &Account) -> (String, String) {
    let session = format!("gig_session={}", account.session.expose());
    let answer = scene.ask(&session, Method::POST, "/oidc/link", Some(json!({ "password": PASSWORD }))).await;
    let link = scene.begun(&answer, answer.body["location"].as_str().expect("an address"));
    scene.says(asked("ann", now_seconds()));
    scene.back(&link).await;
    let id = scene.first_identity(&session).await;
    (session, id)
}

#[tokio::test]
async fn an_administrator_takes_an_identity_from_somebody() {
    let mut scene = Scene::ready(&[]).await;
    let [ann, root] = [scene.world.account("ann", Role::User).await, scene.world.account("boss", Role::Admin).await];
    let (_, id) = linked(&mut scene, &ann).await;
    let by_provider = scene.signed_in().await;
    let boss = format!("gig_session={}", root.session.expose());
    let path = format!("/users/{}/identities", ann.id);
    assert_eq!(scene.get(&path, &boss).await.body["items"][0]["id"], id.as_str());
    let hers = format!("gig_session={}", ann.session.expose());
    assert_eq!(scene.ask(&hers, Method::DELETE, &format!("{path}/{id}"), None).await.code(), "forbidden");
    let own = format!("/users/{}/identities/{id}", root.id);
    assert_eq!(scene.ask(&boss, Method::DELETE, &own, None).await.code(), "conflict", "not one's own");
    assert_eq!(scene.ask(&boss, Method::DELETE, &format!("{path}/0a"), None).await.code(), "not_found");
    assert!(scene.is_in(&by_provider).await);
    assert_eq!(scene.ask(&boss, Method::DELETE, &format!("{path}/{id}"), None).await.code(), "ok", "twin");
    assert!(!scene.is_in(&by_provider).await && scene.is_in(&hers).await);
    let rows = scene.world.state.store().audit_tail(9).await.expect("it can be read");
    let told = rows.iter().rfind(|row| row.row.subject.starts_with("unlinked")).expect("it is told");
    assert_eq!((told.row.owner.as_str(), told.row.kind.as_str()), (ann.id.as_str(), "account"));
    assert!(told.row.subject.ends_with(&format!("by {}", root.id)), "{}", told.row.subject);
    scene.sign_in().await;
    assert_eq!(scene.cause().await, "no-account", "the identity is nobody's");
}

#[tokio::test]
async fn the_last_administrator_keeps_the_last_way_to_sign_in() {
    let mut scene = Scene::ready(&[]).await;
    let ann = scene.world.account("ann", Role::Admin).await;
    let (_, id) = linked(&mut scene, &ann).await;
    scene.world.state.store().meddle("UPDATE users SET password = NULL").await;
    let people = &scene.world.state.people;
    let refused = people.unlink_of(&Actor::local(), &ann.id, &id).await;
    assert!(format!("{refused:?}").contains("LastAdministrator"), "{refused:?}");
    scene.world.state.store().meddle("UPDATE users SET password = 'x' WHERE id = 'local'").await;
    people.unlink_of(&Actor::local(), &ann.id, &id).await.expect("twin: another can sign in");
}

#[tokio::test]
async fn who_gets_an_account_by_a_new_password_does_not_share_it_with_an_identity() {
    for (case, replaced) in [("over the network", true), ("twin: on the command line", false)] {
        let mut scene = Scene::ready(&[]).await;
        let ann = scene.world.account("ann", Role::User).await;
        linked(&mut scene, &ann).await;
        let by = match replaced {
            true => person(&"local".parse().expect("an id"), Role::Admin),
            false => Actor::local(),
        };
        let code = scene.world.state.people.reset_password(&by, &ann.id).await.expect("an administrator may");
        let body = json!({ "code": code.expose(), "password": "Gemini 8 thruster 8" });
        let accepted = scene.world.ask(&Proof::None, Method::POST, "/invitations/accept", Some(body)).await;
        assert_eq!(accepted.code(), "ok", "{case}");
        scene.sign_in().await;
        assert_eq!(scene.cause().await, if replaced { "no-account" } else { "allowed" }, "{case}");
    }
}
