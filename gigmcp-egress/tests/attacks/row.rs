//! What a row of the table is.

use std::pin::Pin;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::stage::Stage;

/// One thing that is tried.
pub(crate) struct Row {
    /// The number in the table of attacks, with a letter where it has several ways: `013b`. `G5` is a guard against
    /// over-blocking.
    pub(crate) id: String,
    pub(crate) what: String,
    /// What has to come of it.
    pub(crate) right: Right,
    /// Whether the upstream may be dialled and the credential be read: the attack is the upstream's.
    pub(crate) may_touch: bool,
    pub(crate) attempt: Attempt,
}

/// The answer that is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Right {
    /// This status; the connection may stay.
    Status(u16),
    /// This status, and the connection is closed.
    Close(u16),
    /// One of these; the connection may stay.
    Either(u16, u16),
    /// One of these, and the connection is closed.
    CloseEither(u16, u16),
    /// On HTTP/2: the stream is reset or answered with 400. On HTTP/1.1: 400, and the connection is closed.
    Malformed,
    /// The stream is reset, for this reason.
    Reset(u32),
    /// The connection is ended, for this reason.
    GoAway(u32),
    /// An alert of TLS and the end, with no HTTP spoken.
    Alert,
    /// The end, without a byte.
    Drop,
    /// The stream or the connection is ended, whatever reason is given: the library does not tell them all apart.
    Ended,
    /// It succeeds.
    Ok,
    /// What a [`Scene`] says in these words.
    Said(&'static str),
}

/// How it is tried.
pub(crate) enum Attempt {
    /// Bytes of HTTP/1.1 through these doors. `{H}` is the host that the door leads to, `{P}` the placeholder.
    Bytes { doors: &'static [Door], attack: Vec<u8>, twin: Vec<u8> },
    /// One request, spelled by HTTP/1.1 and by HTTP/2.
    Ask { host: &'static str, attack: Ask, twin: Ask },
    /// Frames of HTTP/2 on one connection, behind the preface and the settings.
    Frames { attack: Vec<u8>, twin: Vec<u8> },
    /// Bytes on port 443, instead of a handshake that a library would make.
    Hello { attack: Vec<u8>, twin: Vec<u8> },
    /// A course of events of its own, which checks by itself what it can and says what it saw.
    Scene(Scene),
}

pub(crate) type Scene = Box<dyn Fn(Rc<Stage>) -> Pin<Box<dyn Future<Output = String>>>>;

/// Where bytes come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    /// TLS on the transparent port, to this host.
    Tls(&'static str),
    /// Clear text on the transparent port, to this host.
    Clear(&'static str),
    /// The proxy port.
    Proxy,
    /// TLS through a `CONNECT`, to this host.
    Tunnel(&'static str),
    /// The transparent TLS port, without TLS.
    Bare(&'static str),
}

impl Door {
    pub(crate) fn host(self) -> &'static str {
        match self {
            Self::Tls(host) | Self::Clear(host) | Self::Tunnel(host) | Self::Bare(host) => host,
            Self::Proxy => "plain.example.com",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tls(_) => "TLS",
            Self::Clear(_) => "clear text",
            Self::Proxy => "proxy port",
            Self::Tunnel(_) => "tunnel",
            Self::Bare(_) => "TLS port",
        }
    }
}

/// A request, not yet spelled. `{P}` is the placeholder.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) authority: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Ask {
    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new("POST", target) }
    }

    pub(crate) fn new(method: &str, target: &str) -> Self {
        let (method, target, authority) = (method.to_owned(), target.to_owned(), "{H}".to_owned());
        Self { method, target, authority, headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn authority(mut self, authority: &str) -> Self {
        self.authority = authority.to_owned();
        self
    }

    /// As HTTP/1.1 has it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.authority);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            head.push_str("Content-Length: {L}\r\n");
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// Fills in what is only known when a sandbox is there. Beside `{P}` there are its spellings, and its halves.
pub(crate) fn fill(bytes: &[u8], host: &str, placeholder: &str) -> Vec<u8> {
    let mut filled = replace(bytes, b"{H}", host.as_bytes());
    if filled.windows(2).any(|window| window == b"{P") {
        for (token, text) in spellings(placeholder) {
            filled = replace(&filled, token.as_bytes(), text.as_bytes());
        }
    }
    let body = filled.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| filled.len() - at - 4);
    replace(&filled, b"{L}", body.to_string().as_bytes())
}

fn spellings(placeholder: &str) -> Vec<(&'static str, String)> {
    let each = |spell: fn(u8) -> String| placeholder.bytes().map(spell).collect::<String>();
    let (first, second) = placeholder.split_at(placeholder.len() / 2);
    let mut escaped = format!("%{:02X}", placeholder.as_bytes()[9]);
    escaped.insert_str(0, &placeholder[..9]);
    escaped.push_str(&placeholder[10..]);
    vec![
        ("{P}", placeholder.to_owned()),
        ("{P:first}", first.to_owned()),
        ("{P:second}", second.to_owned()),
        ("{P:base64}", STANDARD.encode(placeholder)),
        ("{P:base64+1}", STANDARD.encode(format!("x{placeholder}"))),
        ("{P:base64+2}", STANDARD.encode(format!("xy{placeholder}"))),
        ("{P:url64}", URL_SAFE_NO_PAD.encode(format!("x{placeholder}"))),
        ("{P:user64}", STANDARD.encode(format!("{placeholder}:"))),
        ("{P:password64}", STANDARD.encode(format!("me:{placeholder}"))),
        ("{P:hex}", each(|byte| format!("{byte:02x}"))),
        ("{P:HEX}", each(|byte| format!("{byte:02X}"))),
        ("{P:percent}", each(|byte| format!("%{byte:02X}"))),
        ("{P:percent-one}", escaped),
        ("{P:json}", each(|byte| format!("\\u{byte:04x}"))),
        ("{P:html}", each(|byte| format!("&#{byte};"))),
        ("{P:upper}", placeholder.to_uppercase()),
        ("{P:chunks}", format!("{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len())),
    ]
}

fn replace(bytes: &[u8], token: &[u8], with: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(token) {
            replaced.extend_from_slice(with);
            at += token.len();
        } else {
            replaced.push(bytes[at]);
            at += 1;
        }
    }
    replaced
}

impl Row {
    /// The attack is the upstream's, so it may be dialled.
    pub(crate) fn may_touch(mut self) -> Self {
        self.may_touch = true;
        self
    }
}

fn row(id: &str, what: impl Into<String>, right: Right, attempt: Attempt) -> Row {
    Row { id: id.to_owned(), what: what.into(), right, may_touch: false, attempt }
}

/// How every host takes HTTP/1.1: the cuts are all tried in clear text, and some over TLS.
const ANYWHERE: &[Door] = &[Door::Clear("plain.example.com"), Door::Tls("b.example.com")];

/// Bytes of HTTP/1.1 that are to be refused wherever they come in.
pub(crate) fn bytes(
    id: &str,
    what: impl Into<String>,
    right: Right,
    attack: impl AsRef<[u8]>,
    twin: impl AsRef<[u8]>,
) -> Row {
    through(ANYWHERE, id, what, right, attack, twin)
}

/// Bytes of HTTP/1.1 through chosen doors.
pub(crate) fn through(
    doors: &'static [Door],
    id: &str,
    what: impl Into<String>,
    right: Right,
    attack: impl AsRef<[u8]>,
    twin: impl AsRef<[u8]>,
) -> Row {
    let (attack, twin) = (attack.as_ref().to_vec(), twin.as_ref().to_vec());
    row(id, what, right, Attempt::Bytes { doors, attack, twin })
}

/// A request to a host, over both versions of HTTP.
pub(crate) fn ask(id: &str, what: impl Into<String>, right: Right, host: &'static str, attack: Ask, twin: Ask) -> Row {
    row(id, what, right, Attempt::Ask { host, attack, twin })
}

/// Frames on a connection of HTTP/2.
pub(crate) fn frames(id: &str, what: impl Into<String>, right: Right, attack: Vec<u8>, twin: Vec<u8>) -> Row {
    row(id, what, right, Attempt::Frames { attack, twin })
}

/// A handshake as bytes.
pub(crate) fn hello(id: &str, what: impl Into<String>, right: Right, attack: Vec<u8>, twin: Vec<u8>) -> Row {
    row(id, what, right, Attempt::Hello { attack, twin })
}

/// A course of events.
pub(crate) fn scene<F: Future<Output = String> + 'static>(
    id: &str,
    what: impl Into<String>,
    said: &'static str,
    run: impl Fn(Rc<Stage>) -> F + 'static,
) -> Row {
    row(id, what, Right::Said(said), Attempt::Scene(Box::new(move |stage| Box::pin(run(stage)))))
}
