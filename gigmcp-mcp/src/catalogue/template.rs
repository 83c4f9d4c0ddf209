//! Whether a template of URIs (RFC 6570) may expand to a URI.

/// A template, as what is fixed in it and what is not.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Fixed(Box<str>),
    /// Anything, within one segment of a path or beyond it.
    Open {
        beyond: bool,
    },
}

impl Template {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((fixed, open)) = rest.split_once('{') {
            let (expression, after) = open.split_once('}')?;
            if !fixed.is_empty() {
                parts.push(Part::Fixed(fixed.into()));
            }
            // `+` and `#` may expand to `/`, and `/`, `?` and `&` bring their own.
            let beyond = expression.starts_with(['+', '#', '/', '?', '&', ';', '.']) || expression.contains('*');
            parts.push(Part::Open { beyond });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Fixed(rest.into()));
        }
        (parts.len() <= MAX_PARTS && !rest.contains('}')).then_some(Self(parts))
    }

    /// Time grows with the product of both lengths and no faster, whatever they hold.
    pub(super) fn matches(&self, uri: &str) -> bool {
        let uri = uri.as_bytes();
        if uri.len() > MAX_URI_BYTES {
            return false;
        }
        let mut reached = vec![false; uri.len() + 1];
        reached[0] = true;
        for part in &self.0 {
            let mut next = vec![false; uri.len() + 1];
            match part {
                Part::Fixed(text) => {
                    for start in (0..=uri.len()).filter(|&start| reached[start]) {
                        if uri[start..].starts_with(text.as_bytes()) {
                            next[start + text.len()] = true;
                        }
                    }
                }
                Part::Open { beyond } => {
                    let mut open = false;
                    for position in 0..=uri.len() {
                        open |= reached[position];
                        next[position] = open;
                        open &= *beyond || uri.get(position) != Some(&b'/');
                    }
                }
            }
            reached = next;
        }
        reached[uri.len()]
    }
}

const MAX_PARTS: usize = 64;
const MAX_URI_BYTES: usize = 8 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn a_template_matches_what_it_may_expand_to() {
        for (template, uri, expected) in [
            ("test://template/{id}/data", "test://template/7/data", true),
            ("test://template/{id}/data", "test://template/7%2F8/data", true),
            ("test://template/{id}/data", "test://template/7/8/data", false),
            ("test://template/{id}/data", "test://template/7/data/", false),
            ("file:///{+path}", "file:///a/b/c", true),
            ("file:///{path}", "file:///a/b/c", false),
            ("a:{x}{y}", "a:", true),
            ("s://find{?q,limit}", "s://find?q=1&limit=2", true),
            ("s://find{?q,limit}", "s://find", true),
            ("s://find{?q,limit}", "s://fin", false),
            ("a:b", "a:b", true),
            ("a:b", "a:bc", false),
        ] {
            assert_eq!(Template::parse(template).unwrap().matches(uri), expected, "{template} {uri}");
        }
        for template in ["a:{", "a:{x", "a:x}", &"{x}".repeat(100)] {
            assert!(Template::parse(template).is_none(), "{template}");
        }
    }

    #[test]
    fn a_hostile_template_does_not_take_long() {
        let template = Template::parse(&"{+a}x".repeat(30)).unwrap();
        assert!(!template.matches(&"x".repeat(MAX_URI_BYTES - 1).replace('x', "xy")));
        assert!(!template.matches(&format!("{}y", "x".repeat(4000))));
        assert!(template.matches(&"x".repeat(4000)));
    }
}
