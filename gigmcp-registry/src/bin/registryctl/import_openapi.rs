//! From an OpenAPI document to a toolspec.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use gigmcp_registry::{Linter, OpenApiImport, ServerName, Severity, Version};
use serde_json::json;

use crate::failure::Failure;
use crate::files;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Import {
    /// The OpenAPI 3.0 or 3.1 document, JSON or YAML
    document: PathBuf,
    /// The operations that become tools, by operationId, or as "GET /path"
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
    tools: Vec<String>,
    /// Where to put the toolspec
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Where to put a manifest to begin with
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// The server's name
    #[arg(long, value_name = "NAME")]
    name: ServerName,
    /// The server's version
    #[arg(long, value_name = "VERSION", default_value = "0.1.0")]
    server_version: Version,
    /// Where requests go, if the document does not say, or should not
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

impl Import {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let document = files::read(&self.document)?;
        let import = OpenApiImport {
            document: &document,
            tools: &self.tools,
            name: &self.name,
            version: self.server_version,
            server: self.server.as_deref(),
        };
        let made = import.run().map_err(|error| {
            Failure::refused(format!("no toolspec was made of {}", self.document.display()))
                .because(error)
                .advice("leave the tool out, or write its part of the toolspec by hand")
        })?;
        let toolspec = made.toolspec.to_yaml();
        self.lint(&toolspec, &made.manifest)?;
        files::write(&self.output, toolspec.as_bytes())?;
        if let Some(path) = &self.manifest {
            files::write(path, made.manifest.as_bytes())?;
        }
        let tools: Vec<_> = made.toolspec.tools.iter().map(|tool| tool.name.to_string()).collect();
        let file = self.output.display().to_string();
        let mut lines = vec![format!("{file} has {} tools: {}", tools.len(), tools.join(", "))];
        lines.extend(self.manifest.iter().map(|path| format!("{} is a manifest to begin with", path.display())));
        lines.extend(made.notes.iter().map(|note| format!("note: {note}")));
        output.print(
            &json!({ "file": file, "manifest": self.manifest.as_ref().map(|path| path.display().to_string()), "tools": tools, "notes": made.notes }),
            &lines,
        )
    }

    /// What would not pass as a pair is not written.
    fn lint(&self, toolspec: &str, manifest: &str) -> Result<(), Failure> {
        let (linter, place) = (Linter::default(), format!("{}/{}", self.name, self.server_version));
        let (mut report, manifest) = linter.manifest(&format!("{place}.yaml"), manifest.as_bytes());
        report.extend(linter.toolspec(&format!("{place}.toolspec.yaml"), toolspec.as_bytes(), manifest.as_ref()).0);
        match report.count(Severity::Error) {
            0 => Ok(()),
            _ => Err(Failure::refused(format!("what was made of {} does not pass", self.document.display()))
                .because(report.to_string())
                .advice("leave the tool out, or write its part of the toolspec by hand")),
        }
    }
}
