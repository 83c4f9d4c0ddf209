//! Roots: which keys are trusted, and by how many of them.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use gigmcp_registry::{Digest, KeyId, PublicKey, Root, TrustRoot};
use serde_json::{Value, json};

use crate::arguments::{moment, moment_text, now, span};
use crate::failure::Failure;
use crate::files::{self, Document};
use crate::output::Output;
use crate::sign::{self, Sign};
use crate::verify::chain;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make version 1, to be signed by its root keys
    Create(Create),
    /// Add a key
    AddKey(AddKey),
    /// Remove a key; never bring one back
    RemoveKey(RemoveKey),
    /// Change how many keys must sign
    Threshold(Threshold),
    /// Put a key in the place of another, or only give the root a new expiry
    Rotate(Rotate),
    /// Add signatures to a root: enough of the root keys before, and of its own
    Sign(Sign),
    /// Say whether each root follows the one before
    Verify(Verify),
}

impl Command {
    pub(crate) fn run(self, output: &Output) -> Result<ExitCode, Failure> {
        match self {
            Self::Create(create) => create.run(output),
            Self::AddKey(add) => add.change.run(output, |role, keys| match role {
                role if role == add.role => Keys::of(keys).with(add.key).build(),
                _ => Ok(keys.clone()),
            }),
            Self::RemoveKey(remove) => remove.change.run(output, |role, keys| match role {
                role if role == remove.role => Keys::of(keys).without(remove.key)?.build(),
                _ => Ok(keys.clone()),
            }),
            Self::Threshold(threshold) => threshold.change.run(output, |role, keys| match role {
                role if role == threshold.role => Keys { threshold: threshold.threshold, ..Keys::of(keys) }.build(),
                _ => Ok(keys.clone()),
            }),
            Self::Rotate(rotate) => {
                rotate.change.run(output, |role, keys| match (rotate.role, rotate.old, rotate.new) {
                    (Some(which), Some(old), Some(new)) if which == role => {
                        Keys::of(keys).without(old)?.with(new).build()
                    }
                    _ => Ok(keys.clone()),
                })
            }
            Self::Sign(sign) => sign.run(output, sign::Kind::Root),
            Self::Verify(verify) => verify.run(output),
        }
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Role {
    /// Signs the next root
    Root,
    /// Signs the index
    Index,
}

#[derive(Args)]
pub(crate) struct Create {
    /// A public key that signs roots, in hex; can be given several times
    #[arg(long, value_name = "HEX", required = true)]
    root_key: Vec<PublicKey>,
    /// How many of them must sign
    #[arg(long, value_name = "NUMBER")]
    root_threshold: NonZeroUsize,
    /// A public key that signs the index, in hex; can be given several times
    #[arg(long, value_name = "HEX", required = true)]
    index_key: Vec<PublicKey>,
    /// How many of them must sign
    #[arg(long, value_name = "NUMBER")]
    index_threshold: NonZeroUsize,
    #[command(flatten)]
    expiry: Expiry,
    /// Where to put the root, not signed yet
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

impl Create {
    fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let keys = |keys: &[PublicKey], threshold| Keys { keys: keys.to_vec(), threshold }.build();
        let root = keys(&self.root_key, self.root_threshold)?;
        let index = keys(&self.index_key, self.index_threshold)?;
        write(output, &self.output, NonZeroU64::MIN, self.expiry.moment()?, root, index)
    }
}

#[derive(Args)]
struct Expiry {
    /// How long the root may be used
    #[arg(long, value_name = "SPAN", default_value = "365d", value_parser = span, conflicts_with = "expires")]
    lifetime: Duration,
    /// The moment from which on it must not be used
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    expires: Option<SystemTime>,
}

impl Expiry {
    fn moment(&self) -> Result<SystemTime, Failure> {
        let moment = self.expires.or_else(|| now().checked_add(self.lifetime));
        moment.ok_or_else(|| Failure::file("the root would never expire"))
    }
}

/// A new version of a signed root, or further changes of one that is not signed yet.
#[derive(Args)]
struct ChangeRoot {
    /// The root to change: a signed one gets a new version and expiry, one that is not signed yet keeps its version
    file: PathBuf,
    #[command(flatten)]
    expiry: Expiry,
    /// Where to put the changed root, not signed
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

impl ChangeRoot {
    fn run(
        &self,
        output: &Output,
        change: impl Fn(Role, &TrustRoot) -> Result<TrustRoot, Failure>,
    ) -> Result<ExitCode, Failure> {
        let document = Document::read(&self.file)?;
        let root = Root::danger_from_unverified_json(&document.bytes)
            .map_err(|source| Failure::file(format!("{} is no root", self.file.display())).because(source))?;
        let version = if document.is_signed() { root.version.checked_add(1) } else { Some(root.version) };
        let version = version.ok_or_else(|| Failure::file("there is no version after this one"))?;
        let (for_root, for_index) = (change(Role::Root, &root.root)?, change(Role::Index, &root.index)?);
        write(output, &self.output, version, self.expiry.moment()?, for_root, for_index)
    }
}

#[derive(Args)]
pub(crate) struct AddKey {
    #[command(flatten)]
    change: ChangeRoot,
    /// What the key is for
    #[arg(long)]
    role: Role,
    /// The public key, in hex
    #[arg(long, value_name = "HEX")]
    key: PublicKey,
}

#[derive(Args)]
pub(crate) struct RemoveKey {
    #[command(flatten)]
    change: ChangeRoot,
    /// What the key was for
    #[arg(long)]
    role: Role,
    /// The id of the key, in hex
    #[arg(long, value_name = "ID")]
    key: KeyId,
}

#[derive(Args)]
pub(crate) struct Threshold {
    #[command(flatten)]
    change: ChangeRoot,
    /// Whose threshold
    #[arg(long)]
    role: Role,
    /// How many keys must sign
    #[arg(long, value_name = "NUMBER")]
    threshold: NonZeroUsize,
}

#[derive(Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    change: ChangeRoot,
    /// What the keys are for
    #[arg(long, requires = "old", requires = "new")]
    role: Option<Role>,
    /// The id of the key that goes, in hex
    #[arg(long, value_name = "ID", requires = "role")]
    old: Option<KeyId>,
    /// The public key that comes, in hex
    #[arg(long, value_name = "HEX", requires = "role")]
    new: Option<PublicKey>,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// The root that is trusted, and then those that follow it, in order
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The moment at which the last one is to be valid; now, unless given
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    at: Option<SystemTime>,
}

impl Verify {
    fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let root = chain(&self.files)?;
        root.index_keys(self.at.unwrap_or_else(SystemTime::now)).map_err(|source| {
            Failure::refused("the last root is not valid any more")
                .because(source)
                .advice("make the next version with `registryctl root rotate`, and sign and publish it")
        })?;
        let mut lines = vec![format!("trusted: root version {}, {}", root.version, root.seen().digest())];
        lines.extend(describe(&root));
        let mut value = values(&root);
        value["trusted"] = true.into();
        output.print(&value, &lines)
    }
}

/// Keys that are being put together.
struct Keys {
    keys: Vec<PublicKey>,
    threshold: NonZeroUsize,
}

impl Keys {
    fn of(trusted: &TrustRoot) -> Self {
        Self { keys: trusted.keys().copied().collect(), threshold: trusted.threshold() }
    }

    fn with(mut self, key: PublicKey) -> Self {
        self.keys.push(key);
        self
    }

    fn without(mut self, id: KeyId) -> Result<Self, Failure> {
        let before = self.keys.len();
        self.keys.retain(|key| key.id() != id);
        if self.keys.len() == before {
            return Err(Failure::file(format!("the root has no key {id} of that role"))
                .advice("see its keys with `registryctl root verify`"));
        }
        Ok(self)
    }

    fn build(self) -> Result<TrustRoot, Failure> {
        TrustRoot::new(self.keys, self.threshold)
            .map_err(|source| Failure::file("these keys cannot be trusted together").because(source))
    }
}

fn write(
    output: &Output,
    path: &Path,
    version: NonZeroU64,
    expires: SystemTime,
    root: TrustRoot,
    index: TrustRoot,
) -> Result<ExitCode, Failure> {
    let root = Root::new(version, expires, root, index)
        .map_err(|source| Failure::file("the root cannot be made").because(source))?;
    files::write(path, root.to_json().as_bytes())?;
    let digest = Digest::of(root.to_json().as_bytes());
    let mut lines = vec![format!("root version {version}, {digest}")];
    lines.extend(describe(&root));
    lines.push(format!("{} is to be signed", path.display()));
    let mut value = values(&root);
    value["file"] = path.display().to_string().into();
    output.print(&value, &lines)
}

fn describe(root: &Root) -> Vec<String> {
    let role = |name: &str, trusted: &TrustRoot| {
        let ids: Vec<String> = trusted.keys().map(|key| key.id().to_string()).collect();
        format!("{name}: {} of {}", trusted.threshold(), ids.join(", "))
    };
    vec![format!("until {}", moment_text(root.expires)), role("root keys", &root.root), role("index keys", &root.index)]
}

fn values(root: &Root) -> Value {
    let role = |trusted: &TrustRoot| {
        let key = |key: &PublicKey| json!({ "keyId": key.id().to_string(), "publicKey": key.to_string() });
        json!({ "threshold": trusted.threshold(), "keys": trusted.keys().map(key).collect::<Vec<_>>() })
    };
    json!({
        "version": root.version, "digest": Digest::of(root.to_json().as_bytes()).to_string(),
        "expires": moment_text(root.expires), "root": role(&root.root), "index": role(&root.index),
    })
}
