//! Bodies that do not come, are too large, or too many; and requests that want none back.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http_body::Frame;
use tokio::time::Instant;

use super::*;

/// A body that begins and does not end.
struct Endless(Option<Bytes>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(part) => Poll::Ready(Some(Ok(Frame::data(part)))),
            None => Poll::Pending,
        }
    }
}

/// The code, and how long it took.
async fn begun(request: http::request::Builder) -> (String, Duration) {
    let request = request.body(Endless(Some(Bytes::from_static(b"{")))).expect("a request");
    let began = Instant::now();
    let response = router().answer(request, IpAddr::from([192, 0, 2, 1])).await;
    let taken = began.elapsed();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let document: Value = serde_json::from_slice(&body).expect("a document");
    (document["error"]["code"].as_str().expect("a code").to_owned(), taken)
}

#[tokio::test(start_paused = true)]
async fn only_the_bodies_of_those_who_may_are_waited_for() {
    let change = || Request::put(format!("{PREFIX}/servers/notes")).header("content-type", "application/json");
    for (case, request, code, seconds) in [
        ("nobody", change().header(CSRF_HEADER, "1"), "unauthenticated", 0),
        ("another role", change().header("actor", "user").header(CSRF_HEADER, "1"), "forbidden", 0),
        ("another site", change().header("actor", "admin"), "cross_site", 0),
        ("twin", put("/servers/notes"), "invalid", 30),
        ("anybody", Request::post(format!("{PREFIX}/hello")).header(CSRF_HEADER, "1"), "invalid", 5),
        ("anybody of another site", Request::post(format!("{PREFIX}/hello")), "cross_site", 0),
    ] {
        assert_eq!(begun(request).await, (code.to_owned(), Duration::from_secs(seconds)), "{case}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_by_who_sends_them_and_by_the_room_there_is() {
    let hello = || Request::post(format!("{PREFIX}/hello")).header(CSRF_HEADER, "1");
    let of = |bytes: usize| format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes));
    for (case, request, body, expected) in [
        ("twin", put("/servers/notes"), of(60_000), "ok"),
        ("too large", put("/servers/notes"), of(66_000), "too_large"),
        // It has no body at all; what is too large is not read to find that out.
        ("twin: of anybody", hello(), of(16_000), "invalid"),
        ("too large of anybody", hello(), of(17_000), "too_large"),
    ] {
        let (_, _, document) = ask(request, &body).await;
        assert_eq!(document["error"]["code"].as_str().unwrap_or("ok"), expected, "{case}");
    }
    let mut router = router();
    router.bodies = Arc::new(Bodies::small(100));
    for (bytes, expected) in [(10, StatusCode::OK), (200, StatusCode::SERVICE_UNAVAILABLE), (10, StatusCode::OK)] {
        let request = put("/servers/notes").body(Full::new(Bytes::from(of(bytes)))).expect("a request");
        let response = router.answer(request, IpAddr::from([192, 0, 2, 1])).await;
        assert_eq!(response.status(), expected, "{bytes}");
        assert_eq!(response.headers().contains_key(header::RETRY_AFTER), expected != StatusCode::OK);
    }
}

#[tokio::test]
async fn head_is_led_where_get_is() {
    let head = |path: &str| Request::head(format!("{PREFIX}{path}"));
    for (case, request, expected) in [
        ("twin", Request::get(format!("{PREFIX}/servers/notes")).header("actor", "user"), StatusCode::OK),
        ("as one may", head("/servers/notes").header("actor", "user"), StatusCode::OK),
        ("as one may not", head("/servers/notes"), StatusCode::UNAUTHORIZED),
        ("where GET is not", head("/hello"), StatusCode::METHOD_NOT_ALLOWED),
        ("of the document", head("/openapi.json"), StatusCode::OK),
    ] {
        assert_eq!(ask(request, "").await.0, expected, "{case}");
    }
    for (path, allowed) in [("/servers/notes", "GET, PUT, HEAD"), ("/hello", "POST"), ("/openapi.json", "GET, HEAD")] {
        let (status, headers, _) = ask(Request::patch(format!("{PREFIX}{path}")), "").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(headers[header::ALLOW], allowed, "{path}");
    }
}

#[tokio::test]
async fn strangers_elsewhere_take_no_room_from_the_identity_provider() {
    let mut world = world::World::new(&[]).await;
    world.router.bodies = Arc::new(Bodies::full_of_strangers());
    let form = "application/x-www-form-urlencoded";
    for (case, path, media_type, body, has_room) in [
        ("twin", "/session", "application/json", r#"{"email":"ann@example.com","password":"Apollo 11"}"#, false),
        ("the provider", "/oidc/backchannel-logout", form, "logout_token=x", true),
    ] {
        let request = Request::post(format!("{PREFIX}{path}")).header("content-type", media_type);
        let answer = world.send(request.body(Full::new(Bytes::from(body))).expect("a request")).await;
        let is_full = answer.body.to_string().contains("too many bodies");
        assert_eq!(is_full, !has_room, "{case}: {}", answer.body);
    }
}
