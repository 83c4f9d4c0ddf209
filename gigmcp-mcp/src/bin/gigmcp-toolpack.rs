//! The toolpack engine: an MCP server over standard input and output whose tools are `manifest.yaml` and `toolspec.yaml` beside
//! it.

#![forbid(unsafe_code)]

use std::{env, error::Error, fmt::Write as _, path::PathBuf, process::ExitCode, sync::Arc};

use gigmcp_mcp::toolpack::{HttpsClient, Sidecars, ToolpackUpstream, serve};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gigmcp-toolpack: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    if let Some(argument) = env::args().nth(1) {
        return Err(format!("{argument:?} is not understood: the engine has no arguments, only files beside it").into());
    }
    let variable = |name: &str| env::var(name).ok();
    let toolpack = Sidecars::read(&directory()?)?.bind(variable)?;
    let client = HttpsClient::from_env(variable)?;
    let upstream = Arc::new(ToolpackUpstream::new(toolpack, Arc::new(client)));
    // Threads read input, write output and ask for names; a sandbox counts them as processes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    let served = runtime.block_on(serve(upstream, tokio::io::stdin(), tokio::io::stdout()));
    // A thread that still waits for input must not keep the process.
    runtime.shutdown_background();
    Ok(served?)
}

/// Where the engine itself is.
fn directory() -> Result<PathBuf, Box<dyn Error>> {
    let program = env::current_exe().map_err(|error| format!("the engine cannot tell where it is: {error}"))?;
    Ok(program.parent().ok_or("the engine is in no directory")?.to_owned())
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}"); // writing to a string cannot fail
        source = cause.source();
    }
    text
}
