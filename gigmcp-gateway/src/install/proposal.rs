//! What would be installed, and what somebody agrees to.

use std::{collections::BTreeSet, fmt};

use gigmcp_registry::{Bearing, Change, Digest, Lease, Manifest, ServerName, Tier, Values, Version};

use super::{Entitlements, InstallError, lower::hash};
use crate::spec::ServerSpec;

/// What the user says beside the manifest's name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// Values of the manifest's variables, by name. What was said at an earlier installation holds, unless it is said anew.
    pub(crate) variables: Vec<(String, String)>,
}

/// What would be installed, with its image in the data directory. Nothing runs differently because of it.
pub(crate) struct Proposal {
    pub(crate) entitlements: Entitlements,
    pub(crate) standing: Standing,
    /// Bytes of the image's files, if they were unpacked for this.
    pub(crate) unpacked_bytes: Option<u64>,
    pub(crate) notes: Vec<String>,
    /// Variables whose values are other than those that were agreed to.
    pub(crate) said: Vec<Said>,
    pub(super) manifest: Manifest,
    pub(super) spec: ServerSpec,
    /// The revision that it would come in place of.
    pub(super) found: Option<i64>,
    /// What is proposed is not collected meanwhile.
    pub(super) _lease: Lease,
}

/// How a proposal stands to what is installed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Standing {
    /// There is no such server yet.
    New,
    /// Exactly this was agreed to.
    Agreed,
    /// Something else was.
    Other { before: Version, changes: Vec<Change> },
}

/// A variable with another value than before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Said {
    pub(crate) variable: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

impl Said {
    pub(super) fn changes(before: &ServerSpec, after: &ServerSpec) -> Vec<Self> {
        let names = before.variables.keys().chain(after.variables.keys()).collect::<BTreeSet<_>>();
        let value = |spec: &ServerSpec, name: &String| spec.variables.get(name).cloned();
        let said = names.into_iter().map(|name| Self {
            variable: name.clone(),
            before: value(before, name),
            after: value(after, name),
        });
        said.filter(|said| said.before != said.after).collect()
    }
}

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, before, after } = self;
        match (before, after) {
            (Some(before), Some(after)) => write!(formatter, "~ {variable} = {before} -> {after}"),
            (Some(before), None) => write!(formatter, "- {variable} = {before}"),
            (None, after) => write!(formatter, "+ {variable} = {}", after.as_deref().unwrap_or_default()),
        }
    }
}

/// What somebody agrees to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Consent {
    /// The hash of the manifest that was looked at, see [`hash`].
    pub(crate) manifest: Digest,
    /// Whether the server may hold real credentials, if it asks for that.
    pub(crate) entrusted: bool,
}

/// What was put in place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) server: ServerName,
    pub(crate) version: Version,
    pub(crate) revision: i64,
    /// Whether anything is other than before.
    pub(crate) changed: bool,
    /// Secrets that are to be set now, if anything is other than before.
    pub(crate) secrets: Vec<String>,
}

impl Proposal {
    /// Whether somebody has to agree before this can run: always, unless they have done so already.
    pub(crate) fn needs_consent(&self) -> bool {
        self.standing != Standing::Agreed
    }

    /// What has to be agreed to.
    pub(crate) fn hash(&self) -> Digest {
        hash(&self.manifest)
    }

    /// The changes that bear on what the server does, or only on how it is shown.
    pub(crate) fn changes(&self, bearing: Bearing) -> impl Iterator<Item = &Change> {
        let changes = match &self.standing {
            Standing::Other { changes, .. } => &changes[..],
            Standing::New | Standing::Agreed => &[],
        };
        changes.iter().filter(move |change| change.bearing == bearing)
    }

    /// Whether the consent is to this and to nothing else.
    pub(crate) fn check(&self, consent: &Consent) -> Result<(), InstallError> {
        check_consent(&self.manifest, consent)
    }
}

/// Whether a consent is to a manifest; before an image is asked for.
pub(crate) fn check_consent(manifest: &Manifest, consent: &Consent) -> Result<(), InstallError> {
    if consent.manifest != hash(manifest) {
        return Err(InstallError::OtherManifest { agreed: consent.manifest, manifest: hash(manifest) });
    }
    if manifest.tier == Tier::Entrusted && !consent.entrusted {
        return Err(InstallError::Entrusted { server: manifest.name.clone() });
    }
    Ok(())
}

impl Request {
    /// The values of a manifest's variables: what the user says now, and what was said before of those that it still has.
    pub(super) fn values(&self, manifest: &Manifest, before: Option<&ServerSpec>) -> Result<Values, InstallError> {
        let said_now = |name: &str| self.variables.iter().any(|(said, _)| said == name);
        let known = |name: &str| manifest.variables.iter().any(|variable| variable.name.as_str() == name);
        let before = before.into_iter().flat_map(|spec| &spec.variables);
        let before = before.filter(|(name, _)| known(name) && !said_now(name)).map(|(name, value)| (&**name, &**value));
        let now = self.variables.iter().map(|(name, value)| (&**name, &**value));
        Values::new(&manifest.variables, before.chain(now)).map_err(|faults| InstallError::Variables { faults })
    }
}

impl Outcome {
    pub(super) fn of(manifest: &Manifest, revision: i64, changed: bool) -> Self {
        Self { server: manifest.name.clone(), version: manifest.version, revision, changed, secrets: Vec::new() }
    }
}
