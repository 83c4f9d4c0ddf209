//! An MCP server with one tool, which gives back the text it is given.

#![forbid(unsafe_code)]

use std::io;

use gigmcp_demo_echo::{Answer, Tool, serve};
use serde_json::{Value, json};

fn main() -> io::Result<()> {
    serve("echo", &Echo, io::stdin().lock(), io::stdout().lock())
}

struct Echo;

impl Tool for Echo {
    fn definition(&self) -> Value {
        let text = json!({ "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] });
        json!({
            "name": "echo",
            "title": "Echo",
            "description": "Returns the text it is given",
            "inputSchema": text,
            "outputSchema": text,
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        })
    }

    fn call(&self, arguments: &Value) -> Result<Answer, String> {
        let text = arguments["text"].as_str().ok_or("text is missing or not a string")?;
        Ok(Answer { text: text.to_owned(), structured: json!({ "text": text }) })
    }
}
