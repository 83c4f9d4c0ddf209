//! What the readers of a registry's files keep, whatever the bytes. Called by the fuzzer, and by a test with a few thousand
//! mutations.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a broken law")]

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use super::Index;
use crate::client::State;
use crate::envelope::Envelope;
use crate::keys::{SigningKey, TrustRoot};
use crate::root::{Root, RootError, SignedRoot};
use crate::seen::Seen;
use crate::signatures::Signatures;
use crate::verify::{Freshness, SignedIndex, VerifyError};

/// A file is trusted only if it is, byte for byte, one that the key has signed. What the key signs is refused for what it says
/// only; what is accepted has a canonical form that says the same, is accepted again, and excludes every other one of its
/// sequence number. Roots and what is stored have one spelling.
pub fn registry_index(bytes: &[u8]) {
    foreign(bytes);
    signed_index(bytes);
    signed_root(bytes);
    if let Ok(seen) = Seen::from_json(bytes) {
        assert_eq!(Seen::from_json(seen.to_json().as_bytes()).unwrap(), seen);
    }
    if let Ok(state) = State::from_bytes(bytes) {
        assert_eq!(State::from_bytes(&state.to_bytes()).unwrap(), state);
    }
}

fn foreign(file: &[u8]) {
    let Ok(envelope) = Envelope::split(file) else { return };
    let Ok(signatures) = envelope.signatures() else { return };
    assert_eq!(Envelope::join(&signatures, envelope.document()), file, "signatures have one spelling");
    if SignedIndex::verify(envelope.document(), &signatures, &trusted(), &at(moment(), None)).is_ok() {
        let ours = key().sign_index(envelope.document());
        assert!(signatures.iter().any(|signature| *signature == ours), "another signature of the same");
    }
}

fn signed_index(bytes: &[u8]) {
    let verify = |bytes: &[u8], now, last_seen| {
        let signatures = Signatures::new(vec![key().sign_index(bytes)]);
        SignedIndex::verify(bytes, &signatures, &trusted(), &at(now, last_seen))
    };
    let Ok(index) = Index::parse(bytes) else {
        let refused = verify(bytes, moment(), None);
        assert!(matches!(refused, Err(VerifyError::Invalid(_))), "{refused:?}");
        return;
    };
    let verified = verify(bytes, index.generated, None).unwrap();
    assert_eq!(*verified, index);
    assert!(matches!(verify(bytes, index.expires, None), Err(VerifyError::Expired)));
    let canonical = index.to_json();
    let again = verify(canonical.as_bytes(), index.generated, None).unwrap();
    assert_eq!((&*again, again.to_json()), (&index, canonical.clone()));
    let both = verify(canonical.as_bytes(), index.generated, Some(verified.seen()));
    match both {
        Ok(_) => assert_eq!(canonical.as_bytes(), bytes),
        Err(error) => {
            assert!(matches!(error, VerifyError::Forked { .. }) && canonical.as_bytes() != bytes, "{error:?}")
        }
    }
    assert_eq!(&Seen::from_json(verified.seen().to_json().as_bytes()).unwrap(), verified.seen());
    assert!(index.changes_to(&again).is_empty());
}

fn signed_root(bytes: &[u8]) {
    let signatures = Signatures::new(vec![key().sign_root(bytes)]);
    let pinned = SignedRoot::pinned(bytes, &signatures);
    match Root::danger_from_unverified_json(bytes) {
        Ok(root) => {
            assert_eq!(root.to_json().as_bytes(), bytes);
            assert_eq!(
                pinned.is_ok(),
                root.root.threshold().get() == 1 && root.root.keys().any(|one| *one == key().public_key())
            );
        }
        Err(_) => assert!(matches!(pinned, Err(RootError::Invalid(_) | RootError::TooLong { .. })), "{pinned:?}"),
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn trusted() -> TrustRoot {
    TrustRoot::new([key().public_key()], NonZeroUsize::MIN).unwrap()
}

fn at(now: SystemTime, last_seen: Option<&Seen>) -> Freshness<'_> {
    Freshness { now, last_seen }
}

/// The middle of 2029, when the signed seed is valid.
fn moment() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_877_000_000)
}
