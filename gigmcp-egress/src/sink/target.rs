use crate::placeholder::Placeholder;
use crate::refusal::Refusal;
use crate::sink::fields::{self, FieldName};
use crate::sink::{Place, Spelling};

/// Finds the placeholder as the value of a query parameter.
pub(crate) fn find_in_query(target: &str, name: &FieldName, placeholder: &Placeholder) -> Result<Vec<Place>, Refusal> {
    let Some((path, query)) = target.split_once('?') else { return Ok(Vec::new()) };
    let found = fields::find(query, path.len() + 1, name, placeholder)?;
    Ok(found.into_iter().map(|range| Place::Target { range, spelling: Spelling::Percent }).collect())
}

/// Finds the placeholder as a path segment behind a prefix.
pub(crate) fn find_in_path(target: &str, prefix: &str, placeholder: &Placeholder) -> Result<Vec<Place>, Refusal> {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let (mut places, mut at) = (Vec::new(), 0);
    for segment in path.split('/') {
        if segment.strip_prefix(prefix) == Some(placeholder.as_str()) {
            let range = at + prefix.len()..at + segment.len();
            places.push(Place::Target { range, spelling: Spelling::Segment });
        }
        at += segment.len() + 1;
    }
    // Beside ours, a segment that looks like another.
    let others = path.split('/').filter(|segment| segment.strip_prefix(prefix) != Some(placeholder.as_str()));
    if !places.is_empty() && others.into_iter().any(|segment| is_long(segment, prefix)) {
        return Err(Refusal::PlaceholderAmbiguous);
    }
    Ok(places)
}

/// Whether the query has the parameter with any value.
pub(crate) fn has_parameter(target: &str, name: &FieldName) -> bool {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    // Where a semicolon separates for some, it separates here.
    query.split(['&', ';']).any(|pair| {
        let (spelled, value) = pair.split_once('=').unwrap_or((pair, ""));
        name.is_read_from(spelled) && !value.is_empty()
    })
}

/// Whether a segment begins with the prefix of a credential and is long enough to hold one. Without a prefix there is
/// nothing to tell it by.
pub(crate) fn has_long_segment(target: &str, prefix: &str) -> bool {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    path.split('/').any(|segment| is_long(segment, prefix))
}

fn is_long(segment: &str, prefix: &str) -> bool {
    let rest = segment.strip_prefix(prefix).filter(|_| !prefix.is_empty());
    rest.is_some_and(|rest| rest.len() >= MIN_CREDENTIAL_BYTES)
}

const MIN_CREDENTIAL_BYTES: usize = 16;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::placeholder::Shape;

    #[test]
    fn a_segment_is_the_placeholder_or_it_is_not() {
        let placeholder = Placeholder::mint(&Shape::opaque());
        for (case, target, prefix, expected) in [
            ("alone", "/v1/P/x", "", &[(4, 44)][..]),
            ("behind a prefix", "/botP/send", "bot", &[(4, 44)][..]),
            ("at the end", "/a/P", "", &[(3, 43)]),
            ("in the query only", "/a?P/P", "", &[]),
            ("in part", "/a/xP", "", &[]),
            ("without its prefix", "/P/send", "bot", &[]),
            ("twice", "/P/P", "", &[(1, 41), (42, 82)]),
        ] {
            let target = target.replace('P', placeholder.as_str());
            let found: Vec<_> = find_in_path(&target, prefix, &placeholder)
                .unwrap()
                .into_iter()
                .map(|place| match place {
                    Place::Target { range, spelling: Spelling::Segment } => (range.start, range.end),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(found, expected, "{case}: {target}");
        }
    }

    #[test]
    fn a_place_that_holds_something_else_is_seen() {
        let name: FieldName = "key".parse().unwrap();
        for (target, expected) in [
            ("/x?key=evil", true),
            ("/x?a=1;key=evil", true),
            ("/x?k%65y=evil", true),
            ("/x?key=", false),
            ("/x?monkey=1", false),
            ("/x", false),
        ] {
            assert_eq!(has_parameter(target, &name), expected, "{target}");
        }
        assert!(has_long_segment("/bot123456:abcdefghijklmnop/send", "bot"));
        assert!(!has_long_segment("/bottles/send", "bot"));
        assert!(!has_long_segment("/0123456789abcdef0123", ""));
    }
}
