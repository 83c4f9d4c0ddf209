//! What stands between a server and everybody else, as its owner sets it.

use std::sync::Arc;

use gigmcp_mcp::{
    Aggregator, Call, ClientId, Finding, FlowLabels, FlowPolicy, Misfit, Outcome, OutputText, ServerPolicy, Upstream,
    Verdict,
};

use crate::{
    played::{Reply, Stage, result},
    seam::{Client, question, raw},
};

const TOOLS: &str = r#"{"tools":[{"name":"do","inputSchema":{"type":"object","properties":{"n":{"type":"integer"}}}},{"name":"must","inputSchema":{"type":"object","required":["n"]}}]}"#;
/// Coloured, with a number and a blank that any reserialising would change.
const COLOURED: &str =
    "{ \"content\":[{\"type\":\"text\",\"text\":\"\\u001b[31mred\\u001b[0m \\u00e9\u{feff}\"}],\"x\":1.50e1 }";

fn stage(answer: &'static str) -> Stage {
    Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
        "tools/list" => result(TOOLS),
        "tools/call" => result(answer),
        _ => Reply::Error(r#"{"code":-32601,"message":"none"}"#.to_owned()),
    })
}

fn aggregator(stage: &Stage, change: impl FnOnce(&mut ServerPolicy)) -> Aggregator {
    let mut policy = ServerPolicy::default();
    change(&mut policy);
    Aggregator::builder().backends([stage.backend("srv").with_policy(policy)]).build().unwrap()
}

async fn called(aggregator: &Aggregator, params: &str) -> String {
    match aggregator.call_tool(Some(&raw(params))).await {
        Outcome::Complete(json) | Outcome::Error(json) => json.get().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn coloured_output_is_plain_unless_its_owner_wants_it_so() {
    let stage = stage(COLOURED);
    let clean = aggregator(&stage, |_| {});
    let plain = COLOURED.replace(r"\u001b[31m", "").replace(r"\u001b[0m", "").replace('\u{feff}', "");
    assert_eq!(called(&clean, r#"{"name":"srv_do"}"#).await, plain);
    let (_, found) = &clean.findings()[0];
    assert_eq!((found.of(Finding::EscapeSequence), found.of(Finding::Invisible)), (2, 1));
    let written = aggregator(&stage, |policy| policy.output = OutputText::AsWritten);
    assert_eq!(called(&written, r#"{"name":"srv_do"}"#).await, COLOURED);
}

#[tokio::test]
async fn output_as_written_is_no_licence_for_definitions_errors_and_names() {
    let stage = Stage::new(r#""capabilities":{"tools":{}}"#, |method, _| match method {
        "tools/list" => result("{\"tools\":[{\"name\":\"d\u{200b}o\",\"description\":\"\\u001b[8mx\"}]}"),
        _ => Reply::Error(r#"{"code":-1,"message":"\u001b[31mno"}"#.to_owned()),
    });
    let aggregator = aggregator(&stage, |policy| policy.output = OutputText::AsWritten);
    let tools = aggregator.tools().await.tools;
    assert!(tools[0].exposed.is_ascii(), "{}", tools[0].exposed);
    assert!(tools[0].definition.get().contains(r#""description":"x""#), "{}", tools[0].definition);
    let name = &tools[0].exposed;
    assert_eq!(called(&aggregator, &format!(r#"{{"name":"{name}"}}"#)).await, r#"{"code":-1,"message":"no"}"#);
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_told_to_the_model_and_not_to_the_server() {
    let mut stage = stage(r#"{"content":[]}"#);
    let strict = aggregator(&stage, |_| {});
    for (case, params, expected) in [
        ("they fit", r#"{"name":"srv_do","arguments":{"n":1}}"#, None),
        ("there are none", r#"{"name":"srv_do"}"#, None),
        ("null is none", r#"{"name":"srv_do","arguments":null}"#, None),
        ("more than the schema says", r#"{"name":"srv_do","arguments":{"m":1}}"#, None),
        (
            "no integer",
            r#"{"name":"srv_do","arguments":{"n":"1"}}"#,
            Some("at /n: the value is not of type \\\"integer\\\""),
        ),
        ("no object", r#"{"name":"srv_do","arguments":[1]}"#, Some("for tool srv_do: the value is not of type")),
        ("there must be one", r#"{"name":"srv_must","arguments":null}"#, Some("\\\"n\\\" is a required property")),
    ] {
        let answer = called(&strict, params).await;
        let heard = stage.heard_so_far(&["tools/call"]);
        match expected {
            None => assert_eq!(answer, r#"{"content":[]}"#, "{case}"),
            Some(reason) => {
                assert!(answer.contains(reason) && answer.contains(r#""isError":true"#), "{case}: {answer}")
            }
        }
        assert_eq!(heard.is_empty(), expected.is_some(), "{case}: {heard:?}");
        if let Some((_, heard)) = heard.first() {
            assert_eq!(heard.contains("null"), params.contains("null"), "{case}: it is passed on as written");
        }
    }
    assert_eq!(strict.findings()[0].1.of(Finding::ArgumentsRefused), 3);
    let lenient = aggregator(&stage, |policy| policy.arguments = Misfit::Passed);
    assert_eq!(called(&lenient, r#"{"name":"srv_do","arguments":{"n":"1"}}"#).await, r#"{"content":[]}"#);
    assert_eq!(lenient.findings()[0].1.of(Finding::ArgumentsRefused), 1, "it is counted all the same");
}

#[tokio::test]
async fn a_toxic_flow_goes_on_when_the_user_agrees_and_only_then() {
    let stage = stage(r#"{"content":[]}"#);
    let all = FlowLabels { reads_untrusted: true, reads_private: true, can_send: true };
    let built = |flow| {
        let mut policy = ServerPolicy::default();
        policy.labels = all;
        Aggregator::builder().backends([stage.backend("srv").with_policy(policy)]).flow(flow).build().unwrap()
    };
    let call =
        |client, sink| Call::new("tools/call", Some(raw(r#"{"name":"srv_do"}"#))).of_client(client).with_sink(sink);
    let asking = Arc::new(built(FlowPolicy::Ask));
    assert!(asking.has_toxic_flow());
    for (answer, expected) in [
        (Verdict::Result(raw(r#"{"action":"decline"}"#)), "flow-needs-consent"),
        (Verdict::Error(raw(r#"{"code":-32601,"message":"no"}"#)), "flow-needs-consent"),
        (Verdict::Result(raw(r#"{"action":"accept","content":{}}"#)), "content"),
    ] {
        let (sink, mut reached) = Client::connect();
        let client = ClientId::new();
        let task = tokio::spawn({
            let (asking, call) = (Arc::clone(&asking), call(client, Arc::clone(&sink)));
            async move { asking.call(call).await }
        });
        let (request, reply) = question(&mut reached).await;
        assert_eq!(&*request.method, "elicitation/create");
        assert!(request.id.as_json().starts_with(r#""gigmcp-flow-"#), "{}", request.id.as_json());
        reply.send(answer).unwrap();
        let outcome = format!("{:?}", task.await.unwrap());
        assert!(outcome.contains(expected), "{outcome}");
        if expected == "content" {
            let again = format!("{:?}", asking.call(call(client, sink)).await);
            assert!(again.contains("content"), "it is asked once a session: {again}");
        }
    }
    for policy in [FlowPolicy::Warn, FlowPolicy::Off] {
        let aggregator = built(policy);
        assert_eq!(called(&aggregator, r#"{"name":"srv_do"}"#).await, r#"{"content":[]}"#);
        assert_eq!(aggregator.findings()[0].1.of(Finding::Flow), u64::from(policy == FlowPolicy::Warn));
    }
}
