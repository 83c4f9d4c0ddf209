use std::time::Duration;

use gigmcp_registry::{
    BuildIndexError, Fault, Index, IndexBuilder, IndexFault, InvalidIndex, Manifest, Problem, SignedIndex, VerifyError,
};

use crate::{MANIFEST, expiry, fresh, index, root, signed_by};

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
            IndexFault::SchemaVersion { found: 1, supported: 2 },
        ),
        ("a local time", good.replace("2030-01-01T00:00:00Z", "2030-01-01T00:00:00+02:00"), IndexFault::Expires),
        ("made at a local time", good.replace("2029-01-01T00:00:00Z", "2029-01-01"), IndexFault::Generated),
        ("never valid", good.replace("2029-01-01", "2030-01-01"), IndexFault::Expires),
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

#[test]
fn an_index_is_built_in_its_one_spelling() {
    let generated = expiry() - Duration::from_secs(365 * 24 * 3600);
    let build = |texts: &[&str]| {
        let mut builder = IndexBuilder::new(7, generated, Duration::from_secs(365 * 24 * 3600)).unwrap();
        for text in texts {
            builder.add(Manifest::from_json(text.as_bytes()).unwrap())?;
        }
        Ok::<_, BuildIndexError>(builder.build())
    };
    assert_eq!(build(&[MANIFEST]).unwrap().to_json(), index(7));
    let ten = MANIFEST.replace("1.2.0", "1.10.0");
    let mail = MANIFEST.replace("acme-notes", "acme-mail");
    let built = build(&[MANIFEST, &ten, &mail]).unwrap();
    assert_eq!(built, build(&[&mail, &ten, MANIFEST]).unwrap(), "in any order");
    assert_eq!(built.latest(&"acme-notes".parse().unwrap()).unwrap().version.to_string(), "1.10.0");
    assert_eq!(built.manifests().count(), 3);
    let text = built.to_json();
    assert_eq!(Index::danger_from_unverified_json(text.as_bytes()).unwrap(), built);
    // Compared as text, byte by byte: `1.10.0` stands before `1.2.0`.
    assert!(text.contains(r#""latest":"1.10.0","versions":{"1.10.0":{"#), "{text}");
    assert!(text.find("acme-mail") < text.find("acme-notes"));
    let repeated = build(&[MANIFEST, &mail, MANIFEST]);
    assert!(matches!(repeated, Err(BuildIndexError::Repeated { name, .. }) if name.as_str() == "acme-notes"));
}

#[test]
fn an_index_is_valid_for_some_time() {
    let hour = Duration::from_secs(3600);
    for (case, generated, lifetime, valid) in [
        ("an hour", expiry(), hour, true),
        ("no time", expiry(), Duration::ZERO, false),
        ("part of a second", expiry(), Duration::from_millis(1500), false),
        ("made within a second", expiry() + Duration::from_millis(1), hour, false),
        ("too long to write", expiry(), Duration::from_secs(1 << 40), false),
        ("too long to count", expiry(), Duration::MAX, false),
    ] {
        let error = IndexBuilder::new(1, generated, lifetime).err();
        assert_eq!(error, (!valid).then_some(BuildIndexError::Moment), "{case}");
    }
}
