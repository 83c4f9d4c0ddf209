use std::time::Duration;

use gigmcp_registry::{
    Digest, Freshness, MAX_CLOCK_SKEW, MAX_INDEX_BYTES, Seen, Signatures, SignedIndex, Untrusted, VerifyError,
};

use crate::{expiry, fresh, index, root, signed_by, signer};

#[test]
fn a_signed_index_is_accepted_and_read() {
    let text = index(7);
    let verified = SignedIndex::verify(text.as_bytes(), &signed_by(&[1], &text), &root(&[1], 1), &fresh()).unwrap();
    assert_eq!((verified.sequence, verified.expires), (7, expiry()));
    assert_eq!((verified.seen().sequence(), verified.seen().digest()), (7, Digest::of(text.as_bytes())));
    let name = "acme-notes".parse().unwrap();
    let manifest = verified.latest(&name).unwrap();
    assert_eq!(manifest.version.to_string(), "1.2.0");
    assert_eq!(verified.version(&name, &manifest.version), Some(manifest));
    assert_eq!(verified.version(&name, &"1.2.1".parse().unwrap()), None);
    assert_eq!(verified.latest(&"acme".parse().unwrap()), None);
}

#[test]
fn every_changed_byte_of_the_index_is_refused_before_parsing() {
    // Each byte of a small one; of one with a manifest every 16th, since a verification takes long unoptimised.
    let small = r#"{"schemaVersion":2,"sequence":7,"generated":"2029-01-01T00:00:00Z","expires":"2030-01-01T00:00:00Z","servers":{}}"#;
    for (text, step) in [(String::from(small), 1), (index(7), 16)] {
        let (signatures, root) = (signed_by(&[1], &text), root(&[1], 1));
        let refused = |bytes: &[u8]| {
            let verified = SignedIndex::verify(bytes, &signatures, &root, &fresh());
            matches!(verified, Err(VerifyError::Untrusted(Untrusted::WrongSignature { .. })))
        };
        for at in (0..text.len()).step_by(step) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << (at % 8);
            assert!(refused(&bytes), "byte {at} of {text}");
        }
        assert!(refused(&text.as_bytes()[1..]), "first byte missing");
        assert!(refused(&text.as_bytes()[..text.len() - 1]), "last byte missing");
        assert!(refused(format!("{text}\n").as_bytes()), "a newline more");
        assert!(refused(b""), "nothing");
        assert!(SignedIndex::verify(text.as_bytes(), &signatures, &root, &fresh()).is_ok());
    }
}

#[test]
fn every_changed_byte_of_the_signatures_is_refused() {
    let text = index(7);
    let root = root(&[1], 1);
    let document = signed_by(&[1], &text).to_json();
    let verify = |document: &[u8]| {
        let signatures = Signatures::from_json(document).ok()?;
        SignedIndex::verify(text.as_bytes(), &signatures, &root, &fresh()).ok()
    };
    for at in 0..document.len() {
        // The bit that turns a letter into its capital: hex has one spelling, and so have the field names.
        let mut bytes = document.clone().into_bytes();
        bytes[at] ^= 0x20;
        assert!(verify(&bytes).is_none(), "byte {at}");
        bytes[at] ^= 0x20 ^ 0x01;
        assert!(verify(&bytes).is_none(), "byte {at}");
    }
    assert!(verify(document.as_bytes()).is_some());
}

#[test]
fn the_threshold_counts_distinct_trusted_keys() {
    let text = index(7);
    let other = index(8);
    for (case, trusted, threshold, signed, expected) in [
        ("two of three", &[1, 2, 3][..], 2, &[1, 3][..], None),
        ("all three", &[1, 2, 3], 2, &[1, 2, 3], None),
        ("one too few", &[1, 2, 3], 2, &[2], Some((1, 2))),
        ("one key twice", &[1, 2, 3], 2, &[2, 2], Some((1, 2))),
        ("one key twice, and another", &[1, 2, 3], 2, &[2, 2, 1], None),
        ("a stranger", &[1, 2, 3], 2, &[2, 9], Some((1, 2))),
        ("a stranger besides", &[1, 2, 3], 2, &[2, 9, 3], None),
        ("nobody", &[1], 1, &[], Some((0, 1))),
    ] {
        let verified =
            SignedIndex::verify(text.as_bytes(), &signed_by(signed, &text), &root(trusted, threshold), &fresh());
        match (verified, expected) {
            (Ok(_), None) => {}
            (Err(VerifyError::Untrusted(Untrusted::Threshold { signed, needed })), Some(expected)) => {
                assert_eq!((signed, needed), expected, "{case}");
            }
            (verified, _) => panic!("{case}: {verified:?}"),
        }
    }
    // A trusted key's signature of something else is an alarm, even where enough others are right.
    let mixed = Signatures::new(vec![
        signer(1).sign_index(text.as_bytes()),
        signer(2).sign_index(text.as_bytes()),
        signer(3).sign_index(other.as_bytes()),
    ]);
    let refused = SignedIndex::verify(text.as_bytes(), &mixed, &root(&[1, 2, 3], 2), &fresh());
    assert!(
        matches!(refused, Err(VerifyError::Untrusted(Untrusted::WrongSignature { key })) if key == signer(3).public_key().id())
    );
}

#[test]
fn a_signature_does_not_count_for_another_key() {
    let text = index(7);
    let document = signed_by(&[1], &text).to_json();
    let [one, two] = [1, 2].map(|seed| signer(seed).public_key().id().to_string());
    let renamed = Signatures::from_json(document.replace(&one, &two).as_bytes()).unwrap();
    let refused = SignedIndex::verify(text.as_bytes(), &renamed, &root(&[1, 2], 1), &fresh());
    assert!(matches!(refused, Err(VerifyError::Untrusted(Untrusted::WrongSignature { .. }))), "{refused:?}");
}

#[test]
fn expiry_is_exact() {
    let text = index(7);
    let (signatures, root) = (signed_by(&[1], &text), root(&[1], 1));
    let at = |now| SignedIndex::verify(text.as_bytes(), &signatures, &root, &Freshness { now, last_seen: None });
    assert!(at(expiry() - Duration::from_secs(1)).is_ok());
    assert!(matches!(at(expiry()), Err(VerifyError::Expired)));
    assert!(matches!(at(expiry() + Duration::from_secs(1)), Err(VerifyError::Expired)));
}

#[test]
fn older_and_forked_indexes_are_refused() {
    let root = root(&[1], 1);
    let verify = |text: &str, last_seen: Option<&Seen>| {
        SignedIndex::verify(text.as_bytes(), &signed_by(&[1], text), &root, &Freshness { last_seen, ..fresh() })
    };
    let seven = verify(&index(7), None).unwrap().seen().clone();
    assert_eq!(verify(&index(7), Some(&seven)).unwrap().seen(), &seven, "the same again");
    let eight = verify(&index(8), Some(&seven)).unwrap().seen().clone();
    assert!(matches!(verify(&index(7), Some(&eight)), Err(VerifyError::Older { sequence: 7, last_seen: 8 })));
    let fork = index(8).replace("Acme Notes", "Acme Fork");
    assert!(matches!(verify(&fork, Some(&eight)), Err(VerifyError::Forked { sequence: 8 })));
    assert!(verify(&fork, Some(&seven)).is_ok(), "the fork alone is a good index");
}

#[test]
fn an_index_that_is_too_long_is_not_looked_at() {
    let padded = |length: usize| {
        let text = index(7);
        let padding = " ".repeat(length - text.len());
        text + &padding
    };
    let verify = |text: &str| SignedIndex::verify(text.as_bytes(), &signed_by(&[1], text), &root(&[1], 1), &fresh());
    assert!(verify(&padded(MAX_INDEX_BYTES)).is_ok());
    let refused = verify(&padded(MAX_INDEX_BYTES + 1));
    assert!(matches!(refused, Err(VerifyError::TooLong { length }) if length == MAX_INDEX_BYTES + 1));
}

#[test]
fn a_signature_of_the_bare_bytes_is_none_of_an_index() {
    // What another program's keys sign without our label must not become an index of ours.
    use ed25519_dalek::Signer;
    let text = index(7);
    let bare = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).sign(text.as_bytes());
    let document = format!(
        r#"{{"signatures":[{{"keyId":"{}","signature":"{}"}}]}}"#,
        signer(1).public_key().id(),
        hex::encode(bare.to_bytes())
    );
    let signatures = Signatures::from_json(document.as_bytes()).unwrap();
    let refused = SignedIndex::verify(text.as_bytes(), &signatures, &root(&[1], 1), &fresh());
    assert!(matches!(refused, Err(VerifyError::Untrusted(Untrusted::WrongSignature { .. }))));
    // The message as the README states it, made without this crate.
    let message = format!("gigmcp index v2\n{}\n", Digest::of(text.as_bytes()));
    let labelled = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).sign(message.as_bytes());
    let document = document.replace(&hex::encode(bare.to_bytes()), &hex::encode(labelled.to_bytes()));
    let signatures = Signatures::from_json(document.as_bytes()).unwrap();
    assert!(SignedIndex::verify(text.as_bytes(), &signatures, &root(&[1], 1), &fresh()).is_ok());
}

#[test]
fn an_index_of_the_future_is_refused() {
    let text = index(7);
    let (signatures, root) = (signed_by(&[1], &text), root(&[1], 1));
    let generated = expiry() - Duration::from_secs(365 * 24 * 3600);
    let at = |now| SignedIndex::verify(text.as_bytes(), &signatures, &root, &Freshness { now, last_seen: None });
    assert_eq!(at(generated).unwrap().generated, generated);
    assert!(at(generated - MAX_CLOCK_SKEW).is_ok(), "clocks differ a little");
    assert!(matches!(at(generated - MAX_CLOCK_SKEW - Duration::from_secs(1)), Err(VerifyError::NotYetValid)));
}

#[test]
fn a_version_keeps_its_image() {
    let root = root(&[1], 1);
    let verify = |text: &str, last_seen: Option<&Seen>| {
        SignedIndex::verify(text.as_bytes(), &signed_by(&[1], text), &root, &Freshness { last_seen, ..fresh() })
            .map(|verified| verified.seen().clone())
    };
    let other_image = |text: String| text.replace("sha256:01", "sha256:02");
    let seven = verify(&index(7), None).unwrap();
    match verify(&other_image(index(8)), Some(&seven)) {
        Err(VerifyError::Repinned { name, version, before, now }) => {
            assert_eq!((name.as_str(), version.to_string().as_str()), ("acme-notes", "1.2.0"));
            assert!(before.to_string().starts_with("sha256:01") && now.to_string().starts_with("sha256:02"));
        }
        other => panic!("{other:?}"),
    }
    // Twins: the same image, the other one under a new version, and with nothing seen before.
    assert!(verify(&index(8), Some(&seven)).is_ok());
    assert!(verify(&other_image(index(8)).replace("1.2.0", "1.2.1"), Some(&seven)).is_ok());
    assert!(verify(&other_image(index(8)), None).is_ok());
    // What was gone meanwhile comes back as it was; what is seen can be stored as text.
    let none = r#"{"schemaVersion":2,"sequence":8,"generated":"2029-01-01T00:00:00Z","expires":"2030-01-01T00:00:00Z","servers":{}}"#;
    let eight = verify(none, Some(&seven)).unwrap();
    let eight = Seen::from_json(eight.to_json().as_bytes()).unwrap();
    assert!(matches!(verify(&other_image(index(9)), Some(&eight)), Err(VerifyError::Repinned { .. })));
    assert!(verify(&index(9), Some(&eight)).is_ok());
}
