//! The two files.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use super::TlsError;

/// Where a certificate chain and its key are.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) certificates: PathBuf,
    pub(crate) key: PathBuf,
}

/// What changes when a file does, or when a link leads elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct State([Option<[i64; 6]>; 2]);

impl TlsFiles {
    /// How they are now.
    pub(super) fn state(&self) -> State {
        let of = |path: &Path| {
            let found = fs::metadata(path).ok()?;
            let (device, inode, size) =
                (found.dev().cast_signed(), found.ino().cast_signed(), found.size().cast_signed());
            Some([device, inode, size, found.mtime(), found.mtime_nsec(), found.ctime()])
        };
        State([of(&self.certificates), of(&self.key)])
    }

    pub(super) fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let key = key(&self.key)?;
        let name = "GIG_TLS_CERT_FILE";
        let (mut file, _) = open(name, &self.certificates)?;
        let pem = contents(name, &self.certificates, &mut file)?;
        let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|source| TlsError::Pem { name, path: self.certificates.clone(), source })?;
        match chain.is_empty() {
            true => Err(TlsError::Empty { path: self.certificates.clone() }),
            false => Ok((chain, key)),
        }
    }
}

/// The key, of a file that only its owner changes, and others do not read. Links are followed: that is how certificates are
/// renewed.
fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let name = "GIG_TLS_KEY_FILE";
    let (mut file, found) = open(name, path)?;
    if found.uid() != 0 && found.uid() != rustix::process::geteuid().as_raw() {
        return Err(TlsError::Owner { path: path.to_owned(), owner: found.uid() });
    }
    // The group may read: that is how a service gets the keys of a machine.
    if found.mode() & 0o027 != 0 {
        return Err(TlsError::Mode { path: path.to_owned(), mode: found.mode() & 0o7777 });
    }
    let pem = contents(name, path, &mut file)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|source| TlsError::Pem { name, path: path.to_owned(), source })
}

fn open(name: &'static str, path: &Path) -> Result<(File, fs::Metadata), TlsError> {
    let unreadable = |source| TlsError::Unreadable { name, path: path.to_owned(), source };
    // A pipe would be waited for.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(TlsError::Kind { name, path: path.to_owned() });
    }
    let file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    match found.is_file() {
        true => Ok((file, found)),
        false => Err(TlsError::Kind { name, path: path.to_owned() }),
    }
}

fn contents(name: &'static str, path: &Path, file: &mut File) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8192));
    let read = file.take(MAX_BYTES).read_to_end(&mut bytes);
    read.map_err(|source| TlsError::Unreadable { name, path: path.to_owned(), source })?;
    Ok(bytes)
}

/// A chain of very many certificates.
const MAX_BYTES: u64 = 1 << 20;
