//! Servers that came from an index, revision by revision.

use std::collections::BTreeSet;

use gigmcp_registry::{Manifest, TreeDigest};
use sea_query::{Expr, ExprTrait, Query};

use super::{
    Joins, Store, StoreError, Told, audit,
    connection::{Connection, Row},
    now_seconds, policies,
    schema::{Manifests, Servers},
    servers,
};
use crate::{
    spec::{Owner, ServerName, ServerSpec, Source},
    trail::{AuditRow, PolicySeal},
};

/// One revision of a server that came from an index.
#[derive(Clone, Debug)]
pub(crate) struct InstallRow {
    pub(crate) server: ServerName,
    pub(crate) manifest: Manifest,
    /// The revision in whose place it came.
    pub(crate) replaces: Option<i64>,
}

/// What somebody agreed to.
#[derive(Debug)]
pub(crate) struct NewInstall {
    pub(crate) server: ServerName,
    pub(crate) manifest: Manifest,
    /// As it will stand in the database, and signed so.
    pub(crate) policy: String,
    pub(crate) seal: PolicySeal,
    /// The revision that was there when it was looked at; None if there was no such server.
    pub(crate) found: Option<i64>,
    /// What to go back to later.
    pub(crate) replaces: Option<i64>,
    pub(crate) owner: Owner,
    pub(crate) profiles: Vec<Joins>,
    /// What the audit says of it; the revision is added.
    pub(crate) told: Told,
}

/// The text of a policy, and who signed it.
#[derive(Clone, Debug)]
pub(crate) struct PolicyRow {
    pub(crate) policy: String,
    pub(crate) seal: Option<PolicySeal>,
}

impl PolicyRow {
    /// What it says, once it is known to be somebody's.
    pub(crate) fn spec(&self, server: &ServerName) -> Result<ServerSpec, StoreError> {
        ServerSpec::from_json(&self.policy)
            .map_err(|_| StoreError::Corrupt { what: "the policy of", name: server.to_string() })
    }
}

impl Store {
    /// Puts a server in place with the consent of its owner, into these profiles and the audit too, or does nothing of it.
    /// Gives its revision.
    pub(crate) async fn install(&self, install: NewInstall) -> Result<i64, StoreError> {
        self.change(move |connection| {
            install.told.check(connection)?;
            let name = &install.server;
            let found = servers::find(connection, name)?.map(|server| server.revision);
            if found != install.found {
                return Err(StoreError::Moved { server: name.clone() });
            }
            let revision = policies::declare_sealed(connection, name, &install.policy, &install.seal)?;
            match found {
                None => servers::insert(connection, name, &install.policy, revision)?,
                Some(_) => servers::update(connection, name, &install.policy, revision)?,
            }
            insert(connection, name, revision, &install.manifest, install.replaces)?;
            for profile in &install.profiles {
                super::profiles::join(connection, profile, name)?;
            }
            policies::consent(connection, &install.owner, name, revision)?;
            audit::append(connection, &AuditRow { policy_version: Some(revision), ..install.told.row })?;
            Ok(revision)
        })
        .await
    }

    /// What the index said of that revision of a server; None if it did not come from one.
    pub(crate) async fn installed(&self, server: ServerName, revision: i64) -> Result<Option<InstallRow>, StoreError> {
        self.read(move |connection| {
            let select = select().and_where(Expr::col(Manifests::Revision).eq(revision)).take();
            let found = connection.row(&select, parse)?;
            Ok(found.filter(|row| row.server == server))
        })
        .await
    }

    /// The policy of that revision of a server.
    pub(crate) async fn policy(&self, server: ServerName, revision: i64) -> Result<PolicyRow, StoreError> {
        self.read(move |connection| {
            policies::find(connection, &server, revision)?.ok_or_else(|| StoreError::Missing {
                what: "policy of",
                name: server.to_string(),
                known: Vec::new(),
            })
        })
        .await
    }

    /// The files of all images that servers have now, and of those that they can go back to.
    pub(crate) async fn trees(&self) -> Result<BTreeSet<TreeDigest>, StoreError> {
        self.read(|connection| {
            let now = Query::select().columns([Servers::Name, Servers::Revision]).from(Servers::Table).take();
            let now = connection.rows(&now, |row| {
                let name: String = row.get(0)?;
                let name = name.parse().map_err(|_| StoreError::Corrupt { what: "server", name })?;
                Ok((name, row.get(1)?))
            })?;
            let mut trees = BTreeSet::new();
            for (server, revision) in now {
                let select = select().and_where(Expr::col(Manifests::Revision).eq(revision)).take();
                let before = connection.row(&select, parse)?.and_then(|row| row.replaces);
                for revision in [Some(revision), before].into_iter().flatten() {
                    let policy = policies::find(connection, &server, revision)?;
                    let spec = policy.map(|policy| policy.spec(&server)).transpose()?;
                    if let Some(Source::Image(image)) = spec.map(|spec| spec.source) {
                        trees.insert(image.tree);
                    }
                }
            }
            Ok(trees)
        })
        .await
    }
}

fn insert(
    connection: &Connection,
    server: &ServerName,
    revision: i64,
    manifest: &Manifest,
    replaces: Option<i64>,
) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(Manifests::Table)
        .columns([
            Manifests::Revision,
            Manifests::Server,
            Manifests::Version,
            Manifests::Digest,
            Manifests::Tier,
            Manifests::Manifest,
            Manifests::ManifestHash,
            Manifests::Replaces,
            Manifests::InstalledAt,
        ])
        .values_panic([
            revision.into(),
            server.as_str().into(),
            manifest.version.to_string().into(),
            manifest.image.digest.to_string().into(),
            manifest.tier.as_str().into(),
            manifest.to_json().into(),
            manifest.hash().to_string().into(),
            replaces.into(),
            now_seconds().into(),
        ])
        .take();
    Ok(connection.execute(&insert).map(drop)?)
}

fn select() -> sea_query::SelectStatement {
    Query::select().columns([Manifests::Server, Manifests::Manifest, Manifests::Replaces]).from(Manifests::Table).take()
}

fn parse(row: &Row<'_>) -> Result<InstallRow, StoreError> {
    let name: String = row.get(0)?;
    let corrupt = || StoreError::Corrupt { what: "the manifest of", name: name.clone() };
    let manifest: String = row.get(1)?;
    Ok(InstallRow {
        server: name.parse().map_err(|_| corrupt())?,
        manifest: Manifest::from_json(manifest.as_bytes()).map_err(|_| corrupt())?,
        replaces: row.get(2)?,
    })
}
