//! A server whose every line the test writes itself.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use gigmcp_mcp::{
    Backend, BoxFuture, ConnectError, Launch, LaunchError, Message, StdioLimits, StdioUpstream, Upstream,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, duplex, split},
    sync::mpsc,
};

pub(crate) struct Scripted {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    output: WriteHalf<DuplexStream>,
}

/// One message that reached the server.
pub(crate) struct Heard {
    pub(crate) id: String,
    pub(crate) method: String,
    pub(crate) params: String,
}

impl Scripted {
    /// A pair of pipes: the client's end and the server.
    pub(crate) fn pipes() -> (DuplexStream, Self) {
        let (ours, theirs) = duplex(64 << 10);
        let (input, output) = split(theirs);
        let lines = BufReader::new(input).lines();
        (ours, Self { lines, output })
    }

    /// A connected upstream and its server.
    pub(crate) async fn connected(limits: StdioLimits) -> (StdioUpstream, Self) {
        let (ours, mut server) = Self::pipes();
        let (upstream, ()) = tokio::join!(connect(ours, limits), server.greet());
        (upstream.unwrap(), server)
    }

    /// Answers `initialize` and hears `notifications/initialized`.
    pub(crate) async fn greet(&mut self) {
        let heard = self.hear().await;
        assert_eq!(heard.method, "initialize");
        self.answer(&heard.id, r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}}}"#).await;
        assert_eq!(self.hear().await.method, "notifications/initialized");
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        self.try_hear().await.expect("the client still writes")
    }

    pub(crate) async fn try_hear(&mut self) -> Option<Heard> {
        let line = self.lines.next_line().await.unwrap()?;
        let (id, method, params) = match Message::parse(line.as_bytes()).unwrap() {
            Message::Response(_) => {
                return Some(Heard { id: String::new(), method: String::new(), params: line });
            }
            Message::Request(request) => (request.id.as_json().to_owned(), request.method, request.params),
            Message::Notification(note) => (String::new(), note.method, note.params),
        };
        let params = params.map(|params| params.get().to_owned()).unwrap_or_default();
        Some(Heard { id, method: method.into(), params })
    }

    /// The next line as it is.
    pub(crate) async fn hear_line(&mut self) -> String {
        self.lines.next_line().await.unwrap().unwrap()
    }

    pub(crate) async fn answer(&mut self, id: &str, result: &str) {
        self.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)).await;
    }

    pub(crate) async fn say(&mut self, line: &str) {
        self.say_bytes(line.as_bytes()).await;
        self.say_bytes(b"\n").await;
    }

    pub(crate) async fn say_bytes(&mut self, bytes: &[u8]) {
        self.output.write_all(bytes).await.unwrap();
    }
}

pub(crate) async fn connect(pipes: DuplexStream, limits: StdioLimits) -> Result<StdioUpstream, ConnectError> {
    let (stdout, stdin) = split(pipes);
    StdioUpstream::connect(stdin, stdout, limits).await
}

/// What a launch is to become.
pub(crate) enum Plan {
    /// A server that the test plays; it is handed over when it is launched.
    Play,
    /// A failure to start.
    Fail,
    /// A start that never ends.
    Hang,
}

/// Launches what is planned, in order; then it fails.
pub(crate) struct Launcher {
    plans: Mutex<VecDeque<Plan>>,
    servers: mpsc::UnboundedSender<Scripted>,
    pub(crate) launches: AtomicUsize,
}

impl Launcher {
    pub(crate) fn new(plans: impl IntoIterator<Item = Plan>) -> (Arc<Self>, mpsc::UnboundedReceiver<Scripted>) {
        let (servers, launched) = mpsc::unbounded_channel();
        let plans = Mutex::new(plans.into_iter().collect());
        let launches = AtomicUsize::new(0);
        (Arc::new(Self { plans, servers, launches }), launched)
    }

    pub(crate) fn backend(self: &Arc<Self>, name: &str) -> Backend {
        Backend::new(name.parse().unwrap(), Arc::clone(self) as Arc<dyn Launch>)
    }
}

impl Launch for Launcher {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async {
            self.launches.fetch_add(1, Ordering::SeqCst);
            let plan = self.plans.lock().unwrap().pop_front();
            match plan.unwrap_or(Plan::Fail) {
                Plan::Play => {
                    let (ours, server) = Scripted::pipes();
                    self.servers.send(server).ok().unwrap();
                    let upstream = connect(ours, StdioLimits::default()).await?;
                    Ok(Arc::new(upstream) as Arc<dyn Upstream>)
                }
                Plan::Fail => Err(LaunchError::new("start", "test-failure", "planned")),
                Plan::Hang => std::future::pending().await,
            }
        })
    }
}
