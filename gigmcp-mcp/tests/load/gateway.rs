//! The gateway: all of this crate between sockets and processes, and an account of what it holds.

use std::{
    io::BufRead,
    process::Stdio,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gigmcp_mcp::{
    Aggregator, AggregatorLimits, Backend, BoxFuture, Call, Description, Event, Features, Launch, LaunchError, List,
    Outcome, Passing, Principal, ServerIdentity, StdioLimits, StdioUpstream, StreamableHttp, StreamableHttpLimits,
    Turns, Upstream,
};
use http::{Request, StatusCode};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::broadcast,
};

use crate::{
    ALLOCATOR, PART,
    server::{MOODS, SEED, TOO_LONG},
};

/// Bytes that each call leaves behind, for the story in which something leaks.
pub(crate) const LEAK: &str = "LOAD_LEAK";

/// Bytes of what streams told that all sessions together keep.
pub(crate) const MAX_RESUMABLE_BYTES: usize = 512 << 10;

/// Asks for the bytes that were allocated and not given back, instead of what is held.
pub(crate) const HEAP: &str = "heap";

/// What a gateway holds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Held {
    pub(crate) sessions: usize,
    pub(crate) parked: usize,
    pub(crate) pending: usize,
    pub(crate) tasks: usize,
    /// Bytes for clients that lose a connection.
    pub(crate) resumable: usize,
}

/// Says its address; for each line that it reads then, what it holds. Ends with its input.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let servers = Servers::default();
    let identity = ServerIdentity { name: "gig".into(), version: "1".into() };
    let limits = StreamableHttpLimits {
        parked_for: Duration::from_millis(700),
        max_parked_per_principal: 1024,
        // As much as there is after the first rounds.
        max_resumable_bytes: MAX_RESUMABLE_BYTES,
        ..StreamableHttpLimits::default()
    };
    let endpoint = Arc::new(StreamableHttp::new(identity, limits));
    let backends = MOODS.map(|mood| Backend::new(mood.parse().unwrap(), Arc::new(Starts::of(mood, &servers)) as _));
    // One that crashes all the time is to go on doing so: that it is left alone at last is not this story.
    let limits = AggregatorLimits { max_restarts: usize::MAX, ..AggregatorLimits::default() };
    let aggregator = Aggregator::builder().backends(backends).limits(limits).build().unwrap();
    let leak = std::env::var(LEAK).map_or(0, |bytes| bytes.parse().unwrap());
    let upstream: Arc<dyn Upstream> = Arc::new(Leaky { aggregator, leak, kept: Mutex::default() });
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    println!("{}", listener.local_addr().unwrap());
    runtime.spawn(serve(listener, Arc::clone(&endpoint), upstream));
    for line in std::io::stdin().lock().lines() {
        if line.unwrap() == HEAP {
            let stats = ALLOCATOR.stats();
            println!("{}", stats.bytes_allocated.saturating_sub(stats.bytes_deallocated));
            continue;
        }
        let occupancy = endpoint.occupancy();
        let held = Held {
            sessions: occupancy.sessions,
            parked: occupancy.parked,
            pending: servers.lock().unwrap().iter().filter_map(Weak::upgrade).map(|it| it.stdio.under_way()).sum(),
            tasks: runtime.metrics().num_alive_tasks(),
            resumable: occupancy.resumable_bytes,
        };
        println!("{}", serde_json::to_string(&held).unwrap());
    }
}

async fn serve(listener: TcpListener, endpoint: Arc<StreamableHttp>, upstream: Arc<dyn Upstream>) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        connection.set_nodelay(true).unwrap();
        let (endpoint, upstream) = (endpoint.clone(), upstream.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (endpoint, upstream) = (endpoint.clone(), upstream.clone());
            async move {
                // The test's stand-in for authentication: the caller says who it is.
                let Some(name) = request.headers().get("x-principal").and_then(|name| name.to_str().ok()) else {
                    let mut refused = http::Response::new(gigmcp_mcp::ResponseBody::whole("who?"));
                    *refused.status_mut() = StatusCode::UNAUTHORIZED;
                    return Ok::<_, hyper::Error>(refused);
                };
                Ok(endpoint.handle(&Principal::new(name), &upstream, request).await)
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

type Servers = Arc<Mutex<Vec<Weak<Server>>>>;

/// Starts one server, again and again.
struct Starts {
    mood: &'static str,
    started: AtomicU64,
    servers: Servers,
}

impl Starts {
    fn of(mood: &'static str, servers: &Servers) -> Self {
        Self { mood, started: AtomicU64::new(0), servers: Arc::clone(servers) }
    }
}

impl Launch for Starts {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async {
            let seed = self.started.fetch_add(1, Ordering::Relaxed).to_string();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .env(PART, self.mood)
                .env(SEED, seed)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            let limits = StdioLimits {
                max_line_bytes: TOO_LONG,
                call_timeout: Duration::from_millis(if self.mood == "hang" { 300 } else { 60_000 }),
                // A client of the older era that has gone is not missed before.
                ask_timeout: Duration::from_millis(700),
                // The server of this story stops when it is told to.
                given_up_for: Duration::from_millis(300),
                ..StdioLimits::default()
            };
            let mut features = Features::default();
            features.elicitation = Passing::Forward;
            if self.mood == "ask" {
                features.turns = Turns::OneByOne; // as if known from before
            }
            let stdio = StdioUpstream::connect_with(stdin, stdout, limits, features).await?;
            let server = Arc::new(Server { stdio, _child: child });
            let mut servers = self.servers.lock().unwrap();
            servers.retain(|server| server.strong_count() > 0);
            servers.push(Arc::downgrade(&server));
            Ok(server as Arc<dyn Upstream>)
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

    fn events(&self) -> Option<broadcast::Receiver<Event>> {
        self.stdio.events()
    }
}

/// The aggregator, and a leak if one is wanted.
struct Leaky {
    aggregator: Aggregator,
    leak: usize,
    kept: Mutex<Vec<Vec<u8>>>,
}

impl Upstream for Leaky {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        if self.leak > 0 {
            self.kept.lock().unwrap().push(vec![1; self.leak]);
        }
        self.aggregator.call(call)
    }

    fn describe<'a>(&'a self) -> BoxFuture<'a, Description> {
        self.aggregator.describe()
    }

    fn forget(&self, client: gigmcp_mcp::ClientId) {
        self.aggregator.forget(client);
    }

    fn events(&self) -> Option<broadcast::Receiver<Event>> {
        Upstream::events(&self.aggregator)
    }
}
