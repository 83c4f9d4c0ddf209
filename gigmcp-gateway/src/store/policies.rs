//! What was declared of servers, revision by revision, and who has agreed to which.

use sea_query::{OnConflict, Query};

use super::{
    StoreError,
    connection::Connection,
    now_seconds,
    schema::{Consents, Policies},
};
use crate::spec::{Owner, ServerName, ServerSpec};

/// Keeps a declaration of a server, and gives it a revision that nothing had before.
pub(super) fn declare(connection: &Connection, server: &ServerName, spec: &ServerSpec) -> Result<i64, StoreError> {
    let insert = Query::insert()
        .into_table(Policies::Table)
        .columns([Policies::Server, Policies::Spec, Policies::CreatedAt])
        .values_panic([server.as_str().into(), spec.to_json().into(), now_seconds().into()])
        .returning_col(Policies::Revision)
        .take();
    connection.row(&insert, |row| Ok(row.get(0)?))?.ok_or(StoreError::NoAnswer)
}

/// From now on this is the revision of the server that the owner's profiles may use, and no other.
pub(super) fn consent(
    connection: &Connection,
    owner: &Owner,
    server: &ServerName,
    revision: i64,
) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(Consents::Table)
        .columns([Consents::UserId, Consents::Server, Consents::Revision, Consents::CreatedAt])
        .values_panic([owner.as_str().into(), server.as_str().into(), revision.into(), now_seconds().into()])
        .on_conflict(
            OnConflict::columns([Consents::UserId, Consents::Server])
                .update_columns([Consents::Revision, Consents::CreatedAt])
                .to_owned(),
        )
        .take();
    Ok(connection.execute(&insert).map(drop)?)
}
