//! Event streams: what the origin says arrives at once. Shown by order and not by the clock: the origin says the next thing
//! only after the client has shown the one before.

use std::time::{Duration, Instant};

use crate::{
    custody,
    gateway::real_servers,
    world::{PROGRAMS, Way, World},
};

fn clients() -> [Vec<String>; 5] {
    let python = format!("{}/python/bin/python", real_servers().display());
    let curl = r#"exec curl -sSN "$1" -H "Authorization: Bearer $API_KEY" https://api.example.com/events?$0"#;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    [
        words(&["sh", "-c", curl, "COUNT", "--http1.1"]),
        words(&["sh", "-c", curl, "COUNT", "--http2"]),
        words(&[&python, &format!("{PROGRAMS}/events.py"), "requests", "COUNT"]),
        words(&[&python, &format!("{PROGRAMS}/events.py"), "httpx", "COUNT"]),
        words(&["node", &format!("{PROGRAMS}/events.mjs"), "COUNT"]),
    ]
}

/// Reads `count` events and gives them back, one after the other.
fn listen(world: &World, way: Way, client: &[String], count: usize, mut before_each: impl FnMut(usize)) {
    let command: Vec<String> = client.iter().map(|word| word.replace("COUNT", &count.to_string())).collect();
    let mut running = world.start(way, &command.iter().map(String::as_str).collect::<Vec<_>>());
    let mut placeholder = String::new();
    for number in 0..count {
        if number > 0 {
            let release = running.held();
            before_each(number);
            if number == 1 {
                placeholder = custody::search(world, &running);
            }
            release.send(()).unwrap();
        }
        let line = running.line(&format!("event {number} "));
        assert!(!line.contains(&world.key), "{client:?}: {line}");
        assert!(number == 0 || line.ends_with(&format!("Bearer {placeholder}")), "{client:?}: {line}");
    }
    running.finish().succeeded();
    assert_eq!(world.origin.seen().last().unwrap().count(&world.key), 1);
}

#[test]
fn each_event_arrives_before_the_next_is_sent() {
    for way in Way::BOTH {
        for client in &clients() {
            // Node of the system may not know of proxies; see there.
            if way == Way::Proxied && client[0] == "node" {
                continue;
            }
            listen(&World::new(), way, client, 20, |_| {});
        }
    }
}

/// `G8`, as far as a test can wait: a stream that says something now and then lives on. `SOAK_SECONDS` says for how long.
#[test]
fn a_stream_that_is_mostly_quiet_lives() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(10, |seconds| seconds.parse().unwrap());
    let start = Instant::now();
    // The pause is what is tested: nothing can be waited for while nothing may happen.
    let pause = |number: usize| {
        let due = Duration::from_secs(number.try_into().unwrap());
        std::thread::park_timeout(due.saturating_sub(start.elapsed()));
    };
    let [curl, ..] = clients();
    listen(&World::new(), Way::Transparent, &curl, seconds, pause);
}
