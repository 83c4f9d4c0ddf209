//! Two servers, or any number, behind one endpoint:
//!
//! ```sh
//! cargo run -p gigmcp-mcp --example aggregate -- 127.0.0.1:8080 time=mcp-server-time git='mcp-server-git --repository .'
//! ```
//!
//! It confines nothing and authenticates nobody; a gateway does.

use std::{env, error::Error, io, process::Stdio, sync::Arc};

use gigmcp_mcp::{Aggregator, Principal, ServerIdentity, StreamableHttp, StreamableHttpLimits};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::net::TcpListener;
use tokio::process::{ChildStdin, ChildStdout, Command};

/// A command of this machine; it ends when its pipes do.
fn start(command: &str) -> io::Result<(ChildStdout, ChildStdin)> {
    let mut words = command.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    let mut child = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let pipes = child.stdout.take().zip(child.stdin.take()).expect("both are pipes");
    tokio::spawn(async move { child.wait().await });
    Ok(pipes)
}

/// Serves NAME=COMMAND and more of them there.
pub async fn serve(listener: TcpListener, servers: Vec<String>) -> Result<(), Box<dyn Error>> {
    let mut builder = Aggregator::builder();
    for server in &servers {
        let (name, command) = server.split_once('=').ok_or_else(|| format!("{server}: a server is NAME=COMMAND"))?;
        let (name, command) = (name.parse().map_err(|error| format!("{name}: {error}"))?, command.to_owned());
        builder = builder.stdio(name, move || std::future::ready(start(&command)));
    }
    let identity = ServerIdentity { name: "aggregate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let endpoint = Arc::new(StreamableHttp::new(identity, StreamableHttpLimits::default()));
    let service = endpoint.service(Arc::new(builder.build()?), Principal::new("me"));
    loop {
        let (connection, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().ok_or("usage: aggregate ADDRESS NAME=COMMAND...")?;
    serve(TcpListener::bind(address).await?, arguments.collect()).await
}
