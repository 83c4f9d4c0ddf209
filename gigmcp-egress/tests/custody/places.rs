//! Every place that a credential can stand in, and a request that has it there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gigmcp_egress::{BasicPart, Placeholder, Sink};
use http::HeaderName;

use crate::secrets::SECRET;

pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) sink: Sink,
    target: &'static str,
    headers: &'static str,
    body: &'static str,
    written: fn(&str) -> String,
}

impl Place {
    /// The request, with the decoy in its path for the audit to show.
    pub(crate) fn request(&self, placeholder: &Placeholder) -> String {
        let basic = |text: String| STANDARD.encode(text);
        let p = placeholder.as_str();
        let fill = |text: &str| {
            text.replace("{user}", &basic(format!("{p}:")))
                .replace("{password}", &basic(format!("me:{p}")))
                .replace("{P}", p)
        };
        let (target, headers, body) = (fill(self.target), fill(self.headers), fill(self.body));
        let (method, length) = match body.len() {
            0 => ("GET", String::new()),
            length => ("POST", format!("Content-Length: {length}\r\n")),
        };
        format!("{method} {target} HTTP/1.1\r\nHost: api.example.com\r\n{headers}{length}\r\n{body}")
    }

    /// What the host has to see.
    pub(crate) fn written(&self) -> String {
        (self.written)(SECRET)
    }
}

fn place(name: &'static str, sink: Sink, headers: &'static str, written: fn(&str) -> String) -> Place {
    Place { name, sink, target: "/dc-live-D3C0YB1RD/x", headers, body: "", written }
}

fn percent(secret: &str) -> String {
    secret.replace('+', "%2B").replace('/', "%2F")
}

pub(crate) fn all() -> Vec<Place> {
    let named = |name: &'static str| HeaderName::from_static(name);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let json = "Content-Type: application/json\r\n";
    vec![
        place("any header for credentials", Sink::Header { name: None }, "X-Api-Key: {P}\r\n", str::to_owned),
        place("a scheme of its own", Sink::Header { name: None }, "Authorization: token {P}\r\n", |s| {
            format!("token {s}")
        }),
        place("a named header", Sink::Header { name: Some(named("x-custom")) }, "X-Custom: {P}\r\n", str::to_owned),
        place(
            "a header of a form",
            Sink::HeaderFormat { name: named("x-auth"), format: "Token token=\"{}\"".parse().unwrap() },
            "X-Auth: Token token=\"{P}\"\r\n",
            |s| format!("token=\"{s}\""),
        ),
        place("bearer", Sink::Bearer, "Authorization: Bearer {P}\r\n", |s| format!("Bearer {s}")),
        place("basic, user", Sink::Basic(BasicPart::User), "Authorization: Basic {user}\r\n", |s| {
            STANDARD.encode(format!("{s}:"))
        }),
        place("basic, password", Sink::Basic(BasicPart::Password), "Authorization: Basic {password}\r\n", |s| {
            STANDARD.encode(format!("me:{s}"))
        }),
        Place {
            target: "/dc-live-D3C0YB1RD/x?a=b&key={P}&c=d",
            ..place("query", Sink::Query("key".parse().unwrap()), "", |s| format!("&key={}&", percent(s)))
        },
        Place {
            target: "/bot{P}/dc-live-D3C0YB1RD/x",
            ..place("path", Sink::PathSegment { prefix: "bot".into() }, "", |s| {
                format!("/bot{}/", s.replace('/', "%2F"))
            })
        },
        Place {
            body: "a=b&key={P}",
            ..place("form", Sink::Form("key".parse().unwrap()), form, |s| format!("key={}", percent(s)))
        },
        Place {
            body: "{\"a\":[1],\"b\":{\"key\":\"{P}\"}}",
            ..place("JSON", Sink::Json("/b/key".parse().unwrap()), json, |s| format!("\"key\":\"{s}\""))
        },
    ]
}
