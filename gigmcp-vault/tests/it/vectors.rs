use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use gigmcp_vault::{
    Context, KeyId, KeyRing, KeyWrap, LocalKey, OpenError, Passphrase, PolicyHash, Sealed, SecretBytes, SecretString,
    Vault,
};

use crate::key_file::directory;

/// Reads the published files with nothing but the public API, as another implementation would.
#[test]
fn published_vectors_do_what_they_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/gmv1");
    let mut seen = HashMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let vector = fields(&text);
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

/// The same files, by a program in another language that shares no code with this one.
#[test]
fn published_vectors_do_what_they_say_in_python_too() {
    let real =
        std::env::var_os("TEST_REAL_SERVERS").expect("run the tests by ./dev test: TEST_REAL_SERVERS is not set");
    let python = Path::new(&real).join("python/bin/python");
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let check = |vectors: &Path| {
        let output = Command::new(&python).arg("-B").arg(vectors.join("check.py")).arg(vectors).output().unwrap();
        let said = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (passed, said) = check(&vectors);
    assert!(passed, "{said}");
    let read: usize =
        said.split_whitespace().map(|word| word.split_once('=').unwrap().1.parse::<usize>().unwrap()).sum();
    let files = fs::read_dir(vectors.join("gmv1")).unwrap().count() + KEY_FILES.len();
    assert_eq!(read, files, "{said}");

    // It can fail: a vector whose expectation is changed, and one whose bytes are.
    for (name, from, to) in [
        ("gmv1/body-tag.txt", "step: body", "step: unwrap"),
        ("gmv1/success.txt", "plaintext: 61", "plaintext: 62"),
        ("gmv1/success.txt", "wrap-nonce: ", "wrap-nonce: 00"),
        ("keys/argon2id.keys", "65536:3:4:", "65536:4:4:"),
        ("keys/local.txt", "minimum-version: 2", "minimum-version: 3"),
    ] {
        let copy = directory("vectors");
        for folder in ["gmv1", "keys"] {
            fs::create_dir(copy.join(folder)).unwrap();
            for file in fs::read_dir(vectors.join(folder)).unwrap().map(Result::unwrap) {
                fs::copy(file.path(), copy.join(folder).join(file.file_name())).unwrap();
            }
        }
        fs::copy(vectors.join("check.py"), copy.join("check.py")).unwrap();
        assert!(check(&copy).0, "the copy is as good");
        let text = fs::read_to_string(copy.join(name)).unwrap();
        assert!(text.contains(from), "{name}");
        fs::write(copy.join(name), text.replacen(from, to, 1)).unwrap();
        let (passed, said) = check(&copy);
        let stem = name.rsplit_once('.').unwrap().0;
        assert!(!passed && said.contains(stem), "{name}: {said}");
    }
}

/// Run with `GMV1_WRITE_VECTORS` set, it writes the wrapped files anew; what is random in them changes, the format must not.
#[tokio::test]
async fn published_key_files_load_to_what_they_say() {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/keys");
    let path = directory("published").join("keys");
    for name in KEY_FILES {
        let text = fs::read_to_string(keys.join(name).with_extension("txt")).unwrap();
        let vector = fields(&text);
        let wrap: Option<Box<dyn KeyWrap>> = match vector["kind"] {
            "plain" => None,
            "local" => Some(Box::new(LocalKey::from_hex(&SecretString::from(String::from(vector["key"]))).unwrap())),
            "argon2id" => {
                Some(Box::new(Passphrase::new(SecretString::from(String::from(vector["passphrase"]))).unwrap()))
            }
            other => panic!("{name}: kind: {other}"),
        };
        let content = |path: &Path, bytes: &[u8]| {
            fs::write(path, bytes).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        };
        let published = keys.join(name).with_extension("keys");
        if let (Some(wrap), Some(_)) = (&wrap, std::env::var_os("GMV1_WRITE_VECTORS")) {
            content(&path, &fs::read(keys.join("plain.keys")).unwrap());
            KeyRing::load(&path).unwrap().save_wrapped(&path, wrap.as_ref()).await.unwrap();
            fs::copy(&path, &published).unwrap();
        }
        content(&path, &fs::read(&published).unwrap());
        let ring = match &wrap {
            None => KeyRing::load(&path).unwrap(),
            Some(wrap) => KeyRing::load_wrapped(&path, wrap.as_ref()).await.unwrap(),
        };
        assert_eq!(ring.minimum_version().to_string(), vector["minimum-version"], "{name}");
        ring.save(&path).unwrap();
        let saved = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> =
            saved.lines().filter_map(|line| line.strip_prefix("active ").or(line.strip_prefix("retired "))).collect();
        assert_eq!(lines.join(", "), vector["keys"], "{name}");
    }
}

const KEY_FILES: [&str; 3] = ["plain", "local", "argon2id"];

fn fields(text: &str) -> HashMap<&str, &str> {
    text.lines().map(|line| line.split_once(": ").unwrap()).collect()
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
