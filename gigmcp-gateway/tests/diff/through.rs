//! A session with the gateway, with bodies as they are written.

use http::HeaderValue;

use crate::{
    client::{Answer as Response, post, send},
    compare::Answer,
    direct::{INITIALIZE, Message},
    internet::Internet,
};

pub(crate) struct Through<'a> {
    internet: &'a Internet,
    path: &'a str,
    token: &'a str,
    session: Option<HeaderValue>,
    next_id: u64,
}

impl<'a> Through<'a> {
    pub(crate) fn open(internet: &'a Internet, path: &'a str, token: &'a str) -> Self {
        let mut session = Self { internet, path, token, session: None, next_id: 0 };
        let opened = session.post(&request(0, "initialize", INITIALIZE));
        session.session = Some(opened.headers["mcp-session-id"].clone());
        session.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        session
    }

    pub(crate) fn request(&mut self, method: &str, params: &str) -> Answer {
        self.next_id += 1;
        let response = self.post(&request(self.next_id, method, params));
        let body = String::from_utf8(response.body.to_vec()).unwrap();
        let is_stream = response.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let messages: Vec<&str> = match is_stream {
            true => body.lines().filter_map(|line| line.strip_prefix("data:")).collect(),
            false => vec![&body],
        };
        let answers = messages.iter().filter_map(|message| serde_json::from_str::<Message>(message).ok());
        let answer = answers.filter_map(|message| message.answer(self.next_id)).next();
        answer.unwrap_or_else(|| panic!("no answer to {method} {params}: {} {body}", response.status))
    }

    fn post(&self, body: &str) -> Response {
        let mut request = post(self.path, Some(self.token), body.to_owned());
        if let Some(session) = &self.session {
            request.headers_mut().insert("mcp-session-id", session.clone());
        }
        send(self.internet, request)
    }
}

fn request(id: u64, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}
