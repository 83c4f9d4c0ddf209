//! Large bodies in both directions, through the search for keys.

use crate::{
    origin::{LARGE_BYTES, large_digest},
    world::{Way, World},
};

const DOWNLOAD: &str = r#"
echo "$API_KEY"
curl -sS "$@" -H "Authorization: Bearer $API_KEY" https://api.example.com/large | sha256sum
"#;

#[test]
fn a_large_download_comes_whole_but_for_the_key() {
    for (way, version) in [(Way::Transparent, "--http1.1"), (Way::Proxied, "--http2")] {
        let world = World::new();
        let finished = world.start(way, &["sh", "-c", DOWNLOAD, "sh", version]).finish().succeeded();
        let (placeholder, digest) = finished.stdout.split_once('\n').unwrap();
        assert_eq!(placeholder.len(), world.key.len(), "a placeholder is as long as the key");
        assert_eq!(digest.split(' ').next().unwrap(), large_digest(placeholder), "{version}: {finished:#?}");
    }
}

const UPLOAD: &str = r#"
head -c 52428800 /dev/urandom >/tmp/large
sha256sum </tmp/large
curl -sS "$@" -H "Authorization: Bearer $API_KEY" -X POST -T - https://api.example.com/upload </tmp/large
"#;

#[test]
fn a_large_upload_of_unknown_length_arrives_whole() {
    for (way, version) in [(Way::Transparent, "--http1.1"), (Way::Proxied, "--http2")] {
        let world = World::new();
        let finished = world.start(way, &["sh", "-c", UPLOAD, "sh", version]).finish().succeeded();
        let (sent, got) = finished.stdout.split_once('\n').unwrap();
        assert_eq!(got.trim(), format!("{LARGE_BYTES} {}", sent.split(' ').next().unwrap()), "{finished:#?}");
        let seen = world.origin.seen();
        assert_eq!((seen.len(), seen[0].count(&world.key)), (1, 1), "{seen:?}");
    }
}

const EXPECTING: &str = r#"
head -c 2000000 /dev/urandom >/tmp/large
sha256sum </tmp/large
curl -sSv -w '\n' --http1.1 -H 'Expect: 100-continue' -H "Authorization: Bearer $API_KEY" --expect100-timeout 100 \
  -T /tmp/large "https://$1/upload" 2>/tmp/log; code=$?
grep -c '^< HTTP/1.1 100' /tmp/log
grep '^< HTTP/1.1 [2-5]' /tmp/log | tail -n 1
exit $code
"#;

/// `G3`: curl sends no byte of the body before it is told to; it would wait for longer than this test.
#[test]
fn an_upload_that_waits_for_100_is_told_to_go_on() {
    for way in Way::BOTH {
        let world = World::new();
        let finished = world.start(way, &["sh", "-c", EXPECTING, "sh", "api.example.com"]).finish().succeeded();
        let lines: Vec<&str> = finished.stdout.lines().collect();
        let digest = lines[0].split(' ').next().unwrap();
        assert_eq!(lines[1..], [&*format!("2000000 {digest}"), "", "1", "< HTTP/1.1 200 OK"], "{finished:#?}");
        let seen = world.origin.seen();
        assert!(!seen[0].headers.contains_key("expect"), "we told it, so nobody else has to: {seen:?}");

        // The twin: where the key does not belong, the answer comes and no 100 before it.
        let finished = world.start(way, &["sh", "-c", EXPECTING, "sh", "other.example.com"]).finish();
        let lines: Vec<&str> = finished.stdout.lines().collect();
        assert!(lines.contains(&"0") && finished.stdout.contains("HTTP/1.1 403"), "{finished:#?}");
        assert_eq!(world.origin.seen().len(), 1);
    }
}
