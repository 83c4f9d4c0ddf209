//! A browser, as far as signing in needs one: cookies with their `SameSite`, redirects, refreshing pages, forms.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::Value;

use crate::{
    client::{ADDRESS, Answer, send_to},
    internet::Internet,
};

/// Where the gateway is.
pub(super) const GATEWAY: &str = "http://127.0.0.1:8080";

/// A browser of one person.
pub(super) struct Browser<'a> {
    internet: &'a Internet,
    /// Of the provider: how it calls itself.
    issuer: String,
    cookies: Vec<Cookie>,
    /// How many pages were asked for.
    pub(super) asked: usize,
}

struct Cookie {
    origin: String,
    name: String,
    value: String,
    strict: bool,
}

/// A page that nothing leads on from by itself.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) url: String,
    pub(super) answer: Answer,
}

impl Page {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.answer.body).into_owned()
    }

    /// The value of an attribute, the first after `mark`.
    pub(super) fn attribute(&self, mark: &str, name: &str) -> String {
        let text = self.text();
        let rest = text.split_once(mark).unwrap_or_else(|| panic!("no {mark} in {text}")).1;
        let value = rest.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name} in {rest}")).1;
        value.split('"').next().unwrap().replace("&amp;", "&")
    }
}

impl<'a> Browser<'a> {
    pub(super) fn new(internet: &'a Internet, issuer: &str) -> Self {
        Self { internet, issuer: issuer.to_owned(), cookies: Vec::new(), asked: 0 }
    }

    /// Somebody types an address.
    pub(super) fn open(&mut self, url: &str) -> Page {
        self.go(None, Method::GET, url, "")
    }

    /// Somebody sends a form of a page.
    pub(super) fn send(&mut self, page: &Page, action: &str, fields: &[(&str, &str)]) -> Page {
        let url = absolute(&page.url, action);
        self.go(Some(origin(&page.url)), Method::POST, &url, &serde_urlencoded(fields))
    }

    /// Goes on until nothing leads on any more.
    fn go(&mut self, initiator: Option<String>, method: Method, url: &str, form: &str) -> Page {
        let (mut initiator, mut method, mut url, mut form) = (initiator, method, url.to_owned(), form.to_owned());
        for _ in 0..20 {
            let answer = self.ask(initiator.as_deref(), &method, &url, &form);
            let page = Page { url: url.clone(), answer };
            if let Some(location) = page.answer.headers.get(header::LOCATION) {
                url = absolute(&url, location.to_str().unwrap());
            } else if page.text().contains("http-equiv=\"refresh\"") {
                let content = page.attribute("http-equiv=\"refresh\"", "content");
                initiator = Some(origin(&url));
                url = absolute(&url, content.split_once("url=").unwrap().1);
            } else {
                return page;
            }
            (method, form) = (Method::GET, String::new());
        }
        panic!("{url} leads in circles")
    }

    /// One request, with the cookies that a browser would send with it.
    pub(super) fn ask(&mut self, initiator: Option<&str>, method: &Method, url: &str, form: &str) -> Answer {
        let origin = origin(url);
        let mut request = Request::builder().method(method).uri(&url[origin.len()..]);
        let (_, host) = origin.split_once("://").unwrap();
        request = request.header(header::HOST, host).header(header::ACCEPT, "text/html");
        let same = initiator.is_none_or(|initiator| initiator == origin);
        let cookies = self.cookies.iter().filter(|cookie| cookie.origin == origin && (same || !cookie.strict));
        let cookies: Vec<String> = cookies.map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        if method == Method::POST {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if origin.starts_with("https:") {
            request = request.header("x-forwarded-proto", "https"); // as what ends TLS before a provider does
        }
        let request = request.body(Bytes::copy_from_slice(form.as_bytes())).unwrap();
        self.asked += 1;
        let answer = send_to(self.internet, self.address(&origin), request);
        self.keep(&origin, &answer.headers);
        answer
    }

    /// What a page of the gateway asks the API.
    pub(super) fn api(&mut self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let csrf = match method == Method::GET {
            true => None,
            false => self.api(Method::GET, "/session", None).json()["csrf_token"].as_str().map(ToOwned::to_owned),
        };
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}")).header(header::HOST, ADDRESS);
        let ours = self.cookies.iter().filter(|cookie| cookie.origin == GATEWAY);
        for cookie in ours {
            request = request.header(header::COOKIE, format!("{}={}", cookie.name, cookie.value));
        }
        if let Some(csrf) = csrf {
            request = request.header("x-csrf-token", csrf);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| body.to_string().into()).unwrap_or_default();
        let answer = send_to(self.internet, ADDRESS, request.body(body).unwrap());
        self.keep(GATEWAY, &answer.headers);
        answer
    }

    /// What the session says: whose it is and what they are.
    pub(super) fn who(&mut self) -> Option<(String, String)> {
        let answer = self.api(Method::GET, "/session", None);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let user = (answer.status == StatusCode::OK).then(|| answer.json()["user"].clone())?;
        Some((text(&user["email"]), text(&user["role"])))
    }

    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|cookie| cookie.origin == GATEWAY && cookie.name == name).map(|cookie| &*cookie.value)
    }

    fn address(&self, origin: &str) -> &'static str {
        match origin {
            GATEWAY => ADDRESS,
            origin if origin == self.issuer => super::PROVIDER,
            other => panic!("nobody is at {other}"),
        }
    }

    fn keep(&mut self, origin: &str, headers: &HeaderMap) {
        for set in headers.get_all(header::SET_COOKIE) {
            let text = set.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|cookie| cookie.origin != origin || cookie.name != name);
            let lower = text.to_ascii_lowercase();
            if value.is_empty() || lower.contains("max-age=0") || lower.contains("1970") {
                continue;
            }
            let strict = lower.contains("samesite=strict");
            self.cookies.push(Cookie {
                origin: origin.to_owned(),
                name: name.to_owned(),
                value: value.to_owned(),
                strict,
            });
        }
    }
}

fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or_else(|| panic!("{url} is not absolute"));
    format!("{scheme}://{}", rest.split(['/', '?']).next().unwrap())
}

fn absolute(base: &str, url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("{}{url}", origin(base)) }
}

fn serde_urlencoded(fields: &[(&str, &str)]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let written = |text: &str| {
        let written =
            text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
        written.collect::<String>()
    };
    fields.iter().map(|(name, value)| format!("{}={}", written(name), written(value))).collect::<Vec<_>>().join("&")
}
