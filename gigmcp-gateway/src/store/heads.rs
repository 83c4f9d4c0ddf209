//! What is signed about the audit trail, and the keys that signed it.

use sea_query::{Expr, ExprTrait, Func, OnConflict, Order, Query, SelectStatement};

use super::{
    Store, StoreError,
    audit::{follow, step, tip},
    connection::{Connection, Row},
    schema::{Audit, AuditHeads, AuditKeys},
};
use crate::trail::{KeyRow, Link, Place, RowHash, Signer, Statement, StatementKind};

/// What came of signing the end of the chain.
#[derive(Debug)]
pub(crate) struct Signed {
    /// The newest head; none while there is no row.
    pub(crate) head: Option<Statement>,
    /// The row that was signed before is not what it was, or is gone.
    pub(crate) changed: Option<Place>,
    /// Of this place something is said that none of our keys signed, or that cannot be read. It is not believed.
    pub(crate) forged: Option<Place>,
}

/// The newest statement that one of our keys signed.
#[derive(Debug, Default)]
pub(super) struct Newest {
    pub(super) statement: Option<Statement>,
    /// A newer one that none of our keys signed.
    pub(super) forged: Option<Place>,
}

impl Store {
    /// Signs where the chain begins, if that was not done, and its end, if it has grown. `known` is what was signed last, and
    /// put back if somebody took it out of the database.
    pub(crate) async fn sign_audit(
        &self,
        signer: std::sync::Arc<Signer>,
        known: Option<Statement>,
    ) -> Result<Signed, StoreError> {
        let followed = match &known {
            Some(known) => Some((known.link, self.followed(known.link).await?)),
            None => None,
        };
        self.write(move |connection| {
            let (bases, heads) = (signed_base(connection, &signer)?, signed_head(connection, &signer)?);
            let forged = bases.forged.or(heads.forged);
            let base = match (bases.statement, &known) {
                (Some(base), _) => Some(base),
                // The chain had begun: whoever took away what was said of it is not helped.
                (None, Some(_)) => None,
                (None, None) => Some(sign_begin(connection, &signer)?),
            };
            let base_link = base.as_ref().map(|base| base.link);
            let after_base = |link: &Link| base_link.is_none_or(|base| link.place > base.place);
            let last = known.clone().or_else(|| heads.statement.clone()).filter(|last| after_base(&last.link));
            let mut changed = None;
            if let Some(last) = &last {
                let kept = hash_at(connection, last.link.place)? == Some(last.link.hash);
                changed = (!kept).then_some(last.link.place);
                put(connection, last)?;
            }
            let end = tip(connection)?;
            let mut from = last.map(|last| last.link).or(base_link);
            if let Some((begun, upto)) = followed
                && from == Some(begun)
                && hash_at(connection, upto.place)? == Some(upto.hash)
            {
                from = Some(upto);
            }
            if let Some(from) = from.filter(|from| changed.is_none() && from.place < end.place) {
                changed = follow(connection, from, end.place)?.err();
            }
            if base.is_none() {
                changed = changed.or(Some(end.place));
            }
            let mut head = [heads.statement, known].into_iter().flatten().max_by_key(|head| head.link.place);
            if after_base(&end) && head.as_ref().is_none_or(|head| head.link.place < end.place) {
                let signed = signer.sign(StatementKind::Head, end);
                put(connection, &signed)?;
                head = Some(signed);
            }
            Ok(Signed { head, changed, forged })
        })
        .await
    }

    /// How far the rows after a link are what their chain says. They are read beside whoever writes, some at a time: after
    /// many calls it takes long. What comes meanwhile is followed a few times, for it may come faster than it is read.
    async fn followed(&self, from: Link) -> Result<Link, StoreError> {
        let mut end = from;
        for _ in 0..LAPS {
            let upto = self.read(tip).await?.place;
            if upto.saturating_sub(end.place) < FEW {
                break;
            }
            while end.place < upto {
                let begun = end;
                end = self.read(move |connection| step(connection, begun, upto)).await?;
                if end == begun {
                    return Ok(end);
                }
            }
        }
        Ok(end)
    }

    /// The heads after a place and not beyond another, in their order.
    pub(crate) async fn audit_heads(&self, after: Place, upto: Place) -> Result<Vec<Statement>, StoreError> {
        self.read(move |connection| heads(connection, after, Some(upto))).await
    }

    /// The keys, oldest first.
    pub(crate) async fn audit_keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.read(|connection| {
            let all = Query::select()
                .columns([AuditKeys::Id, AuditKeys::CreatedAt, AuditKeys::PublicKey, AuditKeys::Sealed])
                .from(AuditKeys::Table)
                .order_by(AuditKeys::CreatedAt, Order::Asc)
                .order_by(AuditKeys::Id, Order::Asc)
                .take();
            connection.rows(&all, |row| {
                let (id, created_at, public_key) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(KeyRow { id, created_at, public_key, sealed: row.get(3)? })
            })
        })
        .await
    }

    /// Keeps a new key, unless there is another number of them by now than `seen`.
    pub(crate) async fn add_audit_key(&self, row: KeyRow, seen: usize) -> Result<bool, StoreError> {
        self.write(move |connection| {
            let ids = Query::select().column(AuditKeys::Id).from(AuditKeys::Table).take();
            let ids = connection.rows(&ids, |row| Ok::<_, StoreError>(row.get::<String>(0)?))?;
            let first = ids.len() == seen;
            if first {
                put_key(connection, row)?;
            }
            Ok(first)
        })
        .await
    }

    /// Keeps a key, in place of what was kept under its id.
    pub(crate) async fn put_audit_key(&self, row: KeyRow) -> Result<(), StoreError> {
        self.write(move |connection| put_key(connection, row)).await
    }
}

fn put_key(connection: &Connection, row: KeyRow) -> Result<(), StoreError> {
    let put = Query::insert()
        .into_table(AuditKeys::Table)
        .columns([AuditKeys::Id, AuditKeys::CreatedAt, AuditKeys::PublicKey, AuditKeys::Sealed])
        .values_panic([row.id.into(), row.created_at.into(), row.public_key.into(), row.sealed.into()])
        .on_conflict(OnConflict::column(AuditKeys::Id).update_column(AuditKeys::Sealed).to_owned())
        .take();
    Ok(connection.execute(&put).map(drop)?)
}

/// Where the rows of the chain that are still there begin, as it was signed.
pub(super) fn base(connection: &Connection) -> Result<Option<Statement>, StoreError> {
    let newest = Query::select()
        .columns(COLUMNS)
        .from(AuditHeads::Table)
        .and_where(Expr::col(AuditHeads::Kind).is_in([StatementKind::Begin.as_str(), StatementKind::Pruned.as_str()]))
        .order_by(AuditHeads::Place, Order::Desc)
        .order_by(AuditHeads::Kind, Order::Desc)
        .limit(1)
        .take();
    connection.row(&newest, parse)
}

/// The heads after a place, in their order and not beyond another.
pub(super) fn heads(connection: &Connection, after: Place, upto: Option<Place>) -> Result<Vec<Statement>, StoreError> {
    let mut some = Query::select()
        .columns(COLUMNS)
        .from(AuditHeads::Table)
        .and_where(Expr::col(AuditHeads::Kind).eq(StatementKind::Head.as_str()))
        .and_where(Expr::col(AuditHeads::Place).gt(after))
        .order_by(AuditHeads::Place, Order::Asc)
        .take();
    if let Some(upto) = upto {
        some.and_where(Expr::col(AuditHeads::Place).lte(upto));
    }
    connection.rows(&some, parse)
}

/// Says that rows were deleted up to this place, and deletes what was said of them.
pub(super) fn sign_pruned(connection: &Connection, signer: &Signer, upto: Link) -> Result<(), StoreError> {
    let earlier =
        Query::delete().from_table(AuditHeads::Table).and_where(Expr::col(AuditHeads::Place).lte(upto.place)).take();
    connection.execute(&earlier)?;
    put(connection, &signer.sign(StatementKind::Pruned, upto))
}

/// Whoever took away what was said before is not helped: heads without a beginning stay without.
fn sign_begin(connection: &Connection, signer: &Signer) -> Result<Statement, StoreError> {
    let first = Query::select()
        .expr(Func::min(Expr::col(Audit::Id)))
        .from(Audit::Table)
        .and_where(Expr::col(Audit::Hash).is_not_null())
        .take();
    let first: Option<Place> = connection.row(&first, |row| Ok::<_, StoreError>(row.get(0)?))?.flatten();
    let after = match first {
        Some(first) => first.saturating_sub(1),
        None => tip(connection)?.place,
    };
    let begin = signer.sign(StatementKind::Begin, Link::begin_after(after));
    if !has_heads(connection)? {
        put(connection, &begin)?;
    }
    Ok(begin)
}

/// Where the rows that are still there begin, as we signed it.
pub(super) fn signed_base(connection: &Connection, signer: &Signer) -> Result<Newest, StoreError> {
    newest(connection, signer, &[StatementKind::Begin, StatementKind::Pruned])
}

/// The newest head that we signed.
pub(super) fn signed_head(connection: &Connection, signer: &Signer) -> Result<Newest, StoreError> {
    newest(connection, signer, &[StatementKind::Head])
}

/// The first head at a place or after it that we signed.
pub(super) fn signed_head_from(
    connection: &Connection,
    signer: &Signer,
    from: Place,
) -> Result<Option<Statement>, StoreError> {
    let mut some = of(&[StatementKind::Head]);
    some.and_where(Expr::col(AuditHeads::Place).gte(from)).order_by(AuditHeads::Place, Order::Asc);
    Ok(search(connection, signer, &some)?.statement)
}

fn newest(connection: &Connection, signer: &Signer, kinds: &[StatementKind]) -> Result<Newest, StoreError> {
    let mut some = of(kinds);
    some.order_by(AuditHeads::Place, Order::Desc).order_by(AuditHeads::Kind, Order::Desc);
    search(connection, signer, &some)
}

/// The first of them that we signed.
fn search(connection: &Connection, signer: &Signer, some: &SelectStatement) -> Result<Newest, StoreError> {
    let mut found = Newest::default();
    for page in 0.. {
        let some = some.clone().limit(SEARCHED).offset(page * SEARCHED).take();
        let statements = connection.rows(&some, |row| Ok::<_, StoreError>((row.get::<Place>(1)?, parse(row).ok())))?;
        let last = (statements.len() as u64) < SEARCHED;
        for (place, statement) in statements {
            match statement.filter(|statement| signer.vouches_for(statement)) {
                Some(statement) => return Ok(Newest { statement: Some(statement), ..found }),
                None => found.forged = found.forged.or(Some(place)),
            }
        }
        if last {
            break;
        }
    }
    Ok(found)
}

fn of(kinds: &[StatementKind]) -> SelectStatement {
    let kinds = kinds.iter().map(|kind| kind.as_str());
    let of = Expr::col(AuditHeads::Kind).is_in(kinds);
    Query::select().columns(COLUMNS).from(AuditHeads::Table).and_where(of).take()
}

fn has_heads(connection: &Connection) -> Result<bool, StoreError> {
    let some = of(&[StatementKind::Head]).limit(1).take();
    Ok(connection.row(&some, |_| Ok::<_, StoreError>(()))?.is_some())
}

fn hash_at(connection: &Connection, place: Place) -> Result<Option<RowHash>, StoreError> {
    let hash = Query::select().column(Audit::Hash).from(Audit::Table).and_where(Expr::col(Audit::Id).eq(place)).take();
    let hash: Option<Option<Vec<u8>>> = connection.row(&hash, |row| Ok::<_, StoreError>(row.get(0)?))?;
    Ok(hash.flatten().and_then(|hash| hash.try_into().ok()))
}

/// In place of whatever was put there: only what we signed comes here.
fn put(connection: &Connection, statement: &Statement) -> Result<(), StoreError> {
    let put = Query::insert()
        .into_table(AuditHeads::Table)
        .columns(COLUMNS)
        .values_panic([
            statement.kind.as_str().into(),
            statement.link.place.into(),
            statement.link.hash.as_bytes().to_vec().into(),
            statement.at_ms.into(),
            statement.signer.as_str().into(),
            statement.signature.as_slice().into(),
        ])
        .on_conflict(
            OnConflict::columns([AuditHeads::Kind, AuditHeads::Place])
                .update_columns([AuditHeads::Hash, AuditHeads::AtMs, AuditHeads::Signer, AuditHeads::Signature])
                .to_owned(),
        )
        .take();
    Ok(connection.execute(&put).map(drop)?)
}

/// So many rows are read quickly enough for others to wait.
const FEW: Place = 100;
/// How often it is gone on with what came meanwhile.
const LAPS: usize = 3;

/// So many are looked at at once.
const SEARCHED: u64 = 100;

const COLUMNS: [AuditHeads; 6] = [
    AuditHeads::Kind,
    AuditHeads::Place,
    AuditHeads::Hash,
    AuditHeads::AtMs,
    AuditHeads::Signer,
    AuditHeads::Signature,
];

fn parse(row: &Row<'_>) -> Result<Statement, StoreError> {
    let (kind, place, hash): (String, Place, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let corrupt = || StoreError::Corrupt { what: "head of the audit trail", name: place.to_string() };
    Ok(Statement {
        kind: kind.parse().map_err(|_| corrupt())?,
        link: Link { place, hash: hash.try_into().map_err(|_| corrupt())? },
        at_ms: row.get(3)?,
        signer: row.get(4)?,
        signature: row.get(5)?,
    })
}
