//! A server whose tools make tasks, and what is told of them and agreed to.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use gigmcp_mcp::{Aggregator, BoxFuture, Definition, Pins, PinsUnknown, Process, Standing};
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    seams::{TASKS, ask},
};

/// What a server of the newer era does.
#[derive(Clone, Debug)]
pub(crate) struct Play {
    /// The id that the next task gets; a new one each time, if it has none.
    pub(crate) id: Option<&'static str>,
    pub(crate) ttl: f64,
    /// What is told of any task: its members, or an error.
    pub(crate) get: Result<String, String>,
    pub(crate) update: Result<String, String>,
}

pub(crate) type Script = Arc<Mutex<Play>>;

/// A server whose tools `do` and `open` make tasks; `open` says that it deals with the world.
pub(crate) fn server() -> (Stage, Script) {
    let get = Ok(r#""status":"working""#.to_owned());
    let play = Play { id: None, ttl: 60_000.0, get, update: Ok("{}".to_owned()) };
    let script = Arc::new(Mutex::new(play));
    let capabilities = json!({ "tools": {}, "prompts": {}, "logging": {}, "extensions": { TASKS: {} } });
    let (playing, made) = (Arc::clone(&script), AtomicU64::new(0));
    let tool = |name: &str, open: bool| json!({ "name": name, "inputSchema": { "type": "object" }, "annotations": { "openWorldHint": open } });
    let listed = json!({ "tools": [tool("do", false), tool("open", true)] }).to_string();
    let stage = Stage::modern(&format!(r#""capabilities":{capabilities}"#), move |method, params| {
        let play = playing.lock().unwrap().clone();
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        let answer = |told: Result<String, String>| told.map_or_else(Reply::Error, Reply::Result);
        match method {
            "tools/list" => result(listed.clone()),
            "prompts/list" => result(r#"{"prompts":[{"name":"ok"}]}"#),
            "prompts/get" => result(r#"{"messages":[]}"#),
            "tools/call" => {
                let id = play.id.map_or_else(|| made.fetch_add(1, Ordering::SeqCst).to_string(), Into::into);
                let made = json!({ "resultType": "task", "taskId": id, "status": "working", "ttlMs": play.ttl });
                result(made.to_string())
            }
            "tasks/get" => {
                let id = params["taskId"].to_string();
                answer(play.get.map(|told| format!(r#"{{"resultType":"complete","taskId":{id},{told}}}"#)))
            }
            "tasks/update" => answer(play.update),
            "tasks/cancel" => result("{}"),
            _ => Reply::Never,
        }
    });
    (stage, script)
}

pub(crate) fn tells(script: &Script, told: &Value) {
    let told = told.to_string();
    script.lock().unwrap().get = Ok(told[1..told.len() - 1].to_owned());
}

/// The id of a task that this owner has made.
pub(crate) async fn task(aggregator: &Aggregator, owner: &str, tool: &str) -> String {
    let made = ask(aggregator, owner, "tools/call", json!({ "name": tool })).await;
    made["taskId"].as_str().unwrap_or_else(|| panic!("a task: {made}")).to_owned()
}

/// A notification about a task under the server's own id; `told` are its members.
pub(crate) fn notice(id: &str, told: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/tasks","params":{{"taskId":"{id}",{told}}}}}"#)
}

/// Agrees to everything, until it agrees to no tool any more.
#[derive(Debug, Default)]
pub(crate) struct Until {
    pub(crate) held: AtomicBool,
    pub(crate) revision: AtomicU64,
}

impl Until {
    pub(crate) fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
        self.revision.fetch_add(1, Ordering::SeqCst);
    }
}

impl Pins for Until {
    fn judge<'a>(
        &'a self,
        said: &'a [Arc<Definition>],
        _: Process,
    ) -> BoxFuture<'a, Result<Vec<Standing>, PinsUnknown>> {
        let standing = if self.held.load(Ordering::SeqCst) { Standing::Changed } else { Standing::Agreed };
        Box::pin(async move { Ok(vec![standing; said.len()]) })
    }

    fn revision(&self) -> u64 {
        self.revision.load(Ordering::SeqCst)
    }
}
