//! Tar archives written byte by byte, so that they can hold what no program writes.

/// An archive without its end.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(Header::new(b'5', name).mode("0755"), b"")
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.entry(Header::new(b'0', name), content.as_bytes())
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(Header::new(b'2', name).link(target), b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(Header::new(b'1', name).link(target), b"")
    }

    /// pax records for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        self.entry(Header::new(b'x', "PaxHeaders/x"), &pax(records))
    }

    pub(crate) fn global(self, records: &[(&str, &str)]) -> Self {
        self.entry(Header::new(b'g', "pax_global_header"), &pax(records))
    }

    /// A header, then content, which the header's size says unless it was set.
    pub(crate) fn entry(mut self, header: Header, content: &[u8]) -> Self {
        self.0.extend(header.bytes(content.len()));
        self.raw(content)
    }

    /// Bytes, padded to whole blocks.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let digits = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap();
        content.extend(format!("{} {key}={value}\n", rest + digits).bytes());
    }
    content
}

/// One header. What is not set is as GNU tar writes it for a small file.
#[derive(Clone)]
pub(crate) struct Header {
    block: [u8; 512],
    size: Option<String>,
    damaged: bool,
}

impl Header {
    pub(crate) fn new(kind: u8, name: &str) -> Self {
        let mut block = [0; 512];
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        let header = Self { block, size: None, damaged: false };
        header.at(0, name.as_bytes()).mode("0644").at(136, b"14524761000\0")
    }

    pub(crate) fn at(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.block[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn mode(self, octal: &str) -> Self {
        self.at(100, format!("{octal:0>7}\0").as_bytes())
    }

    pub(crate) fn link(self, target: &str) -> Self {
        self.at(157, target.as_bytes())
    }

    /// The size's twelve bytes.
    pub(crate) fn size(mut self, field: &str) -> Self {
        self.size = Some(field.to_owned());
        self
    }

    pub(crate) fn gnu(self) -> Self {
        self.at(257, b"ustar  \0")
    }

    pub(crate) fn damaged(mut self) -> Self {
        self.damaged = true;
        self
    }

    fn bytes(&self, content: usize) -> [u8; 512] {
        let size = self.size.clone().unwrap_or_else(|| format!("{content:011o}\0"));
        let mut block = self.clone().at(124, size.as_bytes()).at(148, b"        ").block;
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum::<u32>() + u32::from(self.damaged);
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}
