//! How often a sandbox may use a rule.

use std::time::{Duration, Instant};

use gigmcp_egress::{Rate, Rule};

use crate::http2_upstream::listen;
use crate::wire::Wire;
use crate::world::{RUNS_OUT, Sandbox, Trust, World, soon};

#[tokio::test]
async fn requests_over_the_rate_of_a_rule_are_refused_and_other_rules_are_not_touched() {
    let mut world = World::new().await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    for sandbox in [&one, &two] {
        world.grant(&sandbox.identity, &sandbox.placeholder, |policy| {
            let mut slow = Rule::https("api.example.com".parse().unwrap()).paths(["/slow/**".parse().unwrap()]);
            slow.rate = Some(Rate { count: 2, per: Duration::from_secs(3600) });
            policy.rules.insert(0, slow);
        });
    }
    let ask = async |sandbox: &Sandbox, host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let reply = sandbox.https(host).await.ask(request).await;
        (reply.status, reply.code().map(str::to_owned))
    };
    let allowed = (200, None);
    assert_eq!(ask(&one, "api.example.com", "/slow/a").await, allowed);
    assert_eq!(ask(&one, "api.example.com", "/slow/b").await, allowed, "that many at once");
    let limited = (429, Some("rate-limited".to_owned()));
    assert_eq!(ask(&one, "api.example.com", "/slow/a").await, limited, "EGR-208");
    assert_eq!(world.origin.seen().len(), 2, "it was not sent");
    assert_eq!(ask(&one, "api.example.com", "/fast").await, allowed, "twin: another rule of the host");
    assert_eq!(ask(&one, "b.example.com", "/slow/a").await, allowed, "twin: another host");
    assert_eq!(ask(&two, "api.example.com", "/slow/a").await, allowed, "twin: another sandbox");
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, ["allowed", "allowed", "rate-limited", "allowed", "allowed", "allowed"]);
}

#[tokio::test]
async fn a_rule_serves_again_when_its_time_has_passed() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    world.grant(&sandbox.identity, &sandbox.placeholder, |policy| {
        policy.rules[0].rate = Some(Rate { count: 1, per: RUNS_OUT });
    });
    let request = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
    let address = sandbox.resolve("api.example.com").await.unwrap();
    let ask = async || {
        let stream = sandbox.handshake(sandbox.connect(address).await, "api.example.com").await.unwrap();
        Wire::new(stream).ask(request).await.status
    };
    assert_eq!(ask().await, 200);
    let again = async {
        let mut refused = 0;
        while ask().await == 429 {
            refused += 1;
        }
        refused
    };
    assert!(soon(again).await > 0, "not at once");
    assert_eq!(world.origin.seen().len(), 2, "twin");
}

/// Each leaves a row in the audit, and there is nobody who could be made to wait for that.
#[tokio::test]
async fn who_gives_up_again_and_again_is_heard_later() {
    for (case, gives_up) in [("EGR-208", true), ("twin", false)] {
        let mut world = World::with(Trust::Origin, |limits| limits.refusals_per_second = 2).await;
        let (one, two) = (world.sandbox("one"), world.sandbox("two"));
        let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
        // Two at once, and two more in a second.
        let mut is_slow = async || {
            let since = Instant::now();
            for _ in 0..4 {
                let mut wire = one.https("b.example.com").await;
                wire.send("GET / HTTP/1.1\r\nHost: b.example.com\r\nConnection: close\r\n\r\n").await;
                let mut origin = Wire::new(soon(accepted.recv()).await.unwrap());
                soon(origin.until("\r\n\r\n")).await;
                match gives_up {
                    true => {
                        drop(wire);
                        assert!(soon(origin.is_closed()).await);
                    }
                    false => {
                        origin.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                        assert_eq!(soon(wire.reply()).await.status, 200);
                    }
                }
            }
            soon(one.https("b.example.com")).await;
            since.elapsed() > Duration::from_millis(900)
        };
        match gives_up {
            true => assert!(is_slow().await, "{case}"),
            // The machine may be, but not always.
            false => soon(async { while is_slow().await {} }).await,
        }
        soon(two.https("b.example.com")).await;
    }
}

#[tokio::test]
async fn who_leaves_while_a_refusal_waits_was_refused() {
    let mut world = World::with(Trust::Origin, |limits| limits.refusals_per_second = 1).await;
    let sandbox = world.sandbox("one");
    let stray = format!("GET /?k={} HTTP/1.1\r\nHost: b.example.com\r\n\r\n", sandbox.placeholder);
    // The only one of this second.
    let reply = sandbox.https("b.example.com").await.ask(&stray).await;
    assert_eq!(reply.code(), Some("placeholder-wrong-place"));
    // More than there are seconds in which all of this is done.
    let mut wires = Vec::new();
    for _ in 0..20 {
        let mut wire = sandbox.https("b.example.com").await;
        wire.send(&stray).await;
        wires.push(wire);
    }
    let all = async {
        for wire in &mut wires {
            wire.reply().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(100), all).await.is_err(), "they wait");
    drop(wires);
    let events = world.finish().await;
    let seen: Vec<_> = events.iter().map(|event| (event.verdict.code(), event.alarm)).collect();
    assert_eq!(seen, [("placeholder-wrong-place", true); 21], "EGR-207");
}
