//! What a strict proxy must not break.

use crate::world::{PROGRAMS, Way, World};

/// `G7`: a part of a file, on a host that gets no key.
#[test]
fn a_part_of_a_download_is_what_was_asked_for() {
    let script = r#"curl -sS -w '\n%{http_code}\n' -r 2-5 https://other.example.com/files/alphabet"#;
    for way in Way::BOTH {
        let world = World::new();
        let finished = world.start(way, &["sh", "-c", script]).finish().succeeded();
        assert_eq!(finished.stdout, "cdef\n206\n", "{way:?}: {finished:#?}");
    }
}

/// `G12`: as a registry sends a client to where its blobs are.
#[test]
fn a_redirect_to_another_allowed_host_goes_without_the_key() {
    let script = r#"curl -sSL -H "Authorization: Bearer $API_KEY" https://api.example.com/redirect"#;
    for way in Way::BOTH {
        let world = World::new();
        let finished = world.start(way, &["sh", "-c", script]).finish().succeeded();
        let seen = world.origin.seen();
        let keys: Vec<_> = seen.iter().map(|seen| (&*seen.host, seen.count(&world.key))).collect();
        assert_eq!(keys, [("api.example.com", 1), ("other.example.com", 0)], "{finished:#?}");
        assert!(!seen[1].headers.contains_key("authorization"), "{seen:?}");
        // The twin: a client that takes its placeholder along is stopped on the way.
        let script = script.replace("-sSL", "-sSL --location-trusted");
        let finished = world.start(way, &["sh", "-c", &script]).finish().succeeded();
        assert!(finished.stdout.contains("placeholder-wrong-host"), "{finished:#?}");
        assert_eq!(world.origin.seen().len(), 3, "the second host saw nothing of it");
        assert!(world.audit().iter().any(|row| row["alarm"] == true), "{:#?}", world.audit());
    }
}

/// `G10`: nothing that may stand several times is lost.
#[test]
fn repeated_headers_arrive_on_both_sides() {
    let script = r#"curl -sS -D - -H 'Accept: a/b' -H 'Accept: c/d' -H 'Cookie: x=1' -H 'X-Twice: 1' -H 'X-Twice: 2' \
        "$1" https://other.example.com/echo"#;
    for (way, version) in [(Way::Transparent, "--http1.1"), (Way::Proxied, "--http2")] {
        let world = World::new();
        let finished = world.start(way, &["sh", "-c", script, "sh", version]).finish().succeeded();
        let seen = world.origin.seen();
        let all = |name: &str| {
            let values = seen[0].headers.get_all(name).iter();
            values.map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join(", ")
        };
        assert_eq!([all("accept"), all("x-twice"), all("cookie")], ["a/b, c/d", "1, 2", "x=1"], "{version}: {seen:?}");
        let cookies = finished.stdout.lines().filter(|line| line.to_ascii_lowercase().starts_with("set-cookie: "));
        assert_eq!(cookies.count(), 2, "{version}: {finished:#?}");
    }
}

/// `G10`: HTTP/2 lets a client send each cookie by itself, and HTTP/1.1 knows one line of them.
#[test]
fn cookies_in_crumbs_arrive_together() {
    let world = World::new();
    let program = format!("{PROGRAMS}/crumbs.mjs");
    world.start(Way::Transparent, &["node", &program]).finish().succeeded();
    let seen = world.origin.seen();
    let cookies: Vec<_> = seen[0].headers.get_all("cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(cookies.join("; "), "x=1; y=2", "{seen:?}");
}

/// `G18`: a sandbox whose clock is slow. Its real clock cannot be set, but OpenSSL can be told another time.
#[test]
fn a_clock_four_minutes_slow_accepts_our_certificates() {
    let script = r#"
now=$(date +%s)
for slow in 0 240 1000000; do
  openssl s_client -connect api.example.com:443 -servername api.example.com -verify_return_error \
    -CAfile "$SSL_CERT_FILE" -attime $((now - slow)) </dev/null 2>/dev/null | grep 'Verify return code' | head -n 1
done
"#;
    let world = World::new();
    let finished = world.start(Way::Transparent, &["sh", "-c", script]).finish();
    let ok = finished.stdout.matches("Verify return code: 0 (ok)").count();
    let early = finished.stdout.matches("certificate is not yet valid").count();
    assert_eq!((ok, early), (2, 1), "{finished:#?}");
}
