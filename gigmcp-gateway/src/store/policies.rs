//! What was declared of servers, revision by revision, and who has agreed to which.

use sea_query::{Expr, ExprTrait, OnConflict, Query};

use super::{
    PolicyRow, StoreError,
    connection::Connection,
    now_seconds,
    schema::{Consents, Policies},
};
use crate::{
    spec::{Owner, ServerName, ServerSpec},
    trail::PolicySeal,
};

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

/// The same for one that is signed, as the text that was signed.
pub(super) fn declare_sealed(
    connection: &Connection,
    server: &ServerName,
    policy: &str,
    seal: &PolicySeal,
) -> Result<i64, StoreError> {
    let insert = Query::insert()
        .into_table(Policies::Table)
        .columns([Policies::Server, Policies::Spec, Policies::CreatedAt, Policies::Signer, Policies::Signature])
        .values_panic([
            server.as_str().into(),
            policy.into(),
            now_seconds().into(),
            seal.signer.as_str().into(),
            seal.signature.clone().into(),
        ])
        .returning_col(Policies::Revision)
        .take();
    connection.row(&insert, |row| Ok(row.get(0)?))?.ok_or(StoreError::NoAnswer)
}

/// One revision of a server.
pub(super) fn find(
    connection: &Connection,
    server: &ServerName,
    revision: i64,
) -> Result<Option<PolicyRow>, StoreError> {
    let select = Query::select()
        .columns([Policies::Spec, Policies::Signer, Policies::Signature])
        .from(Policies::Table)
        .and_where(Expr::col(Policies::Revision).eq(revision))
        .and_where(Expr::col(Policies::Server).eq(server.as_str()))
        .take();
    connection.row(&select, |row| {
        let (signer, signature): (Option<String>, Option<Vec<u8>>) = (row.get(1)?, row.get(2)?);
        let seal = signer.zip(signature).map(|(signer, signature)| PolicySeal { signer, signature });
        Ok(PolicyRow { policy: row.get(0)?, seal })
    })
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
