use gigmcp_vault::{
    Context, KeyId, KeyRing, MAX_SECRET_BYTES, OpenError, PolicyHash, RewrapError, SealError, Sealed, SecretBytes,
    Vault,
};

use crate::context;

fn vault() -> Vault {
    Vault::new(KeyRing::generate().unwrap())
}

fn seal(vault: &Vault, context: &Context, secret: &[u8]) -> Sealed {
    vault.seal(context, SecretBytes::from(secret.to_vec())).unwrap()
}

fn opens_as(vault: &Vault, context: &Context, sealed: &Sealed, secret: &[u8]) -> bool {
    vault.open(context, sealed) == Ok(SecretBytes::from(secret.to_vec()))
}

#[test]
fn what_is_sealed_opens_to_the_same_bytes() {
    let vault = vault();
    for secret in [Vec::new(), vec![0], b"token".to_vec(), vec![0xa5; 4096], vec![1; MAX_SECRET_BYTES]] {
        let sealed = seal(&vault, &context(), &secret);
        let stored = Sealed::from_bytes(sealed.as_bytes()).unwrap();
        assert!(opens_as(&vault, &context(), &stored, &secret), "{} bytes", secret.len());
    }
}

#[test]
fn longest_secret_and_one_byte_more() {
    let refused = vault().seal(&context(), SecretBytes::from(vec![1; MAX_SECRET_BYTES + 1]));
    assert!(matches!(refused, Err(SealError::TooLong { length }) if length == MAX_SECRET_BYTES + 1));
}

#[test]
fn sealing_twice_shares_no_random_part() {
    let vault = vault();
    let [one, two] = [(); 2].map(|()| seal(&vault, &context(), b"token"));
    let (one, two) = (one.as_bytes(), two.as_bytes());
    for (field, range) in [("wrap nonce", 26..50), ("wrapped key", 50..98), ("salt", 98..130), ("nonce", 162..186)] {
        assert_ne!(one[range.clone()], two[range], "{field}");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let vault = vault();
    let sealed = seal(&vault, &context(), b"token");
    for bit in 0..sealed.as_bytes().len() * 8 {
        let mut bytes = sealed.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let opened = Sealed::from_bytes(&bytes).and_then(|sealed| vault.open(&context(), &sealed));
        assert_eq!(opened, Err(OpenError::Refused), "bit {bit}");
    }
    assert!(opens_as(&vault, &context(), &sealed, b"token"));
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let vault = vault();
    let sealed = seal(&vault, &context(), b"token");
    for length in 0..sealed.as_bytes().len() {
        assert_eq!(Sealed::from_bytes(&sealed.as_bytes()[..length]), Err(OpenError::Refused), "{length}");
        // With the length field made to fit, where there is still room for it.
        if length >= 206 {
            let mut bytes = sealed.as_bytes()[..length].to_vec();
            bytes[186..190].copy_from_slice(&u32::try_from(length - 206).unwrap().to_be_bytes());
            let sealed = Sealed::from_bytes(&bytes).unwrap();
            assert_eq!(vault.open(&context(), &sealed), Err(OpenError::Refused), "{length}, consistent");
        }
    }
    let longer = [sealed.as_bytes(), &[0]].concat();
    assert_eq!(Sealed::from_bytes(&longer), Err(OpenError::Refused));
}

#[test]
fn every_field_of_the_context_is_bound() {
    let vault = vault();
    let sealed = seal(&vault, &context(), b"token");
    let context = context();
    for (field, changed) in [
        ("tenant", Context { tenant: "profile-8".parse().unwrap(), ..context.clone() }),
        ("vault", Context { vault: "other".parse().unwrap(), ..context.clone() }),
        ("secret", Context { secret: "github/toke".parse().unwrap(), ..context.clone() }),
        ("version", Context { version: 2, ..context.clone() }),
        ("purpose", Context { purpose: "query".parse().unwrap(), ..context.clone() }),
        ("created_at", Context { created_at: 1_767_225_601, ..context.clone() }),
        ("policy", Context { policy: PolicyHash::of(&[("hosts", &["evil.test"])]), ..context.clone() }),
    ] {
        assert_eq!(vault.open(&changed, &sealed), Err(OpenError::Refused), "{field}");
        assert!(matches!(vault.rewrap(&changed, &sealed), Err(RewrapError::Refused(_))), "{field}");
    }
    assert!(opens_as(&vault, &context, &sealed, b"token"));
}

#[test]
fn rows_and_their_parts_cannot_be_exchanged() {
    let vault = vault();
    let theirs = Context { tenant: "profile-8".parse().unwrap(), ..context() };
    let my_row = seal(&vault, &context(), b"mine!");
    let their_row = seal(&vault, &theirs, b"yours");
    assert_eq!(vault.open(&context(), &their_row), Err(OpenError::Refused), "whole row");
    assert_eq!(vault.open(&theirs, &my_row), Err(OpenError::Refused), "whole row, the other way");
    for (part, range) in [
        ("wrap", 26..98),
        ("wrap and salt", 26..130),
        ("wrap, salt and commitment", 26..162),
        ("all but the body", 0..190),
        ("nonce and body", 162..211),
        ("body", 190..211),
    ] {
        let mut bytes = my_row.as_bytes().to_vec();
        bytes[range.clone()].copy_from_slice(&their_row.as_bytes()[range]);
        let mixed = Sealed::from_bytes(&bytes).unwrap();
        assert_eq!(vault.open(&context(), &mixed), Err(OpenError::Refused), "{part}");
        assert_eq!(vault.open(&theirs, &mixed), Err(OpenError::Refused), "{part}, as theirs");
    }
    assert!(opens_as(&vault, &context(), &my_row, b"mine!") && opens_as(&vault, &theirs, &their_row, b"yours"));
}

#[test]
fn another_key_does_not_open() {
    let (id, other_id) = (KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
    let ring =
        |id, version, byte: u8| Vault::new(KeyRing::from_key(id, version, &SecretBytes::from(vec![byte; 32])).unwrap());
    let sealed = seal(&ring(id, 1, 7), &context(), b"token");
    for (case, vault) in [
        ("another key under the same id", ring(id, 1, 8)),
        ("the same key under another id", ring(other_id, 1, 7)),
        ("the same key as another version", ring(id, 2, 7)),
    ] {
        assert_eq!(vault.open(&context(), &sealed), Err(OpenError::Refused), "{case}");
    }
    assert!(opens_as(&ring(id, 1, 7), &context(), &sealed, b"token"));
}

#[test]
fn rewrap_changes_the_wrap_and_leaves_the_body() {
    let directory = tempdir();
    let path = directory.join("key");
    let before = Vault::new(KeyRing::create(&path).unwrap());
    let sealed = seal(&before, &context(), b"token");
    let mut ring = KeyRing::load(&path).unwrap();
    ring.rotate().unwrap();
    ring.save(&path).unwrap();
    let after = Vault::new(ring);

    assert!(opens_as(&after, &context(), &sealed, b"token"), "a retired key still opens");
    assert!(!after.is_current(&sealed));
    let rewrapped = after.rewrap(&context(), &sealed).unwrap();
    assert!(after.is_current(&rewrapped));
    assert_eq!(rewrapped.key_version(), 2);
    assert_eq!(rewrapped.as_bytes()[98..], sealed.as_bytes()[98..]);
    assert_eq!(rewrapped.commitment(), sealed.commitment());
    let reencrypted = after.reencrypt(&context(), &sealed).unwrap();
    assert_ne!(reencrypted.commitment(), sealed.commitment(), "another sealing of the same");
    for (field, range) in [("key id", 6..22), ("key version", 22..26), ("nonce", 26..50), ("wrapped key", 50..98)] {
        assert_ne!(rewrapped.as_bytes()[range.clone()], sealed.as_bytes()[range], "{field}");
    }
    assert!(opens_as(&after, &context(), &rewrapped, b"token"));
    assert_eq!(before.open(&context(), &rewrapped), Err(OpenError::Refused), "the old ring has no new key");

    let mut ring = KeyRing::load(&path).unwrap();
    ring.raise_minimum_version(2).unwrap();
    ring.save(&path).unwrap();
    let finished = Vault::new(KeyRing::load(&path).unwrap());
    assert_eq!(finished.open(&context(), &sealed), Err(OpenError::Refused), "rotation is over");
    assert!(matches!(finished.rewrap(&context(), &sealed), Err(RewrapError::Refused(_))));
    assert!(opens_as(&finished, &context(), &rewrapped, b"token"));
}

#[test]
fn errors_and_debug_tell_nothing() {
    let vault = vault();
    let sealed = seal(&vault, &context(), b"token");
    assert_eq!(OpenError::Refused.to_string(), "the sealed secret does not open");
    let shown = format!("{sealed:?}");
    assert_eq!(shown, format!("Sealed {{ key_id: {:?}, key_version: 1, bytes: 211 }}", vault.key_ring().active_id()));
}

fn tempdir() -> std::path::PathBuf {
    crate::key_file::directory("rewrap")
}
