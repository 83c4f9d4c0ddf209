//! The servers: this program again, over standard input and output. How one behaves is its mood.

use std::{
    collections::HashMap,
    io::{self, BufRead, Write},
};

use serde_json::{Value, json};

use crate::chance::Chance;

/// Steady ones answer; the others do so most of the time, never, among much else, or only after a question.
pub(crate) const MOODS: [&str; 5] = ["steady", "crash", "hang", "flood", "ask"];
/// Which start of its server a process is, so that each crashes elsewhere.
pub(crate) const SEED: &str = "LOAD_SEED";

pub(crate) fn run(mood: &str) -> io::Result<()> {
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    let mut server = Server { mood, chance: Chance::new(seed), output: io::stdout().lock(), asked: HashMap::new() };
    for line in io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        server.hear(&message)?;
    }
    Ok(())
}

struct Server<'a> {
    mood: &'a str,
    chance: Chance,
    output: io::StdoutLock<'static>,
    /// Calls that wait for an answer to a question, by the question.
    asked: HashMap<String, Value>,
}

impl Server<'_> {
    fn hear(&mut self, message: &Value) -> io::Result<()> {
        let id = &message["id"];
        match message["method"].as_str() {
            None => self.answered(message),
            Some("initialize") => self.result(
                id,
                &json!({
                    "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                    "serverInfo": { "name": self.mood, "version": "1" },
                }),
            ),
            Some("tools/list") => {
                self.result(id, &json!({ "tools": [{ "name": "say", "inputSchema": { "type": "object" } }] }))
            }
            Some("tools/call") => self.call(id, &message["params"]),
            Some("notifications/cancelled") => {
                self.asked.retain(|_, call| *call != message["params"]["requestId"]);
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    fn call(&mut self, id: &Value, params: &Value) -> io::Result<()> {
        let token = params["arguments"]["token"].as_str().unwrap();
        if params["arguments"]["calm"] == true {
            return self.say(id, token);
        }
        match self.mood {
            "hang" => Ok(()),
            "ask" => self.ask(id, token),
            "crash" => self.crash(id, token),
            "flood" => {
                self.flood(id)?;
                self.say(id, token)
            }
            _ => {
                let progress = &params["_meta"]["progressToken"];
                if !progress.is_null() {
                    let params = json!({ "progressToken": progress, "progress": 1, "message": token });
                    self.line(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }))?;
                }
                self.say(id, token)
            }
        }
    }

    fn say(&mut self, id: &Value, token: &str) -> io::Result<()> {
        self.result(id, &json!({ "content": [{ "type": "text", "text": token }] }))
    }

    /// Now and then the end comes before the answer, in the middle of it, or after it.
    fn crash(&mut self, id: &Value, token: &str) -> io::Result<()> {
        match self.chance.below(60) {
            0 => std::process::exit(1),
            1 => {
                write!(self.output, r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"#)?;
                self.output.flush()?;
                std::process::exit(2)
            }
            2 => {
                self.say(id, token)?;
                std::process::exit(0)
            }
            _ => self.say(id, token),
        }
    }

    /// What is no answer, in every way.
    fn flood(&mut self, id: &Value) -> io::Result<()> {
        let later = id.as_u64().unwrap() + 1_000_000;
        for turn in 0..50 {
            let note = json!({ "level": "info", "data": "x".repeat(512) });
            self.line(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": note }))?;
            self.line(&json!({ "jsonrpc": "2.0", "id": later + turn, "result": { "content": [] } }))?;
            self.line(
                &json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progress": turn } }),
            )?;
            self.output.write_all(b"no JSON at all\n{\"jsonrpc\":\"2.0\"}\n\n")?;
        }
        if self.chance.percent(5) {
            let note = json!({ "level": "info", "data": "x".repeat(TOO_LONG) });
            self.line(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": note }))?;
        }
        self.output.flush()
    }

    fn ask(&mut self, id: &Value, token: &str) -> io::Result<()> {
        let question = format!("q{}", self.chance.next());
        self.asked.insert(question.clone(), id.clone());
        let params = json!({ "message": token, "requestedSchema": { "type": "object", "properties": {} } });
        self.line(&json!({ "jsonrpc": "2.0", "id": question, "method": "elicitation/create", "params": params }))
    }

    /// What the client answered is what it gets back, or why it was not asked.
    fn answered(&mut self, message: &Value) -> io::Result<()> {
        let Some(call) = message["id"].as_str().and_then(|question| self.asked.remove(question)) else { return Ok(()) };
        let refused = message["error"]["data"]["code"].as_str().unwrap_or("nothing");
        let told = message["result"]["content"]["token"].as_str().unwrap_or(refused).to_owned();
        self.say(&call, &told)
    }

    fn result(&mut self, id: &Value, result: &Value) -> io::Result<()> {
        self.line(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
    }

    fn line(&mut self, message: &Value) -> io::Result<()> {
        self.output.write_all(format!("{message}\n").as_bytes())?;
        self.output.flush()
    }
}

/// Longer than the gateway of the story keeps.
pub(crate) const TOO_LONG: usize = 128 << 10;
