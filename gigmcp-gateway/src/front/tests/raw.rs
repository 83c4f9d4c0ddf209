//! Frames of HTTP/2 as no library sends them.

use tokio::{io::AsyncReadExt, net::TcpStream};

use super::*;

pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// `:method: GET`, `:scheme: http`, `:path: /` of the static table, and `:authority: a`.
pub(super) const GET: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
/// The same of `/wait`.
pub(super) const WAIT: [u8; 12] = [0x82, 0x86, 0x04, 5, b'/', b'w', b'a', b'i', b't', 0x41, 1, b'a'];

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection of which settings were exchanged.
pub(super) async fn begin(running: &Running) -> TcpStream {
    let mut stream = running.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("it is read");
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.expect("it is read");
    stream.write_all(&frame(SETTINGS, 1, 0, &[])).await.expect("it is read");
    stream
}

/// The next frame: its kind, stream and payload; none at the end.
pub(super) async fn next(stream: &mut TcpStream) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_exact(&mut head)).await.expect("it goes on");
    read.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], id, payload))
}

/// Whether that stream is answered before the connection ends.
pub(super) async fn is_answered(stream: &mut TcpStream, id: u32) -> bool {
    while let Some((kind, found, _)) = next(stream).await {
        match kind {
            HEADERS if found == id => return true,
            RST_STREAM if found == id => return false,
            GOAWAY => return false,
            _ => {}
        }
    }
    false
}
