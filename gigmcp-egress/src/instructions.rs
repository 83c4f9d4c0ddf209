//! The paths whose instructions are counted by `./dev bench --instructions`, because wall time on a shared machine is noise.
//!
//! Each is a test that does its work some times and says how often. Callgrind counts what happens within [`counted`] only;
//! what is expected stands in `benches/instructions.txt`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed bench")]

mod world;

use bytes::Bytes;
use http::StatusCode;

use self::world::World;
use crate::ca::CertificateAuthority;
use crate::credential::CredentialRule;
use crate::http1::laws::read_head;
use crate::identity::{CredentialId, Identity};
use crate::live::LivePlaceholders;
use crate::placeholder::{Placeholder, Shape};
use crate::scrub::{Scrubber, StreamScrub};
use crate::secret::SecretString;
use crate::sink::Sink;

/// Does the work once, so that what is made once is there, and then as often as is counted.
fn measure(times: u32, mut work: impl FnMut()) {
    work();
    counted(times, &mut work);
    println!("times {times}");
}

#[inline(never)]
fn counted(times: u32, work: &mut dyn FnMut()) {
    (0..times).for_each(|_| work());
}

#[test]
#[ignore = "counted by ./dev bench --instructions"]
fn a_request_that_is_refused() {
    let world = World::new();
    measure(100, || assert_eq!(world.request("evil.example.com"), StatusCode::FORBIDDEN));
}

#[test]
#[ignore = "counted by ./dev bench --instructions"]
fn a_request_with_a_credential() {
    let world = World::new();
    measure(100, || assert_eq!(world.request("api.example.com"), StatusCode::OK));
}

#[test]
#[ignore = "counted by ./dev bench --instructions"]
fn a_request_head_is_read() {
    let head = "POST /v1/messages?beta=true HTTP/1.1\r\nHost: api.example.com\r\nAccept: application/json\r\n\
        Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nUser-Agent: Client/Python 1.2.3\r\n\
        X-Client-Lang: python\r\nX-Client-Runtime: CPython\r\nAuthorization: Bearer sk-0123456789abcdefghij\r\n\
        Content-Type: application/json\r\nContent-Length: 1024\r\n\r\n";
    measure(100, || assert_eq!(read_head(head.as_bytes()), Some(head.len())));
}

#[test]
#[ignore = "counted by ./dev bench --instructions"]
fn a_body_of_64_kib_is_searched_for_placeholders() {
    let live = LivePlaceholders::default();
    for number in 0..100 {
        let id = CredentialId::new("key");
        let host = "api.example.com".parse().unwrap();
        let rule = CredentialRule::new(id, Placeholder::mint(&Shape::opaque()), [host], Sink::Header { name: None });
        live.note(&Identity::new(format!("sandbox {number}").as_str()), &[rule]);
    }
    let body = text(64 << 10);
    measure(4, || assert!(live.find(&body).is_none()));
}

#[test]
#[ignore = "counted by ./dev bench --instructions"]
fn an_answer_of_256_kib_is_scrubbed() {
    let secret = SecretString::new("sk-0123456789abcdefghijABCDEFGHIJ0123456789abcdefgh");
    let placeholder = Placeholder::mint(&Shape::of(&secret));
    let piece = Bytes::from(text(16 << 10));
    measure(1, || {
        let mut stream = StreamScrub::new(Scrubber::new([(&secret, &placeholder)]));
        let given: usize = (0..16).map(|_| stream.feed(piece.clone()).len()).sum();
        assert_eq!(given + stream.finish().len(), 16 * piece.len());
    });
}

#[test]
#[ignore = "counted by ./dev bench --instructions"]
fn a_leaf_is_minted() {
    let ca = CertificateAuthority::generate(vec!["api.example.com".parse().unwrap()]).unwrap();
    let host = "api.example.com".parse().unwrap();
    measure(10, || assert_eq!(ca.mint(&host).unwrap().cert.len(), 2));
}

/// Lines of JSON, in which the beginning of a key turns up.
fn text(bytes: usize) -> Vec<u8> {
    let line = br#"{"id":"sk-ordinary","text":"The quick brown fox jumps over the lazy dog. ","n":12345678},
"#;
    line.iter().copied().cycle().take(bytes).collect()
}
