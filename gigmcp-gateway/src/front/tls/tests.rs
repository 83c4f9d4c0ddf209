use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;

/// Writes a certificate for this name and its key.
fn write(directory: &Path, name: &str) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let files = TlsFiles { certificates: directory.join("cert.pem"), key: directory.join("key.pem") };
    put(&files.certificates, &made.cert.pem(), 0o644);
    put(&files.key, &made.signing_key.serialize_pem(), 0o600);
    files
}

fn put(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its own");
}

fn opened(files: &TlsFiles) -> Result<Tls, TlsError> {
    Tls::open(files.clone(), Arc::default())
}

#[test]
fn a_key_that_others_may_read_is_not_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = write(directory.path(), "gig.test");
    for (mode, fits) in [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o660, false), (0o604, false)] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).expect("its own");
        match opened(&files) {
            Ok(_) => assert!(fits, "{mode:o}"),
            Err(TlsError::Mode { mode: found, .. }) => assert!(!fits && found == mode, "{mode:o}"),
            Err(other) => panic!("{mode:o}: {other:?}"),
        }
    }
}

#[test]
fn only_a_pair_is_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let other = tempfile::tempdir().expect("a directory");
    let (files, others) = (write(directory.path(), "gig.test"), write(other.path(), "gig.test"));
    assert!(opened(&files).is_ok(), "twin");
    let link = directory.path().join("link.pem");
    std::os::unix::fs::symlink(&files.key, &link).expect("a link");
    assert!(opened(&TlsFiles { key: link, ..files.clone() }).is_ok(), "twin: as renewals do it");
    let mixed = TlsFiles { key: others.key.clone(), ..files.clone() };
    assert!(matches!(opened(&mixed), Err(TlsError::Pair { .. })));
    let swapped = TlsFiles { key: files.certificates.clone(), certificates: files.key.clone() };
    assert!(matches!(opened(&swapped), Err(TlsError::Mode { .. })), "whose certificate is for all to read");
    let missing = TlsFiles { key: directory.path().join("none"), ..files.clone() };
    assert!(matches!(opened(&missing), Err(TlsError::Unreadable { name: "GIG_TLS_KEY_FILE", .. })));
    let kind = TlsFiles { certificates: directory.path().to_owned(), ..files.clone() };
    assert!(matches!(opened(&kind), Err(TlsError::Kind { name: "GIG_TLS_CERT_FILE", .. })));
    put(&files.certificates, "no certificate\n", 0o644);
    assert!(matches!(opened(&files), Err(TlsError::Empty { .. })));
    put(&files.certificates, "-----BEGIN CERTIFICATE-----\nx\n", 0o644);
    assert!(matches!(opened(&files), Err(TlsError::Pem { name: "GIG_TLS_CERT_FILE", .. })));
}

#[tokio::test(start_paused = true)]
async fn a_new_pair_is_used_and_a_broken_one_is_told_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = write(directory.path(), "one.test");
    let tls = Arc::new(opened(&files).expect("a pair"));
    let first = Arc::clone(&tls.current.read().expect("nobody panicked").config);
    // A signal that nobody sends.
    let mut reload = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change()).expect("a signal");
    let mut follower = Follower::default();
    write(directory.path(), "two.test");
    let quiet = tokio::time::timeout(POLL * 3, tls.follow(&mut follower, &mut reload)).await;
    assert!(quiet.is_err(), "nothing is wrong");
    let second = Arc::clone(&tls.current.read().expect("nobody panicked").config);
    assert!(!Arc::ptr_eq(&first, &second));
    // The certificate is there and its key is not yet: that is nobody's fault for a moment.
    let other = tempfile::tempdir().expect("a directory");
    let others = write(other.path(), "three.test");
    fs::copy(&others.certificates, &files.certificates).expect("copied");
    let halfway = tokio::time::timeout(POLL + POLL / 2, tls.follow(&mut follower, &mut reload)).await;
    assert!(halfway.is_err());
    let told = tokio::time::timeout(POLL + POLL / 2, tls.follow(&mut follower, &mut reload)).await;
    assert!(matches!(told, Ok(TlsError::Pair { .. })), "and then it is");
    assert!(Arc::ptr_eq(&second, &tls.current.read().expect("nobody panicked").config), "what worked is kept");
    let again = tokio::time::timeout(POLL * 10, tls.follow(&mut follower, &mut reload)).await;
    assert!(again.is_err(), "told once");
    fs::copy(&others.key, &files.key).expect("copied");
    let mended = tokio::time::timeout(POLL * 3, tls.follow(&mut follower, &mut reload)).await;
    assert!(mended.is_err());
    assert!(!Arc::ptr_eq(&second, &tls.current.read().expect("nobody panicked").config), "twin: the key came too");
}
