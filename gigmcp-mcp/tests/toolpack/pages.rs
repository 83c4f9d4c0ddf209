//! Answers of several pages.

use serde_json::{Value, json};

use crate::{
    origin::{Answer, Origin},
    pack::{HOST, Pack, call, shown},
};

/// The result, and the queries that were sent.
async fn paged(pagination: &str, answers: Vec<Answer>) -> (Value, Vec<String>) {
    let origin = Origin::start(&[HOST]).await;
    origin.will_answer(answers);
    let more = format!(
        "params: [{{name: q, in: query, type: string}}]\nresponse: {{select: /items}}\npagination: {pagination}"
    );
    let result = call(&Pack::tool("GET", "/x", &more).start(&origin), json!({"q": "a"})).await;
    (result, origin.seen().into_iter().map(|seen| seen.target).collect())
}

fn page(items: &[u8], next: Value) -> Answer {
    Answer::json(200, &json!({ "items": items, "next": next }))
}

#[tokio::test]
async fn each_kind_asks_for_the_next_page_in_its_way() {
    let more = |link: &str| page(&[3], json!(null)).with("link", link);
    for (kind, answers, expected, targets) in [
        (
            "{type: cursor, param: after, next: /next, maxPages: 5}",
            vec![page(&[1, 2], json!("a&b")), page(&[3], json!(7)), page(&[4], json!(""))],
            json!([1, 2, 3, 4]),
            vec!["/x?q=a", "/x?q=a&after=a%26b", "/x?q=a&after=7"],
        ),
        (
            "{type: page, param: page, maxPages: 5}",
            vec![page(&[1, 2], json!(null)), page(&[3, 4], json!(null)), page(&[5], json!(null))],
            json!([1, 2, 3, 4, 5]),
            vec!["/x?q=a", "/x?q=a&page=2", "/x?q=a&page=3"],
        ),
        (
            "{type: offset, param: from, maxPages: 5}",
            vec![page(&[1, 2], json!(null)), page(&[3, 4], json!(null)), page(&[], json!(null))],
            json!([1, 2, 3, 4]),
            vec!["/x?q=a", "/x?q=a&from=2", "/x?q=a&from=4"],
        ),
        (
            "{type: offset, param: from, next: /next, maxPages: 5}",
            vec![page(&[1], json!(10)), page(&[2, 3], json!(null))],
            json!([1, 2, 3]),
            vec!["/x?q=a", "/x?q=a&from=10"],
        ),
        (
            "{type: link, maxPages: 5}",
            vec![more(&format!("<https://{HOST}/y?page=2&q=a>; rel=\"next\"")), page(&[4], json!(null))],
            json!([3, 4]),
            vec!["/x?q=a", "/y?page=2&q=a"],
        ),
        (
            "{type: link, next: /next, maxPages: 5}",
            vec![page(&[1], json!("/x?cursor=2")), page(&[2], json!(null))],
            json!([1, 2]),
            vec!["/x?q=a", "/x?cursor=2"],
        ),
        (
            "{type: cursor, param: after, next: /next, maxPages: 5}",
            vec![page(&[1], json!("same")), page(&[2], json!("same")), page(&[3], json!("same"))],
            json!([1, 2]),
            vec!["/x?q=a", "/x?q=a&after=same"],
        ),
    ] {
        let (result, seen) = paged(kind, answers).await;
        assert_eq!((shown(&result), seen), (expected, targets.into_iter().map(str::to_owned).collect()), "{kind}");
        assert_eq!(result["content"].as_array().unwrap().len(), 1, "{kind}: {result}");
    }
}

#[tokio::test]
async fn a_link_to_elsewhere_is_not_followed_and_told() {
    for (kind, answer) in [
        ("{type: link, maxPages: 5}", page(&[1], json!(null)).with("link", "<https://evil.example/y>; rel=\"next\"")),
        ("{type: link, next: /next, maxPages: 5}", page(&[1], json!("http://x/y"))),
        ("{type: link, next: /next, maxPages: 5}", page(&[1], json!(format!("https://{HOST}@evil.example/")))),
    ] {
        let (result, seen) = paged(kind, vec![answer, page(&[2], json!(null))]).await;
        assert_eq!((shown(&result), seen.len()), (json!([1]), 1));
        let note = &result["content"][1]["text"];
        assert_eq!(*note, "There are more items, at an address that is not followed: only the same host is.");
    }
}

/// A link is followed by sending the request again, which only reading may be.
#[tokio::test]
async fn a_link_is_followed_for_reading_only() {
    for (method, items) in [("GET", json!([1, 2])), ("POST", json!([1]))] {
        let origin = Origin::start(&[HOST]).await;
        origin.will_answer([
            Answer::json(200, &json!([1])).with("link", "</y>; rel=next"),
            Answer::json(200, &json!([2])),
        ]);
        let pack = Pack::tool(method, "/x", "pagination: {type: link, maxPages: 5}");
        assert_eq!(shown(&call(&pack.start(&origin), json!({})).await), items, "{method}");
    }
}

#[tokio::test]
async fn a_call_ends_at_its_last_page_and_says_that_there_are_more() {
    let cursor = |max: u8| format!("{{type: cursor, param: after, next: /next, maxPages: {max}}}");
    let pages = || vec![page(&[1], json!("b")), page(&[2], json!("c")), page(&[3], json!(null))];
    let (result, seen) = paged(&cursor(2), pages()).await;
    assert_eq!((shown(&result), seen.len()), (json!([1, 2]), 2));
    assert_eq!(result["content"][1]["text"], "There are more items than are shown. Ask for less with `q`.");
    let (result, _) = paged(&cursor(3), pages()).await;
    assert_eq!((shown(&result), result["content"].as_array().unwrap().len()), (json!([1, 2, 3]), 1), "the twin");
}

#[tokio::test]
async fn a_page_that_fails_costs_only_itself() {
    let answers = vec![page(&[1], json!("b")), Answer::json(429, &json!({})).with("retry-after", "5")];
    let (result, _) = paged("{type: cursor, param: after, next: /next, maxPages: 5}", answers).await;
    assert_eq!(shown(&result), json!([1]));
    let note = result["content"][1]["text"].as_str().unwrap();
    assert!(
        note.starts_with("There are more items, and the next page could not be read.") && note.contains("in 5 s"),
        "{note}"
    );
}

#[tokio::test]
async fn a_key_in_the_query_goes_with_every_page_once() {
    let origin = Origin::start(&[HOST]).await;
    let pack = Pack::tool("GET", "/x", "pagination: {type: link, maxPages: 5}")
        .manifest("credentials: [{id: key, type: api_key, provider: acme, inject: {query: key}}]\n")
        .variable("GIG_PLACEHOLDER", "p-0123456789");
    let first = Answer::json(200, &json!([1])).with("link", "</x?KEY=old&key=older&page=2>; rel=next");
    origin.will_answer([first, Answer::json(200, &json!([2]))]);
    assert_eq!(shown(&call(&pack.start(&origin), json!({})).await), json!([1, 2]));
    let targets: Vec<_> = origin.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/x?key=p-0123456789", "/x?page=2&key=p-0123456789"]);
}
