//! Whether an index is trusted.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use gigmcp_registry::{
    Freshness, Index, PublicKey, Root, Seen, SignedIndex, SignedRoot, TrustRoot, Verified, VerifyError,
};
use serde_json::json;

use crate::arguments::{moment, moment_text, span};
use crate::failure::Failure;
use crate::files::{self, Document};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Verify {
    /// The signed index
    file: PathBuf,
    #[command(flatten)]
    trust: Trust,
    /// An index published before, which this one must not be older than, and whose versions keep their images
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// The moment at which it is to be valid; now, unless given
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    at: Option<SystemTime>,
}

/// Whose signatures count.
#[derive(Args)]
struct Trust {
    /// The root that is trusted, and then those that follow it, in order
    #[arg(long, value_name = "FILE", required_unless_present = "key", conflicts_with = "key")]
    root: Vec<PathBuf>,
    /// A public key that is trusted, in hex; can be given several times
    #[arg(long, value_name = "HEX")]
    key: Vec<PublicKey>,
    /// How many of the keys must have signed
    #[arg(long, value_name = "NUMBER", requires = "key", default_value = "1")]
    threshold: NonZeroUsize,
}

impl Trust {
    fn keys(&self, now: SystemTime) -> Result<TrustRoot, Failure> {
        if self.root.is_empty() {
            return TrustRoot::new(self.key.iter().copied(), self.threshold)
                .map_err(|source| Failure::file("these keys cannot be trusted together").because(source));
        }
        let root = chain(&self.root)?;
        let keys = root.index_keys(now).map_err(|source| {
            Failure::refused("the last root is not valid any more")
                .because(source)
                .advice("give the root after it with --root")
        })?;
        Ok(keys.clone())
    }
}

impl Verify {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let now = self.at.unwrap_or_else(SystemTime::now);
        let keys = self.trust.keys(now)?;
        let last_seen = self.previous.as_deref().map(|path| seen(path, &keys)).transpose()?;
        let Document { signatures, bytes } = Document::read(&self.file)?;
        let freshness = Freshness { now, last_seen: last_seen.as_ref() };
        let verified = SignedIndex::verify(&bytes, &signatures, &keys, &freshness);
        let verified = verified.map_err(|error| refused(&self.file, error))?;
        print(output, &verified)
    }
}

/// From the root that is trusted to the last one given.
pub(crate) fn chain(paths: &[PathBuf]) -> Result<Verified<Root>, Failure> {
    let mut trusted: Option<Verified<Root>> = None;
    for path in paths {
        let Document { signatures, bytes } = Document::read(path)?;
        let next = match &trusted {
            None => SignedRoot::pinned(&bytes, &signatures),
            Some(root) => root.next(&bytes, &signatures),
        };
        trusted =
            Some(next.map_err(|source| {
                Failure::refused(format!("the root {} is refused", path.display())).because(source)
            })?);
    }
    trusted.ok_or_else(|| Failure::file("there is no root"))
}

/// What a reader remembers who took that index while it was valid.
fn seen(path: &Path, keys: &TrustRoot) -> Result<Seen, Failure> {
    let Document { signatures, bytes } = Document::read(path)?;
    let index = Index::danger_from_unverified_json(&bytes)
        .map_err(|source| Failure::file(format!("{} is no index", path.display())).because(source))?;
    let freshness = Freshness { now: index.generated, last_seen: None };
    let verified = SignedIndex::verify(&bytes, &signatures, keys, &freshness);
    Ok(verified.map_err(|error| refused(path, error))?.seen().clone())
}

fn refused(path: &Path, error: VerifyError) -> Failure {
    let advice = match &error {
        VerifyError::Untrusted(_) => "do not use it; ask its publisher if you expected these keys",
        VerifyError::Expired => "fetch a newer one; a mirror may be holding it back",
        VerifyError::NotYetValid => "set this machine's clock",
        VerifyError::Older { .. } | VerifyError::Forked { .. } => "do not use it; someone serves you another index",
        VerifyError::Repinned { .. } => "do not use it; its publisher must give the changed image a new version",
        _ => "ask its publisher to mend it",
    };
    Failure::refused(format!("the index {} is refused", path.display())).because(error).advice(advice)
}

fn print(output: &Output, verified: &Verified<Index>) -> Result<ExitCode, Failure> {
    let (digest, expires) = (verified.seen().digest().to_string(), moment_text(verified.expires));
    let (servers, versions) = (verified.servers.len(), verified.manifests().count());
    output.print(
        &json!({
            "trusted": true, "sequence": verified.sequence, "digest": digest,
            "generated": moment_text(verified.generated), "expires": expires,
            "servers": servers, "versions": versions,
        }),
        &[
            format!("trusted: index with sequence {}, {digest}", verified.sequence),
            format!("{servers} servers in {versions} versions, until {expires}"),
        ],
    )
}

#[derive(Args)]
pub(crate) struct VerifyOriginal {
    /// The index
    file: PathBuf,
    /// Its signature, `index.json.sig`
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
    /// The one key, in hex
    #[arg(long, value_name = "HEX")]
    key: PublicKey,
    /// How long after it was made the index may be used
    #[arg(long, value_name = "SPAN", value_parser = span)]
    lifetime: Duration,
    /// The moment at which it is to be valid; now, unless given
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    at: Option<SystemTime>,
}

impl VerifyOriginal {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let (bytes, signature) = (files::read(&self.file)?, files::read(&self.signature)?);
        let freshness = Freshness { now: self.at.unwrap_or_else(SystemTime::now), last_seen: None };
        let verified = SignedIndex::danger_verify_original(&bytes, &signature, &self.key, self.lifetime, &freshness);
        print(output, &verified.map_err(|error| refused(&self.file, error))?)
    }
}
