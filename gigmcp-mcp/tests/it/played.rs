//! Servers that answer by a table, say what they are told to, and tell what they heard.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use gigmcp_mcp::{
    Backend, BoxFuture, Features, Launch, LaunchError, Passing, Roots, StdioLimits, StdioUpstream, Upstream,
};
use tokio::{io::split, sync::mpsc};

use crate::scripted::Scripted;

/// What a server answers: a result as JSON, an error as JSON, or nothing.
pub(crate) enum Reply {
    Result(String),
    Error(String),
    Never,
}

pub(crate) fn result(text: impl Into<String>) -> Reply {
    Reply::Result(text.into())
}

type Table = Arc<dyn Fn(&str, &str) -> Reply + Send + Sync>;

/// Launches a server; a new one each time.
pub(crate) struct Played {
    capabilities: String,
    table: Table,
    heard: mpsc::UnboundedSender<(String, String)>,
    /// Of each process that was started.
    say: Mutex<Vec<mpsc::UnboundedSender<String>>>,
    requests: Arc<AtomicU64>,
}

pub(crate) struct Stage {
    pub(crate) played: Arc<Played>,
    heard: mpsc::UnboundedReceiver<(String, String)>,
}

impl Stage {
    /// A server with these capabilities that answers by `table`, by method and parameters.
    pub(crate) fn new(capabilities: &str, table: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        let played = Played {
            capabilities: capabilities.to_owned(),
            table: Arc::new(table),
            heard: sender,
            say: Mutex::default(),
            requests: Arc::default(),
        };
        Self { played: Arc::new(played), heard }
    }

    pub(crate) fn backend(&self, name: &str) -> Backend {
        Backend::new(name.parse().unwrap(), self.played.clone() as Arc<dyn Launch>)
    }

    /// Lets the process that was started last write a line.
    pub(crate) fn say(&self, line: impl Into<String>) {
        self.played.say.lock().unwrap().last().unwrap().send(line.into()).unwrap();
    }

    pub(crate) fn stop(&self) {
        self.played.say.lock().unwrap().clear();
    }

    /// What it heard next of these methods.
    pub(crate) async fn heard(&mut self, methods: &[&str]) -> (String, String) {
        loop {
            let heard = self.heard.recv().await.unwrap();
            if methods.contains(&&*heard.0) {
                return heard;
            }
        }
    }

    /// The next answer it got, whole.
    pub(crate) async fn heard_answer(&mut self) -> String {
        self.heard(&[""]).await.1
    }

    /// The id of the last request it got.
    pub(crate) fn heard_requests(&self) -> u64 {
        self.played.requests.load(Ordering::SeqCst)
    }

    /// What it has heard of these methods and was not asked about yet.
    pub(crate) fn heard_so_far(&mut self, methods: &[&str]) -> Vec<(String, String)> {
        let mut all = Vec::new();
        while let Ok(heard) = self.heard.try_recv() {
            all.extend(methods.contains(&&*heard.0).then_some(heard));
        }
        all
    }
}

impl Launch for Played {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(self.start())
    }

    fn launch_beside<'a>(&'a self) -> BoxFuture<'a, Result<Option<Arc<dyn Upstream>>, LaunchError>> {
        Box::pin(async { Ok(Some(self.start().await?)) })
    }
}

impl Played {
    async fn start(&self) -> Result<Arc<dyn Upstream>, LaunchError> {
        let (ours, server) = Scripted::pipes();
        let (say, lines) = mpsc::unbounded_channel();
        self.say.lock().unwrap().push(say);
        tokio::spawn(self.play(server, lines));
        let (stdout, stdin) = split(ours);
        let mut features = Features::default();
        (features.sampling, features.elicitation) = (Passing::Forward, Passing::Forward);
        features.roots = Roots::Forward;
        let upstream = StdioUpstream::connect_with(stdin, stdout, StdioLimits::default(), features).await?;
        Ok(Arc::new(upstream) as Arc<dyn Upstream>)
    }
}

impl Played {
    fn play(
        &self,
        mut server: Scripted,
        mut lines: mpsc::UnboundedReceiver<String>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (capabilities, table) = (self.capabilities.clone(), self.table.clone());
        let (heard, requests) = (self.heard.clone(), self.requests.clone());
        async move {
            loop {
                let message = tokio::select! {
                    message = server.try_hear() => message,
                    line = lines.recv() => match line {
                        Some(line) => {
                            server.say(&line).await;
                            continue;
                        }
                        None => return,
                    },
                };
                let Some(message) = message else { return };
                let reply = match &*message.method {
                    "initialize" => result(format!(r#"{{"protocolVersion":"2025-11-25",{capabilities}}}"#)),
                    method => table(method, &message.params),
                };
                if let Ok(id) = message.id.parse() {
                    requests.store(id, Ordering::SeqCst);
                }
                heard.send((message.method, message.params)).ok();
                if message.id.is_empty() {
                    continue;
                }
                match reply {
                    Reply::Result(result) => server.answer(&message.id, &result).await,
                    Reply::Error(error) => {
                        server.say(&format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, message.id)).await;
                    }
                    Reply::Never => {}
                }
            }
        }
    }
}
