//! Following a registry that lies in a directory: rotation, rollback, freeze, mix-and-match, and what is kept meanwhile.

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::{Duration, SystemTime};

use gigmcp_registry::{
    Envelope, Files, IndexClient, OpenError, RefreshError, Refreshed, Root, RootError, Signatures, SignedRoot, State,
    Untrusted, Verified, VerifyError,
};
use tempfile::TempDir;

use crate::{expiry, fresh, index, root as keys, signed_by, signer};

/// A publisher with a directory.
struct Registry(TempDir);

impl Registry {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        Self(directory)
    }

    fn transport(&self) -> Files {
        Files::new(self.0.path())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn publish(&self, index: &str, seeds: &[u8]) {
        fs::write(self.path().join("index.jsonl"), Envelope::join(&signed_by(seeds, index), index.as_bytes())).unwrap();
    }

    fn publish_root(&self, version: u64, root_seeds: &[u8], index_seeds: &[u8], signers: &[u8]) {
        let file = root_file(version, root_seeds, index_seeds, signers);
        fs::write(self.path().join(format!("root/{version}.jsonl")), file).unwrap();
    }
}

fn root_file(version: u64, root_seeds: &[u8], index_seeds: &[u8], signers: &[u8]) -> Vec<u8> {
    root_file_until(expiry(), version, root_seeds, index_seeds, signers)
}

fn root_file_until(expires: SystemTime, version: u64, root: &[u8], index: &[u8], signers: &[u8]) -> Vec<u8> {
    let version = NonZeroU64::new(version).unwrap();
    let text = Root::new(version, expires, keys(root, root.len()), keys(index, 1)).unwrap().to_json();
    let signatures = Signatures::new(signers.iter().map(|seed| signer(*seed).sign_root(text.as_bytes())).collect());
    Envelope::join(&signatures, text.as_bytes())
}

fn pin(file: &[u8]) -> Verified<Root> {
    let envelope = Envelope::split(file).unwrap();
    SignedRoot::pinned(envelope.document(), &envelope.signatures().unwrap()).unwrap()
}

/// Root version 1: root key 1, index key 11.
fn pinned() -> Verified<Root> {
    pin(&root_file(1, &[1], &[11], &[1]))
}

fn client(state: State) -> IndexClient {
    IndexClient::new(pinned(), state, fresh().now).unwrap()
}

/// As a program does that starts anew each time: state to bytes and back.
fn restarted(client: &IndexClient) -> IndexClient {
    self::client(State::from_bytes(&client.state().to_bytes()).unwrap())
}

async fn refresh(client: &mut IndexClient, registry: &Registry) -> Result<Refreshed, RefreshError> {
    client.refresh(&registry.transport(), fresh().now).await
}

fn sequence(client: &IndexClient) -> Option<u64> {
    client.index(fresh().now).map(|index| index.sequence)
}

#[tokio::test]
async fn the_newest_index_is_taken_and_kept() {
    let registry = Registry::new();
    let mut client = client(State::default());
    assert_eq!(sequence(&client), None);
    assert!(matches!(refresh(&mut client, &registry).await, Err(RefreshError::Missing)));
    registry.publish(&index(7), &[11]);
    assert_eq!(refresh(&mut client, &registry).await.unwrap(), Refreshed::Updated);
    assert_eq!(refresh(&mut client, &registry).await.unwrap(), Refreshed::Unchanged);
    let mut client = restarted(&client);
    assert_eq!(sequence(&client), Some(7), "without the registry");
    registry.publish(&index(8), &[11]);
    assert_eq!(refresh(&mut client, &registry).await.unwrap(), Refreshed::Updated);
    assert_eq!(sequence(&client), Some(8));
    assert_eq!(sequence(&restarted(&client)), Some(8));
}

#[tokio::test]
async fn the_last_good_index_stays_whatever_is_served() {
    let registry = Registry::new();
    let mut client = client(State::default());
    registry.publish(&index(8), &[11]);
    refresh(&mut client, &registry).await.unwrap();
    let good = fs::read(registry.path().join("index.jsonl")).unwrap();
    let other = index(8).replace("Acme Notes", "Acme Fork");
    let repinned = index(9).replace("sha256:01", "sha256:02");
    let signed = |text: &str, seeds: &[u8]| Envelope::join(&signed_by(seeds, text), text.as_bytes());
    for (case, file, expected) in [
        ("rollback", signed(&index(7), &[11]), "Index(Older { sequence: 7, last_seen: 8 })"),
        ("fork", signed(&other, &[11]), "Index(Forked { sequence: 8 })"),
        ("another image", signed(&repinned, &[11]), "Index(Repinned"),
        ("another key", signed(&index(9), &[12]), "Index(Untrusted(Threshold { signed: 0, needed: 1 }))"),
        ("root key", signed(&index(9), &[1]), "Index(Untrusted(Threshold { signed: 0, needed: 1 }))"),
        (
            "mixed: signatures of one, index of another",
            Envelope::join(&signed_by(&[11], &index(9)), index(10).as_bytes()),
            "Index(Untrusted(WrongSignature",
        ),
        ("truncated", good[..good.len() - 1].to_vec(), "Index(Untrusted(WrongSignature"),
        ("extended", [&good[..], b" "].concat(), "Index(Untrusted(WrongSignature"),
        ("empty", Vec::new(), "Signatures(NoLine)"),
        ("a page", b"<html>\nLog in</html>".to_vec(), "Signatures(Syntax"),
        ("too long", vec![b' '; 17 << 20], "Fetch { file: Index, source: TooLong"),
    ] {
        fs::write(registry.path().join("index.jsonl"), file).unwrap();
        let error = refresh(&mut client, &registry).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{case}: {error:?}");
        assert_eq!(sequence(&client), Some(8), "{case}");
        assert_eq!(sequence(&restarted(&client)), Some(8), "{case}");
    }
    fs::remove_file(registry.path().join("index.jsonl")).unwrap();
    fs::create_dir(registry.path().join("index.jsonl")).unwrap();
    let error = refresh(&mut client, &registry).await.unwrap_err();
    assert!(format!("{error:?}").contains("NotAFile"), "{error:?}");
    fs::remove_dir(registry.path().join("index.jsonl")).unwrap();
    registry.publish(&index(9), &[11]); // the twin of them all
    assert_eq!(refresh(&mut client, &registry).await.unwrap(), Refreshed::Updated);
}

#[tokio::test]
async fn a_frozen_registry_ends_with_the_expiry() {
    let registry = Registry::new();
    registry.publish(&index(7), &[11]);
    let mut client = client(State::default());
    refresh(&mut client, &registry).await.unwrap();
    let root = root_file_until(expiry() + Duration::from_secs(3600), 2, &[1], &[11], &[1]);
    assert!(client.index(expiry() - Duration::from_secs(1)).is_some());
    assert!(client.index(expiry()).is_none());
    let frozen = client.refresh(&registry.transport(), expiry()).await;
    assert!(matches!(frozen, Err(RefreshError::Root(RootError::Expired { .. }))), "{frozen:?}");
    fs::write(registry.path().join("root/2.jsonl"), root).unwrap();
    let frozen = client.refresh(&registry.transport(), expiry()).await;
    assert!(matches!(frozen, Err(RefreshError::Index(VerifyError::Expired))), "{frozen:?}");
    let later = index(8).replace("2030-01-01", "2030-01-02");
    registry.publish(&later, &[11]);
    assert_eq!(client.refresh(&registry.transport(), expiry()).await.unwrap(), Refreshed::Updated);
}

#[tokio::test]
async fn keys_are_rotated_on_the_way() {
    let registry = Registry::new();
    registry.publish(&index(7), &[11]);
    let mut client = client(State::default());
    refresh(&mut client, &registry).await.unwrap();
    registry.publish_root(2, &[2], &[11, 12], &[1, 2]);
    registry.publish_root(3, &[3], &[12], &[2, 3]);
    registry.publish(&index(8), &[12]);
    // Two roots at once, and a restart between.
    let mut other = restarted(&client);
    for client in [&mut client, &mut other] {
        assert_eq!(refresh(client, &registry).await.unwrap(), Refreshed::Updated);
        assert_eq!((client.root().version.get(), sequence(client)), (3, Some(8)));
    }
    let client = restarted(&client);
    assert_eq!((client.root().version.get(), sequence(&client)), (3, Some(8)), "roots are kept");
}

#[tokio::test]
async fn an_index_by_a_key_that_went_is_not_used_any_more() {
    let registry = Registry::new();
    registry.publish(&index(7), &[11]);
    let mut client = client(State::default());
    refresh(&mut client, &registry).await.unwrap();
    registry.publish_root(2, &[1], &[12], &[1]);
    let refused = refresh(&mut client, &registry).await;
    assert!(matches!(refused, Err(RefreshError::Index(VerifyError::Untrusted(Untrusted::Threshold { .. })))));
    assert_eq!(sequence(&client), None);
    assert_eq!(sequence(&restarted(&client)), None);
}

#[tokio::test]
async fn a_broken_root_stops_the_refresh() {
    let registry = Registry::new();
    registry.publish(&index(7), &[11]);
    let mut client = client(State::default());
    refresh(&mut client, &registry).await.unwrap();
    registry.publish(&index(8), &[11]);
    for (case, file, expected) in [
        ("by strangers", root_file(2, &[9], &[9], &[9]), "Root(NotByTheOneBefore"),
        ("not by itself", root_file(2, &[2], &[11], &[1]), "Root(NotByItself"),
        ("the first again", root_file(1, &[1], &[11], &[1]), "Root(Version"),
        ("one skipped", root_file(3, &[1], &[11], &[1]), "Root(Version"),
        ("a page", b"<html>".to_vec(), "Signatures(NoLine)"),
        ("too long", vec![b'\n'; 1 << 20], "Fetch { file: Root(2)"),
    ] {
        fs::write(registry.path().join("root/2.jsonl"), file).unwrap();
        let error = refresh(&mut client, &registry).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{case}: {error:?}");
        assert_eq!((client.root().version.get(), sequence(&client)), (1, Some(7)), "{case}");
    }
    registry.publish_root(2, &[2], &[11], &[1, 2]);
    assert_eq!(refresh(&mut client, &registry).await.unwrap(), Refreshed::Updated);
}

#[tokio::test]
async fn stolen_index_keys_cannot_end_the_sequence_for_good() {
    let registry = Registry::new();
    registry.publish(&index(u64::MAX), &[11]);
    let mut client = client(State::default());
    refresh(&mut client, &registry).await.unwrap();
    // A root that keeps the stolen key keeps what it did.
    registry.publish_root(2, &[1], &[11, 12], &[1]);
    registry.publish(&index(8), &[12]);
    let older = refresh(&mut client, &registry).await;
    assert!(matches!(older, Err(RefreshError::Index(VerifyError::Older { .. }))), "{older:?}");
    // One in which none of the keys of that time is left begins anew.
    registry.publish_root(3, &[1], &[13], &[1]);
    registry.publish(&index(8), &[13]);
    let mut client = restarted(&client);
    assert_eq!(refresh(&mut client, &registry).await.unwrap(), Refreshed::Updated);
    assert_eq!(sequence(&restarted(&client)), Some(8));
    registry.publish(&index(7), &[13]);
    let older = refresh(&mut client, &registry).await;
    assert!(matches!(older, Err(RefreshError::Index(VerifyError::Older { .. }))), "{older:?}");
}

/// Before a rotation, an index is signed by the keys of both roots, so that readers of either can go on.
#[tokio::test]
async fn an_index_that_the_new_keys_signed_too_is_not_forgotten_with_the_old_ones() {
    let registry = Registry::new();
    registry.publish(&index(8), &[11, 13]);
    let mut client = client(State::default());
    refresh(&mut client, &registry).await.unwrap();
    registry.publish_root(2, &[1], &[13], &[1]);
    let before = restarted(&client);
    for mut client in [client, before] {
        for (text, expected) in [
            (index(7), "Index(Older { sequence: 7, last_seen: 8 })"),
            (index(8).replace("Acme Notes", "Acme Fork"), "Index(Forked { sequence: 8 })"),
            (index(9).replace("sha256:01", "sha256:02"), "Index(Repinned"),
        ] {
            registry.publish(&text, &[11, 13]);
            let error = refresh(&mut client, &registry).await.unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{error:?}");
            assert_eq!((client.root().version.get(), sequence(&client)), (2, Some(8)));
        }
        registry.publish(&index(9), &[13]);
        assert_eq!(refresh(&mut restarted(&client), &registry).await.unwrap(), Refreshed::Updated);
    }
}

#[tokio::test]
async fn a_state_goes_on_from_its_own_root_only() {
    let registry = Registry::new();
    registry.publish_root(2, &[2], &[11], &[1, 2]);
    registry.publish_root(3, &[3], &[11], &[2, 3]);
    registry.publish(&index(7), &[11]);
    let mut client = client(State::default());
    refresh(&mut client, &registry).await.unwrap();
    let open = |file: &[u8], state: &State| IndexClient::new(pin(file), state.clone(), fresh().now);
    let state = client.state();
    for version in 2..=3 {
        // A newer program brings a newer root.
        let file = fs::read(registry.path().join(format!("root/{version}.jsonl"))).unwrap();
        let newer = open(&file, state).unwrap();
        assert_eq!((newer.root().version.get(), sequence(&newer)), (3, Some(7)));
        if version == 3 {
            // And an older one after that cannot know the roots between.
            let older = IndexClient::new(pinned(), newer.state().clone(), fresh().now);
            assert!(matches!(older, Err(OpenError::Older { found, last_trusted })
                if (found.get(), last_trusted.get()) == (1, 3)));
        }
    }
    let newer = open(&root_file(4, &[4], &[11], &[4]), state).unwrap();
    assert_eq!((newer.root().version.get(), sequence(&newer)), (4, Some(7)));
    let fork = open(&root_file(3, &[9], &[11], &[9]), state);
    assert!(matches!(fork, Err(OpenError::Forked { version }) if version.get() == 3), "{fork:?}");
    let strange = open(&root_file(1, &[9], &[11], &[9]), state);
    assert!(matches!(strange, Err(OpenError::Root(RootError::NotByTheOneBefore(_)))), "{strange:?}");
}
