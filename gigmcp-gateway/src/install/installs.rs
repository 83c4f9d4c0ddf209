//! From a manifest to a server that somebody agreed to.

use std::sync::Arc;

use gigmcp_registry::{Installed, Lease, Manifest, Progress, ServerName};

use super::{
    Consent, Entitlements, Images, InstallError, Outcome, Proposal, Request, Said, Standing, images,
    lower::{Unpacked, hash, lower},
};
use crate::{
    host::{Host, HostError},
    output::whole,
    people::Actor,
    spec::{self, Owner, ServerSpec, Source},
    store::{AuditRow, InstallRow, Joins, NewInstall, PolicyRow, SecretKey, ServerRow, StoreError, now_millis},
};

/// Installs into one data directory.
pub(crate) struct Installs<'h> {
    host: &'h Host,
    images: Images,
}

impl<'h> Installs<'h> {
    /// As the settings say.
    pub(crate) async fn open(host: &'h Host) -> Result<Self, InstallError> {
        Ok(Self { host, images: Images::open(host).await? })
    }

    /// Fetches a manifest's image and says what it would be. If that fails, nothing of it is left.
    pub(crate) async fn propose(
        &self,
        manifest: &Manifest,
        request: &Request,
        progress: Arc<dyn Progress>,
    ) -> Result<Proposal, InstallError> {
        match self.prepare(manifest, request, progress).await {
            Ok(proposal) => Ok(proposal),
            Err(error) => {
                self.clean_up().await;
                Err(error)
            }
        }
    }

    async fn prepare(
        &self,
        manifest: &Manifest,
        request: &Request,
        progress: Arc<dyn Progress>,
    ) -> Result<Proposal, InstallError> {
        let name = &manifest.name;
        spec::check_free(name)?;
        let found = self.found(name).await?;
        let values = request.values(manifest, found.as_ref().map(|found| &found.row.spec))?;
        let installed = self.images.fetch(manifest, progress).await?;
        images::check_bundle(manifest, installed.lease.rootfs())?;
        let unpacked = Unpacked { tree: installed.tree, config: &installed.config };
        let (spec, notes) = lower(manifest, &values, &unpacked)?;
        let standing = match &found {
            None => Standing::New,
            Some(found) if found.row.spec == spec && self.is_agreed(name, &found.policy).await? => Standing::Agreed,
            Some(found) => Standing::Other {
                before: found.install.manifest.version,
                changes: found.install.manifest.changes_to(manifest),
            },
        };
        let said = found.as_ref().map_or_else(Vec::new, |found| Said::changes(&found.row.spec, &spec));
        let Installed { extracted, lease, .. } = installed;
        Ok(Proposal {
            entitlements: Entitlements::of(manifest, &values),
            standing,
            unpacked_bytes: extracted.map(|extracted| extracted.file_bytes),
            notes,
            said,
            manifest: manifest.clone(),
            spec,
            found: found.map(|found| found.row.revision),
            _lease: lease,
        })
    }

    /// Puts a proposal in place, for the owner who agreed to it and into these profiles of theirs.
    pub(crate) async fn accept(
        &self,
        proposal: Proposal,
        consent: &Consent,
        by: &Actor,
        profiles: Vec<Joins>,
    ) -> Result<Outcome, InstallError> {
        let done = async {
            proposal.check(consent)?;
            let (manifest, spec) = (&proposal.manifest, &proposal.spec);
            self.put(manifest, spec, proposal.found, proposal.found, (by, Agreed::Anew), profiles).await
        };
        let done = done.await;
        drop(proposal);
        // Of what was looked at in vain, or came before what one could go back to.
        self.clean_up().await;
        done
    }

    /// Puts what was agreed to already into profiles too.
    pub(crate) async fn use_as_agreed(
        &self,
        proposal: &Proposal,
        profiles: Vec<Joins>,
    ) -> Result<Outcome, InstallError> {
        self.host.store.join(proposal.manifest.name.clone(), profiles).await?;
        let revision = proposal.found.unwrap_or_default();
        Ok(Outcome::of(&proposal.manifest, revision, false))
    }

    /// Forgets a proposal that nobody agreed to, and its image unless something else needs that.
    pub(crate) async fn decline(&self, proposal: Proposal) {
        drop(proposal);
        self.clean_up().await;
    }

    /// Goes back to what was agreed to before. That needs no further consent; what it is was signed then. With `seen`, only if
    /// that is the server's revision still.
    pub(crate) async fn roll_back(
        &self,
        server: &ServerName,
        seen: Option<i64>,
        by: &Actor,
        progress: Arc<dyn Progress>,
    ) -> Result<Outcome, InstallError> {
        let found = self.found(server).await?.ok_or_else(|| InstallError::NotInstalled { server: server.clone() })?;
        if seen.is_some_and(|seen| seen != found.row.revision) {
            return Err(StoreError::Moved { server: server.clone() }.into());
        }
        let nothing = || InstallError::NothingBefore { server: server.clone() };
        let before = found.install.replaces.ok_or_else(nothing)?;
        let earlier = self.host.store.installed(server.clone(), before).await?.ok_or_else(nothing)?;
        let policy = self.host.store.policy(server.clone(), before).await?;
        if !self.is_agreed(server, &policy).await? {
            return Err(InstallError::NotConsented { server: server.clone() });
        }
        let spec = policy.spec(server)?;
        let _lease = self.files(&earlier, &spec, progress).await?;
        let (found, before) = (Some(found.row.revision), earlier.replaces);
        self.put(&earlier.manifest, &spec, found, before, (by, Agreed::Before), Vec::new()).await
    }

    /// The files of a version before; they are fetched again if they were collected.
    async fn files(
        &self,
        earlier: &InstallRow,
        spec: &ServerSpec,
        progress: Arc<dyn Progress>,
    ) -> Result<Lease, InstallError> {
        let other = || InstallError::OtherTree { server: earlier.server.clone() };
        let Source::Image(image) = &spec.source else { return Err(other()) };
        let (store, tree) = (self.host.images().map_err(Box::new)?, image.tree);
        let leased = tokio::task::spawn_blocking(move || store.lease(tree)).await.expect("measuring does not panic");
        match leased {
            Ok(lease) => Ok(lease),
            // Missing, or damaged: it is unpacked anew.
            Err(_) => {
                let installed = self.images.fetch(&earlier.manifest, progress).await?;
                if installed.tree == image.tree { Ok(installed.lease) } else { Err(other()) }
            }
        }
    }

    async fn put(
        &self,
        manifest: &Manifest,
        spec: &ServerSpec,
        found: Option<i64>,
        replaces: Option<i64>,
        (by, agreed): (&Actor, Agreed),
        profiles: Vec<Joins>,
    ) -> Result<Outcome, InstallError> {
        let policy = spec.to_json();
        let signer = self.host.secrets().await.map_err(Box::new)?.audit_signer().await?;
        let seal = signer.seal_policy(&manifest.name, &policy);
        let new = NewInstall {
            server: manifest.name.clone(),
            manifest: manifest.clone(),
            policy,
            seal,
            found,
            replaces,
            owner: by.user.clone(),
            profiles,
            told: by.does(consent_row(manifest, spec, by, agreed)),
        };
        if found.is_none() {
            // What a server of that name left behind is not its own.
            self.host.kept().remove(&manifest.name).map_err(HostError::from).map_err(Box::new)?;
        }
        let revision = self.host.store.install(new).await?;
        let secrets = self.to_set(&manifest.name, spec, &by.user).await?;
        Ok(Outcome { secrets, ..Outcome::of(manifest, revision, true) })
    }

    /// Secrets that nobody has set yet, or only for other hosts or another place.
    async fn to_set(&self, server: &ServerName, spec: &ServerSpec, owner: &Owner) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for slot in &spec.secrets {
            let key = SecretKey { owner: owner.clone(), server: server.clone(), name: slot.name.clone() };
            let row = self.host.store.secret(key).await?;
            if row.is_none_or(|row| row.policy != slot.sealed_for().to_string()) {
                names.push(slot.name.to_string());
            }
        }
        Ok(names)
    }

    async fn found(&self, server: &ServerName) -> Result<Option<Found>, InstallError> {
        let row = match self.host.store.server(server.clone()).await {
            Err(StoreError::Missing { .. }) => return Ok(None),
            row => row?,
        };
        let install = self.host.store.installed(server.clone(), row.revision).await?;
        let install = install.ok_or_else(|| InstallError::ByHand { server: server.clone() })?;
        let policy = self.host.store.policy(server.clone(), row.revision).await?;
        Ok(Some(Found { row, install, policy }))
    }

    /// Whether a policy is what somebody agreed to.
    async fn is_agreed(&self, server: &ServerName, policy: &PolicyRow) -> Result<bool, InstallError> {
        let Some(seal) = &policy.seal else { return Ok(false) };
        let trusted = self.host.secrets().await.map_err(Box::new)?.audit_keys().await?;
        Ok(seal.is_of(server, &policy.policy, &trusted))
    }

    /// What nobody needs goes; if that cannot be done now, the next cleaning does it.
    async fn clean_up(&self) {
        if let Err(error) = self.images.collect(self.host).await {
            tracing::debug!("images that nobody needs are still there: {}", whole(&error));
        }
    }
}

/// An installed server.
struct Found {
    row: ServerRow,
    install: InstallRow,
    policy: PolicyRow,
}

/// When somebody agreed to what is put in place.
#[derive(Clone, Copy)]
enum Agreed {
    Anew,
    /// It is gone back to.
    Before,
}

/// That somebody agreed to this, what they said, and with what they came.
fn consent_row(manifest: &Manifest, spec: &ServerSpec, by: &Actor, agreed: Agreed) -> AuditRow {
    let kind = match agreed {
        Agreed::Anew => "consent",
        Agreed::Before => "rollback",
    };
    let said = spec.variables.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
    AuditRow {
        at_ms: now_millis(),
        kind: kind.to_owned(),
        owner: by.user.to_string(),
        server: manifest.name.to_string(),
        subject: format!("{} {} {}{said}, by {}", manifest.version, manifest.tier.as_str(), hash(manifest), by.told()),
        verdict: "allowed".to_owned(),
        ..AuditRow::default()
    }
}
