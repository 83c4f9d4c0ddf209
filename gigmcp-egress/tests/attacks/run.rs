//! Tries a row in every way, and says what was seen or what is wrong.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::frames::{ENHANCE_YOUR_CALM, H2, Heard, PROTOCOL_ERROR};
use crate::row::{Ask, Attempt, Door, Right, Row, fill};
use crate::stage::{Sandbox, Stage, Tls, Touched, fault_of};
use crate::wire::{self, Cut, Reply, Wire};
use crate::{log, secrets};

/// What came of a row, in words; or what should not have come of it.
pub(crate) type Outcome = Result<String, String>;

/// The longest that one try may take.
const BOUND: Duration = Duration::from_secs(60);

pub(crate) async fn run(stage: &Rc<Stage>, row: &Row) -> Outcome {
    let seen = match &row.attempt {
        Attempt::Bytes { doors, attack, twin } => over_doors(stage, row, doors, attack, twin).await?,
        Attempt::Ask { host, attack, twin } => asked(stage, row, host, attack, twin).await?,
        Attempt::Frames { attack, twin } => framed(stage, row, attack, twin).await?,
        Attempt::Hello { attack, twin } => greeted(stage, row, attack, twin).await?,
        Attempt::Scene(scene) => {
            let said = scene(Rc::clone(stage)).await;
            match row.right {
                Right::Said(right) if right == said => said,
                right => return Err(format!("{said:?} instead of {right:?}")),
            }
        }
    };
    no_leaks(b"")?;
    Ok(seen)
}

/// What one try came to.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Seen {
    Answer { status: u16, code: Option<String>, closes: bool },
    Reset(u32),
    GoAway(u32),
    Alert(u8),
    Closed,
}

impl Seen {
    fn words(&self) -> String {
        match self {
            Self::Answer { status, code, closes } => {
                let code = code.as_deref().map(|code| format!(" {code}")).unwrap_or_default();
                format!("{status}{code}{}", if *closes { ", closed" } else { "" })
            }
            Self::Reset(code) => format!("RST({})", reason(*code)),
            Self::GoAway(code) => format!("GOAWAY({})", reason(*code)),
            Self::Alert(code) => format!("alert {code}, closed"),
            Self::Closed => "closed without a byte".into(),
        }
    }

    fn is(&self, right: Right) -> bool {
        match (right, self) {
            (Right::Ok, Self::Answer { status: 200, code: None, .. }) => true,
            (Right::Status(due), Self::Answer { status, code: Some(_), .. }) => due == *status,
            (Right::Close(due), Self::Answer { status, code: Some(_), closes: true }) => due == *status,
            (Right::Either(one, other), Self::Answer { status, code: Some(_), .. }) => {
                *status == one || *status == other
            }
            (Right::CloseEither(one, other), Self::Answer { status, code: Some(_), closes: true }) => {
                *status == one || *status == other
            }
            (Right::Malformed, Self::Answer { status: 400, code: Some(_), closes: true }) => true,
            (Right::Malformed, Self::Reset(PROTOCOL_ERROR)) => true,
            (Right::Ended, Self::Reset(_) | Self::GoAway(_)) => true,
            (Right::Reset(due), Self::Reset(code)) | (Right::GoAway(due), Self::GoAway(code)) => due == *code,
            (Right::Alert, Self::Alert(_)) | (Right::Drop, Self::Closed) => true,
            _ => false,
        }
    }

    /// Over HTTP/2 a stream ends and not its connection, and what is malformed may be reset instead of answered.
    fn is_over_h2(&self, right: Right) -> bool {
        let over_h2 = match right {
            Right::Close(status) => Right::Status(status),
            Right::CloseEither(one, other) => Right::Either(one, other),
            right => right,
        };
        let malformed =
            matches!(right, Right::Malformed | Right::CloseEither(..) | Right::Close(400 | 414 | 417 | 501));
        self.is(over_h2)
            || malformed
                && matches!(
                    self,
                    Self::Reset(PROTOCOL_ERROR)
                        | Self::GoAway(PROTOCOL_ERROR)
                        | Self::Answer { status: 400, code: Some(_), .. }
                )
    }
}

fn reason(code: u32) -> String {
    let names = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT"];
    let more = ["STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR"];
    match names.iter().chain(&more).nth(usize::try_from(code).unwrap()) {
        Some(name) => (*name).to_owned(),
        None if code == ENHANCE_YOUR_CALM => "ENHANCE_YOUR_CALM".to_owned(),
        None => code.to_string(),
    }
}

/// Counts what one refusal touches, and takes its one event.
struct Watch<'a> {
    stage: &'a Stage,
    row: &'a Row,
    before: Touched,
    started: Instant,
}

impl<'a> Watch<'a> {
    fn new(stage: &'a Stage, row: &'a Row) -> Self {
        stage.upstream.seen();
        Self { stage, row, before: stage.touched(), started: Instant::now() }
    }

    /// Checks the five that hold of every refusal; but that there was only one event is seen when the sandbox is closed.
    async fn check(self, sandbox: &mut Sandbox, seen: &Seen, raw: &[u8]) -> Result<(), String> {
        no_leaks(raw)?;
        let event = sandbox.event().await.ok_or("no audit event")?;
        if let Some(fault) = fault_of(&event) {
            return Err(fault);
        }
        if let Seen::Answer { code: Some(code), .. } = seen
            && event.verdict.code() != code
        {
            return Err(format!("the audit says {} and the answer {code}", event.verdict.code()));
        }
        if self.row.right != Right::Ok && matches!(event.verdict.code(), "allowed" | "aborted") {
            return Err(format!("the audit says {}", event.verdict.code()));
        }
        let touched = self.stage.touched() - self.before;
        if !self.row.may_touch && self.row.right != Right::Ok && (touched.dialled, touched.opened) != (0, 0) {
            return Err(format!("touched: {touched:?}"));
        }
        if matches!(self.row.attempt, Attempt::Bytes { .. }) && self.row.right != Right::Ok {
            // Where the head may have been sent on before the body was seen to be wrong.
            let whole = self.stage.upstream.seen();
            if !whole.is_empty() {
                return Err(format!("the upstream had a whole request: {whole:?}"));
            }
        }
        if self.started.elapsed() > BOUND {
            return Err(format!("took {:?}", self.started.elapsed()));
        }
        Ok(())
    }
}

fn no_leaks(raw: &[u8]) -> Result<(), String> {
    if let Some(spelling) = secrets::found_in(raw) {
        return Err(format!("the answer holds the secret ({spelling})"));
    }
    match log::leaks().first() {
        Some(line) => Err(format!("the log holds a secret: {line}")),
        None => Ok(()),
    }
}

/// Makes the words of all tries one, and fails where they differ.
#[derive(Default)]
struct Agreed(Option<String>);

impl Agreed {
    fn add(&mut self, words: String, how: &str) -> Result<(), String> {
        match &self.0 {
            Some(agreed) if *agreed != words => Err(format!("{how}: {words:?}, but before {agreed:?}")),
            _ => {
                self.0 = Some(words);
                Ok(())
            }
        }
    }
}

async fn over_doors(stage: &Stage, row: &Row, doors: &[Door], attack: &[u8], twin: &[u8]) -> Outcome {
    let mut agreed = Agreed::default();
    for (index, door) in doors.iter().enumerate() {
        let mut sandbox = stage.sandbox();
        let sent = fill(attack, door.host(), sandbox.placeholder.as_str());
        // Through the first door, cut everywhere.
        let cuts = cuts(&sent, if index == 0 { Cuts::All } else { Cuts::Few });
        let mut line = Line::default();
        for cut in cuts {
            let how = format!("{}, {cut:?}", door.name());
            let watch = Watch::new(stage, row);
            let (seen, raw) = line.speak(&sandbox, *door, &sent, cut).await;
            if !seen.is(row.right) {
                return Err(format!("{how}: {} instead of {:?}", seen.words(), row.right));
            }
            agreed.add(seen.words(), &how)?;
            watch.check(&mut sandbox, &seen, &raw).await.map_err(|fault| format!("{how}: {fault}"))?;
        }
        drop(line);
        nothing_left(&mut sandbox).await.map_err(|fault| format!("{}: {fault}", door.name()))?;
        twins(stage, *door, twin).await?;
    }
    Ok(agreed.0.unwrap_or_default())
}

/// The same without the attack has to succeed, whole and byte by byte.
async fn twins(stage: &Stage, door: Door, twin: &[u8]) -> Result<(), String> {
    if twin.is_empty() {
        return Ok(());
    }
    let mut sandbox = stage.sandbox();
    let sent = fill(twin, door.host(), sandbox.placeholder.as_str());
    let mut line = Line::default();
    for cut in [Cut::Whole, Cut::Bytes] {
        let (seen, raw) = line.speak(&sandbox, door, &sent, cut).await;
        if !seen.is(Right::Ok) {
            return Err(format!("twin: {}, {cut:?}: {}", door.name(), seen.words()));
        }
        no_leaks(&raw)?;
    }
    drop(line);
    sandbox.close().await;
    Ok(())
}

async fn nothing_left(sandbox: &mut Sandbox) -> Result<(), String> {
    let left = sandbox.close().await;
    let codes: Vec<_> = left.iter().map(|event| event.verdict.code()).collect();
    if codes.is_empty() { Ok(()) } else { Err(format!("more than one audit event: {codes:?}")) }
}

enum Cuts {
    All,
    Few,
}

/// Whole, byte by byte, and at every offset of the head and somewhat beyond.
fn cuts(bytes: &[u8], cuts: Cuts) -> Vec<Cut> {
    let few = [Cut::Whole, Cut::Bytes].into_iter();
    match cuts {
        Cuts::Few => few.collect(),
        Cuts::All => {
            let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |at| at + 64);
            few.chain((1..head.min(bytes.len()).min(512)).map(Cut::At)).collect()
        }
    }
}

/// A connection that is kept as long as the proxy keeps it.
#[derive(Default)]
enum Line {
    #[default]
    None,
    Tls(Box<Wire<Tls>>),
    Clear(Wire<TcpStream>),
}

impl Line {
    async fn speak(&mut self, sandbox: &Sandbox, door: Door, bytes: &[u8], cut: Cut) -> (Seen, Vec<u8>) {
        if matches!(self, Self::None) {
            *self = match door {
                Door::Tls(host) => Self::Tls(Box::new(sandbox.https(host).await)),
                Door::Clear(host) => Self::Clear(sandbox.http(host).await),
                Door::Proxy => Self::Clear(sandbox.proxy().await),
                Door::Bare(host) => Self::Clear(Wire::new(sandbox.tcp(host).await)),
                Door::Tunnel(host) => {
                    let mut wire = sandbox.proxy().await;
                    let reply = wire.ask(format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n")).await;
                    assert_eq!(reply.status, 200, "the tunnel opens");
                    Self::Tls(Box::new(Wire::new(sandbox.handshake(wire.stream, host, "").await.unwrap())))
                }
            };
        }
        let heard = match self {
            Self::Tls(wire) => exchange(wire, bytes, cut).await,
            Self::Clear(wire) => exchange(wire, bytes, cut).await,
            Self::None => unreachable!("it was just opened"),
        };
        // Behind a CONNECT that was allowed, another protocol is due.
        let stays = matches!(heard.0, Seen::Answer { closes: false, .. }) && !bytes.starts_with(b"CONNECT");
        if !stays {
            *self = Self::None;
        }
        heard
    }
}

async fn exchange<T: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<T>, bytes: &[u8], cut: Cut) -> (Seen, Vec<u8>) {
    wire::send(&mut wire.stream, bytes, cut).await;
    let reply = wire.reply().await;
    (read(&reply, wire).await, reply.raw)
}

async fn read<T: AsyncRead + AsyncWrite + Unpin>(reply: &Reply, wire: &mut Wire<T>) -> Seen {
    if reply.status == 0 {
        return Seen::Closed;
    }
    let announced = reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    // What is announced has to come true; a connection that closes without a word is seen by the next try.
    let closes = announced && wire.is_closed().await;
    Seen::Answer { status: reply.status, code: reply.code().map(str::to_owned), closes }
}

async fn asked(stage: &Stage, row: &Row, host: &'static str, attack: &Ask, twin: &Ask) -> Outcome {
    // What is not about credentials is cut everywhere in clear text, where a connection costs little.
    let (clear, tls) = (Door::Clear("plain.example.com"), Door::Tls(host));
    let attacked = attack.bytes();
    let about_credentials = host == "api.example.com" || attacked.windows(2).any(|window| window == b"{P");
    let first = match about_credentials {
        true => over_doors(stage, row, &[tls], &attacked, &twin.bytes()).await?,
        false => over_doors(stage, row, &[clear, tls], &attacked, &twin.bytes()).await?,
    };
    let over_h2 = asked_over_h2(stage, row, host, attack, twin).await.map_err(|fault| format!("HTTP/2: {fault}"))?;
    let same = over_h2 == first || format!("{over_h2}, closed") == first;
    Ok(if same { first } else { format!("{first}; HTTP/2: {over_h2}") })
}

async fn asked_over_h2(stage: &Stage, row: &Row, host: &'static str, attack: &Ask, twin: &Ask) -> Outcome {
    let mut agreed = Agreed::default();
    let mut sandbox = stage.sandbox();
    let mut h2 = None;
    let length = attack.frames(1, host, sandbox.placeholder.as_str(), 1 << 14).len();
    let whole = (1..length.min(512)).map(|at| (Cut::At(at), 1 << 14));
    for (cut, piece) in [(Cut::Whole, 1 << 14), (Cut::Bytes, 1 << 14), (Cut::Whole, 1)].into_iter().chain(whole) {
        let how = format!("{cut:?}, DATA of {piece}");
        let watch = Watch::new(stage, row);
        let connection = match &mut h2 {
            Some(connection) => connection,
            None => h2.insert(H2::open(&sandbox, host).await.ok_or("HTTP/2 is not spoken")?),
        };
        let stream = connection.next();
        let sent = attack.frames(stream, host, sandbox.placeholder.as_str(), piece);
        connection.send(&sent, cut).await;
        let seen = heard(connection.hear(stream).await);
        if !seen.is_over_h2(row.right) {
            return Err(format!("{how}: {} instead of {:?}", seen.words(), row.right));
        }
        agreed.add(seen.words(), &how)?;
        watch.check(&mut sandbox, &seen, &connection.raw).await.map_err(|fault| format!("{how}: {fault}"))?;
        connection.raw.clear();
        if matches!(seen, Seen::GoAway(_) | Seen::Closed) {
            h2 = None;
        }
    }
    drop(h2);
    nothing_left(&mut sandbox).await?;
    let mut sandbox = stage.sandbox();
    let mut connection = H2::open(&sandbox, host).await.ok_or("HTTP/2 is not spoken")?;
    for (cut, piece) in [(Cut::Whole, 1 << 14), (Cut::Bytes, 3)] {
        let stream = connection.next();
        connection.send(&twin.frames(stream, host, sandbox.placeholder.as_str(), piece), cut).await;
        let seen = heard(connection.hear(stream).await);
        if !seen.is(Right::Ok) {
            return Err(format!("twin: {cut:?}: {}", seen.words()));
        }
        no_leaks(&connection.raw)?;
    }
    drop(connection);
    sandbox.close().await;
    Ok(agreed.0.unwrap_or_default())
}

fn heard(heard: Heard) -> Seen {
    match heard {
        Heard::Status(status, body) => {
            let text = String::from_utf8_lossy(&body).into_owned();
            let code = text.split("\"code\":\"").nth(1).and_then(|after| after.split('"').next()).map(str::to_owned);
            Seen::Answer { status, code, closes: false }
        }
        Heard::Reset(code) => Seen::Reset(code),
        Heard::GoAway(code) => Seen::GoAway(code),
        Heard::Closed => Seen::Closed,
    }
}

/// The streams 1 and 3 are what frames are about; the attack is on the first, unless it says otherwise.
async fn framed(stage: &Stage, row: &Row, attack: &[u8], twin: &[u8]) -> Outcome {
    let mut agreed = Agreed::default();
    let mut sandbox = stage.sandbox();
    let host = "b.example.com";
    let sent = fill(attack, host, sandbox.placeholder.as_str());
    let offsets = (1..sent.len().min(160)).map(Cut::At);
    for cut in [Cut::Whole, Cut::Bytes].into_iter().chain(offsets) {
        let how = format!("{cut:?}");
        let watch = Watch::new(stage, row);
        let mut connection = H2::open(&sandbox, host).await.ok_or("HTTP/2 is not spoken")?;
        connection.send(&sent, cut).await;
        let seen = heard(connection.hear(1).await);
        if !seen.is_over_h2(row.right) {
            return Err(format!("{how}: {} instead of {:?}", seen.words(), row.right));
        }
        agreed.add(seen.words(), &how)?;
        watch.check(&mut sandbox, &seen, &connection.raw).await.map_err(|fault| format!("{how}: {fault}"))?;
    }
    nothing_left(&mut sandbox).await?;
    if !twin.is_empty() {
        let mut sandbox = stage.sandbox();
        let sent = fill(twin, host, sandbox.placeholder.as_str());
        for cut in [Cut::Whole, Cut::Bytes] {
            let mut connection = H2::open(&sandbox, host).await.ok_or("HTTP/2 is not spoken")?;
            connection.send(&sent, cut).await;
            let seen = heard(connection.hear(1).await);
            if !seen.is(Right::Ok) {
                return Err(format!("twin: {cut:?}: {}", seen.words()));
            }
        }
        sandbox.close().await;
    }
    Ok(agreed.0.unwrap_or_default())
}

/// A hello is answered by a server's hello or by an alert.
async fn greeted(stage: &Stage, row: &Row, attack: &[u8], twin: &[u8]) -> Outcome {
    let mut agreed = Agreed::default();
    let mut sandbox = stage.sandbox();
    let offsets = (1..attack.len().min(256)).map(Cut::At);
    for cut in [Cut::Whole, Cut::Bytes].into_iter().chain(offsets) {
        let how = format!("{cut:?}");
        let watch = Watch::new(stage, row);
        let mut stream = sandbox.tcp("api.example.com").await;
        wire::send(&mut stream, attack, cut).await;
        let raw = wire::read_to_end(&mut stream).await;
        let seen = alert(&raw);
        if !seen.is(row.right) {
            return Err(format!("{how}: {} instead of {:?}", seen.words(), row.right));
        }
        agreed.add(seen.words(), &how)?;
        watch.check(&mut sandbox, &seen, &raw).await.map_err(|fault| format!("{how}: {fault}"))?;
    }
    nothing_left(&mut sandbox).await?;
    if !twin.is_empty() {
        let mut sandbox = stage.sandbox();
        for cut in [Cut::Whole, Cut::Bytes] {
            let mut stream = sandbox.tcp("api.example.com").await;
            wire::send(&mut stream, twin, cut).await;
            let first = tokio::io::AsyncReadExt::read_u8(&mut stream).await.map_err(|_| "twin: closed")?;
            if first != 22 {
                return Err(format!("twin: no hello of the server, but record {first}"));
            }
        }
        sandbox.close().await;
    }
    Ok(agreed.0.unwrap_or_default())
}

/// What the proxy says to a hello it does not like. A hello of its own would be a record of another type.
fn alert(raw: &[u8]) -> Seen {
    match raw {
        [] => Seen::Closed,
        [21, _, _, 0, 2, _, code] => Seen::Alert(*code),
        _ => Seen::Answer { status: u16::from(raw[0]), code: None, closes: true },
    }
}
