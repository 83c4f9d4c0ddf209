//! What every client says: a request with its key, one to a host that is not allowed, and one more that the origin holds
//! back while the sandbox is searched.

use http::Version;

use crate::{
    custody,
    world::{Finished, Way, World},
};

/// A client that asks for `/echo`, then for something of `evil.test`, then for `/hold`, with `Authorization: Bearer
/// $API_KEY`, and prints what it is answered.
pub(crate) struct Client<'a> {
    pub(crate) name: &'a str,
    pub(crate) command: &'a [&'a str],
    /// What it speaks, and so the origin hears.
    pub(crate) version: Version,
}

/// Lets the client have its conversation, and checks all that must hold for any of them.
pub(crate) fn hold(way: Way, client: &Client<'_>) -> Finished {
    let world = World::new();
    let mut running = world.start(way, client.command);
    let release = running.held();
    let placeholder = custody::search(&world, &running);
    release.send(()).unwrap();
    let finished = running.finish();
    let case = format!("{} {way:?}", client.name);

    let seen = world.origin.seen();
    let targets: Vec<_> = seen.iter().map(|seen| format!("{}{}", seen.host, seen.target)).collect();
    assert_eq!(targets, ["api.example.com/echo", "api.example.com/hold"], "{case}: {finished:#?}");
    for seen in &seen {
        assert_eq!(seen.count(&world.key), 1, "{case}: the origin gets the real key exactly once: {seen:?}");
        assert_eq!(seen.count(&placeholder), 0, "{case}: {seen:?}");
        assert_eq!(seen.version, client.version, "{case}: {seen:?}");
    }
    for (place, text) in [("output", &finished.stdout), ("errors", &finished.stderr)] {
        assert!(!text.contains(&world.key), "{case}: the key is in its {place}: {text}");
    }
    let echoes = finished.stdout.matches(&format!("Bearer {placeholder}")).count();
    assert!(echoes >= 2, "{case}: both echoes hold the placeholder: {finished:#?}");

    assert!(
        !world.internet.asked.lock().unwrap().iter().any(|name| name == "evil.test"),
        "{case}: not even a question"
    );
    let audit = world.audit();
    let verdicts = |subject: &str| {
        let rows = audit.iter().filter(|row| row["subject"].as_str().unwrap().contains(subject));
        rows.map(|row| row["verdict"].as_str().unwrap()).collect::<Vec<_>>()
    };
    let allowed = |path: &str| verdicts(&format!("GET api.example.com:443{path}"));
    assert_eq!([allowed("/echo"), allowed("/hold")], [["allowed"], ["allowed"]], "{case}: {audit:#?}");
    let refused = verdicts("evil.test");
    assert!(
        !refused.is_empty() && refused.iter().all(|verdict| ["dns-denied", "host-denied"].contains(verdict)),
        "{case}: {audit:#?}"
    );
    finished
}
