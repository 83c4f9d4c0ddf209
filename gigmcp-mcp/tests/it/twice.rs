//! Results in which a member is named twice: two readers read two things.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, Call, ClientContext, Outcome, Upstream};
use serde_json::json;

use crate::{
    notices::ODD,
    played::{Reply, Stage, result},
    seam::raw,
    shared_uris::{ask, called, link, offering},
};

#[tokio::test]
async fn what_is_a_link_to_some_readers_only_is_told_as_text() {
    let embedded = |beside: &str| format!(r#"{{"type":"resource","resource":{{"uri":"doc://7","text":"t"{beside}}}}}"#);
    let linking = |beside: &str| link("doc://7").replace('}', &format!("{beside}}}"));
    for block in [&linking as &dyn Fn(&str) -> String, &embedded] {
        for (beside, is_link) in [(r#","x":1,"x":2"#, false), (r#","x":1,"y":2"#, true)] {
            let (one, two) = (offering("a", (&[], None), &block(beside)), offering("b", (&["doc://7"], None), ""));
            let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
            aggregator.tools().await;
            if is_link {
                assert_eq!(called(&aggregator, "a_point").await, ["a+doc://7"], "twin");
            } else {
                let told = ask(&aggregator, "tools/call", &json!({ "name": "a_point" })).await;
                assert_eq!(told["content"], json!([{ "type": "text", "text": block(beside) }]));
            }
        }
    }
}

#[tokio::test]
async fn a_message_that_is_a_link_to_some_readers_only_is_told_as_text() {
    for (beside, is_link) in [(r#","x":1,"x":2"#, false), (r#","x":1,"y":2"#, true)] {
        let message = format!(r#"{{"role":"user","content":{}{beside}}}"#, link("doc://7"));
        let messages = format!(r#"{{"messages":[{message}]}}"#);
        let one = Stage::new(r#""capabilities":{"prompts":{},"resources":{}}"#, move |method, _| match method {
            "tools/list" => result(r#"{"tools":[]}"#),
            "prompts/list" => result(r#"{"prompts":[{"name":"ask"}]}"#),
            "prompts/get" => result(messages.clone()),
            "resources/list" => result(r#"{"resources":[]}"#),
            "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
            _ => Reply::Never,
        });
        let two = offering("b", (&["doc://7"], None), "");
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
        aggregator.tools().await;
        let told = ask(&aggregator, "prompts/get", &json!({ "name": "a_ask" })).await;
        let content = &told["messages"][0]["content"];
        match is_link {
            true => assert_eq!(content["uri"], "a+doc://7", "twin"),
            false => assert_eq!(*content, json!({ "type": "text", "text": message })),
        }
    }
}

#[tokio::test]
async fn what_no_reader_takes_for_a_link_passes_as_it_is() {
    let messages = |content: &str| format!(r#"{{"messages":[{{"role":"user","content":{content}}},"\u00e9"]}}"#);
    let strange = messages(r#"[{"type":"text","text":"\u00e9"}]"#);
    let linking = messages(&link("doc://7"));
    let changed = messages(&link("a+doc://7"));
    for (answer, told) in [(&strange, &strange), (&linking, &changed)] {
        let capabilities = json!({ "tools": {}, "resources": {}, "extensions": { ODD: {} } });
        let answer = answer.clone();
        let one = Stage::new(&format!(r#""capabilities":{capabilities}"#), move |method, _| match method {
            "tools/list" => result(r#"{"tools":[]}"#),
            "resources/list" => result(r#"{"resources":[]}"#),
            "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
            "com.example/odd/do" => result(answer.clone()),
            _ => Reply::Never,
        });
        let two = offering("b", (&["doc://7"], None), "");
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
        aggregator.tools().await;
        let mut call = Call::new("com.example/odd/do", None);
        call.context = Some(Arc::new(ClientContext::new(raw(&json!({ "extensions": { ODD: {} } }).to_string()))));
        let Outcome::Complete(result) = aggregator.call(call).await else { panic!("refused") };
        assert_eq!(result.get(), told);
    }
}

#[tokio::test]
async fn a_result_that_two_readers_would_read_as_two_is_refused() {
    for (result_of, passes) in [
        (r#"{"content":[],"structuredContent":{"n":"no"},"structuredContent":{"n":1}}"#, false),
        (r#"{"content":[],"structuredContent":{"n":1},"x":1,"x":2}"#, false),
        (r#"{"content":[],"structuredContent":{"n":1},"x":1,"y":2}"#, true),
    ] {
        let stage = Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
            "tools/list" => result(
                json!({ "tools": [{ "name": "do", "inputSchema": { "type": "object" }, "outputSchema": {
                    "type": "object", "properties": { "n": { "type": "number" } } } }] })
                .to_string(),
            ),
            _ => result(result_of),
        });
        let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
        let called = aggregator.call(Call::new("tools/call", Some(raw(r#"{"name":"srv_do"}"#)))).await;
        match called {
            Outcome::Complete(told) => assert!(passes && told.get() == result_of, "{told}"),
            Outcome::Error(error) => assert!(!passes && error.get().contains(r#""code":"server-protocol""#), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}
