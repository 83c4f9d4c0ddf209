//! An MCP server with one tool, which GETs a URL and sends a key from its environment along.
//!
//! It is as naive as real servers are: it believes that `API_KEY` is the key, it trusts the
//! certificates in `SSL_CERT_FILE`, it asks the name server in `/etc/resolv.conf`, and it has
//! never heard of a proxy unless `FETCH_USE_PROXY=1` is set.

#![forbid(unsafe_code)]

mod client;

use std::io;

use client::{Client, Fetched};
use gigmcp_demo_echo::{Answer, Tool, serve};
use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let fetch = Fetch { client: Client::from_env() };
    serve("fetch", &fetch, io::stdin().lock(), io::stdout().lock())
}

struct Fetch {
    client: Client,
}

impl Tool for Fetch {
    fn definition(&self) -> Value {
        json!({
            "name": "fetch",
            "title": "Fetch",
            "description": "GETs a URL, with the key from the environment in a header, and returns \
                status, headers and body",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "url": { "type": "string", "description": "an http or https URL" },
                    "header": {
                        "type": "string",
                        "description": "the header that carries the bare key; without it the key \
                            goes into Authorization, after Bearer",
                    },
                },
                "required": ["url"],
            },
            "outputSchema": {
                "type": "object",
                "properties": {
                    "status": { "type": "integer" },
                    "headers": {
                        "type": "array",
                        "items": { "type": "array", "items": { "type": "string" } },
                    },
                    "body": { "type": "string" },
                    "truncated": { "type": "boolean" },
                },
                "required": ["status", "headers", "body", "truncated"],
            },
            "annotations": { "readOnlyHint": true, "openWorldHint": true },
        })
    }

    fn call(&self, arguments: &Value) -> Result<Answer, String> {
        let url = arguments["url"].as_str().ok_or("url is missing or not a string")?;
        let header = match &arguments["header"] {
            Value::Null => None,
            Value::String(name) => Some(name.as_str()),
            _ => return Err("header is not a string".to_owned()),
        };
        let Fetched { status, headers, body, truncated } = self.client.get(url, header)?;
        let mut text = format!("HTTP {status}\n");
        for (name, value) in &headers {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push('\n');
        text.push_str(&body);
        Ok(Answer {
            text,
            structured: json!({ "status": status, "headers": headers, "body": body, "truncated": truncated }),
        })
    }
}
