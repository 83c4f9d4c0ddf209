use std::time::Duration;

use ed25519_dalek::Signer;
use gigmcp_registry::{Freshness, IndexFault, InvalidIndex, SignedIndex, Untrusted, Verified, VerifyError};

use crate::{MANIFEST, fresh, signed_by, signer};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// As the original's `build-index` writes it.
fn original() -> String {
    format!(
        r#"{{"schemaVersion":1,"generated":"2029-01-01T00:00:00Z","servers":{{"acme-notes":{{"latest":"1.2.0","versions":{{"1.2.0":{MANIFEST}}}}}}}}}"#
    )
}

/// As the original's `sign` writes it.
fn signature(seed: u8, text: &str) -> String {
    hex::encode(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).sign(text.as_bytes()).to_bytes())
}

fn verify(
    text: &str,
    signature: &str,
    freshness: &Freshness<'_>,
) -> Result<Verified<gigmcp_registry::Index>, VerifyError> {
    SignedIndex::danger_verify_original(text.as_bytes(), signature.as_bytes(), &signer(1).public_key(), YEAR, freshness)
}

#[test]
fn the_original_s_index_is_read_when_asked_for() {
    let text = original();
    let right = signature(1, &text);
    let verified = verify(&text, &right, &fresh()).unwrap();
    assert_eq!(verified.latest(&"acme-notes".parse().unwrap()).unwrap().version.to_string(), "1.2.0");
    assert_eq!(verified.expires, verified.generated + YEAR);
    assert!(verify(&text, &format!("{right}\n"), &fresh()).is_ok(), "a newline may follow");
    for (case, signature) in [
        ("another key", signature(2, &text)),
        ("another text", signature(1, "{}")),
        ("two newlines", format!("{right}\n\n")),
        ("upper-case hex", right.to_uppercase()),
        ("short", right[2..].into()),
        ("empty", String::new()),
    ] {
        let refused = verify(&text, &signature, &fresh());
        assert!(matches!(refused, Err(VerifyError::Untrusted(Untrusted::WrongSignature { .. }))), "{case}");
    }
}

#[test]
fn what_the_original_lacked_is_made_up_for() {
    let text = original();
    let right = signature(1, &text);
    let verified = verify(&text, &right, &fresh()).unwrap();
    let at = |now| verify(&text, &right, &Freshness { now, last_seen: None });
    assert!(at(verified.expires - Duration::from_secs(1)).is_ok());
    assert!(matches!(at(verified.expires), Err(VerifyError::Expired)));
    assert!(matches!(at(verified.generated - Duration::from_secs(3600)), Err(VerifyError::NotYetValid)));

    let later = text.replace("2029-01-01", "2029-01-02");
    let seen = verify(&later, &signature(1, &later), &fresh()).unwrap().seen().clone();
    let old = verify(&text, &right, &Freshness { last_seen: Some(&seen), ..fresh() });
    assert!(matches!(old, Err(VerifyError::Older { .. })));
    let repinned = text.replace("2029-01-01", "2029-01-03").replace("sha256:01", "sha256:02");
    let refused = verify(&repinned, &signature(1, &repinned), &Freshness { last_seen: Some(&seen), ..fresh() });
    assert!(matches!(refused, Err(VerifyError::Repinned { .. })));
}

#[test]
fn neither_format_passes_for_the_other() {
    let ours = crate::index(7);
    match verify(&ours, &signature(1, &ours), &fresh()) {
        Err(VerifyError::Invalid(InvalidIndex::Syntax(error))) => assert!(error.to_string().contains("sequence")),
        other => panic!("{other:?}"),
    }
    let theirs = original();
    let as_ours = SignedIndex::verify(theirs.as_bytes(), &signed_by(&[1], &theirs), &crate::root(&[1], 1), &fresh());
    assert!(matches!(as_ours, Err(VerifyError::Invalid(_))), "{as_ours:?}");
    let two = theirs.replace(r#"{"schemaVersion":1,"generated""#, r#"{"schemaVersion":2,"generated""#);
    match verify(&two, &signature(1, &two), &fresh()) {
        Err(VerifyError::Invalid(InvalidIndex::Faults(faults))) => {
            assert_eq!(faults, [IndexFault::SchemaVersion { found: 2, supported: 1 }]);
        }
        other => panic!("{other:?}"),
    }
}
