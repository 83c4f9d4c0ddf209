use std::num::{NonZeroU64, NonZeroUsize};
use std::time::{Duration, SystemTime};

use gigmcp_registry::{
    Envelope, Freshness, InvalidKey, InvalidRoot, InvalidTrustRoot, Root, RootError, Signatures, SignedIndex,
    SignedRoot, Untrusted, Verified,
};

use crate::{expiry, fresh, index, root as keys, signed_by, signer};

/// A root of that version, with keys of these seeds, two of the root keys must sign, one of the index keys.
fn root(version: u64, root_seeds: &[u8], index_seeds: &[u8]) -> String {
    let root_keys = keys(root_seeds, root_seeds.len().min(2));
    Root::new(NonZeroU64::new(version).unwrap(), expiry(), root_keys, keys(index_seeds, 1)).unwrap().to_json()
}

fn signed(seeds: &[u8], root: &str) -> Signatures {
    Signatures::new(seeds.iter().map(|seed| signer(*seed).sign_root(root.as_bytes())).collect())
}

fn pinned(root: &str, signed_by: &[u8]) -> Result<Verified<Root>, RootError> {
    SignedRoot::pinned(root.as_bytes(), &signed(signed_by, root))
}

#[test]
fn keys_are_rotated_by_roots_signed_by_old_and_new() {
    let one = pinned(&root(1, &[1, 2, 3], &[11]), &[1, 2]).unwrap();
    // 3 goes, 4 comes; then all at once; the index key with them.
    let text = root(2, &[1, 2, 4], &[11, 12]);
    let two = one.next(text.as_bytes(), &signed(&[1, 2], &text)).unwrap();
    let text = root(3, &[5, 6, 7], &[13]);
    let three = two.next(text.as_bytes(), &signed(&[2, 4, 5, 7], &text)).unwrap();
    assert_eq!((three.version.get(), three.seen().sequence()), (3, 3));

    let now = fresh().now;
    for (root, signer, trusted) in [(&one, 11, true), (&one, 12, false), (&two, 12, true), (&three, 13, true)] {
        let text = index(7);
        let verified = SignedIndex::verify(
            text.as_bytes(),
            &signed_by(&[signer], &text),
            root.index_keys(now).unwrap(),
            &Freshness { now, last_seen: None },
        );
        assert_eq!(verified.is_ok(), trusted, "version {}, key {signer}", root.version);
    }
}

#[test]
fn a_root_that_does_not_follow_is_refused() {
    let one = pinned(&root(1, &[1, 2, 3], &[11]), &[1, 2]).unwrap();
    let by_old = |signed, needed| RootError::NotByTheOneBefore(Untrusted::Threshold { signed, needed });
    let by_new = |signed, needed| RootError::NotByItself(Untrusted::Threshold { signed, needed });
    let version = |found| RootError::Version { current: one.version, found: NonZeroU64::new(found).unwrap() };
    for (case, text, signers, expected) in [
        ("as it should be", root(2, &[1, 2, 4], &[11]), &[1, 2][..], None),
        ("by one old key", root(2, &[1, 2, 4], &[11]), &[1, 4], Some(by_old(1, 2))),
        ("by one old key twice", root(2, &[1, 2, 4], &[11]), &[1, 1], Some(by_old(1, 2))),
        ("by the index key", root(2, &[1, 2, 4], &[11]), &[1, 11], Some(by_old(1, 2))),
        ("by strangers", root(2, &[8, 9], &[11]), &[8, 9], Some(by_old(0, 2))),
        ("not by the new keys", root(2, &[4, 5], &[11]), &[1, 2], Some(by_new(0, 2))),
        ("by one of the new keys", root(2, &[4, 5], &[11]), &[1, 2, 4], Some(by_new(1, 2))),
        ("the same version again", root(1, &[1, 2, 3], &[11]), &[1, 2], Some(version(1))),
        ("a version is skipped", root(3, &[1, 2, 3], &[11]), &[1, 2], Some(version(3))),
        ("nobody", root(2, &[1, 2, 3], &[11]), &[], Some(by_old(0, 2))),
    ] {
        let next = one.next(text.as_bytes(), &signed(signers, &text));
        match (next, expected) {
            (Ok(_), None) => {}
            (Err(found), Some(expected)) => assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{case}"),
            (next, _) => panic!("{case}: {next:?}"),
        }
    }
    // Downgrade: an older root is none that follows, though its signatures were right once.
    let text = root(2, &[1, 2, 4], &[11]);
    let two = one.next(text.as_bytes(), &signed(&[1, 2], &text)).unwrap();
    let refused = two.next(text.as_bytes(), &signed(&[1, 2], &text));
    assert!(matches!(refused, Err(RootError::Version { .. })), "{refused:?}");
}

#[test]
fn a_threshold_is_lowered_only_by_those_whom_it_binds() {
    let one = pinned(&root(1, &[1, 2, 3], &[11]), &[1, 2]).unwrap();
    let lone = Root::new(NonZeroU64::new(2).unwrap(), expiry(), keys(&[1], 1), keys(&[11], 1)).unwrap().to_json();
    let refused = one.next(lone.as_bytes(), &signed(&[1], &lone));
    assert!(matches!(refused, Err(RootError::NotByTheOneBefore(Untrusted::Threshold { signed: 1, needed: 2 }))));
    assert!(one.next(lone.as_bytes(), &signed(&[1, 2], &lone)).is_ok());
}

#[test]
fn a_pinned_root_is_signed_by_itself() {
    let text = root(5, &[1, 2, 3], &[11]);
    assert_eq!(pinned(&text, &[1, 3]).unwrap().version.get(), 5);
    for (signers, count) in [(&[1][..], 1), (&[1, 1], 1), (&[], 0), (&[11, 12], 0)] {
        match pinned(&text, signers) {
            Err(RootError::NotByItself(Untrusted::Threshold { signed, needed: 2 })) => assert_eq!(signed, count),
            other => panic!("{signers:?}: {other:?}"),
        }
    }
}

#[test]
fn an_expired_root_leads_on_but_trusts_no_index() {
    let one = pinned(&root(1, &[1, 2], &[11]), &[1, 2]).unwrap();
    assert!(one.index_keys(expiry() - Duration::from_secs(1)).is_ok());
    let expired = one.index_keys(expiry());
    assert!(matches!(expired, Err(RootError::Expired { version }) if version.get() == 1));
    let later = expiry() + Duration::from_secs(24 * 3600);
    let text = Root::new(NonZeroU64::new(2).unwrap(), later, keys(&[1, 2], 2), keys(&[11], 1)).unwrap().to_json();
    let two = one.next(text.as_bytes(), &signed(&[1, 2], &text)).unwrap();
    assert!(two.index_keys(expiry()).is_ok());
}

#[test]
fn every_changed_byte_of_a_root_is_refused() {
    let one = pinned(&root(1, &[1], &[11]), &[1]).unwrap();
    let text = root(2, &[1], &[12]);
    let signatures = signed(&[1], &text);
    let refused = |bytes: &[u8]| {
        let next = one.next(bytes, &signatures);
        matches!(next, Err(RootError::NotByTheOneBefore(Untrusted::WrongSignature { .. })))
    };
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1 << (at % 8);
        assert!(refused(&bytes), "byte {at}");
    }
    assert!(refused(&text.as_bytes()[..text.len() - 1]) && refused(format!("{text}\n").as_bytes()));
    assert!(one.next(text.as_bytes(), &signatures).is_ok());
}

#[test]
fn signatures_of_one_kind_of_document_are_none_of_another() {
    let text = root(2, &[1], &[1]);
    let one = pinned(&root(1, &[1], &[1]), &[1]).unwrap();
    let as_index = one.next(text.as_bytes(), &signed_by(&[1], &text));
    assert!(matches!(as_index, Err(RootError::NotByTheOneBefore(Untrusted::WrongSignature { .. }))), "{as_index:?}");
    let text = index(7);
    let as_root = SignedIndex::verify(text.as_bytes(), &signed(&[1], &text), &keys(&[1], 1), &fresh());
    assert!(as_root.is_err());
    assert!(SignedIndex::verify(text.as_bytes(), &signed_by(&[1], &text), &keys(&[1], 1), &fresh()).is_ok());
}

#[test]
fn a_signature_does_not_excuse_the_root_s_format() {
    let good = root(1, &[1, 2], &[11]);
    let [one, two] = [1, 2].map(|seed| signer(seed).public_key().to_string());
    let (first, second) = if one < two { (one, two) } else { (two, one) };
    for (case, text, expected) in [
        ("not JSON", String::from("root"), "Syntax"),
        ("unknown field", good.replacen('{', r#"{"more":1,"#, 1), "Syntax"),
        ("field twice", good.replacen('{', r#"{"version":9,"#, 1), "Syntax"),
        ("version zero", good.replace(r#""version":1"#, r#""version":0"#), "Syntax"),
        ("threshold zero", good.replace(r#""threshold":1"#, r#""threshold":0"#), "Syntax"),
        (
            "keys as an array",
            good.replace(r#""index":{"threshold":1,"keys":"#, r#""index":[1,"#).replace("]}}", "]]}"),
            "Syntax",
        ),
        ("another schema", good.replace(r#""schemaVersion":1"#, r#""schemaVersion":2"#), "SchemaVersion { found: 2 }"),
        ("no moment", good.replace("2030-01-01T00:00:00Z", "2030-01-01"), "Expires"),
        ("the same key twice", good.replace(&second, &first), "Keys(Repeated"),
        ("a threshold that cannot be met", good.replace(r#""threshold":2"#, r#""threshold":3"#), "Keys(TooFew"),
        ("a huge threshold", good.replace(r#""threshold":2"#, &format!(r#""threshold":{}"#, u64::MAX)), "Keys(TooFew"),
        ("a key of small order", good.replace(&first, &"00".repeat(32)), "Key(Point)"),
        ("an upper-case key", good.replace(&first, &first.to_uppercase()), "Key(Hex)"),
        ("a blank", good.replacen(':', ": ", 1), "NotCanonical"),
        ("a newline behind it", format!("{good}\n"), "NotCanonical"),
        (
            "keys in another order",
            good.replace(&format!("{first}\",\"{second}"), &format!("{second}\",\"{first}")),
            "NotCanonical",
        ),
        ("another spelling", good.replace("version\"", "\\u0076ersion\""), "NotCanonical"),
    ] {
        assert_ne!(text, good, "{case}");
        let one = pinned(&text, &[1, 2]);
        match one {
            Err(RootError::Invalid(invalid)) => {
                assert!(format!("{invalid:?}").starts_with(expected), "{case}: {invalid:?}")
            }
            other => panic!("{case}: {other:?}"),
        }
        // The same, signed by a root that is trusted.
        let before = pinned(&root(1, &[1, 2], &[11]), &[1, 2]).unwrap();
        let next = before.next(text.as_bytes(), &signed(&[1, 2], &text));
        assert!(matches!(next, Err(RootError::Invalid(_))), "{case}: {next:?}");
    }
    assert!(pinned(&good, &[1, 2]).is_ok());
    assert!(matches!(
        Root::danger_from_unverified_json(good.replace(&first, &second).as_bytes()),
        Err(InvalidRoot::Keys(InvalidTrustRoot::Repeated { .. }))
    ));
    assert!(matches!(
        Root::danger_from_unverified_json(good.replace(&first, "00").as_bytes()),
        Err(InvalidRoot::Key(InvalidKey::Hex))
    ));
}

#[test]
fn a_root_that_is_too_long_is_not_looked_at() {
    let root = root(1, &[1], &[11]);
    let text = format!("{root}{}", " ".repeat((64 << 10) + 1 - root.len()));
    assert!(matches!(pinned(&text, &[1]), Err(RootError::TooLong { length: 65_537 })));
    assert!(matches!(pinned(&text[..64 << 10], &[1]), Err(RootError::Invalid(InvalidRoot::NotCanonical))));
}

#[test]
fn a_root_and_its_signatures_travel_together() {
    let text = root(1, &[1, 2], &[11]);
    let file = Envelope::join(&signed(&[1, 2], &text), text.as_bytes());
    let envelope = Envelope::split(&file).unwrap();
    let root = SignedRoot::pinned(envelope.document(), &envelope.signatures().unwrap()).unwrap();
    assert_eq!(root.to_json(), text);
    assert_eq!(file.iter().filter(|byte| **byte == b'\n').count(), 1, "JSON lines");
}

#[test]
fn a_root_says_only_what_it_can() {
    let version = NonZeroU64::MIN;
    let odd = SystemTime::UNIX_EPOCH + Duration::from_millis(1);
    let root = |expires| Root::new(version, expires, keys(&[1], 1), keys(&[1], 1));
    assert!(matches!(root(odd), Err(InvalidRoot::Expires)));
    let twin = root(expiry()).unwrap();
    assert_eq!(twin.root.threshold(), NonZeroUsize::MIN);
}
