use std::time::Duration;

use gigmcp_registry::{Bearing, Index, IndexBuilder, Manifest, VersionChange};

use crate::{MANIFEST, expiry};

fn manifest(text: &str) -> Manifest {
    Manifest::from_json(text.as_bytes()).unwrap()
}

#[test]
fn every_changed_field_of_a_manifest_is_found() {
    let before = manifest(MANIFEST);
    assert_eq!(before.changes_to(&before), []);
    for (from, to, expected) in [
        ("sha256:01", "sha256:02", "image.digest"),
        ("/app/server\"", "/app/other\"", "image.entrypoint"),
        ("ghcr.io/example", "ghcr.io/other", "image.ref"),
        ("\"tag\":\"v1.2.0\"", "\"tag\":\"v1.2.1\"", "source.tag"),
        ("cmd/server", "cmd/other", "source.package"),
        ("\"*.cdn.acme-notes.example\"", "\"*.acme-notes.example\"", "entitlements.egress[*.cdn.acme-notes.example]"),
        ("\"Authorization\"", "\"X-Key\"", "credentials[acme_token].inject.header"),
        ("\"type\":\"api_key\"", "\"type\":\"basic\"", "credentials[acme_token].type"),
        ("\"drop_note\",\"default\":false", "\"drop_note\",\"default\":true", "tools[drop_note].default"),
        ("Acme Notes", "Acme", "displayName"),
        ("productivity", "storage", "category"),
    ] {
        let changes = before.changes_to(&manifest(&MANIFEST.replace(from, to)));
        assert_eq!(changes[0].path, expected, "{from}");
        let presentation = ["displayName", "category"].contains(&expected);
        assert_eq!(changes[0].bearing == Bearing::Presentation, presentation, "{from}");
        let lines: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(changes.len(), if expected.contains("egress") { 2 } else { 1 }, "{lines:?}");
    }
}

#[test]
fn an_index_says_what_came_went_and_changed() {
    let index = |sequence: u64, manifests: &[String]| -> Index {
        let generated = expiry() - Duration::from_secs(3600);
        let mut builder = IndexBuilder::new(sequence, generated, Duration::from_secs(3600)).unwrap();
        for text in manifests {
            builder.add(manifest(text)).unwrap();
        }
        builder.build()
    };
    let notes = |version: &str| MANIFEST.replace("1.2.0", version);
    let mail = MANIFEST.replace("acme-notes", "acme-mail");
    let desk = MANIFEST.replace("acme-notes", "acme-desk");
    let before = index(7, &[notes("1.2.0"), mail.clone(), desk.clone()]);
    assert!(before.changes_to(&before).is_empty());
    let wider = notes("1.3.0").replace("api.acme-notes.example", "api.evil.example");
    let after = index(8, &[notes("1.2.0"), wider, mail.replace("sha256:01", "sha256:02"), notes("1.0.0")]);
    let diff = before.changes_to(&after);
    assert_eq!(diff.head[0].to_string(), "~ sequence: 7 -> 8");
    let found: Vec<_> =
        diff.manifests.iter().map(|diff| (diff.name.as_str(), diff.version.to_string(), diff.what)).collect();
    let since = |version: &str| VersionChange::Added { since: Some(version.parse().unwrap()) };
    assert_eq!(
        found,
        [
            ("acme-desk", "1.2.0".into(), VersionChange::Removed),
            ("acme-mail", "1.2.0".into(), VersionChange::Changed),
            ("acme-notes", "1.0.0".into(), VersionChange::Added { since: None }),
            ("acme-notes", "1.3.0".into(), since("1.2.0")),
        ]
    );
    let lines: Vec<_> = diff.manifests[3].changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            r#"~ version: "1.2.0" -> "1.3.0""#,
            r#"~ source.tag: "v1.2.0" -> "v1.3.0""#,
            r#"- entitlements.egress[api.acme-notes.example]: "api.acme-notes.example""#,
            r#"+ entitlements.egress[api.evil.example]: "api.evil.example""#,
        ]
    );
    assert!(diff.manifests[2].changes.iter().any(|change| change.path == "tools[get_note].name"));
    let repinned: Vec<_> = diff.repinned().map(|diff| diff.name.as_str()).collect();
    assert_eq!(repinned, ["acme-mail"]);
}
