//! The way back: what a server says and asks while it works on a call.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::{
    extension::{Extensions, TASKS},
    level::LogLevel,
    message::{Notification, Request, Verdict},
    upstream::BoxFuture,
};

/// Where a call came from, as its server may reach it while the call is under way.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Passes a notification on: progress, a log line. It never waits; a client that does not read loses some.
    fn notify(&self, notification: Notification);

    /// Puts a request of the server to the client and waits for the answer: sampling, elicitation, roots, and what
    /// [extensions](Self::has_extension_of) ask. The id is the server's own, for whoever needs a key that means the same on every
    /// attempt; a client gets another.
    ///
    /// Dropping the future withdraws the request; the client is told so.
    fn ask<'a>(&'a self, request: Request) -> BoxFuture<'a, Verdict>;

    /// Whether there is anybody to be asked; if not, it only tells.
    fn can_be_asked(&self) -> bool {
        true
    }

    /// Whether a request by this method, which is an extension's, can be put to the client: it has declared the extension. By default
    /// it has declared none.
    fn has_extension_of(&self, _method: &str) -> bool {
        false
    }

    /// The same of a request with a progress token: how far its client is, it says there until it has answered. By default it
    /// does not.
    fn ask_following<'a>(&'a self, request: Request, hearing: Hearing) -> BoxFuture<'a, Verdict> {
        drop(hearing);
        self.ask(request)
    }
}

/// Where it is heard how far a client is with what it was asked.
#[derive(Clone, Debug)]
pub struct Hearing(mpsc::Sender<Box<RawValue>>);

impl Hearing {
    /// One, and what is heard.
    #[must_use]
    pub fn open() -> (Self, mpsc::Receiver<Box<RawValue>>) {
        let (sender, heard) = mpsc::channel(MAX_UNHEARD);
        (Self(sender), heard)
    }

    /// Tells the parameters of a progress notification, without a token. It never waits; what there is no room for is lost.
    pub fn tell(&self, progress: Box<RawValue>) {
        // Whoever asked may just have given up.
        let _ = self.0.try_send(progress);
    }
}

/// Of one question.
const MAX_UNHEARD: usize = 16;

/// Tells clients apart for what lasts longer than one call: log levels and subscriptions. No two are the same in one
/// process.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(u64);

impl ClientId {
    /// A new one.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a default would be the same every time")]
    pub fn new() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(1);
        Self(COUNTER.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a server of the newer era is told of a client with every request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientContext {
    /// What the client can be asked for, as it declared it. What it says of extensions is read once: to change it, make a copy.
    pub capabilities: Box<RawValue>,
    /// From which level on it wants log lines; none at all by default.
    pub level: Option<LogLevel>,
    /// Its answers to what the server asked for at an earlier attempt, as written.
    pub responses: Option<Box<RawValue>>,
    /// The server's own state of that attempt, as written.
    pub state: Option<Box<RawValue>>,
    /// How it is asked for input.
    pub asked: Asked,
    /// Whose it is, for what must not reach anybody else (ids of tasks open for their owner only) and for what is counted.
    pub owner: Option<Arc<str>>,
    /// What is read of the capabilities.
    pub(crate) read: Declared,
}

/// What a client has declared of extensions, read once. A copy, which may be given other capabilities, is read anew.
#[derive(Debug, Default)]
pub(crate) struct Declared(OnceLock<Extensions>);

impl Clone for Declared {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// How a client is asked for input by a server that cannot send requests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Asked {
    /// By [`Outcome::InputRequired`](crate::Outcome::InputRequired): it makes the call again, with its answers.
    #[default]
    ByOutcome,
    /// By the call's [`Sink`]: it is of the older era and knows requests only. The call is made again for it.
    BySink,
}

impl ClientContext {
    /// Whether it can follow a task. One of the older era cannot: it knows another kind.
    pub(crate) fn follows_tasks(&self) -> bool {
        self.asked == Asked::ByOutcome && self.extensions().has(TASKS)
    }

    /// What it has declared of extensions.
    pub(crate) fn extensions(&self) -> &Extensions {
        self.read.0.get_or_init(|| Extensions::read(&self.capabilities))
    }

    /// Of a client that has declared these capabilities.
    #[must_use]
    pub fn new(capabilities: Box<RawValue>) -> Self {
        let asked = Asked::ByOutcome;
        Self { capabilities, level: None, responses: None, state: None, asked, owner: None, read: Declared::default() }
    }
}

/// What the clients behind us are said to be able to do, towards one server.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Features {
    /// `sampling/createMessage`. Refused by default: a server could spend its user's tokens.
    pub sampling: Passing,
    /// `elicitation/create`. Refused by default here; a gateway that shows who asks can forward it.
    pub elicitation: Passing,
    /// `roots/list`.
    pub roots: Roots,
    /// What is known of the server from before: that its requests need its calls to go one at a time.
    pub turns: Turns,
}

/// Whether requests of one kind reach clients.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Passing {
    /// They do, if the client can answer them.
    Forward,
    /// The server is told that there are none such.
    #[default]
    Refuse,
}

/// How `roots/list` is answered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Roots {
    /// The server is told that there are none such.
    #[default]
    Refuse,
    /// With these, whoever the client is: a path on a client's disk means nothing inside a sandbox.
    Answer(Vec<Root>),
    /// By the client.
    Forward,
}

/// One directory a server may work in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Root {
    /// A `file:` URI, as the server sees it.
    pub uri: String,
    /// For people.
    pub name: Option<String>,
}

/// How many calls a server gets at a time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Turns {
    /// Any number, until the server makes a request: nothing in one tells to which call it belongs.
    #[default]
    Together,
    /// One, so that a request of the server belongs to it.
    OneByOne,
}

impl Features {
    /// The `capabilities` of an `initialize` request, and of `_meta` in the newer era.
    pub(crate) fn capabilities(&self) -> serde_json::Value {
        let mut declared = serde_json::Map::new();
        match self.roots {
            Roots::Refuse => {}
            Roots::Answer(_) => drop(declared.insert("roots".to_owned(), serde_json::json!({}))),
            Roots::Forward => drop(declared.insert("roots".to_owned(), serde_json::json!({ "listChanged": true }))),
        }
        if self.sampling == Passing::Forward {
            declared.insert("sampling".to_owned(), serde_json::json!({}));
        }
        if self.elicitation == Passing::Forward {
            declared.insert("elicitation".to_owned(), serde_json::json!({ "form": {}, "url": {} }));
        }
        declared.into()
    }

    /// What becomes of a server's request.
    pub(crate) fn treat(&self, method: &str) -> Treatment {
        let passing = match method {
            "ping" => return Treatment::Answer(RawValue::from_string("{}".to_owned()).expect("it is JSON")),
            "sampling/createMessage" => self.sampling,
            "elicitation/create" => self.elicitation,
            "roots/list" => match &self.roots {
                Roots::Refuse => Passing::Refuse,
                Roots::Forward => Passing::Forward,
                Roots::Answer(roots) => return Treatment::Answer(list(roots)),
            },
            _ => Passing::Refuse,
        };
        match passing {
            Passing::Forward => Treatment::Forward,
            Passing::Refuse => Treatment::Refuse,
        }
    }
}

/// What becomes of a server's request.
pub(crate) enum Treatment {
    Answer(Box<RawValue>),
    Forward,
    Refuse,
}

fn list(roots: &[Root]) -> Box<RawValue> {
    let roots = roots.iter().map(|Root { uri, name }| match name {
        Some(name) => serde_json::json!({ "uri": uri, "name": name }),
        None => serde_json::json!({ "uri": uri }),
    });
    let roots: Vec<_> = roots.collect();
    serde_json::value::to_raw_value(&serde_json::json!({ "roots": roots })).expect("strings are JSON")
}
