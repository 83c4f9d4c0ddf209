//! `images gc`.

use clap::Subcommand;
use serde::{Deserialize, Serialize};

use super::progress::Waiting;
use crate::{
    host::Host,
    install,
    output::{Failure, Output},
    people::{Actor, Kind, done},
    spec::Owner,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Remove the images that no server has or can go back to; what runs stays
    Gc,
}

/// Does what was asked.
pub(crate) async fn run(host: Host, Command::Gc: Command, out: &Output) -> Result<(), Failure> {
    // As by the API: before it is done, so that it is not done without.
    let row = done(Kind::Server, &Owner::local(), "removes images that nothing needs", &Actor::local());
    host.store.add_audit(row).await?;
    let waiting = Waiting::begin("looking for images that nothing needs");
    let collected = install::collect(&host).await;
    drop(waiting);
    let collected = collected?;
    let collected = Collected { trees: collected.trees, blobs: collected.blobs, in_use: collected.leased };
    print(&collected, out)
}

/// What was removed.
#[derive(Deserialize, Serialize)]
pub(super) struct Collected {
    trees: u64,
    blobs: u64,
    /// Not needed, but they run.
    in_use: u64,
}

pub(super) fn print(collected: &Collected, out: &Output) -> Result<(), Failure> {
    out.print(collected, |Collected { trees, blobs, in_use }| {
        let mut lines = vec![format!("removed {trees} images and {blobs} of their parts")];
        if *in_use > 0 {
            lines.push(format!("{in_use} more are not needed but run; do it again when they have ended"));
        }
        lines
    })
}
