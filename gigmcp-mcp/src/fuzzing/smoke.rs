//! The laws on every seed and some mutations of it, the same on each run.

use std::{fs, path::Path};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::TestRunner,
};

/// Changes that a seed survives in part: bits, lost and inserted bytes, a piece of another seed.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Remove(Index),
    Insert(Index, u8),
    Truncate(Index),
    Splice(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        any::<Index>().prop_map(Change::Remove),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        any::<Index>().prop_map(Change::Truncate),
        (any::<Index>(), any::<Index>(), any::<Index>()).prop_map(|(at, from, to)| Change::Splice(at, from, to)),
    ]
}

fn apply(bytes: &mut Vec<u8>, other: &[u8], change: &Change) {
    let length = bytes.len();
    let at = |index: &Index, length: usize| index.index(length + 1);
    match change {
        Change::Flip(index, bit) if length > 0 => bytes[index.index(length)] ^= 1 << bit,
        Change::Set(index, byte) if length > 0 => bytes[index.index(length)] = *byte,
        Change::Remove(index) if length > 0 => drop(bytes.remove(index.index(length))),
        Change::Insert(index, byte) => bytes.insert(at(index, length), *byte),
        Change::Truncate(index) => bytes.truncate(at(index, length)),
        Change::Splice(index, from, to) => {
            let (from, to) = (at(from, other.len()), at(to, other.len()));
            let place = at(index, length);
            bytes.splice(place..place, other[from.min(to)..from.max(to)].iter().copied());
        }
        _ => {}
    }
}

fn holds(law: fn(&[u8]), name: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!seeds.is_empty(), "no seeds in {}", directory.display());
    seeds.iter().for_each(|seed| law(seed));
    let inputs = (select(seeds.clone()), select(seeds), vec(change(), 1..4)).prop_map(|(mut seed, other, changes)| {
        changes.iter().for_each(|change| apply(&mut seed, &other, change));
        seed
    });
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) };
    TestRunner::new_with_rng(config, proptest::test_runner::TestRng::deterministic_rng(Default::default()))
        .run(&inputs, |input| {
            law(&input);
            Ok(())
        })
        .unwrap();
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
                .filter(|name| name.starts_with("mcp_"))
                .collect();
            found.sort();
            let mut here = vec![$(stringify!($law)),*];
            here.sort_unstable();
            assert_eq!(found, here);
        }
    };
}

laws!(mcp_canonical mcp_headers mcp_hygiene mcp_lines mcp_sessions mcp_tokens);
