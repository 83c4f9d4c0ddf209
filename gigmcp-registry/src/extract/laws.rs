//! The law that unpacking keeps, for any bytes at all.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a broken law")]

use std::fs;
use std::path::Path;

use super::{Compression, ImageLimits, Layer, extract, names, open_directory};
use crate::digest::Digest;
use crate::remove::remove_all;
use crate::seal::measure;

/// Nothing beside the tree changes. What is accepted is within its limits, comes out the same a second time, and is a sealed
/// tree: measuring finds nothing that was not unpacked. The same above a layer that has links out of the tree, each leading to
/// what may not be touched.
///
/// Headers get right checksums first, because hardly any input would have one.
pub fn registry_tar(input: &[u8]) {
    let mut layer = input.to_vec();
    let (blocks, _) = layer.as_chunks_mut::<512>();
    blocks.iter_mut().filter(|block| block[257..262] == *b"ustar").for_each(put_checksum);
    for layers in [vec![layer.clone()], vec![lower(), layer]] {
        let unpacked: Vec<_> = (0..2).map(|_| unpack(&layers)).collect();
        assert_eq!(unpacked[0], unpacked[1]);
    }
}

/// The tree's digest, or why not.
fn unpack(layers: &[Vec<u8>]) -> Result<String, String> {
    let outside = tempfile::tempdir().unwrap();
    let tree = outside.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(outside.path().join("canary"), "alive").unwrap();
    let mut limits = ImageLimits::default();
    (limits.bytes, limits.entries, limits.depth) = (1 << 20, 200, 8);
    let layers = layers.iter().map(|layer| Layer {
        content: &layer[..],
        compression: Compression::None,
        diff_id: Digest::of(layer),
    });
    let extracted = extract(&tree, layers, &limits);
    if let Ok(extracted) = &extracted {
        assert_eq!(measure(&open_directory(&tree).unwrap()).unwrap(), extracted.tree);
        assert!(extracted.entries <= limits.entries && extracted.file_bytes <= limits.bytes);
    }
    outside_is_as_it_was(outside.path());
    remove_all(open_directory(outside.path()).unwrap(), b"tree").unwrap();
    extracted.map(|extracted| extracted.tree.to_string()).map_err(|error| error.to_string())
}

fn outside_is_as_it_was(outside: &Path) {
    assert_eq!(names(open_directory(outside).unwrap()).unwrap(), [b"canary"[..].into(), b"tree"[..].into()]);
    assert_eq!(fs::read(outside.join("canary")).unwrap(), b"alive");
}

/// Entries by the names that the seeds use.
fn lower() -> Vec<u8> {
    let mut layer = Vec::new();
    for (kind, name, link) in [
        (b'5', "a", ""),
        (b'0', "a/b", ""),
        (b'1', "h", "a/b"),
        (b'2', "s", ".."),
        (b'2', "a/s", "../../canary"),
        (b'5', "d/d/d", ""),
        (b'2', "l", "/tmp"),
    ] {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        put_checksum(&mut block);
        layer.extend(block);
    }
    layer
}

fn put_checksum(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn seeds() -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/registry_tar");
        let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }

    #[test]
    fn seeds_keep_the_law() {
        seeds().iter().for_each(|seed| registry_tar(seed));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn changed_seeds_keep_the_law(
            seed in any::<Index>(),
            other in any::<Index>(),
            at in any::<Index>(),
            changes in vec((any::<Index>(), any::<u8>()), 1..6),
        ) {
            let seeds = seeds();
            let [mut seed, other] = [seed, other].map(|index| seeds[index.index(seeds.len())].clone());
            // Whole headers of another one, then bytes.
            let at = at.index(seed.len() / 512 + 1) * 512;
            seed.splice(at..at, other);
            changes.iter().for_each(|(at, byte)| *at.get_mut(&mut seed) = *byte);
            registry_tar(&seed);
        }
    }
}
