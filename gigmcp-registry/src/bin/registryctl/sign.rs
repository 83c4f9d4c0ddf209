//! Adding signatures to a document.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use gigmcp_registry::{Digest, Envelope, Index, Root};
use serde_json::json;

use crate::failure::Failure;
use crate::files::{self, Document};
use crate::key_file;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Sign {
    /// The document, with the signatures of others or without any
    file: PathBuf,
    /// A file with a signing key, or `-` for standard input; can be given several times
    #[arg(long, short, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// Where to put the document with its signatures; FILE itself if it is signed already
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What is signed: signatures of one kind are none of the other.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Index,
    Root,
}

impl Sign {
    pub(crate) fn run(&self, output: &Output, kind: Kind) -> Result<ExitCode, Failure> {
        let Document { mut signatures, bytes } = Document::read(&self.file)?;
        let target = match (&self.output, signatures.iter().next()) {
            (Some(output), _) => output,
            (None, Some(_)) => &self.file,
            (None, None) => {
                return Err(Failure::file(format!("{} is not signed yet", self.file.display()))
                    .advice("say where the signed document goes with --output"));
            }
        };
        let says = kind.check(&self.file, &bytes)?;
        let mut signers = Vec::new();
        for path in &self.key {
            let key = key_file::read(path)?;
            signatures.add(match kind {
                Kind::Index => key.sign_index(&bytes),
                Kind::Root => key.sign_root(&bytes),
            });
            signers.push(key.public_key().id().to_string());
        }
        files::write(target, &Envelope::join(&signatures, &bytes))?;
        let (digest, count) = (Digest::of(&bytes).to_string(), signatures.iter().count());
        let file = target.display().to_string();
        let mut lines = vec![format!("{says}, {digest}")];
        lines.extend(signers.iter().map(|signer| format!("signed by {signer}")));
        lines.push(format!("{file} has {count} signatures"));
        output.print(&json!({ "file": file, "digest": digest, "signedBy": signers, "signatures": count }), &lines)
    }
}

impl Kind {
    /// Whoever signs, signs something that readers can use, in its one spelling.
    fn check(self, path: &Path, bytes: &[u8]) -> Result<String, Failure> {
        let name = path.display();
        let (canonical, says) = match self {
            Self::Index => {
                let index = Index::danger_from_unverified_json(bytes)
                    .map_err(|source| Failure::file(format!("{name} is no index")).because(source))?;
                (index.to_json(), format!("index with sequence {}", index.sequence))
            }
            Self::Root => {
                let root = Root::danger_from_unverified_json(bytes)
                    .map_err(|source| Failure::file(format!("{name} is no root")).because(source))?;
                (root.to_json(), format!("root version {}", root.version))
            }
        };
        if canonical.as_bytes() != bytes {
            return Err(Failure::file(format!("{name} is not in its canonical form"))
                .advice("write it with `registryctl build-index`, and change nothing afterwards"));
        }
        Ok(says)
    }
}
