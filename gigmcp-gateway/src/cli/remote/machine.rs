//! `doctor`, `key check`, `registry` and `images`: what is of the machine that the gateway runs on.

use std::process::ExitCode;

use http::Method;

use super::{
    super::{images, key, progress, registry},
    Path, Reason, Remote, RemoteError, said,
};
use crate::{
    doctor,
    output::{Failure, Output},
};

/// `doctor`.
pub(super) async fn doctor(remote: &Remote, asked: &doctor::Doctor, out: &Output) -> Result<ExitCode, Failure> {
    if asked.runtimes {
        return Err(RemoteError::NoRoute { command: "doctor --runtimes", reason: Reason::Runtimes }.into());
    }
    let report: doctor::HostReport = remote.get(&Path::of(&["host"])).await?;
    doctor::print(&report, out)
}

/// `key`, of which only `check` does not touch the key.
pub(super) async fn key(remote: &Remote, command: &key::Command, out: &Output) -> Result<ExitCode, Failure> {
    use key::Command;
    let command = match command {
        Command::Check => {
            let found: key::Checked = remote.get(&Path::of(&["keys"])).await?;
            let reasons = found.refused.iter();
            let reasons = reasons.map(|of| format!("{} of {} of {} does not open", of.name, of.server, of.owner));
            return key::print_checked(&found, reasons.collect(), out);
        }
        Command::Create { .. } => "key create",
        Command::Wrap => "key wrap",
        Command::Rotate { .. } => "key rotate",
        Command::DropOld => "key drop-old",
        Command::ExportRecovery(_) => "key export-recovery",
        Command::ImportRecovery(_) => "key import-recovery",
    };
    Err(RemoteError::NoRoute { command, reason: Reason::MasterKey }.into())
}

/// `registry`.
pub(super) async fn registry(remote: &Remote, command: registry::Command, out: &Output) -> Result<(), Failure> {
    use registry::Command;
    match command {
        Command::Login { host, username, file } => {
            let password = registry::password(&file)?;
            let password = std::str::from_utf8(&password).map_err(|_| "the password is not text")?;
            let body = said::Login { username: &username, password };
            remote.say(Method::PUT, &Path::of(&["registries", &host.to_string()]), &body).await?;
            registry::print_kept(&host, out)
        }
        Command::Logout { host } => {
            remote.tell(Method::DELETE, &Path::of(&["registries", &host.to_string()])).await?;
            registry::print_forgotten(&host, out)
        }
    }
}

/// `images`.
pub(super) async fn images(remote: &Remote, images::Command::Gc: images::Command, out: &Output) -> Result<(), Failure> {
    let waiting = progress::Waiting::begin("the gateway looks for images that nothing needs");
    let collected = remote.make(&Path::of(&["images", "collect"])).await;
    drop(waiting);
    images::print(&collected?, out)
}
