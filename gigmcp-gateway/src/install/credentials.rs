//! The credentials of private registries: sealed by the vault, each for its registry.

use std::{fmt, str::FromStr, sync::Arc};

use gigmcp_registry::{BoxFuture, CredentialUnavailable, Registry, RegistryCredential, RegistryCredentials};
use gigmcp_vault::{Reason, SecretBytes};

use crate::{
    host::{Host, HostError},
    people::{Actor, Kind, done},
    secrets::{SecretError, Secrets},
    spec::{InvalidSpec, Owner, REGISTRY, SealedFor, SecretName},
    store::{Asker, AuditRow, SecretKey, StoreError, Told},
};

/// The host of a registry, and its port unless that is 443.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RegistryHost(Registry);

impl FromStr for RegistryHost {
    type Err = InvalidSpec;

    fn from_str(text: &str) -> Result<Self, InvalidSpec> {
        let invalid = |_| InvalidSpec::Registry { text: text.to_owned() };
        let host = match text {
            // As everybody calls it, and as images name it.
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            text => text,
        };
        host.parse().map(Self).map_err(invalid)
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a registry is logged in to with.
pub(crate) struct RegistryLogin {
    pub(crate) user: String,
    pub(crate) password: SecretBytes,
}

/// Why a credential of a registry was not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LoginError {
    #[error("`{user}` cannot be a user of a registry: it has a colon or a line break, or nothing in it")]
    User { user: String },
    #[error("the password is not one line of text, or empty")]
    Password,
    #[error("there is no credential for the registry {host}")]
    Absent { host: String },
    #[error(transparent)]
    Registry(#[from] InvalidSpec),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

const JOIN: Reason = Reason::new("seal with its user");
const LOG_IN: Reason = Reason::new("log in to the registry");

impl RegistryLogin {
    /// Keeps it for that registry, in place of another.
    pub(crate) async fn keep(self, host: &RegistryHost, secrets: &Secrets, by: &Actor) -> Result<(), LoginError> {
        let joined = self.joined()?;
        let (key, sealed_for) = place(&host.0)?;
        let told = told(host, "sets", by);
        secrets.put(key, &sealed_for, joined, told).await?;
        Ok(())
    }

    fn joined(&self) -> Result<SecretBytes, LoginError> {
        let Self { user, password } = self;
        if user.is_empty() || user.contains([':', '\n', '\r', '\0']) {
            return Err(LoginError::User { user: user.clone() });
        }
        let joined = password.expose(JOIN, |password| {
            let text = std::str::from_utf8(password).ok().filter(|text| !text.is_empty())?;
            let plain = !text.contains(|char: char| char.is_control());
            plain.then(|| SecretBytes::new([user.as_bytes(), b":", text.as_bytes()].concat()))
        });
        joined.ok_or(LoginError::Password)
    }
}

/// Forgets the credential of a registry.
pub(crate) async fn forget(host: &RegistryHost, secrets: &Secrets, by: &Actor) -> Result<(), LoginError> {
    let (key, _) = place(&host.0)?;
    match secrets.delete(key, told(host, "deletes", by)).await {
        Err(SecretError::Store(StoreError::Missing { .. })) => Err(LoginError::Absent { host: host.to_string() }),
        done => Ok(done?),
    }
}

fn told(host: &RegistryHost, what: &str, by: &Actor) -> Told {
    let row = done(Kind::Secret, &by.user, format!("{what} the credential of {host}"), by);
    by.does(AuditRow { server: REGISTRY.to_owned(), ..row })
}

fn place(registry: &Registry) -> Result<(SecretKey, SealedFor), InvalidSpec> {
    let host = registry.to_string();
    let name: SecretName = host.parse()?;
    let key = SecretKey { owner: Owner::local(), server: REGISTRY.parse().expect("a server name"), name };
    Ok((key, SealedFor::registry(&host)))
}

/// Gives a registry its own credential, and nobody else's.
pub(super) struct FromVault(Option<Arc<Secrets>>);

impl FromVault {
    /// Opens the vault only if there is a credential of a registry in it.
    pub(super) async fn open(host: &Host) -> Result<Self, HostError> {
        let any = host.store.secrets().await?.iter().any(|row| row.key.server.as_str() == REGISTRY);
        Ok(Self(match any {
            true => Some(Arc::new(host.secrets().await?)),
            false => None,
        }))
    }

    async fn stored(&self, registry: &Registry) -> Result<Option<RegistryCredential>, CredentialUnavailable> {
        let (Some(secrets), Ok((key, sealed_for))) = (&self.0, place(registry)) else { return Ok(None) };
        let opened = secrets.open(Asker::Gateway, key, &sealed_for).await.map_err(|error| {
            tracing::error!("the credential of {registry}: {}", crate::output::whole(&error));
            CredentialUnavailable
        })?;
        Ok(opened.and_then(|value| {
            value.expose(LOG_IN, |bytes| {
                let (user, password) = std::str::from_utf8(bytes).ok()?.split_once(':')?;
                Some(RegistryCredential::new(user, password))
            })
        }))
    }
}

impl RegistryCredentials for FromVault {
    fn credential<'a>(
        &'a self,
        registry: &'a Registry,
        to: &'a Registry,
    ) -> BoxFuture<'a, Result<Option<RegistryCredential>, CredentialUnavailable>> {
        Box::pin(async move {
            match registry.host() == to.host() || belongs_to(registry.host(), to.host()) {
                true => self.stored(registry).await,
                // A token service elsewhere gets what was kept for itself.
                false => self.stored(to).await,
            }
        })
    }
}

/// Token services that a registry's owner runs under another name.
fn belongs_to(registry: &str, service: &str) -> bool {
    [("registry-1.docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")].contains(&(registry, service))
}

impl From<StoreError> for LoginError {
    fn from(error: StoreError) -> Self {
        Self::Secret(error.into())
    }
}
