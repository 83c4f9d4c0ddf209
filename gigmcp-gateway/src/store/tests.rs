//! What holds on both kinds of database.

use std::sync::atomic::{AtomicUsize, Ordering};

use gigmcp_egress::Identity;
use sea_query::{Alias, Query};

use super::{
    testing::{TestDatabase, on_both},
    *,
};
use crate::{
    spec::{Image, Owner, ProfileSlug, ServerName, ServerSpec, Source},
    trail::{AuditRow, Place, PolicySeal},
};

#[tokio::test]
async fn a_change_that_could_not_begin_is_not_made() {
    let test = TestDatabase::sqlite();
    let store = test.open();
    let Database::Sqlite(path) = &test.database else { unreachable!("it is") };
    store
        .write(|connection| match connection {
            Connection::Sqlite(connection) => Ok(connection.busy_timeout(Duration::ZERO).map_err(SqlError::from)?),
            Connection::Postgres(_) => unreachable!("it is not"),
        })
        .await
        .expect("a setting");
    let other = rusqlite::Connection::open(path).expect("another program");
    let made = Arc::new(AtomicBool::new(false));
    let make = || {
        let made = Arc::clone(&made);
        store.write(move |_| {
            made.store(true, Ordering::SeqCst);
            Ok(())
        })
    };
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let refused = make().await;
    assert!(matches!(refused, Err(StoreError::Query(_))) && !made.load(Ordering::SeqCst), "{refused:?}");
    other.execute_batch("ROLLBACK").expect("as it began");
    make().await.expect("twin: nobody else writes");
    assert!(made.load(Ordering::SeqCst));
    std::mem::forget(other); // as `stays_open`
}

/// How many attempts to begin a transaction will fail yet. Each goes on until then.
static TO_FAIL: AtomicUsize = AtomicUsize::new(0);
static BEGUN: AtomicUsize = AtomicUsize::new(0);

/// What SQLite asks while another program keeps its file locked.
fn goes_on(asked: i32) -> bool {
    BEGUN.fetch_add(usize::from(asked == 0), Ordering::SeqCst);
    thread::yield_now();
    TO_FAIL.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err()
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

fn is_late<T: fmt::Debug>(made: Result<T, StoreError>) -> bool {
    matches!(&made, Err(StoreError::Query(error)) if error.is_late())
}

#[tokio::test]
async fn whoever_waits_for_a_lock_is_told_with_the_first_and_what_was_promised_is_tried_once_more() {
    let test = TestDatabase::sqlite();
    let store = test.open();
    let Database::Sqlite(path) = &test.database else { unreachable!("it is") };
    store
        .write(|connection| match connection {
            Connection::Sqlite(connection) => Ok(connection.busy_handler(Some(goes_on)).map_err(SqlError::from)?),
            Connection::Postgres(_) => unreachable!("it is not"),
        })
        .await
        .expect("a setting");
    let other = rusqlite::Connection::open(path).expect("another program");
    for (failing, made) in [(1, true), (2, false)] {
        other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
        let write = |name: &str, promised| {
            let (store, id) = (store.clone(), format!("{name}-{failing}"));
            tokio::spawn(async move {
                let change = move |connection: &Connection| add_user(connection, &id);
                match promised {
                    true => store.write_promised(Flush::WithCommit, change).await,
                    false => store.write(change).await,
                }
            })
        };
        let begun = BEGUN.load(Ordering::SeqCst);
        let first = write("first", false);
        until(|| BEGUN.load(Ordering::SeqCst) > begun).await;
        let (asked, promised) = (write("asked", false), write("promised", true));
        let (done, later) = oneshot::channel();
        let id = format!("later-{failing}");
        store.write_later(move |connection| add_user(connection, &id), |made| drop(done.send(made))).expect("room");
        until(|| store.waiting() == 3).await;
        TO_FAIL.store(failing, Ordering::SeqCst);
        for told in [first, asked] {
            let told = tokio::time::timeout(LONG, told).await.expect("it is not tried by itself");
            assert!(is_late(told.expect("it ran")));
        }
        until(|| TO_FAIL.load(Ordering::SeqCst) == 0).await;
        other.execute_batch("ROLLBACK").expect("as it began");
        for told in [promised.await.expect("it ran"), later.await.expect("it is told")] {
            assert_eq!(told.is_ok(), made, "{failing}: {told:?}");
            assert!(made || is_late(told), "{failing}");
        }
    }
    assert_eq!(users(&store).await, ["later-1", "local", "promised-1"], "nothing is there that was refused");
    std::mem::forget(other); // as `stays_open`
}

#[tokio::test]
async fn whoever_waits_for_another_gateway_is_told_with_the_first() {
    let test = TestDatabase::postgres();
    let (store, other) = (test.open(), test.open());
    let held = other.hold().await;
    let first = async {
        let told = store.write(|connection| add_user(connection, "first")).await;
        drop(held);
        told
    };
    let (first, asked) = tokio::join!(first, store.write(|connection| add_user(connection, "asked")));
    assert!(is_late(first) && is_late(asked));
    store.write(|connection| add_user(connection, "later")).await.expect("twin: it is free again");
    assert_eq!(users(&store).await, ["later", "local"]);
}

#[tokio::test]
async fn a_change_is_made_although_nobody_waits_for_it_any_more() {
    on_both(async |test| {
        let store = test.open();
        let held = store.hold().await;
        let promised = store.write_promised(Flush::WithCommit, |connection| add_user(connection, "promised"));
        assert!(tokio::time::timeout(Duration::ZERO, promised).await.is_err());
        drop(held);
        store.write(|connection| add_user(connection, "later")).await.expect("a new user");
        assert_eq!(users(&store).await, ["later", "local", "promised"]);
    })
    .await;
}

fn server(name: &str) -> ServerName {
    name.parse().expect("a server name")
}

fn spec(program: &str) -> ServerSpec {
    ServerSpec { command: vec![program.to_owned()], ..ServerSpec::new(Source::HostTools) }
}

fn add_user(connection: &Connection, id: &str) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(Alias::new("users"))
        .columns(["id", "issuer", "subject", "display_name", "role", "created_at"].map(Alias::new))
        .values_panic([id.into(), "test".into(), id.into(), id.into(), "user".into(), 1_i64.into()])
        .take();
    Ok(connection.execute(&insert).map(drop)?)
}

async fn users(store: &Store) -> Vec<String> {
    let users = Query::select().column(Alias::new("id")).from(Alias::new("users")).take();
    let users = store.read(move |connection| connection.rows(&users, |row| Ok(row.get::<String>(0)?))).await;
    let mut users = users.expect("they can be read");
    users.sort();
    users
}

fn slug() -> ProfileSlug {
    "work".parse().expect("a profile name")
}

async fn work(store: &Store, members: &[&str]) {
    let members = members.iter().map(|name| server(name)).collect();
    store.create_profile(slug(), Owner::local(), members, "hash".to_owned()).await.expect("a new profile");
}

#[tokio::test]
async fn servers_profiles_and_tokens_are_kept() {
    on_both(async |test| {
        let store = test.open();
        store.add_server(server("b"), spec("one"), Vec::new()).await.expect("a new server");
        let twice = store.add_server(server("b"), spec("two"), Vec::new()).await;
        assert!(matches!(twice, Err(StoreError::Exists { .. })), "{twice:?}");
        work(&store, &["b"]).await;
        store.add_server(server("a-z"), spec("two"), vec![slug()]).await.expect("twin: another name");
        store.add_server(server("a0"), spec("two"), vec![slug()]).await.expect("another name");
        let nowhere = vec!["nowhere".parse().expect("a profile name")];
        let half = store.add_server(server("c"), spec("three"), nowhere).await;
        assert!(matches!(half, Err(StoreError::Missing { .. })), "{half:?}");
        let all: Vec<_> = store.servers().await.expect("they can be read").into_iter().map(|row| row.name).collect();
        assert_eq!(all, [server("a-z"), server("a0"), server("b")], "the one that was half added is not there");

        let owner = store.token_owner("hash".to_owned()).await.expect("it can be read").expect("there is one");
        let members: Vec<_> = owner.profile.servers.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!((owner.hash.as_str(), members), ("hash", vec![server("a-z"), server("a0"), server("b")]));
        assert!(store.token_owner("another".to_owned()).await.expect("it can be read").is_none());

        store.remove_from_profile(slug(), server("b")).await.expect("it was in there");
        let again = store.remove_from_profile(slug(), server("b")).await;
        assert!(matches!(again, Err(StoreError::Missing { .. })), "{again:?}");
        store.remove_server(server("a-z"), None, crate::store::AuditRow::default()).await.expect("there is one");
        assert_eq!(store.profile(slug()).await.expect("there is one").servers.len(), 1);
        store
            .replace_token(slug(), ("default".parse().expect("a name"), "new".to_owned()), Absent::Refused, |_| {
                AuditRow::default().into()
            })
            .await
            .expect("there is a profile");
        assert!(store.token_owner("hash".to_owned()).await.expect("it can be read").is_none());
        store.delete_profile(slug()).await.expect("there is one");
        assert!(store.token_owner("new".to_owned()).await.expect("it can be read").is_none());
    })
    .await;
}

#[tokio::test]
async fn a_profile_has_only_what_its_owner_agreed_to() {
    on_both(async |test| {
        let store = test.open();
        store.add_server(server("tickets"), spec("one"), Vec::new()).await.expect("a new server");
        work(&store, &["tickets"]).await;
        let members = async || store.profile(slug()).await.expect("there is one").servers;
        let first = members().await;
        assert_eq!(first.len(), 1, "who puts it there agrees");

        let other: Owner = "somebody-else".parse().expect("an owner");
        store.write(|connection| add_user(connection, "somebody-else")).await.expect("a new user");
        store.replace_server(server("tickets"), spec("two"), other).await.expect("it is there");
        assert_eq!(members().await, [], "an update that the owner has not seen");
        store.add_to_profile(slug(), server("tickets")).await.expect("it is there");
        let second = members().await;
        assert_eq!(second.len(), 1, "twin: once it was agreed to");
        assert_ne!(first, second);

        store.replace_server(server("tickets"), spec("two"), Owner::local()).await.expect("it is there");
        assert_eq!(members().await, second, "nothing was changed");
    })
    .await;
}

#[tokio::test]
async fn a_revision_is_never_given_again() {
    on_both(async |test| {
        let store = test.open();
        let mut seen = Vec::new();
        for round in 0..4 {
            for name in ["a", "b"] {
                store.add_server(server(name), spec("one"), Vec::new()).await.expect("a new server");
                store
                    .replace_server(server(name), spec(&round.to_string()), Owner::local())
                    .await
                    .expect("there is one");
                seen.push(store.server(server(name)).await.expect("there is one").revision);
            }
            for name in ["b", "a"] {
                store.remove_server(server(name), None, crate::store::AuditRow::default()).await.expect("there is one");
            }
        }
        let mut once = seen.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), seen.len(), "{seen:?}");
    })
    .await;
}

#[tokio::test]
async fn an_instance_is_known_from_its_start_to_its_end() {
    on_both(async |test| {
        let store = test.open();
        let row = InstanceRow {
            id: Identity::new("tickets-1"),
            owner: Owner::local(),
            profile: "work".to_owned(),
            server: server("tickets"),
            revision: 7,
            started_at: 5,
            ended_at: None,
        };
        store.begin_instance(row.clone()).await.expect("it is new");
        assert_eq!(store.instances(9).await.expect("they can be read"), std::slice::from_ref(&row));
        assert!(store.begin_instance(row.clone()).await.is_err(), "there is only one of that name");
        store.end_instance(row.id.clone()).await.expect("it runs");
        let ended = store.instances(9).await.expect("they can be read");
        assert!(ended[0].ended_at.is_some() && ended.len() == 1);
    })
    .await;
}

#[tokio::test]
async fn a_change_is_told_to_whoever_follows() {
    on_both(async |test| {
        let (store, other) = (test.open(), test.open());
        let (mut here, mut there) = (store.changes(), other.changes());
        if matches!(test.database, Database::Postgres(_)) {
            // After a while, what it asked last is nothing: whether it is still there.
            let listeners =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^(LISTEN|$)'";
            while test.ask(listeners).trim() != "2" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        // That somebody listens now is told too.
        loop {
            here.mark_unchanged();
            there.mark_unchanged();
            tokio::time::sleep(Duration::from_millis(300)).await;
            if !here.has_changed().expect("it lives") && !there.has_changed().expect("it lives") {
                break;
            }
        }
        let mut told = 0;
        for _ in 0..3 {
            here.mark_unchanged();
            store.write(|_| Ok(())).await.expect("nothing was changed");
            told += usize::from(here.has_changed().expect("it lives"));
        }
        assert!(told <= 1, "but for one who began to listen late: {told}");
        store.add_server(server("tickets"), spec("one"), Vec::new()).await.expect("a new server");
        tokio::time::timeout(LONG, here.changed()).await.expect("a change").expect("it lives");
        if matches!(test.database, Database::Postgres(_)) {
            tokio::time::timeout(LONG, there.changed()).await.expect("another gateway's change").expect("it lives");
        }
    })
    .await;
}

/// For what must happen; a failed test may wait.
const LONG: Duration = Duration::from_secs(60);

/// Whoever takes the id of one thing for that of another does not compile (W22): none of these is made from another, and
/// only an owner, a server and a name together lead to a secret.
#[test]
fn ids_of_different_things_are_different_types() {
    use static_assertions::{assert_impl_all, assert_not_impl_any};
    assert_not_impl_any!(Owner: From<ProfileId>, From<ProfileSlug>, From<ServerName>, From<Identity>, From<i64>, From<String>);
    assert_not_impl_any!(ProfileId: From<Owner>, From<ProfileSlug>, From<ServerName>, From<i64>, From<u64>);
    assert_not_impl_any!(ProfileSlug: From<Owner>, From<ProfileId>, From<ServerName>, From<Identity>, From<String>);
    assert_not_impl_any!(ServerName: From<Owner>, From<ProfileSlug>, From<Identity>);
    assert_not_impl_any!(Identity: From<Owner>, From<ProfileSlug>, From<ServerName>, From<String>);
    assert_not_impl_any!(SecretKey: From<Identity>, From<ProfileId>, From<(ProfileSlug, ServerName)>);
    assert_impl_all!(SecretKey: Eq, std::hash::Hash); // a check of the checks
}

/// What was agreed to of `notes`, whose files measure so.
fn install(version: &str, tree: u8, found: Option<i64>, replaces: Option<i64>) -> NewInstall {
    let digest = format!("sha256:{}", format!("{tree:02x}").repeat(32));
    let manifest = format!(
        r#"{{"schemaVersion":1,"name":"notes","version":"{version}","source":{{"repo":"r","tag":"t"}},
            "image":{{"ref":"ghcr.io/example/notes","digest":"{digest}","entrypoint":"/server"}},"tier":"sealed",
            "entitlements":{{}}}}"#
    );
    let image = Image {
        version: version.parse().expect("a version"),
        manifest: digest.parse().expect("a digest"),
        digest: digest.parse().expect("a digest"),
        tree: digest.parse().expect("a measure"),
        working_dir: None,
    };
    let spec = ServerSpec { command: vec!["/server".into()], ..ServerSpec::new(Source::Image(image)) };
    NewInstall {
        server: server("notes"),
        manifest: gigmcp_registry::Manifest::from_json(manifest.as_bytes()).expect("a manifest"),
        policy: spec.to_json(),
        seal: PolicySeal { signer: "somebody".into(), signature: vec![tree; 64] },
        found,
        replaces,
        owner: Owner::local(),
        profiles: Vec::new(),
        told: AuditRow { kind: "consent".to_owned(), subject: version.to_owned(), ..AuditRow::default() }.into(),
    }
}

#[tokio::test]
async fn what_was_agreed_to_before_is_kept_and_what_was_before_that_is_not() {
    on_both(async |test| {
        let store = test.open();
        let trees = async || {
            let trees = store.trees().await.expect("they can be read");
            trees.iter().map(|tree| tree.to_string()[7..9].to_owned()).collect::<Vec<_>>()
        };
        let first = store.install(install("1.0.0", 1, None, None)).await.expect("a new server");
        work(&store, &["notes"]).await;
        let moved = store.install(install("1.1.0", 2, None, None)).await;
        assert!(matches!(moved, Err(StoreError::Moved { .. })), "it was there already: {moved:?}");
        let second = store.install(install("1.1.0", 2, Some(first), Some(first))).await.expect("an upgrade");
        let moved = store.install(install("1.2.0", 3, Some(first), Some(first))).await;
        assert!(matches!(moved, Err(StoreError::Moved { .. })), "somebody was faster: {moved:?}");
        assert_eq!(trees().await, ["01", "02"]);
        let third = store.install(install("1.2.0", 3, Some(second), Some(second))).await.expect("an upgrade");
        assert_eq!(trees().await, ["02", "03"]);
        assert!(first < second && second < third);
        let profile = store.profile("work".parse().expect("a profile name")).await.expect("it is there");
        assert_eq!(profile.servers, [(server("notes"), Edition::first(third))], "its owner agreed to it");

        let row = store.installed(server("notes"), second).await.expect("it can be read").expect("it is there");
        assert_eq!((row.manifest.version.to_string().as_str(), row.replaces), ("1.1.0", Some(first)));
        let other = store.installed(server("tickets"), second).await.expect("it can be read");
        assert!(other.is_none(), "of another server");
        let policy = store.policy(server("notes"), second).await.expect("it is there");
        assert_eq!(policy.seal.map(|seal| seal.signature), Some(vec![2; 64]));
        assert!(store.policy(server("tickets"), second).await.is_err(), "of another server");

        store.remove_server(server("notes"), None, crate::store::AuditRow::default()).await.expect("it was there");
        assert_eq!(trees().await, Vec::<String>::new());
        let page = store.audit_page(Place::default(), 100).await.expect("it can be read");
        let rows = page.rows.iter().map(|row| (&*row.row.kind, &*row.row.subject, row.row.policy_version));
        let digest = format!("sha256:{}", "03".repeat(32));
        assert_eq!(
            rows.collect::<Vec<_>>(),
            [
                ("consent", "1.0.0", Some(first)),
                ("consent", "1.1.0", Some(second)),
                ("consent", "1.2.0", Some(third)),
                ("removal", &*format!("1.2.0 {digest}"), Some(third)),
            ],
            "what was not done is not there"
        );
        assert!(store.installed(server("notes"), third).await.expect("it can be read").is_none());
    })
    .await;
}

#[tokio::test]
async fn nothing_unknown_is_said_of_a_profile() {
    on_both(async |test| {
        let store = test.open();
        let slug = || "work".parse::<ProfileSlug>().expect("a profile name");
        store.create_profile(slug(), Owner::local(), Vec::new(), "hash".to_owned()).await.expect("a new profile");
        let unknown = store.set_of_profile(slug(), None, "no_such_thing".to_owned(), Some("1".to_owned())).await;
        let text = crate::output::whole(&unknown.expect("an answer").expect_err("it is no setting"));
        assert!(text.contains("no_such_thing"), "{text}");
        let nowhere = store.set_of_profile(slug(), Some("notes".parse().expect("a name")), "x".to_owned(), None).await;
        assert!(matches!(nowhere, Err(StoreError::Missing { .. })), "{nowhere:?}");
        assert_eq!(store.profile(slug()).await.expect("there is one").settings, Default::default());
    })
    .await;
}
