//! What clients call tools and prompts, where their owner wants it otherwise.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, AggregatorBuilder, Backend, Call, Outcome, Prefixes, ToolMode, Upstream};
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    seam::raw,
};

/// A server with these tools, and prompts of the same names, that answers with who it is and what was called.
fn server(name: &'static str, tools: &'static [&'static str]) -> Stage {
    Stage::new(r#""capabilities":{"tools":{},"prompts":{}}"#, move |method, params| {
        let listed: Vec<_> =
            tools.iter().map(|tool| json!({ "name": tool, "inputSchema": { "type": "object" } })).collect();
        let called = || serde_json::from_str::<Value>(params).unwrap()["name"].as_str().unwrap().to_owned();
        match method {
            "tools/list" => result(json!({ "tools": listed }).to_string()),
            "prompts/list" => result(json!({ "prompts": listed }).to_string()),
            "tools/call" => result(json!({ "content": [], "from": name, "called": called() }).to_string()),
            "prompts/get" => result(json!({ "messages": [], "from": name, "called": called() }).to_string()),
            _ => Reply::Never,
        }
    })
}

async fn names(aggregator: &Aggregator, list: &str) -> Vec<String> {
    let Outcome::Complete(result) = aggregator.call(Call::new(format!("{list}/list"), None)).await else {
        panic!("a list");
    };
    let listed: Value = serde_json::from_str(result.get()).unwrap();
    listed[list].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

/// Who answers to a name, as which of its own; or the refusal.
async fn leads_to(aggregator: &Aggregator, method: &str, name: &str) -> Result<(String, String), String> {
    let params = raw(&json!({ "name": name }).to_string());
    let (found, text) = match aggregator.call(Call::new(method, Some(params))).await {
        Outcome::Complete(result) => (true, result),
        Outcome::Error(error) => (false, error),
        other => panic!("{other:?}"),
    };
    let value: Value = serde_json::from_str(text.get()).unwrap();
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    if found { Ok((text("from"), text("called"))) } else { Err(text("message")) }
}

fn found(server: &str, tool: &str) -> Result<(String, String), String> {
    Ok((server.to_owned(), tool.to_owned()))
}

fn with_aliases(stage: &Stage, name: &str, aliases: &[(&str, &str)]) -> Backend {
    let mut backend = stage.backend(name);
    backend.policy.aliases =
        aliases.iter().map(|(exposed, own)| (exposed.parse().unwrap(), (*own).to_owned())).collect();
    backend
}

fn builder(backends: impl IntoIterator<Item = Backend>) -> AggregatorBuilder {
    Aggregator::builder().backends(backends)
}

#[tokio::test]
async fn an_alias_is_the_only_name_of_a_tool_and_of_a_prompt() {
    let (one, two) = (server("one", &["greet", "do"]), server("two", &["greet"]));
    let backends = [with_aliases(&one, "one", &[("hello", "greet"), ("again", "greet")]), two.backend("two")];
    let aggregator = builder(backends).build().unwrap();
    for (list, method) in [("tools", "tools/call"), ("prompts", "prompts/get")] {
        assert_eq!(names(&aggregator, list).await, ["again", "one_do", "two_greet"]);
        assert_eq!(leads_to(&aggregator, method, "again").await, found("one", "greet"));
        assert_eq!(leads_to(&aggregator, method, "two_greet").await, found("two", "greet"));
        for gone in ["one_greet", "hello"] {
            assert!(leads_to(&aggregator, method, gone).await.unwrap_err().starts_with("Unknown"), "{gone}");
        }
    }
}

#[tokio::test]
async fn an_alias_leads_to_its_owners_choice_even_if_another_server_would_have_that_name() {
    let (one, two, three) = (server("one", &["do"]), server("two", &["do"]), server("three", &["do"]));
    let backends = [
        one.backend("one"),
        with_aliases(&two, "two", &[("one_do", "do")]),
        with_aliases(&three, "three", &[("one_do", "do")]), // too late
    ];
    let aggregator = builder(backends).build().unwrap();
    let listed = names(&aggregator, "tools").await;
    assert_eq!(listed[1..], ["one_do", "three_do"]);
    assert!(listed[0].starts_with("one_do_") && listed[0].len() == "one_do_".len() + 6, "{listed:?}");
    for (name, server) in [(&*listed[0], "one"), ("one_do", "two"), ("three_do", "three")] {
        assert_eq!(leads_to(&aggregator, "tools/call", name).await, found(server, "do"), "{name}");
    }
}

#[tokio::test]
async fn a_prefix_is_left_away_where_nothing_else_could_be_meant() {
    let one = server("one", &["read", "shared", "two_say", "odd.name"]);
    let two = server("two", &["say", "shared", "hello"]);
    let backends = || [one.backend("one"), with_aliases(&two, "two", &[("hi", "hello")])];
    let aggregator = builder(backends()).prefixes(Prefixes::WhenNeeded).build().unwrap();
    for (list, method) in [("tools", "tools/call"), ("prompts", "prompts/get")] {
        let listed = names(&aggregator, list).await;
        let odd = listed.iter().find(|name| name.starts_with("one_odd_name_")).unwrap();
        assert_eq!(listed, ["read", "one_shared", "one_two_say", odd, "say", "two_shared", "hi"]);
        for (name, server, own) in [
            ("read", "one", "read"),
            ("one_read", "one", "read"), // what is shown without works with it too
            ("one_shared", "one", "shared"),
            ("one_two_say", "one", "two_say"),
            ("two_say", "two", "say"), // and never the other's tool of that name
            ("say", "two", "say"),
            ("two_shared", "two", "shared"),
            ("hi", "two", "hello"),
        ] {
            assert_eq!(leads_to(&aggregator, method, name).await, found(server, own), "{name}");
        }
        let ambiguous = leads_to(&aggregator, method, "shared").await.unwrap_err();
        assert_eq!(ambiguous, "several servers have shared; say which: one_shared, two_shared");
        for none in ["hello", "nothing"] {
            assert!(leads_to(&aggregator, method, none).await.unwrap_err().starts_with("Unknown"), "{none}");
        }
    }
    // The twin: the same servers, with prefixes.
    let aggregator = builder(backends()).build().unwrap();
    assert_eq!(names(&aggregator, "tools").await[0], "one_read");
    assert!(leads_to(&aggregator, "tools/call", "read").await.is_err());
}

#[tokio::test]
async fn names_fit_behind_what_clients_put_in_front() {
    let one = server("one", &["a_name_of_thirty_characters_xx", "a_name_of_thirty_characters_xxx"]);
    let aggregator = builder([one.backend("one")]).client_prefix(30).build().unwrap();
    let listed = names(&aggregator, "tools").await;
    assert_eq!(listed[0], "one_a_name_of_thirty_characters_xx");
    assert!(listed.iter().all(|name| name.len() <= 34), "{listed:?}");
    assert_eq!(leads_to(&aggregator, "tools/call", &listed[1]).await, found("one", "a_name_of_thirty_characters_xxx"));
}

#[tokio::test]
async fn no_two_things_of_a_profile_have_one_name() {
    // Names that are alike after mending, look like another server's, or are bare in one and prefixed in the other.
    let pool: &'static [&'static str] = &["a", "b_a", "b_b_a", "a.a", "a/a", "a_a", "c", "b_c", "c_a", "a_c", "", "ä"];
    for seed in 0..64_usize {
        let pick = |server: usize| -> &'static [&'static str] {
            let chosen = pool.iter().enumerate().filter(|(index, _)| (seed >> ((index + server * 5) % 6)) & 1 == 1);
            Box::leak(chosen.map(|(_, name)| *name).collect::<Vec<_>>().into_boxed_slice())
        };
        let stages = [server("a", pick(0)), server("b", pick(1)), server("c", pick(2))];
        let backends = [
            stages[0].backend("a"),
            with_aliases(&stages[1], "b", &[("a_c", "a"), ("c", "a_a")]),
            stages[2].backend("c"),
        ];
        for prefixes in [Prefixes::Always, Prefixes::WhenNeeded] {
            let aggregator = Arc::new(builder(backends.iter().map(again)).prefixes(prefixes).build().unwrap());
            let listed = names(&aggregator, "tools").await;
            let mut distinct = listed.clone();
            distinct.sort();
            distinct.dedup();
            assert_eq!(distinct.len(), listed.len(), "{seed}: {listed:?}");
            let mut reached = Vec::new();
            for name in &listed {
                reached.push(leads_to(&aggregator, "tools/call", name).await.unwrap());
            }
            let count = reached.len();
            reached.sort();
            reached.dedup();
            assert_eq!(reached.len(), count, "{seed}: no two names lead to one tool: {listed:?}");
        }
    }
}

fn again(backend: &Backend) -> Backend {
    Backend::new(backend.name.clone(), Arc::clone(&backend.launch)).with_policy(backend.policy.clone())
}

async fn text(aggregator: &Aggregator, name: &str, arguments: Value) -> String {
    let params = raw(&json!({ "name": name, "arguments": arguments }).to_string());
    match aggregator.call(Call::new("tools/call", Some(params))).await {
        Outcome::Complete(result) | Outcome::Error(result) => result.get().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_stands_for_many_tools_finds_describes_and_calls_them_by_the_names_that_clients_see() {
    let (one, two) = (server("one", &["read", "search_tools"]), server("two", &["say", "shared"]));
    let backends = [with_aliases(&one, "one", &[]), with_aliases(&two, "two", &[("hi", "say")])];
    let builder = builder(backends).prefixes(Prefixes::WhenNeeded).tool_mode(ToolMode::Meta);
    let aggregator = builder.always(["hi", "one_read", "two_shared"]).build().unwrap();
    // Pinned by an alias, by the name with the prefix, and never under the name of a tool of ours.
    assert_eq!(names(&aggregator, "tools").await[4..], ["read", "hi", "shared"]);
    let found = text(&aggregator, "search_tools", json!({ "query": "", "detail": "name" })).await;
    assert!(found.contains(r"\nhi\none_search_tools\nread\nshared"), "{found}");
    let schemas = text(&aggregator, "search_tools", json!({ "query": "read", "detail": "schema" })).await;
    assert!(schemas.contains(r#"\"name\":\"read\""#), "{schemas}");
    for (name, own) in [("read", "read"), ("one_read", "read"), ("hi", "say"), ("two_shared", "shared")] {
        let described = text(&aggregator, "describe_tools", json!({ "names": [name] })).await;
        assert!(described.contains(&format!(r#"\"name\":\"{name}\""#)), "{described}");
        let called = text(&aggregator, "call_tool", json!({ "name": name })).await;
        assert!(called.contains(&format!(r#""called":"{own}""#)), "{name}: {called}");
    }
    let gone = text(&aggregator, "call_tool", json!({ "name": "two_say" })).await;
    assert!(gone.contains("There is no tool"), "its alias is its only name: {gone}");
}

#[tokio::test]
async fn a_tool_that_is_switched_off_stays_so_under_an_alias_and_without_a_prefix() {
    let (one, two) = (server("one", &["read", "shared"]), server("two", &["shared"]));
    for off in ["one_read", "read", "hi"] {
        let mut backend = with_aliases(&one, "one", &[("hi", "read")]);
        backend.policy.disabled.insert(off.into());
        let aggregator = builder([backend]).build().unwrap();
        assert_eq!(names(&aggregator, "tools").await, ["one_shared"], "{off}");
        assert!(leads_to(&aggregator, "tools/call", "hi").await.unwrap_err().contains("switched off"), "{off}");
        assert_eq!(leads_to(&aggregator, "tools/call", "one_shared").await, found("one", "shared"), "twin");
    }
    let mut backend = one.backend("one");
    backend.policy.disabled.extend(["shared".into(), "one_read".into()]);
    let aggregator = builder([backend, two.backend("two")]).prefixes(Prefixes::WhenNeeded).build().unwrap();
    assert_eq!(names(&aggregator, "tools").await, ["shared"]);
    assert_eq!(leads_to(&aggregator, "tools/call", "shared").await, found("two", "shared"), "nothing else is meant");
    for off in ["read", "one_read", "one_shared"] {
        assert!(leads_to(&aggregator, "tools/call", off).await.unwrap_err().contains("switched off"), "{off}");
    }
}
