//! `registryctl`: makes, signs and checks the files of a registry. See `--help`, and FORMAT.md for the files.
#![forbid(unsafe_code)]

mod arguments;
#[cfg(feature = "build")]
mod build;
mod build_args;
#[cfg(feature = "build")]
mod build_base;
mod build_index;
#[cfg(feature = "build")]
mod build_packages;
mod diff;
mod failure;
mod files;
mod import_openapi;
mod key_file;
mod lint;
mod output;
#[cfg(feature = "build")]
mod push;
mod root;
mod sign;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;
use output::Output;

/// Makes, signs and checks the files of a registry of MCP servers
///
/// Exit codes: 0 done, trusted, no difference; 1 refused, or there are differences; 2 the command line is wrong;
/// 3 a file cannot be read or written, or is not what it should be.
#[derive(Parser)]
#[command(name = "registryctl", version, propagate_version = true, max_term_width = 110)]
struct Cli {
    /// Print one JSON document instead of text; errors too, on standard error
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a signing key, in a new file that only you can read
    Keygen(key_file::Keygen),
    /// Hold manifests to the rules, those of the format and those of good sense
    Lint(lint::Lint),
    /// Hold toolspecs to the rules, each beside its manifest
    LintToolspecs(lint::LintToolspecs),
    /// Make a toolspec of a vendor's OpenAPI document
    ImportOpenapi(import_openapi::Import),
    /// Make an index of a directory of manifests, NAME/VERSION.yaml or .json
    BuildIndex(build_index::BuildIndex),
    /// Add signatures to an index
    Sign(sign::Sign),
    /// Say whether an index is trusted, fresh, and follows another
    Verify(verify::Verify),
    /// The same for an index of the original system: one key, no rotation, nothing that says what was signed
    DangerVerifyOriginal(verify::VerifyOriginal),
    /// Make, change, sign and check roots: the keys that are trusted
    #[command(subcommand)]
    Root(root::Command),
    /// Show every difference between two indexes, or two manifests
    Diff(diff::Diff),
    /// Make the image of a server without Docker, the same bytes every time
    #[cfg(feature = "build")]
    Build(build::Build),
    /// Make what images of packages stand on, out of Debian's packages
    #[cfg(feature = "build")]
    BuildBase(build_base::BuildBase),
    /// What `build` does in its sandbox
    #[cfg(feature = "build")]
    #[command(name = STEP, hide = true)]
    BuildStep,
    /// Give an image of a layout to a registry
    #[cfg(feature = "build")]
    Push(push::Push),
    /// Print what the build of a manifest's image is given, as KEY=VALUE lines
    BuildArgs(build_args::BuildArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let output = Output { json: cli.json };
    match run(cli.command, &output) {
        Ok(code) => code,
        Err(failure) => failure.report(cli.json),
    }
}

/// A wrong command line, also as JSON if that seems to be asked for; or the help.
fn not_understood(error: &clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let what = text.split("\n\n").next().unwrap_or_default();
        Failure::refused(what.trim_start_matches("error: ")).advice("`--help` shows how it is used").report(true);
    } else {
        // Nothing is left to be done about a closed output.
        drop(error.print());
    }
    code
}

fn run(command: Command, output: &Output) -> Result<ExitCode, Failure> {
    match command {
        Command::Keygen(keygen) => keygen.run(output),
        Command::Lint(lint) => lint.run(output),
        Command::LintToolspecs(lint) => lint.run(output),
        Command::ImportOpenapi(import) => import.run(output),
        Command::BuildIndex(build) => build.run(output),
        Command::Sign(sign) => sign.run(output, sign::Kind::Index),
        Command::Verify(verify) => verify.run(output),
        Command::DangerVerifyOriginal(verify) => verify.run(output),
        Command::Root(command) => command.run(output),
        Command::Diff(diff) => diff.run(output),
        #[cfg(feature = "build")]
        Command::Build(build) => build.run(output),
        #[cfg(feature = "build")]
        Command::BuildBase(build) => build.run(output),
        #[cfg(feature = "build")]
        Command::BuildStep => step(),
        #[cfg(feature = "build")]
        Command::Push(push) => push.run(output),
        Command::BuildArgs(build) => build.run(output),
    }
}

#[cfg(feature = "build")]
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|source| Failure::file("the runtime cannot be started").because(source))
}

/// In the sandbox, the plan comes in and an archive goes out.
#[cfg(feature = "build")]
fn step() -> Result<ExitCode, Failure> {
    let done = runtime()?.block_on(gigmcp_registry::build::run_step(std::io::stdin(), std::io::stdout().lock()));
    done.map_err(|source| Failure::file("the plan cannot be read, or the files not written").because(source))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "build")]
const STEP: &str = "build-step";
