//! A task is held to what the call that made it was held to, for as long as it goes on.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use gigmcp_mcp::{
    Aggregator, AggregatorBuilder, Backend, BoxFuture, Call, CallObserver, CallRecord, CallVerdict, Definition,
    FlowLabels, FlowPolicy, Hold, Launch, LaunchError, NotObserved, Outcome, Pins, PinsUnknown, Process, ServerPolicy,
    Standing, StreamableHttpLimits, Upstream, Verdict,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::{
    played::{Reply, Stage, result},
    rounds::post,
    seam::{Client, question, raw},
    seams::{Notes, TASKS, ask, asking, built, listen, needs, next, one, policy, samplings},
    serving::Endpoint,
};

/// What a server of the newer era does.
#[derive(Clone, Debug)]
struct Play {
    /// The id that the next task gets; a new one each time, if it has none.
    id: Option<&'static str>,
    ttl: f64,
    /// What is told of any task: its members, or an error.
    get: Result<String, String>,
    update: Result<String, String>,
}

type Script = Arc<Mutex<Play>>;

/// A server whose tools `do` and `open` make tasks; `open` says that it deals with the world.
fn server() -> (Stage, Script) {
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

fn tells(script: &Script, told: &Value) {
    let told = told.to_string();
    script.lock().unwrap().get = Ok(told[1..told.len() - 1].to_owned());
}

/// The id of a task that this owner has made.
async fn task(aggregator: &Aggregator, owner: &str, tool: &str) -> String {
    let made = ask(aggregator, owner, "tools/call", json!({ "name": tool })).await;
    made["taskId"].as_str().unwrap_or_else(|| panic!("a task: {made}")).to_owned()
}

/// A notification about a task under the server's own id; `told` are its members.
fn notice(id: &str, told: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/tasks","params":{{"taskId":"{id}",{told}}}}}"#)
}

#[tokio::test]
async fn errors_of_a_task_are_errors_of_one_server_and_show_only_safe_addresses() {
    let addresses = |url: &str, code: &str| {
        let params = json!({ "mode": "url", "message": "Go", "url": url, "elicitationId": "e" });
        format!(r#"{{"code":{code},"message":"m","data":{{"elicitations":[{params}]}}}}"#)
    };
    let attack = "javascript:alert(1)";
    for (case, error, code, shown) in [
        ("twin", addresses("https://a.test/x", "-32042"), -32042, "srv asks you to open a.test: Go"),
        ("an address that is none", addresses(attack, "-32042"), -32603, "only https addresses are shown"),
        ("with a code as text", addresses(attack, r#""-32042""#), -32603, "only https addresses are shown"),
        ("with a broken code", addresses(attack, "-32042.0"), -32603, "only https addresses are shown"),
        ("with two codes", addresses(attack, r#"1,"code":-32042"#), -32603, "malformed error"),
        ("of an endpoint", r#"{"code":-32020,"message":"m"}"#.to_owned(), -32603, "an error of an endpoint"),
        ("twin", r#"{"code":-32001,"message":"m"}"#.to_owned(), -32001, "m"),
    ] {
        let (mut stage, script) = server();
        let aggregator = one(&stage, |_| {}).await;
        let id = task(&aggregator, "one", "srv_do").await;
        let get = json!({ "taskId": id });
        let is_shown = |way: &str, got: &Value| {
            let text = got["error"].to_string();
            assert_eq!(got["error"]["code"], json!(code), "{case}, {way}: {got}");
            assert!(text.contains(shown) && !text.contains(attack), "{case}, {way}: {got}");
        };
        script.lock().unwrap().get = Ok(format!(r#""status":"failed","error":{error}"#));
        is_shown("in what is told", &ask(&aggregator, "one", "tasks/get", get.clone()).await);
        script.lock().unwrap().get = Err(error.clone());
        is_shown("as an answer", &ask(&aggregator, "one", "tasks/get", get.clone()).await);
        script.lock().unwrap().update = Err(error.clone());
        is_shown("as an answer to what is told it", &ask(&aggregator, "one", "tasks/update", get.clone()).await);
        let mut events = aggregator.events().unwrap();
        listen(&aggregator, &mut stage, "one", &id).await;
        stage.say(notice("0", &format!(r#""status":"failed","error":{error}"#)));
        is_shown("in a notification", &next(&mut events).await);

        let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
        let reply = post(&endpoint, "tasks/get", get).await;
        assert_eq!((reply.0, &reply.1["error"]["code"]), (200, &json!(code)), "{case}: {}", reply.1);
    }
}

/// Agrees to everything, until it agrees to no tool any more.
#[derive(Debug, Default)]
struct Until {
    held: AtomicBool,
    revision: AtomicU64,
}

impl Until {
    fn hold(&self) {
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

#[tokio::test]
async fn a_task_is_of_no_use_once_its_tool_is_held_back() {
    for held in [false, true] {
        let (mut stage, _script) = server();
        let pins = Arc::new(Until::default());
        let aggregator = one(&stage, |policy| policy.pins = Some(pins.clone())).await;
        let id = task(&aggregator, "one", "srv_do").await;
        let mut events = aggregator.events().unwrap();
        listen(&aggregator, &mut stage, "one", &id).await;
        stage.say(notice("0", r#""status":"working","statusMessage":"before""#));
        assert_eq!(next(&mut events).await["statusMessage"], "before", "twin");
        if held {
            pins.hold();
        }
        stage.heard_so_far(&[]);
        for method in ["tasks/get", "tasks/update", "tasks/subscribe"] {
            let got = ask(&aggregator, "one", method, json!({ "taskId": id })).await;
            assert_eq!(got["error"]["data"]["code"] == "definition-changed", held, "{method}: {got}");
        }
        stage.say(notice("0", r#""status":"working","statusMessage":"after""#));
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"line"}}"#);
        let told = loop {
            let event = events.recv().await.unwrap();
            match &*event.method {
                "notifications/tasks" => break true,
                "notifications/message" => break false,
                _ => {}
            }
        };
        assert_eq!(told, !held, "who listens is told nothing");
        let got = ask(&aggregator, "one", "tasks/cancel", json!({ "taskId": id })).await;
        assert!(got.get("error").is_none(), "to stop it is no use of it: {got}");
        let heard = stage.heard_so_far(&["tasks/get", "tasks/update", "tasks/cancel", "subscriptions/listen"]);
        assert_eq!(heard.len(), if held { 1 } else { 4 }, "{heard:?}");
    }
}

/// The same process for whoever starts it.
struct Shared {
    launch: Arc<dyn Launch>,
    running: OnceCell<Arc<dyn Upstream>>,
}

/// One that is known by a name.
struct Known(Arc<dyn Upstream>);

impl Upstream for Known {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        self.0.call(call)
    }

    fn instance(&self) -> Option<&str> {
        Some("the-process")
    }

    fn hold(&self) -> Option<Hold> {
        self.0.hold()
    }

    fn describe<'a>(&'a self) -> BoxFuture<'a, gigmcp_mcp::Description> {
        self.0.describe()
    }

    fn events(&self) -> Option<tokio::sync::broadcast::Receiver<gigmcp_mcp::Event>> {
        self.0.events()
    }
}

impl Launch for Shared {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async {
            let start = async || Ok(Arc::new(Known(self.launch.launch().await?)) as Arc<dyn Upstream>);
            self.running.get_or_try_init(start).await.cloned()
        })
    }
}

/// Backends of one process, and aggregators of them as a profile that changes has them.
struct Profile(Arc<Shared>);

impl Profile {
    fn of(stage: &Stage) -> Self {
        Self(Arc::new(Shared { launch: stage.played.clone(), running: OnceCell::new() }))
    }

    fn builder(&self, change: impl FnOnce(&mut ServerPolicy)) -> AggregatorBuilder {
        let backend = Backend::new("srv".parse().unwrap(), self.0.clone()).with_policy(policy(change));
        Aggregator::builder().backends([backend])
    }
}

#[tokio::test]
async fn a_task_goes_on_in_the_next_aggregator_as_far_as_that_one_allows_its_tool() {
    type Change = fn(&mut ServerPolicy);
    for (case, change, code, cancels) in [
        ("twin", (|_| {}) as Change, None, true),
        ("switched off", |policy| policy.disabled = ["do".into()].into(), Some("tool-disabled"), true),
        ("twin: another is", |policy| policy.disabled = ["open".into()].into(), None, true),
        ("of other tools only", |policy| policy.only = Some(["open".into()].into()), Some(""), false),
        ("twin: of this one", |policy| policy.only = Some(["do".into()].into()), None, true),
    ] {
        let (mut stage, _script) = server();
        let profile = Profile::of(&stage);
        let before = profile.builder(|_| {}).build().unwrap();
        let id = task(&before, "one", "srv_do").await;
        let after = profile.builder(change).counting_with(&before).build().unwrap();
        drop(before);
        for method in ["tasks/get", "tasks/update", "tasks/subscribe"] {
            let got = ask(&after, "one", method, json!({ "taskId": id })).await;
            assert_eq!(got.get("error").is_none(), code.is_none(), "{case}, {method}: {got}");
            if let Some(code) = code {
                assert_eq!(got["error"]["data"]["code"].as_str().unwrap_or_default(), code, "{case}, {method}: {got}");
            }
        }
        let got = ask(&after, "one", "tasks/cancel", json!({ "taskId": id })).await;
        assert_eq!(got.get("error").is_none(), cancels, "{case}: {got}");
        // Once it has answered that, it has heard all that came before.
        ask(&after, "one", "prompts/get", json!({ "name": "srv_ok" })).await;
        let heard = stage.heard_so_far(&["tasks/get", "tasks/update", "subscriptions/listen"]);
        assert_eq!(heard.len(), if code.is_none() { 3 } else { 0 }, "{case}: {heard:?}");
    }
}

#[tokio::test]
async fn a_task_is_held_and_its_end_is_known_in_the_next_aggregator() {
    for ends in [true, false] {
        let (stage, script) = server();
        let profile = Profile::of(&stage);
        let notes = Arc::new(Notes::default());
        let builder = || profile.builder(|_| {}).observed_by(notes.clone());
        let before = builder().build().unwrap();
        let id = task(&before, "one", "srv_do").await;
        let after = builder().counting_with(&before).build().unwrap();
        before.is_replaced();
        drop(before);
        // It has heard of all that by now.
        ask(&after, "one", "tasks/get", json!({ "taskId": id })).await;
        let ended =
            || notes.0.lock().unwrap().iter().find(|it| &*it.method == "tasks/end").map(|it| it.verdict.clone());
        assert_eq!(ended(), None, "it is under way");
        if ends {
            tells(&script, &json!({ "status": "completed", "result": { "content": [] } }));
            ask(&after, "one", "tasks/get", json!({ "taskId": id })).await;
        } else {
            stage.stop();
        }
        let end = loop {
            // That a process has ended is noticed when it is needed.
            ask(&after, "one", "tasks/get", json!({ "taskId": id })).await;
            if let Some(end) = ended() {
                break end;
            }
        };
        assert_eq!(end == CallVerdict::Ok, ends, "{end:?}; twin: its process has ended");
    }
}

#[tokio::test]
async fn a_task_that_is_waited_for_is_given_up_once_its_tool_is_held_back() {
    for held in [false, true] {
        let status = Arc::new(Mutex::new("working"));
        let told = Arc::clone(&status);
        let mut stage = Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            "tools/call" => result(r#"{"task":{"taskId":"t","status":"working","pollInterval":1}}"#),
            "tasks/get" => result(json!({ "status": *told.lock().unwrap(), "pollInterval": 1 }).to_string()),
            "tasks/result" => result(r#"{"content":[]}"#),
            "tasks/cancel" => result("{}"),
            _ => Reply::Never,
        });
        let pins = Arc::new(Until::default());
        let aggregator = one(&stage, |policy| policy.pins = Some(pins.clone())).await;
        let calling = tokio::spawn({
            let aggregator = Arc::clone(&aggregator);
            async move { aggregator.call(Call::new("tools/call", Some(raw(r#"{"name":"srv_do"}"#)))).await }
        });
        stage.heard(&["tasks/get"]).await;
        if held {
            pins.hold();
        } else {
            *status.lock().unwrap() = "completed";
        }
        let outcome = calling.await.unwrap();
        assert_eq!(matches!(&outcome, Outcome::Complete(_)), !held, "{outcome:?}");
        if held {
            assert!(matches!(outcome, Outcome::Error(error) if error.get().contains("definition-changed")));
            assert_eq!(stage.heard(&["tasks/cancel", "tasks/result"]).await.0, "tasks/cancel");
        }
    }
}

#[tokio::test]
async fn what_waited_for_its_users_word_is_judged_again_before_it_is_asked_of_the_server() {
    let all = FlowLabels { reads_untrusted: true, reads_private: true, can_send: true };
    for (method, name) in [("tools/call", "srv_do"), ("prompts/get", "srv_ok")] {
        for meanwhile in ["nothing", "held back", "replaced"] {
            let (mut stage, _script) = server();
            let pins = Arc::new(Until::default());
            let policy = policy(|policy| (policy.pins, policy.labels) = (Some(pins.clone() as _), all));
            let backends = [stage.backend("srv").with_policy(policy)];
            let aggregator = built(Aggregator::builder().backends(backends).flow(FlowPolicy::Ask)).await;
            let (sink, mut reached) = Client::connect();
            let agreeing = async {
                let answer = question(&mut reached).await.1;
                match meanwhile {
                    "held back" => pins.hold(),
                    "replaced" => aggregator.is_replaced(),
                    _ => {}
                }
                answer.send(Verdict::Result(raw(r#"{"action":"accept"}"#))).unwrap();
            };
            let (owner, call) = (("one", &json!({ "elicitation": {} })), (method, json!({ "name": name })));
            let (got, ()) = tokio::join!(asking(&aggregator, owner, call, Some(sink)), agreeing);
            let passes = meanwhile == "nothing";
            assert_eq!(got.get("error").is_none(), passes, "{method}, {meanwhile}: {got}");
            assert_eq!(got["error"]["data"]["code"] == "changed-meanwhile", !passes, "{method}, {meanwhile}: {got}");
            assert_eq!(stage.heard_so_far(&[method]).is_empty(), !passes, "{method}, {meanwhile}");
        }
    }
}

#[tokio::test]
async fn answers_to_a_task_are_judged_by_what_its_tool_says_of_itself() {
    for (tool, refused) in [("srv_open", true), ("srv_do", false)] {
        let (mut stage, _script) = server();
        let private = Stage::new(r#""capabilities":{"tools":{},"prompts":{}}"#, |method, _| match method {
            "tools/list" => result(r#"{"tools":[]}"#),
            "prompts/list" => result(r#"{"prompts":[{"name":"ok"}]}"#),
            "prompts/get" => result(r#"{"messages":[]}"#),
            _ => Reply::Never,
        });
        let reads = policy(|policy| policy.labels.reads_private = true);
        let backends = [stage.backend("srv"), private.backend("reads").with_policy(reads)];
        let aggregator = built(Aggregator::builder().backends(backends).flow(FlowPolicy::Ask)).await;
        let id = task(&aggregator, "one", tool).await;
        let update = json!({ "taskId": id, "inputResponses": {} });
        let got = ask(&aggregator, "one", "tasks/update", update.clone()).await;
        assert!(got.get("error").is_none(), "twin: nothing private was read yet: {got}");
        ask(&aggregator, "one", "prompts/get", json!({ "name": "reads_ok" })).await;
        stage.heard_so_far(&[]);
        let got = ask(&aggregator, "one", "tasks/update", update).await;
        assert_eq!(got["error"]["data"]["code"] == "flow-needs-consent", refused, "{tool}: {got}");
        assert_eq!(stage.heard_so_far(&["tasks/update"]).is_empty(), refused, "{tool}");
    }
}

#[tokio::test]
async fn where_what_is_sent_is_judged_a_look_at_a_task_sends_nothing() {
    for (flow, sent) in [(FlowPolicy::Ask, false), (FlowPolicy::Warn, true)] {
        let (mut stage, _script) = server();
        let aggregator = built(Aggregator::builder().backends([stage.backend("srv")]).flow(flow)).await;
        let id = task(&aggregator, "one", "srv_open").await;
        for method in ["tasks/get", "tasks/cancel"] {
            let smuggled = json!({ "taskId": id, "x": "private", "_meta": { "y": "private" } });
            let got = ask(&aggregator, "one", method, smuggled).await;
            assert!(got.get("error").is_none(), "{got}");
        }
        let heard = stage.heard_so_far(&["tasks/get", "tasks/cancel"]);
        assert_eq!(heard.iter().filter(|(_, params)| params.contains("private")).count(), if sent { 2 } else { 0 });
        assert_eq!(heard.len(), 2);
    }
}

#[tokio::test]
async fn answers_reach_a_task_by_an_update_of_it_and_by_no_look_at_it() {
    for flow in [FlowPolicy::Ask, FlowPolicy::Warn] {
        let (mut stage, _script) = server();
        let aggregator = built(Aggregator::builder().backends([stage.backend("srv")]).flow(flow)).await;
        let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
        let (_, made) = post(&endpoint, "tools/call", json!({ "name": "srv_do" })).await;
        let id = &made["result"]["taskId"];
        for (method, passes) in [("tasks/get", false), ("tasks/cancel", false), ("tasks/update", true)] {
            let said =
                json!({ "taskId": id, "inputResponses": { "k": { "x": "private" } }, "requestState": "private" });
            let (_, got) = post(&endpoint, method, said).await;
            assert!(got["result"].is_object(), "{method}: {got}");
            let heard = stage.heard(&[method]).await.1;
            assert_eq!(heard.contains("private"), passes, "{method}: {heard}");
            assert!(!heard.contains("requestState"), "{method}: {heard}");
        }
    }
}

#[tokio::test]
async fn a_task_of_which_its_client_cannot_be_told_is_given_up() {
    for (declared, given_up) in [(json!({}), true), (json!({ "sampling": {} }), false)] {
        let capabilities = json!({ "tools": {}, "extensions": { TASKS: {} } });
        let mut stage = Stage::modern(&format!(r#""capabilities":{capabilities}"#), |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            "tools/call" => {
                let mut made = needs(&samplings(1));
                (made["resultType"], made["taskId"], made["ttlMs"]) = (json!("task"), json!("1"), json!(null));
                result(made.to_string())
            }
            "tasks/cancel" | "tasks/update" => result("{}"),
            _ => Reply::Never,
        });
        let aggregator = one(&stage, |_| {}).await;
        let call = ("tools/call", json!({ "name": "srv_do" }));
        let made = asking(&aggregator, ("one", &declared), call, None).await;
        assert_eq!(made["taskId"].is_null(), given_up, "{made}");
        if !given_up {
            ask(&aggregator, "one", "tasks/update", json!({ "taskId": made["taskId"] })).await;
        }
        let expected = if given_up { "tasks/cancel" } else { "tasks/update" };
        assert_eq!(stage.heard(&["tasks/cancel", "tasks/update"]).await.0, expected);
    }
}

#[tokio::test]
async fn one_owners_tasks_leave_room_for_anothers() {
    let (stage, script) = server();
    let notes = Arc::new(Notes::default());
    let aggregator = built(Aggregator::builder().backends([stage.backend("srv")]).observed_by(notes.clone())).await;
    tells(&script, &needs(&samplings(1)));
    let mut ids = Vec::new();
    for _ in 0..300 {
        ids.push(task(&aggregator, "one", "srv_do").await);
    }
    let theirs = task(&aggregator, "two", "srv_do").await;
    for (case, owner, id, passes) in [
        ("its first", "one", &ids[0], true),
        ("its last", "one", &ids[299], false),
        ("another's", "two", &theirs, true),
    ] {
        let got = ask(&aggregator, owner, "tasks/get", json!({ "taskId": id })).await;
        assert_eq!(got["inputRequests"].is_object(), passes, "{case}: {got}");
    }
    tells(&script, &json!({ "status": "completed", "result": { "content": [] } }));
    let got = ask(&aggregator, "two", "tasks/get", json!({ "taskId": theirs })).await;
    assert_eq!(got["status"], "completed");
    let records = notes.0.lock().unwrap();
    let call = records.iter().rfind(|record| &*record.method == "tools/call").unwrap().id;
    let end = records.iter().rfind(|record| record.origin == Some(call)).unwrap();
    assert_eq!((&*end.method, &end.verdict), ("tasks/end", &CallVerdict::Ok), "its end was waited for");
}

#[tokio::test(start_paused = true)]
async fn a_server_is_held_for_its_task_however_short_it_says_that_it_keeps_it() {
    for (ttl, after, held) in
        [(0.0, 3000, true), (0.0, 4000, false), (1.0, 30, true), (1.0, 90, false), (120_000.0, 90, true)]
    {
        let (stage, script) = server();
        script.lock().unwrap().ttl = ttl;
        let notes = Arc::new(Notes::default());
        let builder = Aggregator::builder().backends([stage.backend("srv")]).observed_by(notes.clone());
        let aggregator = built(builder).await;
        let id = task(&aggregator, "one", "srv_do").await;
        tokio::task::yield_now().await;
        tokio::time::advance(std::time::Duration::from_secs(after)).await;
        tells(&script, &json!({ "status": "completed", "result": { "content": [] } }));
        ask(&aggregator, "one", "tasks/get", json!({ "taskId": id })).await;
        drop(aggregator);
        let end = loop {
            let records = notes.0.lock().unwrap().clone();
            match records.into_iter().find(|record| &*record.method == "tasks/end") {
                Some(end) => break end.verdict,
                None => tokio::task::yield_now().await,
            }
        };
        assert_eq!(end == CallVerdict::Ok, held, "{ttl} ms, after {after} s: {end:?}");
    }
}

#[tokio::test]
async fn an_id_that_a_server_gives_twice_leads_nobody_to_anothers_task() {
    let (mut stage, script) = server();
    let aggregator = one(&stage, |_| {}).await;
    script.lock().unwrap().id = Some("same");
    let first = task(&aggregator, "one", "srv_do").await;
    let call = json!({ "name": "srv_do" });
    let got = ask(&aggregator, "two", "tools/call", call.clone()).await;
    let text = got["error"]["message"].as_str().unwrap_or_default();
    assert!(text.contains("under the id of another"), "{got}");
    // The twin: it is over.
    tells(&script, &json!({ "status": "completed", "result": { "content": [] } }));
    let got = ask(&aggregator, "one", "tasks/get", json!({ "taskId": first })).await;
    assert_eq!(got["status"], "completed", "{got}");
    let second = task(&aggregator, "two", "srv_do").await;
    stage.heard_so_far(&[]);
    for method in ["tasks/get", "tasks/update", "tasks/cancel", "tasks/subscribe"] {
        let got = ask(&aggregator, "one", method, json!({ "taskId": first })).await;
        assert_eq!(got["error"]["message"], "there is no such task", "{method}: it is another's now: {got}");
    }
    assert_eq!(stage.heard_so_far(&["tasks/get", "tasks/update", "tasks/cancel", "subscriptions/listen"]), []);
    let got = ask(&aggregator, "two", "tasks/get", json!({ "taskId": second })).await;
    assert_eq!(got["status"], "completed", "twin: {got}");
}

#[tokio::test]
async fn two_aggregators_count_together_if_they_are_told_to() {
    for together in [true, false] {
        let (stage, script) = server();
        let profile = Profile::of(&stage);
        let builder = || profile.builder(|policy| policy.rate.calls_per_minute = Some(2));
        let before = builder().build().unwrap();
        let id = task(&before, "one", "srv_do").await;
        task(&before, "one", "srv_do").await;
        let after = if together { builder().counting_with(&before) } else { builder() }.build().unwrap();
        let got = ask(&after, "one", "tools/call", json!({ "name": "srv_do" })).await;
        assert_eq!(got["error"]["data"]["code"] == "rate-limited", together, "{got}");
        // What its tasks ask for is counted on; of tasks that nobody has counted, nobody can say that it is little.
        tells(&script, &needs(&samplings(4)));
        let got = ask(&after, "one", "tasks/get", json!({ "taskId": id })).await;
        assert_eq!(got["inputRequests"].is_object(), together, "{got}");
        tells(&script, &needs(&json!({ "new": { "method": "sampling/createMessage", "params": {} } })));
        for aggregator in [&before, &after] {
            let got = ask(aggregator, "one", "tasks/get", json!({ "taskId": id })).await;
            assert_eq!(got["inputRequests"].is_object(), !together && std::ptr::eq(aggregator, &before), "{got}");
        }
    }
}

#[tokio::test]
async fn log_lines_of_no_call_are_heard_by_who_may_use_the_whole_server_only() {
    for only in [true, false] {
        let (mut stage, _script) = server();
        let aggregator = one(&stage, |policy| policy.only = only.then(|| ["do".into()].into())).await;
        let id = task(&aggregator, "one", "srv_do").await;
        let mut events = aggregator.events().unwrap();
        listen(&aggregator, &mut stage, "one", &id).await;
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"of open"}}"#);
        stage.say(notice("0", r#""status":"working""#));
        let mut heard = Vec::new();
        while heard.last().is_none_or(|method| method != "notifications/tasks") {
            heard.push(events.recv().await.unwrap().method.to_string());
        }
        let logged = heard.iter().any(|method| method == "notifications/message");
        assert_eq!(logged, !only, "{heard:?}");
    }
}

#[tokio::test]
async fn settings_of_an_extension_are_shown_without_what_nobody_sees() {
    let hidden = json!({ "text": "A\u{200b}\u{1b}[31mB", "deep": [{ "x": "\u{202e}C" }], "n": 1.5 });
    let clean = json!({ "text": "AB", "deep": [{ "x": "C" }], "n": 1.5 });
    for (case, declared, shown) in [
        ("hidden text", json!({ "com.example/odd": hidden }), json!({ "com.example/odd": clean })),
        ("twin", json!({ "com.example/odd": clean }), json!({ "com.example/odd": clean })),
        ("a hidden name", json!({ "com.example/odd": { "a\u{200b}": 1 } }), Value::Null),
        ("a hidden identifier", json!({ "com.example/od\u{200b}d": {} }), Value::Null),
    ] {
        let capabilities = json!({ "tools": {}, "extensions": declared });
        let stage = Stage::modern(&format!(r#""capabilities":{capabilities}"#), |method, _| match method {
            "tools/list" => result(r#"{"tools":[]}"#),
            _ => Reply::Never,
        });
        let aggregator = one(&stage, |_| {}).await;
        let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
        let (_, got) = post(&endpoint, "server/discover", json!({})).await;
        assert_eq!(got["result"]["capabilities"]["extensions"], shown, "{case}: {got}");
    }
}

#[tokio::test]
async fn a_link_in_the_result_of_a_task_leads_where_one_in_a_calls_does() {
    let listed = || {
        Stage::new(r#""capabilities":{"tools":{},"resources":{}}"#, |method, _| match method {
            "tools/list" => result(r#"{"tools":[]}"#),
            "resources/list" => result(r#"{"resources":[{"uri":"doc:1","name":"d"}]}"#),
            "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
            _ => Reply::Never,
        })
    };
    let capabilities = json!({ "tools": {}, "resources": {}, "extensions": { TASKS: {} } });
    let own = Stage::modern(&format!(r#""capabilities":{capabilities}"#), |method, _| match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
        "resources/list" => result(r#"{"resources":[{"uri":"doc:1","name":"d"},{"uri":"doc:2","name":"e"}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "tools/call" => result(r#"{"resultType":"task","taskId":"1","status":"working","ttlMs":null}"#),
        "tasks/get" => result(
            r#"{"taskId":"1","status":"completed","result":{"content":[{"type":"resource_link","uri":"doc:1","name":"d"},{"type":"resource_link","uri":"doc:2","name":"e"}]}}"#,
        ),
        _ => Reply::Never,
    });
    let other = listed();
    let aggregator = built(Aggregator::builder().backends([other.backend("other"), own.backend("srv")])).await;
    ask(&aggregator, "one", "resources/list", json!({})).await;
    let id = task(&aggregator, "one", "srv_do").await;
    let got = ask(&aggregator, "one", "tasks/get", json!({ "taskId": id })).await;
    let uris: Vec<&Value> = got["result"]["content"].as_array().unwrap().iter().map(|link| &link["uri"]).collect();
    assert_eq!(uris, [&json!("srv+doc:1"), &json!("doc:2")], "the first is another server's too: {got}");
}

/// Takes note of what is told, while it can.
#[derive(Default)]
struct Book {
    full: AtomicBool,
    notes: Notes,
}

impl CallObserver for Book {
    fn ready<'a>(&'a self) -> BoxFuture<'a, Result<(), NotObserved>> {
        let full = self.full.load(Ordering::SeqCst);
        Box::pin(async move { if full { Err(NotObserved) } else { Ok(()) } })
    }

    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()> {
        self.notes.finished(record)
    }
}

#[tokio::test]
async fn what_is_told_to_a_task_is_taken_note_of_or_not_told_and_a_refusal_is_too() {
    for (full, held, code) in
        [(false, false, None), (true, false, Some("audit-unavailable")), (false, true, Some("definition-changed"))]
    {
        let (mut stage, _script) = server();
        let (book, pins) = (Arc::new(Book::default()), Arc::new(Until::default()));
        let policy = policy(|policy| policy.pins = Some(pins.clone()));
        let builder = Aggregator::builder().backends([stage.backend("srv").with_policy(policy)]);
        let aggregator = built(builder.observed_by(book.clone())).await;
        let id = task(&aggregator, "one", "srv_do").await;
        book.full.store(full, Ordering::SeqCst);
        if held {
            pins.hold();
        }
        let got = ask(&aggregator, "one", "tasks/update", json!({ "taskId": id, "inputResponses": {} })).await;
        assert_eq!(got["error"]["data"]["code"].as_str(), code, "{got}");
        assert_eq!(stage.heard_so_far(&["tasks/update"]).is_empty(), code.is_some());
        let verdict = book.notes.0.lock().unwrap().last().map(|record| (record.method.clone(), record.verdict.clone()));
        let expected = code.map_or(CallVerdict::Ok, |code| CallVerdict::Failed { code });
        assert_eq!(verdict, Some(("tasks/update".into(), expected)));
    }
}

#[tokio::test]
async fn of_answers_to_a_task_what_is_taken_note_of_is_their_own_digest() {
    let answers = json!({ "k": { "action": "accept" } });
    for (through, by_update) in [("the endpoint", true), ("the aggregator", true), ("the endpoint", false)] {
        let (stage, _script) = server();
        let book = Arc::new(Book::default());
        let builder = Aggregator::builder().backends([stage.backend("srv")]).observed_by(book.clone());
        let aggregator = built(builder).await;
        let id = task(&aggregator, "one", "srv_do").await;
        let said = json!({ "taskId": id, "inputResponses": answers });
        let method = if by_update { "tasks/update" } else { "tasks/cancel" };
        let got = match through {
            "the aggregator" => ask(&aggregator, "one", method, said).await,
            _ => {
                let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
                post(&endpoint, method, said).await.1["result"].clone()
            }
        };
        assert!(got.is_object() && got.get("error").is_none(), "{through}: {got}");
        let record = book.notes.0.lock().unwrap().last().unwrap().clone();
        let digest: [u8; 32] = Sha256::digest(answers.to_string()).into();
        assert_eq!((&*record.method, record.arguments == digest), (method, by_update), "{through}");
    }
}

#[tokio::test]
async fn who_comes_back_to_a_task_goes_on_hearing_of_it() {
    for comes_back in [true, false] {
        let (mut stage, _script) = server();
        let aggregator = one(&stage, |_| {}).await;
        let id = task(&aggregator, "one", "srv_do").await;
        let client = listen(&aggregator, &mut stage, "one", &id).await;
        // What follows from that has not happened yet when the same owner listens on another stream.
        aggregator.forget(client);
        if comes_back {
            listen(&aggregator, &mut stage, "one", &id).await;
        }
        // Once it has answered that, it has heard all that came before.
        for _ in 0..2 {
            ask(&aggregator, "one", "prompts/get", json!({ "name": "srv_ok" })).await;
        }
        // The end of the first stream was heard before the second began.
        let ended = stage.heard_so_far(&["notifications/cancelled"]).len();
        assert_eq!(ended, if comes_back { 0 } else { 1 }, "{comes_back}");
    }
}

#[tokio::test]
async fn where_what_is_sent_is_judged_a_look_at_a_task_declares_nothing_in_the_clients_own_words() {
    let declares = json!({ "elicitation": { "url": {}, "form": {} }, "sampling": { "x": "secret" }, "roots": {}, "experimental": { "secret": {} } });
    for (flow, says_all) in [(FlowPolicy::Ask, false), (FlowPolicy::Warn, true)] {
        let (mut stage, _script) = server();
        let aggregator = built(Aggregator::builder().backends([stage.backend("srv")]).flow(flow)).await;
        let id = task(&aggregator, "one", "srv_do").await;
        for (method, says_all) in [("tasks/get", says_all), ("tasks/update", true), ("tasks/cancel", says_all)] {
            let params = json!({ "taskId": id, "inputResponses": {} });
            let got = asking(&aggregator, ("one", &declares), (method, params), None).await;
            assert!(got["error"].is_null(), "{method}: {got}");
            let heard: Value = serde_json::from_str(&stage.heard(&[method]).await.1).unwrap();
            let declared = &heard["_meta"]["io.modelcontextprotocol/clientCapabilities"];
            assert_eq!(declared.to_string().contains("secret"), says_all, "{method}, {flow:?}: {declared}");
            assert_eq!(declared["elicitation"], json!({ "form": {}, "url": {} }), "twin: {method}");
            assert!(declared["extensions"][TASKS].is_object(), "twin: {method}");
        }
    }
}
