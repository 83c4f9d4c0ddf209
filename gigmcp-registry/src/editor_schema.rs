//! The JSON Schemas that editors check and complete documents by, generated from the types that read them.

/// The JSON Schema of manifests, for editors. What it takes may still be refused; what it refuses is refused.
pub const MANIFEST_SCHEMA: &str = include_str!("../schema/manifest.json");

/// The JSON Schema of toolspecs, for editors.
pub const TOOLSPEC_SCHEMA: &str = include_str!("../schema/toolspec.json");

#[cfg(test)]
mod tests {
    use schemars::generate::SchemaSettings;
    use schemars::transform::RecursiveTransform;
    use schemars::{JsonSchema, Schema};
    use serde_json::Value;

    use super::*;

    /// `GIGMCP_WRITE_SCHEMA=1` writes the files instead of comparing with them.
    #[test]
    fn schemas_are_those_of_the_types() {
        check::<crate::manifest::Document>("manifest.json", MANIFEST_SCHEMA);
        check::<crate::toolspec::ToolspecDocument>("toolspec.json", TOOLSPEC_SCHEMA);
    }

    #[test]
    fn the_schema_knows_what_editors_are_asked_for() {
        let schema: Value = serde_json::from_str(MANIFEST_SCHEMA).expect("JSON");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["tier"]["enum"], serde_json::json!(["sealed", "entrusted"]));
        assert_eq!(schema["properties"]["version"]["pattern"], r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$");
        assert!(!MANIFEST_SCHEMA.contains("\"null\""), "nothing may be null");
    }

    fn check<T: JsonSchema>(file: &str, written: &str) {
        // Defaults are how we report what is missing, not what the format says.
        let tidy = RecursiveTransform(|schema: &mut Schema| {
            for noise in ["default", "format"] {
                schema.remove(noise);
            }
        });
        let settings = SchemaSettings::draft07().with_transform(tidy);
        let schema = settings.into_generator().into_root_schema_for::<T>();
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).expect("schemas are JSON"));
        if std::env::var_os("GIGMCP_WRITE_SCHEMA").is_some() {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(file);
            std::fs::write(path, &text).expect("the schema's file can be written");
            return;
        }
        assert!(text == written, "schema/{file} is not that of the types; GIGMCP_WRITE_SCHEMA=1 writes it");
    }
}
