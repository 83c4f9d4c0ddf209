//! `images gc`.

use clap::Subcommand;
use serde_json::json;

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
    let document = json!({ "trees": collected.trees, "blobs": collected.blobs, "in_use": collected.leased });
    out.print(&document, |_| {
        let mut lines = vec![format!("removed {} images and {} of their parts", collected.trees, collected.blobs)];
        if collected.leased > 0 {
            lines.push(format!("{} more are not needed but run; do it again when they have ended", collected.leased));
        }
        lines
    })
}
