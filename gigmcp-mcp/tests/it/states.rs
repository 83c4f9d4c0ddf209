//! The state of a server that asks for input comes back to that server, for the same thing, and reaches no other.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, Call, ClientContext, Outcome, Prefixes, StreamableHttpLimits, Upstream};
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    rounds::post,
    seam::raw,
    seams::built,
    serving::Endpoint,
};

/// A server that asks at each attempt, with this state if it has any, and says this of what it has.
fn asker(state: Option<&'static str>, says: &'static str) -> Stage {
    Stage::modern(r#""capabilities":{"tools":{},"prompts":{},"resources":{}}"#, move |method, _| match method {
        "tools/list" => result(
            json!({ "tools": [
                { "name": "do", "description": says, "inputSchema": { "type": "object" } },
                { "name": "also", "description": says, "inputSchema": { "type": "object" } },
            ] })
            .to_string(),
        ),
        "prompts/list" => result(json!({ "prompts": [{ "name": "do", "description": says }] }).to_string()),
        "resources/list" => result(r#"{"resources":[{"uri":"a:1","name":"a"}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "tools/call" | "prompts/get" | "resources/read" => {
            let asked = json!({ "k": { "method": "elicitation/create", "params": { "message": "?" } } });
            let mut asks = json!({ "resultType": "input_required", "inputRequests": asked });
            if let Some(state) = state {
                asks["requestState"] = json!(state);
            }
            result(asks.to_string())
        }
        _ => Reply::Never,
    })
}

async fn over(stage: &Stage, name: &str) -> Arc<Aggregator> {
    built(Aggregator::builder().backends([stage.backend(name)]).prefixes(Prefixes::WhenNeeded)).await
}

/// The state that comes of a request of `owner` with this state, or the error.
async fn ask(aggregator: &Aggregator, owner: &str, (method, params): (&str, Value), state: Option<&Value>) -> Value {
    let mut context = ClientContext::new(raw(r#"{"elicitation":{}}"#));
    (context.owner, context.responses) = (Some(owner.into()), state.map(|_| raw(r#"{"k":{"action":"accept"}}"#)));
    context.state = state.map(|state| raw(&state.to_string()));
    let mut call = Call::new(method, Some(raw(&params.to_string())));
    call.context = Some(Arc::new(context));
    match aggregator.call(call).await {
        Outcome::InputRequired(asks) => {
            serde_json::from_str::<Value>(asks.get()).unwrap().get("requestState").cloned().unwrap()
        }
        Outcome::Error(error) => serde_json::from_str(error.get()).unwrap(),
        other => panic!("{other:?}"),
    }
}

const METHODS: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

#[tokio::test]
async fn a_state_goes_back_to_the_server_that_it_was_made_for_and_to_no_other() {
    let (mut one, mut renamed, mut other) =
        (asker(Some("own"), "A."), asker(Some("own"), "A."), asker(Some("own"), "B."));
    let (first, second, third) = (over(&one, "one").await, over(&renamed, "two").await, over(&other, "one").await);
    for method in METHODS {
        let what = (method, json!({ "name": "do", "uri": "a:1" }));
        let made = ask(&first, "me", what.clone(), None).await;
        assert!(made.is_string() && made != json!("own"), "{method}: {made}");
        one.heard_so_far(&[]);
        for (case, aggregator, owner, what, state) in [
            ("another server has the name by now", &second, "me", what.clone(), &made),
            ("another one is called like the server by now", &third, "me", what.clone(), &made),
            ("another principal", &first, "you", what.clone(), &made),
            ("another tool", &first, "me", ("tools/call", json!({ "name": "also" })), &made),
            ("made by its client", &first, "me", what.clone(), &json!("own")),
            ("no text", &first, "me", what.clone(), &json!({ "own": 1 })),
        ] {
            // A resource says nothing of itself by which its server could be told from another of its name.
            if method == "resources/read" && Arc::ptr_eq(aggregator, &third) {
                continue;
            }
            let got = ask(aggregator, owner, what, Some(state)).await;
            assert_eq!(got["code"], -32602, "{method}, {case}: {got}");
            let text = got["message"].as_str().unwrap();
            assert!(text.starts_with("requestState is not one that was given out"), "{method}, {case}: {text}");
            let heard = [&mut one, &mut renamed, &mut other].map(|stage| stage.heard_so_far(&METHODS));
            assert!(heard.iter().all(Vec::is_empty), "{method}, {case}: {heard:?}");
        }
        let again = ask(&first, "me", what, Some(&made)).await;
        assert!(again.is_string(), "twin: {method}: {again}");
        let heard: Value = serde_json::from_str(&one.heard(&[method]).await.1).unwrap();
        assert_eq!(
            (&heard["requestState"], &heard["inputResponses"]["k"]["action"]),
            (&json!("own"), &json!("accept"))
        );
    }
}

#[tokio::test]
async fn answers_for_a_server_without_a_state_reach_no_other_either() {
    let (mut one, mut two) = (asker(None, "A."), asker(None, "A."));
    let (first, second) = (over(&one, "one").await, over(&two, "two").await);
    let what = ("tools/call", json!({ "name": "do" }));
    let made = ask(&first, "me", what.clone(), None).await;
    let got = ask(&second, "me", what.clone(), Some(&made)).await;
    assert_eq!((&got["code"], two.heard_so_far(&METHODS)), (&json!(-32602), Vec::new()));
    one.heard_so_far(&[]);
    ask(&first, "me", what, Some(&made)).await;
    let heard: Value = serde_json::from_str(&one.heard(&METHODS).await.1).unwrap();
    assert_eq!((heard.get("requestState"), heard["inputResponses"].is_object()), (None, true), "twin");
}

#[tokio::test]
async fn a_long_state_comes_back_and_one_that_would_not_is_refused_at_once() {
    for (bytes, passes) in [(64 << 10, true), (200 << 10, false)] {
        let mut stage = Stage::modern(r#""capabilities":{"tools":{}}"#, move |method, params| match method {
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            "tools/call" if params.contains("inputResponses") => result(r#"{"content":[]}"#),
            "tools/call" => {
                let asked = json!({ "k": { "method": "elicitation/create", "params": { "message": "?" } } });
                let state = "x".repeat(bytes);
                let asks = json!({ "resultType": "input_required", "inputRequests": asked, "requestState": state });
                result(asks.to_string())
            }
            _ => Reply::Never,
        });
        let aggregator = built(Aggregator::builder().backends([stage.backend("srv")])).await;
        let direct = ask(&aggregator, "me", ("tools/call", json!({ "name": "srv_do" })), None).await;
        assert_eq!(direct.is_string(), passes, "without an endpoint");
        let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
        let (_, asks) = post(&endpoint, "tools/call", json!({ "name": "srv_do" })).await;
        let state = asks["result"]["requestState"].clone();
        if !passes {
            assert_eq!(asks["error"]["message"], "the server's state is too long", "{asks}");
            continue;
        }
        stage.heard_so_far(&[]);
        let again =
            json!({ "name": "srv_do", "requestState": state, "inputResponses": { "k": { "action": "accept" } } });
        let (_, answer) = post(&endpoint, "tools/call", again).await;
        assert!(answer["result"]["content"].is_array(), "{answer}");
        let heard: Value = serde_json::from_str(&stage.heard(&METHODS).await.1).unwrap();
        assert!(heard["requestState"] == "x".repeat(bytes), "as it was");
    }
}
