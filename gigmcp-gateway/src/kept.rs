//! The directories in which servers keep files from one start to the next: one for each server and owner.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::time;

use crate::{
    host::create_private_dir,
    spec::{Owner, ServerName},
};

/// Where they lie.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    root: PathBuf,
}

/// One of them cannot be used, or removed.
#[derive(Debug, thiserror::Error)]
#[error("the directory {} that a server keeps files in cannot be used", .path.display())]
pub(crate) struct KeptError {
    path: PathBuf,
    source: io::Error,
}

impl Kept {
    pub(crate) fn of(data_dir: &Path) -> Self {
        Self { root: data_dir.join("state") }
    }

    /// The directory of a server for one owner, in this epoch of theirs: what was kept before is not shown again, wherever it
    /// still lies. A server can read its path, so that says nothing.
    pub(crate) fn directory(&self, server: &ServerName, owner: &Owner, epoch: i64) -> Result<PathBuf, KeptError> {
        let path = self.of_server(server).join(name(owner, epoch));
        let failed = |source| KeptError { path: path.clone(), source };
        create_private_dir(&path).map_err(failed)?;
        // No symlink is followed where it is shown.
        fs::canonicalize(&path).map_err(failed)
    }

    /// Whether there is anything that a server kept.
    pub(crate) fn has(&self, server: &ServerName) -> bool {
        fs::symlink_metadata(self.of_server(server)).is_ok()
    }

    /// Removes what a server kept, for whomever.
    pub(crate) fn remove(&self, server: &ServerName) -> Result<(), KeptError> {
        remove(self.of_server(server))
    }

    /// Removes what servers kept for somebody before this epoch. What still runs and writes there is waited for: it was told to
    /// end.
    pub(crate) async fn forget(&self, owner: &Owner, before: i64) -> Result<(), KeptError> {
        let servers = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.and_then(Iterator::collect::<io::Result<Vec<_>>>),
        };
        let servers = servers.map_err(|source| KeptError { path: self.root.clone(), source })?;
        for server in servers {
            for epoch in 0..before {
                let path = server.path().join(name(owner, epoch));
                let mut tried = 1;
                while let Err(error) = remove(path.clone()) {
                    if tried == ATTEMPTS {
                        return Err(error);
                    }
                    tried += 1;
                    time::sleep(POLL).await;
                }
            }
        }
        Ok(())
    }

    fn of_server(&self, server: &ServerName) -> PathBuf {
        self.root.join(digest(server.as_str()))
    }
}

fn remove(path: PathBuf) -> Result<(), KeptError> {
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| KeptError { path, source }),
    }
}

/// No owner has a space in their name.
fn name(owner: &Owner, epoch: i64) -> String {
    match epoch {
        0 => digest(owner.as_str()),
        epoch => digest(&format!("{owner} {epoch}")),
    }
}

fn digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..16])
}

/// Together longer than an instance may take to end.
const ATTEMPTS: usize = 20;
const POLL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_kept_before_is_gone_and_is_not_shown_again() {
        let data = tempfile::tempdir().expect("a directory");
        let kept = Kept::of(data.path());
        let (ann, bob): (Owner, Owner) = ("ann".parse().expect("an owner"), "bob".parse().expect("an owner"));
        let servers: [ServerName; 2] = ["notes", "files"].map(|name| name.parse().expect("a name"));
        kept.forget(&ann, 1).await.expect("there is nothing yet");
        let mut before = Vec::new();
        for server in &servers {
            for owner in [&ann, &bob] {
                let path = kept.directory(server, owner, 0).expect("it can be made");
                fs::write(path.join("login"), owner.as_str()).expect("it can be written");
                before.push((owner.clone(), path));
            }
            let now = kept.directory(server, &ann, 1).expect("it can be made");
            assert_eq!(fs::read_dir(&now).expect("it is there").count(), 0, "even as long as that of before is there");
            fs::write(now.join("login"), "another").expect("it can be written");
        }
        kept.forget(&ann, 1).await.expect("they can be removed");
        for (owner, path) in before {
            assert_eq!(path.exists(), owner == bob, "twin: another's");
        }
        for server in &servers {
            let now = kept.directory(server, &ann, 1).expect("it is there");
            assert_eq!(fs::read(now.join("login")).expect("it is there"), b"another", "twin: what was kept since");
        }
    }
}
