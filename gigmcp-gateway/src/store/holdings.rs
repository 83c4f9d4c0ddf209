//! What somebody's instances of a server hold themselves: values, open sessions, files that they kept. Whatever takes it away
//! or changes it gives them another [`Edition`] in the same transaction, and those of before end and send nothing more.
//!
//! So each write that does is here, or calls what is here:
//!
//! | what is written | how it ends what runs |
//! | --- | --- |
//! | a secret is set or deleted that the server holds itself | [`renew`], for its owner only |
//! | all secrets are deleted; those in the database are accepted as they are | [`renew_all`] |
//! | all that is somebody's is forgotten | [`forget`], whatever the server holds |
//! | a server is installed, upgraded, rolled back or declared anew | another revision |
//! | a server is removed, or taken out of a profile | it is in no profile |
//! | a profile is deleted, or its owner's account | there is no such profile |
//! | an account is disabled | its profiles have no servers |

use sea_query::{Expr, ExprTrait, OnConflict, Query};

use super::{
    SecretKey, StoreError,
    connection::Connection,
    schema::{Catalogues, Holdings, Secrets, Users},
    servers,
};
use crate::spec::{Owner, Place, SecretSlot};

/// Which instances of a server are somebody's now. One that was started under another has no rights any more.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Edition {
    /// Of the server.
    pub(crate) revision: i64,
    /// Of what the owner's instances of it hold.
    pub(crate) generation: i64,
    /// How often all that was the owner's was forgotten.
    pub(crate) epoch: i64,
}

impl Edition {
    /// Of a server that was never given anything.
    #[cfg(test)]
    pub(crate) fn first(revision: i64) -> Self {
        Self { revision, generation: 0, epoch: 0 }
    }
}

/// The owner's instances of that server end if they hold this secret themselves.
pub(super) fn renew(connection: &Connection, key: &SecretKey) -> Result<(), StoreError> {
    let Some(row) = servers::find(connection, &key.server)? else { return Ok(()) };
    let held = |slot: &SecretSlot| slot.name == key.name && slot.place == Place::Environment;
    if !row.spec.secrets.iter().any(held) {
        return Ok(());
    }
    let insert = Query::insert()
        .into_table(Holdings::Table)
        .columns([Holdings::Owner, Holdings::Server, Holdings::Generation])
        .values_panic([key.owner.as_str().into(), key.server.as_str().into(), 1_i64.into()])
        .on_conflict(
            OnConflict::columns([Holdings::Owner, Holdings::Server])
                .value(Holdings::Generation, Expr::col((Holdings::Table, Holdings::Generation)).add(1_i64))
                .to_owned(),
        )
        .take();
    Ok(connection.execute(&insert).map(drop)?)
}

/// The same for every secret there is.
pub(super) fn renew_all(connection: &Connection) -> Result<(), StoreError> {
    let all = Query::select().columns([Secrets::Owner, Secrets::Server, Secrets::Name]).from(Secrets::Table).take();
    let keys = connection.rows(&all, |row| {
        let name: String = row.get(2)?;
        let corrupt = || StoreError::Corrupt { what: "secret", name: name.clone() };
        Ok(SecretKey {
            owner: row.get::<String>(0)?.parse().map_err(|_| corrupt())?,
            server: row.get::<String>(1)?.parse().map_err(|_| corrupt())?,
            name: name.parse().map_err(|_| corrupt())?,
        })
    })?;
    keys.iter().try_for_each(|key| renew(connection, key))
}

/// All that runs for somebody ends, whatever it holds, and what they kept is nobody's. Gives the epoch that begins.
pub(super) fn forget(connection: &Connection, owner: &Owner) -> Result<i64, StoreError> {
    forget_catalogues(connection, owner)?;
    let update = Query::update()
        .table(Users::Table)
        .value(Users::Epoch, Expr::col(Users::Epoch).add(1_i64))
        .and_where(Expr::col(Users::Id).eq(owner.as_str()))
        .returning_col(Users::Epoch)
        .take();
    let missing = || StoreError::Missing { what: "account", name: owner.to_string(), known: Vec::new() };
    connection.row(&update, |row| Ok(row.get(0)?))?.ok_or_else(missing)
}

/// What their servers listed.
pub(super) fn forget_catalogues(connection: &Connection, owner: &Owner) -> Result<(), StoreError> {
    let delete =
        Query::delete().from_table(Catalogues::Table).and_where(Expr::col(Catalogues::Owner).eq(owner.as_str())).take();
    Ok(connection.execute(&delete).map(drop)?)
}

#[cfg(test)]
mod tests;
