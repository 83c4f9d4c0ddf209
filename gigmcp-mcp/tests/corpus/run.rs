//! Plays an attack.

use std::{collections::BTreeMap, sync::Arc};

use gigmcp_mcp::{
    Aggregator, BoxFuture, Call, ClientId, Definition, DefinitionDigest, DefinitionKind, FlowLabels, FlowPolicy,
    Misfit, Outcome, Pins, PinsUnknown, Process, RateLimits, ServerPolicy, Sink, Standing, Upstream, safe_text,
};
use serde_json::Value;

use crate::{
    attack::{Attack, Policy, Server, Step, plain},
    client::{Client, Deaf},
    played::{Reply, Stage, result},
};

/// Runs an attack and checks what is expected of it; what was seen, in words.
pub(crate) async fn attack(attack: &Attack) -> String {
    let run = play(attack, Which::Attack).await;
    assert_eq!(run.findings, attack.findings, "{}: what is found", attack.id);
    assert_eq!(run.shadowings, attack.shadowings, "{}: whose tools are named", attack.id);
    run.in_words()
}

/// Runs it without the attack: everything passes, and nothing is found.
pub(crate) async fn twin(attack: &Attack) {
    let Some(twin) = attack.twin() else {
        assert!(attack.findings.is_empty(), "{}: what is refused has a twin", attack.id);
        return;
    };
    let run = play(&twin, Which::Twin).await;
    assert!(run.findings.is_empty(), "{}: found without the attack: {:?}", attack.id, run.findings);
    assert!(run.codes.is_empty(), "{}: refused without the attack: {:?}", attack.id, run.codes);
    assert!(run.shadowings.is_empty(), "{}: {:?}", attack.id, run.shadowings);
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Which {
    Attack,
    Twin,
}

/// What a run came to.
struct Run {
    findings: BTreeMap<String, BTreeMap<String, u64>>,
    shadowings: Vec<String>,
    /// Stable codes of what was refused.
    codes: Vec<String>,
    left_out: Vec<String>,
}

impl Run {
    fn in_words(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for (server, found) in &self.findings {
            words.extend(found.iter().map(|(finding, count)| format!("`{finding}` {count} ({server})")));
        }
        words.extend(self.left_out.iter().map(|reason| format!("left out: {reason}")));
        words.extend(self.codes.iter().map(|code| format!("refused: `{code}`")));
        words.extend(self.shadowings.iter().map(|shadowing| format!("told: {shadowing}")));
        if words.is_empty() { "passes as it is".to_owned() } else { words.join("; ") }
    }
}

async fn play(attack: &Attack, which: Which) -> Run {
    let stages: Vec<(&Server, Arc<tokio::sync::Mutex<Stage>>)> =
        attack.servers.iter().map(|server| (server, Arc::new(tokio::sync::Mutex::new(stage(server))))).collect();
    let mut backends = Vec::new();
    for (server, stage) in &stages {
        backends.push(stage.lock().await.backend(&server.name).with_policy(policy(&server.policy)));
    }
    let flow = match &*attack.flow {
        "ask" => FlowPolicy::Ask,
        _ => FlowPolicy::Warn,
    };
    let aggregator = Aggregator::builder().backends(backends).flow(flow).build().unwrap();
    let client = ClientId::new();
    let mut codes = Vec::new();
    for (at, step) in attack.steps.iter().enumerate() {
        if at == 1 {
            pull_rugs(&aggregator, &stages).await;
        }
        for _ in 0..step.times {
            codes.extend(take(attack, step, which, &aggregator, client, &stages).await);
        }
    }
    codes.dedup();
    let mut findings = BTreeMap::new();
    for (server, found) in aggregator.findings() {
        let found: BTreeMap<_, _> = found.iter().map(|(finding, count)| (finding.name().to_owned(), count)).collect();
        if !found.is_empty() {
            findings.insert(server.to_string(), found);
        }
    }
    let shadowings = aggregator.shadowings();
    let shadowings = shadowings.iter().map(|shadowing| {
        let gigmcp_mcp::Shadowing { server, tool, other, named, .. } = shadowing;
        format!("{server}'s {tool} names {named} of {other}")
    });
    let odd = aggregator.faults().into_iter().map(|fault| fault.kind.to_string());
    let left_out =
        odd.filter_map(|kind| Some(kind.split_once(": ")?.1.to_owned()).filter(|_| !kind.contains("mended")));
    Run { findings, shadowings: shadowings.collect(), codes, left_out: left_out.collect() }
}

/// Servers that say something else the next time they are started are started again.
async fn pull_rugs(aggregator: &Aggregator, stages: &[(&Server, Arc<tokio::sync::Mutex<Stage>>)]) {
    for (_, stage) in stages.iter().filter(|(server, _)| !server.then.is_empty()) {
        let mut stage = stage.lock().await;
        stage.heard_so_far(&[]);
        stage.stop();
        while stage.heard_so_far(&["tools/list"]).is_empty() {
            aggregator.refresh().await;
            tokio::task::yield_now().await;
        }
    }
}

/// Agrees to what it is told first, and to nothing else.
#[derive(Debug, Default)]
struct First(std::sync::Mutex<BTreeMap<(DefinitionKind, Box<str>), DefinitionDigest>>);

impl Pins for First {
    fn judge<'a>(
        &'a self,
        said: &'a [Arc<Definition>],
        _: Process,
    ) -> BoxFuture<'a, Result<Vec<Standing>, PinsUnknown>> {
        let mut agreed = self.0.lock().unwrap();
        if agreed.is_empty() {
            agreed.extend(said.iter().map(|said| ((said.kind, said.name.clone()), said.digest)));
        }
        let standing = |said: &Arc<Definition>| match agreed.get(&(said.kind, said.name.clone())) {
            Some(digest) if *digest == said.digest => Standing::Agreed,
            Some(_) => Standing::Changed,
            None => Standing::New,
        };
        let standings = said.iter().map(standing).collect();
        Box::pin(async move { Ok(standings) })
    }
}

/// One request of the client; the stable code if it was refused.
async fn take(
    attack: &Attack,
    step: &Step,
    which: Which,
    aggregator: &Aggregator,
    client: ClientId,
    stages: &[(&Server, Arc<tokio::sync::Mutex<Stage>>)],
) -> Option<String> {
    let case = format!("{} ({which:?}), {}", attack.id, step.method);
    let reached = Client::connect();
    let sink: Arc<dyn Sink> = match step.questions {
        Some(_) => Arc::clone(&reached) as _,
        None => Arc::new(Deaf(Arc::clone(&reached))),
    };
    let outcome = match &*step.method {
        "instructions" => aggregator.describe().await.instructions.unwrap_or_default(),
        method => {
            let call = Call::new(method, step.params.clone()).with_sink(sink).of_client(client);
            let speaking: Vec<_> = stages.iter().map(|(server, stage)| speak(server, Arc::clone(stage))).collect();
            let speaking: Vec<_> = speaking.into_iter().map(tokio::spawn).collect();
            let outcome = aggregator.call(call).await;
            speaking.iter().for_each(tokio::task::JoinHandle::abort);
            match outcome {
                Outcome::Complete(json) | Outcome::Error(json) => plain(json.get()),
                other => panic!("{case}: {other:?}"),
            }
        }
    };
    let all = [vec![outcome.clone()], reached.notes(), reached.questions()].concat();
    for text in all.iter().flat_map(|text| texts(text)) {
        assert_eq!(safe_text(&text), text, "{case}: nothing is left that is not to be seen");
    }
    let all = all.join("\n");
    for shown in &step.shows {
        assert!(all.contains(&**shown), "{case}: {shown:?} is not in {all}");
    }
    if let Some(questions) = step.questions.filter(|_| which == Which::Attack) {
        assert_eq!(reached.questions().len(), questions, "{case}: {all}");
    }
    if which == Which::Attack {
        for hidden in &step.hides {
            assert!(!all.contains(&**hidden), "{case}: {hidden:?} is in {all}");
        }
        for said in &step.says {
            assert!(all.contains(&**said), "{case}: {said:?} is not in {all}");
        }
    }
    if which == Which::Attack && !step.heard {
        for (_, stage) in stages {
            let heard = stage.lock().await.heard_so_far(&["tools/call"]);
            assert!(heard.is_empty(), "{case}: a server heard {heard:?}");
        }
    }
    let outcome: Value = serde_json::from_str(&outcome).unwrap_or_default();
    let code =
        [&outcome["data"]["code"], &outcome["_meta"]["gigmcp/refused"]["code"]].into_iter().find_map(Value::as_str);
    code.map(str::to_owned)
}

/// Every text in a JSON text, names included.
fn texts(json: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut waiting = vec![serde_json::from_str(json).unwrap_or_else(|_| Value::from(json))];
    while let Some(value) = waiting.pop() {
        match value {
            Value::String(text) => texts.push(text),
            Value::Array(items) => waiting.extend(items),
            Value::Object(members) => members.into_iter().for_each(|(name, value)| {
                texts.push(name);
                waiting.push(value);
            }),
            _ => {}
        }
    }
    texts
}

/// A server that answers as the file says. One that has something to say first is heard by [`speak`].
fn stage(server: &Server) -> Stage {
    let capabilities = r#""capabilities":{"tools":{},"prompts":{},"resources":{},"logging":{}}"#;
    let capabilities = match &server.instructions {
        Some(text) => format!(r#"{capabilities},"instructions":{}"#, text.get()),
        None => capabilities.to_owned(),
    };
    let says = !server.says.is_empty();
    let text = |json: &serde_json::value::RawValue| json.get().replace(['\n', '\r'], " ");
    let answers: BTreeMap<_, _> = server.answers.iter().map(|(key, json)| (key.clone(), text(json))).collect();
    let errors: BTreeMap<_, _> = server.errors.iter().map(|(key, json)| (key.clone(), text(json))).collect();
    let then: BTreeMap<_, _> = server.then.iter().map(|(key, json)| (key.clone(), text(json))).collect();
    let listed = std::sync::atomic::AtomicUsize::new(0);
    Stage::new(&capabilities, move |method, params| {
        if method == "tools/list"
            && listed.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0
            && let Some(answer) = then.get(method)
        {
            return result(answer.clone());
        }
        if method == "tools/call" && says {
            return Reply::Never;
        }
        if let Some(error) = errors.get(method) {
            return Reply::Error(error.clone());
        }
        match answer(&answers, method, params) {
            Some(answer) => result(answer),
            None if method.ends_with("/list") => result(empty(method)),
            None => Reply::Error(r#"{"code":-32601,"message":"Method not found"}"#.to_owned()),
        }
    })
}

fn answer(answers: &BTreeMap<String, String>, method: &str, params: &str) -> Option<String> {
    let params: Value = serde_json::from_str(params).unwrap_or_default();
    let named = params["name"].as_str().and_then(|name| answers.get(&format!("{method} {name}")));
    named.or_else(|| answers.get(method)).cloned()
}

fn empty(method: &str) -> String {
    let list = match method {
        "prompts/list" => "prompts",
        "resources/list" => "resources",
        "resources/templates/list" => "resourceTemplates",
        _ => "tools",
    };
    format!(r#"{{"{list}":[]}}"#)
}

/// Says what a server has to say before it answers a call: notifications, and requests, each of which it waits for.
fn speak(server: &Server, stage: Arc<tokio::sync::Mutex<Stage>>) -> impl Future<Output = ()> + Send + 'static + use<> {
    let lines: Vec<String> = server.says.iter().map(|line| line.get().replace(['\n', '\r'], " ")).collect();
    let answers: BTreeMap<_, _> =
        server.answers.iter().map(|(key, json)| (key.clone(), json.get().replace(['\n', '\r'], " "))).collect();
    async move {
        if lines.is_empty() {
            return;
        }
        let mut stage = stage.lock().await;
        let (_, params) = stage.heard(&["tools/call"]).await;
        let id = stage.heard_requests();
        let asked: Value = serde_json::from_str(&params).unwrap();
        let token = asked["_meta"]["progressToken"].to_string();
        for line in lines {
            stage.say(line.replace("\"$TOKEN\"", &token));
            if line.contains(r#""id""#) {
                stage.heard_answer().await;
            }
        }
        let answer = answer(&answers, "tools/call", &params).unwrap();
        stage.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{answer}}}"#));
    }
}

fn policy(said: &Policy) -> ServerPolicy {
    let mut policy = ServerPolicy::default();
    if said.strict_results {
        policy.structured_content = Misfit::Refused;
    }
    if said.pinned {
        policy.pins = Some(Arc::new(First::default()));
    }
    policy.rate = RateLimits { calls_per_minute: said.calls_per_minute, ..RateLimits::default() };
    let limits = &mut policy.limits;
    limits.text_bytes = said.text_bytes.unwrap_or(limits.text_bytes);
    limits.base64_bytes = said.base64_bytes.unwrap_or(limits.base64_bytes);
    limits.items = said.items.unwrap_or(limits.items);
    let has = |label: &str| said.labels.iter().any(|said| said == label);
    policy.labels = FlowLabels {
        reads_untrusted: has("reads-untrusted"),
        reads_private: has("reads-private"),
        can_send: has("can-send"),
    };
    policy
}
