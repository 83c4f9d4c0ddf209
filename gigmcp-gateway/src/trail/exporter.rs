//! Goes through the trail as an export has it, with few rows in memory.

use super::{ExportHead, Filter, Line, Link, PAGE_ROWS, Place, Statement};
use crate::store::{Ahead, Store, StoreError};

/// An export under way.
pub(crate) struct Exporter {
    store: Store,
    filter: Option<Filter>,
    end: Place,
    /// The last row whose head was exported.
    head: Place,
    base: Option<Statement>,
}

/// Some lines of an export.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub(crate) lines: Vec<Line>,
    /// There are no more rows by now.
    pub(crate) last: bool,
    /// Heads of rows that are not there. Whoever ends the export here adds them, for whoever verifies it to see.
    pub(crate) rest: Vec<Line>,
}

/// Why an export cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ExportError {
    #[error("there is no row {place} in the chain; see `gigmcp-gateway audit verify`")]
    NoRow { place: Place },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Exporter {
    /// Begins after a row, or with the first; with the line that comes first.
    pub(crate) async fn begin(
        store: &Store,
        filter: Filter,
        after: Option<Place>,
    ) -> Result<(Self, Line), ExportError> {
        let filter = Some(filter).filter(|filter| *filter != Filter::default());
        let begins = after;
        let after = match after {
            Some(place) => Some(link(store, place, filter.is_some()).await?),
            None => None,
        };
        let keys = store.audit_keys().await?.iter().map(|row| hex::encode(&row.public_key)).collect();
        let head = ExportHead { version: 1, keys, after: after.map(|after| after.to_string()), filter: filter.clone() };
        let end = begins.unwrap_or(Place::MIN);
        Ok((Self { store: store.clone(), filter, end, head: end, base: None }, Line::Head(head)))
    }

    /// The lines that come next; asked again after the last, those that were added since.
    pub(crate) async fn next(&mut self) -> Result<Lines, StoreError> {
        if let Some(filter) = &self.filter {
            let ahead = Ahead { filter: filter.clone(), after: self.end, limit: PAGE_ROWS };
            let found = self.store.audit_ahead(ahead).await?;
            self.end = found.upto;
            let lines = found.rows.into_iter().map(Line::Row).collect();
            return Ok(Lines { lines, last: found.last, rest: Vec::new() });
        }
        let mut lines = Vec::new();
        let page = self.store.audit_page(self.end, PAGE_ROWS).await?;
        // A head may be signed after its row was exported.
        if page.last && self.head < self.end {
            for statement in self.store.audit_heads(self.head, self.end).await? {
                self.head = statement.link.place;
                lines.push(Line::Statement(statement));
            }
        }
        let mut statements = page.heads.into_iter().peekable();
        // The first time, or when rows were deleted that were not exported yet.
        let moved = page.base.filter(|moved| moved.link.place > self.end && self.base.as_ref() != Some(moved));
        if let Some(moved) = moved {
            lines.push(Line::Statement(moved.clone()));
            self.base = Some(moved);
        }
        for row in page.rows {
            self.end = row.id;
            lines.push(Line::Row(row));
            while let Some(statement) = statements.next_if(|statement| statement.link.place <= self.end) {
                self.head = statement.link.place;
                lines.push(Line::Statement(statement));
            }
        }
        let rest = if page.last { statements.map(Line::Statement).collect() } else { Vec::new() };
        Ok(Lines { lines, last: page.last, rest })
    }
}

/// What a row that was exported before has to be followed by. Rows that a filter left out are not missed in what comes after
/// them: there it is enough that the row was there once.
async fn link(store: &Store, place: Place, has_filter: bool) -> Result<Link, ExportError> {
    let page = store.audit_page(place.saturating_sub(1), 1).await?;
    let row = page.rows.first().filter(|row| row.id == place).and_then(|row| row.link());
    let base = page.base.map(|base| base.link).filter(|link| link.place == place || has_filter && link.place > place);
    row.or(base).ok_or(ExportError::NoRow { place })
}
