//! Tells an operator what this host can do.

use crate::{Enforcement, Layer, Level, Sandbox, SpawnError};

/// Finds out which layers this host can enforce, by starting a sandbox around a program of our
/// own that does nothing. Needs nothing but what a real sandbox needs.
///
/// Where no sandbox can start at all, every layer is [`Level::None`] with the fix.
pub async fn host_report() -> Enforcement {
    match probe().await {
        Ok(sandbox) => sandbox.enforcement().clone(),
        Err(error) => {
            let fix = match &error {
                SpawnError::Setup { fix, .. } => fix,
                SpawnError::NotLinux => "use Linux; on macOS and Windows, a Linux virtual machine",
                _ => "see the message",
            };
            let why = with_causes(&error);
            Enforcement::new(|_: Layer| Level::None { why: why.clone(), fix: (*fix).to_owned() })
        }
    }
}

#[cfg(not(target_os = "linux"))]
async fn probe() -> Result<Sandbox, SpawnError> {
    Err(SpawnError::NotLinux)
}

#[cfg(target_os = "linux")]
async fn probe() -> Result<Sandbox, SpawnError> {
    let program = crate::bootstrap::program()
        .map_err(|source| SpawnError::Host { what: "making the bootstrap's memfd", source })?;
    Sandbox::builder(crate::Rootfs::single_file(program))
        .command(["/server", "probe"])
        .network(crate::Network::handoff())
        .spawn()
        .await
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Whether a host path may be shown inside: nowhere but on Linux.
///
/// # Errors
/// Always [`PathRefusal::NotLinux`](crate::PathRefusal::NotLinux).
#[cfg(not(target_os = "linux"))]
pub fn check_read_only(_path: impl AsRef<std::path::Path>) -> Result<(), crate::PathRefusal> {
    Err(crate::PathRefusal::NotLinux)
}
