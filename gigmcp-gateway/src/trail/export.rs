//! The trail as lines of JSON, to be kept and verified elsewhere.
//!
//! The first line is `{"export": ...}`, see [`ExportHead`]; then comes one line a row, and after its row each
//! `{"statement": ...}` that was signed. A line that is not byte for byte what is written here is refused, so that no two
//! programs read something else in it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

#[cfg(test)]
use super::AuditRow;
use super::{ChainedRow, Link, Place, PublicKey, Statement};

/// What is exported.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportHead {
    /// 1.
    pub(crate) version: u32,
    /// The keys that sign, as 64 hexadecimal digits; as the database has them, which is no reason to trust them.
    pub(crate) keys: Vec<String>,
    /// The row before the first, as `PLACE:HASH`; none if the export begins with a statement.
    pub(crate) after: Option<String>,
    /// Which rows were left out; such an export cannot be verified.
    pub(crate) filter: Option<Filter>,
}

/// Which rows are wanted; all that are given must fit.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Not before, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since_ms: Option<i64>,
    /// Before, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) call: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(crate) alarms: bool,
}

#[cfg(test)]
impl Filter {
    /// What the condition that the database is given must mean.
    pub(crate) fn takes(&self, row: &AuditRow) -> bool {
        let is = |wanted: &Option<String>, text: &str| wanted.as_ref().is_none_or(|wanted| wanted == text);
        let among = |id: &String| row.calls.iter().flat_map(|calls| calls.split(',')).any(|call| call == id);
        self.since_ms.is_none_or(|since| row.at_ms >= since)
            && self.until_ms.is_none_or(|until| row.at_ms < until)
            && is(&self.kind, &row.kind)
            && is(&self.owner, &row.owner)
            && is(&self.profile, &row.profile)
            && is(&self.server, &row.server)
            && is(&self.instance, &row.instance)
            && self.call.as_ref().is_none_or(among)
            && (self.request.is_none() || self.request == row.request)
            && (!self.alarms || row.alarm)
    }
}

/// One line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Line {
    Head(ExportHead),
    Statement(Statement),
    Row(ChainedRow),
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InvalidExport {
    #[error("line {line} is not what an export writes")]
    Line { line: u64 },
    #[error("it does not begin as an export does, or is of a newer version")]
    Head,
    #[error("rows were left out of it ({filter}); only an export without filters can be verified")]
    Filtered { filter: String },
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StatementText {
    kind: String,
    place: Place,
    hash: String,
    at_ms: i64,
    signer: String,
    signature: String,
}

impl Line {
    /// The line without its end.
    pub(crate) fn to_json(&self) -> String {
        let text = match self {
            Self::Head(head) => serde_json::to_string(&json!({ "export": head })),
            Self::Statement(statement) => serde_json::to_string(&json!({ "statement": text(statement) })),
            Self::Row(row) => serde_json::to_string(row),
        };
        text.expect("text and numbers have JSON")
    }

    /// Reads what [`to_json`](Self::to_json) wrote, and nothing else.
    pub(crate) fn from_json(line: &str) -> Option<Self> {
        let mut members: Map<String, Value> = serde_json::from_str(line).ok()?;
        let read = match (members.remove("export"), members.remove("statement")) {
            (Some(head), None) => Self::Head(serde_json::from_value(head).ok()?),
            (None, Some(text)) => Self::Statement(statement(serde_json::from_value(text).ok()?)?),
            (None, None) => Self::Row(row(members)?),
            (Some(_), Some(_)) => return None,
        };
        (read.to_json() == line).then_some(read)
    }
}

impl ExportHead {
    /// The keys that the file itself names.
    pub(crate) fn public_keys(&self) -> Option<Vec<PublicKey>> {
        self.keys.iter().map(|key| key.parse().ok()).collect()
    }

    /// The row before the first, if it begins in the middle.
    pub(crate) fn after(&self) -> Result<Option<Link>, InvalidExport> {
        self.after.as_ref().map(|after| after.parse().map_err(|_| InvalidExport::Head)).transpose()
    }
}

fn text(statement: &Statement) -> StatementText {
    StatementText {
        kind: statement.kind.as_str().to_owned(),
        place: statement.link.place,
        hash: statement.link.hash.to_string(),
        at_ms: statement.at_ms,
        signer: statement.signer.clone(),
        signature: hex::encode(&statement.signature),
    }
}

fn statement(text: StatementText) -> Option<Statement> {
    Some(Statement {
        kind: text.kind.parse().ok()?,
        link: Link { place: text.place, hash: text.hash.parse().ok()? },
        at_ms: text.at_ms,
        signer: text.signer,
        signature: hex::decode(text.signature).ok()?,
    })
}

fn row(mut members: Map<String, Value>) -> Option<ChainedRow> {
    let id = members.remove("id")?.as_i64()?;
    let hash = match members.remove("hash")? {
        Value::Null => None,
        hash => Some(hash.as_str()?.parse().ok()?),
    };
    let row = serde_json::from_value(Value::Object(members)).ok()?;
    Some(ChainedRow { id, row, hash })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::{Signer, StatementKind, testing};

    #[test]
    fn only_what_was_written_is_read() {
        let link = Link::begin_after(0).then(&testing::row("a"));
        let row = ChainedRow { id: 1, row: testing::row("a"), hash: Some(link.hash) };
        let filter = Some(Filter { kind: Some("tool".to_owned()), ..Filter::default() });
        let head = ExportHead { version: 1, keys: vec!["ab".to_owned()], after: None, filter };
        let statement = Signer::for_test(1).sign(StatementKind::Head, link);
        for line in [Line::Row(row.clone()), Line::Head(head), Line::Statement(statement)] {
            assert_eq!(Line::from_json(&line.to_json()), Some(line)); // twin of the refusals
        }
        let text = Line::Row(row).to_json();
        let twice = text.replacen('{', r#"{"subject":"b","#, 1);
        let more = text.replacen('{', r#"{"note":"b","#, 1);
        let spaced = text.replacen(':', ": ", 1);
        let less = text.replacen(r#""verdict":"allowed","#, "", 1);
        for (case, line) in
            [("a name twice", twice), ("an unknown name", more), ("a space", spaced), ("a column less", less)]
        {
            assert_ne!(line, text);
            assert_eq!(Line::from_json(&line), None, "{case}: {line}");
        }
    }

    #[test]
    fn a_filter_takes_what_fits_in_all_of_it() {
        let row = AuditRow { calls: Some("one,two".to_owned()), ..testing::row("a") };
        let with = |change: fn(&mut Filter)| {
            let mut filter =
                Filter { kind: Some("request".to_owned()), call: Some("two".to_owned()), ..Filter::default() };
            change(&mut filter);
            filter.takes(&row)
        };
        assert!(with(|_| {}), "twin");
        assert!(with(|filter| (filter.since_ms, filter.until_ms) = (Some(1), Some(2))));
        assert!(!with(|filter| filter.since_ms = Some(2)));
        assert!(!with(|filter| filter.until_ms = Some(1)));
        assert!(!with(|filter| filter.call = Some("on".to_owned())));
        assert!(!with(|filter| filter.server = Some("other".to_owned())));
        assert!(!with(|filter| filter.request = Some("r".to_owned())));
        assert!(!with(|filter| filter.alarms = true));
    }
}
