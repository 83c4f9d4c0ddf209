//! `./dev bench store`: audit rows by the store beside the same rows by bare SQLite, taking turns in one run.

use std::time::{Duration, Instant};

use rusqlite::{Connection as Sqlite, params};

use super::{testing::TestDatabase, *};
use crate::trail::{AuditRow, testing::row};

#[test]
#[ignore = "a measurement"]
fn audit_rows() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        for (name, test) in [("SQLite", TestDatabase::sqlite()), ("PostgreSQL", TestDatabase::postgres())] {
            let store = test.open();
            let mut figures = Figures::default();
            let count = if name == "SQLite" { ROWS } else { ROWS / 10 };
            for round in 0..ROUNDS {
                for askers in ASKERS {
                    figures.add(format!("{name}, {askers} at once"), ours(&store, askers, count, false).await, round);
                    let asked = ours(&store, askers, count, true).await;
                    figures.add(format!("{name}, {askers} at once, each asked for before"), asked, round);
                }
                if name == "SQLite" {
                    for batch in [1, MAX_BATCH, 1000] {
                        figures.add(format!("bare rusqlite, {batch} a transaction"), bare(count, batch), round);
                    }
                }
            }
            figures.print();
        }
    });
}

/// Rows a second, when so many wait for their row before they write the next; each with a line of its own, as sandboxes.
async fn ours(store: &Store, askers: usize, count: usize, asked: bool) -> f64 {
    let clock = Instant::now();
    let tasks = (0..askers).map(|asker| {
        let store = store.in_turn_of(Asker::Instance(gigmcp_egress::Identity::new(format!("tickets-{asker}"))));
        tokio::spawn(async move {
            for _ in 0..count / askers {
                if asked {
                    store.takes_audit().await.expect("it takes rows");
                }
                store.add_audit(sample()).await.expect("it takes rows");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("it does not panic");
    }
    per_second(count, clock.elapsed())
}

/// The same rows without a chain, an id or a word to anybody.
fn bare(count: usize, batch: usize) -> f64 {
    let directory = tempfile::tempdir().expect("a directory");
    let database = Sqlite::open(directory.path().join("bare.db")).expect("a database");
    database.pragma_update(None, "journal_mode", "wal").expect("a setting");
    database.pragma_update(None, "synchronous", "normal").expect("a setting");
    database.execute_batch(BARE).expect("a table");
    let clock = Instant::now();
    for _ in 0..count / batch {
        database.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
        for _ in 0..batch {
            insert(&database, &sample());
        }
        database.execute_batch("COMMIT").expect("it is written");
    }
    per_second(count, clock.elapsed())
}

fn insert(database: &Sqlite, row: &AuditRow) {
    let insert = "INSERT INTO audit VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let row = params![
        row.at_ms,
        row.kind,
        row.owner,
        row.profile,
        row.server,
        row.instance,
        row.subject,
        row.verdict,
        row.status,
        row.credentials,
        row.bytes_up,
        row.bytes_down,
        row.duration_us,
        row.alarm,
        row.policy_version
    ];
    database.prepare_cached(insert).expect("it is SQL").execute(row).expect("it is written");
}

fn sample() -> AuditRow {
    let id = "0123456789abcdef0123456789abcdef".to_owned();
    let subject = "GET api.example.com:443/v1/projects/1234/tickets";
    AuditRow { at_ms: 1_790_000_000_000, calls: Some(id.clone()), request: Some(id), ..row(subject) }
}

fn per_second(count: usize, taken: Duration) -> f64 {
    count as f64 / taken.as_secs_f64()
}

/// What was measured, by name, as often as it was.
#[derive(Default)]
struct Figures(Vec<(String, Vec<f64>)>);

impl Figures {
    fn add(&mut self, name: String, figure: f64, round: usize) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            // The first round warms up.
            Some((_, figures)) if round == 1 => *figures = vec![figure],
            Some((_, figures)) => figures.push(figure),
            None => self.0.push((name, vec![figure])),
        }
    }

    fn print(&mut self) {
        for (name, figures) in &mut self.0 {
            figures.sort_by(f64::total_cmp);
            println!("{name:<55} {:>9.0} rows/s", figures[figures.len() / 2]);
        }
    }
}

const ROWS: usize = 30_000;
const ROUNDS: usize = 6;
/// One sandbox that waits for each row, the connections of one, and of many.
const ASKERS: [usize; 3] = [1, 32, 256];
const BARE: &str =
    "CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, kind TEXT NOT NULL,
    owner TEXT NOT NULL, profile TEXT NOT NULL, server TEXT NOT NULL, instance TEXT NOT NULL, subject TEXT NOT NULL,
    verdict TEXT NOT NULL, status INTEGER, credentials TEXT NOT NULL, bytes_up INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL, duration_us INTEGER NOT NULL, alarm INTEGER NOT NULL, policy_version INTEGER)";
