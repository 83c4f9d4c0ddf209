//! What is signed about the audit trail, and the keys that signed it.

use sea_query::{Expr, ExprTrait, Func, OnConflict, Order, Query};

use super::{
    Store, StoreError,
    audit::tip,
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
}

impl Store {
    /// Signs where the chain begins, if that was not done, and its end, if it has grown. `known` is what was signed last, and
    /// put back if somebody took it out of the database.
    pub(crate) async fn sign_audit(
        &self,
        signer: std::sync::Arc<Signer>,
        known: Option<Statement>,
    ) -> Result<Signed, StoreError> {
        self.write(move |connection| {
            let base = match base(connection)? {
                Some(base) => base,
                None => sign_begin(connection, &signer)?,
            };
            let mut changed = None;
            if let Some(known) = known.filter(|known| known.link.place > base.link.place) {
                let kept = hash_at(connection, known.link.place)? == Some(known.link.hash);
                changed = (!kept).then_some(known.link.place);
                put(connection, &known)?;
            }
            let end = tip(connection)?;
            let mut head = newest_head(connection)?;
            if end.place > base.link.place && head.as_ref().is_none_or(|head| head.link.place < end.place) {
                let signed = signer.sign(StatementKind::Head, end);
                put(connection, &signed)?;
                head = Some(signed);
            }
            Ok(Signed { head, changed })
        })
        .await
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

    /// Keeps a key, in place of what was kept under its id.
    pub(crate) async fn put_audit_key(&self, row: KeyRow) -> Result<(), StoreError> {
        self.write(move |connection| {
            let put = Query::insert()
                .into_table(AuditKeys::Table)
                .columns([AuditKeys::Id, AuditKeys::CreatedAt, AuditKeys::PublicKey, AuditKeys::Sealed])
                .values_panic([row.id.into(), row.created_at.into(), row.public_key.into(), row.sealed.into()])
                .on_conflict(OnConflict::column(AuditKeys::Id).update_column(AuditKeys::Sealed).to_owned())
                .take();
            Ok(connection.execute(&put).map(drop)?)
        })
        .await
    }
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
        Some(first) => first - 1,
        None => tip(connection)?.place,
    };
    let begin = signer.sign(StatementKind::Begin, Link::begin_after(after));
    if newest_head(connection)?.is_none() {
        put(connection, &begin)?;
    }
    Ok(begin)
}

fn newest_head(connection: &Connection) -> Result<Option<Statement>, StoreError> {
    let newest = Query::select()
        .columns(COLUMNS)
        .from(AuditHeads::Table)
        .and_where(Expr::col(AuditHeads::Kind).eq(StatementKind::Head.as_str()))
        .order_by(AuditHeads::Place, Order::Desc)
        .limit(1)
        .take();
    connection.row(&newest, parse)
}

fn hash_at(connection: &Connection, place: Place) -> Result<Option<RowHash>, StoreError> {
    let hash = Query::select().column(Audit::Hash).from(Audit::Table).and_where(Expr::col(Audit::Id).eq(place)).take();
    let hash: Option<Option<Vec<u8>>> = connection.row(&hash, |row| Ok::<_, StoreError>(row.get(0)?))?;
    Ok(hash.flatten().and_then(|hash| hash.try_into().ok()))
}

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
        .on_conflict(OnConflict::columns([AuditHeads::Kind, AuditHeads::Place]).do_nothing().to_owned())
        .take();
    Ok(connection.execute(&put).map(drop)?)
}

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
