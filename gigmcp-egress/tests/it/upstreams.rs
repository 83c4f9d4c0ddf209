//! Upstreams that are not where or who they should be.

use std::sync::atomic::Ordering;

use crate::world::{Trust, World};

#[tokio::test]
async fn an_upstream_must_prove_its_name() {
    for (case, trust, host, expected) in [
        ("EGR-102 unknown authority", Trust::PublicOnly, "api.example.com", Some("upstream-tls")),
        ("EGR-102 wrong name", Trust::Origin, "other.cdn.example.com", Some("upstream-tls")),
        ("twin", Trust::Origin, "api.example.com", None),
    ] {
        let mut world = World::with(trust, |_| ()).await;
        let sandbox = world.sandbox("one");
        world.grant(&sandbox.identity, &sandbox.placeholder, |grant| {
            grant.credentials[0].hosts.push("*.cdn.example.com".parse().unwrap())
        });
        let request =
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\r\n", sandbox.placeholder);
        let reply = sandbox.https(host).await.ask(request).await;
        assert_eq!(reply.code(), expected, "{case}: {}", reply.head);
        assert_eq!(world.origin.seen().len(), usize::from(expected.is_none()), "{case}: no request was sent");
        assert_eq!(world.finish().await.len(), 1, "{case}");
    }
}

#[tokio::test]
async fn every_address_of_a_host_must_be_public() {
    for (case, addresses, code) in [
        ("EGR-036 loopback", &["127.0.0.1"][..], "address-class"),
        ("EGR-042 one of two", &["93.184.216.34", "10.0.0.1"], "address-class"),
        ("EGR-042 the other of two", &["10.0.0.1", "93.184.216.34"], "address-class"),
        ("EGR-044 metadata", &["169.254.169.254"], "metadata-address"),
        ("EGR-034 metadata at a public address", &["168.63.129.16"], "metadata-address"),
        ("EGR-028 mapped loopback", &["::ffff:127.0.0.1"], "address-class"),
        ("EGR-057 no address", &[], "dns"),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        world.set_addresses("api.example.com", addresses);
        let mut wire = sandbox.https("api.example.com").await;
        let reply = wire.ask("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
        assert_eq!(reply.code(), Some(code), "{case}");
        assert_eq!(world.backstage.dialled.load(Ordering::SeqCst), 0, "{case}");
        world.set_addresses("api.example.com", &["93.184.216.34", "2606:2800:220:1::1"]);
        assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.status, 200, "twin of {case}");
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, [code, "allowed"], "{case}");
    }
}

#[tokio::test]
async fn names_that_never_resolve_hold_only_the_places_of_one_sandbox() {
    let mut world = World::with(Trust::Origin, |limits| {
        limits.resolve_deadline = std::time::Duration::from_millis(50);
        limits.lookups_per_identity = 2;
    })
    .await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    for (host, lookups) in [
        ("hang1.cdn.example.com", 1),
        ("hang1.cdn.example.com", 1),
        ("hang2.cdn.example.com", 2),
        ("hang3.cdn.example.com", 2),
        ("b.example.com", 2),
    ] {
        let reply = one.https(host).await.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(reply.code(), Some("dns"), "{host}");
        assert_eq!(world.backstage.resolved.load(Ordering::SeqCst), lookups, "{host}");
    }
    let get = "GET / HTTP/1.1\r\nHost: b.example.com\r\n\r\n";
    assert_eq!(two.https("b.example.com").await.ask(get).await.status, 200, "twin: another sandbox");
    world.backstage.unhung.send_replace(true);
    let mut wire = one.https("b.example.com").await;
    while wire.ask(get).await.status != 200 {} // twin: the places are free once the lookups have ended
}

#[tokio::test]
async fn one_identity_never_gets_the_connection_of_another() {
    let mut world = World::new().await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    for sandbox in [&one, &two, &one, &two] {
        let reply = sandbox.https("api.example.com").await.ask("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
        assert_eq!(reply.status, 200);
    }
    assert_eq!(world.backstage.dialled.load(Ordering::SeqCst), 2, "each has its own, and uses it again");
}

#[tokio::test]
async fn one_identity_keeps_a_few_connections_and_closes_the_oldest() {
    let mut world = World::with(Trust::Origin, |limits| limits.pooled_per_identity = 2).await;
    let sandbox = world.sandbox("one");
    world.grant(&sandbox.identity, &sandbox.placeholder, |grant| {
        grant.rules.push(gigmcp_egress::Rule::http("*.cdn.example.com".parse().unwrap()))
    });
    for (name, dialled) in [("a", 1), ("b", 2), ("c", 3), ("c", 3), ("b", 3), ("a", 4), ("b", 4), ("c", 5)] {
        let host = format!("{name}.cdn.example.com");
        let reply = sandbox.http(&host).await.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!((reply.status, world.backstage.dialled.load(Ordering::SeqCst)), (200, dialled), "{name}");
    }
}

#[tokio::test]
async fn the_bundle_holds_our_authority_and_not_the_extra_roots() {
    let mut world = World::new().await;
    let authority = world.sandbox("one").authority;
    let bundle = String::from_utf8(authority.ca_bundle_pem()).unwrap();
    let ours = String::from_utf8(authority.ca_pem()).unwrap();
    assert!(bundle.contains(ours.trim()));
    let body: String = world.origin.ca_pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(!bundle.replace('\n', "").contains(&body), "the sandbox never sees an upstream's certificate");
}
