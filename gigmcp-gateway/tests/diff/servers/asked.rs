//! What is asked of each server: what always has the same answer, what fails, and what is unknown.

use crate::{requests::Request, servers::Place};

pub(super) fn fixture(_: &Place) -> Vec<Request> {
    let plain = [
        "simple_text",
        "image_content",
        "audio_content",
        "embedded_resource",
        "multiple_content_types",
        "error_handling",
        "tool_with_logging",
        "tool_with_progress",
        "odd_result",
        // A client that declared nothing is asked nothing.
        "sampling",
        "missing_capability",
        "input_required_result_elicitation",
        "input_required_result_multiple_inputs",
    ];
    let mut requests: Vec<_> = plain.iter().map(|tool| Request::call(tool, "{}")).collect();
    requests.push(Request::bare("simple_text"));
    requests.push(Request::bare("echo_arguments"));
    for arguments in [
        "null",
        "{}",
        r#"{ "spaces" :  [ 1 , 2 ] }"#,
        r#"{"float":1.0,"exponent":1.50e+3,"big":123456789012345678901234567890,"minus":-0}"#,
        r#"{"escaped":"\u0041\/\ud83d\ude00","raw":"é😀"}"#,
        r#"{"twice":1,"twice":2,"null":null,"":{}}"#,
    ] {
        requests.push(Request::call("echo_arguments", arguments));
    }
    requests
}

pub(super) fn everything(_: &Place) -> Vec<Request> {
    calls(&[
        ("echo", r#"{"message":"hé\n"}"#),
        ("echo", "{}"),
        ("get-sum", r#"{"a":2,"b":40.5}"#),
        ("get-sum", r#"{"a":"two","b":1}"#),
        ("get-tiny-image", "{}"),
        ("get-annotated-message", r#"{"messageType":"error","includeImage":true}"#),
        ("get-structured-content", r#"{"location":"Chicago"}"#),
        ("get-resource-links", r#"{"count":2}"#),
        ("trigger-long-running-operation", r#"{"duration":0.2,"steps":2}"#),
    ])
}

pub(super) fn filesystem(place: &Place) -> Vec<Request> {
    let path = |name: &str| format!(r#"{{"path":"{}"}}"#, place.files().join(name).display());
    let mut requests: Vec<_> =
        ["read_text_file", "read_file", "get_nothing"].iter().map(|tool| Request::call(tool, &path("a.txt"))).collect();
    requests.push(Request::call("read_media_file", &path("image.png")));
    requests.push(Request::call("read_text_file", &path("absent.txt")));
    requests.push(Request::call("read_text_file", r#"{"path":"/etc/shadow"}"#));
    requests.push(Request::call("list_directory", &path("")));
    requests.push(Request::call("directory_tree", &path("")));
    requests.push(Request::bare("list_allowed_directories"));
    requests
}

pub(super) fn memory(_: &Place) -> Vec<Request> {
    calls(&[
        ("read_graph", "{}"),
        ("create_entities", r#"{"entities":[{"name":"a","entityType":"letter","observations":["first"]}]}"#),
        ("create_relations", r#"{"relations":[{"from":"a","to":"a","relationType":"is"}]}"#),
        ("search_nodes", r#"{"query":"first"}"#),
        ("open_nodes", r#"{"names":["a","b"]}"#),
        ("add_observations", r#"{"observations":[{"entityName":"nobody","contents":[]}]}"#),
        ("delete_entities", r#"{"entityNames":["a"]}"#),
        ("read_graph", "{}"),
    ])
}

pub(super) fn thinking(_: &Place) -> Vec<Request> {
    calls(&[
        ("sequentialthinking", r#"{"thought":"one","nextThoughtNeeded":true,"thoughtNumber":1,"totalThoughts":2}"#),
        ("sequentialthinking", r#"{"thought":"two","nextThoughtNeeded":false,"thoughtNumber":2,"totalThoughts":2}"#),
        ("sequentialthinking", r#"{"thought":7}"#),
    ])
}

pub(super) fn time(_: &Place) -> Vec<Request> {
    calls(&[
        ("get_current_time", r#"{"timezone":"Nowhere/Land"}"#),
        ("convert_time", r#"{"source_timezone":"UTC","time":"25:00","target_timezone":"Asia/Tokyo"}"#),
        ("convert_time", "{}"),
        ("nothing", "{}"),
    ])
}

pub(super) fn fetch(_: &Place) -> Vec<Request> {
    calls(&[
        // Not raw, it looks for packages of Node, and for a registry that has them.
        ("fetch", r#"{"url":"https://api.example.com/page","raw":true}"#),
        ("fetch", r#"{"url":"https://api.example.com/page","raw":true,"max_length":20}"#),
        ("fetch", r#"{"url":"no address"}"#),
    ])
}

pub(super) fn git(place: &Place) -> Vec<Request> {
    let call =
        |tool: &str, more: &str| Request::call(tool, &format!(r#"{{"repo_path":"{}"{more}}}"#, place.git().display()));
    vec![
        call("git_log", ""),
        call("git_diff_unstaged", ""),
        call("git_diff", r#","target":"HEAD""#),
        call("git_show", r#","revision":"HEAD""#),
        call("git_show", r#","revision":"nothing""#),
        call("git_branch", r#","branch_type":"local""#),
        Request::call("git_log", r#"{"repo_path":"/nowhere"}"#),
    ]
}

fn calls(calls: &[(&str, &str)]) -> Vec<Request> {
    calls.iter().map(|(tool, arguments)| Request::call(tool, arguments)).collect()
}
