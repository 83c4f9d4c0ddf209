//! What was acknowledged survives `kill -9`, and nothing is half there.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use super::{testing::on_both, *};
use crate::spec::{Owner, ServerName, ServerSpec};

/// The test below that is the program to be killed.
const PROGRAM: &str = "store::crash_tests::writes_until_it_is_killed";
const DATABASE: &str = "TEST_CRASH_DATABASE";
const ROUND: &str = "TEST_CRASH_ROUND";
const ROUNDS: usize = 20;
/// In each round, if it were not killed.
const WRITES: usize = 1000;
const WRITERS: usize = 8;

#[test]
#[ignore = "the program that is killed by the test below"]
fn writes_until_it_is_killed() {
    let database = env::var(DATABASE).expect("started by the test below");
    let round = env::var(ROUND).expect("started by the test below");
    let database = match database.parse() {
        Ok(address) => Database::Postgres(address),
        Err(_) => Database::Sqlite(database.into()),
    };
    let store = Store::open(&database).expect("it opens");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| runtime.spawn(write(store.clone(), round.clone(), writer))).collect();
    for writer in writers {
        runtime.block_on(writer).expect("it does not panic");
    }
}

/// Four writes for each number.
async fn write(store: Store, round: String, writer: usize) {
    for number in (writer..WRITES / 4).step_by(WRITERS) {
        let name = format!("r{round}n{number}");
        let server: ServerName = name.parse().expect("a server name");
        let spec = r#"{"source":"host_tools","command":["x"],"env":{},"allow":[],"allow_read":[],"secrets":[],"read_only":[]}"#;
        let spec = ServerSpec::from_json(spec).expect("a specification");
        store.add_server(server.clone(), spec, Vec::new()).await.expect("it is new");
        acknowledge("server", &name);
        let (slug, hash) = (name.parse().expect("a profile name"), format!("hash of {name}"));
        store.create_profile(slug, Owner::local(), vec![server.clone()], hash).await.expect("it is new");
        acknowledge("profile", &name);
        let key = SecretKey { owner: Owner::local(), server, name: "API_KEY".parse().expect("a name") };
        let (policy, sealed) = ("api.example.com".to_owned(), name.clone().into_bytes());
        let row = SecretRow { key, version: 1, policy, created_at: 1, sealed };
        store.put_for_test(row).await.expect("it is new");
        acknowledge("secret", &name);
        // That of a call of a tool is told before it is flushed.
        let row = crate::trail::testing::row(&name);
        let (kind, instance) = ("tool".to_owned(), "tools-1".to_owned());
        let tool = AuditRow { kind, instance, credentials: String::new(), ..row.clone() };
        store.add_audit(if number % 2 == 0 { row } else { tool }).await.expect("it takes rows");
        acknowledge("audit", &name);
    }
}

fn acknowledge(what: &str, name: &str) {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "ACK {what} {name}").and_then(|()| stdout.flush()).expect("somebody listens");
}

/// Starts the program and kills it after that many acknowledgements. Gives all that it has printed.
fn killed_after(database: &str, round: usize, acknowledgements: usize) -> Vec<(String, String)> {
    let mut child = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", PROGRAM, "--ignored", "--nocapture", "--test-threads=1"])
        .env(DATABASE, database)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("this program");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map(|line| line.expect("text"));
    let acknowledged = |line: String| {
        let mut words = line.strip_prefix("ACK ")?.split(' ').map(str::to_owned);
        Some((words.next()?, words.next()?))
    };
    let mut all: Vec<_> = lines.by_ref().filter_map(acknowledged).take(acknowledgements).collect();
    assert_eq!(all.len(), acknowledgements, "it wrote too little");
    child.kill().expect("it runs");
    // What was printed before it died counts too; the last line may be half of one.
    all.extend(lines.filter_map(acknowledged));
    child.wait().expect("it was killed");
    all
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_and_nothing_is_half_there() {
    on_both(async |test| {
        let database = test.name_for_programs();
        let mut expected: Vec<(String, String)> = Vec::new();
        for round in 0..ROUNDS {
            // From the first write of all to nearly the last one.
            expected.extend(killed_after(&database, round, 1 + round * (WRITES - 100) / ROUNDS));
            let store = test.open();
            let all = all_of(&store).await;
            for (what, name) in &expected {
                assert!(all.contains(&format!("{what} {name}")), "round {round}: {what} {name} was acknowledged");
            }
            for (what, query) in HALF {
                let found = store.read(|connection| connection.ask(query, |row| Ok(row.get::<i64>(0)?))).await;
                assert_eq!(found.expect("an answer"), [0], "round {round}: {what}");
            }
            if let Database::Sqlite(_) = &test.database {
                let check =
                    store.read(|connection| connection.ask("PRAGMA integrity_check", |row| Ok(row.get::<String>(0)?)));
                assert_eq!(check.await.expect("an answer"), ["ok"], "round {round}");
            }
        }
    })
    .await;
}

async fn all_of(store: &Store) -> std::collections::HashSet<String> {
    let query = "SELECT 'server ' || name FROM servers UNION ALL SELECT 'profile ' || slug FROM profiles
        UNION ALL SELECT 'secret ' || server FROM secrets UNION ALL SELECT 'audit ' || subject FROM audit";
    let all = store.read(move |connection| connection.ask(query, |row| Ok(row.get::<String>(0)?))).await;
    all.expect("an answer").into_iter().collect()
}

/// Things of which there must be none.
const HALF: [(&str, &str); 6] = [
    (
        "a secret of which the ledger does not tell",
        "SELECT (SELECT count(*) FROM secrets) - coalesce((SELECT counter FROM secret_ledger), 0)",
    ),
    (
        "a server without its policy",
        "SELECT count(*) FROM servers WHERE revision NOT IN (SELECT revision FROM policies)",
    ),
    ("a policy without its server", "SELECT count(*) FROM policies WHERE server NOT IN (SELECT name FROM servers)"),
    ("a profile without its token", "SELECT count(*) FROM profiles WHERE id NOT IN (SELECT profile_id FROM tokens)"),
    (
        "a profile without its server",
        "SELECT count(*) FROM profiles WHERE id NOT IN (SELECT profile_id FROM profile_servers)",
    ),
    ("a secret of no server", "SELECT count(*) FROM secrets WHERE server NOT IN (SELECT name FROM servers)"),
];
