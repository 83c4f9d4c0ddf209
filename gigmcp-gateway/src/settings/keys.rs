//! Where the master key is, and what wraps its file.

use std::path::{Path, PathBuf};

use clap::Args;
use gigmcp_vault::SecretSource;
use zeroize::Zeroizing;

use super::{
    Kept, SecretFile, SettingsError, kept,
    secret::{credential_name, is_credential, variable},
};

/// What concerns the master key.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Settings of the master key, each also a variable")]
pub(crate) struct KeySettings {
    /// Master key file, which `key create` makes [default: the credential `master-key` of systemd, or else master.key in
    /// the data directory, created when missing]
    #[arg(long, env = "GIG_MASTER_KEY_FILE", value_name = "FILE", global = true)]
    pub(crate) master_key_file: Option<SecretFile>,

    /// File of a passphrase that wraps the master key file
    #[arg(long, env = "GIG_MASTER_KEY_PASSPHRASE_FILE", value_name = "FILE", global = true)]
    master_key_passphrase_file: Option<SecretFile>,

    /// File of 64 hexadecimal digits that wrap the master key file
    #[arg(long, env = "GIG_MASTER_KEY_WRAP_FILE", value_name = "FILE", global = true)]
    master_key_wrap_file: Option<SecretFile>,

    /// Address of a HashiCorp Vault whose transit engine wraps the master key file, as https://HOST:PORT
    #[arg(long, env = "GIG_TRANSIT_URL", value_name = "URL", global = true)]
    transit_url: Option<String>,

    /// Name of the key in the transit engine
    #[arg(long, env = "GIG_TRANSIT_KEY", value_name = "NAME", default_value = "gigmcp", global = true)]
    transit_key: String,

    /// Where the transit engine is mounted
    #[arg(long, env = "GIG_TRANSIT_MOUNT", value_name = "PATH", default_value = "transit", global = true)]
    transit_mount: String,

    /// Namespace of the transit engine
    #[arg(long, env = "GIG_TRANSIT_NAMESPACE", value_name = "NAME", global = true)]
    transit_namespace: Option<String>,

    /// File of the token that may use the transit engine's key
    #[arg(long, env = "GIG_TRANSIT_TOKEN_FILE", value_name = "FILE", global = true)]
    transit_token_file: Option<SecretFile>,

    /// PEM file of the certificate authorities that the transit engine's host is checked against [default: this machine's]
    #[arg(long, env = "GIG_TRANSIT_CA_FILE", value_name = "FILE", global = true)]
    transit_ca_file: Option<PathBuf>,

    /// Oldest version of the transit engine's key that is accepted
    #[arg(long, env = "GIG_TRANSIT_MIN_VERSION", value_name = "VERSION", default_value_t = 1, global = true)]
    transit_min_version: u32,
}

/// Where the key is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In `GIG_MASTER_KEY`.
    Environment,
    /// In the file of that name in the data directory, which the gateway makes.
    DataDirectory(PathBuf),
    /// In a file that somebody named.
    Named(PathBuf),
    /// In a file that systemd put there.
    Credential(PathBuf),
}

/// What wraps the key file.
#[derive(Clone, Debug)]
pub(crate) enum WrapSettings {
    Nothing,
    Passphrase(SecretSource),
    Local(SecretSource),
    Transit(TransitSettings),
}

/// Which key service, and how it is asked.
#[derive(Clone, Debug)]
pub(crate) struct TransitSettings {
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) mount: String,
    pub(crate) namespace: Option<String>,
    pub(crate) token: SecretSource,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) min_version: u32,
}

impl KeySettings {
    /// Where the key is, if nothing contradicts that.
    pub(crate) fn place(&self, data_dir: &Path) -> Result<Place, SettingsError> {
        Ok(match kept("GIG_MASTER_KEY", self.master_key_file.as_deref())? {
            Some(Kept::Variable) => Place::Environment,
            Some(Kept::Credential(path)) => Place::Credential(path),
            Some(Kept::File(path)) if is_credential(&path) => Place::Credential(path),
            Some(Kept::File(path)) => Place::Named(path),
            None => Place::DataDirectory(data_dir.join("master.key")),
        })
    }

    /// What wraps the key file, if it is one thing.
    pub(crate) fn wrap(&self) -> Result<WrapSettings, SettingsError> {
        let passphrase = source("GIG_MASTER_KEY_PASSPHRASE", self.master_key_passphrase_file.as_deref())?;
        let local = source("GIG_MASTER_KEY_WRAP", self.master_key_wrap_file.as_deref())?;
        let token = source("GIG_TRANSIT_TOKEN", self.transit_token_file.as_deref())?;
        let wrap = match (passphrase, local, &self.transit_url) {
            (None, None, None) => return Ok(WrapSettings::Nothing),
            (Some(passphrase), None, None) => WrapSettings::Passphrase(passphrase),
            (None, Some(local), None) => WrapSettings::Local(local),
            (None, None, Some(url)) => WrapSettings::Transit(TransitSettings {
                url: url.clone(),
                key: self.transit_key.clone(),
                mount: self.transit_mount.clone(),
                namespace: self.transit_namespace.clone(),
                token: token.ok_or(SettingsError::TransitToken)?,
                ca: self.transit_ca_file.clone(),
                min_version: self.transit_min_version,
            }),
            _ => return Err(SettingsError::Wraps),
        };
        match variable("GIG_MASTER_KEY")? {
            Some(_) => Err(SettingsError::NothingToWrap),
            None => Ok(wrap),
        }
    }
}

/// The key in `GIG_MASTER_KEY`.
pub(crate) fn environment_key() -> Result<Option<Zeroizing<[u8; 32]>>, SettingsError> {
    let Some(text) = variable("GIG_MASTER_KEY")? else { return Ok(None) };
    let mut key = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.as_bytes(), &mut *key).map_err(|_| SettingsError::MasterKey)?;
    Ok(Some(key))
}

/// Where the vault finds the secret `name`.
fn source(name: &'static str, file: Option<&Path>) -> Result<Option<SecretSource>, SettingsError> {
    Ok(kept(name, file)?.map(|kept| match kept {
        Kept::Variable => SecretSource::Environment(name.into()),
        Kept::File(path) => SecretSource::MountedFile(path),
        Kept::Credential(_) => SecretSource::SystemdCredential(credential_name(name)),
    }))
}
