//! Further pages of one answer.

use gigmcp_registry::{Pagination, PaginationKind};
use http::{HeaderMap, header::LINK};
use serde_json::Value;

use super::{
    client::HttpAnswer,
    render::{Ask, Target},
};

/// Where a call is in its pages.
pub(super) struct Pages<'p> {
    pagination: &'p Pagination,
    host: &'p str,
    read: u64,
    items: usize,
    first_items: usize,
    last: Option<Ask>,
}

impl<'p> Pages<'p> {
    pub(super) fn new(pagination: &'p Pagination, host: &'p str) -> Self {
        Self { pagination, host, read: 0, items: 0, first_items: 0, last: None }
    }

    /// What to ask for behind a page of so many items; nothing behind the last one.
    pub(super) fn next(&mut self, answer: &HttpAnswer, document: &Value, items: usize) -> Next {
        self.read += 1;
        self.items += items;
        if self.read == 1 {
            self.first_items = items;
        }
        let ask = match self.pagination.kind {
            PaginationKind::Link => match self.link(&answer.headers, document) {
                Some(link) => match Target::of(&link, self.host) {
                    Some(target) => Some(Ask::Target(target)),
                    None => return Next::Elsewhere,
                },
                None => None,
            },
            PaginationKind::Cursor => self.cursor(document).and_then(|value| self.param(value)),
            // A page that is shorter than the first one is the last one.
            _ if self.pagination.next.is_none() && (items == 0 || items < self.first_items) => None,
            PaginationKind::Page if self.pagination.next.is_none() => self.param((self.read + 1).to_string()),
            PaginationKind::Offset if self.pagination.next.is_none() => self.param(self.items.to_string()),
            _ => self.cursor(document).and_then(|value| self.param(value)),
        };
        match ask {
            None => Next::Ended,
            // A service that names the same page for ever.
            Some(ask) if self.last.as_ref() == Some(&ask) => Next::Ended,
            Some(_) if self.read >= self.pagination.max_pages => Next::TooMany,
            Some(ask) => {
                self.last = Some(ask.clone());
                Next::Ask(ask)
            }
        }
    }

    fn param(&self, value: String) -> Option<Ask> {
        Some(Ask::Param { name: self.pagination.param.clone()?, value })
    }

    /// What the answer says is next, as text.
    fn cursor(&self, document: &Value) -> Option<String> {
        match document.pointer(&self.pagination.next.as_ref()?.to_string())? {
            Value::String(text) if !text.is_empty() && text.len() <= MAX_CURSOR_BYTES => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The address that the answer names.
    fn link(&self, headers: &HeaderMap, document: &Value) -> Option<String> {
        if self.pagination.next.is_some() {
            return self.cursor(document);
        }
        let mut links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
        links.find_map(next_link).map(str::to_owned)
    }
}

/// What comes behind a page.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Another one.
    Ask(Ask),
    /// Nothing.
    Ended,
    /// Another one, and no call has so many.
    TooMany,
    /// Another one, at an address that is not followed.
    Elsewhere,
}

/// The target of `rel="next"` in a `Link` header (RFC 8288).
fn next_link(value: &str) -> Option<&str> {
    let mut rest = value;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let (params, next) = after.split_once('<').map_or((after, ""), |(params, _)| (params, &after[params.len()..]));
        let is_next = params.split([';', ',']).filter_map(|param| param.split_once('=')).any(|(name, value)| {
            let mut words = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel") && words.any(|word| word.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        rest = next;
    }
}

impl Target {
    /// The path and query of a link to the same host over HTTPS: no user, no port but 443, nothing that wanders, no fragment.
    pub(super) fn of(link: &str, host: &str) -> Option<Self> {
        let target = match link.strip_prefix("https://") {
            Some(rest) => {
                let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, target) = rest.split_at(at);
                let name = authority.strip_suffix(":443").unwrap_or(authority);
                name.eq_ignore_ascii_case(host).then_some(target)?
            }
            None if link.starts_with('/') && !link.starts_with("//") => link,
            None => return None,
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if path.is_empty() { "/" } else { path };
        let lower = path.to_ascii_lowercase();
        let wanders = path.split('/').any(|segment| matches!(segment, "." | "..")) || lower.contains("%2e");
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte));
        let valid = target.len() <= MAX_CURSOR_BYTES && plain(path) && plain(query) && !wanders;
        valid.then(|| Self { path: path.into(), query: query.into() })
    }
}

const MAX_CURSOR_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_the_same_host_or_nowhere() {
        let target = |path: &str, query: &str| Some(Target { path: path.into(), query: query.into() });
        for (case, link, expected) in [
            ("whole", "https://api.example.com/v1/items?page=2", target("/v1/items", "page=2")),
            ("with its port", "https://API.example.com:443/v1?a=1", target("/v1", "a=1")),
            ("path only", "/v1/items?page=2", target("/v1/items", "page=2")),
            ("no path", "https://api.example.com?page=2", target("/", "page=2")),
            ("another host", "https://evil.example/v1", None),
            ("a longer host", "https://api.example.com.evil.example/v1", None),
            ("a user", "https://api.example.com@evil.example/v1", None),
            ("a user of ours", "https://x@api.example.com/v1", None),
            ("another port", "https://api.example.com:8443/v1", None),
            ("clear text", "http://api.example.com/v1", None),
            ("host without scheme", "//evil.example/v1", None),
            ("backslashes", "/\\evil.example/v1", None),
            ("up", "/v1/../admin", None),
            ("up, escaped", "/v1/%2E%2e/admin", None),
            ("a line", "/v1\r\nx: y", None),
            ("a fragment", "/v1#x", None),
            ("relative", "items?page=2", None),
        ] {
            assert_eq!(Target::of(link, "api.example.com"), expected, "{case}");
        }
    }

    #[test]
    fn the_next_link_is_found_among_others() {
        for (header, expected) in [
            (r#"<https://a/1>; rel="prev", <https://a/3>; rel="next", <https://a/9>; rel="last""#, Some("https://a/3")),
            (r#"<https://a/3>; title="x"; rel=next"#, Some("https://a/3")),
            (r#"<https://a/3>; rel="start next""#, Some("https://a/3")),
            (r#"<https://a/1>; rel="prev""#, None),
            ("", None),
            ("<https://a/3", None),
        ] {
            assert_eq!(next_link(header), expected, "{header}");
        }
    }
}
