//! Who fails at the provider's addresses waits there, and locks nobody out elsewhere.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

use super::{
    super::{super::PREFIX, world::PASSWORD},
    Scene,
    logout::{notice, tell},
};

/// Signs in with the password of the first account.
async fn by_password(scene: &mut Scene) -> StatusCode {
    let request = Request::post(format!("{PREFIX}/session")).header(header::HOST, super::HOST);
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let body = json!({ "email": "root@example.com", "password": PASSWORD }).to_string();
    scene.send(request.body(Full::new(Bytes::from(body))).expect("a request")).await.status
}

/// So many that nobody waits for; see the pace of these tables.
const FREE: usize = 60;

#[tokio::test]
async fn a_return_that_nobody_began_makes_nobody_wait() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    scene.from = Some([203, 0, 113, 7].into());
    let good = scene.begin().await;
    for number in 0..FREE {
        let cookie = if number % 2 == 0 { "" } else { &good.cookie };
        let answer = scene.get("/oidc/callback?state=x&code=good", cookie).await;
        assert_eq!(answer.code(), "invalid");
    }
    assert!(scene.provider.plan().asked.iter().all(|path| path != "/token"), "the provider is not asked");
    let rows = scene.world.state.store().audit_tail(99).await.expect("they can be read");
    let told = rows.iter().filter(|row| row.row.subject.starts_with("provider-flow")).count();
    assert_eq!((scene.not_begun(), told), (FREE as u64, 1), "all are counted, and one has a row");
    assert_eq!(scene.back(&good).await.status, StatusCode::OK, "twin");
}

/// Whether one of the next few has to wait: it is a second for the first, which a slow machine may take to ask, and twice as
/// long for each after it.
async fn is_held_back(mut ask: impl AsyncFnMut() -> StatusCode) -> bool {
    for _ in 0..6 {
        if ask().await == StatusCode::TOO_MANY_REQUESTS {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn who_fails_at_the_provider_waits_there_only() {
    let mut scene = Scene::ready(&["--oidc-new-accounts", "anyone"]).await;
    scene.from = Some([203, 0, 113, 7].into());
    let issuer = scene.provider.issuer.clone();
    let begun = scene.begin().await;
    let refused = format!("/oidc/callback?state={}&error=access_denied&iss={issuer}", begun.state);
    for _ in 0..FREE {
        assert_ne!(scene.get(&refused, &begun.cookie).await.status, StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(is_held_back(async || scene.get(&refused, &begun.cookie).await.status).await);
    scene.from = Some([203, 0, 113, 8].into());
    assert_ne!(scene.get(&refused, &begun.cookie).await.status, StatusCode::TOO_MANY_REQUESTS, "twin: from elsewhere");
    scene.from = Some([203, 0, 113, 7].into());
    assert_eq!(by_password(&mut scene).await, StatusCode::CREATED, "with a password");
    let token = notice(&scene.provider.plan(), &issuer, 1, &json!({}));
    assert_eq!(tell(&mut scene, &token).await, StatusCode::OK, "the provider's own word");
    for _ in 0..FREE {
        assert_eq!(tell(&mut scene, "x").await, StatusCode::BAD_REQUEST);
    }
    assert!(is_held_back(async || tell(&mut scene, "x").await).await, "twin: it is counted");
    assert_eq!(by_password(&mut scene).await, StatusCode::CREATED, "with a password");
}
