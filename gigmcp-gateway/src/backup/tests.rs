//! On databases of both kinds.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::*;
use crate::{
    spec::{Owner, ServerName, ServerSpec},
    store::{AuditRow, Before, Moment, SecretKey, SecretRow, Store, TestDatabase, on_both},
};

pub(crate) fn backup_of(test: &TestDatabase) -> Vec<u8> {
    let mut bytes = Vec::new();
    let failed = |source| BackupError::Write { path: PathBuf::new(), source };
    beside(|| write(&Moment::of(&test.database)?, &executables_of(test), &mut bytes, failed)).expect("it can be read");
    bytes
}

fn executables_of(test: &TestDatabase) -> PathBuf {
    test.directory.path().join("executables")
}

pub(crate) async fn restore(bytes: &[u8], test: &TestDatabase, before: Before) -> Result<Store, BackupError> {
    let read = beside(|| read(bytes, "backup".as_ref(), &executables_of(test)))?;
    let store = test.open();
    store.restore(read.database, before, AuditRow::default(), || {}).await?;
    read.executables.keep()?;
    Ok(store)
}

fn server(number: usize) -> ServerName {
    format!("s{number}").parse().expect("a server name")
}

fn spec() -> ServerSpec {
    ServerSpec::from_json(
        r#"{"source":"host_tools","command":["x"],"env":{},"allow":[],"allow_read":[],"secrets":[],"read_only":[]}"#,
    )
    .expect("a specification")
}

fn row(number: usize) -> AuditRow {
    AuditRow { subject: number.to_string(), ..crate::trail::testing::row("GET api.example.com:443/") }
}

async fn add(store: &Store, number: usize) -> Result<(), StoreError> {
    store.add_server(server(number), spec(), Vec::new()).await?;
    let slug = format!("p{number}").parse().expect("a profile name");
    store.create_profile(slug, Owner::local(), vec![server(number)], format!("hash {number}")).await?;
    store.add_audit(row(number)).await
}

async fn put_secret(store: &Store, number: usize) -> Result<(), StoreError> {
    let key = SecretKey { owner: Owner::local(), server: server(number), name: "API_KEY".parse().expect("a name") };
    let version = store.secret(key.clone()).await?.map_or(3, |row| row.version + 1);
    let (policy, sealed) = ("api.example.com".to_owned(), vec![0, 255, 10, 13, 34]);
    store.put_for_test(SecretRow { key, version, policy, created_at: 7, sealed }).await
}

/// The lines of a backup that tell what is in it, in an order of their own.
fn content(backup: &[u8]) -> Vec<String> {
    let text = String::from_utf8(backup.to_vec()).expect("text");
    let (mut table, mut lines) = (String::new(), Vec::new());
    for line in text.lines().skip(1) {
        if line.starts_with(r#"{"table""#) {
            line.clone_into(&mut table);
        } else if line.starts_with(r#"{"sequence""#) {
            table.clear();
        }
        // Where the program gives the ids, only one kind of database remembers the last one.
        if !line.starts_with(format::END) && !line.contains(r#"{"sequence":{"table":"audit""#) {
            lines.push(format!("{table}{line}"));
        }
    }
    lines.sort();
    lines
}

fn revisions(backup: &[u8]) -> Vec<i64> {
    let text = String::from_utf8(backup.to_vec()).expect("text");
    let rows = text.lines().skip_while(|line| !line.contains(r#""name":"policies""#)).skip(1);
    let rows = rows.take_while(|line| line.starts_with(r#"{"row""#));
    rows.map(|row| serde_json::from_str::<serde_json::Value>(row).expect("JSON")["row"][0].as_i64().expect("an id"))
        .collect()
}

#[tokio::test]
async fn everything_comes_back_on_either_kind_and_no_id_is_given_again() {
    for from in [TestDatabase::sqlite as fn() -> TestDatabase, TestDatabase::postgres] {
        for to in [TestDatabase::sqlite as fn() -> TestDatabase, TestDatabase::postgres] {
            let (from, to) = (from(), to());
            let store = from.open();
            for number in 0..250 {
                add(&store, number).await.expect("it is new");
            }
            put_secret(&store, 7).await.expect("there is that server");
            store.add_server(server(999), spec(), Vec::new()).await.expect("it is new");
            store.remove_server(server(999), None, AuditRow::default()).await.expect("it was added");
            let backup = backup_of(&from);
            let restored = restore(&backup, &to, Before::Nothing).await.expect("it is empty");
            let (there, here) = (content(&backup_of(&to)), content(&backup));
            let different: Vec<_> = there.iter().zip(&here).find(|(one, other)| one != other).into_iter().collect();
            assert!(there.len() == here.len() && different.is_empty(), "{different:?}");
            let opened = restored.token_owner("hash 17".to_owned()).await.expect("an answer").expect("a token");
            assert_eq!(opened.profile.servers.len(), 1);

            let given = revisions(&backup);
            add(&restored, 1000).await.expect("it takes what is new");
            let after = revisions(&backup_of(&to));
            let new: Vec<_> = after.iter().filter(|id| !given.contains(id)).collect();
            assert!(new.len() == 1 && given.iter().all(|id| id < new[0]), "{new:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_one_moment() {
    on_both(async |test| {
        let store = test.open();
        let stop = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn({
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            async move {
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    match number < 400 {
                        true => add(&store, number).await.expect("it is new"),
                        // Enough to read; the load goes on.
                        false => put_secret(&store, number % 400).await.expect("there is that server"),
                    }
                    number += 1;
                }
                number
            }
        });
        let mut sizes = Vec::new();
        for _ in 0..20 {
            let bytes = backup_of(&test);
            let copy = TestDatabase::sqlite();
            let restored = restore(&bytes, &copy, Before::Nothing).await.expect("it is empty");
            let servers = restored.servers().await.expect("an answer");
            let profiles = restored.profiles().await.expect("an answer");
            let rows = restored.audit_tail(100_000).await.expect("an answer");
            let (servers, in_use, rows) =
                (servers.len(), profiles.iter().filter(|it| it.servers.len() == 1).count(), rows.len());
            // One after the other they were written, and nothing that came later is there without what came before.
            assert_eq!(profiles.len(), in_use, "a profile without its server");
            let moment = format!("{servers} servers, {in_use} profiles, {rows} audit rows");
            assert!(in_use <= servers && servers <= in_use + 1 && servers <= rows + 1, "{moment}");
            assert!(rows <= in_use, "{moment}");
            sizes.push(servers);
        }
        stop.store(true, Ordering::SeqCst);
        let written = writing.await.expect("no panic");
        assert!(
            sizes.is_sorted() && sizes.last() > sizes.first() && *sizes.last().expect("some") <= written,
            "{sizes:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_changes_nothing() {
    let (from, to) = (TestDatabase::sqlite(), TestDatabase::sqlite());
    let store = from.open();
    for number in 0..3 {
        add(&store, number).await.expect("it is new");
    }
    put_secret(&store, 1).await.expect("there is that server");
    let good = backup_of(&from);
    let executables = executables_of(&to);
    let refused = |what: &str, bytes: &[u8]| {
        let refused = read(bytes, "backup".as_ref(), &executables).err();
        assert!(refused.is_some(), "{what}");
        assert!(!matches!(refused, Some(BackupError::Store(_))), "{what}: {refused:?}");
    };
    read(&*good, "backup".as_ref(), &executables).expect("twin: as it was written");
    let step = good.len() / 300 + 1;
    for at in (0..good.len()).step_by(step).chain([good.len() - 1, good.len() - 2, good.len() - 10]) {
        for bit in [0, 5, 7] {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            refused(&format!("bit {bit} of byte {at}"), &bytes);
        }
    }
    for length in (0..good.len()).step_by(step).chain([good.len() - 1]) {
        refused(&format!("only {length} bytes"), &good[..length]);
    }
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(at);
        refused(&format!("without line {at}"), &without.concat());
        let mut twice = lines.clone();
        twice.insert(at, lines[at]);
        refused(&format!("line {at} twice"), &twice.concat());
    }
    refused("another one after it", &[&good[..], &good[..]].concat());
    assert!(!executables.exists(), "nothing was staged");
}

/// With the right sum, as somebody would write it who knows the format.
fn forged(backup: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let text = String::from_utf8(backup.to_vec()).expect("text");
    let body = change(&text[..text.find(format::END).expect("an end")]);
    [body.as_bytes(), format::end(&Sha256::digest(body.as_bytes())).as_bytes()].concat()
}

#[tokio::test]
async fn what_this_version_does_not_know_is_refused() {
    let (from, to) = (TestDatabase::sqlite(), TestDatabase::sqlite());
    add(&from.open(), 0).await.expect("it is new");
    let good = backup_of(&from);
    let same = |text: &str| text.to_owned();
    let twin = read(&*forged(&good, same), "backup".as_ref(), &executables_of(&to));
    twin.expect("twin: written by somebody else, but the same");
    let read = |change: &dyn Fn(&str) -> String| {
        let refused = read(&*forged(&good, change), "backup".as_ref(), &executables_of(&to)).err();
        refused.expect("it is another one")
    };
    let newer = read(&|text| text.replacen(r#""format":1"#, r#""format":2"#, 1));
    assert!(matches!(newer, BackupError::Newer { .. }), "{newer}");
    let newer = read(&|text| text.replacen(r#""schema":"#, r#""schema":9"#, 1));
    assert!(matches!(newer, BackupError::Newer { .. }), "{newer}");
    for (case, from, to) in [
        ("a column that there is not", r#""slug""#, r#""slog""#),
        ("a name that is SQL", r#""name":"servers""#, r#""name":"servers\"; DROP TABLE users; --""#),
        ("a profile of nobody", r#""p0","local""#, r#""p0","nobody""#),
        ("a row with a value too many", r#""p0","local""#, r#""p0","local",1"#),
    ] {
        let unlike = read(&|text| {
            assert!(text.contains(from), "{case}: {text}");
            text.replacen(from, to, 1)
        });
        assert!(matches!(unlike, BackupError::Unlike { .. }), "{case}: {unlike}");
    }
    let damaged =
        read(&|text| format!("{text}{{\"executable\":{{\"sha256\":\"../x\",\"part\":{{\"base64\":\"\"}}}}}}\n"));
    assert!(matches!(damaged, BackupError::Damaged { .. }), "{damaged}");
}

#[tokio::test]
async fn only_an_empty_database_is_filled_unless_it_is_to_be_replaced() {
    on_both(async |test| {
        let other = TestDatabase::sqlite();
        add(&other.open(), 0).await.expect("it is new");
        let backup = backup_of(&other);
        let store = test.open();
        for number in 1..5 {
            add(&store, number).await.expect("it is new");
        }
        let given = revisions(&backup_of(&test));
        let refused = restore(&backup, &test, Before::Nothing).await.err();
        let told = refused.map(|error| error.to_string()).expect("it is not empty");
        assert!(told.contains("servers 4") && told.contains("--replace") && !told.contains("users"), "{told}");
        assert_eq!(store.servers().await.expect("an answer").len(), 4, "and left alone");

        restore(&backup, &test, Before::Replaced).await.expect("twin: it is said");
        let names: Vec<_> = store.servers().await.expect("an answer").into_iter().map(|server| server.name).collect();
        assert_eq!(names, [server(0)], "whoever has it open sees it");
        add(&store, 5).await.expect("it is new");
        let last = revisions(&backup_of(&test)).into_iter().max();
        assert!(last > given.into_iter().max(), "what it has given, it does not give again");
    })
    .await;
}

#[tokio::test]
async fn there_is_no_backup_of_nothing() {
    let test = TestDatabase::sqlite();
    let absent = beside(|| Moment::of(&test.database)).err().expect("there is none");
    assert!(matches!(absent, StoreError::Absent { .. }), "{absent}");
    let crate::store::Database::Sqlite(path) = &test.database else { unreachable!("it is") };
    assert!(!path.exists(), "and none was made");
    let test = TestDatabase::postgres();
    let absent = beside(|| Moment::of(&test.database)).err().expect("it is empty");
    assert!(matches!(absent, StoreError::Absent { .. }), "{absent}");
    drop(test.open());
    beside(|| Moment::of(&test.database).map(drop)).expect("twin: now there is one");
}

#[tokio::test]
async fn what_somebody_else_put_beside_our_tables_is_left_out() {
    on_both(async |test| {
        let store = test.open();
        add(&store, 1).await.expect("a new server");
        let before = content(&backup_of(&test));
        test.sql("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO notes VALUES (1, 'mine')");
        let backup = backup_of(&test);
        assert_eq!(content(&backup), before);
        let new = TestDatabase::sqlite();
        restore(&backup, &new, Before::Nothing).await.expect("it can be put back");
        test.sql("ALTER TABLE servers ADD COLUMN note TEXT");
        let refused = beside(|| Moment::of(&test.database)?.records(|_| Ok::<_, BackupError>(())));
        assert!(matches!(refused, Err(BackupError::Store(StoreError::Unlike { .. }))), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn what_could_not_be_restored_is_not_backed_up() {
    let test = TestDatabase::sqlite();
    let store = test.open();
    add(&store, 1).await.expect("a new server");
    let records = || Moment::of(&test.database).and_then(|moment| moment.records(|_| Ok(())));
    records().expect("twin: before");
    test.sql("PRAGMA foreign_keys = off; INSERT INTO tokens (hash, profile_id, created_at) VALUES ('hash', 99, 1)");
    let refused = records();
    assert!(matches!(&refused, Err(StoreError::Dangling { table }) if table == "tokens"), "{refused:?}");
}

#[tokio::test]
async fn what_was_restored_tells_so_itself() {
    for kind in [TestDatabase::sqlite as fn() -> TestDatabase, TestDatabase::postgres] {
        let test = kind();
        add(&test.open(), 1).await.expect("it is new");
        let backup = backup_of(&test);
        for (before, expected) in [(Before::Nothing, false), (Before::Replaced, true)] {
            let to = kind();
            let store = to.open();
            if before == Before::Replaced {
                add(&store, 2).await.expect("it is new");
            }
            let ended = store.audit_tail(1).await.expect("an answer").pop().and_then(|row| row.link());
            let read = beside(|| read(&backup[..], "backup".as_ref(), &executables_of(&to))).expect("it is whole");
            let told = AuditRow { kind: "backup".to_owned(), subject: "restores".to_owned(), ..row(3) };
            let rows = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let seen = Arc::clone(&rows);
            let seen = move || {
                seen.fetch_add(1, Ordering::Relaxed);
            };
            store.restore(read.database, before, told, seen).await.expect("it can be put back");
            let trail = store.audit_tail(9).await.expect("an answer");
            let last = trail.last().expect("there is one");
            assert_eq!((last.row.kind.as_str(), trail.len()), ("backup", 2), "after what was in the backup");
            let replaced = ended.map(|ended| format!("; it replaces {ended}")).unwrap_or_default();
            assert_eq!((last.row.subject.clone(), expected), (format!("restores{replaced}"), ended.is_some()));
            assert!(rows.load(Ordering::Relaxed) > 3, "each row is heard of");
        }
    }
}

#[tokio::test]
async fn a_session_by_a_provider_does_not_come_back() {
    let (test, to) = (TestDatabase::sqlite(), TestDatabase::sqlite());
    let store = test.open();
    for hash in ["by provider", "by password"] {
        let session =
            format!("INSERT INTO sessions VALUES ('{hash}', 'local', 1, 9999999999, 9999999999, '', '', NULL, NULL)");
        store.meddle(&session).await;
    }
    let of = "INSERT INTO provider_sessions VALUES ('by provider', 'https://id.example', 'ann', NULL, X'00', 1, 1)";
    store.meddle(of).await;
    let restored = restore(&backup_of(&test), &to, Before::Nothing).await.expect("it is empty");
    for (hash, holds) in [("by provider", false), ("by password", true)] {
        let found = restored.session(hash.to_owned(), 9999).await.expect("an answer");
        assert_eq!(found.is_some(), holds, "{hash}");
    }
}
