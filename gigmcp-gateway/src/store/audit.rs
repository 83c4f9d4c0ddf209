//! The audit trail: one row per request that left or tried to leave, per tool call, per credential that was read, and per
//! call that no server makes.

use std::sync::{Arc, atomic::Ordering};

use sea_query::{Expr, ExprTrait, Func, InsertStatement, Order, Query, SelectStatement, SimpleExpr, Value};

use super::{
    Flush, Store, StoreError, Threads,
    connection::{Connection, Row},
    heads,
    schema::Audit,
    shape::Shape,
};
use crate::trail::{AuditRow, ChainedRow, Link, Place, Signer, Statement, StatementKind};

/// Some rows of the trail and what was signed about them, all as of one moment.
#[derive(Debug)]
pub(crate) struct Page {
    /// Where the rows begin that are still there.
    pub(crate) base: Option<Statement>,
    pub(crate) rows: Vec<ChainedRow>,
    /// The heads at these rows; after the last row, all that come after.
    pub(crate) heads: Vec<Statement>,
    /// There are no rows after these.
    pub(crate) last: bool,
}

/// Which rows are to go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Prune {
    /// Those of before, in milliseconds since 1970.
    Old { before_ms: i64 },
    /// The oldest of more than so many, of which those from a time on are counted as young.
    Surplus { max_rows: u64, young_from_ms: i64 },
}

/// What has gone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pruned {
    pub(crate) rows: u64,
    /// How many of them were young, but too many.
    pub(crate) young: u64,
    /// The last of them.
    pub(crate) upto: Place,
    /// Nothing has gone: what stands here is not what was signed.
    pub(crate) changed: Option<Place>,
}

/// The rows that no head vouches for yet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tail {
    pub(crate) rows: u64,
    pub(crate) first: Place,
    pub(crate) last: Place,
    /// From the first of them to the last.
    pub(crate) millis: u64,
}

impl Store {
    /// Whether the next row can be expected to be kept: the database takes writes, and it took the last row.
    ///
    /// After a row was lost, the rows of refusals are what tries again. Stands in the same line as the rows of whoever
    /// asks, so that no requests leave faster than rows are written.
    pub(crate) async fn takes_audit(&self) -> Result<(), StoreError> {
        match self.threads.is_audit_lost() {
            true => Err(StoreError::AuditLost),
            false => self.write_flushed(Flush::Nothing, |_| Ok(())).await,
        }
    }

    /// Adds a row; it is in the database when this returns `Ok`, and on the disk, unless it is that of a call while which
    /// nothing left its server: that is there a few milliseconds later.
    pub(crate) async fn add_audit(&self, row: AuditRow) -> Result<(), StoreError> {
        self.threads.counted.count(&row);
        let flush = self.threads.sent.note(&row);
        // The row comes back: memory is given back at less cost by those who took it.
        let append = move |connection: &Connection| append(connection, &row).map(|()| row);
        let added = self.promised(flush, |connection| connection.undone_alone(append)).await;
        self.note_audit(added.is_ok());
        added.map(drop)
    }

    /// Adds a row, and waits for nothing. If it is lost, [`takes_audit`](Self::takes_audit) says so.
    pub(crate) fn add_audit_later(&self, row: AuditRow) {
        self.threads.counted.count(&row);
        self.threads.sent.note(&row);
        let threads = Arc::downgrade(&self.threads);
        let queued = self.write_later(
            move |connection| append(connection, &row),
            move |added| {
                if let Err(error) = &added {
                    tracing::error!("an audit row is lost: {}", crate::output::whole(error));
                }
                if let Some(threads) = threads.upgrade() {
                    threads.note_audit(added.is_ok());
                }
            },
        );
        if queued.is_err() {
            self.note_audit(false);
        }
    }

    /// Whether the last row was lost, or may be.
    pub(crate) fn is_audit_lost(&self) -> bool {
        self.threads.is_audit_lost()
    }

    fn note_audit(&self, kept: bool) {
        self.threads.note_audit(kept);
    }

    /// Deletes the oldest rows, and signs up to where. A row goes only with all that stand before it, and never more than
    /// `at_once`: they are one change, and so what a request may have to wait for. None goes that is not covered by a head
    /// that we signed, or if any up to this head is not what was signed.
    pub(crate) async fn prune_audit(
        &self,
        prune: Prune,
        at_once: u64,
        signer: Arc<Signer>,
    ) -> Result<Pruned, StoreError> {
        self.write(move |connection| {
            let oldest = connection.rows(select().order_by(Audit::Id, Order::Asc).limit(at_once), parse)?;
            let (gone, young_from_ms) = match prune {
                Prune::Old { before_ms } => (old(&oldest, before_ms), before_ms),
                Prune::Surplus { max_rows, young_from_ms } => {
                    (surplus(connection, &signer, &oldest, max_rows)?, young_from_ms)
                }
            };
            let gone = match covered(connection, &signer, gone)? {
                Ok(gone) => gone,
                Err(place) => return Ok(Pruned { changed: Some(place), ..Pruned::default() }),
            };
            let Some(last) = gone.last() else { return Ok(Pruned::default()) };
            if let Some(link) = last.link() {
                heads::sign_pruned(connection, &signer, link)?;
            }
            let delete = Query::delete().from_table(Audit::Table).and_where(Expr::col(Audit::Id).lte(last.id)).take();
            let young = gone.iter().filter(|row| row.row.at_ms >= young_from_ms).count() as u64;
            Ok(Pruned { rows: connection.execute(&delete)?, young, upto: last.id, changed: None })
        })
        .await
    }

    /// The rows after the last head that we signed.
    pub(crate) async fn audit_unsigned(&self, signer: Arc<Signer>) -> Result<Tail, StoreError> {
        self.read(move |connection| {
            let base = heads::signed_base(connection, &signer)?.statement;
            let head = heads::signed_head(connection, &signer)?.statement;
            let signed = base.into_iter().chain(head).map(|statement| statement.link.place).max();
            let Some(signed) = signed else { return Ok(Tail::default()) };
            let rows = count(connection, Expr::col(Audit::Id).gt(signed))?;
            let end = |order| {
                let row =
                    select().and_where(Expr::col(Audit::Id).gt(signed)).order_by(Audit::Id, order).limit(1).take();
                connection.row(&row, parse)
            };
            let (Some(first), Some(last)) = (end(Order::Asc)?, end(Order::Desc)?) else { return Ok(Tail::default()) };
            Ok(Tail { rows, first: first.id, last: last.id, millis: first.row.at_ms.abs_diff(last.row.at_ms) })
        })
        .await
    }

    /// Whether there are as many rows as places from the first to the last, if these are more than `max_rows`. Counts all of
    /// them, and so is to be asked once.
    pub(crate) async fn audit_is_whole(&self, max_rows: u64) -> Result<Option<bool>, StoreError> {
        self.read(move |connection| {
            let Some(first) = connection.row(select().order_by(Audit::Id, Order::Asc).limit(1), parse)? else {
                return Ok(None);
            };
            let places = tip(connection)?.place.abs_diff(first.id).saturating_add(1);
            if places <= max_rows {
                return Ok(None);
            }
            Ok(Some(count(connection, Expr::col(Audit::Id).gte(first.id))? == places))
        })
        .await
    }

    /// The newest rows, oldest of them first.
    pub(crate) async fn audit_tail(&self, limit: u64) -> Result<Vec<ChainedRow>, StoreError> {
        self.read(move |connection| {
            let mut rows = connection.rows(select().order_by(Audit::Id, Order::Desc).limit(limit), parse)?;
            rows.reverse();
            Ok(rows)
        })
        .await
    }

    /// The next rows after a place, at most so many.
    pub(crate) async fn audit_page(&self, after: Place, limit: u64) -> Result<Page, StoreError> {
        self.read(move |connection| {
            let mut next = select().and_where(Expr::col(Audit::Id).gt(after)).take();
            let rows = connection.rows(next.order_by(Audit::Id, Order::Asc).limit(limit), parse)?;
            let last = (rows.len() as u64) < limit;
            let upto = rows.last().filter(|_| !last).map(|row| row.id);
            let heads = heads::heads(connection, after, upto)?;
            Ok(Page { base: heads::base(connection)?, rows, heads, last })
        })
        .await
    }
}

impl Threads {
    /// Whether the last row was lost, or may be.
    pub(super) fn is_audit_lost(&self) -> bool {
        self.audit_lost.load(Ordering::Relaxed) || self.disk.may_lose()
    }

    fn note_audit(&self, kept: bool) {
        self.audit_lost.store(!kept, Ordering::Relaxed);
        if (self.audit_rows.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(MANY) {
            self.audit_grew.notify_one();
        }
    }
}

/// The rows that are too old, as far as there is none before them that is not. A row with a time that has not come yet was
/// written while the clock was wrong, and is as old as what comes after it.
fn old(oldest: &[ChainedRow], before_ms: i64) -> &[ChainedRow] {
    let now = super::now_millis();
    let count = oldest.iter().take_while(|row| row.row.at_ms < before_ms || row.row.at_ms > now).count();
    let last = oldest[..count].iter().rposition(|row| row.row.at_ms < before_ms);
    last.map_or(&[], |last| &oldest[..=last])
}

/// The rows that are too many: what we signed has no gaps, and what is not signed is counted.
fn surplus<'a>(
    connection: &Connection,
    signer: &Signer,
    oldest: &'a [ChainedRow],
    max_rows: u64,
) -> Result<&'a [ChainedRow], StoreError> {
    let Some(base) = heads::signed_base(connection, signer)?.statement else { return Ok(oldest) };
    let Some(head) = heads::signed_head(connection, signer)?.statement else { return Ok(&[]) };
    let signed = u64::try_from(head.link.place.saturating_sub(base.link.place)).unwrap_or(0);
    let newest = Ord::max(head.link.place, base.link.place);
    let unsigned = count(connection, Expr::col(Audit::Id).gt(newest))?;
    let before = count(connection, Expr::col(Audit::Id).lte(base.link.place))?;
    let excess = signed.saturating_add(unsigned).saturating_add(before).saturating_sub(max_rows);
    Ok(&oldest[..usize::try_from(excess).unwrap_or(usize::MAX).min(oldest.len())])
}

/// Those of the rows that may go, because a head that we signed covers them; or the first place, up to this head, where
/// something stands that was not signed. What is from before the chain is covered by nothing.
fn covered<'a>(
    connection: &Connection,
    signer: &Signer,
    rows: &'a [ChainedRow],
) -> Result<Result<&'a [ChainedRow], Place>, StoreError> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Ok(&[])) };
    let Some(base) = heads::signed_base(connection, signer)?.statement else { return Ok(Err(first.id)) };
    let begins = base.kind == StatementKind::Begin;
    let before = |row: &&ChainedRow| row.id <= base.link.place;
    let forged = |row: &&ChainedRow| !(begins && row.id >= 1 && row.hash.is_none());
    if let Some(row) = rows.iter().take_while(before).find(forged) {
        return Ok(Err(row.id));
    }
    let head = match heads::signed_head_from(connection, signer, last.id)? {
        Some(head) => Some(head),
        None => heads::signed_head(connection, signer)?.statement,
    };
    let end = match head.filter(|head| head.link.place > base.link.place) {
        Some(head) if last.id > base.link.place => match follow(connection, base.link, head.link.place)? {
            Ok(end) if end == head.link => end.place,
            Ok(end) => return Ok(Err(end.place)),
            Err(place) => return Ok(Err(place)),
        },
        _ => base.link.place,
    };
    let count = rows.iter().take_while(|row| row.id <= end).count();
    Ok(Ok(&rows[..count]))
}

/// Makes the hashes anew from one link to a place: the end, or the first place where something else stands.
pub(super) fn follow(connection: &Connection, from: Link, upto: Place) -> Result<Result<Link, Place>, StoreError> {
    let mut end = from;
    while end.place < upto {
        let next = step(connection, end, upto)?;
        if next == end {
            return Ok(Err(end.place + 1));
        }
        end = next;
    }
    Ok(Ok(end))
}

/// The same of [`MANY`] rows at most, up to the first place where something else stands.
pub(super) fn step(connection: &Connection, from: Link, upto: Place) -> Result<Link, StoreError> {
    let mut next = select().and_where(Expr::col(Audit::Id).gt(from.place)).take();
    next.and_where(Expr::col(Audit::Id).lte(upto)).order_by(Audit::Id, Order::Asc).limit(MANY);
    let mut end = from;
    for row in connection.rows(&next, parse)? {
        match end.try_then(&row.row) {
            Some(next) if row.link() == Some(next) => end = next,
            _ => break,
        }
    }
    Ok(end)
}

fn count(connection: &Connection, those: SimpleExpr) -> Result<u64, StoreError> {
    let count = Query::select().expr(Func::count(Expr::col(Audit::Id))).from(Audit::Table).and_where(those).take();
    let count: Option<i64> = connection.row(&count, |row| Ok::<_, StoreError>(row.get(0)?))?;
    Ok(count.map_or(0, i64::unsigned_abs))
}

/// The end of the chain. Where rows stand from before the chain, it begins after them.
pub(super) fn tip(connection: &Connection) -> Result<Link, StoreError> {
    let newest: Option<(Place, Option<Vec<u8>>)> =
        connection.row(&NEWEST.with(Vec::new()), |row| Ok::<_, StoreError>((row.get(0)?, row.get(1)?)))?;
    Ok(match newest {
        Some((place, hash)) => match hash.and_then(|hash| hash.try_into().ok()) {
            Some(hash) => Link { place, hash },
            None => Link::begin_after(place),
        },
        None => heads::base(connection)?.map_or_else(|| Link::begin_after(0), |base| base.link),
    })
}

/// Adds a row to the end of the chain. Nobody else can do so before this transaction ends.
pub(super) fn append(connection: &Connection, row: &AuditRow) -> Result<(), StoreError> {
    let full = || StoreError::Corrupt { what: "end of the audit trail", name: Place::MAX.to_string() };
    let link = tip(connection)?.try_then(row).ok_or_else(full)?;
    connection.execute(&APPEND.with(vec![
        link.place.into(),
        row.at_ms.into(),
        row.kind.as_str().into(),
        row.owner.as_str().into(),
        row.profile.as_str().into(),
        row.server.as_str().into(),
        row.instance.as_str().into(),
        row.subject.as_str().into(),
        row.verdict.as_str().into(),
        row.status.into(),
        row.credentials.as_str().into(),
        row.bytes_up.into(),
        row.bytes_down.into(),
        row.duration_us.into(),
        i64::from(row.alarm).into(),
        row.policy_version.into(),
        row.calls.as_deref().into(),
        row.request.as_deref().into(),
        row.definition.as_deref().into(),
        row.arguments.as_deref().into(),
        link.hash.as_bytes().to_vec().into(),
    ]))?;
    Ok(())
}

static APPEND: Shape<InsertStatement> = Shape::new(|| {
    let nothing = COLUMNS.map(|_| Value::BigInt(None).into());
    Query::insert().into_table(Audit::Table).columns(COLUMNS).values_panic(nothing).take()
});

static NEWEST: Shape<SelectStatement> = Shape::new(|| {
    // With a limit, SQLite would read the text of the statement each time: a limit is a value that it plans with.
    let last = Query::select().expr(Expr::col(Audit::Id).max()).from(Audit::Table).take();
    let mut newest = Query::select();
    let is_last = Expr::col(Audit::Id).eq(SimpleExpr::SubQuery(None, Box::new(last.into())));
    newest.columns([Audit::Id, Audit::Hash]).from(Audit::Table).and_where(is_last).take()
});

pub(super) fn select() -> SelectStatement {
    Query::select().columns(COLUMNS).from(Audit::Table).take()
}

const COLUMNS: [Audit; 21] = [
    Audit::Id,
    Audit::AtMs,
    Audit::Kind,
    Audit::Owner,
    Audit::Profile,
    Audit::Server,
    Audit::Instance,
    Audit::Subject,
    Audit::Verdict,
    Audit::Status,
    Audit::Credentials,
    Audit::BytesUp,
    Audit::BytesDown,
    Audit::DurationUs,
    Audit::Alarm,
    Audit::PolicyVersion,
    Audit::Calls,
    Audit::Request,
    Audit::Definition,
    Audit::Arguments,
    Audit::Hash,
];

pub(super) fn parse(row: &Row<'_>) -> Result<ChainedRow, StoreError> {
    let hash: Option<Vec<u8>> = row.get(20)?;
    Ok(ChainedRow {
        id: row.get(0)?,
        row: AuditRow {
            at_ms: row.get(1)?,
            kind: row.get(2)?,
            owner: row.get(3)?,
            profile: row.get(4)?,
            server: row.get(5)?,
            instance: row.get(6)?,
            subject: row.get(7)?,
            verdict: row.get(8)?,
            status: row.get(9)?,
            credentials: row.get(10)?,
            bytes_up: row.get(11)?,
            bytes_down: row.get(12)?,
            duration_us: row.get(13)?,
            alarm: row.get::<i64>(14)? != 0,
            policy_version: row.get(15)?,
            calls: row.get(16)?,
            request: row.get(17)?,
            definition: row.get(18)?,
            arguments: row.get(19)?,
        },
        // One of another length is none of ours.
        hash: hash.and_then(|hash| hash.try_into().ok()),
    })
}

/// After so many rows the end of the chain is signed, however short a time ago it was.
const MANY: u64 = 1000;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use refinery::Target;
    use rusqlite::Connection;
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        store::{Asker, Database, Job, testing::on_both},
        trail::{Signer, testing::row, verify},
    };

    #[tokio::test]
    async fn a_database_from_before_policy_versions_keeps_its_rows() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("gigmcp.db");
        let mut before = Connection::open(&path).expect("a new database");
        let first = super::super::sqlite::migrations().set_target(Target::Version(1)).run(&mut before);
        assert_eq!(first.expect("the first schema").applied_migrations().len(), 1);
        let old = "INSERT INTO audit (at_ms, kind, owner, profile, server, instance, subject, verdict, status, credentials,
                   bytes_up, bytes_down, duration_us, alarm)
                   VALUES (5, 'request', 'local', 'work', 'tickets', 'tickets-1', 'old', 'refused', NULL, '', 1, 2, 3, 1)";
        before.execute(old, []).expect("a row of then");
        drop(before);

        let store = Store::open(&Database::Sqlite(path)).expect("an old database opens");
        store.stays_open();
        store.add_audit(row("new")).await.expect("it takes rows of now");
        let rows = store.audit_tail(10).await.expect("it can be read");
        let told = rows.iter().map(|ChainedRow { row, .. }| (&*row.subject, row.at_ms, row.alarm, row.policy_version));
        assert_eq!(told.collect::<Vec<_>>(), [("old", 5, true, None), ("new", 1, false, Some(7))]);

        let signer = Arc::new(Signer::for_test(1));
        store.sign_audit(Arc::clone(&signer), None).await.expect("the chain begins after what was there");
        let report = verify(&store, &[signer.public_key()], None).await.expect("nothing is wrong");
        assert_eq!((report.before_the_chain, report.after, report.rows, report.signed_to), (1, 1, 1, 2));
        let gone = store.prune_audit(Prune::Old { before_ms: 10 }, 1, Arc::clone(&signer)).await;
        assert_eq!(gone.expect("it is written").upto, 1);
        let report = verify(&store, &[signer.public_key()], None).await.expect("nothing is wrong");
        assert_eq!(
            (report.before_the_chain, report.after, report.rows),
            (0, 1, 1),
            "what is from before is deleted alike"
        );
    }

    #[tokio::test]
    async fn many_rows_are_followed_before_they_are_signed() {
        on_both(async |test| {
            for changed in [None, Some(2), Some(MANY + 5)] {
                let (store, signer) = (test.open(), Arc::new(Signer::for_test(1)));
                store.add_audit(row("first")).await.expect("it takes rows");
                let begun = store.sign_audit(Arc::clone(&signer), None).await.expect("it is written").head;
                let first = begun.as_ref().expect("there is a row").link.place;
                let rows = (0..MANY + 10).map(|_| store.add_audit(row("next")));
                futures_util::future::try_join_all(rows).await.expect("it takes rows");
                if let Some(after) = changed {
                    let place = first + i64::try_from(after).expect("it is small");
                    store.meddle(&format!("UPDATE audit SET verdict = 'x' WHERE id = {place}")).await;
                }
                let signed = store.sign_audit(signer, begun).await.expect("it is written");
                assert_eq!(signed.changed.map(|place| place - first), changed.map(u64::cast_signed));
                assert_eq!(signed.head.map(|head| head.link.place - first), Some(u64::cast_signed(MANY + 10)));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn rows_are_signed_although_more_come_while_they_are_followed() {
        let (store, _directory) = Store::open_for_test();
        let signer = Arc::new(Signer::for_test(1));
        store.add_audit(row("first")).await.expect("it takes rows");
        let begun = store.sign_audit(Arc::clone(&signer), None).await.expect("it is written").head;
        let first = begun.as_ref().expect("there is a row").link.place;
        let hold = || {
            let (release, held) = mpsc::channel::<()>();
            let (begin, begins) = oneshot::channel();
            let holds: Job = Box::new(move |_| {
                begin.send(()).expect("it is waited for");
                // Nothing is sent; the end of the sender is waited for.
                let _ = held.recv();
                Box::new(|_| {})
            });
            let other = Asker::Profile("work".parse().expect("a profile name"));
            store.threads.reader.push(other, holds).expect("the thread runs");
            (begins, release)
        };
        // Somebody else reads between any two of its looks, and more is written meanwhile than may wait for the end.
        let mut next = hold();
        let signs = store.clone();
        let signing = tokio::spawn(async move { signs.sign_audit(signer, begun).await });
        let mut rounds = 0;
        while !signing.is_finished() {
            let (begins, release) = next;
            begins.await.expect("it is its turn");
            let rows = (0..200).map(|_| store.add_audit(row("next")));
            futures_util::future::try_join_all(rows).await.expect("it takes rows");
            next = hold();
            drop(release);
            rounds += 1;
            assert!(rounds < 100, "nothing is signed as long as rows come");
        }
        drop(next);
        let signed = signing.await.expect("it does not panic").expect("it is written");
        assert!(signed.changed.is_none() && signed.head.is_some_and(|head| head.link.place > first));
    }

    #[tokio::test]
    async fn only_old_rows_go_a_few_at_a_time_and_in_their_order() {
        on_both(async |test| {
            let (store, signer) = (test.open(), Arc::new(Signer::for_test(1)));
            store.sign_audit(Arc::clone(&signer), None).await.expect("it is written");
            let now = crate::store::now_millis();
            let cutoff = now - 1000;
            // A clock that was wrong, then old rows, a young one, and one that took long.
            for (subject, at_ms) in [("clock", now + 1_000_000), ("a", 5), ("b", 4), ("young", now), ("long", 3)] {
                store.add_audit(AuditRow { at_ms, ..row(subject) }).await.expect("it takes rows");
            }
            store.sign_audit(Arc::clone(&signer), None).await.expect("it is written");
            let subjects = async || {
                let rows = store.audit_tail(1000).await.expect("it can be read");
                rows.into_iter().map(|row| row.row.subject).collect::<Vec<_>>()
            };
            let prune = async |at_once| {
                let pruned = store.prune_audit(Prune::Old { before_ms: cutoff }, at_once, Arc::clone(&signer)).await;
                verify(&store, &[signer.public_key()], None).await.expect("nothing is wrong");
                pruned.expect("it is written").rows
            };
            assert_eq!(prune(1).await, 0, "how old it is, is not known yet");
            assert_eq!((prune(2).await, subjects().await), (2, vec!["b".into(), "young".into(), "long".into()]));
            assert_eq!((prune(64).await, subjects().await), (1, vec!["young".into(), "long".into()]));
            assert_eq!(prune(64).await, 0, "what stands after a young row is kept with it");
        })
        .await;
    }

    #[tokio::test]
    async fn the_oldest_of_too_many_rows_go_and_young_ones_are_counted() {
        on_both(async |test| {
            let (store, signer) = (test.open(), Arc::new(Signer::for_test(1)));
            store.sign_audit(Arc::clone(&signer), None).await.expect("it is written");
            for at_ms in 1..=10 {
                store.add_audit(AuditRow { at_ms, ..row("a") }).await.expect("it takes rows");
            }
            store.sign_audit(Arc::clone(&signer), None).await.expect("it is written");
            let prune = async |max_rows, at_once| {
                let prune = Prune::Surplus { max_rows, young_from_ms: 3 };
                let pruned = store.prune_audit(prune, at_once, Arc::clone(&signer)).await.expect("it is written");
                (pruned.rows, pruned.young, pruned.upto)
            };
            assert_eq!(prune(10, 64).await, (0, 0, 0), "twin: as many as there may be");
            assert_eq!(prune(6, 3).await, (3, 1, 3));
            assert_eq!(prune(6, 64).await, (1, 1, 4));
            assert_eq!(prune(6, 64).await, (0, 0, 0));
            let report = verify(&store, &[signer.public_key()], None).await.expect("nothing is wrong");
            assert_eq!((report.after, report.rows, report.pruned), (4, 6, true));
            // All of them: the chain goes on from what was signed.
            assert_eq!(prune(0, 64).await, (6, 6, 10));
            store.add_audit(row("b")).await.expect("it takes rows");
            store.sign_audit(Arc::clone(&signer), None).await.expect("it is written");
            let report = verify(&store, &[signer.public_key()], None).await.expect("nothing is wrong");
            assert_eq!((report.after, report.rows), (10, 1));
        })
        .await;
    }
}
