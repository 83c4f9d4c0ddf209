use std::collections::HashMap;
use std::path::Path;

use gigmcp_vault::{Context, KeyId, KeyRing, OpenError, PolicyHash, Sealed, SecretBytes, Vault};

/// Reads the published files with nothing but the public API, as another implementation would.
#[test]
fn published_vectors_do_what_they_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/gmv1");
    let mut seen = HashMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let vector: HashMap<&str, &str> =
            text.lines().map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""))).collect();
        let opened = Sealed::from_bytes(&hex(vector["sealed"]))
            .and_then(|sealed| vault(&vector).open(&context(&vector), &sealed));
        let expected = match vector["expect"] {
            "success" => Ok(SecretBytes::from(hex(vector["plaintext"]))),
            "refused" => Err(OpenError::Refused),
            other => panic!("{}: expect: {other}", path.display()),
        };
        assert_eq!(opened, expected, "{}", path.display());
        *seen.entry(String::from(vector["step"])).or_insert(0) += 1;
    }
    for step in ["none", "layout", "key", "unwrap", "commitment", "body"] {
        assert!(seen.get(step).is_some_and(|count| *count >= 2), "{step}: {seen:?}");
    }
}

fn vault(vector: &HashMap<&str, &str>) -> Vault {
    let number = |name: &str| -> u32 { vector[name].parse().unwrap() };
    let id = KeyId::from_bytes(hex(vector["key-id"]).try_into().unwrap());
    let key = SecretBytes::from(hex(vector["key"]));
    let mut ring = KeyRing::from_key(id, number("key-version"), &key).unwrap();
    while ring.active_version() < number("minimum-version") {
        ring.rotate().unwrap();
    }
    ring.raise_minimum_version(number("minimum-version").max(ring.minimum_version())).unwrap();
    Vault::new(ring)
}

fn context(vector: &HashMap<&str, &str>) -> Context {
    Context {
        tenant: vector["tenant"].parse().unwrap(),
        vault: vector["vault"].parse().unwrap(),
        secret: vector["secret"].parse().unwrap(),
        version: vector["version"].parse().unwrap(),
        purpose: vector["purpose"].parse().unwrap(),
        created_at: vector["created-at"].parse().unwrap(),
        policy: PolicyHash::from_bytes(hex(vector["policy-hash"]).try_into().unwrap()),
    }
}

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}
