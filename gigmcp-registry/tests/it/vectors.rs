//! The published vectors, read through the public API as another implementation would read them, and by one in Python.

use std::collections::HashMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use gigmcp_registry::{
    Envelope, Freshness, InvalidRoot, PublicKey, RootError, Seen, Signatures, SignedIndex, SignedRoot, TrustRoot,
    Untrusted, VerifyError,
};

use crate::signer;

type Vector<'a> = HashMap<&'a str, &'a str>;

#[test]
fn published_vectors_do_what_they_say() {
    let mut steps = HashMap::new();
    for entry in fs::read_dir(vectors().join("registry")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let vector: Vector<'_> = text.lines().map(|line| line.split_once(": ").unwrap()).collect();
        let step = match vector["kind"] {
            "index" | "original" => index(&vector).map(|seen| {
                assert_eq!(seen.to_json(), vector["seen"], "{}", path.display());
            }),
            "root" => root(&vector),
            other => panic!("{}: kind: {other}", path.display()),
        }
        .err()
        .unwrap_or("none");
        assert_eq!(step, vector["step"], "{}", path.display());
        assert_eq!(vector["expect"], if step == "none" { "success" } else { "refused" }, "{}", path.display());
        if step == "none" && vector["kind"] != "original" {
            check_signing(&vector);
        }
        *steps.entry(step).or_insert(0) += 1;
    }
    let expected =
        "canonical expired forked future key none older parse repinned signature signatures threshold version";
    let mut found: Vec<_> = steps.into_keys().collect();
    found.sort_unstable();
    assert_eq!(found.join(" "), expected);
}

/// The same files, by a program in another language that shares no code with this one.
#[test]
fn published_vectors_do_what_they_say_in_python_too() {
    let real =
        std::env::var_os("TEST_REAL_SERVERS").expect("run the tests by ./dev test: TEST_REAL_SERVERS is not set");
    let python = Path::new(&real).join("python/bin/python");
    let check = |vectors: &Path| {
        let output = Command::new(&python).arg("-B").arg(vectors.join("check.py")).arg(vectors).output().unwrap();
        let said = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (passed, said) = check(&vectors());
    assert!(passed, "{said}");
    let read = said.split_whitespace().map(|word| word.split_once('=').unwrap().1.parse::<usize>().unwrap());
    assert_eq!(read.sum::<usize>(), fs::read_dir(vectors().join("registry")).unwrap().count(), "{said}");

    // It can fail: a vector whose expectation is changed, and one whose bytes are.
    for (name, from, to) in [
        ("index-threshold", "step: threshold", "step: signature"),
        ("index-success", "acme-notes", "acme-mails"),
        ("index-success", "seeds: 01", "seeds: 02"),
        ("index-next", "\"sequence\":7", "\"sequence\":9"),
        ("root-next", "\"version\":1", "\"version\":3"),
    ] {
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join("registry")).unwrap();
        fs::copy(vectors().join("check.py"), copy.path().join("check.py")).unwrap();
        let file = format!("registry/{name}.txt");
        let text = fs::read_to_string(vectors().join(&file)).unwrap();
        assert!(text.contains(from), "{name}");
        fs::write(copy.path().join(&file), &text).unwrap();
        assert!(check(copy.path()).0, "the copy is as good");
        fs::write(copy.path().join(&file), text.replacen(from, to, 1)).unwrap();
        let (passed, said) = check(copy.path());
        assert!(!passed && said.contains(name), "{name}: {said}");
    }
}

fn vectors() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// What was seen, or the step at which it was refused.
fn index(vector: &Vector<'_>) -> Result<Seen, &'static str> {
    let now = moment(vector["now"]);
    let last_seen = vector.get("last-seen").map(|text| Seen::from_json(text.as_bytes()).unwrap());
    let freshness = Freshness { now, last_seen: last_seen.as_ref() };
    let document = vector["document"].as_bytes();
    let keys = vector["keys"].split(' ').map(|key| key.parse::<PublicKey>().map_err(|_| "key"));
    let verified = if vector["kind"] == "original" {
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        let lifetime = Duration::from_secs(vector["lifetime"].parse().unwrap());
        SignedIndex::danger_verify_original(document, vector["signature"].as_bytes(), &keys[0], lifetime, &freshness)
    } else {
        let signatures = Signatures::from_json(vector["signatures"].as_bytes()).map_err(|_| "signatures")?;
        let threshold = NonZeroUsize::new(vector["threshold"].parse().unwrap()).unwrap();
        let keys = TrustRoot::new(keys.collect::<Result<Vec<_>, _>>()?, threshold).unwrap();
        SignedIndex::verify(document, &signatures, &keys, &freshness)
    };
    verified.map(|verified| verified.seen().clone()).map_err(|error| match error {
        VerifyError::Untrusted(untrusted) => step_of(untrusted),
        VerifyError::Invalid(_) => "parse",
        VerifyError::NotYetValid => "future",
        VerifyError::Expired => "expired",
        VerifyError::Older { .. } => "older",
        VerifyError::Forked { .. } => "forked",
        VerifyError::Repinned { .. } => "repinned",
        other => panic!("{other:?}"),
    })
}

fn root(vector: &Vector<'_>) -> Result<(), &'static str> {
    let signatures = Signatures::from_json(vector["signatures"].as_bytes()).map_err(|_| "signatures")?;
    let document = vector["document"].as_bytes();
    let root = match vector.get("before") {
        None => SignedRoot::pinned(document, &signatures),
        Some(before) => {
            // The vector says nothing of the signatures of the root that is trusted already.
            let all = Signatures::new((1..=5).map(|seed| signer(seed).sign_root(before.as_bytes())).collect());
            SignedRoot::pinned(before.as_bytes(), &all).unwrap().next(document, &signatures)
        }
    };
    root.map(drop).map_err(|error| match error {
        RootError::NotByTheOneBefore(untrusted) | RootError::NotByItself(untrusted) => step_of(untrusted),
        RootError::Invalid(InvalidRoot::NotCanonical) => "canonical",
        RootError::Invalid(_) => "parse",
        RootError::Version { .. } => "version",
        other => panic!("{other:?}"),
    })
}

fn step_of(untrusted: Untrusted) -> &'static str {
    match untrusted {
        Untrusted::WrongSignature { .. } => "signature",
        Untrusted::Threshold { .. } => "threshold",
        other => panic!("{other:?}"),
    }
}

/// Signing again gives the same bytes.
fn check_signing(vector: &Vector<'_>) {
    let document = vector["document"].as_bytes();
    let signatures = vector["seeds"].split(' ').map(|seed| {
        let key = signer(u8::from_str_radix(&seed[..2], 16).unwrap());
        if vector["kind"] == "root" { key.sign_root(document) } else { key.sign_index(document) }
    });
    let file = Envelope::join(&Signatures::new(signatures.collect()), document);
    assert_eq!(file, format!("{}\n{}", vector["signatures"], vector["document"]).into_bytes());
}

fn moment(text: &str) -> SystemTime {
    let days_of_2028 = Duration::from_secs(1_830_297_600); // 2028-01-01T00:00:00Z
    let number = |range: std::ops::Range<usize>| text[range].parse::<u64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month as usize - 1];
    let leap = u64::from(year > 2028 || month > 2);
    let days = (year - 2028) * 365 + before + day - 1 + leap;
    let seconds = number(11..13) * 3600 + number(14..16) * 60 + number(17..19);
    SystemTime::UNIX_EPOCH + days_of_2028 + Duration::from_secs(days * 24 * 3600 + seconds)
}
