use gigmcp_registry::{Fault, IndexFault, InvalidIndex, Problem, SignedIndex, VerifyError};

use crate::{MANIFEST, fresh, index, root, signed_by};

/// What is wrong with a well-signed index.
fn invalid(text: &str) -> InvalidIndex {
    match SignedIndex::verify(text.as_bytes(), &signed_by(&[1], text), &root(&[1], 1), &fresh()) {
        Err(VerifyError::Invalid(invalid)) => invalid,
        other => panic!("{other:?}\n{text}"),
    }
}

#[test]
fn a_signature_does_not_excuse_the_format() {
    let good = index(7);
    for (case, text, expected) in [
        ("not JSON", String::from("index"), "expected value"),
        ("unknown field", good.replacen('{', r#"{"more":1,"#, 1), "unknown field `more`"),
        ("field twice", good.replacen('{', r#"{"sequence":9,"#, 1), "duplicate field `sequence`"),
        ("no sequence", good.replace(r#""sequence":7,"#, ""), "missing field `sequence`"),
        ("negative sequence", good.replace(r#""sequence":7"#, r#""sequence":-7"#), "invalid value"),
        ("fractional sequence", good.replace(r#""sequence":7"#, r#""sequence":7.0"#), "invalid type"),
        ("field of a manifest unknown", good.replace(r#""tag""#, r#""gat""#), "unknown field `gat`"),
        ("field of a manifest twice", good.replace(r#""tag""#, r#""tag":"v0","tag""#), "duplicate field `tag`"),
        (
            "version twice",
            good.replace(r#""1.2.0":{"#, &format!(r#""1.2.0":{MANIFEST},"1.2.0":{{"#)),
            "repeated key \"1.2.0\"",
        ),
        (
            "server twice",
            good.replace(r#""acme-notes":{"#, r#""acme-notes":{"latest":"1.2.0","versions":{}},"acme-notes":{"#),
            "repeated key \"acme-notes\"",
        ),
        ("something after it", good.clone() + "{}", "trailing characters"),
    ] {
        match invalid(&text) {
            InvalidIndex::Syntax(error) => {
                assert!(error.to_string().contains(expected), "{case}: {error}");
                assert!(error.line() == 1, "{case}: says where");
            }
            other => panic!("{case}: {other:?}"),
        }
    }
}

#[test]
fn faults_of_an_index() {
    let good = index(7);
    let server = || String::from("acme-notes");
    let manifest = |path: &str, problem| IndexFault::Manifest {
        server: server(),
        version: "1.2.0".into(),
        fault: Fault { path: path.into(), problem },
    };
    for (case, text, expected) in [
        (
            "schema of the original",
            good.replace(r#"{"schemaVersion":2"#, r#"{"schemaVersion":1"#),
            IndexFault::SchemaVersion { found: 1 },
        ),
        ("a local time", good.replace("00:00:00Z", "00:00:00+02:00"), IndexFault::Expires),
        (
            "latest is not there",
            good.replace(r#""latest":"1.2.0""#, r#""latest":"1.3.0""#),
            IndexFault::Latest { server: server() },
        ),
        (
            "another name inside",
            good.replace(r#""name":"acme-notes""#, r#""name":"acme-mail""#),
            manifest("name", Problem::NotItsKey),
        ),
        (
            "another version inside",
            good.replace(r#""version":"1.2.0""#, r#""version":"1.2.1""#),
            manifest("version", Problem::NotItsKey),
        ),
        (
            "a fault in a manifest",
            good.replace(r#""repo":"github.com/example/acme-notes-mcp""#, r#""repo":"""#),
            manifest("source.repo", Problem::Missing),
        ),
    ] {
        match invalid(&text) {
            InvalidIndex::Faults(faults) => assert_eq!(faults, [expected], "{case}"),
            other => panic!("{case}: {other:?}"),
        }
    }
}

#[test]
fn latest_is_the_highest_by_number() {
    let ten = MANIFEST.replace(r#""version":"1.2.0""#, r#""version":"1.10.0""#);
    let two = index(7).replace(r#""versions":{"#, &format!(r#""versions":{{"1.10.0":{ten},"#));
    assert!(matches!(invalid(&two), InvalidIndex::Faults(faults) if matches!(faults[..], [IndexFault::Latest { .. }])));
    let right = two.replace(r#""latest":"1.2.0""#, r#""latest":"1.10.0""#);
    let verified = SignedIndex::verify(right.as_bytes(), &signed_by(&[1], &right), &root(&[1], 1), &fresh()).unwrap();
    let name = "acme-notes".parse().unwrap();
    assert_eq!(verified.latest(&name).unwrap().version.to_string(), "1.10.0");
    assert!(verified.version(&name, &"1.2.0".parse().unwrap()).is_some());
}

#[test]
fn a_server_needs_a_version() {
    let text = index(7);
    let none = text.replace(&format!(r#""1.2.0":{MANIFEST}"#), "");
    assert_ne!(none, text);
    assert!(
        matches!(invalid(&none), InvalidIndex::Faults(faults) if matches!(faults[..], [IndexFault::Latest { .. }]))
    );
}
