//! Removing a server with everything it had.

use std::time::Duration;

use gigmcp_registry::{Collected, ServerName};
use tokio::time;

use super::{InstallError, images};
use crate::{
    host::{Host, HostError},
    people::{Actor, Kind, done},
    spec::Source,
    store::{AuditRow, StoreError},
};

/// Removes a server with everything it had: its place in profiles, its secrets, what it kept, its image. Its running
/// instances end by themselves within two seconds, and are waited for.
pub(crate) async fn remove(host: &Host, server: &ServerName, by: &Actor) -> Result<Collected, InstallError> {
    let source = match host.store.server(server.clone()).await {
        // It was being removed, and that was killed.
        Err(StoreError::Missing { .. }) if host.kept().has(server) => {
            host.kept().remove(server).map_err(HostError::from).map_err(Box::new)?;
            return images::collect(host).await;
        }
        row => row?.spec.source,
    };
    let row = AuditRow { server: server.to_string(), ..done(Kind::Server, &by.user, format!("removes {server}"), by) };
    let told = by.does(row);
    // Who has no secrets needs no master key to go.
    let secrets = host.store.secrets().await?;
    match secrets.iter().any(|secret| secret.key.server == *server) {
        true => {
            let secrets = host.secrets().await.map_err(Box::new)?;
            secrets.remove_server(server.clone(), told).await.map_err(InstallError::Secret)?;
        }
        false => host.store.remove_server(server.clone(), None, told).await?,
    }
    let collected = match source {
        Source::Image(_) => collect_what_ends(host).await,
        Source::Binary { .. } | Source::HostTools => Ok(Collected::default()),
    };
    host.kept().remove(server).map_err(HostError::from).map_err(Box::new)?;
    collected
}

/// Removes images that nothing needs, again until none of them runs.
async fn collect_what_ends(host: &Host) -> Result<Collected, InstallError> {
    let mut sum = Collected::default();
    for attempt in 1..=ATTEMPTS {
        match images::collect(host).await {
            Ok(collected) => {
                sum.trees += collected.trees;
                sum.blobs += collected.blobs;
                sum.leased = collected.leased;
                if collected.leased == 0 {
                    break;
                }
            }
            // Somebody is adding an image.
            Err(InstallError::Collect(_)) if attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
        // The kernel does not tell when a lock is given up.
        time::sleep(POLL).await;
    }
    Ok(sum)
}

/// Together longer than an instance may take to end.
const ATTEMPTS: usize = 20;
const POLL: Duration = Duration::from_millis(250);
