/// Bounds on what an image may be. All of them hold for one image, all its layers together, where nothing else is said.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImageLimits {
    /// How many layers; 128. Against time spent per layer.
    pub layers: usize,
    /// Size of one layer as it is stored; 2 GiB. Against a full disk.
    pub layer_bytes: u64,
    /// Size of all layers as they are stored, of what they unpack to, and of all files with their holes; 4 GiB each. Against
    /// a full disk, and files whose holes take years to read.
    pub bytes: u64,
    /// How many times larger a layer may become by unpacking, once it is larger than 64 MiB; 200. Against bombs, which are
    /// told by it long before they have filled [`bytes`](Self::bytes).
    pub ratio: u64,
    /// How many entries, with the directories on the way to them that no entry names; 1,000,000. Against a full table of inodes.
    pub entries: u64,
    /// How many directories may be in each other; 64. Against exhausted descriptors, and paths that nothing can remove.
    pub depth: usize,
    /// Size of the headers that extend one entry's; 1 MiB each. Against exhausted memory.
    pub extension_bytes: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self {
            layers: 128,
            layer_bytes: 2 << 30,
            bytes: 4 << 30,
            ratio: 200,
            entries: 1_000_000,
            depth: 64,
            extension_bytes: 1 << 20,
        }
    }
}
