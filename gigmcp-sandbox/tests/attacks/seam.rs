//! What tests inside the crate can change of a start and users of it cannot.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::compile::static_program;
use crate::protocol::Plan;

/// Changes to how a sandbox is started. The default changes nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seam {
    /// Layers that the bootstrap leaves out. If there are any, it is the tests' own build.
    pub(crate) left_out: Vec<&'static str>,
    /// Changes the plan.
    pub(crate) plan: Option<fn(&mut Plan)>,
}

impl Seam {
    pub(crate) fn plan(&self, mut plan: Plan) -> Plan {
        if let Some(change) = self.plan {
            change(&mut plan);
        }
        plan
    }

    pub(crate) fn command(&self, embedded: io::Result<Command>) -> io::Result<Command> {
        if self.left_out.is_empty() {
            return embedded;
        }
        let mut command = Command::new(leaving_out_layers());
        command.arg0("gigmcp-sandbox").arg("outer").args(&self.left_out);
        Ok(command)
    }
}

/// The bootstrap as it is, but that it leaves out what it is told to.
fn leaving_out_layers() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let output = Path::new(env!("OUT_DIR")).join("bootstrap-leaving-out-layers");
        static_program("bootstrap/main.rs", &output, &["--cfg=leaves_out_layers", "-Adead_code"])
    })
}
