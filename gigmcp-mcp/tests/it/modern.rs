//! Clients without a session: every request stands alone, and what a server asks ends it for the time being.

use std::{sync::Arc, time::Duration};

use gigmcp_mcp::{Aggregator, StreamableHttpLimits};
use http::Method;
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    serving::{self, Endpoint, endpoint_of},
};

const CAPABILITIES: &str =
    r#""capabilities":{"tools":{},"prompts":{},"resources":{"subscribe":true},"logging":{}},"instructions":"Do.""#;

fn server() -> Stage {
    Stage::new(CAPABILITIES, |method, params| match method {
        "tools/list" => result(
            r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}},{"name":"wait","inputSchema":{"type":"object"}}]}"#,
        ),
        "prompts/list" => result(r#"{"prompts":[]}"#),
        "resources/list" => result(r#"{"resources":[{"uri":"a:1","name":"n"}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "tools/call" if params.contains(r#""do""#) => result(params.to_owned()),
        "resources/read" => result(r#"{"contents":[]}"#),
        "resources/subscribe" | "resources/unsubscribe" => result("{}"),
        _ => Reply::Never,
    })
}

async fn serve_with(limits: StreamableHttpLimits) -> (Endpoint, Stage) {
    let stage = server();
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    aggregator.tools().await;
    (Endpoint::serve(aggregator, limits).await, stage)
}

async fn serve() -> (Endpoint, Stage) {
    serve_with(StreamableHttpLimits::default()).await
}

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"roots":{}}"#;

/// A request whose parameters are `rest` and what every request needs.
fn body(method: &str, rest: &str) -> String {
    let comma = if rest.is_empty() { "" } else { "," };
    format!(r#"{{"jsonrpc":"2.0","id":"r","method":"{method}","params":{{{rest}{comma}"_meta":{{{META}}}}}}}"#)
}

fn headers<'a>(method: &'a str, name: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    if !name.is_empty() {
        headers.push(("mcp-name", name));
    }
    headers
}

async fn post(endpoint: &Endpoint, method: &str, name: &str, rest: &str) -> serving::Reply {
    endpoint.post(&headers(method, name), &body(method, rest)).await
}

#[tokio::test]
async fn a_server_says_what_it_is_without_a_handshake() {
    let (endpoint, _stage) = serve().await;
    let reply = post(&endpoint, "server/discover", "", "").await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json()["result"],
        json!({
            "supportedVersions": ["2026-07-28"],
            "capabilities": {
                "tools": { "listChanged": true }, "prompts": { "listChanged": true },
                "resources": { "listChanged": true, "subscribe": true }, "logging": {},
            },
            "instructions": "## srv\nDo.",
            "resultType": "complete", "ttlMs": 60000, "cacheScope": "private",
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "gig", "version": "1" } },
        })
    );
}

#[tokio::test]
async fn what_a_request_must_say_is_checked_and_what_it_says_twice_must_agree() {
    let (endpoint, _stage) = serve().await;
    let good = body("tools/call", r#""name":"srv_do""#);
    let with = |meta: &str| good.replace(META, meta);
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    let capabilities = r#""io.modelcontextprotocol/clientCapabilities":{}"#;
    let all = headers("tools/call", "srv_do");
    let without = |name: &str| all.iter().filter(|header| header.0 != name).copied().collect::<Vec<_>>();
    let and = |name: &'static str, value: &'static str| [without(name), vec![(name, value)]].concat();
    for (case, headers, body, status, code) in [
        ("whole", all.clone(), good.clone(), 200, None),
        ("name in base64", and("mcp-name", "=?base64?c3J2X2Rv?="), good.clone(), 200, None),
        ("with a session", and("mcp-session-id", "x"), good.clone(), 200, None),
        ("no _meta", all.clone(), good.replace(r#","_meta":{"#, r#","_other":{"#), 400, Some(-32602)),
        ("no revision", all.clone(), with(capabilities), 400, Some(-32602)),
        ("no capabilities", all.clone(), with(version), 400, Some(-32602)),
        ("revision twice", all.clone(), with(&format!("{version},{version},{capabilities}")), 400, Some(-32602)),
        (
            "odd level",
            all.clone(),
            with(&format!(r#"{META},"io.modelcontextprotocol/logLevel":"loud""#)),
            400,
            Some(-32602),
        ),
        (
            "other revision",
            and("mcp-protocol-version", "2099-01-01"),
            good.replace("2026-07-28", "2099-01-01"),
            400,
            Some(-32022),
        ),
        ("other revision in the header", and("mcp-protocol-version", "2099-01-01"), good.clone(), 400, Some(-32020)),
        ("no revision in the header", without("mcp-protocol-version"), good.clone(), 400, Some(-32020)),
        ("no method in the header", without("mcp-method"), good.clone(), 400, Some(-32020)),
        ("other method in the header", and("mcp-method", "tools/list"), good.clone(), 400, Some(-32020)),
        ("method in other case", and("mcp-method", "Tools/call"), good.clone(), 400, Some(-32020)),
        ("no name in the header", without("mcp-name"), good.clone(), 400, Some(-32020)),
        ("other name in the header", and("mcp-name", "srv_wait"), good.clone(), 400, Some(-32020)),
        ("bad base64", and("mcp-name", "=?base64?!?="), good.clone(), 400, Some(-32020)),
        (
            "answers of another shape",
            all.clone(),
            good.replace(r#""_meta""#, r#""inputResponses":7,"_meta""#),
            200,
            Some(-32602),
        ),
        (
            "state of another shape",
            all.clone(),
            good.replace(r#""_meta""#, r#""requestState":7,"_meta""#),
            200,
            Some(-32602),
        ),
        ("a response", all.clone(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(), 400, Some(-32600)),
        ("a batch", all.clone(), format!("[{good}]"), 400, Some(-32600)),
    ] {
        let reply = endpoint.post(&headers, &body).await;
        assert_eq!(reply.status.as_u16(), status, "{case}: {}", reply.body);
        assert_eq!(reply.json()["error"]["code"].as_i64(), code, "{case}: {}", reply.body);
    }
    let other =
        endpoint.post(&and("mcp-protocol-version", "2099-01-01"), &good.replace("2026-07-28", "2099-01-01")).await;
    assert_eq!(other.json()["error"]["data"], json!({ "supported": ["2026-07-28"], "requested": "2099-01-01" }));
}

#[tokio::test]
async fn what_this_revision_has_not_is_not_found() {
    let (endpoint, _stage) = serve().await;
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "nonsense"]
    {
        let reply = post(&endpoint, method, "", "").await;
        assert_eq!((reply.status.as_u16(), &reply.json()["id"]), (404, &json!("r")), "{method}");
        assert_eq!(reply.json()["error"]["code"], -32601);
    }
    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        let reply = endpoint.send(method, &[("mcp-protocol-version", "2026-07-28")], "").await;
        assert_eq!((reply.status.as_u16(), &reply.headers["allow"]), (405, &"POST".parse().unwrap()));
    }
    let note = r#"{"jsonrpc":"2.0","method":"notifications/whatever"}"#;
    assert_eq!(endpoint.post(&[("mcp-protocol-version", "2026-07-28")], note).await.status, 202);
}

#[tokio::test]
async fn results_say_what_they_are_and_servers_see_what_is_meant_for_them() {
    let (endpoint, _stage) = serve().await;
    let call = body("tools/call", r#""name":"srv_do","arguments":{"n":1.0}"#);
    let call = call.replace(META, &format!(r#"{META},"progressToken":[1],"traceparent":"00-1""#));
    let reply = endpoint.post(&headers("tools/call", "srv_do"), &call).await;
    assert_eq!(
        reply.body,
        r#"{"jsonrpc":"2.0","id":"r","result":{"resultType":"complete","name":"do","arguments":{"n":1.0},"_meta":{"progressToken":[1],"traceparent":"00-1"}}}"#
    );
    let reply = post(&endpoint, "tools/call", "srv_do", r#""name":"srv_do","inputResponses":{}"#).await;
    assert_eq!(reply.json()["result"], json!({ "resultType": "complete", "name": "do" }));
    for (method, name, rest, ttl) in [
        ("tools/list", "", "", Some(60000)),
        ("prompts/list", "", "", Some(60000)),
        ("resources/list", "", "", Some(60000)),
        ("resources/templates/list", "", "", Some(60000)),
        ("resources/read", "a:1", r#""uri":"a:1""#, Some(0)),
        ("tools/call", "srv_do", r#""name":"srv_do""#, None),
    ] {
        let result = &post(&endpoint, method, name, rest).await.json()["result"];
        assert_eq!(result["resultType"], "complete", "{method}");
        assert_eq!(result["ttlMs"].as_i64(), ttl, "{method}");
        assert_eq!(result["cacheScope"].as_str(), ttl.map(|_| "private"), "{method}");
    }
    let missing = post(&endpoint, "resources/read", "b:1", r#""uri":"b:1""#).await;
    // The only server with resources is asked, and knows everything; there is no session to say so.
    assert_eq!(missing.status, 200);
    let unknown = post(&endpoint, "tools/call", "srv_other", r#""name":"srv_other""#).await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["code"]), (200, &json!(-32602)));
}

const ELICIT: &str = r#"{"jsonrpc":"2.0","id":"who","method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"x":1.0}}}"#;
const WAIT: &str = r#""name":"srv_wait""#;
const CALL: &[&str] = &["tools/call"];

/// Calls `srv_wait`, and lets the server ask meanwhile.
async fn ask(endpoint: &Endpoint, stage: &mut Stage, questions: &[&str]) -> Value {
    let (reply, ()) = tokio::join!(post(endpoint, "tools/call", "srv_wait", WAIT), async {
        stage.heard(CALL).await;
        questions.iter().for_each(|question| stage.say(*question));
    });
    reply.json()["result"].clone()
}

/// The same call again, with these answers.
async fn again(endpoint: &Endpoint, state: &Value, answers: &str) -> serving::Reply {
    post(endpoint, "tools/call", "srv_wait", &format!(r#"{WAIT},"requestState":{state},"inputResponses":{answers}"#))
        .await
}

const ANSWER: &str = r#"{"who":{"action":"accept","content":{"n":1.0}},"unasked":{}}"#;

#[tokio::test]
async fn a_call_whose_server_asks_is_parked_until_its_client_comes_back() {
    let (endpoint, mut stage) = serve().await;
    let asked = ask(&endpoint, &mut stage, &[ELICIT]).await;
    assert_eq!(asked["resultType"], "input_required");
    assert_eq!(
        asked["inputRequests"],
        json!({ "who": { "method": "elicitation/create", "params": { "message": "srv: Who?", "requestedSchema": { "x": 1.0 } } } })
    );
    let id = stage.heard_requests();
    let (reply, ()) = tokio::join!(again(&endpoint, &asked["requestState"], ANSWER), async {
        assert_eq!(
            stage.heard_answer().await,
            r#"{"jsonrpc":"2.0","id":"who","result":{"action":"accept","content":{"n":1.0}}}"#
        );
        stage.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#));
    });
    assert_eq!(reply.json()["result"], json!({ "resultType": "complete", "content": [] }));
    let twice = again(&endpoint, &asked["requestState"], ANSWER).await;
    assert_eq!(twice.json()["error"]["code"], -32602, "a state is taken once");
}

#[tokio::test]
async fn questions_come_in_groups_and_what_is_not_answered_is_asked_again() {
    let (endpoint, mut stage) = serve().await;
    let roots = r#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#;
    let asked = ask(&endpoint, &mut stage, &[ELICIT, roots]).await;
    let requests = asked["inputRequests"].as_object().unwrap();
    let keys: Vec<_> = requests.keys().cloned().collect();
    assert!(keys.len() == 2 && keys[0] == "who" && keys[1].starts_with("roots-"), "{keys:?}");
    assert_eq!(requests[&keys[1]], json!({ "method": "roots/list", "params": {} }));
    // One of them, and the other in a shape that is none.
    let answers = format!(r#"{{"who":{{"action":"decline"}},"{}":{{"roots":7}}}}"#, keys[1]);
    let (again_asked, answered) =
        tokio::join!(again(&endpoint, &asked["requestState"], &answers), stage.heard_answer());
    assert_eq!(answered, r#"{"jsonrpc":"2.0","id":"who","result":{"action":"decline"}}"#);
    let again_asked = again_asked.json()["result"].clone();
    assert_eq!(again_asked["inputRequests"], json!({ &keys[1]: requests[&keys[1]] }));
    assert_ne!(again_asked["requestState"], asked["requestState"]);
    let answers = format!(r#"{{"{}":{{"roots":[]}}}}"#, keys[1]);
    // It goes on until it is given up.
    let answered = tokio::select! {
        reply = again(&endpoint, &again_asked["requestState"], &answers) => panic!("it has ended: {:?}", reply.json()),
        answered = stage.heard_answer() => answered,
    };
    assert_eq!(answered, r#"{"jsonrpc":"2.0","id":7,"result":{"roots":[]}}"#);
}

#[tokio::test]
async fn an_answer_that_comes_with_the_first_attempt_is_taken() {
    let (endpoint, mut stage) = serve().await;
    let rest = format!(r#"{WAIT},"inputResponses":{ANSWER}"#);
    let (reply, ()) = tokio::join!(post(&endpoint, "tools/call", "srv_wait", &rest), async {
        stage.heard(CALL).await;
        let id = stage.heard_requests();
        stage.say(ELICIT);
        assert!(stage.heard_answer().await.contains("accept"));
        stage.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    });
    assert_eq!(reply.json()["result"], json!({ "resultType": "complete" }));
}

#[tokio::test]
async fn a_state_is_its_clients_for_its_request_and_whole() {
    let (endpoint, mut stage) = serve().await;
    let asked = ask(&endpoint, &mut stage, &[ELICIT]).await;
    let state = asked["requestState"].as_str().unwrap().to_owned();
    let rest = format!(r#""requestState":"{state}","inputResponses":{ANSWER}"#);
    let send = async |headers: Vec<(&str, &str)>, body: String| {
        endpoint.post(&headers, &body).await.json()["error"]["code"].clone()
    };
    let call = |rest: &str| body("tools/call", rest);
    let mine = headers("tools/call", "srv_wait");
    let others = [mine.clone(), vec![("x-principal", "two")]].concat();
    let changed = rest.replacen(&state[10..12], if &state[10..12] == "AA" { "BB" } else { "AA" }, 1);
    for (case, headers, body) in [
        ("another client", others, call(&format!("{WAIT},{rest}"))),
        ("another tool", headers("tools/call", "srv_do"), call(&format!(r#""name":"srv_do",{rest}"#))),
        ("other arguments", mine.clone(), call(&format!(r#"{WAIT},"arguments":{{}},{rest}"#))),
        ("changed", mine.clone(), call(&format!("{WAIT},{changed}"))),
        ("made up", mine.clone(), call(&format!(r#"{WAIT},"requestState":"x""#))),
    ] {
        assert_eq!(send(headers, body).await, json!(-32602), "{case}");
    }
    // Twin: none of them has used it up.
    let twin = call(&format!("{WAIT},{rest}"));
    let answered = tokio::select! {
        reply = endpoint.post(&mine, &twin) => panic!("it has ended: {:?}", reply.json()),
        answered = stage.heard_answer() => answered,
    };
    assert!(answered.contains("accept"));
}

#[tokio::test]
async fn a_parked_call_whose_client_does_not_come_back_is_given_up() {
    let limits = StreamableHttpLimits { parked_for: Duration::from_millis(50), ..StreamableHttpLimits::default() };
    let (endpoint, mut stage) = serve_with(limits).await;
    let asked = ask(&endpoint, &mut stage, &[ELICIT]).await;
    stage.heard(&["notifications/cancelled"]).await;
    let late = again(&endpoint, &asked["requestState"], ANSWER).await;
    assert_eq!(late.json()["error"]["code"], -32602);
}

#[tokio::test]
async fn parked_calls_are_bounded() {
    let limits = StreamableHttpLimits { max_parked_per_principal: 1, ..StreamableHttpLimits::default() };
    let (endpoint, mut stage) = serve_with(limits).await;
    assert_eq!(ask(&endpoint, &mut stage, &[ELICIT]).await["resultType"], "input_required", "twin");
    // The second has a process of its own, since the first one's is occupied.
    let (reply, ()) = tokio::join!(post(&endpoint, "tools/call", "srv_wait", WAIT), async {
        stage.heard(CALL).await;
        stage.say(ELICIT);
    });
    let error = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(error.contains("too many calls wait"), "{error}");
    stage.heard(&["notifications/cancelled"]).await;
}

#[tokio::test]
async fn what_the_client_has_not_declared_is_not_asked_and_explains_a_failure() {
    let (endpoint, mut stage) = serve().await;
    let sampling = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#;
    for (answer, status) in [(r#"{"content":[],"isError":true}"#, 400), (r#"{"content":[]}"#, 200)] {
        let (reply, ()) = tokio::join!(post(&endpoint, "tools/call", "srv_wait", WAIT), async {
            stage.heard(CALL).await;
            let id = stage.heard_requests();
            stage.say(sampling);
            assert!(stage.heard_answer().await.contains("-32601"));
            stage.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{answer}}}"#));
        });
        assert_eq!(reply.status, status, "{}", reply.body);
        if status == 400 {
            let error = &reply.json()["error"];
            assert_eq!(
                (&error["code"], &error["data"]),
                (&json!(-32021), &json!({ "requiredCapabilities": { "sampling": {} } }))
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_has_cancelled() {
    let (endpoint, mut stage) = serve().await;
    tokio::select! {
        _ = post(&endpoint, "tools/call", "srv_wait", WAIT) => panic!("nothing answers it"),
        _ = stage.heard(CALL) => {}
    }
    stage.heard(&["notifications/cancelled"]).await;
}

#[tokio::test]
async fn log_lines_come_only_as_asked_for_and_progress_under_the_clients_token() {
    let (endpoint, mut stage) = serve().await;
    let call = body("tools/call", WAIT);
    for (extra, expected) in [
        ("", vec![]),
        (r#","io.modelcontextprotocol/logLevel":"error""#, vec![r#""data":"bad""#]),
        (
            r#","io.modelcontextprotocol/logLevel":"info","progressToken":"p""#,
            vec![r#""progressToken":"p""#, r#""data":"so""#, r#""data":"bad""#],
        ),
    ] {
        let call = call.replace(META, &format!("{META}{extra}"));
        let headers = headers("tools/call", "srv_wait");
        let (mut stream, ()) = tokio::join!(endpoint.open(Method::POST, &headers, call), async {
            let params: Value = serde_json::from_str(&stage.heard(CALL).await.1).unwrap();
            let id = stage.heard_requests();
            if let Some(token) = params["_meta"]["progressToken"].as_str() {
                stage.say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}).to_string());
            }
            for (level, data) in [("info", "so"), ("error", "bad")] {
                stage.say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": level, "data": data}}).to_string());
            }
            stage.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
        });
        assert_eq!(stream.headers["content-type"] == "text/event-stream", !expected.is_empty());
        for part in &expected {
            let message = stream.next().await.unwrap();
            assert!(message.contains(part), "{part} in {message}");
        }
        if !expected.is_empty() {
            assert!(stream.next().await.unwrap().contains(r#""resultType":"complete""#));
        }
    }
}

const LISTEN: &str = r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:1"]}"#;

#[tokio::test]
async fn a_listener_is_told_what_it_asked_for_and_nothing_else() {
    let stage = server();
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    aggregator.tools().await;
    let transport = Arc::new(endpoint_of(StreamableHttpLimits::default()));
    let endpoint = Endpoint::serve_as(transport.clone(), aggregator).await;
    let mut stage = stage;
    let method = "subscriptions/listen";
    let mut stream = endpoint.open(Method::POST, &headers(method, ""), body(method, LISTEN)).await;
    let meta = r#""_meta":{"io.modelcontextprotocol/subscriptionId":"r"}"#;
    assert_eq!(
        stream.next().await.unwrap(),
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{{meta},{LISTEN}}}}}"#
        )
    );
    assert_eq!(stage.heard(&["resources/subscribe"]).await.1, r#"{"uri":"a:1"}"#);
    for (method, params) in [
        ("notifications/resources/updated", r#"{"uri":"a:2"}"#),
        ("notifications/message", r#"{"level":"info","data":1}"#),
        ("notifications/resources/updated", r#"{"uri":"a:1","x":1.0}"#),
    ] {
        stage.say(format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
    }
    assert_eq!(
        stream.next().await.unwrap(),
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{{meta},"uri":"a:1","x":1.0}}}}"#
        )
    );
    transport.end_streams();
    assert_eq!(
        stream.next().await.unwrap(),
        format!(r#"{{"jsonrpc":"2.0","id":"r","result":{{"resultType":"complete",{meta}}}}}"#)
    );
    assert_eq!(stream.next().await, None);
    assert_eq!(stage.heard(&["resources/unsubscribe"]).await.1, r#"{"uri":"a:1"}"#);
}

#[tokio::test]
async fn what_cannot_be_listened_to_is_not_acknowledged_and_listeners_are_bounded() {
    let limits = StreamableHttpLimits { max_listeners: 1, ..StreamableHttpLimits::default() };
    let (endpoint, _stage) = serve_with(limits).await;
    let listen = async |rest: &str| {
        let method = "subscriptions/listen";
        endpoint.open(Method::POST, &headers(method, ""), body(method, rest)).await
    };
    for rest in ["", r#""notifications":7"#, r#""notifications":{"resourceSubscriptions":[7]}"#] {
        assert_eq!(listen(rest).await.status, 400, "{rest}");
    }
    let mut stream = listen(r#""notifications":{"promptsListChanged":true,"x":1}"#).await;
    assert!(stream.next().await.unwrap().ends_with(r#""notifications":{"promptsListChanged":true}}}"#));
    assert_eq!(listen(r#""notifications":{}"#).await.status, 429);
}
