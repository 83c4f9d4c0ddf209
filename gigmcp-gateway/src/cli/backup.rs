//! `backup` and `restore`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use super::{
    progress::{Count, Counted},
    user::when,
};
use crate::{
    backup::{self, BackupError, NewFile, Older, Restored, Written, beside},
    host::{self, Host},
    keys::MasterKey,
    output::{Failure, Output, whole},
    people::{Actor, Kind, done},
    settings::Settings,
    spec::Owner,
    store::{Before, Moment, newest_version},
};

#[derive(Args)]
pub(crate) struct Backup {
    /// File to write, of mode 0600; `-` for standard output
    file: PathBuf,
    /// Overwrite a file that is there
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub(crate) struct Restore {
    /// File to read; `-` for standard input
    file: PathBuf,
    /// Delete what is in the database
    #[arg(long)]
    replace: bool,
    /// Do not ask whether to delete it
    #[arg(long, requires = "replace")]
    yes: bool,
}

/// Writes a backup of the database as it is at this moment.
pub(crate) async fn backup(settings: &Settings, asked: &Backup, out: &Output) -> Result<ExitCode, Failure> {
    let older = if asked.force { Older::Overwritten } else { Older::Kept };
    let executables = host::executables(settings.data_dir());
    let database = settings.database()?;
    let failed = |source| BackupError::Write { path: asked.file.clone(), source };
    let to_stdout = asked.file.as_os_str() == "-";
    if to_stdout && io::stdout().is_terminal() {
        return Err("a backup is not for a terminal; name a file, or another program with `|`".into());
    }
    let (written, version) = beside(|| {
        let moment = Moment::of(&database)?;
        let written = match to_stdout {
            true => backup::write(&moment, &executables, &mut Counted::new(io::stdout().lock()), failed)?,
            false => {
                let mut file = NewFile::create(&asked.file, older)?;
                let written = backup::write(&moment, &executables, &mut Counted::file(&mut file), failed)?;
                file.keep()?;
                written
            }
        };
        Ok::<_, BackupError>((written, moment.version))
    })?;
    if let Err(error) = told(settings, &written, version).await {
        tracing::warn!("the backup is whole, but the audit trail does not tell of it: {}", whole(&*error));
    }
    for sha256 in &written.missing {
        tracing::warn!(
            "the executable {sha256} is not in the backup: it is missing from the data directory, or changed"
        );
    }
    match to_stdout {
        true => Ok(ExitCode::SUCCESS),
        false => tell(&asked.file, settings, &written, out).map(|()| ExitCode::SUCCESS),
    }
}

/// Whoever can read the database can copy it without a trace, so one that cannot be written to is no reason to have no backup.
async fn told(settings: &Settings, written: &Written, version: i64) -> Result<(), Failure> {
    if version != newest_version() {
        return Err("the database is of an older version, and a backup changes nothing of it".into());
    }
    let rows: u64 = written.rows.values().sum();
    let what = format!("makes a backup of {rows} rows, sha256 {}", written.sha256);
    let store = Host::open(settings)?.store;
    Ok(store.add_audit(done(Kind::Backup, &Owner::local(), what, &Actor::local())).await?)
}

fn tell(file: &Path, settings: &Settings, written: &Written, out: &Output) -> Result<(), Failure> {
    let document = json!({
        "backup": file, "rows": written.rows, "executables": written.executables, "missing": written.missing,
        "sha256": written.sha256,
    });
    let key = MasterKey::of(settings)?;
    let key = key.path().map_or_else(|| "GIG_MASTER_KEY".to_owned(), |path| path.display().to_string());
    out.print(&document, |_| {
        let rows: u64 = written.rows.values().sum();
        vec![
            format!("wrote {}: {rows} rows, {} executables", file.display(), written.executables.len()),
            format!("the master key is not in it; keep {key} too, in another place"),
        ]
    })
}

/// Puts what is in a backup into the database, and tells whether its secrets can be opened.
pub(crate) async fn restore(settings: &Settings, asked: &Restore, out: &Output) -> Result<ExitCode, Failure> {
    let executables = host::executables(settings.data_dir());
    let Restored { database, executables, made_at } = beside(|| {
        let from: Box<dyn Read> = match asked.file.as_os_str() == "-" {
            true => Box::new(io::stdin().lock()),
            false => {
                let failed = |source| BackupError::Read { path: asked.file.clone(), source };
                Box::new(File::open(&asked.file).map_err(failed)?)
            }
        };
        backup::read(BufReader::with_capacity(1 << 16, Counted::file(from)), &asked.file, &executables)
    })?;
    let host = Host::open(settings)?;
    let before = match asked.replace {
        false => Before::Nothing,
        true => {
            confirm(settings, asked)?;
            Before::Replaced
        }
    };
    let rows = |table| database.count(table);
    let counts = json!({
        "servers": rows("servers")?, "profiles": rows("profiles")?, "secrets": rows("secrets")?, "audit": rows("audit")?,
    });
    let what = format!("restores a backup of {}", when(made_at));
    let row = done(Kind::Backup, &Owner::local(), what, &Actor::local());
    let mut count = Count::of_rows();
    host.store.restore(database, before, row, move || count.add(1)).await?;
    let executables = executables.keep()?;
    let opened = opens(settings, &host).await;
    let document = json!({
        "restored": asked.file, "made_at": made_at, "rows": counts, "executables": executables,
        "secrets_open": opened.is_ok(),
    });
    out.print(&document, |_| {
        let number = |table: &str| counts[table].to_string();
        let restored = format!(
            "restored {} servers, {} profiles, {} secrets, {} audit rows, {executables} executables",
            number("servers"),
            number("profiles"),
            number("secrets"),
            number("audit"),
        );
        vec![restored, "start again the gateways that run on this database".to_owned()]
    })?;
    match opened {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Box::new(NotOpened(error))),
    }
}

/// Everything is there, but the secrets are of no use.
#[derive(Debug, thiserror::Error)]
#[error("everything was restored, but its secrets cannot be used yet")]
struct NotOpened(#[source] Failure);

/// What was restored is sealed with a key, that of the audit trail too; none is made here that opens nothing of it.
async fn opens(settings: &Settings, host: &Host) -> Result<(), Failure> {
    if host.store.holds_secrets()? {
        host.secrets().await?.check_key().await?;
    }
    if host.store.audit_keys().await?.is_empty() {
        return Ok(());
    }
    if let Some(path) = MasterKey::of(settings)?.path().filter(|path| !path.exists()) {
        return Err(Box::new(NoSigner::Missing { path: path.to_owned() }));
    }
    match host.secrets().await?.audit_keys().await?.is_empty() {
        true => Err(Box::new(NoSigner::OtherKey)),
        false => Ok(()),
    }
}

/// The audit trail would go on under another key.
#[derive(Debug, thiserror::Error)]
enum NoSigner {
    #[error(
        "the master key file {} is missing, and with it what signs the audit trail; put it there before the gateway starts, which would make a new one", .path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "this master key does not open what signed the audit trail; put the right one there before the gateway starts, which would sign with a new key"
    )]
    OtherKey,
}

fn confirm(settings: &Settings, asked: &Restore) -> Result<(), Failure> {
    if asked.yes {
        return Ok(());
    }
    let database = settings.database()?;
    if asked.file.as_os_str() == "-" || !io::stdin().is_terminal() {
        return Err(format!("everything in {database} would be deleted; say --yes if that is meant").into());
    }
    eprint!("Everything in {database} will be deleted. Type `replace` to go on: ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() == "replace" {
        true => Ok(()),
        false => Err("nothing was restored".into()),
    }
}
