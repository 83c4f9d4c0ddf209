//! The laws on every seed and some mutations of it, the same on each run.

use std::fs;
use std::path::Path;

/// A small generator of our own (Knuth's MMIX constants), so that a failure comes back.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }

    /// One or a few small changes.
    fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => bytes.insert(at, self.below(256) as u8),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                3 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                4 => bytes.truncate(at),
                _ => {
                    let from = self.below(other.len() + 1);
                    let piece = &other[from..][..self.below(other.len() - from + 1)];
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
        bytes
    }
}

fn holds(law: fn(&[u8]), name: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!seeds.is_empty(), "no seeds in {}", directory.display());
    let held = |input: &[u8]| {
        let _broken = Broken(input);
        law(input);
    };
    seeds.iter().for_each(|seed| held(seed));
    let mut dice = Dice(7);
    for _ in 0..INPUTS {
        let (one, other) = (dice.below(seeds.len()), dice.below(seeds.len()));
        held(&dice.mutate(&seeds[one], &seeds[other]));
    }
}

/// Tells which input it was.
struct Broken<'a>(&'a [u8]);

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the law was broken by b\"{}\"", self.0.escape_ascii());
        }
    }
}

macro_rules! laws {
    ($($law:ident)*) => {
        $(#[test]
        fn $law() {
            holds(super::$law, stringify!($law));
        })*

        #[test]
        fn every_target_of_the_fuzzer_is_here() {
            let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
            let mut found: Vec<_> = fs::read_dir(targets).unwrap()
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .filter(|name| !["mcp_", "registry_", "vault_"].iter().any(|other| name.starts_with(other)))
                .collect();
            found.sort();
            let mut here = vec![$(stringify!($law)),*];
            here.sort_unstable();
            assert_eq!(found, here);
        }
    };
}

laws!(authority chunked content_coding dns form_field host_name host_pattern json_string path placeholder_scan request_head scrubber websocket_frames);

const INPUTS: usize = 1000;
