//! A task is held to what the call that made it was held to, for as long as it goes on.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, CallVerdict, StreamableHttpLimits, Upstream};
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    rounds::post,
    seams::{Notes, TASKS, ask, asking, built, listen, needs, next, one, samplings},
    serving::Endpoint,
    tasks_played::{notice, server, task, tells},
};

#[tokio::test]
async fn errors_of_a_task_are_errors_of_one_server_and_show_only_safe_addresses() {
    let addresses = |url: &str, code: &str| {
        let params = json!({ "mode": "url", "message": "Go", "url": url, "elicitationId": "e" });
        format!(r#"{{"code":{code},"message":"m","data":{{"elicitations":[{params}]}}}}"#)
    };
    let attack = "javascript:alert(1)";
    for (case, error, code, shown) in [
        ("twin", addresses("https://a.test/x", "-32042"), -32042, "srv asks you to open a.test: Go"),
        ("an address that is none", addresses(attack, "-32042"), -32603, "only https addresses are shown"),
        ("with a code as text", addresses(attack, r#""-32042""#), -32603, "only https addresses are shown"),
        ("with a broken code", addresses(attack, "-32042.0"), -32603, "only https addresses are shown"),
        ("with two codes", addresses(attack, r#"1,"code":-32042"#), -32603, "malformed error"),
        ("of an endpoint", r#"{"code":-32020,"message":"m"}"#.to_owned(), -32603, "an error of an endpoint"),
        ("twin", r#"{"code":-32001,"message":"m"}"#.to_owned(), -32001, "m"),
    ] {
        let (mut stage, script) = server();
        let aggregator = one(&stage, |_| {}).await;
        let id = task(&aggregator, "one", "srv_do").await;
        let get = json!({ "taskId": id });
        let is_shown = |way: &str, got: &Value| {
            let text = got["error"].to_string();
            assert_eq!(got["error"]["code"], json!(code), "{case}, {way}: {got}");
            assert!(text.contains(shown) && !text.contains(attack), "{case}, {way}: {got}");
        };
        script.lock().unwrap().get = Ok(format!(r#""status":"failed","error":{error}"#));
        is_shown("in what is told", &ask(&aggregator, "one", "tasks/get", get.clone()).await);
        script.lock().unwrap().get = Err(error.clone());
        is_shown("as an answer", &ask(&aggregator, "one", "tasks/get", get.clone()).await);
        script.lock().unwrap().update = Err(error.clone());
        is_shown("as an answer to what is told it", &ask(&aggregator, "one", "tasks/update", get.clone()).await);
        let mut events = aggregator.events().unwrap();
        listen(&aggregator, &mut stage, "one", &id).await;
        stage.say(notice("0", &format!(r#""status":"failed","error":{error}"#)));
        is_shown("in a notification", &next(&mut events).await);

        let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
        let reply = post(&endpoint, "tasks/get", get).await;
        assert_eq!((reply.0, &reply.1["error"]["code"]), (200, &json!(code)), "{case}: {}", reply.1);
    }
}

#[tokio::test]
async fn a_task_of_which_its_client_cannot_be_told_is_given_up() {
    for (declared, given_up) in [(json!({}), true), (json!({ "sampling": {} }), false)] {
        let capabilities = json!({ "tools": {}, "extensions": { TASKS: {} } });
        let mut stage = Stage::modern(&format!(r#""capabilities":{capabilities}"#), |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            "tools/call" => {
                let mut made = needs(&samplings(1));
                (made["resultType"], made["taskId"], made["ttlMs"]) = (json!("task"), json!("1"), json!(null));
                result(made.to_string())
            }
            "tasks/cancel" | "tasks/update" => result("{}"),
            _ => Reply::Never,
        });
        let aggregator = one(&stage, |_| {}).await;
        let call = ("tools/call", json!({ "name": "srv_do" }));
        let made = asking(&aggregator, ("one", &declared), call, None).await;
        assert_eq!(made["taskId"].is_null(), given_up, "{made}");
        if !given_up {
            ask(&aggregator, "one", "tasks/update", json!({ "taskId": made["taskId"] })).await;
        }
        let expected = if given_up { "tasks/cancel" } else { "tasks/update" };
        assert_eq!(stage.heard(&["tasks/cancel", "tasks/update"]).await.0, expected);
    }
}

#[tokio::test]
async fn one_owners_tasks_leave_room_for_anothers() {
    let (stage, script) = server();
    let notes = Arc::new(Notes::default());
    let aggregator = built(Aggregator::builder().backends([stage.backend("srv")]).observed_by(notes.clone())).await;
    tells(&script, &needs(&samplings(1)));
    let mut ids = Vec::new();
    for _ in 0..300 {
        ids.push(task(&aggregator, "one", "srv_do").await);
    }
    let theirs = task(&aggregator, "two", "srv_do").await;
    for (case, owner, id, passes) in [
        ("its first", "one", &ids[0], true),
        ("its last", "one", &ids[299], false),
        ("another's", "two", &theirs, true),
    ] {
        let got = ask(&aggregator, owner, "tasks/get", json!({ "taskId": id })).await;
        assert_eq!(got["inputRequests"].is_object(), passes, "{case}: {got}");
    }
    tells(&script, &json!({ "status": "completed", "result": { "content": [] } }));
    let got = ask(&aggregator, "two", "tasks/get", json!({ "taskId": theirs })).await;
    assert_eq!(got["status"], "completed");
    let records = notes.0.lock().unwrap();
    let call = records.iter().rfind(|record| &*record.method == "tools/call").unwrap().id;
    let end = records.iter().rfind(|record| record.origin == Some(call)).unwrap();
    assert_eq!((&*end.method, &end.verdict), ("tasks/end", &CallVerdict::Ok), "its end was waited for");
}

#[tokio::test(start_paused = true)]
async fn a_server_is_held_for_its_task_however_short_it_says_that_it_keeps_it() {
    for (ttl, after, held) in
        [(0.0, 3000, true), (0.0, 4000, false), (1.0, 30, true), (1.0, 90, false), (120_000.0, 90, true)]
    {
        let (stage, script) = server();
        script.lock().unwrap().ttl = ttl;
        let notes = Arc::new(Notes::default());
        let builder = Aggregator::builder().backends([stage.backend("srv")]).observed_by(notes.clone());
        let aggregator = built(builder).await;
        let id = task(&aggregator, "one", "srv_do").await;
        tokio::task::yield_now().await;
        tokio::time::advance(std::time::Duration::from_secs(after)).await;
        tells(&script, &json!({ "status": "completed", "result": { "content": [] } }));
        ask(&aggregator, "one", "tasks/get", json!({ "taskId": id })).await;
        drop(aggregator);
        let end = loop {
            let records = notes.0.lock().unwrap().clone();
            match records.into_iter().find(|record| &*record.method == "tasks/end") {
                Some(end) => break end.verdict,
                None => tokio::task::yield_now().await,
            }
        };
        assert_eq!(end == CallVerdict::Ok, held, "{ttl} ms, after {after} s: {end:?}");
    }
}

#[tokio::test]
async fn an_id_that_a_server_gives_twice_leads_nobody_to_anothers_task() {
    let (mut stage, script) = server();
    let aggregator = one(&stage, |_| {}).await;
    script.lock().unwrap().id = Some("same");
    let first = task(&aggregator, "one", "srv_do").await;
    let call = json!({ "name": "srv_do" });
    let got = ask(&aggregator, "two", "tools/call", call.clone()).await;
    let text = got["error"]["message"].as_str().unwrap_or_default();
    assert!(text.contains("under the id of another"), "{got}");
    // The twin: it is over.
    tells(&script, &json!({ "status": "completed", "result": { "content": [] } }));
    let got = ask(&aggregator, "one", "tasks/get", json!({ "taskId": first })).await;
    assert_eq!(got["status"], "completed", "{got}");
    let second = task(&aggregator, "two", "srv_do").await;
    stage.heard_so_far(&[]);
    for method in ["tasks/get", "tasks/update", "tasks/cancel", "tasks/subscribe"] {
        let got = ask(&aggregator, "one", method, json!({ "taskId": first })).await;
        assert_eq!(got["error"]["message"], "there is no such task", "{method}: it is another's now: {got}");
    }
    assert_eq!(stage.heard_so_far(&["tasks/get", "tasks/update", "tasks/cancel", "subscriptions/listen"]), []);
    let got = ask(&aggregator, "two", "tasks/get", json!({ "taskId": second })).await;
    assert_eq!(got["status"], "completed", "twin: {got}");
}

#[tokio::test]
async fn log_lines_of_no_call_are_heard_by_who_may_use_the_whole_server_only() {
    for only in [true, false] {
        let (mut stage, _script) = server();
        let aggregator = one(&stage, |policy| policy.only = only.then(|| ["do".into()].into())).await;
        let id = task(&aggregator, "one", "srv_do").await;
        let mut events = aggregator.events().unwrap();
        listen(&aggregator, &mut stage, "one", &id).await;
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"of open"}}"#);
        stage.say(notice("0", r#""status":"working""#));
        let mut heard = Vec::new();
        while heard.last().is_none_or(|method| method != "notifications/tasks") {
            heard.push(events.recv().await.unwrap().method.to_string());
        }
        let logged = heard.iter().any(|method| method == "notifications/message");
        assert_eq!(logged, !only, "{heard:?}");
    }
}

#[tokio::test]
async fn settings_of_an_extension_are_shown_without_what_nobody_sees() {
    let hidden = json!({ "text": "A\u{200b}\u{1b}[31mB", "deep": [{ "x": "\u{202e}C" }], "n": 1.5 });
    let clean = json!({ "text": "AB", "deep": [{ "x": "C" }], "n": 1.5 });
    for (case, declared, shown) in [
        ("hidden text", json!({ "com.example/odd": hidden }), json!({ "com.example/odd": clean })),
        ("twin", json!({ "com.example/odd": clean }), json!({ "com.example/odd": clean })),
        ("a hidden name", json!({ "com.example/odd": { "a\u{200b}": 1 } }), Value::Null),
        ("a hidden identifier", json!({ "com.example/od\u{200b}d": {} }), Value::Null),
    ] {
        let capabilities = json!({ "tools": {}, "extensions": declared });
        let stage = Stage::modern(&format!(r#""capabilities":{capabilities}"#), |method, _| match method {
            "tools/list" => result(r#"{"tools":[]}"#),
            _ => Reply::Never,
        });
        let aggregator = one(&stage, |_| {}).await;
        let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
        let (_, got) = post(&endpoint, "server/discover", json!({})).await;
        assert_eq!(got["result"]["capabilities"]["extensions"], shown, "{case}: {got}");
    }
}

#[tokio::test]
async fn a_link_in_the_result_of_a_task_leads_where_one_in_a_calls_does() {
    let listed = || {
        Stage::new(r#""capabilities":{"tools":{},"resources":{}}"#, |method, _| match method {
            "tools/list" => result(r#"{"tools":[]}"#),
            "resources/list" => result(r#"{"resources":[{"uri":"doc:1","name":"d"}]}"#),
            "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
            _ => Reply::Never,
        })
    };
    let capabilities = json!({ "tools": {}, "resources": {}, "extensions": { TASKS: {} } });
    let own = Stage::modern(&format!(r#""capabilities":{capabilities}"#), |method, _| match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
        "resources/list" => result(r#"{"resources":[{"uri":"doc:1","name":"d"},{"uri":"doc:2","name":"e"}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "tools/call" => result(r#"{"resultType":"task","taskId":"1","status":"working","ttlMs":null}"#),
        "tasks/get" => result(
            r#"{"taskId":"1","status":"completed","result":{"content":[{"type":"resource_link","uri":"doc:1","name":"d"},{"type":"resource_link","uri":"doc:2","name":"e"}]}}"#,
        ),
        _ => Reply::Never,
    });
    let other = listed();
    let aggregator = built(Aggregator::builder().backends([other.backend("other"), own.backend("srv")])).await;
    ask(&aggregator, "one", "resources/list", json!({})).await;
    let id = task(&aggregator, "one", "srv_do").await;
    let got = ask(&aggregator, "one", "tasks/get", json!({ "taskId": id })).await;
    let uris: Vec<&Value> = got["result"]["content"].as_array().unwrap().iter().map(|link| &link["uri"]).collect();
    assert_eq!(uris, [&json!("srv+doc:1"), &json!("doc:2")], "the first is another server's too: {got}");
}

#[tokio::test]
async fn who_comes_back_to_a_task_goes_on_hearing_of_it() {
    for comes_back in [true, false] {
        let (mut stage, _script) = server();
        let aggregator = one(&stage, |_| {}).await;
        let id = task(&aggregator, "one", "srv_do").await;
        let client = listen(&aggregator, &mut stage, "one", &id).await;
        // What follows from that has not happened yet when the same owner listens on another stream.
        aggregator.forget(client);
        if comes_back {
            listen(&aggregator, &mut stage, "one", &id).await;
        }
        // Once it has answered that, it has heard all that came before.
        for _ in 0..2 {
            ask(&aggregator, "one", "prompts/get", json!({ "name": "srv_ok" })).await;
        }
        // The end of the first stream was heard before the second began.
        let ended = stage.heard_so_far(&["notifications/cancelled"]).len();
        assert_eq!(ended, if comes_back { 0 } else { 1 }, "{comes_back}");
    }
}
