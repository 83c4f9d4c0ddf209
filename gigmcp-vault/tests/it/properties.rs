use gigmcp_vault::{Context, KeyId, KeyRing, OpenError, PolicyHash, Sealed, SecretBytes, Vault};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

fn contexts() -> impl Strategy<Value = Context> {
    let name = || "[a-zé/]{1,20}";
    (name(), name(), name(), any::<u64>(), name(), any::<u64>(), any::<[u8; 32]>()).prop_map(
        |(tenant, vault, secret, version, purpose, created_at, policy)| Context {
            tenant: tenant.parse().unwrap(),
            vault: vault.parse().unwrap(),
            secret: secret.parse().unwrap(),
            version,
            purpose: purpose.parse().unwrap(),
            created_at,
            policy: PolicyHash::from_bytes(policy),
        },
    )
}

fn vaults() -> impl Strategy<Value = Vault> {
    (any::<[u8; 16]>(), 1..=u32::MAX, any::<[u8; 32]>()).prop_map(|(id, version, key)| {
        Vault::new(KeyRing::from_key(KeyId::from_bytes(id), version, &SecretBytes::from(key.to_vec())).unwrap())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn open_is_the_reverse_of_seal(vault in vaults(), context in contexts(), secret in vec(any::<u8>(), 0..2000)) {
        let sealed = vault.seal(&context, SecretBytes::from(secret.clone())).unwrap();
        prop_assert_eq!(sealed.as_bytes().len(), secret.len() + 206);
        let stored = Sealed::from_bytes(sealed.as_bytes()).unwrap();
        let made = [&stored, &vault.rewrap(&context, &stored).unwrap(), &vault.reencrypt(&context, &stored).unwrap()]
            .map(|sealed| vault.open(&context, sealed));
        for opened in made {
            prop_assert_eq!(opened, Ok(SecretBytes::from(secret.clone())));
        }
    }

    #[test]
    fn nothing_opens_under_two_contexts_or_two_keys(
        vault in vaults(), other_vault in vaults(), context in contexts(), other in contexts(),
    ) {
        prop_assume!(context != other);
        let sealed = vault.seal(&context, SecretBytes::from(b"token".to_vec())).unwrap();
        prop_assert_eq!(vault.open(&other, &sealed), Err(OpenError::Refused));
        prop_assert_eq!(other_vault.open(&context, &sealed), Err(OpenError::Refused));
    }

    #[test]
    fn whatever_is_changed_does_not_open(
        vault in vaults(), context in contexts(), secret in vec(any::<u8>(), 0..200),
        changes in vec((any::<Index>(), 1..=255_u8), 1..5),
    ) {
        let sealed = vault.seal(&context, SecretBytes::from(secret)).unwrap();
        let mut bytes = sealed.as_bytes().to_vec();
        for (at, change) in changes {
            let at = at.index(bytes.len());
            bytes[at] ^= change;
        }
        prop_assume!(bytes != sealed.as_bytes());
        let opened = Sealed::from_bytes(&bytes).and_then(|sealed| vault.open(&context, &sealed));
        prop_assert_eq!(opened, Err(OpenError::Refused));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..500)) {
        if let Ok(sealed) = Sealed::from_bytes(&bytes) {
            prop_assert_eq!(sealed.as_bytes(), bytes.as_slice());
        }
    }
}
