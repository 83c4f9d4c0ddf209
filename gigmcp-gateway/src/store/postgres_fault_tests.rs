//! PostgreSQL that fails.

use std::{cell::RefCell, sync::atomic::Ordering};

use futures_util::future::join_all;

use super::{
    fault_tests::{Small, add, rows, told, until_refused},
    testing::{Postgres, Stop, name},
    *,
};

/// Adds rows until one is taken; the text of the last refusal is given, if there was one.
async fn until_taken(store: &Store) -> Option<String> {
    let mut refused = None;
    let again = async {
        while let Err(error) = add(store).await {
            refused = Some(told(&error));
            // Nothing tells when it is there again.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), again).await.expect("it works again");
    refused
}

/// A PostgreSQL of the test's own, with a database and a store on it.
fn own_postgres() -> (Postgres, String, Store) {
    let server = Postgres::start();
    let url = server.database();
    let store = Store::open(&Database::Postgres(url.parse().expect("a URL"))).expect("it opens");
    (server, name(&url).to_owned(), store)
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_can_be_stopped_and_started_under_load() {
    let (server, name, store) = own_postgres();
    let server = Arc::new(server);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let subject = format!("{writer}/{number}");
                    match store
                        .add_audit(AuditRow {
                            subject: subject.clone(),
                            ..crate::trail::testing::row("GET api.example.com:443/")
                        })
                        .await
                    {
                        Ok(()) => acknowledged.push(subject),
                        Err(error) => {
                            refused.push(told(&error));
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
                (acknowledged, refused)
            })
        })
        .collect();
    for how in [Stop::Fast, Stop::Immediate, Stop::Fast] {
        until_taken(&store).await;
        let stopping = Arc::clone(&server);
        tokio::task::spawn_blocking(move || stopping.stop(how)).await.expect("it stops");
        let refused = told(&add(&store).await.expect_err("it is stopped"));
        assert!(refused.contains("PostgreSQL"), "{refused}");
        store.takes_audit().await.expect_err("no request leaves");
        let reading = told(&store.profiles().await.expect_err("it is stopped"));
        assert!(reading.contains("no connection to PostgreSQL; is it running"), "{reading}");
        let resuming = Arc::clone(&server);
        tokio::task::spawn_blocking(move || resuming.resume()).await.expect("it starts");
        until_taken(&store).await;
        store.takes_audit().await.expect("twin: it runs");
        store.profiles().await.expect("twin: it runs");
    }
    stop.store(true, Ordering::SeqCst);
    let mut written = Vec::new();
    for writer in writers {
        written.push(writer.await.expect("it does not panic"));
    }
    let there = server.sql(&name, "SELECT subject FROM audit");
    let mut there: std::collections::HashMap<&str, usize> =
        there.lines().fold(Default::default(), |mut all, subject| {
            *all.entry(subject).or_default() += 1;
            all
        });
    let mut count = 0;
    for (acknowledged, refused) in written {
        for subject in &acknowledged {
            assert_eq!(there.remove(subject.as_str()), Some(1), "{subject} was acknowledged");
        }
        assert!(!refused.is_empty(), "it was stopped");
        count += acknowledged.len();
    }
    assert!(count > 3, "{count}");
}

#[tokio::test]
async fn postgres_that_takes_no_writes_is_said_before_anything_leaves() {
    let (server, name, store) = own_postgres();
    add(&store).await.expect("twin: it takes writes");
    server.sql("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    end_sessions(&server);
    let refused = told(&store.takes_audit().await.expect_err("it takes no writes"));
    assert!(refused.contains("takes no writes"), "{refused}");
    let refused = told(&add(&store).await.expect_err("it takes no writes"));
    assert!(refused.contains("takes no writes"), "{refused}");
    store.profiles().await.expect("but it can be read");
    server.sql("postgres", &format!("ALTER DATABASE {name} RESET default_transaction_read_only"));
    add(&store).await.expect("twin: it takes writes again");
    store.takes_audit().await.expect("twin: it takes writes again");
}

#[tokio::test]
async fn postgres_that_does_not_let_us_in_is_said() {
    let (server, name, store) = own_postgres();
    let url = server.url(&name);
    server.sql("postgres", "CREATE ROLE guest LOGIN PASSWORD 'right'");
    server.sql(&name, "ALTER ROLE postgres PASSWORD 'right'");
    let opened = |url: &str| Store::open(&Database::Postgres(url.parse().expect("a URL")));
    let refused = |url: &str| told(&opened(url).err().expect("it is refused"));
    let guest = url.replace("postgres@", "guest@");

    let text = refused(&format!("{url}x"));
    assert!(text.contains("there is no such database; create it"), "{text}");
    let text = refused(&guest);
    assert!(text.contains("it must own the schema"), "{text}");
    server.sql(&name, "GRANT ALL ON SCHEMA public TO guest; GRANT ALL ON ALL TABLES IN SCHEMA public TO guest");
    drop(opened(&guest).expect("twin: it has the rights, and there is nothing to migrate"));

    server.sql("postgres", "ALTER ROLE guest CONNECTION LIMIT 0");
    let text = refused(&guest);
    assert!(text.contains("has no connection left"), "{text}");
    server.sql("postgres", "ALTER ROLE guest CONNECTION LIMIT -1");
    drop(opened(&guest).expect("twin: it may have connections"));

    // Passwords are asked for from now on.
    server.demands_passwords();
    let with = |password: &str| guest.replace("guest@", &format!("guest:{password}@"));
    let text = refused(&with("wrong"));
    assert!(text.contains("refused user or password") && !text.contains("wrong"), "{text}");
    let text = refused(&guest);
    assert!(text.contains("refused user or password") || text.contains("password missing"), "{text}");
    drop(opened(&with("right")).expect("twin: the right one"));
    drop(store);
}

#[tokio::test]
async fn postgres_without_a_connection_to_spare_is_waited_for() {
    let (server, name, store) = own_postgres();
    add(&store).await.expect("twin: there are connections");
    server.sql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    end_sessions(&server);
    let refused = told(&add(&store).await.expect_err("there is none"));
    assert!(refused.contains("PostgreSQL"), "{refused}");
    store.takes_audit().await.expect_err("no request leaves");
    server.sql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    add(&store).await.expect("twin: there are connections again");
    store.takes_audit().await.expect("twin: requests leave again");
}

#[tokio::test]
async fn whoever_waits_for_postgres_that_is_silent_is_told_with_the_first() {
    let (server, name, store) = own_postgres();
    // What has connections already hears that they still work.
    let reader = Store::open(&Database::Postgres(server.url(&name).parse().expect("a URL"))).expect("it opens");
    let late = |told: Result<(), StoreError>| matches!(told, Err(StoreError::Query(error)) if error.is_late());
    // It answers again once the first was told, and so would whoever is tried then.
    let silence = RefCell::new(Some(server.silence()));
    let written = join_all([(); 2].map(async |()| {
        let told = store.write(|_| Ok(())).await;
        drop(silence.take());
        told
    }));
    assert!(written.await.into_iter().all(late));
    store.write(|_| Ok(())).await.expect("twin: it answers");

    silence.replace(Some(server.silence()));
    let mut read = join_all([(); READERS + 1].map(async |()| {
        let told = reader.read(|_| Ok(())).await;
        drop(silence.take());
        told
    }))
    .await;
    assert!(late(read.pop().expect("there are some")), "for whom no thread was left");
    reader.read(|_| Ok(())).await.expect("twin: it answers");
}

#[tokio::test]
async fn the_full_disk_of_postgres_is_said() {
    let small = Small::new(16 << 10);
    let server = Postgres::start();
    let place = small.path().join("tables");
    std::fs::create_dir(&place).expect("there is room");
    server.sql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", place.display()));
    server.sql("postgres", "CREATE DATABASE small TABLESPACE small");
    let store = Store::open(&Database::Postgres(server.url("small").parse().expect("a URL"))).expect("there is room");
    add(&store).await.expect("twin: there is room");
    let ballast = small.path().join("ballast");
    // All that is left but a little.
    drop(std::fs::write(&ballast, vec![0; 16 << 20]));
    let refused = until_refused(&store).await;
    assert!(refused.contains("disk of PostgreSQL is full; make room"), "{refused}");
    let kept = rows(&store).await;
    store.takes_audit().await.expect_err("no request leaves");
    std::fs::remove_file(&ballast).expect("it is there");
    add(&store).await.expect("twin: there is room again");
    store.takes_audit().await.expect("twin: requests leave again");
    assert_eq!(rows(&store).await, kept + 1);
}

fn end_sessions(server: &Postgres) {
    server.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gigmcp'");
}

/// PEM text of an authority, and of a certificate for that name with its key.
fn certificates(name: &str) -> (String, String, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("a certificate").pem();
    let leaf_key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(params, key)).expect("a certificate");
    (authority, leaf.pem(), leaf_key.serialize_pem())
}

#[tokio::test]
async fn postgres_elsewhere_is_asked_with_tls_and_by_its_name_only() {
    let (authority, certificate, key) = certificates("db.example.com");
    let (stranger, ..) = certificates("db.example.com");
    let server = Postgres::start_with_tls(&certificate, &key);
    let name = name(&server.database()).to_owned();
    let open = |host: &str, more: &str, roots: Option<&str>| {
        let url = format!("{}{more}", server.url_at(host, &name));
        let address: Address = url.parse().expect("a URL");
        let address = roots.map_or(Ok(address.clone()), |roots| address.trusting(roots.as_bytes())).expect("PEM");
        Store::open(&Database::Postgres(address))
    };
    let refused =
        |host: &str, more: &str, roots: Option<&str>| told(&open(host, more, roots).err().expect("it is refused"));

    let store = open("db.example.com", "", Some(&authority)).expect("twin: the right name, by the right authority");
    add(&store).await.expect("it works");
    let sessions =
        "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'gigmcp'";
    assert_eq!(server.sql(&name, sessions), "t\n");
    for (case, host, more, roots) in [
        ("another name", "other.example.com", "", Some(&*authority)),
        ("another authority of that name", "db.example.com", "", Some(&*stranger)),
        ("the machine's authorities", "db.example.com", "", None),
        ("here, but with TLS", "127.0.0.1", "&sslmode=require", Some(&*authority)),
    ] {
        let refused = refused(host, more, roots);
        assert!(refused.contains("no TLS with PostgreSQL") && refused.contains("certificate"), "{case}: {refused}");
    }
    // It offers none any more: nobody is talked out of it.
    server.set("ssl = off");
    let text = loop {
        match open("db.example.com", "", Some(&authority)) {
            // A reload takes a moment.
            Ok(_) => thread::sleep(Duration::from_millis(20)),
            Err(error) => break told(&error),
        }
    };
    assert!(text.contains("no TLS with PostgreSQL: it offers none"), "{text}");
    drop(open("db.example.com", "&sslmode=disable", None).expect("twin: somebody said so"));
    for pem in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let address: Address = server.url_at("db.example.com", &name).parse().expect("a URL");
        assert!(matches!(address.trusting(pem.as_bytes()), Err(InvalidAddress::Authorities)), "{pem}");
    }
}
