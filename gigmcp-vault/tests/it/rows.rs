//! What someone who can write the database, but has no key, tries with its rows.

use std::collections::HashMap;

use gigmcp_vault::{Context, KeyRing, OpenError, PolicyHash, RewrapError, Sealed, SecretBytes, Vault};

/// A row as a store keeps it: what the context is made of, and the sealed bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Row {
    version: u64,
    created_at: u64,
    hosts: Vec<&'static str>,
    sealed: Vec<u8>,
}

type Key = (&'static str, &'static str);

struct Database {
    vault: Vault,
    rows: HashMap<Key, Row>,
}

impl Database {
    /// Two tenants with two secrets each, all set at the same time.
    fn new() -> Self {
        let mut database = Self { vault: Vault::new(KeyRing::generate().unwrap()), rows: HashMap::new() };
        for key in [("anna", "github"), ("anna", "slack"), ("bert", "github"), ("bert", "slack")] {
            database.put(key, 1);
        }
        database
    }

    fn put(&mut self, key: Key, version: u64) {
        let mut row = Row { version, created_at: 1_767_225_600, hosts: vec!["api.example.com"], sealed: Vec::new() };
        let secret = SecretBytes::from(value(key, version));
        row.sealed = self.vault.seal(&context(key, &row), secret).unwrap().as_bytes().to_vec();
        self.rows.insert(key, row);
    }

    fn open(&self, key: Key) -> Result<SecretBytes, OpenError> {
        let row = &self.rows[&key];
        let sealed = Sealed::from_bytes(&row.sealed)?;
        let context = context(key, row);
        let opened = self.vault.open(&context, &sealed);
        // Neither of these makes what does not open into something that does.
        for made in [self.vault.rewrap(&context, &sealed), self.vault.reencrypt(&context, &sealed)] {
            match made {
                Ok(made) => assert_eq!(self.vault.open(&context, &made), opened),
                Err(error) => assert!(matches!(error, RewrapError::Refused(_)) && opened.is_err()),
            }
        }
        opened
    }

    fn opens(&self, key: Key, version: u64) -> bool {
        self.open(key) == Ok(SecretBytes::from(value(key, version)))
    }
}

fn value(key: Key, version: u64) -> Vec<u8> {
    format!("{} of {}, {version}", key.1, key.0).into_bytes()
}

fn context(key: Key, row: &Row) -> Context {
    Context {
        tenant: key.0.parse().unwrap(),
        vault: "main".parse().unwrap(),
        secret: key.1.parse().unwrap(),
        version: row.version,
        purpose: "header".parse().unwrap(),
        created_at: row.created_at,
        policy: PolicyHash::of(&[("hosts", &row.hosts)]),
    }
}

#[test]
fn untouched_rows_open() {
    let database = Database::new();
    assert!(database.rows.keys().all(|key| database.opens(*key, 1)));
}

#[test]
fn swapped_rows_do_not_open() {
    for (case, one, other) in [
        ("two secrets of one tenant", ("anna", "github"), ("anna", "slack")),
        ("one secret of two tenants", ("anna", "github"), ("bert", "github")),
        ("another secret of another tenant", ("anna", "github"), ("bert", "slack")),
    ] {
        let mut database = Database::new();
        let (left, right) = (database.rows[&one].clone(), database.rows[&other].clone());
        database.rows.insert(one, right);
        database.rows.insert(other, left);
        assert_eq!(database.open(one), Err(OpenError::Refused), "{case}");
        assert_eq!(database.open(other), Err(OpenError::Refused), "{case}");
        let (left, right) = (database.rows[&one].clone(), database.rows[&other].clone());
        database.rows.insert(one, right);
        database.rows.insert(other, left);
        assert!(database.opens(one, 1) && database.opens(other, 1), "{case}, put back");
    }
}

#[test]
fn an_old_version_does_not_open_as_the_new_one() {
    let key = ("anna", "github");
    let mut database = Database::new();
    let old = database.rows[&key].clone();
    database.put(key, 2);
    assert!(database.opens(key, 2));
    let new = database.rows[&key].clone();
    // The store says 2: only the sealed bytes are the old ones.
    database.rows.insert(key, Row { sealed: old.sealed.clone(), ..new.clone() });
    assert_eq!(database.open(key), Err(OpenError::Refused));
    // And the new ones do not open as the old, nor by a number that never was.
    for version in [0, 1, 3, u64::MAX] {
        database.rows.insert(key, Row { version, ..new.clone() });
        assert_eq!(database.open(key), Err(OpenError::Refused), "{version}");
    }
    // Where the version comes from the same row, the old row is whole, as the README says.
    database.rows.insert(key, old);
    assert!(database.opens(key, 1));
}

#[test]
fn an_edited_row_does_not_open() {
    let key = ("anna", "github");
    type Edit = fn(&mut Row);
    let edits: [(&str, Edit); 5] = [
        ("another host", |row| row.hosts = vec!["evil.test"]),
        ("one more host", |row| row.hosts.push("evil.test")),
        ("no host", |row| row.hosts.clear()),
        ("younger", |row| row.created_at += 1),
        ("nothing sealed", |row| row.sealed.clear()),
    ];
    for (case, edit) in edits {
        let mut database = Database::new();
        edit(database.rows.get_mut(&key).unwrap());
        assert_eq!(database.open(key), Err(OpenError::Refused), "{case}");
    }
}

#[test]
fn a_wrapped_key_cannot_be_moved() {
    let mut database = Database::new();
    let mine = database.rows[&("anna", "github")].clone();
    for other in [("anna", "slack"), ("bert", "github")] {
        let mut theirs = database.rows[&other].clone();
        theirs.sealed[6..98].copy_from_slice(&mine.sealed[6..98]);
        database.rows.insert(other, theirs);
        assert_eq!(database.open(other), Err(OpenError::Refused));
    }
    assert!(database.opens(("anna", "github"), 1));
}

#[test]
fn reencrypt_shares_nothing_with_what_was() {
    let key = ("anna", "github");
    let database = Database::new();
    let row = &database.rows[&key];
    let before = Sealed::from_bytes(&row.sealed).unwrap();
    let after = database.vault.reencrypt(&context(key, row), &before).unwrap();
    assert_eq!(database.vault.open(&context(key, row), &after), Ok(SecretBytes::from(value(key, 1))));
    let (before, after) = (before.as_bytes(), after.as_bytes());
    for (field, range) in [
        ("wrap nonce", 26..50),
        ("wrapped key", 50..98),
        ("salt", 98..130),
        ("commitment", 130..162),
        ("nonce", 162..186),
        ("ciphertext", 190..before.len() - 16),
        ("tag", before.len() - 16..before.len()),
    ] {
        assert_ne!(before[range.clone()], after[range], "{field}");
    }
}
