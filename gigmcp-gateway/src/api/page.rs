//! Lists, a page at a time.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::error::ApiError;

/// Which page, in a query.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    /// At most so many.
    pub(crate) limit: Option<Limit>,
    /// What the page before gave as `next_cursor`.
    pub(crate) cursor: Option<String>,
}

/// 1 to 200.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u16")]
pub(crate) struct Limit(u16);

impl TryFrom<u16> for Limit {
    type Error = &'static str;

    fn try_from(limit: u16) -> Result<Self, Self::Error> {
        (1..=MAX).contains(&limit).then_some(Self(limit)).ok_or("a page has 1 to 200 items")
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl Limit {
    pub(crate) fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl JsonSchema for Limit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX, "default": 50 })
    }
}

/// Some items of a list.
#[derive(Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Where to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of all there is, by a key that no two items share. What comes or goes meanwhile moves nothing else.
    pub(crate) fn of<R>(
        rows: Vec<R>,
        paging: &Paging,
        key: impl Fn(&R) -> String,
        item: impl Fn(R) -> T,
    ) -> Result<Self, ApiError> {
        let after = paging.cursor.as_deref().map(read_cursor).transpose()?;
        let limit = paging.limit.unwrap_or_default().get();
        let mut keyed: Vec<(String, R)> = rows.into_iter().map(|row| (key(&row), row)).collect();
        keyed.retain(|(key, _)| after.as_ref().is_none_or(|after| key > after));
        keyed.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        let more = keyed.len() > limit;
        keyed.truncate(limit);
        let next_cursor = keyed.last().filter(|_| more).map(|(key, _)| cursor(key));
        Ok(Self { items: keyed.into_iter().map(|(_, row)| item(row)).collect(), next_cursor })
    }
}

/// Where to go on. Callers are to make nothing of it.
pub(crate) fn cursor(key: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(key)
}

pub(crate) fn read_cursor(text: &str) -> Result<String, ApiError> {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| ApiError::unacceptable("the cursor is none that a page gave"))
}

/// For lists in the order of time.
pub(crate) fn by_time(seconds: i64, id: impl std::fmt::Display) -> String {
    format!("{seconds:020}/{id}")
}

/// For lists in the order of several names, whatever stands in them.
pub(crate) fn by_names(names: &[&str]) -> String {
    serde_json::to_string(names).expect("texts are JSON")
}

const MAX: u16 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: &[&str], limit: u16, cursor: Option<&str>) -> Result<Page<String>, ApiError> {
        let limit = Some(limit.try_into().expect("a limit"));
        let paging = Paging { limit, cursor: cursor.map(ToOwned::to_owned) };
        Page::of(rows.to_vec(), &paging, |row| (*row).to_owned(), ToOwned::to_owned)
    }

    #[test]
    fn pages_show_everything_once_whatever_goes_meanwhile() {
        let first = page(&["c", "a", "b", "e", "d"], 2, None).expect("a page");
        assert_eq!(first.items, ["a", "b"]);
        let second = page(&["c", "a", "e", "d"], 2, first.next_cursor.as_deref()).expect("a page");
        assert_eq!(second.items, ["c", "d"], "what the cursor named is gone");
        let last = page(&["c", "a", "e", "d"], 2, second.next_cursor.as_deref()).expect("a page");
        assert_eq!(last, Page { items: vec!["e".to_owned()], next_cursor: None });
        assert_eq!(page(&[], 2, None).expect("a page"), Page { items: Vec::new(), next_cursor: None });
        for cursor in ["?", "_w"] {
            assert!(page(&["a"], 2, Some(cursor)).is_err(), "{cursor}");
        }
    }

    #[test]
    fn a_page_has_a_bound() {
        for (limit, good) in [(0, false), (1, true), (200, true), (201, false)] {
            assert_eq!(Limit::try_from(limit).is_ok(), good, "{limit}");
        }
    }
}
