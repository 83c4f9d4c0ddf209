//! Everything that is logged, searched for secrets as it is written.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::secrets;

/// Starts listening, for this whole process.
pub(crate) fn listen() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| tracing::subscriber::set_global_default(Listener).unwrap());
}

/// The same, with all that the library of HTTP/2 says.
pub(crate) fn listen_to_everything() {
    EVERYTHING.store(true, Ordering::Relaxed);
    listen();
}

/// What was logged that held a secret, so far.
pub(crate) fn leaks() -> Vec<String> {
    LEAKS.lock().unwrap().clone()
}

/// Whether the decoy was logged: the proof that a secret would have been seen.
pub(crate) fn decoy_was_seen() -> bool {
    DECOY_SEEN.load(Ordering::Relaxed)
}

/// How many lines were searched: the proof that something was.
pub(crate) fn searched() -> u64 {
    LINES.load(Ordering::Relaxed)
}

static LEAKS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static EVERYTHING: AtomicBool = AtomicBool::new(false);
static DECOY_SEEN: AtomicBool = AtomicBool::new(false);
static LINES: AtomicU64 = AtomicU64::new(0);

/// Takes all that an operator could have logged: our own events in full detail, those of libraries as far as `debug`.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let quiet = metadata.target().starts_with("h2") && !EVERYTHING.load(Ordering::Relaxed);
        let most = if quiet { Level::INFO } else { Level::DEBUG };
        metadata.target().starts_with("gigmcp") || *metadata.level() <= most
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(span.metadata().name().to_owned());
        span.record(&mut line);
        line.search();
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        line.search();
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        line.search();
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Line {
    fn search(self) {
        LINES.fetch_add(1, Ordering::Relaxed);
        DECOY_SEEN.fetch_or(secrets::decoy_in(self.0.as_bytes()), Ordering::Relaxed);
        if secrets::found_in(self.0.as_bytes()).is_some() {
            LEAKS.lock().unwrap().push(self.0);
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut error = Some(value);
        while let Some(shown) = error {
            let _ = write!(self.0, " {field}={shown} {shown:?}");
            error = shown.source();
        }
    }
}
