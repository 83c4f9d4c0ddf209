//! `images gc`.

use clap::Subcommand;
use serde::{Deserialize, Serialize};

use crate::{
    host::Host,
    install,
    output::{Failure, Output},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Remove the images that no server has or can go back to; what runs stays
    Gc,
}

/// Does what was asked.
pub(crate) async fn run(host: Host, Command::Gc: Command, out: &Output) -> Result<(), Failure> {
    let collected = install::collect(&host).await?;
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
