//! Tasks go on when another aggregator takes its predecessor's place.

use std::sync::Arc;

use gigmcp_mcp::{
    Aggregator, AggregatorBuilder, Backend, BoxFuture, Call, CallVerdict, Hold, Launch, LaunchError, Outcome,
    ServerPolicy, Upstream,
};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::{
    played::Stage,
    seams::{Notes, ask, needs, policy, samplings},
    tasks_played::{server, task, tells},
};

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

    fn is_open(&self) -> bool {
        self.0.is_open()
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
        // Nobody waits until it is held no longer.
        script.lock().unwrap().ttl = 3_600_000.0;
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
            tokio::task::yield_now().await;
        };
        assert_eq!(end == CallVerdict::Ok, ends, "{end:?}; twin: its process has ended");
    }
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
