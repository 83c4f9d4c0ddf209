//! DNS questions of a sandbox: answered from the grant, never asked of anyone.

use std::sync::atomic::Ordering;

use gigmcp_egress::Rule;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{Sandbox, Trust, World, question};

#[tokio::test]
async fn allowed_names_have_one_address_for_life_and_no_other_data() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let address = sandbox.resolve("api.example.com").await.unwrap();
    assert_eq!(sandbox.resolve("API.Example.com").await, Ok(address), "names have no case");
    assert_ne!(sandbox.resolve("b.example.com").await, Ok(address));
    for query_type in [
        RecordType::AAAA,
        RecordType::HTTPS,
        RecordType::SVCB,
        RecordType::TXT,
        RecordType::ANY,
        RecordType::SRV,
        RecordType::NULL,
    ] {
        let answer = sandbox.ask("api.example.com", query_type).await;
        assert_eq!(
            (answer.metadata.response_code, answer.answers.len()),
            (ResponseCode::NoError, 0),
            "EGR-046: {query_type}"
        );
    }
    assert_eq!(world.backstage.resolved.load(Ordering::SeqCst), 0, "no packet left");
    assert_eq!(world.finish().await.len(), 0);
}

#[tokio::test]
async fn denied_names_do_not_exist() {
    for (case, name) in [
        ("EGR-045 data in a name", "secret-data.evil.test"),
        ("EGR-005 longer label", "evilapi.example.com"),
        ("EGR-008 two labels under a wildcard", "a.b.cdn.example.com"),
        ("address", "127.0.0.1"),
        ("underscore", "_x.cdn.example.com"),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        assert_eq!(sandbox.resolve(name).await, Err(ResponseCode::NXDomain), "{case}");
        assert!(sandbox.resolve("x.cdn.example.com").await.is_ok(), "twin of {case}");
        assert_eq!(world.backstage.resolved.load(Ordering::SeqCst), 0, "{case}: no packet left");
        world.refused_untouched(case, "dns-denied").await;
    }
}

#[tokio::test]
async fn names_under_wildcards_are_limited_and_listed_names_are_not() {
    let mut world = World::with(Trust::Origin, |limits| limits.dns_wildcard_names = 2).await;
    let sandbox = world.sandbox("one");
    assert!(sandbox.resolve("a.cdn.example.com").await.is_ok());
    assert!(sandbox.resolve("b.cdn.example.com").await.is_ok());
    assert_eq!(sandbox.resolve("c.cdn.example.com").await, Err(ResponseCode::Refused), "EGR-048");
    assert!(sandbox.resolve("a.cdn.example.com").await.is_ok(), "what was given stays");
    assert!(sandbox.resolve("api.example.com").await.is_ok(), "a listed name is not crowded out");
    world.refused_untouched("EGR-048", "dns-name-limit").await;
}

#[tokio::test]
async fn revoking_bites_on_the_next_question() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    assert!(sandbox.resolve("api.example.com").await.is_ok());
    world.grant(&sandbox.identity, &sandbox.placeholder, |grant| grant.rules.clear());
    assert_eq!(sandbox.resolve("api.example.com").await, Err(ResponseCode::NXDomain));
}

#[tokio::test]
async fn tcp_gives_the_same_answers() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut stream = sandbox.dns_tcp().await;
    for (name, expected) in [("api.example.com", ResponseCode::NoError), ("evil.test", ResponseCode::NXDomain)] {
        let question = question(name, RecordType::A);
        stream.write_u16(question.len() as u16).await.unwrap();
        stream.write_all(&question).await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().metadata.response_code, expected, "{name}");
    }
}

/// Has a name counted in one of the ways to ask for it, and tells whether it was one too many.
async fn is_limited(sandbox: &Sandbox, way: &str, host: &str) -> bool {
    let code = match way {
        "question" => match sandbox.resolve(host).await {
            Ok(_) => None,
            Err(ResponseCode::Refused) => return true,
            Err(other) => panic!("{host}: {other}"),
        },
        "CONNECT" => {
            sandbox.proxy().await.ask(format!("CONNECT {host}:443 HTTP/1.1\r\n\r\n")).await.code().map(str::to_owned)
        }
        _ => {
            let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
            sandbox.proxy().await.ask(request).await.code().map(str::to_owned)
        }
    };
    assert!(matches!(code.as_deref(), None | Some("dns-name-limit")), "{way} {host}: {code:?}");
    code.is_some()
}

#[tokio::test]
async fn a_name_counts_by_whichever_way_it_is_asked_for() {
    const WAYS: [&str; 3] = ["question", "CONNECT", "URL"];
    for (first, last) in WAYS.into_iter().flat_map(|first| WAYS.map(|last| (first, last))) {
        let mut world = World::with(Trust::Origin, |limits| limits.dns_wildcard_names = 1).await;
        let sandbox = world.sandbox("one");
        world.grant(&sandbox.identity, &sandbox.placeholder, |policy| {
            policy.rules.push(Rule::http("*.cdn.example.com".parse().unwrap()));
            policy.rules.push(Rule::http("api.example.com".parse().unwrap()));
        });
        assert!(!is_limited(&sandbox, first, "a.cdn.example.com").await, "{first}: the first");
        let resolved = world.backstage.resolved.load(Ordering::SeqCst);
        assert!(is_limited(&sandbox, last, "b.cdn.example.com").await, "EGR-048: {last} after {first}");
        assert_eq!(world.backstage.resolved.load(Ordering::SeqCst), resolved, "{last} after {first}: not asked for");
        assert!(!is_limited(&sandbox, last, "a.cdn.example.com").await, "twin: {last}, what was counted");
        assert!(!is_limited(&sandbox, last, "api.example.com").await, "twin: {last}, a listed name");
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        let limited = codes.iter().filter(|code| **code == "dns-name-limit").count();
        assert_eq!(limited, 1, "{last} after {first}: {codes:?}");
    }
}
