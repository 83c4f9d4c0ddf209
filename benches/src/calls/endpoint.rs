//! Our endpoint and aggregator before one plain process, without the gateway.

use std::{process::Stdio, sync::Arc};

use gigmcp_mcp::{
    Aggregator, Backend, BoxFuture, Call, Description, Launch, LaunchError, List, Outcome, Principal, ServerIdentity,
    StdioLimits, StdioUpstream, StreamableHttp, StreamableHttpLimits, Upstream,
};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

use super::{
    server,
    subject::{Kind, Subject},
};
use crate::{
    Failure,
    process::{Process, serve_until_orphaned},
};

/// The part that runs as a process of its own.
pub(crate) const ENDPOINT: &str = "part-endpoint";

/// It, and where it listens.
pub(crate) fn process() -> Result<(Process, String), Failure> {
    Process::part(ENDPOINT, &[])
}

pub(super) fn start() -> Result<Subject, Failure> {
    let (process, address) = process()?;
    let (id, running) = (process.id(), Box::new(process));
    Ok(Subject { kind: Kind::Bare, address, path: "/mcp", token: None, tool: "bench_make", id, running })
}

pub(crate) async fn part() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let identity = ServerIdentity { name: "bench".into(), version: "1".into() };
    let endpoint = Arc::new(StreamableHttp::new(identity, StreamableHttpLimits::default()));
    let aggregator = Arc::new(Aggregator::new(vec![Backend::new("bench".parse()?, Arc::new(Start))])?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (endpoint, aggregator) = (Arc::clone(&endpoint), Arc::clone(&aggregator));
            drop(stream.set_nodelay(true));
            let service = service_fn(move |request: Request<Incoming>| {
                let (endpoint, aggregator) = (Arc::clone(&endpoint), Arc::clone(&aggregator));
                // Whoever asks at another path counts as somebody else.
                let principal = Principal::new(request.uri().path());
                async move { Ok::<_, Failure>(endpoint.handle(&principal, &aggregator, request).await) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    serve_until_orphaned(&address.to_string()).await
}

struct Start;

impl Launch for Start {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async {
            let failed = |_| LaunchError::new("start", "not-started", "it did not start");
            let path = server().map_err(failed)?;
            let spawned = Command::new(path).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
            let mut child = spawned.map_err(|error| failed(error.into()))?;
            let pipes = child.stdin.take().zip(child.stdout.take()).ok_or_else(|| failed("no pipe".into()))?;
            let stdio = StdioUpstream::connect(pipes.0, pipes.1, StdioLimits::default()).await?;
            Ok(Arc::new(Server { stdio, _child: child }) as Arc<dyn Upstream>)
        })
    }
}

struct Server {
    stdio: StdioUpstream,
    _child: Child,
}

impl Upstream for Server {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        self.stdio.call(call)
    }

    fn is_open(&self) -> bool {
        self.stdio.is_open()
    }

    fn is_occupied(&self) -> bool {
        self.stdio.is_occupied()
    }

    fn revision(&self, list: List) -> u64 {
        self.stdio.revision(list)
    }

    fn describe<'a>(&'a self) -> BoxFuture<'a, Description> {
        self.stdio.describe()
    }
}
