//! What the header `WWW-Authenticate` demands.
//!
//! Source: RFC 9110, section 11.6.1; Docker registry token authentication.

#[derive(Debug, Eq, PartialEq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// The one of several that is best: a token is for one repository only.
    pub(super) fn best<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let all: Vec<_> = headers.into_iter().flat_map(challenges).collect();
        let bearer = all.iter().find_map(|(scheme, parameters)| {
            let of = |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            let realm = of("realm").filter(|_| scheme.eq_ignore_ascii_case("bearer"))?.1.clone();
            // What for is ours to say. A service may read the first of two scopes.
            if asks(&realm) {
                return None;
            }
            Some(Self::Bearer { realm, service: of("service").map(|(_, value)| value.clone()) })
        });
        let basic = || all.iter().any(|(scheme, _)| scheme.eq_ignore_ascii_case("basic")).then_some(Self::Basic);
        bearer.or_else(basic)
    }
}

/// Whether an address says itself what a token is to be for, or hides what it says.
fn asks(realm: &str) -> bool {
    let query = realm.split_once('?').map_or("", |(_, query)| query);
    let names = query.split(['&', ';']).map(|pair| pair.split('=').next().unwrap_or_default());
    names.into_iter().any(|name| name.contains(['%', '+']) || matches!(name, "scope" | "service"))
}

type Parameters = Vec<(String, String)>;

/// Each scheme with its parameters.
fn challenges(header: &str) -> Vec<(String, Parameters)> {
    let mut all: Vec<(String, Parameters)> = Vec::new();
    for item in outside_quotes(header, ',') {
        let item = item.trim();
        let name_end = item.find('=').unwrap_or(item.len());
        // A scheme stands before a parameter's name, or alone.
        let parameter = match item[..name_end].trim_end().rsplit_once(' ') {
            Some((scheme, _)) => {
                all.push((scheme.trim().to_owned(), Vec::new()));
                item[scheme.len()..].trim()
            }
            None if name_end == item.len() => {
                all.push((item.to_owned(), Vec::new()));
                continue;
            }
            None => item,
        };
        if let (Some((name, value)), Some((_, parameters))) = (parameter.split_once('='), all.last_mut()) {
            parameters.push((name.trim().to_owned(), unquoted(value.trim())));
        }
    }
    all
}

fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        character == separator && !is_quoted
    })
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut is_escaped = false;
    let keep = |character: &char| {
        is_escaped = *character == '\\' && !is_escaped;
        !is_escaped
    };
    inner.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_preferred() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (headers, expected) in [
            (&["Basic realm=\"Registry\""][..], Some(Challenge::Basic)),
            (
                &["Bearer realm=\"https://a.example/token\",service=\"a.example\",scope=\"repository:a:pull,push\""],
                bearer("https://a.example/token", Some("a.example")),
            ),
            (&["bearer realm=https://a.example/token"], bearer("https://a.example/token", None)),
            (&["Basic realm=\"x, y\", Bearer realm=\"https://a/\""], bearer("https://a/", None)),
            (&["Basic realm=x", "Bearer realm=\"https://a/\""], bearer("https://a/", None)),
            (&["Negotiate, Basic realm=\"x\""], Some(Challenge::Basic)),
            (&["Bearer realm=\"a\\\"b\""], bearer("a\"b", None)),
            (&["Bearer realm=\"https://a/?account=x\""], bearer("https://a/?account=x", None)),
            (&["Bearer realm=\"https://a/?scope=repository:b:pull\""], None),
            (&["Bearer realm=\"https://a/?a=b&service=b\""], None),
            (&["Bearer realm=\"https://a/?sc%6fpe=repository:b:pull\""], None),
            (&["Bearer realm=\"https://a/?scope=b\", Basic realm=x"], Some(Challenge::Basic)),
            (&["Bearer service=\"a\""], None),
            (&["Negotiate"], None),
            (&[""], None),
            (&["realm=\"https://a/\""], None),
        ] {
            assert_eq!(Challenge::best(headers.iter().copied()), expected, "{headers:?}");
        }
    }
}
