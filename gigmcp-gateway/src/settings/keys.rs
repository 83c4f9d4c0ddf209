//! Where the master key is, and what wraps its file.

use std::path::{Path, PathBuf};

use clap::Args;
use gigmcp_vault::SecretSource;
use zeroize::Zeroizing;

use super::{SettingsError, variable};

/// What concerns the master key.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Settings of the master key, each also a variable")]
pub(crate) struct KeySettings {
    /// Master key file, which `key create` makes [default: the credential `master-key` of systemd, or else master.key in
    /// the data directory, created when missing]
    #[arg(long, env = "GIG_MASTER_KEY_FILE", global = true)]
    pub(crate) master_key_file: Option<PathBuf>,

    /// File of a passphrase that wraps the master key file
    #[arg(long, env = "GIG_MASTER_KEY_PASSPHRASE_FILE", global = true)]
    master_key_passphrase_file: Option<PathBuf>,

    /// File of 64 hexadecimal digits that wrap the master key file
    #[arg(long, env = "GIG_MASTER_KEY_WRAP_FILE", global = true)]
    master_key_wrap_file: Option<PathBuf>,

    /// Address of a HashiCorp Vault whose transit engine wraps the master key file, as https://HOST:PORT
    #[arg(long, env = "GIG_TRANSIT_URL", global = true)]
    transit_url: Option<String>,

    /// Name of the key in the transit engine
    #[arg(long, env = "GIG_TRANSIT_KEY", default_value = "gigmcp", global = true)]
    transit_key: String,

    /// Where the transit engine is mounted
    #[arg(long, env = "GIG_TRANSIT_MOUNT", default_value = "transit", global = true)]
    transit_mount: String,

    /// Namespace of the transit engine
    #[arg(long, env = "GIG_TRANSIT_NAMESPACE", global = true)]
    transit_namespace: Option<String>,

    /// File of the token that may use the transit engine's key
    #[arg(long, env = "GIG_TRANSIT_TOKEN_FILE", global = true)]
    transit_token_file: Option<PathBuf>,

    /// PEM file of the certificate authorities that the transit engine's host is checked against [default: this machine's]
    #[arg(long, env = "GIG_TRANSIT_CA_FILE", global = true)]
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
    /// Every file and directory that holds a key, or something that leads to one.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let named = [
            &self.master_key_file,
            &self.master_key_passphrase_file,
            &self.master_key_wrap_file,
            &self.transit_token_file,
        ];
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        named.into_iter().flatten().cloned().chain(credentials)
    }

    /// Where the key is, if nothing contradicts that.
    pub(crate) fn place(&self, data_dir: &Path) -> Result<Place, SettingsError> {
        let given = variable("GIG_MASTER_KEY")?.is_some();
        let credential = credential("master-key");
        match (given, &self.master_key_file, credential) {
            (true, Some(_), _) => Err(SettingsError::Twice { name: "GIG_MASTER_KEY" }),
            (true, None, Some(_)) => {
                Err(SettingsError::CredentialToo { name: "GIG_MASTER_KEY", credential: "master-key" })
            }
            (true, None, None) => Ok(Place::Environment),
            (false, Some(named), credential) => match credential {
                Some(credential) if credential == *named => Ok(Place::Credential(credential)),
                Some(_) => Err(SettingsError::CredentialToo { name: "GIG_MASTER_KEY_FILE", credential: "master-key" }),
                None if is_credential(named) => Ok(Place::Credential(named.clone())),
                None => Ok(Place::Named(named.clone())),
            },
            (false, None, Some(credential)) => Ok(Place::Credential(credential)),
            (false, None, None) => Ok(Place::DataDirectory(data_dir.join("master.key"))),
        }
    }

    /// What wraps the key file, if it is one thing.
    pub(crate) fn wrap(&self) -> Result<WrapSettings, SettingsError> {
        let source = |name, file: &Option<PathBuf>, credential| source(name, file.as_deref(), credential);
        let passphrase =
            source("GIG_MASTER_KEY_PASSPHRASE", &self.master_key_passphrase_file, "master-key-passphrase")?;
        let local = source("GIG_MASTER_KEY_WRAP", &self.master_key_wrap_file, "master-key-wrap")?;
        let token = source("GIG_TRANSIT_TOKEN", &self.transit_token_file, "transit-token")?;
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

/// The variable `name`, the file that `name_FILE` names, or the credential of systemd; two of them are an error.
fn source(
    name: &'static str,
    file: Option<&Path>,
    credential_name: &'static str,
) -> Result<Option<SecretSource>, SettingsError> {
    let credential = credential(credential_name);
    match (variable(name)?.is_some(), file, credential) {
        (true, Some(_), _) => Err(SettingsError::Twice { name }),
        (false, Some(file), Some(credential)) if credential != file => {
            Err(SettingsError::CredentialToo { name, credential: credential_name })
        }
        (true, None, Some(_)) => Err(SettingsError::CredentialToo { name, credential: credential_name }),
        (_, _, Some(_)) => Ok(Some(SecretSource::SystemdCredential(credential_name.into()))),
        (true, None, None) => Ok(Some(SecretSource::Environment(name.into()))),
        (false, Some(file), None) => Ok(Some(SecretSource::MountedFile(file.to_owned()))),
        (false, None, None) => Ok(None),
    }
}

/// The file of that credential, if systemd gave us one.
fn credential(name: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|directory| !directory.is_empty())?;
    let path = Path::new(&directory).join(name);
    path.symlink_metadata().is_ok().then_some(path)
}

/// Whether that is a file of systemd's under a name of somebody's choice.
fn is_credential(path: &Path) -> bool {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|directory| !directory.is_empty());
    directory.is_some_and(|directory| path.parent() == Some(Path::new(&directory)))
}
