//! An MCP server with 500 tools, of which the first makes a text of the length it is told. It reads and writes many lines at
//! a time, so that what is measured is what stands before it.

#![forbid(unsafe_code)]

use std::{
    io::{self, BufRead, BufReader, Write},
    num::NonZeroUsize,
};

use serde::Deserialize;
use serde_json::{json, value::RawValue};

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Params {
    arguments: Arguments,
}

#[derive(Deserialize)]
struct Arguments {
    bytes: NonZeroUsize,
}

fn main() -> io::Result<()> {
    let tools = json!({ "tools": (0..TOOLS).map(tool).collect::<Vec<_>>() }).to_string();
    let mut input = BufReader::with_capacity(BUFFER_BYTES, io::stdin().lock());
    let (mut output, mut line, mut answers) = (io::stdout().lock(), Vec::new(), Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        answer(&line, &tools, &mut answers)?;
        if !input.buffer().contains(&b'\n') {
            output.write_all(&answers)?;
            output.flush()?;
            answers.clear();
        }
    }
}

fn answer(line: &[u8], tools: &str, answers: &mut Vec<u8>) -> io::Result<()> {
    let request: Request<'_> = serde_json::from_slice(line)?;
    let (Some(id), Some(method)) = (request.id, request.method) else { return Ok(()) };
    write!(answers, r#"{{"jsonrpc":"2.0","id":{id},"#)?;
    match method {
        "initialize" => {
            let result = json!({
                "protocolVersion": "2025-06-18",
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "bench", "version": "1" },
            });
            writeln!(answers, r#""result":{result}}}"#)
        }
        "ping" => writeln!(answers, r#""result":{{}}}}"#),
        "tools/list" => writeln!(answers, r#""result":{tools}}}"#),
        "tools/call" => {
            let params: Params = serde_json::from_str(request.params.map_or("null", RawValue::get))?;
            answers.extend_from_slice(br#""result":{"content":[{"type":"text","text":""#);
            answers.resize(answers.len() + params.arguments.bytes.get(), b'x');
            answers.extend_from_slice(b"\"}]}}\n");
            Ok(())
        }
        _ => writeln!(answers, r#""error":{{"code":-32601,"message":"Method not found"}}}}"#),
    }
}

fn tool(number: usize) -> serde_json::Value {
    let name = if number == 0 { "make".to_owned() } else { format!("make_like_{number:03}") };
    json!({
        "name": name,
        "description": "Makes a text of the length it is told, as do the other tools of this server, which are many.",
        "inputSchema": {
            "type": "object",
            "properties": { "bytes": { "type": "integer", "minimum": 1, "description": "How long the text is to be." } },
            "required": ["bytes"],
        },
    })
}

const TOOLS: usize = 500;
const BUFFER_BYTES: usize = 256 << 10;
