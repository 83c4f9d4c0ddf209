//! How an image arrives, on one line of a terminal.

use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use gigmcp_registry::{Digest, Progress, PullEvent};

/// Shows it on standard error, if somebody looks at that.
pub(crate) fn progress() -> Arc<dyn Progress> {
    match std::io::stderr().is_terminal() {
        true => Arc::new(Line::default()),
        false => Arc::new(|_: PullEvent| {}),
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
    let mib = |bytes: u64| ((bytes * 10) >> 20) as f64 / 10.0;
    let bar = format!("{:<width$}", "#".repeat(filled), width = usize::try_from(WIDTH).unwrap_or_default());
    format!("[{bar}] {:.1} of {:.1} MiB", mib(have), mib(all))
}

fn draw(text: &str) {
    // Nothing is left to be done about a closed standard error.
    drop(write!(std::io::stderr().lock(), "\r\x1b[K{text}"));
}

const REDRAW: Duration = Duration::from_millis(100);
const WIDTH: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

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
