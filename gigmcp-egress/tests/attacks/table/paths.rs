//! Paths that lead elsewhere than they look, and methods: rows 169 to 178 and 196.

use gigmcp_egress::{FieldName, Rule, Sink};
use http::Method;

use super::framing::letter;
use crate::row::{Ask, Right, Row, ask, scene};

const HOST: &str = "b.example.com";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, (id, target)) in [
        ("169", "/v1/read/../admin"),
        ("169", "/v1/read/./x"),
        ("169", "/v1/read/.."),
        ("169", "/v1/read/."),
        ("169", "/.."),
        ("169", "/../x"),
        ("169", "/v1/read/../"),
        ("170", "/v1/read/%2e%2e/admin"),
        ("170", "/v1/read/%2E./admin"),
        ("170", "/v1/read/.%2e/admin"),
        ("170", "/v1/read/%2e/x"),
        ("170", "/v1/read/..%2fadmin"),
        ("170", "/v1/read/%2e%2e%2fadmin"),
        ("170", "/v1/read%2f..%2fadmin"),
        ("170", "/v1/read/..%5cadmin"),
        ("170", "/v1/read/%2e%2e%5cadmin"),
        ("173", "/v1/read/x;/../admin"),
        ("173", "/v1/read/..;/admin"),
        ("173", "/v1/read/..;a=b/admin"),
        ("173", "/v1/read/.;/x"),
        ("173", "/v1/read/%2e%2e;/admin"),
        ("174", "/v1/%252e%252e/x"),
        ("174", "/v1/%25%32%65%25%32%65/x"),
        ("174", "/v1/%c0%ae%c0%ae/x"),
        ("174", "/v1/%c0%af/x"),
        ("174", "/v1/%e0%80%ae/x"),
        ("174", "/v1/%u002e%u002e/x"),
        ("174", "/v1/%"),
        ("174", "/v1/%2"),
        ("174", "/v1/%zz"),
        ("174", "/v1/%2g"),
        ("174", "/v1/%00"),
        ("174", "/v1/x%00.json"),
        ("174", "/v1/%0d%0aX:1"),
        ("174", "/v1/%0a"),
        ("174", "/v1/%7f"),
        ("174", "/v1/%1b"),
        ("174", "/v1/%ff"),
        ("174", "/v1/%2500"),
        ("174", "/v1/%250a"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("{id}{}", letter(index));
        rows.push(ask(
            &id,
            format!("path `{target}`"),
            Right::Close(400),
            HOST,
            Ask::get(target),
            Ask::get("/v1/read/x"),
        ));
    }
    for (index, (method, right)) in [
        ("TRACE", Right::CloseEither(405, 400)),
        ("TRACK", Right::CloseEither(405, 400)),
        ("DEBUG", Right::Ok),
        ("get", Right::CloseEither(405, 400)),
        ("Get", Right::CloseEither(405, 400)),
        ("GETS", Right::Ok),
        ("PRI", Right::CloseEither(405, 400)),
        ("CONNECT", Right::CloseEither(405, 400)),
    ]
    .into_iter()
    .enumerate()
    .filter(|(_, (_, right))| *right != Right::Ok)
    {
        let id = format!("196{}", letter(index));
        rows.push(ask(&id, format!("method {method}"), right, HOST, Ask::new(method, "/"), Ask::get("/")));
    }
    rows.push(ask(
        "196y",
        "Max-Forwards",
        Right::CloseEither(405, 400),
        HOST,
        Ask::new("TRACE", "/").header("max-forwards", "0"),
        Ask::get("/"),
    ));
    rows.extend(judged());
    rows.extend(polluted());
    rows.push(scene("178", "a method that no rule lists", "403 method-denied", |stage| async move {
        let mut sandbox = stage.sandbox_with(|plan| {
            plan.rules.clear();
            let mut rule = Rule::https(HOST.parse().unwrap());
            rule.methods = Some(vec![Method::GET]);
            plan.rules.push(rule);
        });
        let mut wire = sandbox.https(HOST).await;
        for method in ["HEAD", "GETS", "POST", "DELETE", "PUT", "OPTIONS", "PROPFIND"] {
            let before = stage.touched();
            wire.send(format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            let head = wire.until(b"\r\n\r\n").await;
            let head = String::from_utf8_lossy(&head).into_owned();
            assert!(head.starts_with("HTTP/1.1 403") && head.contains("method-denied"), "{method}: {head}");
            if method != "HEAD" {
                wire.until(b"}}").await;
            }
            assert_eq!(stage.touched(), before);
            assert_eq!(sandbox.event().await.unwrap().verdict.code(), "method-denied");
        }
        assert_eq!(wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await.status, 200, "twin");
        "403 method-denied".into()
    }));
    rows
}

/// Where a rule allows `GET /v1/read/**` and nothing else.
fn judged() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, (id, target, right)) in [
        ("172", "//v1/read/x", "400 or 403"),
        ("172", "/v1//read/x", "400 or 403"),
        ("172", "/v1/read//x", "400 or 403"),
        ("172", "/v1/read/x//", "400 or 403"),
        ("173", "/v1/read;a=b/x", "400 or 403"),
        ("173", "/v1/read/x;a=b", "400 or 403"),
        ("173", "/v1/read/x;", "400 or 403"),
        ("173", "/v1/read/x%3ba", "400 or 403"),
        ("171", "/v1/read/a%2fb", "400 or 403"),
        ("171", "/v1%2fread/x", "400 or 403"),
        ("171", "/v1/read%2fx", "400 or 403"),
        ("171", "/v1/read/a%5cb", "400 or 403"),
        ("176", "/v1/%72ead/x", "400 or 403"),
        ("176", "/v1/read/%78", "400 or 403"),
        ("176", "/v1/read/%7Ex", "400 or 403"),
        ("176", "/%76%31/read/x", "400 or 403"),
        ("178", "/v1/admin", "400 or 403"),
        ("178", "/v1/readx", "400 or 403"),
        ("178", "/v1/rea", "400 or 403"),
        ("178", "/V1/read/x", "400 or 403"),
        ("178", "/v1/READ/x", "400 or 403"),
        ("178", "/", "400 or 403"),
        ("178", "/?/v1/read/x", "400 or 403"),
        ("178", "/v1/admin?/v1/read/", "400 or 403"),
        ("169", "/v1/read/../admin", "400 or 403"),
        ("170", "/v1/read/%2e%2e/admin", "400 or 403"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("{id}{}-rule", letter(index));
        rows.push(scene(
            &id,
            format!("`{target}` where a rule allows GET /v1/read/**"),
            right,
            move |stage| async move {
                let mut sandbox = stage.sandbox_with(|plan| {
                    plan.rules.clear();
                    plan.rules.push(
                        Rule::https(HOST.parse().unwrap())
                            .methods([Method::GET])
                            .paths(["/v1/read/**".parse().unwrap()]),
                    );
                });
                let before = stage.touched();
                let reply =
                    sandbox.https(HOST).await.ask(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
                assert_eq!(stage.touched(), before, "{}", reply.head);
                assert_eq!(Some(sandbox.event().await.unwrap().verdict.code()), reply.code());
                for target in ["/v1/read/x", "/v1/read", "/v1/read/a/b?c=/../d", "/v1/read/%20", "/v1/read/a.b"] {
                    let reply =
                        sandbox.https(HOST).await.ask(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
                    assert_eq!((reply.status, stage.upstream.seen()[0].target()), (200, target), "twin");
                    sandbox.event().await;
                }
                if [400, 403].contains(&reply.status) { "400 or 403".into() } else { reply.head }
            },
        ));
    }
    for (index, header) in
        ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"]
            .into_iter()
            .enumerate()
    {
        rows.push(scene(
            &format!("137{}", letter(index)),
            format!("{header} where a rule is about methods or paths"),
            "400",
            move |stage| async move {
                let sandbox = stage.sandbox_with(|plan| {
                    plan.rules.clear();
                    plan.rules.push(
                        Rule::https(HOST.parse().unwrap())
                            .methods([Method::GET])
                            .paths(["/v1/read/**".parse().unwrap()]),
                    );
                });
                let before = stage.touched();
                let request = |header: &str| format!("GET /v1/read/x HTTP/1.1\r\nHost: {HOST}\r\n{header}\r\n");
                let reply = sandbox.https(HOST).await.ask(request(&format!("{header}: DELETE\r\n"))).await;
                assert_eq!(stage.touched(), before, "{}", reply.head);
                assert_eq!(sandbox.https(HOST).await.ask(request("")).await.status, 200, "twin");
                reply.status.to_string()
            },
        ));
    }
    rows
}

/// Where a credential stands in a query, and something makes programs disagree which value counts.
fn polluted() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, query) in [
        "key={P}&key=evil",
        "key=evil&key={P}",
        "k%65y=evil&key={P}",
        "key={P}&k%65y=evil",
        "key={P};key=evil",
        "a=b;key={P}",
        "key={P}&KEY=evil",
        "key[]={P}",
        "key={P}&key",
        "key=evil",
        "%6bey={P}",
        "key={P}x",
        "key=x{P}",
        "key={P}&x={P}",
        "key={P}#",
        "x={P}",
        "key={P}&&key=evil",
        "key+={P}&key=evil",
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(scene(
            &format!("177{}", letter(index)),
            format!("query `{query}` where `key` is the place of a credential"),
            "400 or 403",
            move |stage| async move {
                let mut sandbox = stage
                    .sandbox_with(|plan| plan.credentials[0].sink = Sink::Query("key".parse::<FieldName>().unwrap()));
                let host = "api.example.com";
                let placeholder = sandbox.placeholder.clone();
                let request = |query: &str| {
                    format!("GET /?{} HTTP/1.1\r\nHost: {host}\r\n\r\n", query.replace("{P}", placeholder.as_str()))
                };
                let before = stage.touched();
                let reply = sandbox.https(host).await.ask(request(query)).await;
                assert_eq!((stage.touched() - before).dialled, 0, "{}", reply.head);
                assert_eq!((stage.touched() - before).opened, 0);
                assert_eq!(Some(sandbox.event().await.unwrap().verdict.code()), reply.code());
                assert_eq!(sandbox.https(host).await.ask(request("a=b&key={P}&c=d")).await.status, 200, "twin");
                if [400, 403].contains(&reply.status) { "400 or 403".into() } else { reply.head }
            },
        ));
    }
    rows
}
