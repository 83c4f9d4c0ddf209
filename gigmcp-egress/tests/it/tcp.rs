//! Plain TCP: allowed by a rule of its own, unread but for placeholders, recorded once.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gigmcp_egress::{AuditKind, Rule};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use crate::world::{RUNS_OUT, Sandbox, TCP_PORT, Trust, World, soon};

/// Something that speaks no HTTP: says back what it is told, and notes it.
async fn echo() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, told) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
    let noted = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let noted = Arc::clone(&noted);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    noted.lock().unwrap().extend_from_slice(&buffer[..length]);
                    let _ = stream.write_all(&buffer[..length]).await;
                }
            });
        }
    });
    (address, told)
}

fn tcp_rule() -> Rule {
    Rule::tcp("db.example.com".parse().unwrap(), TCP_PORT)
}

fn allow(world: &World, sandbox: &Sandbox) {
    world.grant(&sandbox.identity, &sandbox.placeholder, |grant| grant.rules.push(tcp_rule()));
}

#[tokio::test]
async fn bytes_go_both_ways_and_are_recorded_once() {
    let mut world = World::new().await;
    let (address, _) = echo().await;
    world.set_plain(address);
    let sandbox = world.sandbox("one");
    allow(&world, &sandbox);
    let mut stream = sandbox.tcp("db.example.com").await;
    let message: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let (sent, read) = tokio::join!(
        async {
            writer.write_all(&message).await?;
            writer.shutdown().await
        },
        reader.read_to_end(&mut answer)
    );
    sent.unwrap();
    read.unwrap();
    assert!(answer == message, "and the end of one direction leaves the other open");
    drop(stream);
    let events = world.finish().await;
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!((event.kind, event.kind.code(), event.verdict.code()), (AuditKind::Tcp, "tcp", "allowed"));
    assert_eq!((event.host.as_deref(), event.port), (Some("db.example.com"), Some(TCP_PORT)));
    assert_eq!((event.bytes_up, event.bytes_down), (100_000, 100_000));
    assert!(event.policy_version.is_some());
}

#[tokio::test]
async fn only_its_own_rule_opens_plain_tcp() {
    let mut https_there = Rule::https("db.example.com".parse().unwrap());
    https_there.ports = vec![TCP_PORT];
    let public = "93.184.216.34";
    for (case, rule, address, code) in [
        ("https on that port", https_there, public, "cleartext-in-tunnel"),
        ("EGR-036 private address", tcp_rule(), "10.0.0.1", "address-class"),
        ("EGR-044 metadata", tcp_rule(), "169.254.169.254", "metadata-address"),
    ] {
        let mut world = World::new().await;
        world.set_addresses("db.example.com", &[address]);
        let sandbox = world.sandbox("one");
        world.grant(&sandbox.identity, &sandbox.placeholder, |grant| grant.rules.push(rule));
        let mut stream = sandbox.tcp("db.example.com").await;
        let _ = stream.write_all(b"hello").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
        world.refused_untouched(case, code).await;
    }
}

#[tokio::test]
async fn a_placeholder_ends_the_connection_with_an_alarm() {
    for (case, foreign, split, code) in [
        ("EGR-184 whole", false, 0, "placeholder-wrong-place"),
        ("EGR-184 in two pieces", false, 20, "placeholder-wrong-place"),
        ("EGR-182 another sandbox's", true, 0, "foreign-placeholder"),
    ] {
        let mut world = World::new().await;
        let (address, told) = echo().await;
        world.set_plain(address);
        let (sandbox, other) = (world.sandbox("one"), world.sandbox("two"));
        // A request makes the proxy know the placeholders of the other.
        other.resolve("api.example.com").await.unwrap();
        allow(&world, &sandbox);
        let mut stream = sandbox.tcp("db.example.com").await;
        let placeholder = if foreign { other.placeholder.as_str() } else { sandbox.placeholder.as_str() };
        let (first, second) = placeholder.split_at(split);
        let mut answer = [0; 64];
        stream.write_all(b"hello").await.unwrap();
        stream.read_exact(&mut answer[..5]).await.unwrap();
        if !first.is_empty() {
            stream.write_all(first.as_bytes()).await.unwrap();
            stream.read_exact(&mut answer[..first.len()]).await.unwrap();
        }
        let _ = stream.write_all(second.as_bytes()).await;
        assert!(matches!(stream.read(&mut answer).await, Ok(0) | Err(_)), "{case}: cut");
        let told = String::from_utf8(told.lock().unwrap().clone()).unwrap();
        assert_eq!(told, format!("hello{first}"), "{case}: the rest was not passed on");
        let events = world.finish().await;
        let codes: Vec<_> = events.iter().map(|event| (event.kind, event.verdict.code(), event.alarm)).collect();
        assert_eq!(codes, [(AuditKind::Tcp, code, true)], "{case}");
    }
}

#[tokio::test]
async fn an_open_connection_ends_with_its_rule_or_when_nothing_moves() {
    for (case, idle, revoke, code) in
        [("EGR-086 revoked while busy", Duration::from_secs(60), true, "revoked"), ("idle", RUNS_OUT, false, "aborted")]
    {
        let mut world = World::with(Trust::Origin, |limits| {
            (limits.revocation_interval, limits.idle_deadline) = (Duration::from_millis(20), idle);
        })
        .await;
        let (address, _) = echo().await;
        world.set_plain(address);
        let sandbox = world.sandbox("one");
        allow(&world, &sandbox);
        let mut stream = sandbox.tcp("db.example.com").await;
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x', "{case}");
        if revoke {
            world.grant(&sandbox.identity, &sandbox.placeholder, |_| ());
        }
        // Kept busy in one case, left alone in the other.
        while (!revoke || stream.write_all(b"x").await.is_ok()) && stream.read_u8().await.is_ok() {}
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, [code], "{case}");
    }
}

#[tokio::test]
async fn detaching_ends_and_records_an_open_connection() {
    let mut world = World::new().await;
    let (address, _) = echo().await;
    world.set_plain(address);
    let sandbox = world.sandbox("one");
    allow(&world, &sandbox);
    let mut stream = sandbox.tcp("db.example.com").await;
    stream.write_all(b"xyz").await.unwrap();
    stream.read_exact(&mut [0; 3]).await.unwrap();
    let events = world.finish().await;
    let seen: Vec<_> = events.iter().map(|event| (event.verdict.code(), event.bytes_up, event.bytes_down)).collect();
    assert_eq!(seen, [("aborted", 3, 3)]);
    assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn who_is_refused_again_and_again_has_to_wait() {
    for (case, refusals, slow) in [("two a second", 2, true), ("twin: as many as there are", 500, false)] {
        let mut world = World::with(Trust::Origin, |limits| {
            // A place is free when what had it was recorded.
            (limits.connections, limits.refusals_per_second) = (1, refusals);
        })
        .await;
        // Nobody listens there, nor will another test.
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind(([127, 0, 0, 1], 0).into()).unwrap();
        world.set_plain(closed.local_addr().unwrap());
        let sandbox = world.sandbox("one");
        allow(&world, &sandbox);
        let tries = Cell::new(0);
        let is_slow = async || {
            let since = std::time::Instant::now();
            for _ in 0..5 {
                let mut stream = sandbox.tcp("db.example.com").await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
            tries.set(tries.get() + 1);
            since.elapsed() > Duration::from_millis(800)
        };
        match slow {
            true => assert!(is_slow().await, "{case}"),
            // The machine may be, but not always.
            false => soon(async { while is_slow().await {} }).await,
        }
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, vec!["upstream-connect"; 5 * tries.get()], "{case}");
    }
}
