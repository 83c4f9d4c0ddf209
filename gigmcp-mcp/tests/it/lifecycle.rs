//! Servers that do not run, that end, that hang: what clients see of them, and when they are started.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use gigmcp_mcp::{
    Aggregator, AggregatorLimits, Backend, BoxFuture, Call, CatalogueStore, ClientContext, ClientId, Description,
    Event, FaultKind, Hold, Known, Launch, LaunchError, List, Outcome, ServerPolicy, Upstream,
};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::{
    played::{Reply, Stage, result},
    scripted::{Launcher, Plan, Scripted},
    seam::{Client, question, raw},
};

const TOOL: &str = r#"{ "name":"do","inputSchema":{"type":"object"},"x":1.0}"#;

/// Keeps what is known as text, as a database does.
#[derive(Default)]
struct Kept {
    text: Mutex<Option<String>>,
    loads: AtomicUsize,
    keeps: AtomicUsize,
}

impl CatalogueStore for Kept {
    fn load<'a>(&'a self) -> BoxFuture<'a, Option<Known>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { self.text.lock().unwrap().as_deref().map(|text| Known::from_json(text).unwrap()) })
    }

    fn keep(&self, known: Known) {
        self.keeps.fetch_add(1, Ordering::SeqCst);
        *self.text.lock().unwrap() = Some(known.to_json());
    }
}

/// A server with something of everything, and with these tools.
fn stage(tools: String) -> Stage {
    let capabilities = r#""capabilities":{"tools":{},"prompts":{},"resources":{"subscribe":true},"completions":{}},
        "instructions":"Do it.","serverInfo":{"name":"s","version":"1"}"#;
    Stage::new(&capabilities.replace('\n', ""), move |method, _| match method {
        "tools/list" => result(format!(r#"{{"tools":[{tools}]}}"#)),
        "prompts/list" => result(r#"{"prompts":[{"name":"ask"}]}"#),
        "resources/list" => result(r#"{"resources":[{"uri":"a:1","name":"one"}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[{"uriTemplate":"b:{x}","name":"some"}]}"#),
        _ => result("{}"),
    })
}

fn aggregator(backend: Backend) -> Aggregator {
    Aggregator::new(vec![backend]).unwrap()
}

async fn listed(aggregator: &Aggregator) -> Vec<String> {
    let mut all = Vec::new();
    for method in ["tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
        match aggregator.call(Call::new(method, None)).await {
            Outcome::Complete(list) => all.push(list.get().to_owned()),
            other => panic!("{other:?}"),
        }
    }
    all
}

async fn call(aggregator: &Aggregator, name: &str) -> Outcome {
    aggregator.call(Call::new("tools/call", Some(raw(&json!({ "name": name }).to_string())))).await
}

fn error(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Error(error) => serde_json::from_str(error.get()).unwrap(),
        other => panic!("an error was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn what_a_server_listed_is_listed_when_it_does_not_run() {
    let kept = Arc::<Kept>::default();
    let first = stage(TOOL.to_owned());
    let running = aggregator(first.backend("srv").with_store(kept.clone()));
    let (lists, description) = (listed(&running).await, running.describe().await);
    assert_eq!(lists[0], format!(r#"{{"tools":[{}]}}"#, TOOL.replace("\"do\"", "\"srv_do\"")));
    drop((running, first));

    // Another program, and a server that cannot be started.
    let (launcher, _) = Launcher::new([]);
    let cold = aggregator(launcher.backend("srv").with_store(kept.clone()));
    assert_eq!(listed(&cold).await, lists, "to the byte");
    let cold_description = cold.describe().await;
    assert_eq!(cold_description.capabilities, description.capabilities);
    assert_eq!(cold_description.instructions.as_deref(), Some("## srv\nDo it."));
    assert!(cold.faults().is_empty());
    // What is not known is refused without a start; so are a resource and a prompt.
    assert_eq!(error(call(&cold, "srv_other").await)["code"], -32602);
    assert_eq!(launcher.launches.load(Ordering::SeqCst), 0, "nothing was started for any of that");
    let unknown = cold.call(Call::new("prompts/get", Some(raw(r#"{"name":"srv_x"}"#)))).await;
    assert_eq!(error(unknown)["code"], -32602);
    let complete = raw(r#"{"ref":{"type":"ref/prompt","name":"srv_x"},"argument":{"name":"a","value":""}}"#);
    assert_eq!(error(cold.call(Call::new("completion/complete", Some(complete))).await)["code"], -32602);
    assert_eq!(launcher.launches.load(Ordering::SeqCst), 0);

    // A call starts it; it says what came of the call, and the list stays.
    let failed = error(call(&cold, "srv_do").await);
    assert_eq!(failed["data"], json!({ "code": "test-failure", "server": "srv", "stage": "start" }));
    let text = failed["message"].as_str().unwrap();
    assert!(text.contains("this call was not sent to it, and a call after 1 s tries again"), "{text}");
    assert_eq!(launcher.launches.load(Ordering::SeqCst), 1);
    assert_eq!(listed(&cold).await, lists);
    assert!(matches!(cold.faults()[0].kind, FaultKind::Launch(_)), "the operator is told");
    assert_eq!(kept.loads.load(Ordering::SeqCst), 2, "once for each aggregator");
    assert_eq!(kept.keeps.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn each_kind_of_call_starts_the_server_that_it_is_for() {
    let kept = Arc::<Kept>::default();
    let first = stage(TOOL.to_owned());
    listed(&aggregator(first.backend("srv").with_store(kept.clone()))).await;
    for (method, params) in [
        ("tools/call", r#"{"name":"srv_do"}"#),
        ("prompts/get", r#"{"name":"srv_ask"}"#),
        ("resources/read", r#"{"uri":"a:1"}"#),
        ("resources/read", r#"{"uri":"b:7"}"#),
        ("resources/subscribe", r#"{"uri":"a:1"}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"srv_ask"},"argument":{}}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/resource","uri":"b:{x}"},"argument":{}}"#),
    ] {
        let mut stage = stage(TOOL.to_owned());
        let cold = aggregator(stage.backend("srv").with_store(kept.clone()));
        listed(&cold).await;
        assert_eq!(stage.heard_so_far(&["initialize"]), [], "a list starts nothing");
        let outcome = cold.call(Call::new(method, Some(raw(params)))).await;
        assert!(matches!(outcome, Outcome::Complete(_)), "{method} {params}: {outcome:?}");
        assert_eq!(stage.heard_so_far(&["initialize", method]).len(), 2, "{method} {params}");
    }
    let unsubscribed = stage(TOOL.to_owned());
    let cold = aggregator(unsubscribed.backend("srv").with_store(kept.clone()));
    let outcome = cold.call(Call::new("resources/unsubscribe", Some(raw(r#"{"uri":"a:1"}"#)))).await;
    assert!(matches!(outcome, Outcome::Complete(_)), "{outcome:?}");
    assert_eq!(unsubscribed.heard_requests(), 0, "a server that does not run has nothing to forget");
}

#[tokio::test]
async fn after_a_start_clients_are_told_of_what_is_different() {
    let kept = Arc::<Kept>::default();
    let first = stage(TOOL.to_owned());
    listed(&aggregator(first.backend("srv").with_store(kept.clone()))).await;
    for (tools, expected) in
        [(TOOL.to_owned(), None), (TOOL.replace("1.0", "1.00"), Some("notifications/tools/list_changed"))]
    {
        let stage = stage(tools.clone());
        let cold = aggregator(stage.backend("srv").with_store(kept.clone()));
        let before = listed(&cold).await;
        let mut events = cold.events().unwrap();
        assert!(matches!(call(&cold, "srv_do").await, Outcome::Complete(_)));
        assert_eq!(events.try_recv().ok().map(|event| event.method.to_string()).as_deref(), expected);
        assert!(events.try_recv().is_err(), "of nothing else");
        assert_eq!(listed(&cold).await != before, expected.is_some());
        let again = Known::from_json(kept.text.lock().unwrap().as_deref().unwrap()).unwrap();
        assert_eq!(again.definitions.tools[0].get(), tools, "what is new is kept");
    }
    assert_eq!(kept.keeps.load(Ordering::SeqCst), 2, "what is not new is not kept again");
    let (launcher, mut launched) = Launcher::new([Plan::Play]);
    let cold = aggregator(launcher.backend("srv").with_store(kept.clone()));
    let (listing, ()) = tokio::join!(cold.refresh(), async {
        let mut server = launched.recv().await.unwrap();
        server.greet().await;
        let asked = server.hear().await;
        server.answer(&asked.id, r#"{"tools":[]}"#).await;
        tokio::spawn(async move { while server.try_hear().await.is_some() {} });
    });
    assert_eq!(listing.tools.len(), 0, "who asks for what there is now is not shown what there was");
}

/// Answers calls, and ends after each.
async fn crash(mut server: Scripted) {
    server.greet().await;
    while let Some(heard) = server.try_hear().await {
        match &*heard.method {
            "tools/list" => server.answer(&heard.id, &format!(r#"{{"tools":[{TOOL}]}}"#)).await,
            _ => {
                server.answer(&heard.id, "{}").await;
                return;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_crashes_again_and_again_is_left_alone_for_a_while() {
    let (launcher, mut launched) = Launcher::new((0..20).map(|_| Plan::Play));
    tokio::spawn(async move {
        while let Some(server) = launched.recv().await {
            tokio::spawn(crash(server));
        }
    });
    let aggregator = aggregator(launcher.backend("srv"));
    for _ in 0..5 {
        assert!(matches!(call(&aggregator, "srv_do").await, Outcome::Complete(_)));
        tokio::time::sleep(Duration::from_secs(1)).await; // of the paused clock
    }
    let failed = error(call(&aggregator, "srv_do").await);
    assert_eq!(failed["data"]["code"], "server-crash-loop");
    let text = failed["message"].as_str().unwrap();
    assert!(text.contains("5 times within 60 s") && text.contains("a call after 56 s tries again"), "{text}");
    assert!(aggregator.faults().iter().any(|fault| matches!(fault.kind, FaultKind::Crashing { times: 5, .. })));
    assert_eq!(aggregator.tools().await.tools.len(), 1, "its tools are listed all the same");
    assert_eq!(launcher.launches.load(Ordering::SeqCst), 5);
    tokio::time::sleep(Duration::from_secs(56)).await;
    assert!(matches!(call(&aggregator, "srv_do").await, Outcome::Complete(_)), "twin: it was long ago");
}

/// An upstream that can be ended for lack of use.
struct Leased {
    inner: Arc<dyn Upstream>,
    retired: AtomicBool,
    held: Arc<()>,
}

impl Upstream for Leased {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        assert!(!self.retired.load(Ordering::SeqCst), "nothing goes to one that has been ended");
        self.inner.call(call)
    }

    fn is_open(&self) -> bool {
        !self.retired.load(Ordering::SeqCst) && self.inner.is_open()
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    fn hold(&self) -> Option<Hold> {
        (!self.retired.load(Ordering::SeqCst)).then(|| Hold::new(Arc::clone(&self.held)))
    }

    fn describe<'a>(&'a self) -> BoxFuture<'a, Description> {
        self.inner.describe()
    }

    fn revision(&self, list: List) -> u64 {
        self.inner.revision(list)
    }

    fn events(&self) -> Option<broadcast::Receiver<Event>> {
        self.inner.events()
    }

    fn end(&self) {
        self.inner.end();
    }
}

struct Leases {
    stage: Arc<dyn Launch>,
    last: Mutex<Option<Arc<Leased>>>,
    starts: AtomicUsize,
}

impl Leases {
    fn of(stage: &Stage) -> Arc<Self> {
        Arc::new(Self { stage: stage.played.clone(), last: Mutex::default(), starts: AtomicUsize::new(0) })
    }

    fn last(&self) -> Arc<Leased> {
        self.last.lock().unwrap().clone().unwrap()
    }
}

impl Launch for Leases {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async {
            self.starts.fetch_add(1, Ordering::SeqCst);
            let inner = self.stage.launch().await?;
            let leased = Arc::new(Leased { inner, retired: AtomicBool::new(false), held: Arc::default() });
            *self.last.lock().unwrap() = Some(Arc::clone(&leased));
            Ok(leased as Arc<dyn Upstream>)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_ended_for_lack_of_use_is_started_again_as_often_as_needed() {
    let stage = stage(TOOL.to_owned());
    let leases = Leases::of(&stage);
    let aggregator = aggregator(Backend::new("srv".parse().unwrap(), leases.clone()));
    let lists = listed(&aggregator).await;
    for round in 1..=10 {
        assert_eq!(listed(&aggregator).await, lists);
        assert_eq!(leases.starts.load(Ordering::SeqCst), round, "its list is known");
        leases.last().retired.store(true, Ordering::SeqCst);
        assert!(matches!(call(&aggregator, "srv_do").await, Outcome::Complete(_)), "round {round}");
    }
}

#[tokio::test]
async fn a_server_is_held_while_a_call_is_under_way() {
    let mut stage = Stage::new(r#""capabilities":{"tools":{}}"#, |method, _| match method {
        "tools/list" => result(format!(r#"{{"tools":[{TOOL}]}}"#)),
        _ => Reply::Never,
    });
    let leases = Leases::of(&stage);
    let aggregator = Arc::new(aggregator(Backend::new("srv".parse().unwrap(), leases.clone())));
    aggregator.tools().await;
    let holds = || Arc::strong_count(&leases.last().held) - 1;
    assert_eq!(holds(), 0, "nobody uses it");
    let calling = tokio::spawn({
        let aggregator = Arc::clone(&aggregator);
        async move { call(&aggregator, "srv_do").await }
    });
    stage.heard(&["tools/call"]).await;
    assert_eq!(holds(), 1);
    calling.abort();
    assert!(calling.await.unwrap_err().is_cancelled());
    assert_eq!(holds(), 0);
}

#[tokio::test]
async fn a_server_is_held_while_it_works_on_a_task() {
    let tasks = r#""extensions":{"io.modelcontextprotocol/tasks":{}}"#;
    let over = Arc::new(AtomicBool::new(false));
    let stage = Stage::modern(&format!(r#""capabilities":{{"tools":{{}},{tasks}}}"#), {
        let over = Arc::clone(&over);
        move |method, _| match method {
            "tools/list" => result(format!(r#"{{"tools":[{TOOL}]}}"#)),
            "tools/call" => result(r#"{"resultType":"task","taskId":"t","status":"working","ttlMs":60000}"#),
            "tasks/get" if over.load(Ordering::SeqCst) => {
                result(r#"{"resultType":"complete","taskId":"t","status":"completed","result":{"content":[]}}"#)
            }
            "tasks/get" => result(r#"{"resultType":"complete","taskId":"t","status":"working"}"#),
            _ => Reply::Never,
        }
    });
    let leases = Leases::of(&stage);
    let aggregator = aggregator(Backend::new("srv".parse().unwrap(), leases.clone()));
    let holds = || Arc::strong_count(&leases.last().held) - 1;
    let context = Arc::new(ClientContext::new(raw(&format!("{{{tasks}}}"))));
    let ask = async |method: &str, params: String| {
        let mut call = Call::new(method, Some(raw(&params)));
        call.context = Some(Arc::clone(&context));
        match aggregator.call(call).await {
            Outcome::Complete(result) | Outcome::Task(result) => serde_json::from_str::<Value>(result.get()).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let made = ask("tools/call", r#"{"name":"srv_do"}"#.to_owned()).await;
    assert_eq!(holds(), 1, "nobody waits, and it works");
    let get = format!(r#"{{"taskId":{}}}"#, made["taskId"]);
    assert_eq!(ask("tasks/get", get.clone()).await["status"], "working");
    assert_eq!(holds(), 1);
    over.store(true, Ordering::SeqCst);
    assert_eq!(ask("tasks/get", get).await["status"], "completed");
    assert_eq!(holds(), 0, "twin: it is over");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_nothing_any_more_is_ended_and_one_that_is_only_slow_is_not() {
    for (alive, starts) in [(false, 2), (true, 1)] {
        let stage = Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
            "tools/list" => result(format!(r#"{{"tools":[{TOOL}]}}"#)),
            "ping" if alive => Reply::Error(r#"{"code":-32601,"message":"what?"}"#.to_owned()),
            _ => Reply::Never,
        });
        let leases = Leases::of(&stage);
        let aggregator = aggregator(Backend::new("srv".parse().unwrap(), leases.clone()));
        for _ in 0..3 {
            assert_eq!(error(call(&aggregator, "srv_do").await)["data"]["code"], "server-timeout");
        }
        tokio::time::sleep(Duration::from_secs(6)).await; // of the paused clock: what it is given to say that it lives
        assert_eq!(leases.last().is_open(), alive);
        assert_eq!(error(call(&aggregator, "srv_do").await)["data"]["code"], "server-timeout");
        assert_eq!(leases.starts.load(Ordering::SeqCst), starts);
    }
}

/// Fails twice, and says that the server is not to blame; then it waits as long as it is told.
struct Full(AtomicUsize, Duration);

impl Launch for Full {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => Err(LaunchError::new("start", "full", "no room").at_once()),
                _ => {
                    tokio::time::sleep(self.1).await;
                    Err(LaunchError::new("start", "slow", "after all"))
                }
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_server_is_not_to_blame_the_next_call_tries_again() {
    let launch = Arc::new(Full(AtomicUsize::new(0), Duration::from_secs(300)));
    let limits = AggregatorLimits { launch_timeout: Duration::from_secs(600), ..AggregatorLimits::default() };
    let aggregator = Aggregator::builder().server("srv".parse().unwrap(), launch.clone()).limits(limits);
    let aggregator = aggregator.build().unwrap();
    for _ in 0..2 {
        let refused = error(call(&aggregator, "srv_do").await);
        assert_eq!(refused["data"]["code"], "full");
        assert!(refused["message"].as_str().unwrap().ends_with("and the next call tries again"), "{refused}");
    }
    assert_eq!(error(call(&aggregator, "srv_do").await)["data"]["code"], "slow", "whatever time it is given, it gets");
    assert_eq!(launch.0.load(Ordering::SeqCst), 3);
    assert_eq!(error(call(&aggregator, "srv_do").await)["data"]["code"], "slow");
    assert_eq!(launch.0.load(Ordering::SeqCst), 3, "twin: that was the server's own fault");
}

#[tokio::test]
async fn each_server_has_its_own_number_of_processes_beside_it() {
    const ELICIT: &str = r#"{"jsonrpc":"2.0","id":"who","method":"elicitation/create","params":{"message":"Who?"}}"#;
    for spares in [0, 1, 2] {
        let mut stage = Stage::new(r#""capabilities":{"tools":{}}"#, |method, _| match method {
            "tools/list" => result(format!(r#"{{"tools":[{TOOL}]}}"#)),
            _ => Reply::Never,
        });
        let mut policy = ServerPolicy::default();
        (policy.spares, policy.stateless) = (Some(spares), true);
        let aggregator = Arc::new(aggregator(stage.backend("srv").with_policy(policy)));
        // All are of one client, so none goes beside its own question.
        let ((sink, mut asked), client) = (Client::connect(), ClientId::new());
        let call = || {
            let call = Call::new("tools/call", Some(raw(r#"{"name":"srv_do"}"#)));
            call.with_sink(Arc::clone(&sink)).of_client(client)
        };
        let mut calls = Vec::new();
        for _ in 0..=spares {
            let call = call();
            let aggregator = Arc::clone(&aggregator);
            calls.push(tokio::spawn(async move { aggregator.call(call).await }));
            stage.heard(&["tools/call"]).await;
            stage.say(ELICIT);
            let (_, answer) = question(&mut asked).await;
            std::mem::forget(answer); // it goes on thinking
        }
        let one_more = call();
        let waiting = {
            let aggregator = Arc::clone(&aggregator);
            tokio::spawn(async move { aggregator.call(one_more).await })
        };
        // All are occupied, so it waits in the first one's line.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(stage.heard_so_far(&["initialize", "tools/call"]), [], "{spares}");
        waiting.abort();
    }
}

#[tokio::test]
async fn who_listens_hears_the_end_of_an_aggregator_that_is_replaced() {
    let stage = stage(TOOL.to_owned());
    let aggregator = aggregator(stage.backend("srv"));
    let mut before = aggregator.events().unwrap();
    let called = Call::new("tools/call", Some(raw(r#"{"name":"srv_do"}"#))).of_client(ClientId::new());
    assert!(matches!(aggregator.call(called).await, Outcome::Complete(_)));
    stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"twin"}}"#);
    assert_eq!(&*before.recv().await.unwrap().method, "notifications/message");
    aggregator.is_replaced();
    assert!(matches!(before.recv().await, Err(broadcast::error::RecvError::Closed)));
    assert!(matches!(aggregator.events().unwrap().recv().await, Err(broadcast::error::RecvError::Closed)));
    assert!(matches!(call(&aggregator, "srv_do").await, Outcome::Complete(_)), "calls are answered on");
}
