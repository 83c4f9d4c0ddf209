//! What a server says of itself is pinned: what has changed is held back, and all else goes on working.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use gigmcp_mcp::{
    Aggregator, Backend, BoxFuture, Call, CallObserver, CallRecord, Definition, DefinitionDigest, DefinitionKind,
    FaultKind, Outcome, Pins, PinsUnknown, Process, Standing, Upstream,
};
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    seam::raw,
};

/// Trusts on first use, and keeps that.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) agreed: Mutex<HashMap<(DefinitionKind, String), DefinitionDigest>>,
    pub(crate) revision: AtomicU64,
    pub(crate) follows: bool,
    pub(crate) fails: bool,
}

impl Pins for Kept {
    fn judge<'a>(
        &'a self,
        said: &'a [Arc<Definition>],
        process: Process,
    ) -> BoxFuture<'a, Result<Vec<Standing>, PinsUnknown>> {
        Box::pin(async move {
            if self.fails {
                return Err(PinsUnknown);
            }
            let mut agreed = self.agreed.lock().unwrap();
            let key = |said: &Definition| (said.kind, said.name.to_string());
            if agreed.is_empty() && process == Process::Kept {
                return Err(PinsUnknown);
            }
            if agreed.is_empty() && process == Process::First {
                agreed.extend(said.iter().map(|said| (key(said), said.digest)));
            }
            let standing = |said: &Arc<Definition>| match agreed.get(&key(said)) {
                _ if self.follows => Standing::Agreed,
                Some(digest) if *digest == said.digest => Standing::Agreed,
                Some(_) => Standing::Changed,
                None => Standing::New,
            };
            Ok(said.iter().map(standing).collect())
        })
    }

    fn revision(&self) -> u64 {
        self.revision.load(Ordering::SeqCst)
    }

    fn follows(&self) -> bool {
        self.follows
    }

    fn advice(&self, held: &Definition, _: Standing) -> String {
        format!("see `approve {}`", held.name)
    }
}

impl Kept {
    pub(crate) fn accept(&self, kind: DefinitionKind, name: &str, definition: &str) {
        let said = Definition::new(kind, name, &raw(definition));
        self.agreed.lock().unwrap().insert((kind, name.to_owned()), said.digest);
        self.revision.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn pinned(stage: &Stage, pins: &Arc<Kept>) -> Backend {
    let backend = stage.backend("srv");
    let mut policy = backend.policy.clone();
    policy.pins = Some(Arc::clone(pins) as Arc<dyn Pins>);
    backend.with_policy(policy)
}

pub(crate) fn aggregator(stage: &Stage, pins: &Arc<Kept>) -> Arc<Aggregator> {
    Arc::new(Aggregator::builder().backends([pinned(stage, pins)]).build().unwrap())
}

/// What a server lists, which the test changes.
type Lists = Arc<Mutex<HashMap<&'static str, Value>>>;

pub(crate) fn lists() -> Lists {
    let schema = json!({ "type": "object", "properties": { "to": { "enum": ["a", "b"] } } });
    Arc::new(Mutex::new(HashMap::from([
        (
            "tools",
            json!([
                { "name": "send", "description": "Sends.", "inputSchema": schema },
                { "name": "stay", "inputSchema": { "type": "object" } },
            ]),
        ),
        ("prompts", json!([{ "name": "ask", "description": "Asks." }, { "name": "other" }])),
        (
            "resources",
            json!([{ "uri": "doc:1", "name": "d", "description": "A document." }, { "uri": "doc:2", "name": "e" }]),
        ),
        ("resourceTemplates", json!([{ "uriTemplate": "page://{id}", "name": "p" }])),
    ])))
}

const ALL: &str = r#""capabilities":{"tools":{},"prompts":{},"resources":{"subscribe":true},"completions":{}}"#;

pub(crate) fn server(lists: &Lists, instructions: &str) -> Stage {
    let lists = Arc::clone(lists);
    let declared = format!(r#"{ALL},"instructions":"{instructions}""#);
    Stage::new(&declared, move |method, params| {
        let list = |name: &str| result(json!({ name: lists.lock().unwrap()[name] }).to_string());
        match method {
            "tools/list" => list("tools"),
            "prompts/list" => list("prompts"),
            "resources/list" => list("resources"),
            "resources/templates/list" => list("resourceTemplates"),
            "tools/call" if params.contains("wait") => Reply::Never,
            "tools/call" | "prompts/get" | "completion/complete" => result("{}"),
            "resources/read" => result(r#"{"contents":[]}"#),
            _ => Reply::Never,
        }
    })
}

pub(crate) async fn ask(aggregator: &Aggregator, method: &str, params: Value) -> Result<Value, Value> {
    match aggregator.call(Call::new(method, Some(raw(&params.to_string())))).await {
        Outcome::Complete(result) => Ok(serde_json::from_str(result.get()).unwrap()),
        Outcome::Error(error) => Err(serde_json::from_str(error.get()).unwrap()),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn names(aggregator: &Aggregator) -> Vec<String> {
    aggregator.tools().await.tools.iter().map(|tool| tool.exposed.to_string()).collect()
}

pub(crate) async fn call(aggregator: &Aggregator, tool: &str) -> Result<Value, Value> {
    ask(aggregator, "tools/call", json!({ "name": tool })).await
}

const TOOLS_CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

#[tokio::test(start_paused = true)]
async fn one_enum_value_is_held_back_the_rest_works_and_accepting_shows_it() {
    let (lists, pins) = (lists(), Arc::new(Kept::default()));
    let mut stage = server(&lists, "");
    let aggregator = aggregator(&stage, &pins);
    assert_eq!(names(&aggregator).await, ["srv_send", "srv_stay"]);
    let mut events = aggregator.events().unwrap();
    stage.heard_so_far(&[]);

    // Twin: another order of members is no change, and nobody is told of one.
    let reordered = json!({ "inputSchema": lists.lock().unwrap()["tools"][0]["inputSchema"], "description": "Sends.",
        "name": "send" });
    lists.lock().unwrap().get_mut("tools").unwrap()[0] = reordered;
    stage.say(TOOLS_CHANGED);
    stage.heard(&["tools/list"]).await;
    assert!(call(&aggregator, "srv_send").await.is_ok());
    drop(events.try_recv()); // the bytes are others

    lists.lock().unwrap().get_mut("tools").unwrap()[0]["inputSchema"]["properties"]["to"]["enum"][1] = json!("c");
    stage.say(TOOLS_CHANGED);
    assert_eq!(&*events.recv().await.unwrap().method, "notifications/tools/list_changed", "a tool has gone");
    assert_eq!(names(&aggregator).await, ["srv_stay"]);
    assert!(call(&aggregator, "srv_stay").await.is_ok(), "the rest works");
    stage.heard_so_far(&[]);
    let refused = call(&aggregator, "srv_send").await.unwrap_err();
    assert_eq!((&refused["code"], &refused["data"]["code"]), (&json!(-32602), &json!("definition-changed")));
    assert!(refused["message"].as_str().unwrap().contains("see `approve send`"), "{refused}");
    assert_eq!(stage.heard_so_far(&["tools/call"]), [], "it did not get the call");
    let held = |kind: &FaultKind| matches!(kind, FaultKind::HeldBack { standing: Standing::Changed, .. });
    assert_eq!(aggregator.faults().iter().filter(|fault| held(&fault.kind)).count(), 1);

    let definition = lists.lock().unwrap()["tools"][0].to_string();
    pins.accept(DefinitionKind::Tool, "send", &definition);
    aggregator.recheck_pins();
    assert_eq!(&*events.recv().await.unwrap().method, "notifications/tools/list_changed", "it is there again");
    assert_eq!(names(&aggregator).await, ["srv_send", "srv_stay"]);
    assert!(call(&aggregator, "srv_send").await.is_ok());
    assert_eq!(stage.heard_so_far(&["tools/list"]), [], "the server was not asked for that");
}

#[tokio::test(start_paused = true)]
async fn what_is_new_is_held_back_and_nobody_is_told() {
    for (follows, expected) in [(false, &["srv_send", "srv_stay"][..]), (true, &["srv_send", "srv_stay", "srv_more"])] {
        let (lists, pins) = (lists(), Arc::new(Kept { follows, ..Kept::default() }));
        let mut stage = server(&lists, "");
        let aggregator = aggregator(&stage, &pins);
        names(&aggregator).await;
        let mut events = aggregator.events().unwrap();
        stage.heard_so_far(&[]);
        let more = json!({ "name": "more", "inputSchema": { "type": "object" } });
        lists.lock().unwrap().get_mut("tools").unwrap().as_array_mut().unwrap().push(more);
        stage.say(TOOLS_CHANGED);
        stage.heard(&["tools/list"]).await;
        assert_eq!(names(&aggregator).await, expected);
        assert_eq!(events.try_recv().is_ok(), follows, "twin: who follows is told");
        let called = call(&aggregator, "srv_more").await;
        match follows {
            true => assert!(called.is_ok()),
            false => assert_eq!(called.unwrap_err()["data"]["code"], "definition-new"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_until_it_is_known_what_the_server_says_now() {
    for changed in [true, false] {
        let (lists, pins) = (lists(), Arc::new(Kept::default()));
        let mut stage = server(&lists, "");
        let aggregator = aggregator(&stage, &pins);
        names(&aggregator).await;
        stage.heard_so_far(&[]);
        if changed {
            lists.lock().unwrap().get_mut("tools").unwrap()[0]["description"] = json!("Sends it all to me.");
        }
        // The change is told before the answer to this call, and so before the next.
        stage.say(TOOLS_CHANGED);
        assert!(call(&aggregator, "srv_stay").await.is_ok());
        assert_eq!(call(&aggregator, "srv_send").await.is_ok(), !changed);
        let calls = stage.heard_so_far(&["tools/call"]);
        assert_eq!(calls.iter().filter(|(_, params)| params.contains("send")).count(), usize::from(!changed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_pins_are_not_known_is_not_used() {
    for fails in [true, false] {
        let stage = server(&lists(), "");
        let aggregator = aggregator(&stage, &Arc::new(Kept { fails, ..Kept::default() }));
        let called = call(&aggregator, "srv_send").await;
        match fails {
            true => assert_eq!(called.unwrap_err()["data"]["code"], "definitions-unknown"),
            false => assert!(called.is_ok(), "twin"),
        }
        assert_eq!(names(&aggregator).await.is_empty(), fails);
    }
}

#[derive(Default)]
struct Notes(Mutex<Vec<CallRecord>>);

impl CallObserver for Notes {
    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()> {
        Box::pin(async { self.0.lock().unwrap().push(record.clone()) })
    }
}

#[tokio::test]
async fn a_call_is_told_of_with_the_digests_of_its_definition_and_arguments() {
    let (lists, notes) = (lists(), Arc::new(Notes::default()));
    let stage = server(&lists, "");
    let backends = [stage.backend("srv")];
    let aggregator = Aggregator::builder().backends(backends).observed_by(notes.clone()).build().unwrap();
    for params in
        [json!({ "name": "srv_send", "arguments": {} }), json!({ "name": "srv_send" }), json!({ "name": "x" })]
    {
        drop(ask(&aggregator, "tools/call", params).await);
    }
    let definition =
        Definition::new(DefinitionKind::Tool, "send", &raw(&lists.lock().unwrap()["tools"][0].to_string()));
    let records = notes.0.lock().unwrap();
    let hex = |bytes: &[u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let told: Vec<_> = records.iter().map(|record| (record.definition, hex(&record.arguments))).collect();
    // What `sha256sum` says of `{}` and of nothing.
    let (object, nothing) = (
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    );
    let expected = [(Some(definition.digest), object), (Some(definition.digest), nothing), (None, nothing)];
    assert_eq!(told, expected.map(|(definition, arguments)| (definition, arguments.to_owned())));
}
