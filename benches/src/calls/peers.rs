//! What others have for the same purpose. `./dev bench` unpacks them below the build directory.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    server,
    subject::{Kind, Subject},
};
use crate::{
    Failure,
    process::{Process, free_port},
};

/// `mcp-proxy` from crates.io, which names tools by a prefix as we do.
pub(super) fn mcp_proxy_crate(directory: &Path) -> Result<Subject, Failure> {
    let port = free_port()?;
    let config = directory.join("mcp-proxy.toml");
    let server = server()?;
    let text = format!(
        "[proxy]\nname = \"bench\"\nseparator = \"_\"\n[proxy.listen]\nhost = \"127.0.0.1\"\nport = {port}\n\
         [[backends]]\nname = \"bench\"\ntransport = \"stdio\"\ncommand = \"{}\"\nargs = []\n",
        server.display()
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(peer("cargo/bin/mcp-proxy")?);
    command.arg("--config").arg(config).env("RUST_LOG", "error");
    start(Kind::McpProxyCrate, &mut command, directory, port, "/", "bench_make")
}

/// `mcp-proxy` from PyPI.
pub(super) fn mcp_proxy_python(directory: &Path) -> Result<Subject, Failure> {
    let port = free_port()?;
    let mut command = Command::new(peer("mcp-proxy/bin/mcp-proxy")?);
    command.args(["--log-level", "ERROR", "--port", &port.to_string()]).arg(server()?);
    start(Kind::McpProxyPython, &mut command, directory, port, "/mcp", "make")
}

/// `supergateway` from npm, with sessions: without, it starts a server for each request.
pub(super) fn supergateway(directory: &Path) -> Result<Subject, Failure> {
    let port = free_port()?;
    let mut command = Command::new("node");
    command.arg(peer("supergateway/node_modules/supergateway/dist/index.js")?).arg("--stdio").arg(server()?);
    command.args([
        "--outputTransport",
        "streamableHttp",
        "--stateful",
        "--logLevel",
        "none",
        "--port",
        &port.to_string(),
    ]);
    start(Kind::Supergateway, &mut command, directory, port, "/mcp", "make")
}

/// The bridge of ContextForge, `mcpgateway.translate`. It demands secrets that it does not use.
pub(super) fn context_forge(directory: &Path) -> Result<Subject, Failure> {
    let port = free_port()?;
    let mut command = Command::new(peer("contextforge/bin/python")?);
    command.args(["-m", "mcpgateway.translate", "--expose-streamable-http", "--logLevel", "error", "--stdio"]);
    command.arg(server()?).args(["--port", &port.to_string()]);
    let secret = "dozens-of-Letters-and-9-digits-that-nobody-guesses";
    for name in ["JWT_SECRET_KEY", "AUTH_ENCRYPTION_SECRET", "BASIC_AUTH_PASSWORD", "PLATFORM_ADMIN_PASSWORD"] {
        command.env(name, format!("{name}-{secret}"));
    }
    command.env("DATABASE_URL", format!("sqlite:///{}", directory.join("contextforge.db").display()));
    command.current_dir(directory);
    start(Kind::ContextForge, &mut command, directory, port, "/mcp", "make")
}

fn start(
    kind: Kind,
    command: &mut Command,
    directory: &Path,
    port: u16,
    path: &'static str,
    tool: &'static str,
) -> Result<Subject, Failure> {
    let log = directory.join(format!("{kind:?}.log"));
    let process = Process::program(command, &log, port)?;
    let (id, running) = (process.id(), Box::new(process));
    Ok(Subject { kind, address: format!("127.0.0.1:{port}"), path, token: None, tool, id, running })
}

fn peer(path: &str) -> Result<PathBuf, Failure> {
    let peers = std::env::var_os("BENCH_PEERS").ok_or("run this by ./dev bench")?;
    Ok(PathBuf::from(peers).join(path))
}
