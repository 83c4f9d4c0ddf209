//! What the reader of YAML keeps, whatever the bytes. Called by the fuzzer, and by a test with a few thousand mutations.

use crate::diagnostic::Diagnostics;
use crate::lint::Linter;
use crate::manifest::{InvalidManifest, Manifest};
use crate::toolspec::Toolspec;

/// Any bytes are a manifest or get at least one fault, each within the text; a manifest survives being printed, as YAML and as the
/// JSON that its hash is taken of, and means the same to the reader of JSON.
pub fn manifest_yaml(bytes: &[u8]) {
    match Manifest::from_yaml(bytes) {
        Ok(manifest) => {
            let printed = manifest.to_yaml();
            let again = Manifest::from_yaml(printed.as_bytes());
            assert!(matches!(&again, Ok(again) if *again == manifest), "{printed}\n{again:?}\n{manifest:?}");
            let json = crate::manifest::to_json(&manifest);
            let from_json = Manifest::from_json(json.as_bytes());
            assert!(matches!(&from_json, Ok(again) if *again == manifest), "{json}\n{from_json:?}");
            let from_yaml = Manifest::from_yaml(json.as_bytes());
            assert!(matches!(&from_yaml, Ok(again) if again.hash() == manifest.hash()), "{json}\n{from_yaml:?}");
        }
        Err(InvalidManifest::Text(faults)) => told_within(&faults, bytes),
        Err(other) => panic!("{other:?}"),
    }
    let (report, read) = Linter::default().manifest("manifests/a/1.0.0.yaml", bytes);
    assert_eq!(read.is_some(), Manifest::from_yaml(bytes).is_ok());
    // Whatever a document says, a terminal is sent text.
    let printed = report.to_string();
    assert!(!printed.contains(|char: char| char != '\n' && super::is_hidden(char)), "{printed:?}");
    assert!(!report.to_sarif().is_empty() && !report.to_json().is_empty());
    // The reader of JSON is the narrower one: what it takes, the reader of YAML takes too, if it is no larger.
    if let Ok(manifest) = Manifest::from_json(bytes) {
        let from_yaml = Manifest::from_yaml(bytes);
        assert!(matches!(&from_yaml, Ok(again) if *again == manifest) || from_yaml.is_err());
    }
}

/// The same of toolspecs; besides, what models are shown is always an object.
pub fn toolspec_yaml(bytes: &[u8]) {
    match Toolspec::from_yaml(bytes) {
        Ok(spec) => {
            let printed = spec.to_yaml();
            let again = Toolspec::from_yaml(printed.as_bytes());
            assert!(matches!(&again, Ok(again) if *again == spec), "{printed}\n{again:?}\n{spec:?}");
            for tool in &spec.tools {
                assert_eq!(tool.input_schema()["type"], "object");
            }
        }
        Err(InvalidManifest::Text(faults)) => told_within(&faults, bytes),
        Err(other) => panic!("{other:?}"),
    }
}

fn told_within(faults: &Diagnostics, bytes: &[u8]) {
    assert!(!faults.is_empty());
    for fault in faults.iter() {
        let span = &fault.place.span;
        assert!(span.start <= span.end && span.end <= bytes.len(), "{fault:?}");
        assert!(!fault.message.contains('\n'), "{fault:?}");
    }
}
