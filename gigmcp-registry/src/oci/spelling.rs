//! Names of fields in other letters.
//!
//! Programs in Go take `LAYERS`, and even `layerſ`, for `layers`, and of two the last: who reviews an image with one of them
//! would see another image than the one that is run.

use serde_json::Value;

use super::DocumentFault;

/// Whether each field that is read here is written as here, wherever it is read.
pub(super) fn check(content: &[u8]) -> Result<(), DocumentFault> {
    walk(&serde_json::from_slice(content)?)
}

fn walk(value: &Value) -> Result<(), DocumentFault> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let folded = folded(name);
            match FIELDS.iter().find(|field| folded == field.to_lowercase()) {
                Some(field) if field == name => walk(value),
                Some(_) => Err(DocumentFault::Spelling(name.clone())),
                None => Ok(()), // names that others chose are below some of these
            }
        }),
        Value::Array(items) => items.iter().try_for_each(walk),
        _ => Ok(()),
    }
}

/// By way of upper case, because `ſ` has one and is not the lower one of it.
fn folded(name: &str) -> String {
    name.to_uppercase().to_lowercase()
}

const FIELDS: [&str; 17] = [
    "architecture",
    "Cmd",
    "config",
    "diff_ids",
    "digest",
    "Entrypoint",
    "Env",
    "layers",
    "manifests",
    "mediaType",
    "os",
    "platform",
    "rootfs",
    "schemaVersion",
    "size",
    "variant",
    "WorkingDir",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_one_spelling() {
        for (text, expected) in [
            (r#"{"layers":[{"digest":"a"}],"annotations":{"Layers":"x","OS":"y"}}"#, None),
            (r#"{"os":"linux","config":{"Labels":{"Env":1,"ENV":2},"Env":[]},"OSFeatures":[]}"#, None),
            (r#"{"layers":[],"Layers":[]}"#, Some("Layers")),
            (r#"{"layers":[{"digest":"a","DIGEST":"b"}]}"#, Some("DIGEST")),
            ("{\"layers\":[],\"layer\u{17f}\":[]}", Some("layer\u{17f}")),
            (r#"{"manifests":[{"Platform":{"os":"linux"}}]}"#, Some("Platform")),
            (r#"{"config":{"entrypoint":["/x"]}}"#, Some("entrypoint")),
        ] {
            let found = match check(text.as_bytes()) {
                Ok(()) => None,
                Err(DocumentFault::Spelling(name)) => Some(name),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
