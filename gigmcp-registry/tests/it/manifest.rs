use gigmcp_registry::{
    Builder, Category, CredentialKind, Inject, InvalidManifest, InvalidServerName, InvalidVersion, Manifest, Problem,
    Tier,
};

use crate::MANIFEST;

fn faults(text: &str) -> Vec<(String, Problem)> {
    match Manifest::from_json(text.as_bytes()) {
        Err(InvalidManifest::Faults(faults)) => faults.into_iter().map(|fault| (fault.path, fault.problem)).collect(),
        other => panic!("{other:?}\n{text}"),
    }
}

#[test]
fn every_field_is_read() {
    let manifest = Manifest::from_json(MANIFEST.as_bytes()).unwrap();
    assert_eq!(manifest.name.as_str(), "acme-notes");
    assert_eq!(manifest.version.to_string(), "1.2.0");
    assert_eq!(manifest.source.repo, "github.com/example/acme-notes-mcp");
    assert_eq!((manifest.source.tag.as_str(), manifest.source.package.as_deref()), ("v1.2.0", Some("cmd/server")));
    assert_eq!(manifest.image.reference, "ghcr.io/example/acme-notes-mcp");
    assert!(manifest.image.digest.to_string().starts_with("sha256:0123"));
    assert_eq!((manifest.image.entrypoint.as_str(), manifest.image.builder), ("/app/server", Some(Builder::Toolpack)));
    assert_eq!((manifest.tier, manifest.category), (Tier::Sealed, Some(Category::Productivity)));
    let egress: Vec<_> = manifest.egress.iter().map(|host| host.as_str()).collect();
    assert_eq!(egress, ["api.acme-notes.example", "*.cdn.acme-notes.example"]);
    let [credential] = &manifest.credentials[..] else { panic!("one credential") };
    assert_eq!((credential.id.as_str(), credential.kind), ("acme_token", CredentialKind::ApiKey));
    let inject = Inject::Header { name: "Authorization".into(), format: "Bearer {token}".into() };
    assert_eq!((&credential.inject, credential.vendor.as_deref()), (&inject, None));
    let tools: Vec<_> = manifest.tools.iter().map(|tool| (tool.name.as_str(), tool.default)).collect();
    assert_eq!(tools, [("get_note", true), ("drop_note", false)]);
    assert_eq!(
        (manifest.display_name.as_deref(), manifest.description, manifest.icon),
        (Some("Acme Notes"), None, None)
    );
}

#[test]
fn all_faults_are_reported_together() {
    let text = r#"{"name":"Acme","version":"1.0","source":{"repo":"x"},"tier":"open",
        "entitlements":{"egress":["ok.example","BAD"]},"tools":[{"name":"a"},{"name":"a"}]}"#;
    let found = faults(text);
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    let expected = [
        "schemaVersion",
        "name",
        "version",
        "source.tag",
        "image.ref",
        "image.entrypoint",
        "image.digest",
        "tier",
        "entitlements.egress[1]",
        "tools[1].name",
    ];
    assert_eq!(paths, expected);
    assert_eq!(found[0].1, Problem::SchemaVersion { found: 0 });
    assert_eq!(found[1].1, Problem::ServerName(InvalidServerName));
    assert_eq!(found[2].1, Problem::Version(InvalidVersion));
    assert_eq!(found[3].1, Problem::Missing);
    assert!(matches!(found[7].1, Problem::Word { .. }));
    assert_eq!(found[9].1, Problem::Repeated);
    let text = Manifest::from_json(text.as_bytes()).unwrap_err().to_string();
    assert!(
        text.starts_with("the manifest has 10 faults: schemaVersion: ")
            && text.contains("; tools[1].name: occurs twice")
    );
}

#[test]
fn one_fault_each() {
    let credential = r#""inject":{"header":"Authorization","format":"Bearer {token}"}"#;
    for (case, from, to, path, problem) in [
        (
            "schema version 3",
            r#""schemaVersion":1"#,
            r#""schemaVersion":3"#,
            "schemaVersion",
            Problem::SchemaVersion { found: 3 },
        ),
        (
            "newline into the build's environment",
            "v1.2.0\",\"package",
            "v1\\nBUILDER=x\",\"package",
            "source.tag",
            Problem::PlainWord,
        ),
        ("package outside", "cmd/server", "../server", "source.package", Problem::Package),
        ("bundle over the root", "/app/server", "/server", "image.entrypoint", Problem::EntrypointInRoot),
        (
            "env in a sealed manifest",
            credential,
            r#""inject":{"header":"Authorization","format":"Bearer {token}","env":"KEY"}"#,
            "credentials[0].inject.env",
            Problem::NotInTier { tier: "sealed" },
        ),
        (
            "header that routes",
            "\"Authorization\"",
            "\"Host\"",
            "credentials[0].inject.header",
            Problem::ReservedHeader,
        ),
        (
            "second header in the format",
            "Bearer {token}",
            "{token}\\r\\nX: y",
            "credentials[0].inject.format",
            Problem::Format,
        ),
        ("oauth2 without vendor", "api_key", "oauth2", "credentials[0].vendor", Problem::VendorMissing),
        ("escape sequence in a name", "Acme Notes", "Acme\\u001b[31m", "displayName", Problem::Text { max_bytes: 128 }),
    ] {
        let changed = MANIFEST.replace(from, to);
        assert_ne!(changed, MANIFEST, "{case}");
        assert_eq!(faults(&changed), [(path.into(), problem)], "{case}");
    }
    for (case, from, to) in [
        ("unknown type", "api_key", "password"),
        ("unknown category", "productivity", "Productivity"),
        ("unknown builder", "toolpack", "docker"),
    ] {
        let found = faults(&MANIFEST.replace(from, to));
        assert!(matches!(found[..], [(_, Problem::Word { .. })]), "{case}: {found:?}");
    }
}

#[test]
fn entrusted_servers_get_env_and_nothing_else() {
    let entrusted = MANIFEST.replace("\"sealed\"", "\"entrusted\"");
    let paths: Vec<_> = faults(&entrusted).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["header", "format", "env"].map(|field| format!("credentials[0].inject.{field}")));
    let inject = r#"{"header":"Authorization","format":"Bearer {token}"}"#;
    let right = entrusted.replace(inject, r#"{"env":"ACME_KEY"}"#);
    let manifest = Manifest::from_json(right.as_bytes()).unwrap();
    assert_eq!(manifest.credentials[0].inject, Inject::Env { name: "ACME_KEY".into() });
    let found = faults(&right.replace("ACME_KEY", "LD_PRELOAD"));
    assert_eq!(found, [("credentials[0].inject.env".into(), Problem::ReservedEnv)]);
}

#[test]
fn the_shape_is_strict() {
    for (case, text, expected) in [
        ("unknown field", MANIFEST.replace("\"tier\"", "\"teir\""), "unknown field `teir`"),
        (
            "unknown field below",
            MANIFEST.replace("\"env\"", "").replace("\"format\"", "\"fmt\""),
            "unknown field `fmt`",
        ),
        ("field twice", MANIFEST.replacen('{', r#"{"tier":"entrusted","#, 1), "duplicate field `tier`"),
        (
            "struct as array",
            MANIFEST.replace(r#"{"name":"get_note","default":true}"#, r#"["get_note",true]"#),
            "expected an object",
        ),
        ("number as text", MANIFEST.replace(r#""schemaVersion":1"#, r#""schemaVersion":"1""#), "invalid type"),
        ("null", MANIFEST.replace(r#""package":"cmd/server""#, r#""package":null"#), "invalid type: null"),
        ("half a surrogate pair", MANIFEST.replace("Acme Notes", "\\ud800"), "unexpected end of hex escape"),
        ("something after it", format!("{MANIFEST}x"), "trailing characters"),
    ] {
        match Manifest::from_json(text.as_bytes()) {
            Err(InvalidManifest::Syntax(error)) => {
                assert!(error.to_string().contains(expected), "{case}: {error}")
            }
            other => panic!("{case}: {other:?}"),
        }
    }
    assert!(Manifest::from_json(MANIFEST.as_bytes()).is_ok());
}
