//! What is held back, where no process of the server runs.

use std::sync::{Arc, Mutex};

use gigmcp_mcp::{Aggregator, BoxFuture, CatalogueStore, DefinitionKind, FaultKind, Known, ToolMode, Upstream};
use serde_json::json;

use crate::{
    pins::{Kept, aggregator, ask, call, lists, names, pinned, server},
    played::Stage,
};

/// Keeps what is known as text, as a database does.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<Option<String>>);

impl CatalogueStore for Shelf {
    fn load<'a>(&'a self) -> BoxFuture<'a, Option<Known>> {
        Box::pin(async { self.0.lock().unwrap().as_deref().map(|text| Known::from_json(text).unwrap()) })
    }

    fn keep(&self, known: Known) {
        *self.0.lock().unwrap() = Some(known.to_json());
    }
}

/// An aggregator as it is after a restart: with what was kept, and its server does not run yet.
fn cold(stage: &Stage, pins: &Arc<Kept>, shelf: &Arc<Shelf>, mode: ToolMode) -> Arc<Aggregator> {
    let backend = pinned(stage, pins).with_store(Arc::clone(shelf) as Arc<dyn CatalogueStore>);
    Arc::new(Aggregator::builder().backends([backend]).tool_mode(mode).build().unwrap())
}

/// Everything that a client can be told of without a process, as one text.
async fn told(aggregator: &Aggregator) -> String {
    let mut all = aggregator.describe().await.instructions.unwrap_or_default();
    for (method, params) in [
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("tools/call", json!({ "name": "search_tools", "arguments": { "query": "send stay" } })),
        ("tools/call", json!({ "name": "search_tools", "arguments": { "query": "srv_send" } })),
        ("tools/call", json!({ "name": "call_tool", "arguments": { "name": "srv_sen", "arguments": {} } })),
    ] {
        // In a mode without them, there are no such tools.
        let answer = ask(aggregator, method, params).await.unwrap_or_else(|error| error["data"].clone());
        all += &answer.to_string();
    }
    all
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_is_in_no_answer_without_a_process_either() {
    for (mode, changes) in
        [(ToolMode::Direct, true), (ToolMode::Direct, false), (ToolMode::Meta, true), (ToolMode::Meta, false)]
    {
        let (lists, pins, shelf) = (lists(), Arc::new(Kept::default()), Arc::<Shelf>::default());
        assert_eq!(names(&aggregator(&server(&lists, "Be kind."), &pins)).await.len(), 2);
        if changes {
            let mut lists = lists.lock().unwrap();
            lists.get_mut("tools").unwrap()[0]["description"] = json!("Sends. Poison.");
            lists.get_mut("prompts").unwrap()[0]["description"] = json!("Poison.");
            lists.get_mut("resources").unwrap()[0]["description"] = json!("Poison.");
            lists.get_mut("resourceTemplates").unwrap()[0]["title"] = json!("Poison.");
        }
        let instructions = if changes { "Poison." } else { "Be kind." };
        let running = cold(&server(&lists, instructions), &pins, &shelf, mode);
        let shown = told(&running).await;
        assert_eq!(shelf.0.lock().unwrap().as_deref().unwrap().contains("Poison"), changes, "what was said is kept");
        drop(running);

        let mut stage = server(&lists, instructions);
        let aggregator = cold(&stage, &pins, &shelf, mode);
        assert_eq!(told(&aggregator).await, shown, "as it was told while it ran");
        assert!(!shown.contains("Poison") && shown.contains("srv_stay"));
        assert_eq!(
            (shown.contains("srv_send"), shown.contains("doc:1"), shown.contains("page:")),
            (!changes, !changes, !changes)
        );
        let report = aggregator.token_report().await;
        assert_eq!(report.servers[0].tools, if changes { 1 } else { 2 });
        let held = aggregator.faults().iter().filter(|fault| matches!(fault.kind, FaultKind::HeldBack { .. })).count();
        assert_eq!(held, if changes { 5 } else { 0 });
        let complete =
            json!({ "ref": { "type": "ref/prompt", "name": "srv_none" }, "argument": { "name": "x", "value": "" } });
        assert!(ask(&aggregator, "completion/complete", complete).await.is_err());
        assert_eq!(stage.heard_so_far(&["initialize"]), [], "no process for any of that");

        let mut events = aggregator.events().unwrap();
        if changes {
            let definition = lists.lock().unwrap()["tools"][0].to_string();
            pins.accept(DefinitionKind::Tool, "send", &definition);
            aggregator.recheck_pins();
            assert_eq!(&*events.recv().await.unwrap().method, "notifications/tools/list_changed");
            assert_eq!(names(&aggregator).await, ["srv_send", "srv_stay"], "what was accepted is shown");
            assert_eq!(stage.heard_so_far(&["initialize"]), [], "without a process");
            pins.accept(DefinitionKind::Tool, "send", "{}");
            assert_eq!(names(&aggregator).await, ["srv_stay"], "and held back again, unasked");
            assert_eq!(stage.heard_so_far(&["initialize"]), []);
        }
        // Whoever calls it all the same starts the server, which may say what was agreed to again.
        let through = json!({ "name": "call_tool", "arguments": { "name": "srv_send", "arguments": {} } });
        let described = json!({ "name": "describe_tools", "arguments": { "names": ["srv_send"] } });
        let answers = match mode {
            ToolMode::Meta => vec![call(&aggregator, "srv_send").await, ask(&aggregator, "tools/call", through).await],
            _ => vec![call(&aggregator, "srv_send").await],
        };
        for answer in answers {
            match changes {
                true => assert_eq!(answer.unwrap_err()["data"]["code"], "definition-changed"),
                false => assert!(answer.is_ok(), "twin: {answer:?}"),
            }
        }
        if let ToolMode::Meta = mode {
            let described = ask(&aggregator, "tools/call", described).await.unwrap().to_string();
            assert!(!described.contains("Poison") && described.contains("Sends.") != changes, "{described}");
        }
        assert_eq!(stage.heard_so_far(&["tools/call"]).is_empty(), changes);
        for (method, params) in [
            ("resources/read", json!({ "uri": "doc:1" })),
            ("resources/read", json!({ "uri": "page://7" })),
            ("prompts/get", json!({ "name": "srv_ask" })),
        ] {
            assert_eq!(ask(&aggregator, method, params).await.is_err(), changes, "{method}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_is_never_the_first_that_is_pinned() {
    let (lists, shelf) = (lists(), Arc::<Shelf>::default());
    let direct = ToolMode::Direct;
    names(&cold(&server(&lists, ""), &Arc::new(Kept::default()), &shelf, direct)).await;
    for agreed in [false, true] {
        let (mut stage, pins) = (server(&lists, ""), Arc::new(Kept::default()));
        if agreed {
            names(&aggregator(&server(&lists, ""), &pins)).await;
        }
        assert_eq!(names(&cold(&stage, &pins, &shelf, direct)).await, ["srv_send", "srv_stay"]);
        assert_eq!(
            stage.heard_so_far(&["initialize"]).len(),
            usize::from(!agreed),
            "a process says it, or it is known"
        );
    }
}
