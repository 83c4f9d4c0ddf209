//! What a server says by another way than the answer to a call of a tool is held to the same as that answer.

use std::sync::{Arc, Mutex};

use gigmcp_mcp::{
    Aggregator, AggregatorBuilder, BoxFuture, Call, CallObserver, CallRecord, CallVerdict, ClientContext, ClientId,
    Event, FlowLabels, FlowPolicy, Outcome, ServerPolicy, Sink, Upstream, Verdict,
};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;

use crate::{
    played::{Reply, Stage, result},
    seam::{Client, question, raw},
};

pub(crate) const TASKS: &str = "io.modelcontextprotocol/tasks";

pub(crate) const ODD: &str = "com.example/odd";

/// A server of the newer era that makes a task of every call of `do`; what it tells of the task is the argument `told`.
pub(crate) fn server() -> Stage {
    let capabilities = json!({
        "tools": {}, "prompts": {}, "resources": {}, "completions": {}, "logging": {}, "extensions": { TASKS: {}, ODD: {} },
    });
    let told = Mutex::new(json!({}));
    Stage::modern(&format!(r#""capabilities":{capabilities}"#), move |method, params| {
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        match method {
            "tools/list" => result(
                r#"{"tools":[{"name":"do","inputSchema":{"type":"object"},"outputSchema":{"type":"object","required":["n"]}},{"name":"plain","inputSchema":{"type":"object"}}]}"#,
            ),
            "prompts/list" => result(r#"{"prompts":[{"name":"ok"}]}"#),
            "resources/list" => result(r#"{"resources":[{"uri":"doc:1","name":"d","description":"Held."}]}"#),
            "resources/templates/list" => result(
                r#"{"resourceTemplates":[{"uriTemplate":"held:{x}","name":"h"},{"uriTemplate":"free:{x}","name":"f"}]}"#,
            ),
            "tools/call" if params["name"] == "plain" => result(r#"{"content":[]}"#),
            "tools/call" => {
                *told.lock().unwrap() = params["arguments"]["told"].clone();
                result(r#"{"resultType":"task","taskId":"1","status":"working","ttlMs":60000}"#)
            }
            "tasks/get" => {
                let mut told = told.lock().unwrap().clone();
                (told["resultType"], told["taskId"]) = (json!("complete"), json!("1"));
                result(told.to_string())
            }
            "tasks/update" | "tasks/cancel" | "com.example/odd/do" => result(r#"{"resultType":"complete"}"#),
            "prompts/get" => result(r#"{"messages":[]}"#),
            "resources/read" => result(r#"{"contents":[]}"#),
            "completion/complete" => result(r#"{"completion":{"values":["v"]}}"#),
            _ => Reply::Never,
        }
    })
}

pub(crate) fn policy(change: impl FnOnce(&mut ServerPolicy)) -> ServerPolicy {
    let mut policy = ServerPolicy::default();
    change(&mut policy);
    policy
}

pub(crate) async fn built(builder: AggregatorBuilder) -> Arc<Aggregator> {
    let aggregator = Arc::new(builder.build().unwrap());
    aggregator.tools().await;
    aggregator
}

pub(crate) async fn one(stage: &Stage, change: impl FnOnce(&mut ServerPolicy)) -> Arc<Aggregator> {
    built(Aggregator::builder().backends([stage.backend("srv").with_policy(policy(change))])).await
}

fn context(owner: &str, capabilities: &Value) -> Arc<ClientContext> {
    let mut declared = capabilities.clone();
    declared["extensions"] = json!({ TASKS: {}, ODD: {} });
    let mut context = ClientContext::new(raw(&declared.to_string()));
    context.owner = Some(owner.into());
    Arc::new(context)
}

/// What this owner gets, who can be asked everything.
pub(crate) async fn ask(aggregator: &Aggregator, owner: &str, method: &str, params: Value) -> Value {
    let all = json!({ "elicitation": {}, "sampling": {}, "roots": {} });
    asking(aggregator, (owner, &all), (method, params), None).await
}

pub(crate) async fn asking(
    aggregator: &Aggregator,
    (owner, capabilities): (&str, &Value),
    (method, params): (&str, Value),
    sink: Option<Arc<dyn Sink>>,
) -> Value {
    let mut call = Call::new(method, Some(raw(&params.to_string())));
    (call.context, call.sink) = (Some(context(owner, capabilities)), sink);
    match aggregator.call(call).await {
        Outcome::Complete(json) | Outcome::Task(json) => serde_json::from_str(json.get()).unwrap(),
        Outcome::Error(error) => json!({ "error": serde_json::from_str::<Value>(error.get()).unwrap() }),
        other => panic!("{other:?}"),
    }
}

/// The id of a task of which the server will tell this.
pub(crate) async fn task(aggregator: &Aggregator, owner: &str, told: &Value) -> String {
    let call = json!({ "name": "srv_do", "arguments": { "told": told } });
    loop {
        let made = ask(aggregator, owner, "tools/call", call.clone()).await;
        // One that was just stopped is started again by the next call.
        if made["error"]["data"]["code"] != "server-exited" {
            return made["taskId"].as_str().unwrap_or_else(|| panic!("a task: {made}")).to_owned();
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) fn needs(requests: &Value) -> Value {
    json!({ "status": "input_required", "inputRequests": requests })
}

pub(crate) fn samplings(count: usize) -> Value {
    (0..count).map(|n| (n.to_string(), json!({ "method": "sampling/createMessage", "params": { "n": n } }))).collect()
}

pub(crate) async fn listen(aggregator: &Aggregator, stage: &mut Stage, owner: &str, id: &str) -> ClientId {
    let client = ClientId::new();
    let mut call = Call::new("tasks/subscribe", Some(raw(&json!({ "taskId": id }).to_string())));
    call.context = Some(context(owner, &json!({})));
    call.client = Some(client);
    assert!(matches!(aggregator.call(call).await, Outcome::Complete(_)));
    stage.heard(&["subscriptions/listen"]).await;
    client
}

pub(crate) async fn next(events: &mut Receiver<Event>) -> Value {
    loop {
        let event = events.recv().await.unwrap();
        if &*event.method == "notifications/tasks" {
            return serde_json::from_str(event.params.as_deref().unwrap().get()).unwrap();
        }
    }
}

#[tokio::test]
async fn whatever_reads_or_sends_counts_for_its_owner_and_nobody_else() {
    let labels = |reads, can_send| FlowLabels { reads_untrusted: reads, reads_private: reads, can_send };
    let reading = json!({ "uri": "free:1" });
    for (method, params) in [
        ("prompts/get", json!({ "name": "sends_ok" })),
        ("com.example/odd/do", json!({})),
        ("tools/call", json!({ "name": "sends_plain" })),
        ("completion/complete", json!({ "ref": { "type": "ref/prompt", "name": "sends_ok" }, "argument": {} })),
    ] {
        let (reads, sends) = (server_without_extension(), server());
        let backend = |stage: &Stage, name, labels| stage.backend(name).with_policy(policy(|it| it.labels = labels));
        let backends = [backend(&reads, "reads", labels(true, false)), backend(&sends, "sends", labels(false, true))];
        let aggregator = built(Aggregator::builder().backends(backends).flow(FlowPolicy::Ask)).await;
        let is_refused = |got: &Value| got["error"]["data"]["code"] == "flow-needs-consent";
        let got = ask(&aggregator, "one", method, params.clone()).await;
        assert!(!is_refused(&got), "twin: nothing was read yet: {method}: {got}");
        let got = ask(&aggregator, "one", "resources/read", reading.clone()).await;
        assert!(got["contents"].is_array(), "{got}");
        let got = ask(&aggregator, "one", method, params.clone()).await;
        assert!(is_refused(&got), "{method}: {got}");
        let got = ask(&aggregator, "two", method, params.clone()).await;
        assert!(!is_refused(&got), "twin: another has read nothing: {method}: {got}");
    }
}

/// One that is the only one with resources.
fn server_without_extension() -> Stage {
    Stage::new(r#""capabilities":{"tools":{},"resources":{}}"#, |method, _| match method {
        "tools/list" => result(r#"{"tools":[]}"#),
        "resources/list" => result(r#"{"resources":[{"uri":"free:1","name":"f"}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "resources/read" => result(r#"{"contents":[]}"#),
        _ => Reply::Never,
    })
}

#[tokio::test]
async fn the_consent_of_one_owner_is_no_others_and_calls_are_counted_for_each() {
    let stage = server();
    let all = FlowLabels { reads_untrusted: true, reads_private: true, can_send: true };
    let policy = policy(|policy| {
        policy.labels = all;
        policy.rate.calls_per_minute_and_client = Some(2);
    });
    let backends = [stage.backend("srv").with_policy(policy)];
    let aggregator = built(Aggregator::builder().backends(backends).flow(FlowPolicy::Ask)).await;
    let asked = json!({ "elicitation": {} });
    let call = ("tools/call", json!({ "name": "srv_plain" }));
    let (sink, mut reached) = Client::connect();
    let agreeing = async {
        question(&mut reached).await.1.send(Verdict::Result(raw(r#"{"action":"accept"}"#))).unwrap();
    };
    let (got, ()) = tokio::join!(asking(&aggregator, ("one", &asked), call.clone(), Some(sink)), agreeing);
    assert!(got["content"].is_array(), "{got}");
    let got = ask(&aggregator, "one", call.0, call.1.clone()).await;
    assert!(got["content"].is_array(), "twin: it has agreed: {got}");
    let got = ask(&aggregator, "two", call.0, call.1.clone()).await;
    assert_eq!(got["error"]["data"]["code"], "flow-needs-consent", "{got}");
    let got = ask(&aggregator, "one", call.0, call.1.clone()).await;
    assert_eq!(got["error"]["data"]["code"], "rate-limited", "the third in a minute: {got}");
    let got = ask(&aggregator, "two", call.0, call.1.clone()).await;
    assert_eq!(got["error"]["data"]["code"], "flow-needs-consent", "twin: another's second: {got}");
}

/// Keeps what is told.
#[derive(Default)]
pub(crate) struct Notes(pub(crate) Mutex<Vec<CallRecord>>);

impl CallObserver for Notes {
    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()> {
        self.0.lock().unwrap().push(record.clone());
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn what_is_done_to_a_task_how_it_ends_and_methods_of_extensions_are_taken_note_of() {
    let stage = server();
    let notes = Arc::new(Notes::default());
    let builder = Aggregator::builder().backends([stage.backend("srv")]).observed_by(notes.clone());
    let aggregator = built(builder).await;
    let failed = json!({ "status": "completed", "result": { "content": [], "isError": true } });
    let id = task(&aggregator, "one", &failed).await;
    let of_task = json!({ "taskId": id, "inputResponses": {} });
    for method in ["tasks/update", "tasks/get", "tasks/get", "tasks/cancel"] {
        ask(&aggregator, "one", method, of_task.clone()).await;
    }
    ask(&aggregator, "one", "com.example/odd/do", json!({ "x": 1 })).await;
    task(&aggregator, "one", &json!({})).await;
    drop(aggregator);
    while notes.0.lock().unwrap().len() < 7 {
        tokio::task::yield_now().await;
    }
    let records = notes.0.lock().unwrap();
    let told: Vec<_> = records.iter().map(|it| (&*it.method, &*it.exposed, it.tool.as_deref(), &it.verdict)).collect();
    let (ok, tool) = (&CallVerdict::Ok, Some("do"));
    assert_eq!(
        told,
        [
            ("tools/call", "srv_do", tool, ok),
            ("tasks/update", "srv_do", tool, ok),
            ("tasks/end", "srv_do", tool, &CallVerdict::ToolError),
            ("tasks/cancel", "srv_do", tool, ok),
            ("com.example/odd/do", "", None, ok),
            ("tools/call", "srv_do", tool, ok),
            ("tasks/end", "srv_do", tool, &CallVerdict::Abandoned),
        ]
    );
    let (first, second) = (Some(records[0].id), Some(records[5].id));
    let origins: Vec<_> = records.iter().map(|record| record.origin).collect();
    assert_eq!(origins, [None, first, first, first, None, None, second]);
    assert!(records.iter().all(|record| record.server.is_some()));
}
