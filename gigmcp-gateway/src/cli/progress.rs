//! How far long work has come, on one line of a terminal.

use std::{
    collections::HashMap,
    io::{self, IsTerminal, Read, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use gigmcp_registry::{Digest, Progress, PullEvent};

/// Shows it on standard error, if somebody looks at that.
pub(crate) fn progress() -> Arc<dyn Progress> {
    match io::stderr().is_terminal() {
        true => Arc::new(Line::default()),
        false => Arc::new(|_: PullEvent| {}),
    }
}

/// Says what is waited for, and for how long already, until it is dropped.
pub(super) struct Waiting(Option<tokio::task::JoinHandle<()>>);

impl Waiting {
    pub(super) fn begin(what: &'static str) -> Self {
        let task = io::stderr().is_terminal().then(|| {
            tokio::spawn(async move {
                let (begun, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_secs(1)));
                loop {
                    ticks.tick().await;
                    draw(&format!("{what} ({} s)", begun.elapsed().as_secs()));
                }
            })
        });
        Self(task)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
            draw("");
        }
    }
}

/// Counts what was done, until it is dropped.
pub(crate) struct Count {
    what: &'static str,
    done: u64,
    is_shown: bool,
    drawn: Option<Instant>,
}

impl Count {
    /// Of rows, of which a few lines are printed in the end.
    pub(crate) fn of_rows() -> Self {
        Self::new("rows", io::stderr().is_terminal())
    }

    /// Of bytes that are written where somebody may be looking already.
    pub(crate) fn of_bytes() -> Self {
        Self::new("bytes", io::stderr().is_terminal() && !io::stdout().is_terminal())
    }

    /// Of bytes of a file.
    pub(crate) fn of_file() -> Self {
        Self::new("bytes", io::stderr().is_terminal())
    }

    fn new(what: &'static str, is_shown: bool) -> Self {
        Self { what, done: 0, is_shown, drawn: None }
    }

    pub(crate) fn add(&mut self, more: u64) {
        self.done = self.done.saturating_add(more);
        if self.is_shown && self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            self.drawn = Some(Instant::now());
            draw(&self.text());
        }
    }

    fn text(&self) -> String {
        match self.what {
            "bytes" => format!("{:.1} MiB", mib(self.done)),
            what => format!("{} {what}", self.done),
        }
    }
}

/// Counts what is written or read through it.
pub(super) struct Counted<T> {
    inner: T,
    count: Count,
}

impl<T> Counted<T> {
    /// What goes to standard output.
    pub(super) fn new(inner: T) -> Self {
        Self { inner, count: Count::of_bytes() }
    }

    /// What goes to a file, or comes from one.
    pub(super) fn file(inner: T) -> Self {
        Self { inner, count: Count::of_file() }
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count.add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.count.add(read as u64);
        Ok(read)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            draw("");
        }
    }
}

#[derive(Default)]
struct Line(Mutex<State>);

#[derive(Default)]
struct State {
    all: u64,
    layers: HashMap<Digest, u64>,
    drawn: Option<Instant>,
}

impl Progress for Line {
    fn event(&self, event: PullEvent) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            PullEvent::Layers { bytes, .. } => state.all = bytes,
            PullEvent::Fetched { digest, bytes, of } => {
                state.layers.insert(digest, bytes);
                let late = state.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
                if late || bytes == of {
                    state.drawn = Some(Instant::now());
                    draw(&bar(state.layers.values().sum(), state.all));
                }
            }
            PullEvent::Unpacking => draw("unpacking"),
            PullEvent::Installed => draw(""),
            _ => {}
        }
    }
}

fn bar(have: u64, all: u64) -> String {
    let part = have.min(all) * WIDTH / all.max(1);
    let filled = usize::try_from(part).unwrap_or_default();
    let bar = format!("{:<width$}", "#".repeat(filled), width = usize::try_from(WIDTH).unwrap_or_default());
    format!("[{bar}] {:.1} of {:.1} MiB", mib(have), mib(all))
}

fn mib(bytes: u64) -> f64 {
    ((bytes * 10) >> 20) as f64 / 10.0
}

fn draw(text: &str) {
    // Nothing is left to be done about a closed standard error.
    drop(write!(io::stderr().lock(), "\r\x1b[K{text}"));
}

const REDRAW: Duration = Duration::from_millis(100);
const WIDTH: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_in_its_unit() {
        let count = |what, done| Count { done, ..Count::new(what, false) }.text();
        assert_eq!(count("bytes", 3 << 19), "1.5 MiB");
        assert_eq!(count("rows", 12_345), "12345 rows");
    }

    #[test]
    fn what_goes_through_is_counted_and_stays_what_it_is() {
        let counted = |inner: &'static [u8]| Counted { inner, count: Count::new("bytes", false) };
        let mut reader = counted(b"0123456789");
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("it is in memory");
        assert_eq!((read.as_str(), reader.count.done), ("0123456789", 10));
        let mut writer = Counted { inner: Vec::new(), count: Count::new("bytes", false) };
        writer.write_all(b"01234").expect("it is in memory");
        assert_eq!((writer.inner.as_slice(), writer.count.done), (&b"01234"[..], 5));
    }

    #[test]
    fn a_bar_is_as_full_as_the_image_is_there() {
        for (have, all, expected) in [
            (0, 3 << 20, "[                              ] 0.0 of 3.0 MiB"),
            (1 << 20, 2 << 20, "[###############               ] 1.0 of 2.0 MiB"),
            (2 << 20, 2 << 20, "[##############################] 2.0 of 2.0 MiB"),
            (5, 0, "[                              ] 0.0 of 0.0 MiB"),
        ] {
            assert_eq!(bar(have, all), expected);
        }
    }
}
