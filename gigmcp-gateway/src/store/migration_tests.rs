//! From each version's database to this version's, and no way back.

use refinery::{Runner, Target};

use super::{
    postgres, sqlite,
    testing::{TestDatabase, on_both},
    *,
};
use crate::{
    backup::tests::{backup_of, restore},
    spec::Owner,
};

/// What there may be in a database of the first version.
const FIRST: &str = "
    INSERT INTO servers VALUES ('tickets', '{SPEC}', 1700000000, 1700000000);
    INSERT INTO servers VALUES ('notes', '{SPEC}', 1700000000, 1700000001);
    INSERT INTO servers VALUES ('alone', '{SPEC}', 1700000007, 1700000002);
    INSERT INTO profiles (slug, owner, created_at) VALUES ('gone', 'local', 1);
    INSERT INTO profiles (slug, owner, created_at) VALUES ('work', 'local', 2);
    INSERT INTO profiles (slug, owner, created_at) VALUES ('hers', 'somebody', 3);
    DELETE FROM profiles WHERE slug = 'gone';
    INSERT INTO profile_servers SELECT id, 'tickets' FROM profiles WHERE slug = 'work';
    INSERT INTO profile_servers SELECT id, 'notes' FROM profiles WHERE slug = 'work';
    INSERT INTO profile_servers SELECT id, 'notes' FROM profiles WHERE slug = 'hers';
    INSERT INTO tokens SELECT 'hash', id, 4 FROM profiles WHERE slug = 'work';
    INSERT INTO secrets VALUES ('local', 'tickets', 'API_KEY', 3, 'api.example.com', 5, {BYTES});
    INSERT INTO secrets VALUES ('other', 'exec', 'API_KEY', 1, 'api.example.com', 6, {BYTES});
    INSERT INTO audit (at_ms, kind, owner, profile, server, instance, subject, verdict, status, credentials, bytes_up,
        bytes_down, duration_us, alarm)
        VALUES (7, 'request', 'local', 'work', 'tickets', 'tickets-1', 'old', 'refused', NULL, '', 1, 2, 3, 1);
";
const SPEC: &str =
    r#"{"source":"host_tools","command":["x"],"env":{},"allow":[],"allow_read":[],"secrets":[],"read_only":[]}"#;

async fn migrate(test: &TestDatabase, runner: impl Fn(Runner) -> Runner) {
    match &test.database {
        Database::Sqlite(path) => {
            let mut connection = rusqlite::Connection::open(path).expect("a file");
            connection.pragma_update(None, "foreign_keys", true).expect("a setting");
            runner(sqlite::migrations()).run(&mut connection).expect("they are good");
            std::mem::forget(connection); // as `stays_open`
        }
        Database::Postgres(address) => {
            postgres::migrate(address, &runner(postgres::migrations())).await.expect("they are good");
        }
    }
}

fn versions() -> impl Iterator<Item = i32> {
    let last =
        sqlite::migrations().get_migrations().iter().map(refinery::Migration::version).max().expect("there are some");
    let same = postgres::migrations().get_migrations().iter().map(refinery::Migration::version).max();
    assert_eq!(same, Some(last), "the numbers mean the same");
    1..=last
}

#[tokio::test]
async fn a_database_of_any_version_keeps_what_is_in_it() {
    on_both(async |first| {
        let kind = matches!(first.database, Database::Sqlite(_));
        let (make, bytes) = match kind {
            true => (TestDatabase::sqlite as fn() -> TestDatabase, "X'00ff'"),
            false => (TestDatabase::postgres as fn() -> TestDatabase, r"'\x00ff'"),
        };
        for version in versions() {
            let test = make();
            migrate(&test, |runner| runner.set_target(Target::Version(1))).await;
            test.sql(&FIRST.replace("{SPEC}", SPEC).replace("{BYTES}", bytes));
            migrate(&test, |runner| runner.set_target(Target::Version(version))).await;
            // A backup is of the version that is there.
            let backup = backup_of(&test);
            for other in [TestDatabase::sqlite(), TestDatabase::postgres()] {
                let restored = restore(&backup, &other, Before::Nothing).await.expect("it is whole");
                all_is_there(&restored).await;
            }
            all_is_there(&test.open()).await;
        }
    })
    .await;
}

async fn all_is_there(store: &Store) {
    let servers = store.servers().await.expect("they can be read");
    let names: Vec<_> = servers.iter().map(|server| server.name.to_string()).collect();
    assert_eq!(names, ["alone", "notes", "tickets"]);
    let mut revisions: Vec<_> = servers.iter().map(|server| server.revision).collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert!(revisions.len() == 3 && revisions[0] > 1_700_000_007, "no instance of before has rights: {revisions:?}");

    for (slug, owner, expected) in [("work", "local", &["notes", "tickets"][..]), ("hers", "somebody", &["notes"])] {
        let profile = store.profile(slug.parse().expect("a profile name")).await.expect("there is one");
        let members: Vec<_> = profile.servers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((profile.owner.as_str(), &*members), (owner, expected), "{slug}: in use is agreed to");
    }
    let opened = store.token_owner("hash".to_owned()).await.expect("it can be read").expect("there is one");
    assert_eq!(opened.profile.slug.as_str(), "work");

    let secrets = store.secrets().await.expect("they can be read");
    let told: Vec<_> = secrets
        .iter()
        .map(|row| (row.key.owner.as_str(), row.key.server.as_str(), row.version, row.created_at, &*row.sealed))
        .collect();
    assert_eq!(told, [("other", "exec", 1, 6, &[0, 255][..]), ("local", "tickets", 3, 5, &[0, 255])]);
    let rows = store.audit_tail(9).await.expect("they can be read");
    let told: Vec<_> =
        rows.iter().map(|row| &row.row).map(|row| (&*row.subject, row.at_ms, row.alarm, row.policy_version)).collect();
    assert_eq!(told, [("old", 7, true, None)]);

    let slug = "new".parse().expect("a profile name");
    store.create_profile(slug, Owner::local(), Vec::new(), "new".to_owned()).await.expect("it takes what is new");
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    on_both(async |test| {
        drop(test.open());
        drop(test.open()); // twin
        test.sql(
            "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
             VALUES (999, 'later', '2030-01-01T00:00:00Z', '1')",
        );
        let refused = Store::open(&test.database).err().expect("it is newer");
        assert!(matches!(refused, StoreError::Newer { .. }), "{refused}");
        assert!(refused.to_string().contains("newer gigmcp"), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn a_database_of_another_history_is_refused() {
    on_both(async |test| {
        drop(test.open());
        test.sql("UPDATE refinery_schema_history SET checksum = '1' WHERE version = 1");
        let refused = Store::open(&test.database).err().expect("it is another one");
        assert!(matches!(refused, StoreError::Migrate { .. }), "{refused}");
    })
    .await;
}

/// Every column of every table as `table.column null`.
const SQLITE_COLUMNS: &str = "
    SELECT m.name || '.' || c.name || CASE WHEN c.\"notnull\" OR c.pk THEN '' ELSE ' null' END
    FROM sqlite_schema m JOIN pragma_table_info(m.name) c
    WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'refinery_schema_history' ORDER BY 1";
const POSTGRES_COLUMNS: &str = "
    SELECT table_name || '.' || column_name || CASE is_nullable WHEN 'YES' THEN ' null' ELSE '' END
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'refinery_schema_history'
    ORDER BY (table_name || '.' || column_name || CASE is_nullable WHEN 'YES' THEN ' null' ELSE '' END) COLLATE \"C\"";

#[tokio::test]
async fn both_kinds_have_the_same_tables() {
    let (sqlite, postgres) = (TestDatabase::sqlite(), TestDatabase::postgres());
    drop((sqlite.open(), postgres.open()));
    let Database::Sqlite(path) = &sqlite.database else { unreachable!("it is") };
    let connection = rusqlite::Connection::open(path).expect("it is there");
    let mut statement = connection.prepare(SQLITE_COLUMNS).expect("a query");
    let here: Result<Vec<String>, _> = statement.query_map([], |row| row.get(0)).expect("an answer").collect();
    let there = postgres.ask(POSTGRES_COLUMNS);
    assert_eq!(here.expect("text"), there.lines().collect::<Vec<_>>());
    drop(statement);
    std::mem::forget(connection); // as `stays_open`
}
