//! Two servers, or any number, behind one endpoint:
//!
//! ```sh
//! cargo run -p gigmcp-mcp --example aggregate -- 127.0.0.1:8080 time=mcp-server-time git='mcp-server-git --repository .'
//! ```
//!
//! It confines nothing and authenticates nobody; a gateway does.

use std::{env, error::Error, process::Stdio, sync::Arc};

use gigmcp_mcp::{
    Aggregator, Backend, BoxFuture, Era, Features, Launch, LaunchError, Passing, Principal, Roots, ServerIdentity,
    StdioLimits, StdioUpstream, StreamableHttp, StreamableHttpLimits, Turns, Upstream,
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    process::{ChildStdin, ChildStdout, Command},
    sync::OnceCell,
};

/// A command of this machine, and what its server may ask of clients: everything.
struct Program {
    command: Vec<String>,
    era: OnceCell<Era>,
}

impl Launch for Program {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(self.start(Turns::Together))
    }

    fn launch_beside<'a>(&'a self) -> BoxFuture<'a, Result<Option<Arc<dyn Upstream>>, LaunchError>> {
        Box::pin(async { Ok(Some(self.start(Turns::OneByOne).await?)) })
    }
}

impl Program {
    async fn start(&self, turns: Turns) -> Result<Arc<dyn Upstream>, LaunchError> {
        let era = self.era.get_or_try_init(async || {
            let (stdin, stdout) = self.spawn()?;
            Ok::<_, LaunchError>(StdioUpstream::probe(stdin, stdout, StdioLimits::default()).await)
        });
        let (era, (stdin, stdout)) = (*era.await?, self.spawn()?);
        let mut features = Features::default();
        (features.sampling, features.elicitation) = (Passing::Forward, Passing::Forward);
        (features.roots, features.turns) = (Roots::Forward, turns);
        Ok(Arc::new(StdioUpstream::connect_as(stdin, stdout, StdioLimits::default(), features, era).await?))
    }

    fn spawn(&self) -> Result<(ChildStdin, ChildStdout), LaunchError> {
        let failed = |error| LaunchError::new("start", "not-started", "it did not start").caused_by(error);
        let mut command = Command::new(&self.command[0]);
        let mut child =
            command.args(&self.command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take()).expect("both are pipes");
        tokio::spawn(async move { child.wait().await }); // it ends when its pipes do
        Ok(pipes)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let listener = TcpListener::bind(arguments.next().ok_or("usage: aggregate ADDRESS NAME=COMMAND...")?).await?;
    let mut backends = Vec::new();
    for argument in arguments {
        let (name, command) = argument.split_once('=').ok_or("a server is NAME=COMMAND")?;
        let command = command.split_whitespace().map(ToOwned::to_owned).collect();
        let program = Program { command, era: OnceCell::new() };
        backends.push(Backend::new(name.parse()?, Arc::new(program)));
    }
    let aggregator = Arc::new(Aggregator::new(backends)?);
    let identity = ServerIdentity { name: "aggregate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let endpoint = Arc::new(StreamableHttp::new(identity, StreamableHttpLimits::default()));
    println!("http://{}/", listener.local_addr()?);
    loop {
        let (connection, _) = listener.accept().await?;
        let (endpoint, aggregator) = (Arc::clone(&endpoint), Arc::clone(&aggregator));
        let service = service_fn(move |request| {
            let (endpoint, aggregator) = (Arc::clone(&endpoint), Arc::clone(&aggregator));
            async move { Ok::<_, hyper::Error>(endpoint.handle(&Principal::new("me"), &aggregator, request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}
