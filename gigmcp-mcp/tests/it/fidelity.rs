//! What passes from a client to a server and back is what was written.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, Call, Outcome, Upstream};
use serde_json::value::RawValue;

use crate::scripted::{Launcher, Plan};

#[tokio::test]
async fn definitions_arguments_results_and_errors_pass_byte_for_byte() {
    let (launcher, mut launched) = Launcher::new([Plan::Play]);
    let aggregator = Arc::new(Aggregator::new(vec![launcher.backend("srv")]).unwrap());
    let definition = r#"{ "x-first":1e400,"name":"do", "execution":{"taskSupport":"optional"},"inputSchema":{"type":"object","z":1.0,"a":-0},"icons":[{"src":"a:","sizes":["48x48"] }],"description":"\u00e9\ud83d\ude00" ,"annotations":{"audience":["robot"]}}"#;
    let arguments = r#"{"n":12345678901234567890.10,"z":null,"a":[1E5],"name":"inner"}"#;
    let result = r#"{"isError":false, "content":[{"type":"text","q":1e-400, "text":"\u0041"}],"structuredContent":9007199254740993,"_meta":{"b":1,"a":2}}"#;

    let server = tokio::spawn(async move {
        let mut server = launched.recv().await.unwrap();
        server.greet().await;
        let heard = server.hear().await;
        assert_eq!((&*heard.method, &*heard.params), ("tools/list", ""));
        server.answer(&heard.id, &format!(r#"{{"tools":[{definition}],"nextCursor":null}}"#)).await;
        let heard = server.hear().await;
        assert_eq!(
            heard.params,
            format!(
                r#"{{ "task":{{"ttl":60.0}},"arguments":{arguments} , "name" : "do","_meta":{{"progressToken":7}}}}"#
            )
        );
        server.answer(&heard.id, result).await;
        server
    });
    let Outcome::Complete(list) = aggregator.call(Call::new("tools/list", None)).await else {
        panic!("a list");
    };
    let exposed = definition.replace(r#""name":"do""#, r#""name":"srv_do""#);
    assert_eq!(list.get(), format!(r#"{{"tools":[{exposed}]}}"#));

    let params = format!(
        r#"{{ "task":{{"ttl":60.0}},"arguments":{arguments} , "name" : "srv_do","_meta":{{"progressToken":7}}}}"#
    );
    let params = RawValue::from_string(params).unwrap();
    let Outcome::Complete(found) = aggregator.call(Call::new("tools/call", Some(params))).await else {
        panic!("a result");
    };
    assert_eq!(found.get(), result);
    server.await.unwrap();
}

#[tokio::test]
async fn absent_arguments_stay_absent() {
    let (launcher, mut launched) = Launcher::new([Plan::Play]);
    let aggregator = Aggregator::new(vec![launcher.backend("srv")]).unwrap();
    let server = async {
        let mut server = launched.recv().await.unwrap();
        server.greet().await;
        let id = server.hear().await.id;
        server.answer(&id, r#"{"tools":[{"name":"do","inputSchema":{}}]}"#).await;
        for expected in [r#"{"name":"do"}"#, r#"{"name":"do","arguments":null}"#] {
            let heard = server.hear().await;
            assert_eq!(heard.params, expected);
            server.answer(&heard.id, "{}").await;
        }
        server
    };
    let client = async {
        for params in [r#"{"name":"srv_do"}"#, r#"{"name":"srv_do","arguments":null}"#] {
            let params = RawValue::from_string(params.to_owned()).unwrap();
            let outcome = aggregator.call_tool(Some(&params)).await;
            assert!(matches!(outcome, Outcome::Complete(_)), "{outcome:?}");
        }
    };
    tokio::join!(client, server);
}
