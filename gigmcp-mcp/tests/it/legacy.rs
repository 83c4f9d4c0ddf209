//! Clients with a session: what reaches them while a call is under way and between calls, over a real socket.

use std::{sync::Arc, time::Duration};

use gigmcp_mcp::{Aggregator, Principal, StreamableHttpLimits, Upstream};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    serving::{Endpoint, Streamed, endpoint_of, initialize},
};

const CAPABILITIES: &str = r#""capabilities":{"tools":{},"resources":{"subscribe":true},"logging":{}}"#;

fn server() -> Stage {
    Stage::new(CAPABILITIES, |method, params| match method {
        "tools/list" => result(
            r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}},{"name":"wait","inputSchema":{"type":"object"}}]}"#,
        ),
        "resources/list" => result(r#"{"resources":[{"uri":"a:1","name":"n"},{"uri":"a:2","name":"n"}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "tools/call" if params.contains(r#""do""#) => result(r#"{"content":[],"n":1.0}"#),
        "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" => result("{}"),
        _ => Reply::Never,
    })
}

async fn serve() -> (Endpoint, Stage) {
    let stage = server();
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    aggregator.tools().await;
    (Endpoint::serve(aggregator, StreamableHttpLimits::default()).await, stage)
}

const WAIT: &str =
    r#"{"jsonrpc":"2.0","id":"w","method":"tools/call","params":{"name":"srv_wait","_meta":{"progressToken":"p"}}}"#;
const CALL: &[&str] = &["tools/call"];

/// The progress token that the server saw.
fn token(params: &str) -> String {
    let params: Value = serde_json::from_str(params).unwrap();
    params["_meta"]["progressToken"].to_string()
}

async fn wait_call(endpoint: &Endpoint, stage: &mut Stage, session: &str) -> (Streamed, String) {
    let headers = [("mcp-session-id", session)];
    let (stream, token) = tokio::join!(endpoint.open(Method::POST, &headers, WAIT), async {
        let token = token(&stage.heard(CALL).await.1);
        stage.say(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1.0}}}}"#
        ));
        token
    });
    (stream, token)
}

#[tokio::test]
async fn an_answer_is_a_stream_only_if_something_comes_before_it() {
    let (endpoint, mut stage) = serve().await;
    let session = endpoint.session("{}").await;
    let headers = [("mcp-session-id", &*session)];
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"srv_do"}}"#;
    let reply = endpoint.post(&headers, call).await;
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(reply.body, r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"n":1.0}}"#);
    stage.heard(CALL).await;

    let (mut stream, _) = wait_call(&endpoint, &mut stage, &session).await;
    assert_eq!((stream.status.as_u16(), &stream.headers["content-type"]), (200, &"text/event-stream".parse().unwrap()));
    assert_eq!(stream.headers["x-accel-buffering"], "no");
    assert_eq!(stream.headers["cache-control"], "no-cache, no-transform");
    assert_eq!(
        stream.next().await.unwrap(),
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1.0}}"#
    );
    stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"n":1.0}}}"#);
    assert_eq!(
        stream.next().await.unwrap(),
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"logger":"srv","level":"info","data":{"n":1.0}}}"#
    );
    let id = stage.heard_requests();
    stage.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"x":1e400}}}}"#));
    assert_eq!(stream.next().await.unwrap(), r#"{"jsonrpc":"2.0","id":"w","result":{"x":1e400}}"#);
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_client_that_reads_no_events_gets_its_answer_alone() {
    let (endpoint, mut stage) = serve().await;
    let session = endpoint.session(r#"{"elicitation":{}}"#).await;
    let headers = [("mcp-session-id", &*session), ("accept", "application/json")];
    let (reply, ()) = tokio::join!(endpoint.post(&headers, WAIT), async {
        let params = stage.heard(CALL).await.1;
        assert_eq!(token(&params), r#""p""#, "nobody would read it");
        stage.say(ELICIT);
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#);
        let id = stage.heard_requests();
        stage.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1}}"#));
    });
    assert_eq!(reply.body, r#"{"jsonrpc":"2.0","id":"w","result":1}"#);
}

const ELICIT: &str = r#"{"jsonrpc":"2.0","id":"who","method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"x-y":1.0}}}"#;

#[tokio::test]
async fn a_server_asks_the_client_of_the_call_and_gets_that_clients_answer_only() {
    let (endpoint, mut stage) = serve().await;
    let session = endpoint.session(r#"{"elicitation":{}}"#).await;
    let another = endpoint.session(r#"{"elicitation":{}}"#).await;
    let (mut stream, _) = wait_call(&endpoint, &mut stage, &session).await;
    stream.next().await.unwrap();
    stage.say(ELICIT);
    let asked = stream.next().await.unwrap();
    assert_eq!(
        asked,
        r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"srv: Who?","requestedSchema":{"x-y":1.0}}}"#
    );
    let answer = |text: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"action":"accept","t":"{text}"}}}}"#);
    for (headers, status) in [
        (&[("mcp-session-id", &*another)][..], 202), // asked nothing there
        (&[("mcp-session-id", &*session), ("x-principal", "two")][..], 404), // not its session
        (&[][..], 400),
    ] {
        assert_eq!(endpoint.post(headers, &answer("false")).await.status, status);
    }
    let headers = [("mcp-session-id", &*session)];
    assert_eq!(endpoint.post(&headers, &answer("false").replace(":1,", ":2,")).await.status, 202);
    assert_eq!(endpoint.post(&headers, &answer("true")).await.status, 202);
    assert_eq!(endpoint.post(&headers, &answer("again")).await.status, 202);
    assert_eq!(stage.heard_answer().await, r#"{"jsonrpc":"2.0","id":"who","result":{"action":"accept","t":"true"}}"#);
}

#[tokio::test]
async fn a_client_is_not_asked_what_it_has_not_declared() {
    let (endpoint, mut stage) = serve().await;
    let session = endpoint.session(r#"{"sampling":{}}"#).await;
    let (mut stream, _) = wait_call(&endpoint, &mut stage, &session).await;
    stream.next().await.unwrap();
    stage.say(ELICIT);
    assert_eq!(
        stage.heard_answer().await,
        r#"{"jsonrpc":"2.0","id":"who","error":{"code":-32601,"message":"the client does not support this request"}}"#
    );
    stage.say(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"maxTokens":1}}"#);
    assert!(stream.next().await.unwrap().contains("sampling/createMessage"), "twin");
}

#[tokio::test]
async fn what_a_server_withdraws_is_withdrawn_from_the_client() {
    let (endpoint, mut stage) = serve().await;
    let session = endpoint.session(r#"{"elicitation":{}}"#).await;
    let (mut stream, _) = wait_call(&endpoint, &mut stage, &session).await;
    stream.next().await.unwrap();
    stage.say(ELICIT);
    stream.next().await.unwrap();
    stage.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"who"}}"#);
    let cancelled: Value = serde_json::from_str(&stream.next().await.unwrap()).unwrap();
    assert_eq!(
        (&cancelled["method"], &cancelled["params"]["requestId"]),
        (&json!("notifications/cancelled"), &json!(1))
    );
}

#[tokio::test]
async fn a_client_that_cancels_is_told_so_and_so_is_its_server() {
    let (endpoint, mut stage) = serve().await;
    let session = endpoint.session("{}").await;
    let (mut stream, _) = wait_call(&endpoint, &mut stage, &session).await;
    stream.next().await.unwrap();
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"w"}}"#;
    endpoint.post(&[("mcp-session-id", &session)], cancel).await;
    stage.heard(&["notifications/cancelled"]).await;
    assert!(stream.next().await.unwrap().contains("-32800"));
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_lost_connection_is_no_cancellation_and_questions_find_another_way() {
    let (endpoint, mut stage) = serve().await;
    let session = endpoint.session(r#"{"elicitation":{}}"#).await;
    let headers = [("mcp-session-id", &*session)];
    let mut listening = endpoint.open(Method::GET, &headers, "").await;
    let (mut stream, token) = wait_call(&endpoint, &mut stage, &session).await;
    stream.next().await.unwrap();
    drop(stream);
    // Only writing shows that nobody reads any more.
    let mut asked = None;
    for attempt in 2.. {
        stage.say(format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{attempt}}}}}"#));
        stage.say(ELICIT.replace("who", &format!("who{attempt}")));
        let next = tokio::time::timeout(Duration::from_millis(50), listening.next()).await;
        if let Ok(Some(question)) = next {
            asked = Some(question);
            break;
        }
    }
    let asked: Value = serde_json::from_str(&asked.unwrap()).unwrap();
    assert_eq!(asked["method"], "elicitation/create");
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":1}}"#, asked["id"]);
    endpoint.post(&headers, &answer).await;
    assert!(stage.heard_answer().await.ends_with(r#""result":1}"#));
    assert_eq!(stage.heard_so_far(&["notifications/cancelled"]), []);
}

#[tokio::test]
async fn between_calls_a_client_hears_what_it_asked_to_hear() {
    let (endpoint, stage) = serve().await;
    let (one, two) = (endpoint.session("{}").await, endpoint.session("{}").await);
    let mut streams = Vec::new();
    for session in [&one, &two] {
        let stream = endpoint.open(Method::GET, &[("mcp-session-id", session)], "").await;
        assert_eq!((stream.status.as_u16(), &stream.headers["x-accel-buffering"]), (200, &"no".parse().unwrap()));
        streams.push(stream);
    }
    let post = async |session: &str, method: &str, params: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let reply = endpoint.post(&[("mcp-session-id", session)], &body).await;
        assert!(reply.body.contains(r#""result":{}"#), "{}", reply.body);
    };
    post(&one, "resources/subscribe", r#"{"uri":"a:1"}"#).await;
    post(&two, "resources/subscribe", r#"{"uri":"a:2"}"#).await;
    // It is told what a GET would get, and takes no stream away.
    let asked = endpoint.send(Method::HEAD, &[("mcp-session-id", &*one)], "").await;
    assert_eq!((asked.status.as_u16(), &*asked.body), (200, ""));
    assert_eq!(asked.headers["content-type"], "text/event-stream");
    post(&one, "logging/setLevel", r#"{"level":"error"}"#).await;
    post(&two, "logging/setLevel", r#"{"level":"debug"}"#).await;
    for (method, params) in [
        ("notifications/resources/updated", r#"{"uri":"a:1"}"#),
        ("notifications/resources/updated", r#"{"uri":"a:2"}"#),
        ("notifications/resources/updated", r#"{"uri":"a:3"}"#),
        ("notifications/message", r#"{"level":"info","data":1}"#),
        ("notifications/message", r#"{"level":"alert","data":2}"#),
    ] {
        stage.say(format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
    }
    let expected = [
        vec![r#"{"uri":"a:1"}"#, r#"{"logger":"srv","level":"alert","data":2}"#],
        vec![
            r#"{"uri":"a:2"}"#,
            r#"{"logger":"srv","level":"info","data":1}"#,
            r#"{"logger":"srv","level":"alert","data":2}"#,
        ],
    ];
    for (stream, expected) in streams.iter_mut().zip(expected) {
        for params in expected {
            let heard = stream.next().await.unwrap();
            assert!(heard.ends_with(&format!(r#""params":{params}}}"#)), "{heard}");
        }
    }
    post(&two, "resources/unsubscribe", r#"{"uri":"a:2"}"#).await;
    stage.say(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:2"}}"#);
    stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":3}}"#);
    assert!(streams[1].next().await.unwrap().contains(r#""data":3"#), "and no update before it");
}

#[tokio::test]
async fn a_stream_needs_a_session_and_ends_with_it() {
    let (endpoint, _stage) = serve().await;
    let session = endpoint.session("{}").await;
    let session = ("mcp-session-id", &*session);
    for (headers, status) in [
        (&[session][..], 200), // twin
        (&[], 400),
        (&[("mcp-session-id", "x")], 404),
        (&[session, ("x-principal", "two")], 404),
        (&[session, ("accept", "application/json")], 406),
        (&[session, ("host", "evil.test")], 403),
        (&[session, ("origin", "http://evil.test")], 403),
    ] {
        assert_eq!(endpoint.open(Method::GET, headers, "").await.status, status, "{headers:?}");
        assert_eq!(endpoint.open(Method::HEAD, headers, "").await.status, status, "HEAD {headers:?}");
    }
    let mut first = endpoint.open(Method::GET, &[session], "").await;
    let mut second = endpoint.open(Method::GET, &[session], "").await;
    endpoint.send(Method::DELETE, &[session], "").await;
    assert_eq!(second.next().await, None);
    assert_eq!(first.next().await, None);
}

#[tokio::test]
async fn streams_end_when_the_endpoint_stops_or_its_servers_are_replaced() {
    let stage = server();
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    let transport = Arc::new(endpoint_of(StreamableHttpLimits::default()));
    let endpoint = Endpoint::serve_as(transport.clone(), aggregator).await;
    let session = endpoint.session("{}").await;
    let mut stream = endpoint.open(Method::GET, &[("mcp-session-id", &session)], "").await;
    transport.end_streams();
    assert_eq!(stream.next().await, None);

    // What is behind changes from one request to the next.
    let (before, after) = (server(), server());
    let transport = endpoint_of(StreamableHttpLimits::default());
    let mut upstream = Arc::new(Aggregator::new(vec![before.backend("srv")]).unwrap());
    upstream.tools().await;
    let send = async |upstream: &Arc<Aggregator>, method: Method, session: &str, body: &str| {
        let request =
            Request::builder().method(method).header("host", "localhost").header("content-type", "application/json");
        let request = request.header("mcp-session-id", session).body(Full::new(body.to_owned().into())).unwrap();
        transport.handle(&Principal::new("one"), upstream, request as Request<Full<bytes::Bytes>>).await
    };
    let begun = send(&upstream, Method::POST, "x", &initialize("2025-11-25")).await;
    let session = begun.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let mut stream = send(&upstream, Method::GET, &session, "").await;
    for (method, params) in [("logging/setLevel", r#"{"level":"debug"}"#), ("resources/subscribe", r#"{"uri":"a:1"}"#)]
    {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        send(&upstream, Method::POST, &session, &body).await;
    }
    upstream = Arc::new(Aggregator::new(vec![after.backend("srv")]).unwrap());
    for list in ["tools", "prompts", "resources"] {
        let frame = stream.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(std::str::from_utf8(&frame).unwrap().contains(&format!("notifications/{list}/list_changed")));
    }
    assert!(stream.body_mut().frame().await.is_none());
    send(&upstream, Method::POST, &session, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
    let mut after = after;
    assert_eq!(after.heard(&["logging/setLevel"]).await.1, r#"{"level":"debug"}"#);
    assert_eq!(after.heard(&["resources/subscribe"]).await.1, r#"{"uri":"a:1"}"#);
    // The end of a session is the end of what was asked in it.
    send(&upstream, Method::DELETE, &session, "").await;
    assert_eq!(after.heard(&["resources/unsubscribe"]).await.1, r#"{"uri":"a:1"}"#);
    assert!(upstream.is_open());
}

#[tokio::test]
async fn an_initialize_tells_what_all_servers_can_do() {
    let (endpoint, _stage) = serve().await;
    let reply = endpoint.post(&[], &initialize("2025-06-18")).await;
    assert_eq!(
        reply.json()["result"]["capabilities"],
        json!({
            "tools": { "listChanged": true },
            "resources": { "listChanged": true, "subscribe": true },
            "logging": {},
        })
    );
}

#[tokio::test]
async fn changed_roots_are_told_to_servers_and_the_client_that_has_them_is_asked() {
    let (endpoint, mut stage) = serve().await;
    let with = endpoint.session(r#"{"roots":{"listChanged":true}}"#).await;
    let without = endpoint.session("{}").await;
    let mut listening = endpoint.open(Method::GET, &[("mcp-session-id", &*with)], "").await;
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
    for session in [&without, &with] {
        assert_eq!(endpoint.post(&[("mcp-session-id", session)], changed).await.status, 202);
    }
    stage.heard(&["notifications/roots/list_changed"]).await;
    stage.say(r#"{"jsonrpc":"2.0","id":"r1","method":"roots/list"}"#);
    let asked: Value = serde_json::from_str(&listening.next().await.unwrap()).unwrap();
    assert_eq!(asked["method"], "roots/list");
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"roots":[]}}}}"#, asked["id"]);
    endpoint.post(&[("mcp-session-id", &*with)], &answer).await;
    assert_eq!(stage.heard_answer().await, r#"{"jsonrpc":"2.0","id":"r1","result":{"roots":[]}}"#);
    // Once, and for roots only: whoever asks again belongs to no call.
    stage.say(r#"{"jsonrpc":"2.0","id":"r2","method":"roots/list"}"#);
    assert!(stage.heard_answer().await.contains("no call is under way"));
    assert!(stage.heard_so_far(&["notifications/roots/list_changed"]).is_empty(), "who has none changes none");
}

#[tokio::test]
async fn who_has_lost_the_connection_comes_back_for_the_rest_of_an_answer() {
    let (endpoint, mut stage) = serve().await;
    let session = endpoint.session("{}").await;
    let headers = [("mcp-session-id", &*session)];
    let (mut stream, token) = wait_call(&endpoint, &mut stage, &session).await;
    let primer = stream.next_text().await.unwrap();
    assert_eq!(primer, "id: 1-0\nretry: 1000\ndata: ", "before anything else");
    let first = stream.next_text().await.unwrap();
    assert!(first.starts_with("id: 1-1\nevent: message\n") && first.contains(r#""progress":1"#), "{first}");
    drop(stream);
    let request = stage.heard_requests();
    stage.say(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":2}}}}"#
    ));
    stage.say(format!(r#"{{"jsonrpc":"2.0","id":{request},"result":{{"x":1e400}}}}"#));
    let other = endpoint.session("{}").await;
    // Whatever of it was written to a connection that nobody read any more.
    for last in ["1-1", "1-1", "1-0"] {
        let mut rest = endpoint.open(Method::GET, &[headers[0], ("last-event-id", last)], "").await;
        if last == "1-0" {
            assert!(rest.next().await.unwrap().contains(r#""progress":1"#));
        }
        assert!(rest.next().await.unwrap().contains(r#""progress":2"#));
        assert_eq!(rest.next().await.unwrap(), r#"{"jsonrpc":"2.0","id":"w","result":{"x":1e400}}"#);
        assert_eq!(rest.next().await, None, "that is all");
    }
    let mut rest = endpoint.open(Method::GET, &[headers[0], ("last-event-id", "1-3")], "").await;
    assert_eq!(rest.next().await, None, "nothing is missing");
    // What is unknown, or another session's is an ordinary stream of what belongs to no call.
    for (session, id) in [(&session, "9-0"), (&session, "1"), (&session, "x-0"), (&other, "1-0")] {
        let mut stream = endpoint.open(Method::GET, &[("mcp-session-id", session), ("last-event-id", id)], "").await;
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"alert","data":1}}"#);
        assert!(stream.next().await.unwrap().contains(r#""data":1"#), "{id}");
    }
}

#[tokio::test]
async fn a_client_of_an_older_revision_is_told_no_id_to_come_back_with() {
    let (endpoint, mut stage) = serve().await;
    let session = endpoint.initialize("2025-06-18").await;
    let (mut stream, _) = wait_call(&endpoint, &mut stage, &session).await;
    assert!(stream.next_text().await.unwrap().starts_with("event: message"));
}
