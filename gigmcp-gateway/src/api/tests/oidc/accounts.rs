//! Whose account it is that a provider vouches for.

use http::{Method, StatusCode};
use serde_json::json;

use super::{
    super::world::{PASSWORD, Proof, proof},
    Scene, cookie,
    fresh::asked,
};
use crate::{
    people::{Actor, Role},
    store::now_seconds,
};

#[tokio::test]
async fn an_address_makes_nobody_the_owner_of_an_account() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let ann = scene.world.account("ann", Role::Admin).await;
    let refused = scene.sign_in().await;
    assert_eq!((refused.status, scene.cause().await.as_str()), (StatusCode::FORBIDDEN, "address-taken"));
    // Not verified, it is no address at all: an account of its own.
    scene.provider.change(|plan| plan.claims = json!({ "email_verified": false }));
    let session = scene.signed_in().await;
    let user = scene.get("/session", &session).await.body["user"].clone();
    assert_eq!((&user["email"], &user["role"]), (&json!(null), &json!("user")));
    assert_ne!(user["id"], ann.id.as_str());
    // Whoever changes the address at the provider afterwards gets nowhere else.
    scene.provider.right();
    let session = scene.signed_in().await;
    assert_eq!(scene.get("/session", &session).await.body["user"]["id"], user["id"], "twin: by the subject");
}

#[tokio::test]
async fn an_address_is_verified_only_by_the_document_that_names_it() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let there = "ann@example.com";
    for (case, sub, token, userinfo, email) in [
        ("named by the token", "a", json!({ "email_verified": null }), json!({ "email_verified": true }), json!(null)),
        ("named by userinfo", "b", json!({ "email": null }), json!({ "email": there }), json!(null)),
        (
            "the token says that it is not",
            "c",
            json!({ "email_verified": false }),
            json!({ "email": there, "email_verified": true }),
            json!(null),
        ),
        (
            "twin: both by userinfo",
            "d",
            json!({ "email": null, "email_verified": null }),
            json!({ "email": "dan@example.com", "email_verified": true }),
            json!("dan@example.com"),
        ),
        ("twin: both by the token", "e", json!({}), json!({ "email": "eve@example.com" }), json!(there)),
    ] {
        scene.provider.change(|plan| {
            (plan.claims, plan.userinfo) = (token, userinfo);
            (plan.claims["sub"], plan.userinfo["sub"]) = (json!(sub), json!(sub));
        });
        let session = scene.signed_in().await;
        assert_eq!(scene.get("/session", &session).await.body["user"]["email"], email, "{case}");
    }
}

#[tokio::test]
async fn without_an_invitation_nobody_is_let_in_unless_anyone_is() {
    let mut scene = Scene::ready(&[]).await;
    let root = Actor::local();
    let invite = |address: &str| address.parse().expect("an address");
    assert_eq!((scene.sign_in().await.code(), scene.cause().await.as_str()), ("forbidden", "no-account"));
    scene.world.state.people.invite(&root, invite("bob@example.com"), Role::User, None).await.expect("it is free");
    scene.sign_in().await;
    assert_eq!(scene.cause().await, "no-account", "another was invited");
    scene.world.state.people.invite(&root, invite("ann@example.com"), Role::Auditor, None).await.expect("it is free");
    scene.provider.change(|plan| plan.claims = json!({ "email_verified": false }));
    scene.sign_in().await;
    assert_eq!(scene.cause().await, "no-account", "the address is not verified");
    scene.provider.right();
    let session = scene.signed_in().await; // twin
    assert_eq!(scene.get("/session", &session).await.body["user"]["role"], "auditor");
    let left = scene.world.state.people.invitations(&root).await.expect("they can be read");
    assert_eq!(left.len(), 1, "it is used up");
    scene.provider.change(|plan| (plan.claims, plan.userinfo) = (json!({ "sub": "eve" }), json!({ "sub": "eve" })));
    assert_eq!((scene.sign_in().await.code(), scene.cause().await.as_str()), ("forbidden", "address-taken"));
}

#[tokio::test]
async fn an_identity_is_linked_by_whoever_is_signed_in() {
    let mut scene = Scene::ready(&[]).await;
    let [ann, ben] = [scene.world.account("ann", Role::User).await, scene.world.account("ben", Role::User).await];
    let session = |account: &super::super::world::Account| format!("gig_session={}", account.session.expose());
    for (case, password) in [("no password", json!({})), ("wrong", json!({ "password": "wrong" }))] {
        let answer = scene.ask(&session(&ann), Method::POST, "/oidc/link", Some(password)).await;
        assert_eq!(answer.code(), "wrong_proof", "{case}");
    }
    let body = || Some(json!({ "password": PASSWORD, "return_to": "/account" }));
    let without = scene.world.ask(&proof(&ann.session), Method::POST, "/oidc/link", body()).await;
    assert_eq!(without.code(), "ok", "twin of what another site sends");
    let begun = |scene: &Scene, answer: &super::Answer| {
        scene.begun(answer, answer.body["location"].as_str().expect("an address"))
    };
    // The session ends before the browser is back.
    let answer = scene.ask(&session(&ben), Method::POST, "/oidc/link", body()).await;
    let over = begun(&scene, &answer);
    scene.ask(&session(&ben), Method::DELETE, "/session", None).await;
    scene.back(&over).await;
    assert_eq!(scene.cause().await, "link-over");

    let answer = scene.ask(&session(&ann), Method::POST, "/oidc/link", body()).await;
    let link = begun(&scene, &answer);
    let linked = scene.back(&link).await;
    assert_eq!((linked.status, cookie(&linked, "gig_session")), (StatusCode::OK, None), "{}", scene.cause().await);
    assert!(scene.is_in(&session(&ann)).await);
    scene.back(&link).await;
    assert_eq!(scene.cause().await, "state-replayed");
    let by_provider = scene.signed_in().await;
    assert_eq!(scene.get("/session", &by_provider).await.body["user"]["id"], ann.id.as_str());

    // Another cannot have it too.
    let again = scene.world.sign_in(&ben.email).await;
    let ben = format!("gig_session={}", again.expose());
    let answer = scene.ask(&ben, Method::POST, "/oidc/link", body()).await;
    let taken = begun(&scene, &answer);
    let refused = scene.back(&taken).await;
    assert_eq!((refused.code(), scene.cause().await.as_str()), ("conflict", "anothers-identity"));
    assert_eq!(scene.get("/identities", &ben).await.body["items"], json!([]));

    // It is taken away again, and what came by it ends.
    let items = scene.get("/identities", &session(&ann)).await.body["items"].clone();
    let path = format!("/identities/{}/unlink", items[0]["id"].as_str().expect("text"));
    assert_eq!(items[0]["subject"], "ann");
    assert_eq!(scene.ask(&session(&ann), Method::POST, &path, Some(json!({}))).await.code(), "wrong_proof");
    assert_eq!(scene.ask(&ben, Method::POST, &path, Some(json!({ "password": PASSWORD }))).await.code(), "not_found");
    let done = scene.ask(&session(&ann), Method::POST, &path, Some(json!({ "password": PASSWORD }))).await;
    assert_eq!(done.code(), "ok", "twin: {}", done.body);
    assert!(!scene.is_in(&by_provider).await && scene.is_in(&session(&ann)).await);
    scene.sign_in().await;
    assert_eq!(scene.cause().await, "address-taken");
}

#[tokio::test]
async fn the_last_way_to_sign_in_stays() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let session = scene.signed_in().await;
    let id = scene.get("/identities", &session).await.body["items"][0]["id"].as_str().expect("text").to_owned();
    let (_, flow) = scene.prove(&session, asked("ann", now_seconds())).await;
    let cookies = format!("{session}; {flow}");
    let answer = scene.ask(&cookies, Method::POST, &format!("/identities/{id}/unlink"), Some(json!({}))).await;
    assert_eq!(answer.code(), "conflict");
    assert!(scene.is_in(&session).await);
}

#[tokio::test]
async fn what_the_provider_says_decides_who_is_let_in_and_as_what() {
    let given = [
        "--oidc-new-accounts",
        "anyone",
        "--oidc-role-claim",
        "https://gig.example/roles",
        "--oidc-role-map",
        "admins=admin,staff=user",
        "--oidc-allowed-groups",
        "gig",
        "--oidc-allowed-domains",
        "example.com",
    ];
    let mut scene = Scene::ready(&given).await;
    let right = || json!({ "https://gig.example/roles": ["staff"], "groups": ["gig"] });
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = right();
        claims[name] = value;
        claims
    };
    for (case, claims, expected) in [
        ("twin", right(), "allowed"),
        ("no group", with("groups", json!([])), "group"),
        ("another group", with("groups", json!(["gigs"])), "group"),
        ("another role", with("https://gig.example/roles", json!(["other"])), "role"),
        ("another domain", with("email", json!("ann@example.com.evil.example")), "domain"),
        ("not verified", with("email_verified", json!(false)), "domain"),
        ("not verified, as a text", with("email_verified", json!("false")), "domain"),
        ("twin: verified, as a text", with("email_verified", json!("true")), "allowed"),
    ] {
        scene.provider.right();
        scene.provider.change(|plan| plan.claims = right());
        let before = scene.signed_in().await;
        scene.provider.change(|plan| plan.claims = claims);
        let answer = scene.sign_in().await;
        assert_eq!(scene.cause().await, expected, "{case}: {}", answer.body);
        assert_eq!(answer.code(), if expected == "allowed" { "ok" } else { "forbidden" }, "{case}");
        assert_eq!(scene.is_in(&before).await, expected == "allowed", "{case}: sessions of before end with it");
    }
}

#[tokio::test]
async fn a_session_of_a_provider_that_is_none_of_ours_any_more_is_over() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    let session = scene.signed_in().await;
    assert!(scene.is_in(&session).await); // twin
    scene.world.state.store().meddle("UPDATE provider_sessions SET issuer = 'https://before.example'").await;
    assert!(!scene.is_in(&session).await);
}

#[tokio::test]
async fn where_nobody_has_a_password_none_is_taken() {
    for (given, expected) in [(&["--local-login", "off"][..], "forbidden"), (&[], "ok")] {
        let mut scene = Scene::ready(given).await;
        let invited = "ann@example.com".parse().expect("an address");
        let code =
            scene.world.state.people.invite(&Actor::local(), invited, Role::User, None).await.expect("it is free");
        let body = json!({ "code": code.expose(), "password": PASSWORD });
        let answer = scene.world.ask(&Proof::None, Method::POST, "/invitations/accept", Some(body)).await;
        assert_eq!(answer.code(), expected);
        let body = json!({ "email": "root@example.com", "password": PASSWORD });
        assert_eq!(scene.world.ask(&Proof::None, Method::POST, "/session", Some(body)).await.code(), expected);
        let ways = scene.get("/oidc", "").await.body;
        assert_eq!((&ways["password"], &ways["provider_ready"]), (&json!(expected == "ok"), &json!(true)));
    }
}
