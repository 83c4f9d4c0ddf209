//! What arrives at a service.

use serde_json::{Value, json};

use crate::{
    origin::{Answer, Origin},
    pack::{HOST, Pack, call},
};

#[tokio::test]
async fn path_query_and_headers_are_where_the_toolspec_puts_them() {
    let pack = Pack::tool(
        "GET",
        "/repos/{owner}/{repo}/issues",
        "constants: [{name: x-version, in: header, value: \"2022-11-28\"}, {name: per_page, in: query, value: 50}]
params:
  - {name: owner, in: path, type: string, required: true}
  - {name: repository, as: repo, in: path, type: string, required: true}
  - {name: state, in: query, type: string, enum: [open, closed], default: open}
  - {name: labels, as: \"filter[labels]\", in: query, type: array, items: {type: string}, style: comma}
  - {name: etag, as: If-None-Match, in: header, type: string}",
    );
    let seen =
        pack.request(json!({"owner": "octo cat", "repository": "a/b", "labels": ["x&y", "z"], "etag": "\"1\""})).await;
    let seen = seen.unwrap();
    assert_eq!(seen.method, "GET");
    assert_eq!(seen.path(), "/repos/octo%20cat/a%2Fb/issues");
    assert_eq!(seen.query(), "per_page=50&state=open&filter%5Blabels%5D=x%26y,z");
    assert_eq!(
        (seen.header("host"), seen.header("x-version"), seen.header("if-none-match")),
        (HOST, "2022-11-28", "\"1\"")
    );
    assert_eq!((seen.header("accept-encoding"), seen.header("content-length")), ("identity", ""));
    assert!(seen.header("accept").starts_with("application/json"), "{seen:?}");
    assert!(seen.header("user-agent").starts_with("gigmcp-toolpack/"), "{seen:?}");
    assert!(seen.body.is_empty());
}

#[tokio::test]
async fn a_body_is_written_in_its_encoding() {
    let params = "params:
  - {name: title, in: body, type: string, required: true}
  - {name: count, in: body, type: integer}
  - {name: tags, in: body, type: array, items: {type: string}, style: brackets}
  - {name: database, as: BODY, in: body, type: string}
  - {name: options, in: body, type: object, properties: [{name: deep, type: boolean, default: true}]}
constants: [{name: kind, in: body, value: note}]";
    let arguments = json!({"title": "a&b=\"c\"", "count": 3.0, "tags": ["x", "y"], "database": "d", "options": {}});
    for (encoding, wire, content_type, expected) in [
        (
            "json",
            "/parent/database_id",
            "application/json",
            r#"{"kind":"note","title":"a&b=\"c\"","count":3,"tags":["x","y"],"parent":{"database_id":"d"},"options":{"deep":true}}"#,
        ),
        (
            "form",
            "db",
            "application/x-www-form-urlencoded",
            "kind=note&title=a%26b%3D%22c%22&count=3&tags%5B%5D=x&tags%5B%5D=y&db=d&options%5Bdeep%5D=true",
        ),
    ] {
        let pack = Pack::tool("POST", "/v1/notes", &format!("encoding: {encoding}\n{}", params.replace("BODY", wire)));
        let seen = pack.request(arguments.clone()).await.unwrap();
        assert_eq!((seen.method.as_str(), seen.header("content-type")), ("POST", content_type));
        assert_eq!(seen.text(), expected);
        assert_eq!(seen.header("content-length"), expected.len().to_string());
    }
}

#[tokio::test]
async fn a_multipart_body_has_a_boundary_that_nobody_can_guess() {
    let pack = Pack::tool(
        "POST",
        "/upload",
        "encoding: multipart
params:
  - {name: title, in: body, type: string}
  - {name: file, in: body, type: string, fileName: note.md, contentType: text/markdown}",
    );
    let mut boundaries = Vec::new();
    for _ in 0..2 {
        let seen = pack.request(json!({"title": "x", "file": "# y"})).await.unwrap();
        let boundary = seen.header("content-type").strip_prefix("multipart/form-data; boundary=").unwrap().to_owned();
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nx\r\n--{boundary}\r\nContent-Disposition: \
             form-data; name=\"file\"; filename=\"note.md\"\r\nContent-Type: text/markdown\r\n\r\n# y\r\n--{boundary}--\r\n"
        );
        assert_eq!(seen.text(), expected);
        boundaries.push(boundary);
    }
    assert_ne!(boundaries[0], boundaries[1]);
}

#[tokio::test]
async fn a_request_without_a_body_says_so() {
    for (method, more, expected) in [
        ("POST", "", ("", "0")),
        ("DELETE", "", ("", "")),
        ("PATCH", "params: [{name: a, in: body, type: string}]", ("{}", "2")),
        ("PUT", "params: [{name: a, in: query, type: string}]", ("", "0")),
    ] {
        let seen = Pack::tool(method, "/v1/x", more).request(json!({})).await.unwrap();
        assert_eq!((seen.text(), seen.header("content-length")), expected, "{method}");
    }
}

#[tokio::test]
async fn variables_are_the_users_and_a_tool_has_constants_of_its_own() {
    let pack = Pack::tool(
        "GET",
        "/{team}/x",
        "constants: [{name: X-Version, in: header, value: two}, {name: team, in: path, value: \"t-{tenant}\"}]",
    )
    .manifest("entitlements: {egress: [\"{tenant}.acme-notes.example\"]}\nvariables: [{name: tenant, type: label, description: Yours}]\n")
    .toolspec("baseUrl: https://{tenant}.acme-notes.example\nconstants: [{name: x-client, in: header, value: one}, {name: from, in: query, value: \"{tenant}\"}]\n")
    .variable("GIG_VAR_TENANT", "blue");
    let origin = Origin::start(&["blue.acme-notes.example"]).await;
    origin.will_answer([Answer::json(200, &json!([]))]);
    let result = call(&pack.start(&origin), json!({})).await;
    assert_eq!(result["isError"], Value::Null, "{result}");
    let seen = origin.seen();
    assert_eq!(seen[0].target, "/t-blue/x?from=blue");
    assert_eq!((seen[0].header("host"), seen[0].header("x-version")), ("blue.acme-notes.example", "two"));
    assert_eq!(seen[0].header("x-client"), "one");
}

#[tokio::test]
async fn connections_are_used_again_and_calls_run_beside_each_other() {
    let origin = Origin::start(&[HOST]).await;
    let upstream = Pack::tool("GET", "/x", "").start(&origin);
    for _ in 0..5 {
        origin.will_answer([Answer::json(200, &json!([]))]);
        assert_eq!(call(&upstream, json!({})).await["isError"], Value::Null);
    }
    assert_eq!(origin.connections(), 1);
    origin.will_answer(std::iter::repeat_n(Answer::json(200, &json!([])), 3));
    let (one, two, three) =
        tokio::join!(call(&upstream, json!({})), call(&upstream, json!({})), call(&upstream, json!({})));
    assert!([one, two, three].iter().all(|result| result["isError"] == Value::Null));
}

#[tokio::test]
async fn a_host_that_does_not_show_its_certificate_gets_nothing() {
    let origin = Origin::start(&["other.example"]).await;
    origin.will_answer([Answer::json(200, &json!({}))]);
    let result = call(&Pack::tool("GET", "/x", "").start(&origin), json!({})).await;
    let text = crate::pack::text(&result);
    assert!(text.contains("cannot be trusted") && result["isError"] == true, "{result}");
    assert!(origin.seen().is_empty());
    // The twin is every other test here.
}
