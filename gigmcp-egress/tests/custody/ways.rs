//! Every way that an answer has to repeat something.

use crate::coded;
use crate::secrets::{DECOY, SECRET, echoes};
use crate::upstream::{Answer, with};

pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) answer: Answer,
}

impl Way {
    /// Where the secret stood the placeholder stands, at least as it is.
    pub(crate) fn shows_placeholder(&self, bytes: &[u8], placeholder: &str) -> bool {
        bytes.windows(placeholder.len()).any(|window| window == placeholder.as_bytes())
    }
}

/// The secret and the decoy in every spelling, a line each.
fn everything() -> Vec<String> {
    echoes(SECRET).into_iter().zip(echoes(DECOY)).map(|(secret, decoy)| format!("{secret} {decoy}")).collect()
}

pub(crate) fn all() -> Vec<Way> {
    let lines = everything();
    let body = lines.join("\n");
    let chunked = |head: &str, chunks: &[&[u8]], trailers: &str| {
        let mut bytes = format!("HTTP/1.1 200 OK\r\n{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
        for chunk in chunks {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(format!("0\r\n{trailers}\r\n").bytes());
        Answer::Then(bytes)
    };
    let fields = |name: &str| {
        lines.iter().enumerate().map(|(index, line)| format!("x-{name}-{index}: {line}\r\n")).collect::<String>()
    };
    let single: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    let events: Vec<String> = lines.iter().map(|line| format!("event: echo\ndata: {line}\n\n")).collect();
    let halves: Vec<&[u8]> = events.iter().flat_map(|event| event.as_bytes().chunks(event.len() / 2 + 1)).collect();
    let way = |name, answer| Way { name, answer };
    let mut ways = vec![
        way("in a body", with("", &body)),
        way("in headers", with(&fields("echo"), "ok")),
        way("in a body, a byte a chunk", chunked("", &single, "")),
        way("in events, each in two chunks", chunked("content-type: text/event-stream\r\n", &halves, "")),
        way("in trailers", chunked("trailer: x-echo-0\r\n", &[b"ok"], &fields("echo"))),
        way(
            "as gRPC says what went wrong",
            chunked(
                "content-type: application/grpc\r\n",
                &[b"\0\0\0\0\0"],
                &format!("grpc-status: 16\r\ngrpc-message: {SECRET}\r\n{}", fields("detail")),
            ),
        ),
    ];
    for (coding, coded) in coded::all(body.as_bytes()) {
        ways.push(way(coding, with(&format!("content-encoding: {coding}\r\n"), &coded)));
        let single: Vec<&[u8]> = coded.chunks(1).collect();
        ways.push(way(coding, chunked(&format!("content-encoding: {coding}\r\n"), &single, "")));
    }
    ways
}
