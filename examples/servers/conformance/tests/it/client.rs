//! A client that says exactly what a test writes, and checks every message against the rules of JSON-RPC and of MCP.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    next_id: u64,
    modern: bool,
    /// Notifications and requests that came before an answer.
    pub(crate) heard: Vec<Value>,
}

impl Client {
    pub(crate) fn start(mode: &str) -> Self {
        Self::start_with(&[mode])
    }

    fn start_with(words: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gigmcp-demo-conformance"))
            .args(words)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout, next_id: 0, modern: false, heard: Vec::new() }
    }

    /// With a session, and everything that a client can declare.
    pub(crate) fn legacy(mode: &str) -> Self {
        Self::start(mode).opened()
    }

    pub(crate) fn legacy_with(mode: &str, word: &str) -> Self {
        Self::start_with(&[mode, word]).opened()
    }

    fn opened(mut self) -> Self {
        let capabilities = json!({ "elicitation": {}, "sampling": {}, "roots": {} });
        let answer = self.initialize(&capabilities);
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        self
    }

    pub(crate) fn initialize(&mut self, capabilities: &Value) -> Value {
        let info = json!({ "name": "test", "version": "1" });
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": info });
        self.request("initialize", params)
    }

    pub(crate) fn modern(mode: &str) -> Self {
        let mut client = Self::start(mode);
        client.modern = true;
        client
    }

    pub(crate) fn modern_with(mode: &str, word: &str) -> Self {
        let mut client = Self::start_with(&[mode, word]);
        client.modern = true;
        client
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.line(&message.to_string());
    }

    pub(crate) fn line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Sends a request and gives its id. Of 2026-07-28 it has the metadata, with every capability declared.
    pub(crate) fn begin(&mut self, method: &str, mut params: Value) -> u64 {
        self.next_id += 1;
        if self.modern && params["_meta"].is_null() {
            params["_meta"] = meta(&json!({ "elicitation": {}, "sampling": {}, "roots": {} }));
        }
        self.send(&json!({ "jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params }));
        self.next_id
    }

    pub(crate) fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params);
        self.answer(id)
    }

    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// What a request is answered; what comes before is kept.
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.next();
            if message.get("method").is_none() && message["id"] == id {
                return message;
            }
            self.heard.push(message);
        }
    }

    /// The next request of the server.
    pub(crate) fn asked(&mut self, method: &str) -> Value {
        loop {
            let message = self.next();
            if message["method"] == method {
                return message;
            }
            self.heard.push(message);
        }
    }

    pub(crate) fn reply(&mut self, request: &Value, result: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }));
    }

    /// The next message, which must be one.
    pub(crate) fn next(&mut self) -> Value {
        let text = self.next_line();
        let message: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        check(&message, self.modern);
        message
    }

    pub(crate) fn next_line(&mut self) -> String {
        let mut text = String::new();
        assert_ne!(self.stdout.read_line(&mut text).unwrap(), 0, "the server is gone");
        text.trim_end_matches('\n').to_owned()
    }

    /// Everything that was told under this method so far.
    pub(crate) fn told(&self, method: &str) -> Vec<&Value> {
        self.heard.iter().filter(|message| message["method"] == method).map(|message| &message["params"]).collect()
    }

    /// Ends the input; the server must end by itself.
    pub(crate) fn end(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The metadata of a request of 2026-07-28.
pub(crate) fn meta(capabilities: &Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    })
}

/// The rules that hold for every message of a server.
fn check(message: &Value, modern: bool) {
    assert_eq!(message["jsonrpc"], "2.0", "{message}");
    let id = message.get("id");
    let fields = ["method", "result", "error"].map(|field| message.get(field).is_some());
    assert_eq!(fields.iter().filter(|is_there| **is_there).count(), 1, "one of the three: {message}");
    if message["method"].is_string() {
        assert!(message.get("params").is_none_or(Value::is_object), "{message}");
        assert!(id.is_none_or(|id| id.is_string() || id.is_u64()), "{message}");
        assert!(!modern || id.is_none(), "a server asks nothing by itself in 2026-07-28: {message}");
        return;
    }
    assert!(id.is_some(), "{message}");
    if let Some(error) = message.get("error") {
        assert!(error["code"].is_i64() && error["message"].is_string(), "{message}");
    } else if modern {
        assert!(
            ["complete", "input_required", "task"].contains(&message["result"]["resultType"].as_str().unwrap()),
            "{message}"
        );
    } else {
        assert!(message["result"].get("resultType").is_none(), "not of this revision: {message}");
    }
}

/// Every item of a list, over all its pages.
pub(crate) fn all(client: &mut Client, method: &str, list: &str) -> Vec<Value> {
    let (mut items, mut params) = (Vec::new(), json!({}));
    loop {
        let answer = client.request(method, params.clone());
        items.extend(answer["result"][list].as_array().unwrap_or_else(|| panic!("{answer}")).clone());
        match answer["result"].get("nextCursor") {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => return items,
        }
    }
}

/// What the suite asks of every list.
pub(crate) fn check_lists(client: &mut Client) {
    let tools = all(client, "tools/list", "tools");
    for tool in &tools {
        let name = tool["name"].as_str().unwrap();
        let plain = name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
        assert!(plain && name.len() <= 59, "{name}");
        assert!(!tool["description"].as_str().unwrap().is_empty(), "{name}");
        assert_eq!(tool["inputSchema"]["type"], "object", "{name}");
    }
    let names: std::collections::BTreeSet<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), tools.len(), "no name twice");
    for prompt in all(client, "prompts/list", "prompts") {
        assert!(prompt["name"].is_string() && prompt["description"].is_string(), "{prompt}");
    }
    for resource in all(client, "resources/list", "resources") {
        assert!(resource["uri"].is_string() && resource["name"].is_string(), "{resource}");
    }
    let templates = all(client, "resources/templates/list", "resourceTemplates");
    assert_eq!(templates[0]["uriTemplate"], "test://template/{id}/data");
    let unknown = client.request("tools/list", json!({ "cursor": "after-1000" }));
    assert_eq!(unknown["error"]["code"], -32602);
}

/// What both eras answer alike.
pub(crate) fn check_contents(client: &mut Client) {
    let read = |client: &mut Client, uri: &str| client.request("resources/read", json!({ "uri": uri }));
    assert_eq!(read(client, "test://static-text")["result"]["contents"][0]["mimeType"], "text/plain");
    assert!(read(client, "test://static-binary")["result"]["contents"][0]["blob"].is_string());
    let data = read(client, "test://template/123/data");
    assert!(data["result"]["contents"][0]["text"].as_str().unwrap().contains("123"), "{data}");
    let types = |answer: &Value| -> Vec<String> {
        let content = answer["result"]["content"].as_array().unwrap_or_else(|| panic!("{answer}"));
        content.iter().map(|block| block["type"].as_str().unwrap().to_owned()).collect()
    };
    for (tool, expected) in [
        ("simple_text", &["text"][..]),
        ("image_content", &["image"]),
        ("audio_content", &["audio"]),
        ("embedded_resource", &["resource"]),
        ("multiple_content_types", &["text", "image", "resource"]),
        ("error_handling", &["text"]),
    ] {
        let answer = client.call(tool, json!({}));
        assert_eq!(types(&answer), expected, "{tool}");
        assert_eq!(answer["result"]["isError"] == true, tool == "error_handling", "{answer}");
    }
    assert_eq!(client.call("nobody", json!({}))["error"]["code"], -32602);
    let arguments = json!({ "arg1": "one", "arg2": "two" });
    let prompt = client.request("prompts/get", json!({ "name": "prompt_with_arguments", "arguments": arguments }));
    assert!(prompt["result"]["messages"][0]["content"]["text"].as_str().unwrap().contains("'one', arg2='two'"));
    assert_eq!(client.request("prompts/get", json!({ "name": "prompt_with_arguments" }))["error"]["code"], -32602);
    let reference = json!({ "type": "ref/prompt", "name": "prompt_with_arguments" });
    let argument = json!({ "name": "arg1", "value": "pari" });
    let completed = client.request("completion/complete", json!({ "ref": reference, "argument": argument }));
    assert_eq!(completed["result"]["completion"]["values"], json!(["paris"]));
}
