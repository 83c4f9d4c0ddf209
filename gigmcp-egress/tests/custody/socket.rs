//! WebSocket: what a host says in frames.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secrets::{DECOY, SECRET, decoys_missing_in, echoes, found_in};
use crate::stage::{Stage, fault_of};
use crate::upstream::Answer;
use crate::wire;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CONTINUATION: u8 = 0;
const FINAL: u8 = 0x80;

#[tokio::test]
async fn a_secret_in_frames_does_not_come_back() {
    crate::log::listen_to_everything();
    let stage = Stage::new().await;
    type Cut = fn(u8, &str) -> Vec<u8>;
    let ways: [(&str, u8, Cut); 4] = [
        ("text", TEXT, |kind, line| frame(kind | FINAL, line.as_bytes())),
        ("binary", BINARY, |kind, line| frame(kind | FINAL, line.as_bytes())),
        ("text in fragments of three bytes", TEXT, fragments),
        ("binary in fragments of three bytes", BINARY, fragments),
    ];
    for (way, kind, cut) in ways {
        let mut sandbox = stage.sandbox();
        let lines = echoes(SECRET).into_iter().zip(echoes(DECOY)).map(|(secret, decoy)| format!("{secret} {decoy} "));
        let mut said: Vec<u8> = lines.flat_map(|line| cut(kind, &line)).collect();
        said.extend(frame(8 | FINAL, &1000_u16.to_be_bytes()));
        stage.upstream.answers(move |seen| {
            let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", seen.header("sec-websocket-key").unwrap());
            let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-accept: {accept}\r\n\r\n"
            );
            Answer::Upgrade([head.as_bytes(), &said].concat())
        });
        stage.upstream.seen();
        let mut connection = sandbox.https("api.example.com").await;
        let key = format!("Authorization: Bearer {}", sandbox.placeholder);
        connection
            .send(format!(
                "GET /dc-live-D3C0YB1RD HTTP/1.1\r\nHost: api.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{key}\r\n\r\n"
            ))
            .await;
        assert_eq!(connection.one().await.status, 101, "{way}");
        // A close of our own, masked with zeros, so that both sides are done.
        connection.send([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await;
        let (mut raw, mut stream) = connection.into_parts();
        raw.extend(wire::read_to_end(&mut stream).await);
        let heard = unframed(&raw);
        assert!(stage.upstream.seen()[0].head.contains(SECRET), "{way}: control: the host has the secret");
        for bytes in [&raw, &heard] {
            assert_eq!(found_in(bytes), None, "{way}: {}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(decoys_missing_in(&heard), Vec::<&str>::new(), "{way}: control: the search finds what is there");
        let placeholder = sandbox.placeholder.as_str().as_bytes();
        assert!(heard.windows(placeholder.len()).any(|window| window == placeholder), "{way}");
        let event = sandbox.event().await.unwrap();
        assert_eq!(fault_of(&event), None, "{way}");
        assert!(sandbox.close().await.is_empty(), "{way}: one event");
    }
}

fn fragments(kind: u8, line: &str) -> Vec<u8> {
    let count = line.len().div_ceil(3);
    let pieces = line.as_bytes().chunks(3).enumerate().flat_map(|(index, piece)| {
        let last = if index + 1 == count { FINAL } else { 0 };
        frame(if index == 0 { kind } else { CONTINUATION } | last, piece)
    });
    pieces.collect()
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    match length {
        0..126 => [&[first, length.to_be_bytes()[1]], payload].concat(),
        _ => [&[first, 126], &length.to_be_bytes()[..], payload].concat(),
    }
}

/// The data of all frames.
fn unframed(mut bytes: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let [first, length, rest @ ..] = bytes {
        let (length, rest) = match length {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (usize::try_from(u64::from_be_bytes(rest[..8].try_into().unwrap())).unwrap(), &rest[8..]),
            length => (usize::from(*length), rest),
        };
        if first & 0x0f < 8 {
            data.extend_from_slice(&rest[..length]);
        }
        bytes = &rest[length..];
    }
    data
}
