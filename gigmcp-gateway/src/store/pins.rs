//! Definitions as they were when somebody agreed to them, and what servers say now instead.

use std::collections::HashMap;

use gigmcp_mcp::{Definition, DefinitionDigest, DefinitionKind};
use sea_query::{Expr, ExprTrait, Iden, OnConflict, Order, Query, SelectStatement};

use super::{
    By, Store, StoreError, audit,
    connection::{Connection, Row},
    now_seconds,
    schema::{Consents, HeldDefinitions, PinSets, Pins},
    servers,
};
use crate::{
    pins::{Known, PinKey, Reading, Verdicts, accepted_row, digest_of, held_row, pinned_row, reset_row},
    spec::{Owner, ServerName},
};

/// Whose server is pinned.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct PinnedServer {
    pub(crate) owner: Owner,
    pub(crate) server: ServerName,
}

/// A definition that somebody agreed to, or that is held back until somebody does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PinRow {
    pub(crate) key: PinKey,
    pub(crate) digest: DefinitionDigest,
    /// As canonical JSON.
    pub(crate) definition: String,
    /// What was pinned in the revision before, if that was another.
    pub(crate) replaced: Option<String>,
    /// When it was pinned or held back first, in seconds since 1970.
    pub(crate) since: i64,
}

/// All pins of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct PinSet {
    pub(crate) pins: Vec<PinRow>,
    pub(crate) held: Vec<PinRow>,
}

impl Store {
    /// How what was read of a server stands; what is new of that is kept. None if its owner has not agreed to that revision.
    pub(crate) async fn judge(&self, of: PinnedServer, reading: Reading) -> Result<Option<Verdicts>, StoreError> {
        let (asked, read) = (of.clone(), reading.clone());
        let judged = self.read(move |connection| Ok(known(connection, &asked, &read)?.map(|known| known.judge(&read))));
        match judged.await? {
            Some(verdicts) if verdicts.is_news() => {
                self.write(move |connection| {
                    // Another gateway may have been faster.
                    let Some(known) = known(connection, &of, &reading)? else { return Ok(None) };
                    let verdicts = known.judge(&reading);
                    note(connection, &of, &reading, &known, &verdicts)?;
                    Ok(Some(verdicts))
                })
                .await
            }
            judged => Ok(judged),
        }
    }

    /// The pins of one server, and what is held back.
    pub(crate) async fn pins(&self, of: PinnedServer) -> Result<PinSet, StoreError> {
        self.read(move |connection| {
            servers::require(connection, &of.server)?;
            let pins = connection.rows(&pin_rows(&of), |row| Ok(PinRow { replaced: row.get(5)?, ..parse(row)? }))?;
            let held = connection.rows(&held_rows(&of), parse)?;
            Ok(PinSet { pins, held })
        })
        .await
    }

    /// How often the pins of each server of an owner have changed.
    pub(crate) async fn pin_generations(&self, owner: Owner) -> Result<HashMap<ServerName, u64>, StoreError> {
        self.read(move |connection| {
            let select = Query::select()
                .columns([PinSets::Server, PinSets::Generation])
                .from(PinSets::Table)
                .and_where(Expr::col(PinSets::UserId).eq(owner.as_str()))
                .take();
            let generations = connection.rows(&select, |row| {
                let name: String = row.get(0)?;
                let name = name.parse().map_err(|_| StoreError::Corrupt { what: "pins of server", name })?;
                Ok((name, u64::try_from(row.get::<i64>(1)?).unwrap_or_default()))
            })?;
            Ok(generations.into_iter().collect())
        })
        .await
    }

    /// Pins what is held back, if it is all still there as it was looked at.
    pub(crate) async fn accept_pins(
        &self,
        of: PinnedServer,
        accepted: Vec<(PinKey, DefinitionDigest)>,
        by: By,
    ) -> Result<(), StoreError> {
        self.change(move |connection| {
            by.check(connection)?;
            let moved = || StoreError::Moved { server: of.server.clone() };
            let (revision, _) = set(connection, &of)?.ok_or_else(moved)?;
            for (key, digest) in &accepted {
                let held = held_rows(&of)
                    .and_where(Expr::col(HeldDefinitions::Kind).eq(key.kind.as_str()))
                    .and_where(Expr::col(HeldDefinitions::Name).eq(&*key.name))
                    .take();
                let held = connection.row(&held, parse)?;
                let held = held.filter(|held| held.digest == *digest).ok_or_else(moved)?;
                delete(connection, &of, HeldDefinitions::Table, Some(key))?;
                delete(connection, &of, Pins::Table, Some(key))?;
                insert_pin(connection, &of, &held)?;
            }
            keep_set(connection, &of, revision)?;
            audit::append(connection, &accepted_row(&of, revision, &accepted, &by.told))
        })
        .await
    }

    /// Forgets the pins: what is read next is pinned as if the server had just been agreed to. With `seen`, only if that is
    /// the digest of what is pinned.
    pub(crate) async fn reset_pins(
        &self,
        of: PinnedServer,
        seen: Option<DefinitionDigest>,
        by: By,
    ) -> Result<(), StoreError> {
        self.change(move |connection| {
            by.check(connection)?;
            servers::require(connection, &of.server)?;
            if let Some(seen) = seen {
                let pinned = connection.rows(&pin_rows(&of), parse_digest)?;
                if pinned.is_empty() || digest_of(&pinned) != seen {
                    return Err(StoreError::Moved { server: of.server });
                }
            }
            keep_set(connection, &of, 0)?;
            audit::append(connection, &reset_row(&of, &by.told))
        })
        .await
    }
}

/// What is pinned of a server, if its owner has agreed to that revision.
fn known(connection: &Connection, of: &PinnedServer, reading: &Reading) -> Result<Option<Known>, StoreError> {
    let consent = Query::select()
        .column(Consents::Revision)
        .from(Consents::Table)
        .and_where(Expr::col(Consents::UserId).eq(of.owner.as_str()))
        .and_where(Expr::col(Consents::Server).eq(of.server.as_str()))
        .take();
    let consented = connection.row(&consent, |row| Ok(row.get::<i64>(0)?))?;
    let server = servers::find(connection, &of.server)?;
    let Some(server) = server.filter(|row| row.revision == reading.revision && consented == Some(row.revision)) else {
        return Ok(None);
    };
    Ok(Some(Known {
        bounds: server.spec.tools,
        is_first: set(connection, of)?.is_none_or(|(revision, _)| revision != reading.revision),
        pins: digests(connection, of, Pins::Table)?,
        held: digests(connection, of, HeldDefinitions::Table)?,
    }))
}

/// Both tables name these columns alike.
fn digests(
    connection: &Connection,
    of: &PinnedServer,
    table: impl Iden + 'static,
) -> Result<HashMap<PinKey, DefinitionDigest>, StoreError> {
    let select = Query::select()
        .columns([Pins::Kind, Pins::Name, Pins::Digest])
        .from(table)
        .and_where(Expr::col(Pins::UserId).eq(of.owner.as_str()))
        .and_where(Expr::col(Pins::Server).eq(of.server.as_str()))
        .take();
    Ok(connection.rows(&select, parse_digest)?.into_iter().collect())
}

/// Keeps what is new.
fn note(
    connection: &Connection,
    of: &PinnedServer,
    reading: &Reading,
    known: &Known,
    verdicts: &Verdicts,
) -> Result<(), StoreError> {
    delete(connection, of, HeldDefinitions::Table, None)?;
    for said in &verdicts.held {
        let row = PinRow::of(said, None);
        connection.execute(
            Query::insert()
                .into_table(HeldDefinitions::Table)
                .columns([
                    HeldDefinitions::UserId,
                    HeldDefinitions::Server,
                    HeldDefinitions::Kind,
                    HeldDefinitions::Name,
                    HeldDefinitions::Digest,
                    HeldDefinitions::Definition,
                    HeldDefinitions::HeldAt,
                ])
                .values_panic([
                    of.owner.as_str().into(),
                    of.server.as_str().into(),
                    row.key.kind.as_str().into(),
                    (&*row.key.name).into(),
                    row.digest.to_string().into(),
                    row.definition.into(),
                    row.since.into(),
                ]),
        )?;
    }
    let Some(first) = &verdicts.first else {
        return match verdicts.held.is_empty() {
            true => Ok(()), // it says again what was agreed to
            false => audit::append(connection, &held_row(of, reading.revision, &verdicts.held)),
        };
    };
    let before = connection.rows(&pin_rows(of), parse)?;
    let mut before: HashMap<_, _> = before.into_iter().map(|row| (row.key, row.definition)).collect();
    delete(connection, of, Pins::Table, None)?;
    for said in first {
        let replaced = before.remove(&PinKey::of(said)).filter(|before| **before != *said.text);
        insert_pin(connection, of, &PinRow::of(said, replaced))?;
    }
    keep_set(connection, of, reading.revision)?;
    audit::append(connection, &pinned_row(of, reading.revision, first, known))
}

fn insert_pin(connection: &Connection, of: &PinnedServer, row: &PinRow) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(Pins::Table)
        .columns([
            Pins::UserId,
            Pins::Server,
            Pins::Kind,
            Pins::Name,
            Pins::Digest,
            Pins::Definition,
            Pins::Replaced,
            Pins::PinnedAt,
        ])
        .values_panic([
            of.owner.as_str().into(),
            of.server.as_str().into(),
            row.key.kind.as_str().into(),
            (&*row.key.name).into(),
            row.digest.to_string().into(),
            row.definition.as_str().into(),
            row.replaced.as_deref().into(),
            now_seconds().into(),
        ])
        .take();
    Ok(connection.execute(&insert).map(drop)?)
}

/// The revision and the generation of the pins.
fn set(connection: &Connection, of: &PinnedServer) -> Result<Option<(i64, i64)>, StoreError> {
    let select = Query::select()
        .columns([PinSets::Revision, PinSets::Generation])
        .from(PinSets::Table)
        .and_where(Expr::col(PinSets::UserId).eq(of.owner.as_str()))
        .and_where(Expr::col(PinSets::Server).eq(of.server.as_str()))
        .take();
    connection.row(&select, |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The pins are of that revision, and have changed.
fn keep_set(connection: &Connection, of: &PinnedServer, revision: i64) -> Result<(), StoreError> {
    let generation = set(connection, of)?.map_or(0, |(_, generation)| generation) + 1;
    let insert = Query::insert()
        .into_table(PinSets::Table)
        .columns([PinSets::UserId, PinSets::Server, PinSets::Revision, PinSets::Generation])
        .values_panic([of.owner.as_str().into(), of.server.as_str().into(), revision.into(), generation.into()])
        .on_conflict(
            OnConflict::columns([PinSets::UserId, PinSets::Server])
                .update_columns([PinSets::Revision, PinSets::Generation])
                .to_owned(),
        )
        .take();
    Ok(connection.execute(&insert).map(drop)?)
}

fn delete(
    connection: &Connection,
    of: &PinnedServer,
    table: impl Iden + 'static,
    key: Option<&PinKey>,
) -> Result<(), StoreError> {
    let mut delete = Query::delete()
        .from_table(table)
        .and_where(Expr::col(Pins::UserId).eq(of.owner.as_str()))
        .and_where(Expr::col(Pins::Server).eq(of.server.as_str()))
        .take();
    if let Some(key) = key {
        delete.and_where(Expr::col(Pins::Kind).eq(key.kind.as_str()));
        delete.and_where(Expr::col(Pins::Name).eq(&*key.name));
    }
    Ok(connection.execute(&delete).map(drop)?)
}

fn pin_rows(of: &PinnedServer) -> SelectStatement {
    Query::select()
        .columns([Pins::Kind, Pins::Name, Pins::Digest, Pins::Definition, Pins::PinnedAt, Pins::Replaced])
        .from(Pins::Table)
        .and_where(Expr::col(Pins::UserId).eq(of.owner.as_str()))
        .and_where(Expr::col(Pins::Server).eq(of.server.as_str()))
        .order_by(Pins::Kind, Order::Asc)
        .order_by(Pins::Name, Order::Asc)
        .take()
}

fn held_rows(of: &PinnedServer) -> SelectStatement {
    Query::select()
        .columns([
            HeldDefinitions::Kind,
            HeldDefinitions::Name,
            HeldDefinitions::Digest,
            HeldDefinitions::Definition,
            HeldDefinitions::HeldAt,
        ])
        .from(HeldDefinitions::Table)
        .and_where(Expr::col(HeldDefinitions::UserId).eq(of.owner.as_str()))
        .and_where(Expr::col(HeldDefinitions::Server).eq(of.server.as_str()))
        .order_by(HeldDefinitions::Kind, Order::Asc)
        .order_by(HeldDefinitions::Name, Order::Asc)
        .take()
}

fn parse(row: &Row<'_>) -> Result<PinRow, StoreError> {
    let (key, digest) = parse_digest(row)?;
    Ok(PinRow { key, digest, definition: row.get(3)?, replaced: None, since: row.get(4)? })
}

fn parse_digest(row: &Row<'_>) -> Result<(PinKey, DefinitionDigest), StoreError> {
    let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
    let corrupt = || StoreError::Corrupt { what: "pin of", name: name.clone() };
    let kind: DefinitionKind = kind.parse().map_err(|_| corrupt())?;
    let digest = row.get::<String>(2)?.parse().map_err(|_| corrupt())?;
    Ok((PinKey { kind, name: name.into() }, digest))
}

impl PinRow {
    fn of(said: &Definition, replaced: Option<String>) -> Self {
        let (key, definition) = (PinKey::of(said), said.text.to_string());
        Self { key, digest: said.digest, definition, replaced, since: now_seconds() }
    }
}
