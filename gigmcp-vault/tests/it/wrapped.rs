use std::fs;
use std::path::Path;
use std::time::Instant;

use gigmcp_vault::{
    Argon2Cost, InvalidArgon2Cost, InvalidKey, KeyFileError, KeyRing, KeyWrap, KeyWrapError, LocalKey,
    MalformedKeyFile, OpenError, Passphrase, PassphraseTooShort, Sealed, SecretBytes, SecretString, Vault,
};

use crate::context;
use crate::key_file::directory;

fn local(byte: u8) -> LocalKey {
    LocalKey::new(&SecretBytes::from(vec![byte; 32])).unwrap()
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(SecretString::from(String::from(text))).unwrap()
}

fn seal(ring: KeyRing) -> Sealed {
    Vault::new(ring).seal(&context(), SecretBytes::from(b"token".to_vec())).unwrap()
}

fn opens(ring: KeyRing, sealed: &Sealed) -> bool {
    Vault::new(ring).open(&context(), sealed) == Ok(SecretBytes::from(b"token".to_vec()))
}

fn refused<T>(result: Result<T, KeyFileError>) -> bool {
    matches!(result, Err(KeyFileError::Unwrap { source: KeyWrapError::Refused, .. }))
}

#[tokio::test]
async fn a_wrapped_file_loads_with_what_wrapped_it_and_nothing_else() {
    let (local_one, local_two) = (local(1), local(2));
    let (pass_one, pass_two) = (passphrase("correct horse battery"), passphrase("correct horse batterz"));
    let wraps: [(&str, &dyn KeyWrap, &dyn KeyWrap); 2] =
        [("local", &local_one, &local_two), ("argon2id", &pass_one, &pass_two)];
    for (kind, right, wrong) in wraps {
        let path = directory(&format!("wrapped-{kind}")).join("below/keys");
        let sealed = seal(KeyRing::load_or_create_wrapped(&path, right).await.unwrap());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("gigmcp-vault-wrapped-keys 1\nwrapped-key {kind} ")), "as FORMAT.md says");
        assert!(opens(KeyRing::load_wrapped(&path, right).await.unwrap(), &sealed), "{kind}");
        assert!(opens(KeyRing::load_or_create_wrapped(&path, right).await.unwrap(), &sealed), "{kind}");
        assert!(refused(KeyRing::load_wrapped(&path, wrong).await), "{kind}");
        assert!(refused(KeyRing::load_or_create_wrapped(&path, wrong).await), "{kind}: never replaced");
        assert!(matches!(KeyRing::create_wrapped(&path, right).await, Err(KeyFileError::Exists { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{kind}: all that left it as it was");

        let mut ring = KeyRing::load_wrapped(&path, right).await.unwrap();
        ring.rotate().unwrap();
        ring.save_wrapped(&path, wrong).await.unwrap();
        let ring = KeyRing::load_wrapped(&path, wrong).await.unwrap();
        assert_eq!(ring.active_version(), 2);
        assert!(opens(ring, &sealed), "{kind}: wrapped by another key now");
        assert!(refused(KeyRing::load_wrapped(&path, right).await), "{kind}");

        KeyRing::rewrap_file(&path, wrong).await.unwrap();
        let (before, after) = (text, fs::read_to_string(&path).unwrap());
        assert_ne!(before.lines().nth(1), after.lines().nth(1));
        assert!(opens(KeyRing::load_wrapped(&path, wrong).await.unwrap(), &sealed), "{kind}: wrapped anew");
        assert!(refused(KeyRing::rewrap_file(&path, right).await), "{kind}");
        assert_eq!(fs::read_to_string(&path).unwrap(), after);
    }
}

#[tokio::test]
async fn plain_and_wrapped_files_are_not_taken_for_each_other() {
    let directory = directory("kinds");
    let (plain, wrapped) = (directory.join("plain"), directory.join("wrapped"));
    let sealed = seal(KeyRing::create(&plain).unwrap());
    KeyRing::load(&plain).unwrap().save_wrapped(&wrapped, &local(1)).await.unwrap();
    assert!(opens(KeyRing::load_wrapped(&wrapped, &local(1)).await.unwrap(), &sealed));
    let problem = |result: Result<KeyRing, KeyFileError>| match result {
        Err(KeyFileError::Malformed { line: 1, problem, .. }) => Some(problem),
        _ => None,
    };
    assert_eq!(problem(KeyRing::load_wrapped(&plain, &local(1)).await), Some(MalformedKeyFile::NotWrapped));
    assert_eq!(problem(KeyRing::load(&wrapped)), Some(MalformedKeyFile::Wrapped));
    assert_eq!(problem(KeyRing::load_or_create(&wrapped)), Some(MalformedKeyFile::Wrapped));
    let other = KeyRing::load_wrapped(&wrapped, &passphrase("correct horse battery")).await;
    assert!(matches!(other, Err(KeyFileError::OtherWrap { found, expected: "argon2id", .. }) if found == "local"));
    fs::set_permissions(&wrapped, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let open = KeyRing::load_wrapped(&wrapped, &local(1)).await;
    assert!(matches!(open, Err(KeyFileError::OpenToOthers { mode: 0o640, .. })), "as private as a plain one");
}

#[tokio::test]
async fn every_changed_character_is_refused() {
    let path = directory("changed").join("keys");
    KeyRing::create_wrapped(&path, &local(1)).await.unwrap();
    let text = fs::read(&path).unwrap();
    for at in 0..text.len() {
        let mut changed = text.clone();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        assert!(load(&path, &changed).await.is_err(), "{at}");
    }
    for length in 0..text.len() {
        assert!(load(&path, &text[..length]).await.is_err(), "{length}");
    }
    for (case, changed) in [
        ("upper case", String::from_utf8(text.clone()).unwrap().replace("keys 474d", "keys 474D")),
        ("upper case in the wrapped key", String::from_utf8(text.clone()).unwrap().replace("local 474d", "local 474D")),
        ("a fourth line", format!("{}x\n", String::from_utf8(text.clone()).unwrap())),
        ("carriage returns", String::from_utf8(text.clone()).unwrap().replace('\n', "\r\n")),
        ("two blanks", String::from_utf8(text.clone()).unwrap().replace("local ", "local  ")),
    ] {
        assert_ne!(changed.as_bytes(), text, "{case}");
        assert!(load(&path, changed.as_bytes()).await.is_err(), "{case}");
    }
    assert!(load(&path, &text).await.is_ok());
}

async fn load(path: &Path, content: &[u8]) -> Result<KeyRing, KeyFileError> {
    fs::write(path, content).unwrap();
    KeyRing::load_wrapped(path, &local(1)).await
}

#[tokio::test]
async fn halves_of_two_files_do_not_fit() {
    let directory = directory("halves");
    let [one, two] = ["one", "two"].map(|name| directory.join(name));
    KeyRing::create_wrapped(&one, &local(1)).await.unwrap();
    KeyRing::create_wrapped(&two, &local(1)).await.unwrap();
    let [first, second] = [&one, &two].map(|path| fs::read_to_string(path).unwrap());
    let (head, _) = first.rsplit_once("\nkeys ").unwrap();
    let (_, tail) = second.rsplit_once("\nkeys ").unwrap();
    fs::write(&one, format!("{head}\nkeys {tail}")).unwrap();
    assert!(refused(KeyRing::load_wrapped(&one, &local(1)).await));
    assert!(KeyRing::load_wrapped(&two, &local(1)).await.is_ok());
}

#[tokio::test]
async fn the_cost_of_a_passphrase_is_bounded_on_both_sides() {
    assert_eq!(Argon2Cost::new(64 << 10, 3, 4), Ok(Argon2Cost::default()));
    assert!(Argon2Cost::new(1 << 20, 16, 16).is_ok());
    let path = directory("cost").join("keys");
    let right = passphrase("correct horse battery");
    KeyRing::create_wrapped(&path, &right).await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for (memory_kib, passes, lanes) in [
        ((64 << 10) - 1, 3, 4),
        (64 << 10, 2, 4),
        (64 << 10, 3, 3),
        ((1 << 20) + 1, 3, 4),
        (64 << 10, 17, 4),
        (64 << 10, 3, 17),
        (u32::MAX, u32::MAX, u32::MAX),
    ] {
        let invalid = InvalidArgon2Cost { memory_kib, passes, lanes };
        assert_eq!(Argon2Cost::new(memory_kib, passes, lanes), Err(invalid));
        fs::write(&path, text.replace("65536:3:4:", &format!("{memory_kib}:{passes}:{lanes}:"))).unwrap();
        let mut quick = false;
        // The machine may be slow now and then.
        for _ in 0..20 {
            let clock = Instant::now();
            let loaded = KeyRing::load_wrapped(&path, &right).await;
            quick |= clock.elapsed().as_millis() < 50;
            assert!(
                matches!(loaded, Err(KeyFileError::Unwrap { source: KeyWrapError::Cost(found), .. }) if found == invalid),
                "{invalid}"
            );
        }
        assert!(quick, "refused before anything is computed");
    }
    for (case, from, to) in [
        ("within the bounds, but not what it was wrapped with", "65536:3:4:", "65536:4:4:"),
        ("another spelling", "65536:3:4:", "065536:3:4:"),
        ("a parameter less", "65536:3:4:", "65536:3:"),
    ] {
        fs::write(&path, text.replace(from, to)).unwrap();
        assert!(refused(KeyRing::load_wrapped(&path, &right).await), "{case}");
    }
    fs::write(&path, &text).unwrap();
    assert!(KeyRing::load_wrapped(&path, &right).await.is_ok());
    let more = passphrase("correct horse battery").cost(Argon2Cost::new(80 << 10, 4, 5).unwrap());
    KeyRing::load_wrapped(&path, &more).await.unwrap().save_wrapped(&path, &more).await.unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains(" 81920:4:5:"));
    assert!(KeyRing::load_wrapped(&path, &right).await.is_ok(), "the file says its cost");
}

#[test]
fn what_is_no_key_or_too_short_is_not_taken() {
    let hex = |text: &str| LocalKey::from_hex(&SecretString::from(String::from(text)));
    assert!(hex(&"0a".repeat(32)).is_ok() && hex(&"0A".repeat(32)).is_ok());
    for text in ["", &"0a".repeat(31), &"0a".repeat(33), &"0g".repeat(32), &format!("{}\n", "0a".repeat(32))] {
        assert_eq!(hex(text).err(), Some(InvalidKey), "{text:?}");
    }
    for length in [0, 31, 33] {
        assert_eq!(LocalKey::new(&SecretBytes::from(vec![1; length])).err(), Some(InvalidKey), "{length}");
    }
    let short = Passphrase::new(SecretString::from(String::from("eleven char")));
    assert_eq!(short.err(), Some(PassphraseTooShort));
    assert_eq!(format!("{:?} {:?}", local(7), passphrase("correct horse battery")).matches("horse").count(), 0);
}

/// A ring's own minimum holds for a wrapped one too.
#[tokio::test]
async fn the_minimum_version_is_kept_in_the_file() {
    let path = directory("minimum").join("keys");
    let sealed = seal(KeyRing::create_wrapped(&path, &local(1)).await.unwrap());
    let mut ring = KeyRing::load_wrapped(&path, &local(1)).await.unwrap();
    ring.rotate().unwrap();
    ring.raise_minimum_version(2).unwrap();
    ring.save_wrapped(&path, &local(1)).await.unwrap();
    let vault = Vault::new(KeyRing::load_wrapped(&path, &local(1)).await.unwrap());
    assert_eq!(vault.open(&context(), &sealed), Err(OpenError::Refused));
}
