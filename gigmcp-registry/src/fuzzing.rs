//! The laws that the parsers of foreign bytes keep. Each takes any bytes at all and panics if its law is broken. `fuzz/` runs
//! one target for each; the tests below run the same laws on the seeds and a few thousand mutations of them.
//!
//! Not part of the API: compiled by cargo-fuzz and for tests only.

pub use crate::index::laws::registry_index;
pub use crate::yaml::laws::{manifest_yaml as registry_manifest_yaml, toolspec_yaml as registry_toolspec_yaml};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MANIFEST: &str = include_str!("../tests/it/manifest/acme-desk.yaml");
    const TOOLSPEC: &str = include_str!("../tests/it/toolspec/acme-desk.toolspec.yaml");

    #[test]
    fn the_seeds_keep_their_laws() {
        for (target, law) in [
            ("registry_index", registry_index as fn(&[u8])),
            ("registry_manifest_yaml", registry_manifest_yaml),
            ("registry_toolspec_yaml", registry_toolspec_yaml),
        ] {
            seeds(target).iter().for_each(|seed| law(seed));
        }
    }

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let seeds = format!("{}/../fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
        let entries = std::fs::read_dir(seeds).expect("the seeds are there");
        entries.map(|seed| std::fs::read(seed.expect("an entry").path()).expect("a seed")).collect()
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let whole = ["on", "*", "\n- ", ": ", "{", "}", "\u{202e}", "012", "\"\\u0000\"", "\n", "{x}", "&a ", "1e9"];
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..6),
            prop::sample::select(whole.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        ]
    }

    fn changed(text: &str, at: usize, removed: usize, put: Vec<u8>) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.splice(at..(at + removed).min(bytes.len()), put);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_keep_the_law(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            registry_manifest_yaml(&bytes);
        }

        #[test]
        fn text_of_yaml_s_own_characters_keeps_the_law(text in "[a-c0-2 \n\t:,&*!|>'\"\\[\\]{}#%?<~.-]{0,120}") {
            registry_manifest_yaml(text.as_bytes());
        }

        #[test]
        fn a_manifest_with_a_piece_changed_keeps_the_law(at in 0..MANIFEST.len(), removed in 0usize..40, put in piece()) {
            registry_manifest_yaml(&changed(MANIFEST, at, removed, put));
        }

        #[test]
        fn a_file_of_a_registry_with_a_piece_changed_keeps_the_law(
            seed in prop::sample::select(seeds("registry_index")), at in any::<prop::sample::Index>(), removed in 0usize..40,
            put in piece(),
        ) {
            let mut bytes = seed;
            let at = at.index(bytes.len());
            bytes.splice(at..(at + removed).min(bytes.len()), put);
            registry_index(&bytes);
        }

        #[test]
        fn a_toolspec_with_a_piece_changed_keeps_the_law(at in 0..TOOLSPEC.len(), removed in 0usize..40, put in piece()) {
            registry_toolspec_yaml(&changed(TOOLSPEC, at, removed, put));
        }
    }
}
