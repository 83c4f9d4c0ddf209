//! What models may say, and what they are told if they say something else.

use serde_json::{Value, json};

use crate::{
    origin::{Answer, Origin},
    pack::{HOST, Pack, call, call_raw, text},
};

fn pack() -> Pack {
    Pack::tool(
        "POST",
        "/v1/{id}/{part}.json",
        "params:
  - {name: id, in: path, type: string, required: true}
  - {name: part, in: path, type: string, required: true}
  - {name: limit, in: query, type: integer, minimum: 1, maximum: 100}
  - {name: ratio, in: query, type: number}
  - {name: state, in: query, type: string, enum: [open, closed]}
  - {name: ids, in: query, type: array, items: {type: integer}, maxItems: 3, style: comma}
  - {name: words, in: query, type: array, style: comma}
  - {name: note, as: X-Note, in: header, type: string}
  - {name: title, in: body, type: string, maxLength: 5, minLength: 1}
  - {name: done, in: body, type: boolean}
  - {name: author, in: body, type: object, properties: [{name: name, type: string, required: true}, {name: age, type: integer}]}
  - {name: free, in: body, type: object}",
    )
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_told() {
    for (case, more, told) in [
        ("unknown", json!({"limt": 1}), "`limt` is not an argument here; there are `id`, `part`, `limit`"),
        ("a key of prototypes", json!({"__proto__": {"admin": true}}), "`__proto__` is not an argument here"),
        ("another one", json!({"constructor": 1}), "`constructor` is not an argument here"),
        (
            "deeper",
            json!({"author": {"name": "x", "__proto__": {}}}),
            "`author.__proto__` is not an argument here; there are `name`, `age`",
        ),
        ("text for a number", json!({"limit": "1"}), "`limit` has to be a whole number, and is the string \"1\""),
        ("a fraction", json!({"limit": 1.5}), "`limit` has to be a whole number of at most 16 digits, and is 1.5"),
        ("too few", json!({"limit": 0}), "`limit` has to be at least 1, and is 0"),
        ("too many", json!({"limit": 101}), "`limit` has to be at most 100, and is 101"),
        ("huge", json!({"limit": 1e300}), "`limit` has to be a whole number"),
        ("null", json!({"limit": null}), "`limit` has to be a whole number, and is null; leave it out instead"),
        ("not a choice", json!({"state": "opne"}), "`state` is the string \"opne\"; allowed are \"open\", \"closed\""),
        ("a list for text", json!({"title": ["a"]}), "`title` has to be a string, and is a list"),
        ("too long", json!({"title": "äöüäöü"}), "`title` has to be at most 5 characters long, and is 6"),
        ("too short", json!({"title": ""}), "`title` has to be at least 1 characters long, and is 0"),
        ("text for true", json!({"done": "true"}), "`done` has to be true or false, and is the string \"true\""),
        ("a wrong item", json!({"ids": [1, "2"]}), "`ids[1]` has to be a whole number"),
        ("too many items", json!({"ids": [1, 2, 3, 4]}), "`ids` has to be at most 3 items long, and is 4"),
        ("a missing property", json!({"author": {}}), "`author.name` is missing; it has to be a string"),
        ("two items in one", json!({"words": ["a,b"]}), "`words` is written as a list with commas"),
        ("a header more", json!({"note": "a\r\nx-admin: 1"}), "`note` goes into a header"),
        ("a line in a header", json!({"note": "a\nb"}), "`note` goes into a header"),
        ("up", json!({"id": ".."}), "`id` goes into the path"),
        ("up and on", json!({"id": "../../admin"}), "`id` goes into the path"),
        ("up, escaped", json!({"id": "%2e%2e"}), "`id` goes into the path"),
        ("nothing in the path", json!({"id": ""}), "`id` goes into the path"),
    ] {
        let mut arguments = json!({"id": "7", "part": "a"});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let refused = pack().request(arguments).await.expect_err(case);
        assert!(refused.starts_with("The arguments were refused and nothing was sent:"), "{case}: {refused}");
        assert!(refused.contains(told), "{case}: {refused}");
    }
}

#[tokio::test]
async fn what_fits_is_sent_as_it_is_meant() {
    for (case, more, path, query, body) in [
        ("little", json!({}), "/v1/7/a.json", "", json!({})),
        ("the least", json!({"limit": 1}), "/v1/7/a.json", "limit=1", json!({})),
        ("whole all the same", json!({"limit": 100.0}), "/v1/7/a.json", "limit=100", json!({})),
        ("a large fraction", json!({"ratio": 1e300}), "/v1/7/a.json", "ratio=1e%2B300", json!({})),
        ("a query in the path", json!({"id": "x?admin=1#y"}), "/v1/x%3Fadmin%3D1%23y/a.json", "", json!({})),
        ("a path in the path", json!({"id": "a/b"}), "/v1/a%2Fb/a.json", "", json!({})),
        ("a field in a field", json!({"state": "open"}), "/v1/7/a.json", "state=open", json!({})),
        ("items", json!({"ids": [1, 2, 3]}), "/v1/7/a.json", "ids=1,2,3", json!({})),
        (
            "free, with any name",
            json!({"free": {"__proto__": 1}}),
            "/v1/7/a.json",
            "",
            json!({"free": {"__proto__": 1}}),
        ),
        ("in five characters", json!({"title": "äöüäö"}), "/v1/7/a.json", "", json!({"title": "äöüäö"})),
        ("an object", json!({"author": {"name": "\""}}), "/v1/7/a.json", "", json!({"author": {"name": "\""}})),
        ("dots that lead nowhere", json!({"part": "."}), "", "", json!(null)),
    ] {
        let mut arguments = json!({"id": "7", "part": "a"});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        match pack().request(arguments).await {
            Ok(seen) => {
                assert_eq!((seen.path(), seen.query(), seen.json()), (path, query, body), "{case}");
            }
            // A dot alone is refused wherever it stands.
            Err(refused) => {
                assert!(body.is_null() && refused.contains("`part` goes into the path"), "{case}: {refused}")
            }
        }
    }
}

#[tokio::test]
async fn all_faults_are_told_at_once_and_not_more_than_ten() {
    let arguments = json!({"limit": 0, "state": "x", "words": 1});
    let refused = pack().request(arguments).await.unwrap_err();
    assert_eq!(refused.lines().count(), 6, "{refused}");
    let many: serde_json::Map<String, Value> = (0..1000).map(|number| (format!("x{number}"), json!(1))).collect();
    let refused = pack().request(many.into()).await.unwrap_err();
    assert_eq!(refused.lines().count(), 11, "{refused}");
    let long = pack().request(json!({"x".repeat(100_000): 1})).await.unwrap_err();
    assert!(long.len() < 2000, "{}", long.len());
}

#[tokio::test]
async fn arguments_that_two_readers_read_differently_are_refused() {
    let origin = Origin::start(&[HOST]).await;
    let upstream = Pack::tool("GET", "/x", "params: [{name: a, in: query, type: number}]").start(&origin);
    let deep = format!(r#"{{"name":"call","arguments":{{"a":{}1{}}}}}"#, "[".repeat(500), "]".repeat(500));
    for (case, params, told) in [
        ("twice", r#"{"name":"call","arguments":{"a":1,"a":2}}"#, "one is named twice"),
        ("twice, escaped", r#"{"name":"call","arguments":{"a":1,"\u0061":2}}"#, "one is named twice"),
        ("beyond all numbers", r#"{"name":"call","arguments":{"a":1e400}}"#, "a number is too large"),
        ("too deep", &deep, "nested too deeply"),
        ("a list", r#"{"name":"call","arguments":[1]}"#, "they have to be an object"),
    ] {
        let result = call_raw(&upstream, params).await;
        assert!(result["isError"] == true && text(&result).contains(told), "{case}: {result}");
    }
    assert!(origin.seen().is_empty());
    for params in [r#"{"name":"call","arguments":{"a":1}}"#, r#"{"name":"call"}"#] {
        origin.will_answer([Answer::json(200, &json!({}))]);
        assert_eq!(call_raw(&upstream, params).await["isError"], Value::Null, "{params}");
    }
}

#[tokio::test]
async fn what_does_not_fit_into_an_address_is_refused() {
    let pack = Pack::tool("GET", "/x", "params: [{name: q, in: query, type: string}]");
    let refused = pack.request(json!({"q": "x".repeat(8000)})).await.unwrap_err();
    assert!(refused.contains("is too long"), "{refused}");
    assert!(pack.request(json!({"q": "x".repeat(6000)})).await.is_ok());
    let origin = Origin::start(&[HOST]).await;
    origin.will_answer([Answer::json(200, &json!({}))]);
    let body = Pack::tool("POST", "/x", "params: [{name: q, in: body, type: string}]").start(&origin);
    assert_eq!(call(&body, json!({"q": "x".repeat(1 << 20)})).await["isError"], Value::Null);
}
