use super::*;
use crate::{
    spec::{ProfileSlug, ServerName, ServerSpec, Source},
    store::{AuditRow, LedgerChange, LedgerRow, SecretRow, Store, on_both},
};

/// Two owners with a profile each, in which there are `notes`, which holds its secret `KEY` itself, and `files`, which does not.
struct World {
    store: Store,
}

const OWNERS: [&str; 2] = ["ann", "bob"];

fn owner(name: &str) -> Owner {
    name.parse().expect("an owner")
}

fn server(name: &str) -> ServerName {
    name.parse().expect("a server name")
}

fn slug(of: &str) -> ProfileSlug {
    format!("of-{of}").parse().expect("a profile name")
}

fn spec(place: Place) -> ServerSpec {
    let mut slot = SecretSlot::declared("KEY".parse().expect("a name"), "api.example.com".parse().expect("a host"));
    slot.place = place;
    ServerSpec { command: vec!["x".to_owned()], secrets: vec![slot], ..ServerSpec::new(Source::HostTools) }
}

fn key(of: &str, server_: &str) -> SecretKey {
    SecretKey { owner: owner(of), server: server(server_), name: "KEY".parse().expect("a name") }
}

impl World {
    async fn new(test: &crate::store::TestDatabase) -> Self {
        let store = test.open();
        let other = SecretSlot::declared("KEY".parse().expect("a name"), "api.example.com".parse().expect("a host"));
        for (name, place) in [("notes", Place::Environment), ("files", other.place)] {
            store.add_server(server(name), spec(place), Vec::new()).await.expect("a new server");
        }
        let world = Self { store };
        for name in OWNERS {
            test.sql(&format!(
                "INSERT INTO users (id, issuer, subject, display_name, role, created_at) VALUES ('{name}', 'x', '{name}', '{name}', 'user', 0)"
            ));
            let members = vec![server("notes"), server("files")];
            world.store.create_profile(slug(name), owner(name), members, name.to_owned()).await.expect("a new profile");
            for server in ["notes", "files"] {
                world.set(name, server, 1).await;
            }
        }
        world
    }

    async fn set(&self, of: &str, server: &str, version: i64) {
        let row = SecretRow {
            key: key(of, server),
            version,
            policy: "api.example.com".to_owned(),
            created_at: 0,
            sealed: vec![1],
        };
        self.store.put_for_test(row).await.expect("it is stored");
    }

    /// What is somebody's now: of `notes`, and of `files`.
    async fn editions(&self, of: &str) -> [Option<Edition>; 2] {
        let servers = match self.store.profile(slug(of)).await {
            Err(StoreError::Missing { .. }) => Vec::new(),
            profile => profile.expect("it can be read").servers,
        };
        ["notes", "files"].map(|name| servers.iter().find(|(found, _)| *found == server(name)).map(|found| found.1))
    }

    async fn ledger(&self) -> LedgerChange {
        let from = self.store.secrets_and_ledger().await.expect("it can be read").1;
        let counter = from.as_ref().map_or(0, |row| row.counter) + 1;
        LedgerChange { from, to: LedgerRow { counter, sealed: vec![0, 255] } }
    }
}

/// What is done for Ann, and whether her instances of `notes` and of `files`, and those of Bob, end.
type Case = (&'static str, [bool; 2], [bool; 2]);

#[tokio::test]
async fn whatever_changes_what_is_held_ends_what_holds_it_and_nothing_else() {
    on_both(async |test| {
        let world = World::new(&test).await;
        let store = &world.store;
        let (none, all, holder) = ([false, false], [true, true], [true, false]);
        let cases: [Case; 14] = [
            ("set what is held", holder, none),
            ("set what is not held", none, none),
            ("delete what is held", holder, none),
            ("set it again", holder, none),
            ("wrap it anew", none, none),
            ("accept the secrets as they are", holder, holder),
            ("reseal the ledger", none, none),
            ("forget Ann", all, none),
            ("disable Ann", all, none),
            ("enable Ann", all, none),
            ("take notes out of her profile", holder, none),
            ("delete all secrets", none, holder),
            ("delete Ann's profile", [false, true], none),
            ("remove files", none, [false, true]),
        ];
        for (case, of_ann, of_bob) in cases {
            let before = [world.editions("ann").await, world.editions("bob").await];
            let row = AuditRow::default;
            match case {
                "set what is held" => world.set("ann", "notes", 2).await,
                "set what is not held" => world.set("ann", "files", 2).await,
                "delete what is held" => {
                    let ledger = world.ledger().await;
                    store.delete_secret(key("ann", "notes"), ledger, row()).await.expect("it is there");
                }
                // The same version as at first.
                "set it again" => world.set("ann", "notes", 1).await,
                "wrap it anew" => {
                    let rewrapped = crate::store::Rewrapped { key: key("ann", "notes"), from: vec![1], to: vec![2] };
                    assert_eq!(store.rewrap_secrets(vec![rewrapped]).await.expect("it is there"), 1);
                }
                "accept the secrets as they are" => {
                    store.accept_ledger(world.ledger().await, row()).await.expect("nobody else");
                }
                "reseal the ledger" => store.exchange_ledger(world.ledger().await).await.expect("nobody else"),
                "forget Ann" => {
                    let ledger = Some(world.ledger().await);
                    assert_eq!(store.forget_user(owner("ann"), ledger).await.expect("she is there"), 1);
                }
                "disable Ann" => store.disable_user(owner("ann"), row()).await.expect("she is there"),
                "enable Ann" => {
                    store.enable_user(owner("ann"), crate::people::Role::Admin, row()).await.expect("she is there")
                }
                "take notes out of her profile" => {
                    store.remove_from_profile(slug("ann"), server("notes")).await.expect("it is in it");
                }
                "delete all secrets" => drop(store.delete_all_secrets(row()).await.expect("there are some")),
                "remove files" => store.remove_server(server("files"), None, row()).await.expect("it is there"),
                "delete Ann's profile" => store.delete_profile(slug("ann")).await.expect("it is there"),
                other => unreachable!("{other}"),
            }
            let after = [world.editions("ann").await, world.editions("bob").await];
            for (who, expected) in [of_ann, of_bob].into_iter().enumerate() {
                let changed = [0, 1].map(|of| before[who][of] != after[who][of]);
                assert_eq!(changed, expected, "{case}: of {}: {before:?} {after:?}", OWNERS[who]);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn to_set_a_value_again_and_again_fills_nothing() {
    on_both(async |test| {
        let world = World::new(&test).await;
        let store = &world.store;
        let revision = store.server(server("notes")).await.expect("it is there").revision;
        let first = world.editions("ann").await[0].expect("it is there");
        for version in 2..30 {
            world.set("ann", "notes", version).await;
        }
        assert_eq!(store.server(server("notes")).await.expect("it is there").revision, revision, "others' goes on");
        let count = async |table: &str| {
            let count = Query::select()
                .expr(sea_query::Func::count(Expr::col(sea_query::Asterisk)))
                .from(sea_query::Alias::new(table))
                .take();
            store.read(move |connection| connection.row(&count, |row| Ok(row.get::<i64>(0)?))).await
        };
        for (table, rows) in [("policies", 2), ("manifests", 0), ("holdings", 2)] {
            assert_eq!(count(table).await.expect("it can be read"), Some(rows), "{table}");
        }
        let last = world.editions("ann").await[0].expect("it is there");
        assert_eq!(last.generation, first.generation + 28, "twin: what held the value of before has ended each time");
    })
    .await;
}

#[tokio::test]
async fn what_servers_listed_for_somebody_goes_with_them() {
    on_both(async |test| {
        let world = World::new(&test).await;
        let revision = world.store.server(server("notes")).await.expect("it is there").revision;
        let keep = async || {
            for name in OWNERS {
                let key = crate::store::CatalogueKey { owner: owner(name), server: server("notes"), revision };
                let (done, kept) = tokio::sync::oneshot::channel();
                let told = move |result| drop(done.send(result));
                world.store.keep_catalogue(key, Some("{}".to_owned()), told).expect("there is room");
                kept.await.expect("it is told").expect("it is kept");
            }
        };
        let known = async || {
            let mut known = Vec::new();
            for name in OWNERS {
                let key = crate::store::CatalogueKey { owner: owner(name), server: server("notes"), revision };
                known.push(world.store.catalogue(key).await.expect("it can be read").is_some());
            }
            known
        };
        keep().await;
        assert_eq!(known().await, [true, true]);
        world.store.forget_user(owner("ann"), Some(world.ledger().await)).await.expect("she is there");
        assert_eq!(known().await, [false, true]);
        keep().await;
        world.store.delete_user(owner("ann"), None, AuditRow::default()).await.expect("she is there");
        assert_eq!(known().await, [false, true], "twin: another's");
    })
    .await;
}
