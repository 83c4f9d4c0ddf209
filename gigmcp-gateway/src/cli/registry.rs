//! `registry login|logout`.

use std::{io::IsTerminal, path::PathBuf};

use clap::Subcommand;
use gigmcp_vault::SecretBytes;
use serde_json::json;

use super::read_input;
use crate::{
    host::Host,
    install::{RegistryHost, RegistryLogin, forget},
    output::{Failure, Output},
    people::Actor,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Keep a credential for a private registry of images; the password is read from standard input or a file
    Login {
        /// Host of the registry, and its port unless that is 443
        host: RegistryHost,
        /// User name
        #[arg(long)]
        username: String,
        /// File to read instead of standard input
        #[arg(long, default_value = "-", hide_default_value = true)]
        file: PathBuf,
    },
    /// Forget the credential of a registry
    Logout {
        /// Host of the registry, and its port unless that is 443
        host: RegistryHost,
    },
}

/// Does what was asked.
pub(crate) async fn run(host: Host, command: Command, out: &Output) -> Result<(), Failure> {
    match command {
        Command::Login { host: registry, username, file } => {
            let password = password(&file)?;
            let login = RegistryLogin { user: username, password: SecretBytes::new(password.to_vec()) };
            login.keep(&registry, &host.secrets().await?, &Actor::local()).await?;
            print_kept(&registry, out)
        }
        Command::Logout { host: registry } => {
            forget(&registry, &host.secrets().await?, &Actor::local()).await?;
            print_forgotten(&registry, out)
        }
    }
}

/// Reads a password, less the line break at its end.
pub(super) fn password(file: &PathBuf) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
    if file.as_os_str() == "-" && std::io::stdin().is_terminal() {
        eprintln!("password (ends with Enter and Ctrl-D; it will be visible while you type):");
    }
    let mut password = read_input(file, MAX_PASSWORD_BYTES)?;
    while password.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        password.pop();
    }
    Ok(password)
}

pub(super) fn print_kept(registry: &RegistryHost, out: &Output) -> Result<(), Failure> {
    out.print(&json!({ "registry": registry.to_string() }), |_| vec![format!("kept; it is sent to {registry} only")])
}

pub(super) fn print_forgotten(registry: &RegistryHost, out: &Output) -> Result<(), Failure> {
    out.print(&json!({ "forgotten": registry.to_string() }), |_| vec![format!("forgot {registry}")])
}

const MAX_PASSWORD_BYTES: u64 = 16 * 1024;
