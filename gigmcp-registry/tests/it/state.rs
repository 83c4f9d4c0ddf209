//! The file that keeps what was seen: whole after a crash at any moment, and never older.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use gigmcp_registry::{
    Envelope, Files, IndexClient, InvalidState, Root, Signatures, SignedRoot, State, StateError, StateFile,
};

use crate::{expiry, fresh, index, root as keys, signed_by, signer};

/// A client of a registry in `directory`, going on from `state`.
fn client(state: State) -> IndexClient {
    let text = Root::new(std::num::NonZeroU64::MIN, expiry(), keys(&[1], 1), keys(&[11], 1)).unwrap().to_json();
    let signatures = Signatures::new(vec![signer(1).sign_root(text.as_bytes())]);
    let root = SignedRoot::pinned(text.as_bytes(), &signatures).unwrap();
    IndexClient::new(root, state, fresh().now).unwrap()
}

async fn publish_and_refresh(client: &mut IndexClient, directory: &Path, sequence: u64) {
    let text = index(sequence);
    fs::write(directory.join("index.jsonl"), Envelope::join(&signed_by(&[11], &text), text.as_bytes())).unwrap();
    client.refresh(&Files::new(directory), fresh().now).await.unwrap();
}

fn sequence(state: State) -> Option<u64> {
    client(state).index(fresh().now).map(|index| index.sequence)
}

#[tokio::test]
async fn a_state_is_saved_and_never_replaced_by_an_older_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = StateFile::new(directory.path().join("state"));
    assert_eq!(file.load().unwrap(), State::default());
    let mut client = client(State::default());
    publish_and_refresh(&mut client, directory.path(), 7).await;
    file.save(client.state()).unwrap();
    assert_eq!(&file.load().unwrap(), client.state());
    let older = client.state().clone();
    publish_and_refresh(&mut client, directory.path(), 8).await;
    file.save(client.state()).unwrap();
    file.save(client.state()).unwrap(); // the same again
    for state in [&older, &State::default()] {
        assert!(matches!(file.save(state), Err(StateError::Older { .. })));
    }
    assert_eq!(sequence(file.load().unwrap()), Some(8));
}

#[tokio::test]
async fn what_another_process_has_seen_is_not_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let file = StateFile::new(directory.path().join("state"));
    let publish = |text: &str| {
        let published = Envelope::join(&signed_by(&[11], text), text.as_bytes());
        fs::write(directory.path().join("index.jsonl"), published).unwrap();
    };
    let (mut one, mut two) = (client(State::default()), client(State::default()));
    let transport = Files::new(directory.path());
    // Both see sequence 9; only one has seen the version 1.2.0 that was in 8, and is gone.
    publish(&index(8));
    one.refresh(&transport, fresh().now).await.unwrap();
    let gone = index(9).replace("1.2.0", "1.3.0");
    publish(&gone);
    for client in [&mut one, &mut two] {
        client.refresh(&transport, fresh().now).await.unwrap();
        file.save(client.state()).unwrap();
    }
    publish(&index(10).replace("sha256:01", "sha256:02"));
    let repinned = client(file.load().unwrap()).refresh(&transport, fresh().now).await;
    assert!(format!("{repinned:?}").starts_with("Err(Index(Repinned"), "{repinned:?}");
    publish(&index(10));
    client(file.load().unwrap()).refresh(&transport, fresh().now).await.unwrap();
    // A registry that shows each of them another index is found out.
    let mut other = client(State::default());
    publish(&gone.replace("Acme Notes", "Acme Fork"));
    other.refresh(&transport, fresh().now).await.unwrap();
    let forked = file.save(other.state());
    assert!(format!("{forked:?}").starts_with("Err(Forked"), "{forked:?}");
    file.save(two.state()).unwrap();
}

#[tokio::test]
async fn a_damaged_state_is_an_error_and_not_a_fresh_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let file = StateFile::new(&path);
    let mut client = client(State::default());
    publish_and_refresh(&mut client, directory.path(), 7).await;
    file.save(client.state()).unwrap();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(State::from_bytes(&bytes).is_err(), "byte {at}");
        assert!(matches!(State::from_bytes(&good[..at]), Err(InvalidState::Damaged)), "cut at {at}");
    }
    assert!(State::from_bytes(&[&good[..], b"x"].concat()).is_err());
    for content in [&good[..good.len() / 2], b"", b"{}"] {
        fs::write(&path, content).unwrap();
        let refused = file.load();
        assert!(matches!(refused, Err(StateError::Invalid { .. })), "{refused:?}");
        assert!(refused.unwrap_err().to_string().contains("remove it to forget"));
        assert!(matches!(file.save(client.state()), Err(StateError::Invalid { .. })), "nor is it written over");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(&file.load().unwrap(), client.state());
}

/// The test's own program, killed while it saves one state after the other.
#[tokio::test]
async fn a_state_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let file = StateFile::new(directory.path().join("state"));
    let mut last = 0;
    for round in 0..20_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--ignored", "state::saves_states_until_it_is_killed"])
            .env("REGISTRY_STATE_DIRECTORY", directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut saved =
            || lines.find_map(|line| line.strip_prefix("saved ").map(|number| number.parse::<u64>().unwrap()));
        // Some states, and then in the midst of one: what it said before is on the disk for good.
        let said = (0..=round % 5).map(|_| saved().unwrap()).last().unwrap();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        let kept = sequence(file.load().unwrap()).unwrap();
        assert!(kept >= said && said > last, "{kept} after {said}, {last} before");
        last = kept;
    }
    // Whoever comes next is not kept out by the lock or the unfinished file.
    let mut client = client(file.load().unwrap());
    publish_and_refresh(&mut client, directory.path(), last + 1000).await;
    file.save(client.state()).unwrap();
    assert_eq!(sequence(file.load().unwrap()), Some(last + 1000));
}

#[tokio::test]
#[ignore = "run by a_state_survives_kill_9"]
async fn saves_states_until_it_is_killed() {
    let directory = std::env::var_os("REGISTRY_STATE_DIRECTORY").unwrap();
    let directory = Path::new(&directory);
    let file = StateFile::new(directory.join("state"));
    let mut client = client(file.load().unwrap());
    let first = client.index(fresh().now).map_or(1, |index| index.sequence + 1);
    for sequence in first.. {
        publish_and_refresh(&mut client, directory, sequence).await;
        file.save(client.state()).unwrap();
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "saved {sequence}").and_then(|()| stdout.flush()).unwrap();
    }
}

#[test]
fn of_many_who_save_at_once_the_newest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let file = StateFile::new(directory.path().join("state"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut client = client(State::default());
    let states: Vec<State> = (1..=16)
        .map(|sequence| {
            runtime.block_on(publish_and_refresh(&mut client, directory.path(), sequence));
            client.state().clone()
        })
        .collect();
    std::thread::scope(|scope| {
        for state in &states {
            scope.spawn(|| match file.save(state) {
                Ok(()) | Err(StateError::Older { .. }) => {}
                other => panic!("{other:?}"),
            });
        }
    });
    assert_eq!(sequence(file.load().unwrap()), Some(16));
}
