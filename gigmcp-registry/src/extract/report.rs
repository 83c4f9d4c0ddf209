use crate::seal::TreeDigest;

/// What was unpacked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Extracted {
    /// The digest of the tree, to be given whenever it is used.
    pub tree: TreeDigest,
    /// How many entries the layers had.
    pub entries: u64,
    /// Size of all files in the layers, with their holes.
    pub file_bytes: u64,
    /// Size of the layers without their compression.
    pub unpacked_bytes: u64,
    /// What the layers had and the tree has not.
    pub dropped: Dropped,
}

/// What was left out on purpose. Programs rarely miss it, but if one does, this says why.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Dropped {
    /// Devices and FIFOs.
    pub special: u64,
    /// Files that had the set-user-ID, set-group-ID or sticky bit.
    pub mode_bits: u64,
    /// Extended attributes, file capabilities among them.
    pub attributes: u64,
}
