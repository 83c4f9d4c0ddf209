//! The whole table, tried.

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::report::{self, Line};
use crate::row::{Attempt, Row};
use crate::run::run;
use crate::stage::Stage;

mod answers;
mod connect;
mod credentials;
mod dns;
mod framing;
mod guards;
mod hello;
mod http2;
mod lifecycle;
mod names;
mod paths;
mod websocket;

type Group = (&'static str, fn() -> Vec<Row>);

/// Each with a proxy of its own, as many at a time as there are processors; what takes longest comes first.
const GROUPS: &[Group] = &[
    ("credentials", credentials::rows),
    ("framing", framing::rows),
    ("names", names::rows),
    ("http2", http2::rows),
    ("paths", paths::rows),
    ("websocket", websocket::rows),
    ("hello", hello::rows),
    ("connect", connect::rows),
    ("answers", answers::rows),
    ("dns", dns::rows),
    ("lifecycle", lifecycle::rows),
    ("guards", guards::rows),
];

#[test]
fn every_row_of_the_table_is_answered_as_it_must_be() {
    let only = std::env::var(ONLY).unwrap_or_default();
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let work = || {
        let groups = std::iter::from_fn(|| GROUPS.get(next.fetch_add(1, Ordering::Relaxed)));
        groups.flat_map(|(name, rows)| try_group(name, rows(), &only)).collect::<Vec<_>>()
    };
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    println!("{} rows in {:?}, {} lines of log searched", results.len(), started.elapsed(), crate::log::searched());
    let faults: Vec<_> = results.iter().filter_map(|result| result.as_ref().err().cloned()).collect();
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), results.len(), faults.join("\n"));
    if only.is_empty() {
        report::check(results.into_iter().map(Result::unwrap).collect());
    }
}

/// Names the rows to try, for the one who works on them: `EGRESS_ROWS=112,113 cargo test ...`.
const ONLY: &str = "EGRESS_ROWS";

/// Longer than any row takes on a machine that does much else.
const LONGEST: Duration = Duration::from_secs(600);

fn try_group(name: &str, rows: Vec<Row>, only: &str) -> Vec<Result<Line, String>> {
    let wanted = |row: &Row| {
        let number = row.id.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
        only.is_empty() || only.split(',').any(|id| id == row.id || id == number || id == name)
    };
    let rows: Vec<_> = rows.into_iter().filter(wanted).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let count = rows.len();
    let results = local.block_on(&runtime, async {
        let stage = Rc::new(Stage::new().await);
        let mut results = Vec::new();
        for row in rows {
            stage.upstream.start_over();
            let began = Instant::now();
            let (id, what, way) = (row.id.clone(), row.what.clone(), way(&row.attempt));
            let trying = Rc::clone(&stage);
            // A task, so that a panic is this row's alone.
            let task = tokio::task::spawn_local(async move { run(&trying, &row).await });
            let abort = task.abort_handle();
            let outcome = match tokio::time::timeout(LONGEST, task).await {
                Ok(outcome) => outcome.unwrap_or_else(|error| Err(said(error.into_panic()))),
                Err(_) => Err("it did not end".to_owned()),
            };
            abort.abort();
            if began.elapsed().as_secs() >= 2 {
                println!("row {id} took {:?}", began.elapsed());
            }
            results.push(match outcome {
                Ok(seen) => Ok(Line { id, what, way, seen }),
                Err(fault) => Err(format!("row {id}: {what}: {fault}")),
            });
        }
        results
    });
    println!("{name}: {count} rows in {:?}", started.elapsed());
    results
}

fn way(attempt: &Attempt) -> &'static str {
    match attempt {
        Attempt::Bytes { doors, .. } => match doors {
            [one] => one.name(),
            _ => "clear text, TLS",
        },
        Attempt::Ask { .. } => "HTTP/1.1, HTTP/2",
        Attempt::Frames { .. } => "HTTP/2 frames",
        Attempt::Hello { .. } => "handshake",
        Attempt::Scene(_) => "a course of events",
    }
}

fn said(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
