//! Looks for rows of the audit trail: back from the newest, or on from some row.

use sea_query::{Condition, Expr, ExprTrait, Order, Query};

use super::{Store, StoreError, audit, connection::Connection, schema::Audit};
use crate::trail::{ChainedRow, Filter, Place};

/// Which rows are looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    pub(crate) filter: Filter,
    /// Only rows before this one.
    pub(crate) before: Option<Place>,
    pub(crate) limit: u64,
}

/// What was found, and where to look on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Newest first.
    pub(crate) rows: Vec<ChainedRow>,
    /// Rows before this one were not looked at; none if there are none.
    pub(crate) before: Option<Place>,
}

/// Which rows are looked for after another, as they come.
#[derive(Clone, Debug)]
pub(crate) struct Ahead {
    pub(crate) filter: Filter,
    pub(crate) after: Place,
    pub(crate) limit: u64,
}

/// What was found ahead, and how far was looked.
#[derive(Clone, Debug)]
pub(crate) struct FoundAhead {
    /// Oldest first.
    pub(crate) rows: Vec<ChainedRow>,
    /// What is wanted up to here was found.
    pub(crate) upto: Place,
    /// There are no more rows by now.
    pub(crate) last: bool,
}

impl Store {
    /// The next rows that are wanted. Looks at a bounded number of them, as [`search_audit`](Self::search_audit) does.
    pub(crate) async fn audit_ahead(&self, ahead: Ahead) -> Result<FoundAhead, StoreError> {
        self.audit_ahead_within(ahead, AT_ONCE).await
    }

    async fn audit_ahead_within(&self, ahead: Ahead, at_once: i64) -> Result<FoundAhead, StoreError> {
        let Ahead { filter, after, limit } = ahead;
        self.read(move |connection| {
            let ends = (bound(connection, Order::Asc)?, bound(connection, Order::Desc)?);
            let (Some(oldest), Some(newest)) = ends else {
                return Ok(FoundAhead { rows: Vec::new(), upto: after, last: true });
            };
            let after = Ord::max(after, oldest.saturating_sub(1));
            let end = Ord::min(newest, after.saturating_add(at_once));
            let wanted = condition(&filter).add(Expr::col(Audit::Id).gt(after)).add(Expr::col(Audit::Id).lte(end));
            let mut select = audit::select();
            select.cond_where(wanted).order_by(Audit::Id, Order::Asc).limit(limit);
            let rows = connection.rows(&select, audit::parse)?;
            let full = rows.len() as u64 >= limit;
            let upto = Ord::max(after, rows.last().filter(|_| full).map_or(end, |row| row.id));
            Ok(FoundAhead { rows, upto, last: upto >= newest })
        })
        .await
    }

    /// Looks at a bounded number of rows, so that a search for what is rare holds up nobody: it may find nothing and say
    /// where to look on.
    pub(crate) async fn search_audit(&self, search: Search) -> Result<Found, StoreError> {
        self.search_audit_within(search, AT_ONCE).await
    }

    async fn search_audit_within(&self, search: Search, at_once: i64) -> Result<Found, StoreError> {
        self.read(move |connection| {
            let end = match search.before {
                Some(before) => before,
                None => bound(connection, Order::Desc)?.map_or(Place::MIN, |newest| newest.saturating_add(1)),
            };
            let from = end.saturating_sub(at_once);
            let wanted =
                condition(&search.filter).add(Expr::col(Audit::Id).lt(end)).add(Expr::col(Audit::Id).gte(from));
            let mut select = audit::select();
            select.cond_where(wanted).order_by(Audit::Id, Order::Desc).limit(search.limit);
            let rows = connection.rows(&select, audit::parse)?;
            let full = rows.len() as u64 >= search.limit;
            let looked_to = rows.last().filter(|_| full).map_or(from, |row| row.id);
            let first = bound(connection, Order::Asc)?;
            Ok(Found { before: first.filter(|first| *first < looked_to).map(|_| looked_to), rows })
        })
        .await
    }
}

/// The newest or the oldest place.
fn bound(connection: &Connection, order: Order) -> Result<Option<Place>, StoreError> {
    let one = Query::select().column(Audit::Id).from(Audit::Table).order_by(Audit::Id, order).limit(1).take();
    connection.row(&one, |row| Ok::<_, StoreError>(row.get(0)?))
}

/// The same as `Filter::takes`, which tests keep it to, for the database.
fn condition(filter: &Filter) -> Condition {
    let mut all = Condition::all();
    let texts = [
        (Audit::Kind, &filter.kind),
        (Audit::Owner, &filter.owner),
        (Audit::Profile, &filter.profile),
        (Audit::Server, &filter.server),
        (Audit::Instance, &filter.instance),
        (Audit::Request, &filter.request),
    ];
    for (column, text) in texts {
        if let Some(text) = text {
            all = all.add(Expr::col(column).eq(text.as_str()));
        }
    }
    if let Some(since) = filter.since_ms {
        all = all.add(Expr::col(Audit::AtMs).gte(since));
    }
    if let Some(until) = filter.until_ms {
        all = all.add(Expr::col(Audit::AtMs).lt(until));
    }
    if filter.alarms {
        all = all.add(Expr::col(Audit::Alarm).ne(0_i64));
    }
    if let Some(call) = &filter.call {
        // Among ids with commas between them. An id has none of the signs that mean something in a pattern, and no capital letter,
        // which SQLite takes for the small one there; what has is none.
        let id = call.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase() || byte == b'-');
        let like = |pattern: String| Expr::col(Audit::Calls).like(pattern);
        let among = Condition::any()
            .add(Expr::col(Audit::Calls).eq(call.as_str()))
            .add(like(format!("{call},%")))
            .add(like(format!("%,{call}")))
            .add(like(format!("%,{call},%")));
        all = all.add(if id { among } else { Condition::any().add(Expr::col(Audit::Id).is_null()) });
    }
    all
}

/// How many rows are looked at in one go: some tens of milliseconds.
const AT_ONCE: i64 = 50_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::testing::on_both,
        trail::{AuditRow, testing::row},
    };

    #[tokio::test]
    async fn the_database_finds_what_a_filter_takes() {
        on_both(async |test| {
            let store = test.open();
            let calls = [None, Some("one"), Some("one,two"), Some("two,one"), Some("three,one,two"), Some("onel")];
            for (number, calls) in calls.iter().enumerate() {
                let kind = if number % 2 == 0 { "tool" } else { "login" }.to_owned();
                let (calls, alarm) = (calls.map(ToOwned::to_owned), number == 3);
                let owner = if number < 3 { "ann" } else { "bob" }.to_owned();
                let at_ms = i64::try_from(number).expect("small");
                store.add_audit(AuditRow { kind, calls, alarm, owner, at_ms, ..row("a") }).await.expect("it is kept");
            }
            let all = store.audit_tail(100).await.expect("they can be read");
            for filter in [
                Filter::default(),
                Filter { kind: Some("tool".to_owned()), ..Filter::default() },
                Filter { owner: Some("bob".to_owned()), ..Filter::default() },
                Filter { call: Some("one".to_owned()), ..Filter::default() },
                Filter { call: Some("ONE".to_owned()), ..Filter::default() },
                Filter { call: Some("o%".to_owned()), ..Filter::default() },
                Filter { call: Some("o_e".to_owned()), ..Filter::default() },
                Filter { alarms: true, ..Filter::default() },
                Filter { since_ms: Some(2), until_ms: Some(5), ..Filter::default() },
                Filter { server: Some("' OR 1=1 --".to_owned()), ..Filter::default() },
            ] {
                let taken: Vec<_> = all.iter().rev().filter(|row| filter.takes(&row.row)).cloned().collect();
                let search = Search { filter: filter.clone(), before: None, limit: 100 };
                let found = store.search_audit(search).await.expect("they can be read");
                assert_eq!(found.rows, taken, "{filter:?}");
                assert_eq!(found.before, None);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_search_goes_on_where_it_ended_and_looks_at_few_rows_at_once() {
        on_both(async |test| {
            let store = test.open();
            for number in 1..=9 {
                let kind = if number == 2 { "rare" } else { "usual" }.to_owned();
                store.add_audit(AuditRow { kind, ..row("a") }).await.expect("it is kept");
            }
            let mut search = Search { limit: 4, ..Search::default() };
            let mut pages = Vec::new();
            loop {
                let found = store.search_audit(search.clone()).await.expect("they can be read");
                pages.push(found.rows.iter().map(|row| row.id).collect::<Vec<_>>());
                search.before = found.before;
                if found.before.is_none() {
                    break;
                }
            }
            assert_eq!(pages, [vec![9, 8, 7, 6], vec![5, 4, 3, 2], vec![1]]);
            let filter = Filter { kind: Some("rare".to_owned()), ..Filter::default() };
            let rare = Search { filter, before: None, limit: 4 };
            let first = store.search_audit_within(rare.clone(), 5).await.expect("they can be read");
            assert_eq!((first.rows.len(), first.before), (0, Some(5)));
            let then = Search { before: first.before, ..rare };
            let second = store.search_audit_within(then, 5).await.expect("they can be read");
            assert_eq!((second.rows.iter().map(|row| row.id).collect::<Vec<_>>(), second.before), (vec![2], None));
        })
        .await;
    }

    #[tokio::test]
    async fn what_comes_is_found_by_the_same_filter_and_nothing_is_left_out() {
        on_both(async |test| {
            let store = test.open();
            let ahead = |filter: &Filter, after| Ahead { filter: filter.clone(), after, limit: 2 };
            let filter = Filter { owner: Some("ann".to_owned()), ..Filter::default() };
            let empty = store.audit_ahead(ahead(&filter, Place::MIN)).await.expect("it can be read");
            assert!(empty.last && empty.rows.is_empty());
            for owner in ["ann", "bob", "ann", "bob", "bob", "bob", "bob", "ann", "bob"] {
                store.add_audit(AuditRow { owner: owner.to_owned(), ..row("a") }).await.expect("it is kept");
            }
            let all = async |filter: &Filter| {
                let (mut after, mut found) = (empty.upto, Vec::new());
                loop {
                    let next = store.audit_ahead_within(ahead(filter, after), 3).await.expect("it can be read");
                    assert!(next.rows.len() <= 2 && (next.upto > after || next.last), "it gets on");
                    found.extend(next.rows.iter().map(|row| row.id));
                    after = next.upto;
                    if next.last {
                        return (found, after);
                    }
                }
            };
            let (found, upto) = all(&filter).await;
            assert_eq!((found, upto), (vec![1, 3, 8], 9), "what is another's is left out in the database");
            assert_eq!(all(&Filter::default()).await.0, (1..=9).collect::<Vec<_>>(), "twin");
            store.add_audit(AuditRow { owner: "ann".to_owned(), ..row("a") }).await.expect("it is kept");
            let more = store.audit_ahead(ahead(&filter, upto)).await.expect("it can be read");
            assert_eq!(more.rows.iter().map(|row| row.id).collect::<Vec<_>>(), [10]);
            let beyond = store.audit_ahead(ahead(&filter, 99)).await.expect("it can be read");
            assert!(beyond.rows.is_empty() && beyond.last && beyond.upto == 99, "it never goes back");
        })
        .await;
    }
}
