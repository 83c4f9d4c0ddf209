//! Files that are read with a bound, and written whole or not at all.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use gigmcp_registry::{Envelope, Manifest, Signatures};

use crate::failure::Failure;

/// At most 32 MiB: twice what an index may have.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_at_most(path, MAX_BYTES)
}

fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let failed = |source: io::Error| Failure::file(format!("{} cannot be read", path.display())).because(source);
    let mut content = Vec::new();
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut content)).map_err(failed)?;
    if content.len() as u64 > limit {
        return Err(Failure::file(format!("{} has more than {limit} bytes", path.display())));
    }
    Ok(content)
}

/// A program, which may be larger.
#[cfg(feature = "build")]
pub(crate) fn read_program(path: &Path) -> Result<Vec<u8>, Failure> {
    read_at_most(path, MAX_PROGRAM_BYTES)
}

/// Puts the content in the place of what was there, through no symlink.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let all = Permissions::from_mode(0o666); // without what the umask takes
    let written = tempfile::Builder::new().permissions(all).tempfile_in(directory).and_then(|mut file| {
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    });
    written.map(drop).map_err(|source| Failure::file(format!("{} cannot be written", path.display())).because(source))
}

/// A document with its signatures, or one that has none yet.
pub(crate) struct Document {
    pub(crate) signatures: Signatures,
    pub(crate) bytes: Vec<u8>,
}

impl Document {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = read(path)?;
        if !bytes.starts_with(b"{\"signatures\":") {
            return Ok(Self { signatures: Signatures::default(), bytes });
        }
        let parts = Envelope::split(&bytes).and_then(|envelope| Ok((envelope.signatures()?, envelope.document())));
        let (signatures, document) = parts
            .map_err(|source| Failure::file(format!("{} is no signed document", path.display())).because(source))?;
        Ok(Self { signatures, bytes: document.to_vec() })
    }

    pub(crate) fn is_signed(&self) -> bool {
        self.signatures.iter().next().is_some()
    }
}

/// A manifest in YAML, or in JSON if its name ends so.
pub(crate) fn manifest(path: &Path) -> Result<Manifest, Failure> {
    let text = read(path)?;
    let json = path.extension().is_some_and(|extension| extension == "json");
    let manifest = if json { Manifest::from_json(&text) } else { Manifest::from_yaml(&text) };
    manifest.map_err(|source| Failure::file(format!("{} is no manifest", path.display())).because(source))
}

const MAX_BYTES: u64 = 32 << 20;
#[cfg(feature = "build")]
const MAX_PROGRAM_BYTES: u64 = 1 << 30;
