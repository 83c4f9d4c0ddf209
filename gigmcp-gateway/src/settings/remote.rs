//! Which gateway a command is for, if it is not the one whose data is here.

use std::path::PathBuf;

use clap::Args;

use super::{PublicUrl, SecretFile};

/// Another gateway, and what lets one in there.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings of commands for a gateway elsewhere, each also a variable")]
pub(crate) struct RemoteSettings {
    /// Address of the gateway that a command is for, as https://gig.example.com; without it, commands are for the data directory
    /// here
    #[arg(long = "url", env = "GIG_URL", value_name = "URL", global = true)]
    pub(crate) gateway_url: Option<PublicUrl>,

    /// File of the key of the control plane that lets one in there; `api-key create` makes one
    #[arg(long, env = "GIG_API_KEY_FILE", value_name = "FILE", global = true)]
    pub(crate) api_key_file: Option<SecretFile>,

    /// PEM file of certificate authorities that the gateway may be certified by, besides those of this machine
    #[arg(long, env = "GIG_CA_FILE", value_name = "FILE", global = true)]
    pub(crate) ca_file: Option<PathBuf>,
}
