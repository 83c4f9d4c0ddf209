//! `search_tools` over 10,000 tools, beside looking for the same words in every definition.

use std::{sync::Arc, time::Instant};

use gigmcp_mcp::{Aggregator, BoxFuture, Call, Launch, LaunchError, Outcome, ToolMode, Upstream};
use serde_json::{Value, json, value::RawValue};

use crate::{
    Failure,
    figures::{Figures, compare},
};

const SERVERS: usize = 4;
const TOOLS: usize = 2_500;
const SEARCHES: usize = 1_000;
const QUERIES: [&str; 4] =
    ["list open issues", "create a calendar event", "delete file from the archive", "send message"];

/// A server in this process that lists many tools.
struct Many(Box<RawValue>);

struct Known(Arc<Many>);

impl Launch for Known {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        let server = Arc::clone(&self.0);
        Box::pin(async move { Ok(server as Arc<dyn Upstream>) })
    }
}

impl Upstream for Many {
    fn call<'a>(&'a self, _: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async { Outcome::Complete(self.0.clone()) })
    }
}

pub(crate) async fn run() -> Result<(), Failure> {
    let mut builder = Aggregator::builder().tool_mode(ToolMode::Meta);
    for server in 0..SERVERS {
        let many = Many(serde_json::value::to_raw_value(&json!({ "tools": definitions(server) }))?);
        builder = builder.server(format!("server-{server}").parse()?, Arc::new(Known(Arc::new(many))));
    }
    let aggregator = builder.build()?;
    let clock = Instant::now();
    let listed = aggregator.tools().await.tools;
    search(&aggregator, QUERIES[0]).await?;
    println!("{} tools read and indexed in {:.1?}\n", listed.len(), clock.elapsed());
    let (mut ours, mut bare) = (Figures::default(), Figures::default());
    for round in 0..SEARCHES {
        let query = QUERIES[round % QUERIES.len()];
        let clock = Instant::now();
        search(&aggregator, query).await?;
        ours.add(clock.elapsed());
        let clock = Instant::now();
        let words: Vec<&str> = query.split(' ').collect();
        let score = |text: &str| words.iter().filter(|word| text.contains(**word)).count();
        let best = listed.iter().max_by_key(|tool| score(tool.definition.get()));
        std::hint::black_box(best);
        bare.add(clock.elapsed());
    }
    compare("search_tools over 10,000 tools", &ours, "scan", &bare);
    Ok(())
}

async fn search(aggregator: &Aggregator, query: &str) -> Result<(), Failure> {
    let params = json!({ "name": "search_tools", "arguments": { "query": query } });
    match aggregator.call_tool(Some(&serde_json::value::to_raw_value(&params)?)).await {
        Outcome::Complete(_) => Ok(()),
        other => Err(format!("no answer: {other:?}").into()),
    }
}

/// Tools as they are: names of two or three words, a sentence or two, some parameters.
fn definitions(server: usize) -> Vec<Value> {
    const VERBS: [&str; 10] =
        ["list", "get", "create", "update", "delete", "search", "send", "move", "archive", "export"];
    const THINGS: [&str; 25] = [
        "issue", "event", "file", "message", "calendar", "contact", "invoice", "project", "task", "comment", "user",
        "team", "label", "branch", "commit", "release", "page", "record", "table", "channel", "order", "product",
        "payment", "report", "token",
    ];
    let tool = |at: usize| {
        let (verb, thing) = (VERBS[at % VERBS.len()], THINGS[at / VERBS.len() % THINGS.len()]);
        let of = THINGS[(at / (VERBS.len() * THINGS.len()) + server) % THINGS.len()];
        json!({
            "name": format!("{verb}_{thing}_of_{of}_{at}"),
            "description": format!("{verb} the open {thing}s of a {of}, with all that belongs to them. Needs the id of the {of}."),
            "inputSchema": { "type": "object", "properties": {
                format!("{of}_id"): { "type": "string", "description": format!("Which {of}") },
                "limit": { "type": "integer", "minimum": 1, "maximum": 100 },
            } },
        })
    };
    (0..TOOLS).map(tool).collect()
}
