//! Answers with a content coding. Where a credential goes they are decoded; elsewhere they are passed on as they are, and
//! searched beside that: as they stand, and for what they decode to.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gigmcp_egress::AuditEvent;
use http::Request;
use tokio::io::AsyncReadExt as _;

use crate::http2_upstream::{client, listen};
use crate::wire::Wire;
use crate::world::{SECRET, World, soon};

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// What of a text a patient reader gets out of a coded body, however it ends.
fn patiently_read(body: &[u8]) -> String {
    let mut text = Vec::new();
    let _ = flate2::read::MultiGzDecoder::new(body).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The body of an answer, as far as it came, and what was recorded.
async fn answer(host: &str, coding: &str, pieces: &[&[u8]]) -> (Vec<u8>, Vec<AuditEvent>) {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
    let mut wire = sandbox.https(host).await;
    wire.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
    let mut origin = Wire::new(soon(accepted.recv()).await.unwrap());
    soon(origin.request()).await;
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {length}\r\n\r\n");
    origin.send(head).await;
    for piece in pieces {
        origin.send(piece).await;
    }
    let mut stream = wire.into_inner();
    let mut all = Vec::new();
    let _ = soon(stream.read_to_end(&mut all)).await;
    // What ends before anything of it may be given has no head either.
    let head = all.windows(4).position(|window| window == b"\r\n\r\n").map_or(all.len(), |end| end + 4);
    (all.split_off(head), world.finish().await)
}

/// A text that no coding makes much shorter.
fn noise(words: u32) -> String {
    let letter = |number: u32| char::from(b'a' + (number.wrapping_mul(2_654_435_761) >> 27) as u8 % 26);
    (0..words * 8).map(|number| if number % 8 == 7 { ' ' } else { letter(number) }).collect()
}

#[tokio::test]
async fn a_coded_answer_of_a_host_without_a_credential_is_searched_beside_being_passed_on() {
    let basic = STANDARD.encode(format!("me:{SECRET}"));
    type Coded = Box<dyn Fn(&str) -> Vec<u8>>;
    let cases: Vec<(&str, &str, &str, Coded)> = vec![
        ("before more", "gzip", SECRET, Box::new(|key| gzip(&format!("key: {key}\nand more")))),
        ("at the end", "gzip", SECRET, Box::new(|key| gzip(&format!("key: {key}")))),
        ("alone", "gzip", SECRET, Box::new(gzip)),
        ("in a long one", "gzip", SECRET, Box::new(|key| gzip(&[&noise(20_000), key, " ", &noise(20_000)].concat()))),
        ("behind a long one", "gzip", SECRET, Box::new(|key| gzip(&[&noise(20_000), key].concat()))),
        ("with no blank", "gzip", SECRET, Box::new(|key| gzip(&[&"x".repeat(5_000), key, &"y".repeat(99)].concat()))),
        ("in another spelling", "gzip", &basic, Box::new(|key| gzip(&format!("Basic {key}")))),
        ("in a second member", "gzip", SECRET, Box::new(|key| [gzip("nothing"), gzip(key)].concat())),
        ("cut behind it", "gzip", SECRET, Box::new(|key| gzip(key).split_last_chunk::<8>().unwrap().0.to_vec())),
        ("not coded at all", "gzip", SECRET, Box::new(|key| format!("key: {key}\n").into_bytes())),
        ("behind what is coded", "gzip", SECRET, Box::new(|key| [&gzip("nothing"), key.as_bytes()].concat())),
        ("in a coding of nobody's", "x-own", SECRET, Box::new(|key| format!("own {key}").into_bytes())),
    ];
    for (case, coding, key, coded) in cases {
        for (text, code) in [(key.to_owned(), "unscannable"), ("0".repeat(key.len()), "allowed")] {
            let body = coded(&text);
            // In one piece, and in pieces of a few bytes.
            for size in [body.len(), 7].into_iter().filter(|size| body.len() / size < 1_000) {
                let (came, events) = answer("b.example.com", coding, &body.chunks(size).collect::<Vec<_>>()).await;
                let codes: Vec<_> = events.iter().map(|event| event.verdict.code()).collect();
                assert_eq!(codes, [code], "EGR-201 {case} by {size}");
                if code == "allowed" {
                    assert!(came == body, "twin: {case} by {size}: passed on as it is");
                }
                let read = format!("{}{}", String::from_utf8_lossy(&came), patiently_read(&came));
                assert!(!read.contains(&key[6..key.len() - 6]), "EGR-201 {case} by {size}");
            }
        }
    }
}

#[tokio::test]
async fn a_coded_answer_is_searched_over_http_2_as_well() {
    for (case, key, whole) in [("EGR-201", SECRET, false), ("twin", "nothing", true)] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
        let mut client = client(&sandbox, "b.example.com").await;
        let request = Request::get("https://b.example.com/").body(()).unwrap();
        let (answering, _) = client.send_request(request, true).unwrap();
        let mut origin = Wire::new(soon(accepted.recv()).await.unwrap());
        soon(origin.request()).await;
        let body = gzip(key);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
        origin.send([head.as_bytes(), &body].concat()).await;
        let mut came = Vec::new();
        let reading = async {
            let mut answer = answering.await?.into_body();
            while let Some(chunk) = answer.data().await {
                came.extend_from_slice(&chunk?);
            }
            Ok::<_, h2::Error>(())
        };
        let ended = soon(reading).await;
        assert_eq!((ended.is_ok(), came == body), (whole, whole), "{case}: {ended:?}");
        assert!(!patiently_read(&came).contains(&SECRET[6..28]), "{case}");
        drop(client);
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, [if whole { "allowed" } else { "unscannable" }], "{case}");
    }
}

#[tokio::test]
async fn nothing_of_a_coded_answer_is_given_in_which_a_secret_may_begin() {
    for (case, key, whole) in [("EGR-201", SECRET, false), ("twin", &*"0".repeat(SECRET.len()), true)] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
        let mut wire = sandbox.https("b.example.com").await;
        wire.send("GET / HTTP/1.1\r\nHost: b.example.com\r\nConnection: close\r\n\r\n").await;
        let mut origin = Wire::new(soon(accepted.recv()).await.unwrap());
        soon(origin.request()).await;
        origin.send("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let body = gzip(&[&noise(5_000), key].concat());
        for piece in body.chunks(400) {
            origin.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
        }
        // The body is there, and only its end is not: the time in which a sandbox would have it.
        let mut stream = wire.into_inner();
        let mut came = Vec::new();
        assert_ne!(soon(stream.read_buf(&mut came)).await.unwrap(), 0, "{case}");
        let early = tokio::time::timeout(Duration::from_millis(200), stream.read_to_end(&mut came)).await;
        assert!(early.is_err(), "{case}");
        assert!(!patiently_read(&dechunked(&came)).contains(&key[..6]), "{case}: it does not even begin");
        origin.send("0\r\n\r\n").await;
        let _ = soon(stream.read_to_end(&mut came)).await;
        assert_eq!(patiently_read(&dechunked(&came)).contains(&key[..6]), whole, "{case}");
        assert_eq!(dechunked(&came) == body, whole, "{case}");
    }
}

/// The body behind a head, as far as it came.
fn dechunked(answer: &[u8]) -> Vec<u8> {
    let line = |bytes: &[u8]| bytes.windows(2).position(|window| window == b"\r\n");
    let mut rest = &answer[answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4..];
    let mut body = Vec::new();
    while let Some(end) = line(rest) {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        rest = &rest[end + 2..];
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        rest = rest.get(size + 2..).unwrap_or_default();
    }
    body
}

/// Others would read on where we do not.
#[tokio::test]
async fn a_coded_answer_of_far_more_content_than_body_is_not_passed_on() {
    for (case, length, code) in [("EGR-201 a bomb", 8 << 20, "unscannable"), ("twin", 1 << 10, "allowed")] {
        let body = gzip(&"0".repeat(length));
        let (came, events) = answer("b.example.com", "gzip", &[&body]).await;
        assert_eq!((events[0].verdict.code(), came == body), (code, code == "allowed"), "{case}");
    }
}

#[tokio::test]
async fn a_coded_event_arrives_at_once_though_it_is_searched() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
    let mut wire = sandbox.https("b.example.com").await;
    wire.send("GET / HTTP/1.1\r\nHost: b.example.com\r\n\r\n").await;
    let mut origin = Wire::new(soon(accepted.recv()).await.unwrap());
    soon(origin.request()).await;
    origin.send("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut stream = wire.into_inner();
    for event in ["data: one\n\n", "data: two\n\n"] {
        encoder.write_all(event.as_bytes()).unwrap();
        encoder.flush().unwrap();
        let piece = std::mem::take(encoder.get_mut());
        origin.send([format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat()).await;
        let mut came = Vec::new();
        while !came.ends_with(&piece) {
            came.push(soon(stream.read_u8()).await.unwrap()); // EGR-204: the origin sends nothing more
        }
    }
}

#[tokio::test]
async fn a_coded_answer_of_a_host_with_a_credential_is_decoded_and_scrubbed() {
    for key in [SECRET, "nothing"] {
        let (came, events) = answer("api.example.com", "gzip", &[&gzip(&format!("key: {key} and more"))]).await;
        let came = String::from_utf8(came).unwrap();
        assert!(came.contains("key: ") && came.contains("more"), "{came}");
        assert_eq!((came.contains(key), came.contains(SECRET)), (key != SECRET, false), "EGR-201: {came}");
        assert_eq!(events[0].verdict.code(), "allowed");
    }
}
