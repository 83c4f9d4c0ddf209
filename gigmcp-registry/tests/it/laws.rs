//! What holds for every index and root that can be made, whoever signs it.

use std::collections::BTreeSet;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::{Duration, SystemTime};

use gigmcp_registry::{
    Envelope, Freshness, Index, IndexBuilder, Manifest, Root, Signatures, SignedIndex, SignedRoot, TrustRoot,
};
use proptest::prelude::*;
use proptest::sample::Index as At;

use crate::{MANIFEST, signer};

/// Up to five versions of up to four servers, with a sequence number and some hours of validity.
fn indexes() -> impl Strategy<Value = Index> {
    let server = (0..4_u8, 0..20_u64, 0..3_u64, any::<u8>());
    (any::<u64>(), 0..100_000_u32, 1..1000_u32, proptest::collection::vec(server, 0..5)).prop_map(
        |(sequence, generated, hours, servers)| {
            let generated = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(generated) * 3600);
            let mut builder =
                IndexBuilder::new(sequence, generated, Duration::from_secs(u64::from(hours) * 3600)).unwrap();
            let mut there = BTreeSet::new();
            for (name, minor, patch, image) in servers {
                if there.insert((name, minor, patch)) {
                    let text = MANIFEST
                        .replace("acme-notes", &format!("notes-{name}"))
                        .replace("\"1.2.0\"", &format!("\"1.{minor}.{patch}\""))
                        .replace("sha256:01", &format!("sha256:{image:02x}"));
                    builder.add(Manifest::from_json(text.as_bytes()).unwrap()).unwrap();
                }
            }
            builder.build()
        },
    )
}

fn trusted(seeds: &BTreeSet<u8>, threshold: usize) -> TrustRoot {
    let keys = seeds.iter().map(|seed| signer(*seed).public_key());
    TrustRoot::new(keys, NonZeroUsize::new(threshold).unwrap()).unwrap()
}

fn seeds() -> impl Strategy<Value = BTreeSet<u8>> {
    proptest::collection::btree_set(0..8_u8, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_index_is_accepted_by_exactly_the_threshold(
        index in indexes(), trusted_seeds in seeds(), signers in seeds(), threshold in any::<At>(),
    ) {
        let threshold = threshold.index(trusted_seeds.len()) + 1;
        let text = index.to_json();
        let signatures =
            Signatures::new(signers.iter().map(|seed| signer(*seed).sign_index(text.as_bytes())).collect());
        let file = Envelope::join(&signatures, text.as_bytes());
        let envelope = Envelope::split(&file).unwrap();
        let freshness = Freshness { now: index.generated, last_seen: None };
        let verified = SignedIndex::verify(
            envelope.document(), &envelope.signatures().unwrap(), &trusted(&trusted_seeds, threshold), &freshness,
        );
        let enough = signers.intersection(&trusted_seeds).count() >= threshold;
        prop_assert_eq!(verified.as_deref().ok(), enough.then_some(&index));
    }

    #[test]
    fn a_changed_truncated_or_longer_file_is_never_accepted(
        index in indexes(), at in any::<At>(), bit in 0..8_u8, more in proptest::collection::vec(any::<u8>(), 1..20),
    ) {
        let text = index.to_json();
        let signatures = Signatures::new(vec![signer(1).sign_index(text.as_bytes())]);
        let file = Envelope::join(&signatures, text.as_bytes());
        let root = trusted(&[1].into(), 1);
        let accepted = |file: &[u8]| {
            let freshness = Freshness { now: index.generated, last_seen: None };
            let envelope = Envelope::split(file).ok()?;
            SignedIndex::verify(envelope.document(), &envelope.signatures().ok()?, &root, &freshness).ok()
        };
        let at = at.index(file.len());
        let mut changed = file.clone();
        changed[at] ^= 1 << bit;
        prop_assert!(accepted(&changed).is_none(), "bit {bit} of byte {at}");
        prop_assert!(accepted(&file[..at]).is_none(), "cut at {at}");
        prop_assert!(accepted(&[&file[..], &more].concat()).is_none(), "longer");
        prop_assert!(accepted(&[&file[..at], &more, &file[at..]].concat()).is_none(), "{more:?} inserted at {at}");
        prop_assert!(accepted(&file).is_some());
    }

    #[test]
    fn what_was_accepted_once_is_never_rolled_back(first in indexes(), second in indexes()) {
        let root = trusted(&[1].into(), 1);
        let verify = |index: &Index, last_seen| {
            let text = index.to_json();
            let signatures = Signatures::new(vec![signer(1).sign_index(text.as_bytes())]);
            SignedIndex::verify(text.as_bytes(), &signatures, &root, &Freshness { now: index.generated, last_seen })
        };
        let seen = verify(&first, None).unwrap().seen().clone();
        if let Ok(verified) = verify(&second, Some(&seen)) {
            prop_assert!(second.sequence > first.sequence || second == first);
            for manifest in first.manifests() {
                let now = second.version(&manifest.name, &manifest.version);
                prop_assert!(now.is_none_or(|now| now.image.digest == manifest.image.digest));
            }
            // And the other way round only if they are the same.
            prop_assert_eq!(verify(&first, Some(verified.seen())).is_ok(), first == second);
        }
    }

    #[test]
    fn a_root_follows_only_with_both_thresholds(
        old in seeds(), new in seeds(), signers in seeds(), thresholds in (any::<At>(), any::<At>()),
    ) {
        let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let threshold = |at: At, keys: &BTreeSet<u8>| at.index(keys.len()) + 1;
        let (needed_old, needed_new) = (threshold(thresholds.0, &old), threshold(thresholds.1, &new));
        let root = |version: u64, keys: &BTreeSet<u8>, needed| {
            let version = NonZeroU64::new(version).unwrap();
            Root::new(version, expires, trusted(keys, needed), trusted(&[9].into(), 1)).unwrap().to_json()
        };
        let signed = |text: &str, seeds: &BTreeSet<u8>| {
            Signatures::new(seeds.iter().map(|seed| signer(*seed).sign_root(text.as_bytes())).collect())
        };
        let text = root(1, &old, needed_old);
        let one = SignedRoot::pinned(text.as_bytes(), &signed(&text, &old)).unwrap();
        let text = root(2, &new, needed_new);
        let next = one.next(text.as_bytes(), &signed(&text, &signers));
        let enough = signers.intersection(&old).count() >= needed_old && signers.intersection(&new).count() >= needed_new;
        prop_assert_eq!(next.is_ok(), enough, "{:?}", next);
    }
}
