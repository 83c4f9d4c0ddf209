use http_body_util::BodyExt;
use serde_json::json;

use super::{super::world::*, *};
use crate::{
    people::{ApiScope, Lifetime, Scopes},
    store::{AuditRow, TestDatabase, on_both},
    trail::{Signer, testing::row},
};

async fn with_rows(test: TestDatabase) -> World {
    let world = World::new(test).await;
    world.store().sign_audit(Arc::new(Signer::for_test(1)), None).await.expect("it is written");
    for (subject, owner) in [("one", "ann"), ("two", "bob"), ("three", "ann")] {
        let row = AuditRow { owner: owner.to_owned(), ..row(subject) };
        world.store().add_audit(row).await.expect("it is kept");
    }
    world
}

#[tokio::test]
async fn everybody_reads_what_is_about_them_and_auditors_all() {
    on_both(async |test| {
        let world = with_rows(test).await;
        let seen = async |actor: &Actor, path: &str| {
            let (_, page) = world.ask(actor, Method::GET, path, json!(null)).await;
            let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}")).iter();
            let seen: Vec<_> = items.map(|item| item["subject"].as_str().expect("text").to_owned()).collect();
            (seen.join(" "), page["next_cursor"].as_str().map(ToOwned::to_owned))
        };
        let (ann, aud) = (signed_in("ann", Role::User), signed_in("aud", Role::Auditor));
        assert_eq!(seen(&ann, "/audit").await.0, "three one");
        assert_eq!(seen(&ann, "/audit?owner=bob").await.0, "", "another's");
        assert_eq!(seen(&viewing("adm", "bob"), "/audit").await.0, "two");
        assert_eq!(seen(&with_key("ann", Role::User, "audit:read"), "/audit").await.0, "three one");
        assert!(seen(&aud, "/audit").await.0.ends_with("three two one"), "twin");
        assert_eq!(seen(&aud, "/audit?owner=bob").await.0, "two");
        let (first, next) = seen(&aud, "/audit?owner=ann&limit=1").await;
        let (second, _) = seen(&aud, &format!("/audit?owner=ann&limit=1&cursor={}", next.expect("more"))).await;
        assert_eq!((first.as_str(), second.as_str()), ("three", "one"));
        for path in ["/audit?since_ms=now", "/audit?limit=0", "/audit?order=1", "/audit?kind=%00", "/audit?owner=a%0Ab"]
        {
            assert_eq!(world.code(&aud, Method::GET, path, json!(null)).await, "invalid", "{path}");
        }
        for path in ["/audit?cursor=!", "/audit?cursor=eA", "/instances?cursor=MS8A"] {
            assert_eq!(world.code(&aud, Method::GET, path, json!(null)).await, "unacceptable", "{path}");
        }
        assert_eq!(world.code(&aud, Method::GET, "/instances?cursor=MS9h", json!(null)).await, "ok", "twin");
        let other = with_key("ann", Role::User, "servers:read");
        for path in ["/audit", "/audit/tail", "/audit/verify", "/audit/export"] {
            assert_eq!(world.code(&other, Method::GET, path, json!(null)).await, "forbidden", "{path}");
        }
        for path in ["/audit/verify", "/audit/export"] {
            assert_eq!(world.code(&ann, Method::GET, path, json!(null)).await, "forbidden", "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_trail_is_verified_and_what_was_changed_is_named() {
    let world = World::new(TestDatabase::sqlite()).await;
    let signer = Arc::new(world.state.secrets().audit_signer().await.expect("a key"));
    world.store().sign_audit(Arc::clone(&signer), None).await.expect("it is written");
    for subject in ["one", "two"] {
        world.store().add_audit(row(subject)).await.expect("it is kept");
    }
    world.store().sign_audit(signer, None).await.expect("it is written");
    let aud = signed_in("aud", Role::Auditor);
    let (_, report) = world.ask(&aud, Method::GET, "/audit/verify", json!(null)).await;
    assert_eq!((&report["right"], &report["report"]["unsigned"]), (&json!(true), &json!(0)), "twin: {report}");
    let last = world.store().audit_tail(1).await.expect("it can be read")[0].id;
    world.store().meddle(&format!("UPDATE audit SET subject = 'x' WHERE id = {last}")).await;
    let (_, report) = world.ask(&aud, Method::GET, "/audit/verify", json!(null)).await;
    assert_eq!((&report["right"], &report["broken"]["id"]), (&json!(false), &json!(last)), "{report}");
}

/// A key of `aud` in the database, and the headers that it comes with.
async fn key(world: &World, scope: &str) -> HeaderMap {
    let scopes: Scopes =
        scope.parse::<ApiScope>().map(|scope| scope.to_string().parse().expect("scopes")).expect("a scope");
    let name = "watch".parse().expect("a name");
    let holds: Option<Lifetime> = None;
    let key = world.state.people.create_api_key(&signed_in("aud", Role::Auditor), name, scopes, holds).await;
    let value = format!("Bearer {}", key.expect("a new key").expose());
    HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a value"))])
}

#[tokio::test]
async fn a_tail_shows_what_comes_and_ends_with_the_key() {
    let world = with_rows(TestDatabase::sqlite()).await;
    let headers = key(&world, "audit:read").await;
    let open = async |headers: &HeaderMap, path: &str| {
        let mut request =
            http::Request::get(format!("/api/v1{path}")).body(http_body_util::Full::default()).expect("one");
        request.headers_mut().extend(headers.clone());
        world.router.answer(request, std::net::IpAddr::from([192, 0, 2, 1])).await
    };
    let mut tail = open(&headers, "/audit/tail").await;
    assert_eq!(
        (tail.status(), &tail.headers()["content-type"]),
        (StatusCode::OK, &HeaderValue::from_static("text/event-stream"))
    );
    let mut next = async || {
        let frame = tail.body_mut().frame().await;
        frame.map(|frame| String::from_utf8(frame.expect("no error").into_data().expect("data").into()).expect("text"))
    };
    assert_eq!(next().await.as_deref(), Some(": here\n\n"));
    world.store().add_audit(row("now")).await.expect("it is kept");
    let event = next().await.expect("an event");
    assert!(
        event.starts_with("id: ") && event.contains("event: row\ndata: {") && event.contains(r#""subject":"now""#),
        "{event}"
    );
    let mut again = headers.clone();
    again.insert("last-event-id", HeaderValue::from_static("1"));
    let mut later = open(&again, "/audit/tail").await;
    later.body_mut().frame().await;
    let frame = later.body_mut().frame().await.expect("rows").expect("no error").into_data().expect("data");
    assert!(String::from_utf8_lossy(&frame).contains(r#""subject":"two""#), "those of before come first");
    again.insert("last-event-id", HeaderValue::from_static("x"));
    assert_eq!(open(&again, "/audit/tail").await.status(), StatusCode::BAD_REQUEST);
    world
        .state
        .people
        .revoke_api_key(
            &signed_in("aud", Role::Auditor),
            &"aud".parse().expect("an id"),
            "watch".parse().expect("a name"),
        )
        .await
        .expect("it is there");
    while let Some(more) = next().await {
        assert!(!more.contains("later"), "{more}");
    }
    assert_eq!(open(&headers, "/audit/tail").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_tail_ends_when_the_gateway_stops_and_few_are_open() {
    let world = with_rows(TestDatabase::sqlite()).await;
    let headers = key(&world, "audit:read").await;
    let mut open = Vec::new();
    let response = loop {
        let mut request = http::Request::get("/api/v1/audit/tail").body(http_body_util::Full::default()).expect("one");
        request.headers_mut().extend(headers.clone());
        let response = world.router.answer(request, std::net::IpAddr::from([192, 0, 2, 1])).await;
        if response.status() != StatusCode::OK {
            break response;
        }
        open.push(response);
    };
    assert_eq!((response.status(), open.len()), (StatusCode::SERVICE_UNAVAILABLE, 4));
    world.state.desk.end_streams();
    for tail in open {
        tail.into_body().collect().await.expect("it ends");
    }
}

/// A session of `aud`, and where it is kept when it was used last.
async fn session(world: &World) -> HeaderMap {
    let token = crate::token::Token::mint_for(crate::token::Kind::Session);
    let begun = crate::store::SessionRow {
        hash: token.hash(),
        user: "aud".parse().expect("an id"),
        created_at: 1,
        expires_at: i64::MAX / 2,
        last_seen_at: crate::store::now_seconds() - 3600,
        user_agent: String::new(),
        address: String::new(),
        viewed: None,
    };
    let new =
        crate::store::NewSession { row: begun, replaces: None, renewed: None, device: None, idle_seconds: 86_400 };
    assert!(world.store().begin_session(new, row("begun")).await.expect("it is kept"));
    let cookie = HeaderValue::from_str(&format!("gig_session={}", token.expose())).expect("a header");
    HeaderMap::from_iter([(header::COOKIE, cookie)])
}

#[tokio::test]
async fn what_goes_on_keeps_nobody_signed_in() {
    let world = with_rows(TestDatabase::sqlite()).await;
    let headers = session(&world).await;
    let seen = async || {
        world.store().add_audit(row("wait for what is written")).await.expect("it is kept");
        world.store().sessions_of("aud".parse().expect("an id")).await.expect("it can be read")[0].last_seen_at
    };
    let before = seen().await;
    for _ in 0..3 {
        assert!(world.state.still(&headers).await.expect("it holds").is_some());
    }
    assert_eq!(seen().await, before);
    assert!(super::super::super::Door::caller(&*world.state, &headers).await.expect("it holds").is_some());
    assert!(seen().await > before, "twin: who asks is there");
}

#[tokio::test]
async fn a_tail_ends_with_the_view_that_it_was_begun_in() {
    let world = with_rows(TestDatabase::sqlite()).await;
    let headers = session(&world).await;
    let (chunks, mut read) = mpsc::channel(8);
    let other: UserId = "ann".parse().expect("an id");
    // It was begun while another's pages were looked at; whoever asks now is shown their own.
    let followed = follow(&world.state, &headers, &other, Filter::default(), Place::MIN, &chunks).await;
    assert!(followed.is_none());
    drop(chunks);
    assert_eq!(read.recv().await.map(Result::ok), Some(Some(Bytes::from_static(b": here\n\n"))));
    assert!(read.recv().await.is_none(), "nothing of their own came under another's name");
    let (chunks, mut read) = mpsc::channel(8);
    let own: UserId = "aud".parse().expect("an id");
    tokio::select! {
        _ = follow(&world.state, &headers, &own, Filter::default(), Place::MIN, &chunks) => panic!("it goes on"),
        text = async { read.recv().await; read.recv().await } => {
            assert!(String::from_utf8_lossy(&text.expect("rows").expect("no error")).contains("event: row"), "twin");
        }
    }
}

#[tokio::test]
async fn the_trail_is_verified_for_one_at_a_time() {
    let world = with_rows(TestDatabase::sqlite()).await;
    let aud = signed_in("aud", Role::Auditor);
    let busy = world.state.desk.verify().expect("nobody does");
    assert_eq!(world.code(&aud, Method::GET, "/audit/verify", json!(null)).await, "unavailable");
    drop(busy);
    assert_eq!(world.code(&aud, Method::GET, "/audit/verify", json!(null)).await, "ok", "twin");
}

#[tokio::test]
async fn an_export_is_what_the_command_line_verifies() {
    let world = with_rows(TestDatabase::sqlite()).await;
    let headers = key(&world, "audit:read").await;
    let ask = async |path: &str| {
        let mut request =
            http::Request::get(format!("/api/v1{path}")).body(http_body_util::Full::default()).expect("one");
        request.headers_mut().extend(headers.clone());
        let response = world.router.answer(request, std::net::IpAddr::from([192, 0, 2, 1])).await;
        let bytes = response.into_body().collect().await.expect("it is whole").to_bytes();
        String::from_utf8(bytes.into()).expect("text")
    };
    let text = ask("/audit/export").await;
    let lines: Vec<Line> = text.lines().map(|line| Line::from_json(line).unwrap_or_else(|| panic!("{line}"))).collect();
    assert!(matches!(lines[0], Line::Head(_)));
    assert!(lines.iter().filter(|line| matches!(line, Line::Row(_))).count() >= 3);
    let of_ann = ask("/audit/export?owner=ann").await;
    assert_eq!(of_ann.lines().count(), 3, "{of_ann}");
    assert!(ask("/audit/export?after=12345").await.contains("there is no row 12345"));
}
