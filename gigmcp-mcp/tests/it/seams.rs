//! What a server says by another way than the answer to a call of a tool is held to the same as that answer.

use std::sync::{Arc, Mutex};

use gigmcp_mcp::{
    Aggregator, AggregatorBuilder, BoxFuture, Call, CallObserver, CallRecord, CallVerdict, ClientContext, ClientId,
    Definition, DefinitionKind, Event, FlowLabels, FlowPolicy, Misfit, Outcome, Pins, PinsUnknown, Process,
    ServerPolicy, Sink, Standing, StreamableHttpLimits, Upstream, Verdict,
};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;

use crate::{
    played::{Reply, Stage, result},
    seam::{Client, question, raw},
    serving::Endpoint,
};

pub(crate) const TASKS: &str = "io.modelcontextprotocol/tasks";
const ODD: &str = "com.example/odd";

/// A server of the newer era that makes a task of every call of `do`; what it tells of the task is the argument `told`.
fn server() -> Stage {
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
async fn task(aggregator: &Aggregator, owner: &str, told: &Value) -> String {
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

fn form(field: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { field: { "type": "string" } } });
    json!({ "method": "elicitation/create", "params": { "message": "?", "requestedSchema": schema } })
}

pub(crate) fn samplings(count: usize) -> Value {
    (0..count).map(|n| (n.to_string(), json!({ "method": "sampling/createMessage", "params": { "n": n } }))).collect()
}

#[tokio::test]
async fn the_questions_of_a_task_are_judged_like_those_of_a_call() {
    let all = json!({ "elicitation": {}, "sampling": {} });
    let some = json!({ "elicitation": {} });
    let dirty = json!({ "a\u{200b}": form("name") });
    for (case, declares, requests, refused) in [
        ("twin", &all, json!({ "k": form("name") }), None),
        ("a password", &all, json!({ "k": form("password") }), Some("cannot ask for a secret")),
        ("as many samplings as a call may ask for", &all, samplings(4), None),
        ("more", &all, samplings(5), Some("too many samplings")),
        ("one of our keys", &all, json!({ "gigmcp-flow-1": form("name") }), Some("one of ours")),
        ("a key that nobody sees", &all, dirty, Some("not to be seen")),
        ("twin: declared", &all, samplings(1), None),
        ("not declared", &some, samplings(1), Some("Missing required client capability")),
    ] {
        let stage = server();
        let aggregator = one(&stage, |_| {}).await;
        let id = task(&aggregator, "one", &needs(&requests)).await;
        let got = asking(&aggregator, ("one", declares), ("tasks/get", json!({ "taskId": id })), None).await;
        match refused {
            None => assert!(got["inputRequests"].is_object(), "{case}: {got}"),
            Some(reason) => {
                let text = got["error"]["message"].as_str().unwrap_or_else(|| panic!("{case}: {got}"));
                assert!(text.contains(reason), "{case}: {text}");
            }
        }
    }
    let stage = server();
    let aggregator = one(&stage, |_| {}).await;
    let context = json!({ "k": { "method": "sampling/createMessage", "params": { "includeContext": "allServers" } } });
    let id = task(&aggregator, "one", &needs(&context)).await;
    let got = ask(&aggregator, "one", "tasks/get", json!({ "taskId": id })).await;
    let params = &got["inputRequests"]["k"]["params"];
    assert!(params.get("includeContext").is_none() && params["_meta"]["gigmcp/server"] == "srv", "{got}");
}

#[tokio::test]
async fn a_task_asks_for_no_more_samplings_in_all_its_life_than_a_call_may() {
    let mut stage = server();
    let aggregator = one(&stage, |_| {}).await;
    let mut events = aggregator.events().unwrap();
    let id = task(&aggregator, "one", &needs(&samplings(3))).await;
    let get = json!({ "taskId": id });
    for _ in 0..3 {
        let got = ask(&aggregator, "one", "tasks/get", get.clone()).await;
        assert!(got["inputRequests"].is_object(), "twin: the same may be told again: {got}");
    }
    listen(&aggregator, &mut stage, "one", &id).await;
    let asks = |n: usize| json!({ format!("n{n}"): { "method": "sampling/createMessage", "params": {} } });
    for n in 0..2 {
        stage.say(notice(&needs(&asks(n))));
    }
    stage.say(notice(&json!({ "status": "working" })));
    assert!(next(&mut events).await["inputRequests"]["n0"].is_object(), "twin: the fourth");
    assert_eq!(next(&mut events).await["status"], "working", "the fifth is not told");
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

fn notice(told: &Value) -> String {
    let mut params = told.clone();
    params["taskId"] = json!("1");
    json!({ "jsonrpc": "2.0", "method": "notifications/tasks", "params": params }).to_string()
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
async fn what_is_told_of_a_task_without_being_asked_is_judged_too() {
    let mut stage = server();
    let aggregator = one(&stage, |policy| policy.structured_content = Misfit::Refused).await;
    let mut events = aggregator.events().unwrap();
    let id = task(&aggregator, "one", &json!({})).await;
    // Two streams of the same owner, to which the same is told once.
    listen(&aggregator, &mut stage, "one", &id).await;
    listen(&aggregator, &mut stage, "one", &id).await;
    stage.say(notice(&needs(&json!({ "k": form("password") }))));
    stage.say(notice(&needs(&json!({ "k": form("name") }))));
    let lie = json!({ "content": [], "structuredContent": { "m": 1 } });
    stage.say(notice(&json!({ "status": "completed", "result": lie })));
    let told = next(&mut events).await;
    assert_eq!(
        told["inputRequests"]["k"]["params"]["message"], "srv: ?",
        "twin, and nothing of the one before: {told}"
    );
    let told = next(&mut events).await;
    assert_eq!((&told["status"], &told["result"]["isError"]), (&json!("completed"), &json!(true)), "{told}");
}

#[tokio::test]
async fn sessions_hear_nothing_of_tasks_and_streams_nothing_that_their_client_cannot_be_asked() {
    let mut stage = server();
    let aggregator = one(&stage, |_| {}).await;
    let endpoint = Endpoint::serve(Arc::clone(&aggregator) as _, StreamableHttpLimits::default()).await;
    let session = endpoint.initialize("2025-11-25").await;
    let headers = [("mcp-session-id", &*session)];
    let mut older = endpoint.open(Method::GET, &headers, "").await;
    let id = task(&aggregator, "one", &json!({})).await;
    let mut streams = Vec::new();
    for capabilities in [json!({ "elicitation": {} }), json!({})] {
        let mut declared = capabilities.clone();
        declared["extensions"] = json!({ TASKS: {} });
        let body = json!({ "jsonrpc": "2.0", "id": "r", "method": "subscriptions/listen", "params": {
            "notifications": { "taskIds": [id] },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": declared,
            },
        } });
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
        let mut stream = endpoint.open(Method::POST, &headers, body.to_string()).await;
        assert!(stream.next().await.unwrap().contains("acknowledged"));
        stage.heard(&["subscriptions/listen"]).await;
        streams.push(stream);
    }
    stage.say(notice(&needs(&json!({ "k": form("name") }))));
    stage.say(notice(&json!({ "status": "working", "statusMessage": "private" })));
    stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"line"}}"#);
    let heard = older.next().await.unwrap();
    assert!(heard.contains("notifications/message") && heard.contains("line"), "the first it hears: {heard}");
    assert!(streams[0].next().await.unwrap().contains("inputRequests"), "twin: it can be asked");
    let heard = streams[1].next().await.unwrap();
    assert!(heard.contains("private") && !heard.contains("inputRequests"), "{heard}");
}

#[tokio::test]
async fn a_task_ends_with_its_process_whatever_the_next_one_calls_its_own() {
    let mut stage = server();
    let aggregator = one(&stage, |_| {}).await;
    let first = task(&aggregator, "one", &json!({ "status": "working" })).await;
    let got = ask(&aggregator, "one", "tasks/get", json!({ "taskId": first })).await;
    assert_eq!(got["status"], "working", "twin");
    listen(&aggregator, &mut stage, "one", &first).await;
    stage.stop();
    // The next process numbers its tasks anew.
    let second = task(&aggregator, "two", &json!({ "status": "completed", "result": { "content": [] } })).await;
    stage.heard_so_far(&[]);
    for method in ["tasks/get", "tasks/update", "tasks/cancel", "tasks/subscribe"] {
        let got = ask(&aggregator, "one", method, json!({ "taskId": first })).await;
        let text = got["error"]["message"].as_str().unwrap_or_default();
        assert!(text.contains("its server has ended"), "{method}: {got}");
    }
    assert_eq!(stage.heard_so_far(&["tasks/get", "tasks/update", "tasks/cancel", "subscriptions/listen"]), []);
    let mut events = aggregator.events().unwrap();
    stage.say(notice(&json!({ "status": "working", "statusMessage": "of two" })));
    listen(&aggregator, &mut stage, "two", &second).await;
    stage.say(notice(&json!({ "status": "completed" })));
    loop {
        let told = next(&mut events).await;
        assert_eq!(told["taskId"], json!(second), "nothing for the old id");
        if told["status"] == "completed" {
            break;
        }
    }
}

#[tokio::test]
async fn the_result_of_a_task_fits_what_the_tool_says_and_the_limits() {
    let stage = server();
    let change = |policy: &mut ServerPolicy| {
        policy.structured_content = Misfit::Refused;
        policy.limits.text_bytes = 10;
        policy.limits.result_bytes = 4_000;
    };
    let aggregator = one(&stage, change).await;
    for (case, inlined, expected) in [
        ("twin", json!({ "content": [], "structuredContent": { "n": 1 } }), "{\"n\":1}"),
        ("not what its schema says", json!({ "content": [], "structuredContent": { "m": 1 } }), "result-mismatch"),
        ("nothing", json!({ "content": [] }), "result-mismatch"),
        (
            "long text",
            json!({ "content": [{ "type": "text", "text": "x".repeat(20) }], "structuredContent": { "n": 1 } }),
            "10 bytes of text were left out",
        ),
        (
            "what cannot be cut",
            json!({ "content": [], "structuredContent": { "n": "x".repeat(5_000) } }),
            "server-answer-too-long",
        ),
    ] {
        let id = task(&aggregator, "one", &json!({ "status": "completed", "result": inlined })).await;
        let got = ask(&aggregator, "one", "tasks/get", json!({ "taskId": id })).await.to_string();
        assert!(got.contains(expected), "{case}: {got}");
    }
}

#[tokio::test]
async fn whoever_may_use_one_tool_may_not_read_what_its_task_points_at() {
    for only in [true, false] {
        let mut stage = server();
        let change = |policy: &mut ServerPolicy| policy.only = only.then(|| ["do".into()].into());
        let aggregator = one(&stage, change).await;
        let link = json!({ "content": [{ "type": "resource_link", "uri": "secret:1", "name": "s" }] });
        let id = task(&aggregator, "one", &json!({ "status": "completed", "result": link })).await;
        ask(&aggregator, "one", "tasks/get", json!({ "taskId": id })).await;
        let got = ask(&aggregator, "one", "resources/read", json!({ "uri": "secret:1" })).await;
        let heard = stage.heard_so_far(&["resources/read"]);
        assert_eq!((got["error"]["code"] == -32002, heard.is_empty()), (only, only), "{got}");
    }
}

/// Everything is agreed to but what is named here.
#[derive(Debug)]
pub(crate) struct But(pub(crate) &'static [(DefinitionKind, &'static str)]);

impl Pins for But {
    fn judge<'a>(
        &'a self,
        said: &'a [Arc<Definition>],
        _: Process,
    ) -> BoxFuture<'a, Result<Vec<Standing>, PinsUnknown>> {
        let held = |said: &Arc<Definition>| self.0.contains(&(said.kind, &*said.name));
        let standing = move |said| if held(said) { Standing::Changed } else { Standing::Agreed };
        Box::pin(async move { Ok(said.iter().map(standing).collect()) })
    }
}

#[tokio::test]
async fn what_is_held_back_is_not_completed_under_another_type() {
    let mut stage = server();
    let pins = But(&[(DefinitionKind::Template, "held:{x}")]);
    let aggregator = one(&stage, |policy| policy.pins = Some(Arc::new(pins))).await;
    let mut complete = async |reference: Value| {
        let argument = json!({ "name": "x", "value": "" });
        let params = json!({ "ref": reference, "argument": argument });
        let got = ask(&aggregator, "one", "completion/complete", params).await;
        let heard = stage.heard_so_far(&["completion/complete"]).pop();
        let heard = heard.map(|(_, params)| serde_json::from_str::<Value>(&params).unwrap()["ref"].clone());
        (got["completion"].is_object(), heard)
    };
    for reference in [
        json!({ "type": "ref/resource", "uri": "held:{x}" }),
        json!({ "type": "ref/resource", "uri": "held:{x}", "name": "srv_ok" }),
        json!({ "uri": "held:{x}", "name": "srv_ok" }),
        json!({ "type": "ref/other", "uri": "held:{x}", "name": "srv_ok" }),
    ] {
        assert_eq!(complete(reference.clone()).await, (false, None), "{reference}");
    }
    // The twins.
    let prompt = json!({ "type": "ref/prompt", "name": "srv_ok", "uri": "held:{x}" });
    assert_eq!(complete(prompt).await, (true, Some(json!({ "type": "ref/prompt", "name": "ok" }))));
    let free = json!({ "type": "ref/resource", "name": "srv_ok", "uri": "free:{x}" });
    assert_eq!(complete(free).await, (true, Some(json!({ "type": "ref/resource", "uri": "free:{x}" }))));
}

#[tokio::test]
async fn methods_of_extensions_lead_to_nothing_that_is_held_back() {
    let mut stage = server();
    let pins = But(&[(DefinitionKind::Template, "held:{x}"), (DefinitionKind::Resource, "doc:1")]);
    let aggregator = one(&stage, |policy| policy.pins = Some(Arc::new(pins))).await;
    for (uri, passes) in [("doc:1", false), ("held:7", false), ("free:7", true)] {
        let got = ask(&aggregator, "one", "com.example/odd/do", json!({ "uri": uri })).await;
        assert_eq!(got["error"]["data"]["code"] == "definition-changed", !passes, "{uri}: {got}");
        assert_eq!(stage.heard_so_far(&["com.example/odd/do"]).is_empty(), !passes, "{uri}");
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

/// A server of the older era with these tools.
fn tools(listed: &Value) -> Stage {
    let listed = json!({ "tools": listed }).to_string();
    Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
        "tools/list" => result(listed.clone()),
        "tools/call" => result(r#"{"content":[]}"#),
        _ => Reply::Never,
    })
}

#[tokio::test]
async fn what_a_server_declares_of_an_extension_is_pinned() {
    for held in [true, false] {
        let mut stage = server();
        let pins = But(if held { &[(DefinitionKind::Instructions, ODD)] } else { &[] });
        let aggregator = one(&stage, |policy| policy.pins = Some(Arc::new(pins))).await;
        let got = ask(&aggregator, "one", "com.example/odd/do", json!({})).await;
        assert_eq!(got["error"]["data"]["code"] == "definition-changed", held, "{got}");
        assert_eq!(stage.heard_so_far(&["com.example/odd/do"]).is_empty(), held);
        assert_eq!(aggregator.describe().await.extensions.has(ODD), !held);
        assert!(aggregator.describe().await.extensions.has(TASKS), "twin: which says nothing");
    }
}

/// Agrees to everything, and keeps it.
#[derive(Debug, Default)]
struct Reads(Mutex<Vec<Arc<Definition>>>);

impl Pins for Reads {
    fn judge<'a>(
        &'a self,
        said: &'a [Arc<Definition>],
        _: Process,
    ) -> BoxFuture<'a, Result<Vec<Standing>, PinsUnknown>> {
        self.0.lock().unwrap().extend(said.iter().cloned());
        Box::pin(async move { Ok(vec![Standing::Agreed; said.len()]) })
    }
}

#[tokio::test]
async fn what_is_pinned_is_what_the_server_wrote_and_what_is_shown_is_clean() {
    let written = json!({ "name": "do", "description": "A\u{200b}B\u{1b}[31m", "inputSchema": { "type": "object" } });
    let (stage, reads) = (tools(&json!([written])), Arc::new(Reads::default()));
    let aggregator = one(&stage, |policy| policy.pins = Some(reads.clone())).await;
    let shown = aggregator.tools().await.tools[0].definition.to_string();
    assert!(shown.contains(r#""description":"AB""#), "{shown}");
    let expected = Definition::new(DefinitionKind::Tool, "do", &raw(&written.to_string()));
    assert_eq!(reads.0.lock().unwrap()[0].digest, expected.digest, "as a manifest has it");
}

#[tokio::test]
async fn what_a_server_says_of_its_tools_makes_things_stricter_and_never_looser() {
    let tool =
        |name: &str, hints: Value| json!({ "name": name, "annotations": hints, "inputSchema": { "type": "object" } });
    let stage = tools(&json!([
        tool("reads", json!({ "readOnlyHint": true })),
        tool("breaks", json!({ "readOnlyHint": true, "destructiveHint": true })),
        tool("boasts", json!({ "readOnlyHint": true, "destructiveHint": false })),
    ]));
    let change = |policy: &mut ServerPolicy| policy.read_only_tools = ["reads".into(), "breaks".into()].into();
    let policy = policy(change);
    let builder = Aggregator::builder().backends([stage.backend("srv").with_policy(policy)]);
    let aggregator = built(builder.tool_mode(gigmcp_mcp::ToolMode::Meta)).await;
    for (tool, passes) in [("reads", true), ("breaks", false), ("boasts", false)] {
        let params = json!({ "name": "call_read_only_tool", "arguments": { "name": format!("srv_{tool}") } });
        let got = ask(&aggregator, "one", "tools/call", params).await;
        assert_eq!(got["isError"] == true, !passes, "{tool}: {got}");
    }
    let listed = aggregator.tools().await.tools;
    let shown: Vec<Value> = listed
        .iter()
        .map(|tool| serde_json::from_str::<Value>(tool.definition.get()).unwrap()["annotations"].clone())
        .collect();
    assert_eq!(shown[0], json!({ "readOnlyHint": true }));
    assert_eq!(shown[2], json!({ "readOnlyHint": false, "destructiveHint": true }));
}

#[tokio::test]
async fn a_tool_that_says_it_deals_with_the_world_counts_as_one_that_does() {
    for (open, refused) in [(true, true), (false, false)] {
        let stage = tools(&json!([
            { "name": "do", "annotations": { "openWorldHint": open }, "inputSchema": { "type": "object" } },
        ]));
        let policy = policy(|policy| policy.labels.reads_private = true);
        let builder = Aggregator::builder().backends([stage.backend("srv").with_policy(policy)]);
        let aggregator = built(builder.flow(FlowPolicy::Ask)).await;
        let got = ask(&aggregator, "one", "tools/call", json!({ "name": "srv_do" })).await;
        assert_eq!(got["error"]["data"]["code"] == "flow-needs-consent", refused, "{open}: {got}");
    }
}

#[tokio::test]
async fn the_name_of_what_is_held_back_leads_to_no_other_server() {
    let send = json!([{ "name": "send", "inputSchema": { "type": "object" } }]);
    for held in [true, false] {
        let (one, mut two) = (tools(&send), tools(&send));
        let other = tools(&json!([]));
        let pins = policy(|policy| policy.pins = Some(Arc::new(But(&[(DefinitionKind::Tool, "send")]))));
        let first = if held { one.backend("one").with_policy(pins) } else { other.backend("one") };
        let builder = Aggregator::builder().backends([first, two.backend("two")]);
        let aggregator = built(builder.prefixes(gigmcp_mcp::Prefixes::WhenNeeded)).await;
        let got = ask(&aggregator, "one", "tools/call", json!({ "name": "send" })).await;
        assert_eq!(got["content"].is_array(), !held, "{got}");
        assert_eq!(two.heard_so_far(&["tools/call"]).is_empty(), held);
    }
}
