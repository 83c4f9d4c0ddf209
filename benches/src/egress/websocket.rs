//! As much of WebSocket as an echo of short messages takes.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::client::{Client, Subject};
use super::origin::WEBSOCKET;
use super::world::HOST;
use crate::Failure;
use crate::figures::{Figures, Table};

pub(crate) async fn run(subjects: &[Subject]) -> Result<(), Failure> {
    let mut table = Table::new("echo of a WebSocket message of 100 bytes (µs)", &["p50", "p99", "p50 added"]);
    let mut clients = Vec::new();
    for subject in subjects {
        match open(subject.connect(HOST).await?).await {
            Ok(client) => clients.push((client, Figures::default())),
            Err(error) => table.note(&format!("{} takes no WebSocket: {error}", subject.name)),
        }
    }
    let start = Instant::now();
    for round in 0..ROUNDS {
        if start.elapsed() > LONGEST {
            break;
        }
        for (client, figures) in &mut clients {
            let clock = Instant::now();
            client.stream.write_all(&frame(&[b'x'; MESSAGE_BYTES], Side::Client)).await?;
            let (length, end) = loop {
                match parse(&client.read) {
                    Some(frame) => break frame,
                    None => client.more().await?,
                }
            };
            client.read.drain(..end);
            if length != MESSAGE_BYTES {
                return Err(format!("{}: a frame of {length} bytes", client.name).into());
            }
            if round >= WARM {
                figures.add(clock.elapsed());
            }
        }
    }
    let mut direct = None;
    for (client, figures) in &clients {
        let [p50, p99] = [50, 99].map(|percent| figures.percentile(percent).as_secs_f64() * 1e6);
        table.row(client.name, &[p50, p99, p50 - *direct.get_or_insert(p50)]);
    }
    table.print("aim: p50 added at most 300");
    Ok(())
}

/// The opening handshake.
async fn open(mut client: Client) -> Result<Client, Failure> {
    let Client { authority, key, .. } = &client;
    let request = format!(
        "GET {WEBSOCKET} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {key}\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n"
    );
    client.stream.write_all(request.as_bytes()).await?;
    let end = client.find(b"\r\n\r\n").await?;
    let head = String::from_utf8_lossy(&client.read[..end]).into_owned();
    client.read.drain(..end + 4);
    match head.starts_with("HTTP/1.1 101") {
        true => Ok(client),
        false => Err(head.lines().next().unwrap_or_default().to_owned().into()),
    }
}

/// The origin's answer to a handshake.
pub(crate) fn accept(head: &str) -> String {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let key = fields.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let key = key.map_or("", |(_, key)| key.trim());
    // RFC 6455, section 4.2.2.
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
    let accept = STANDARD.encode(hash);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    )
}

/// Sends back what comes.
pub(crate) async fn echo<T>(stream: &mut T, mut read: Vec<u8>, side: Side) -> Result<(), Failure>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let Some((length, end)) = parse(&read) else {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
            continue;
        };
        read.drain(..end);
        stream.write_all(&frame(&vec![b'x'; length], side)).await?;
        stream.flush().await?;
    }
}

/// Who writes a frame: a client's are masked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A short text frame. The mask is zero, which leaves the payload as it is.
fn frame(payload: &[u8], side: Side) -> Vec<u8> {
    let mut frame = vec![0x81, payload.len() as u8];
    if side == Side::Client {
        frame[1] |= 0x80;
        frame.extend([0; 4]);
    }
    frame.extend_from_slice(payload);
    frame
}

/// The length of the payload and of the whole frame, once it is there.
fn parse(read: &[u8]) -> Option<(usize, usize)> {
    let second = *read.get(1)?;
    let (length, mask) = (usize::from(second & 0x7f), if second & 0x80 == 0 { 0 } else { 4 });
    let end = 2 + mask + length;
    (read.len() >= end).then_some((length, end))
}

const MESSAGE_BYTES: usize = 100;
const ROUNDS: usize = 1500;
const WARM: usize = 50;
/// On a machine that is not quiet.
const LONGEST: Duration = Duration::from_secs(10);
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
