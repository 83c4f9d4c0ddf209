//! `secret set|list|delete`. A value comes from standard input or a file, never from an argument.

use std::{io::IsTerminal, path::PathBuf};

use clap::Subcommand;
use gigmcp_egress::SecretString;
use gigmcp_vault::SecretBytes;
use serde::Serialize;
use serde_json::json;

use super::read_input;
use crate::{
    host::Host,
    output::{Failure, Output, columns},
    people::{Actor, Kind, done, secret_told},
    secrets::SecretError,
    spec::{EXEC, Owner, Place, SecretName, SecretSlot, ServerName},
    store::{SecretKey, Told},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Set a secret; its value is read from standard input or a file, less one newline at the end
    Set {
        /// Server that uses it, or `exec` for `gigmcp-gateway exec`
        server: ServerName,
        /// The variable declared with the server, or the name of the credential in its manifest; for `exec`, ENV=HOST
        name: String,
        /// File to read instead of standard input
        #[arg(long, default_value = "-", hide_default_value = true)]
        file: PathBuf,
    },
    /// List secrets, never their values
    List,
    /// Delete a secret
    Delete {
        /// Server that uses it, or `exec`
        #[arg(required_unless_present = "all")]
        server: Option<ServerName>,
        /// The variable, or the name of the credential
        #[arg(required_unless_present = "all")]
        name: Option<SecretName>,
        /// All secrets of all servers; needs no master key, for when it is lost
        #[arg(long, conflicts_with_all = ["server", "name"])]
        all: bool,
    },
    /// Accept the secrets as they are in the database: after an upgrade from a version that kept no ledger of them, or after
    /// somebody changed them there
    Accept {
        /// Do it, instead of showing what there is
        #[arg(long)]
        yes: bool,
    },
}

/// Does what was asked.
pub(crate) async fn run(host: Host, command: Command, out: &Output) -> Result<(), Failure> {
    match command {
        Command::Set { server, name, file } => set(&host, server, &name, &file, out).await,
        Command::List => list(&host, out).await,
        Command::Delete { all: true, .. } => {
            let told = of_all("deletes all secrets");
            let deleted = host.store.delete_all_secrets(told).await?;
            out.print(&json!({ "deleted": deleted }), |_| vec![format!("deleted {deleted} secrets")])
        }
        Command::Accept { yes: false } => {
            if !out.json {
                println!("look at each; then accept them with `gigmcp-gateway secret accept --yes`");
            }
            list(&host, out).await
        }
        Command::Accept { yes: true } => accept(&host, out).await,
        Command::Delete { server, name, all: false } => {
            let (Some(server), Some(name)) = (server, name) else { unreachable!("required without --all") };
            let key = SecretKey { owner: Owner::local(), server, name: name.clone() };
            let told = secret_told(&Actor::local(), &key, "deletes");
            host.secrets().await?.delete(key, told).await?;
            print_deleted(&name, out)
        }
    }
}

pub(super) fn print_deleted(name: &SecretName, out: &Output) -> Result<(), Failure> {
    out.print(&json!({ "deleted": name.as_str() }), |_| vec![format!("deleted {name}")])
}

async fn set(host: &Host, server: ServerName, name: &str, file: &PathBuf, out: &Output) -> Result<(), Failure> {
    let slot = declared(host, &server, name).await?;
    let value = value(slot.name.as_str(), file)?;
    let key = SecretKey { owner: Owner::local(), server: server.clone(), name: slot.name.clone() };
    let sealed_for = slot.sealed_for();
    let told = secret_told(&Actor::local(), &key, "sets");
    let version = host.secrets().await?.put(key, &sealed_for, SecretBytes::new(value.to_vec()), told).await?;
    let whom = match slot.place {
        Place::Environment => Gets::Server,
        _ => Gets::Hosts(sealed_for.hosts().into_iter().map(ToOwned::to_owned).collect()),
    };
    let set = Listed {
        server: server.to_string(),
        name: slot.name.to_string(),
        host: sealed_for.as_str().to_owned(),
        version,
        created_at: None,
    };
    print_set(&set, &whom, out)
}

/// Reads a value, and checks what the proxy would refuse to send.
pub(super) fn value(name: &str, file: &PathBuf) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
    if file.as_os_str() == "-" && std::io::stdin().is_terminal() {
        eprintln!("value for {name} (ends with Enter and Ctrl-D; it will be visible while you type):");
    }
    let mut value = read_input(file, MAX_SECRET_BYTES)?;
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    check_value(&value)?;
    Ok(value)
}

/// A secret, in a list.
#[derive(Serialize)]
pub(super) struct Listed {
    pub(super) server: String,
    pub(super) name: String,
    pub(super) host: String,
    pub(super) version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_at: Option<i64>,
}

/// Who gets a secret.
pub(super) enum Gets {
    Server,
    Hosts(Vec<String>),
}

pub(super) fn print_set(set: &Listed, gets: &Gets, out: &Output) -> Result<(), Failure> {
    out.print(set, |Listed { server, name, version, .. }| {
        vec![match gets {
            Gets::Server => format!("set {name} of {server}, version {version}; the server itself gets it"),
            Gets::Hosts(hosts) => {
                format!("set {name} of {server}, version {version}; it goes to {} only", hosts.join(", "))
            }
        }]
    })
}

/// The place the secret is declared for.
async fn declared(host: &Host, server: &ServerName, name: &str) -> Result<SecretSlot, Failure> {
    if server.as_str() == EXEC {
        return Ok(name.parse()?);
    }
    let row = host.store.server(server.clone()).await?;
    let name: SecretName = name.parse()?;
    let slots = row.spec.secrets;
    slots.iter().find(|slot| slot.name == name).cloned().ok_or_else(|| {
        let names = slots.iter().map(|slot| slot.name.to_string()).collect::<Vec<_>>().join(", ");
        let known = if names.is_empty() { "it declares none".to_owned() } else { format!("it declares: {names}") };
        format!("server `{server}` declares no secret `{name}`; {known}").into()
    })
}

/// What the proxy would refuse to send is refused here, where somebody can mend it.
fn check_value(value: &[u8]) -> Result<(), Failure> {
    let text = match value {
        [] => return Err("the value is empty".into()),
        value => std::str::from_utf8(value).map_err(|_| "the value is not text; a header cannot carry it")?,
    };
    Ok(SecretString::new(text).check()?)
}

async fn accept(host: &Host, out: &Output) -> Result<(), Failure> {
    let secrets = host.secrets().await?;
    match secrets.check_key().await {
        Err(error @ SecretError::OtherKey { .. }) => return Err(error.into()),
        Ok(()) => {
            return out.print(&json!({ "accepted": 0 }), |_| {
                vec!["nothing was changed: the secrets are those that were set last".into()]
            });
        }
        Err(_) => {}
    }
    let accepted = secrets.accept(of_all("accepts the secrets as they are")).await?;
    out.print(&json!({ "accepted": accepted }), |_| vec![format!("accepted {accepted} secrets as they are now")])
}

async fn list(host: &Host, out: &Output) -> Result<(), Failure> {
    let secrets = host.store.secrets().await?;
    let listed = secrets.into_iter().map(|row| Listed {
        server: row.key.server.to_string(),
        name: row.key.name.to_string(),
        host: row.policy,
        version: row.version,
        created_at: Some(row.created_at),
    });
    print_list(&listed.collect::<Vec<_>>(), out)
}

pub(super) fn print_list(secrets: &[Listed], out: &Output) -> Result<(), Failure> {
    out.print(&secrets, |secrets| {
        let rows = secrets
            .iter()
            .map(|row| vec![row.server.clone(), row.name.clone(), row.host.clone(), row.version.to_string()]);
        columns(&["SERVER", "NAME", "HOST", "VERSION"], &rows.collect::<Vec<_>>())
    })
}

fn of_all(what: &str) -> Told {
    done(Kind::Secret, &Owner::local(), what, &Actor::local()).into()
}

const MAX_SECRET_BYTES: u64 = 16 * 1024;
