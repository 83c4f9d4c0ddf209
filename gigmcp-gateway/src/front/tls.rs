//! TLS: a certificate and its key, read again when they change.

mod expiry;
mod files;

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{ServerConfig, crypto::aws_lc_rs, version};
use tokio::signal::unix::Signal;
use tokio_rustls::TlsAcceptor;

use expiry::{Expiry, Reminder};
use files::State;
pub(crate) use files::TlsFiles;

use super::Stats;

/// What handshakes are made with.
pub(crate) struct Tls {
    files: TlsFiles,
    current: RwLock<Current>,
    stats: Arc<Stats>,
}

struct Current {
    config: Arc<ServerConfig>,
    expiry: Option<Expiry>,
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TlsError {
    #[error("{}, which {name} names, cannot be read", path.display())]
    Unreadable { name: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{}, which {name} names, is no regular file", path.display())]
    Kind { name: &'static str, path: PathBuf },
    #[error("{}, which GIG_TLS_KEY_FILE names, belongs to user {owner}; make it root's or that of the user who runs the gateway", path.display())]
    Owner { path: PathBuf, owner: u32 },
    #[error("others may read or change {}, which GIG_TLS_KEY_FILE names (mode {mode:04o}); `chmod 0600` or 0640 it", path.display())]
    Mode { path: PathBuf, mode: u32 },
    #[error("{}, which {name} names, is not in PEM", path.display())]
    Pem { name: &'static str, path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{}, which GIG_TLS_CERT_FILE names, holds no certificate", path.display())]
    Empty { path: PathBuf },
    #[error(
        "the certificate of GIG_TLS_CERT_FILE and the key of GIG_TLS_KEY_FILE do not belong together, or are of no kind that works"
    )]
    Pair { source: rustls::Error },
}

/// What was seen of the files. At first nothing was, so that whatever happened since they were read is seen.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    seen: Option<State>,
    /// Not usable, which may be because only one of them has changed yet.
    doubted: Option<State>,
    reminder: Reminder,
}

impl Tls {
    /// Reads the files for the first time.
    pub(crate) fn open(files: TlsFiles, stats: Arc<Stats>) -> Result<Self, TlsError> {
        let current = read(&files)?;
        stats.certificate_expires(current.expiry.map(Expiry::at));
        Ok(Self { files, current: RwLock::new(current), stats })
    }

    /// For the next handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current.config))
    }

    fn expiry(&self) -> Option<Expiry> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).expiry
    }

    /// Reads the files again when they change, and on `reload`, until one time they cannot be used, which is told once; what was
    /// in use stays.
    pub(crate) async fn follow(&self, follower: &mut Follower, reload: &mut Signal) -> TlsError {
        let Follower { seen, doubted, reminder } = follower;
        loop {
            reminder.remind(self.expiry(), SystemTime::now());
            let asked = tokio::select! {
                _ = reload.recv() => true,
                () = tokio::time::sleep(POLL) => false,
            };
            let found = self.files.state();
            if !asked && seen.as_ref() == Some(&found) {
                continue;
            }
            match read(&self.files) {
                Ok(current) => {
                    if seen.is_some() || asked {
                        tracing::info!("TLS: the certificate was read again");
                    }
                    self.stats.certificate_expires(current.expiry.map(Expiry::at));
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
                    self.stats.loaded(true);
                    (*seen, *doubted) = (Some(found), None);
                }
                // One file is there before the other; the next look tells.
                Err(_) if !asked && doubted.as_ref() != Some(&found) => *doubted = Some(found),
                Err(error) => {
                    self.stats.loaded(false);
                    (*seen, *doubted) = (Some(found), None);
                    return error;
                }
            }
        }
    }
}

fn read(files: &TlsFiles) -> Result<Current, TlsError> {
    let (chain, key) = files.read()?;
    let expiry = Expiry::of(&chain);
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("the provider has suites of both versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Pair { source })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Current { config: Arc::new(config), expiry })
}

/// How soon a change of the files is seen.
const POLL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
