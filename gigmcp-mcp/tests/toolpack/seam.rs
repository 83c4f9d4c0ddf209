//! A toolpack in the same process as what asks it.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, Backend, BoxFuture, Call, Launch, LaunchError, Outcome, Upstream};
use serde_json::{Value, json, value::RawValue};

use crate::{
    origin::{Answer, Origin},
    pack::{HOST, Pack},
};

/// Hands out one that is there.
struct Ready(Arc<dyn Upstream>);

impl Launch for Ready {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

#[tokio::test]
async fn an_aggregator_takes_a_toolpack_for_a_server() {
    let origin = Origin::start(&[HOST]).await;
    origin.will_answer([Answer::json(200, &json!({"n": 1}))]);
    let toolpack = Arc::new(Pack::tool("GET", "/x", "").start(&origin));
    let backends = vec![Backend::new("acme".parse().unwrap(), Arc::new(Ready(toolpack)))];
    let aggregator = Aggregator::new(backends).unwrap();
    assert_eq!(&*aggregator.tools().await.tools[0].exposed, "acme_call");
    let params = RawValue::from_string(json!({ "name": "acme_call", "arguments": {} }).to_string()).unwrap();
    let Outcome::Complete(result) = aggregator.call(Call::new("tools/call", Some(params))).await else {
        panic!("a result");
    };
    let result: Value = serde_json::from_str(result.get()).unwrap();
    assert_eq!(result, json!({ "content": [{ "type": "text", "text": "{\"n\":1}" }] }));
}
