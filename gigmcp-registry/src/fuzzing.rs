//! The laws that the parsers of foreign bytes keep. Each takes any bytes at all and panics if its law is broken. `fuzz/` runs
//! one target for each; the tests below run the same laws on the seeds and a few thousand mutations of them.
//!
//! Not part of the API: compiled by cargo-fuzz and for tests only.

pub use crate::yaml::laws::manifest_yaml as registry_manifest_yaml;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MANIFEST: &str = include_str!("../tests/it/manifest/acme-desk.yaml");

    #[test]
    fn the_seeds_keep_the_law() {
        registry_manifest_yaml(MANIFEST.as_bytes());
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/registry_manifest_yaml");
        for seed in std::fs::read_dir(seeds).expect("the seeds are there") {
            registry_manifest_yaml(&std::fs::read(seed.expect("an entry").path()).expect("a seed"));
        }
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
        fn a_manifest_with_a_piece_changed_keeps_the_law(
            at in 0..MANIFEST.len(),
            removed in 0usize..40,
            put in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..6),
                Just(b"on".to_vec()), Just(b"*".to_vec()), Just(b"\n- ".to_vec()), Just(b": ".to_vec()), Just(b"{".to_vec()),
                Just(b"\xe2\x80\xae".to_vec()), Just(b"012".to_vec()), Just(b"\"\\u0000\"".to_vec()), Just(b"\n".to_vec()),
            ],
        ) {
            let mut bytes = MANIFEST.as_bytes().to_vec();
            bytes.splice(at..(at + removed).min(bytes.len()), put);
            registry_manifest_yaml(&bytes);
        }
    }
}
