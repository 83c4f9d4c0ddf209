//! The examples do what their documentation says.

use std::process::Command;

#[test]
fn confine_runs_a_command_without_network_or_identity() {
    let script = "id -u; ls /sys/class/net 2>/dev/null | wc -l; echo said >&2; exit 3";
    let output = Command::new(env!("CARGO_BIN_EXE_confine")).args(["sh", "-c", script]).output().expect("it starts");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(text, "65534\n0\n", "{errors}");
    assert_eq!(output.status.code(), Some(3));
    assert!(errors.contains("said") && errors.contains("seccomp"), "{errors}");
}

#[test]
fn host_lists_the_tools_of_a_sandboxed_server() {
    // A whole MCP server in a line of shell: it answers `initialize`, then `tools/list` with its own API_KEY.
    let server = r#"
        next() { read -r line; id=${line#*\"id\":}; id=${id%%[,\}]*}; }
        say() { echo '{"jsonrpc":"2.0","id":'"$id"',"result":'"$1"'}'; }
        next; say '{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}'
        next; next; say '{"tools":[{"name":"'"$API_KEY"'","inputSchema":{"type":"object"}}]}'
        cat >/dev/null"#;
    let output = Command::new(env!("CARGO_BIN_EXE_host"))
        .args(["api.example.com", "sh", "-c", server])
        .env("API_KEY", "sk-the-real-value-of-the-example")
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("inputSchema"), "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("sk-") && !text.contains("the-real-value"), "the server holds a placeholder: {text}");
}
