//! Runs one command of this host in a sandbox without any network, and says what was enforced.

use std::process::ExitCode;

use gigmcp_sandbox::{Exit, Layer, Network, Rootfs, Sandbox};
use tokio::io::{copy, stdout};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let mut sandbox = Sandbox::builder(Rootfs::host_tools())
        .command(command)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .network(Network::none())
        .require(Layer::Seccomp) // without it, spawn is an error and nothing runs
        .spawn()
        .await?;
    eprint!("{}", sandbox.enforcement());
    let (stdin, mut output) = sandbox.stdio()?;
    drop(stdin);
    copy(&mut output, &mut stdout()).await?;
    // What the command says on standard error is kept apart, and ends with its last process.
    let mut lines = sandbox.stderr_lines();
    while let Some(line) = lines.next().await {
        eprintln!("{line}");
    }
    Ok(match sandbox.wait().await {
        Exit::Exited(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        other => {
            eprintln!("{other:?}");
            ExitCode::FAILURE
        }
    })
}
