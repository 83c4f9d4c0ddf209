//! `key create|wrap|rotate|drop-old|check|export-recovery|import-recovery`.

mod recovery;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use gigmcp_vault::KeyRing;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    host::{Host, HostError},
    keys::{MasterKey, environment_ring},
    output::{Failure, Output, whole},
    people::{Actor, Kind, done},
    secrets::Rotation,
    settings::Settings,
    spec::Owner,
    store::{AuditRow, SecretKey},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a master key file; one that is there is never overwritten
    Create {
        /// Where to [default: what GIG_MASTER_KEY_FILE names, or master.key in the data directory]
        #[arg(long)]
        to: Option<PathBuf>,
        /// Put the key in GIG_MASTER_KEY into the file instead of a new one
        #[arg(long)]
        from_environment: bool,
    },
    /// Wrap the master key file as the settings say; one that is wrapped so already gets the newest key of the service
    Wrap,
    /// Seal every secret with a new master key; the old one stays in the file, for older backups of the database
    Rotate {
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// Only put the new key into the file, to be given to other gateways first; `key rotate` then goes on from there
        #[arg(long, conflicts_with = "dry_run")]
        prepare: bool,
    },
    /// Take the old keys out of the file; older backups of the database do not open any more
    DropOld,
    /// Open every secret, say which keys sealed them, and name those that do not open
    Check,
    /// Print the keys to keep them on paper, whole or in parts; whoever has that paper has every secret
    ExportRecovery(recovery::Export),
    /// Make the master key file again from what was printed
    ImportRecovery(recovery::Import),
}

/// Does what was asked.
pub(crate) async fn run(settings: &Settings, command: Command, out: &Output) -> Result<ExitCode, Failure> {
    match command {
        Command::Create { to, from_environment } => create(settings, to, from_environment, out).await?,
        Command::Wrap => wrap(settings, out).await?,
        Command::Rotate { dry_run, prepare } => rotate(settings, dry_run, prepare, out).await?,
        Command::DropOld => drop_old(settings, out).await?,
        Command::ExportRecovery(export) => recovery::export(settings, &export, out).await?,
        Command::ImportRecovery(import) => recovery::import(settings, import, out).await?,
        Command::Check => return check(settings, out).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(settings: &Settings, to: Option<PathBuf>, from_environment: bool, out: &Output) -> Result<(), Failure> {
    let key = MasterKey::of(settings)?;
    let ring = match (from_environment, environment_ring()?) {
        (true, Some(ring)) => ring,
        (true, None) => return Err("GIG_MASTER_KEY is not set; nothing was written".into()),
        (false, Some(_)) => {
            return Err("GIG_MASTER_KEY is set; unset it, or write it to a file with --from-environment".into());
        }
        (false, None) => {
            // A new key beside secrets of a lost one would only hide that it is lost.
            if to.is_none() && settings.database()?.exists() && Host::open(settings)?.store.holds_secrets()? {
                let path = key.path().map(PathBuf::from).unwrap_or_default();
                if !path.exists() {
                    return Err(HostError::KeyLost { path }.into());
                }
            }
            KeyRing::generate()?
        }
    };
    let default = || key.path().map_or_else(|| settings.data_dir().join("master.key"), PathBuf::from);
    let path = to.unwrap_or_else(default);
    key.write_new(&path, &ring).await?;
    let document = json!({
        "created": path.display().to_string(), "key": ring.active_id().to_string(), "wrapped": key.is_wrapped(),
    });
    out.print(&document, |_| {
        let wrapped = if key.is_wrapped() { "wrapped" } else { "not wrapped: whoever reads the file has the key" };
        let mut lines = vec![format!("created {} ({wrapped})", path.display())];
        lines.push("keep a copy apart from the backups of the database: without it no secret opens".into());
        if from_environment {
            lines.push(format!("now unset GIG_MASTER_KEY and set GIG_MASTER_KEY_FILE={}", path.display()));
        }
        lines
    })
}

async fn wrap(settings: &Settings, out: &Output) -> Result<(), Failure> {
    let key = MasterKey::of(settings)?;
    if !key.is_wrapped() {
        return Err(
            "nothing is to wrap the master key file; set GIG_MASTER_KEY_PASSPHRASE_FILE, GIG_MASTER_KEY_WRAP_FILE or GIG_TRANSIT_URL".into()
        );
    }
    let file = key.lock()?;
    tell(settings, "wraps the master key").await;
    // A file that is wrapped already is not plain, and its error is the one that matters if it does not open either.
    match file.load_plain() {
        Ok(ring) => file.replace(&ring).await?,
        Err(_) => file.rewrap().await.map(drop)?,
    }
    let path = file.path().display().to_string();
    out.print(&json!({ "wrapped": path }), |_| {
        vec![format!("wrapped {path}; copies of what it was before still are as open as they were")]
    })
}

async fn rotate(settings: &Settings, dry_run: bool, prepare: bool, out: &Output) -> Result<(), Failure> {
    let file = MasterKey::of(settings)?.lock()?;
    let path = file.path().display().to_string();
    let store = Host::open(settings)?.store;
    let mut rotation = Rotation::look(store.clone(), file).await?;
    let goes_on = rotation.unfinished;
    if dry_run {
        let version = if goes_on { rotation.version } else { rotation.version + 1 };
        let count = if goes_on { rotation.behind } else { rotation.secrets };
        let document = json!({
            "dry_run": true, "version": version, "rewrap": count, "secrets": rotation.secrets, "unfinished": goes_on,
        });
        return out.print(&document, |_| {
            let key = if goes_on { "go on with version" } else { "make version" };
            vec![format!(
                "would {key} {version} of the key in {path} and rewrap {count} of {} secrets",
                rotation.secrets
            )]
        });
    }
    let next = if goes_on { rotation.version } else { rotation.version + 1 };
    if prepare {
        store.add_audit(told(format!("puts version {next} of the master key into its file"))).await?;
        rotation.prepare().await?;
        let document = json!({ "prepared": true, "version": rotation.version, "behind": rotation.behind });
        return out.print(&document, |_| {
            vec![
                format!("version {} of the key is in {path}; no secret was touched", rotation.version),
                "give the file to the other gateways, then run `gigmcp-gateway key rotate`".into(),
            ]
        });
    }
    if goes_on {
        eprintln!("going on with the rotation to version {} of the key", rotation.version);
    }
    store.add_audit(told(format!("rotates the master key to version {next}"))).await?;
    let rotated = rotation.run(|done, all| eprintln!("rewrapped {done} of {all} secrets")).await?;
    let document = json!({
        "version": rotated.version, "key": rotated.key.to_string(), "rewrapped": rotated.rewrapped,
        "secrets": rotated.secrets, "retired": rotated.retired,
    });
    out.print(&document, |_| {
        vec![
            format!(
                "version {} of the key seals all {} secrets, which were opened again",
                rotated.version, rotated.secrets
            ),
            format!("copy {path} to where you keep its backup"),
            "the old key still opens older backups of the database; when you need none of them any more, or if somebody else may have it, take it out of the file with `gigmcp-gateway key drop-old`".into(),
        ]
    })
}

/// What the audit trail says of the key, before it is done.
fn told(what: impl std::fmt::Display) -> AuditRow {
    done(Kind::Key, &Owner::local(), what, &Actor::local())
}

/// The same where there may be no database, or one that cannot be used: then the log says so, and it is done all the same, as
/// whoever has the key file needs no command for it.
async fn tell(settings: &Settings, what: &str) {
    let tell = async {
        if !settings.database()?.exists() {
            return Ok(());
        }
        Ok::<_, Failure>(Host::open(settings)?.store.add_audit(told(what)).await?)
    };
    if let Err(error) = tell.await {
        tracing::warn!("the audit trail does not tell of this: {}", whole(&*error));
    }
}

async fn drop_old(settings: &Settings, out: &Output) -> Result<(), Failure> {
    let file = MasterKey::of(settings)?.lock()?;
    let path = file.path().display().to_string();
    let store = Host::open(settings)?.store;
    let rotation = Rotation::look(store.clone(), file).await?;
    store.add_audit(told("takes the old master keys out of the file")).await?;
    let dropped = rotation.drop_old().await?;
    out.print(&json!({ "dropped": dropped }), |_| {
        vec![format!("took {dropped} old keys out of {path}; gateways that run know them until they are started again")]
    })
}

async fn check(settings: &Settings, out: &Output) -> Result<ExitCode, Failure> {
    let host = super::open_existing(settings)?;
    let secrets = host.secrets().await?;
    let checked = secrets.check().await?;
    let mut keys = BTreeMap::<String, usize>::new();
    for row in &checked.rows {
        let key = row.key.map_or_else(|| "none".to_owned(), |(id, version)| format!("{id} version {version}"));
        *keys.entry(key).or_default() += 1;
    }
    let refused: Vec<_> = checked.rows.iter().filter(|row| row.refusal.is_some()).collect();
    let reasons: Vec<String> = refused.iter().filter_map(|row| row.refusal.as_ref()).map(ToString::to_string).collect();
    let name = |of: &SecretKey| Refused {
        owner: of.owner.to_string(),
        server: of.server.to_string(),
        name: of.name.to_string(),
    };
    let found = Checked {
        secrets: checked.rows.len(),
        keys,
        active: secrets.active_key(),
        refused: refused.iter().map(|checked| name(&checked.row.key)).collect(),
        ledger: checked.ledger_refusal().map(ToString::to_string),
    };
    print_checked(&found, reasons, out)
}

/// What was found of all secrets.
#[derive(Deserialize, Serialize)]
pub(super) struct Checked {
    secrets: usize,
    /// How many secrets each key seals.
    keys: BTreeMap<String, usize>,
    /// Which key seals now.
    active: String,
    pub(super) refused: Vec<Refused>,
    ledger: Option<String>,
}

/// A secret that does not open.
#[derive(Deserialize, Serialize)]
pub(super) struct Refused {
    pub(super) owner: String,
    pub(super) server: String,
    pub(super) name: String,
}

pub(super) fn print_checked(found: &Checked, reasons: Vec<String>, out: &Output) -> Result<ExitCode, Failure> {
    let Checked { secrets, keys, active, refused, ledger } = found;
    out.print(found, |_| {
        let mut lines = vec![format!("active key: {active}")];
        lines.extend(keys.iter().map(|(key, count)| format!("{count} secrets sealed with key {key}")));
        lines.extend(reasons);
        lines.push(match (ledger, refused.len()) {
            (Some(refusal), _) => refusal.clone(),
            (None, 0) => format!("all {secrets} secrets open, and are those that were set last"),
            (None, count) => format!("{count} of {secrets} secrets do not open"),
        });
        lines
    })?;
    Ok(if refused.is_empty() && ledger.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
