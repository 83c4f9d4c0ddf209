//! People whom only a provider vouches for, and has not for long.

use sea_query::{Expr, ExprTrait, Query, SelectStatement};

use super::{
    Store, StoreError, audit,
    connection::Connection,
    schema::{Identities, ProviderSessions, Sessions, Users},
    users,
};
use crate::{people::UserId, trail::AuditRow};

impl Store {
    /// Suspends whoever has no password and was vouched for before that moment last; says whom.
    pub(crate) async fn suspend_unseen(
        &self,
        before: i64,
        told: Box<dyn Fn(&UserId) -> AuditRow + Send>,
    ) -> Result<Vec<UserId>, StoreError> {
        // Nearly always it is nobody, and nothing is written then.
        if self.read(move |connection| unseen(connection, before)).await?.is_empty() {
            return Ok(Vec::new());
        }
        self.change(move |connection| {
            let unseen = unseen(connection, before)?;
            for user in &unseen {
                users::suspend(connection, user)?;
                audit::append(connection, &told(user))?;
            }
            Ok(unseen)
        })
        .await
    }
}

fn unseen(connection: &Connection, before: i64) -> Result<Vec<UserId>, StoreError> {
    let known = Query::select().column(Identities::UserId).from(Identities::Table).take();
    // Sessions go; that they were confirmed stays here.
    let seen = known.clone().and_where(Expr::col(Identities::LastLoginAt).gt(before)).take();
    let select = Query::select()
        .column(Users::Id)
        .from(Users::Table)
        .and_where(Expr::col(Users::SuspendedAt).is_null())
        .and_where(Expr::col(Users::DisabledAt).is_null())
        .and_where(Expr::col(Users::Password).is_null())
        .and_where(Expr::col(Users::Id).in_subquery(known))
        .and_where(Expr::col(Users::Id).not_in_subquery(seen))
        .and_where(Expr::col(Users::Id).not_in_subquery(confirmed_since(before)))
        .take();
    connection.rows(&select, |row| {
        let id: String = row.get(0)?;
        id.parse().map_err(|_| StoreError::Corrupt { what: "account", name: id })
    })
}

/// Who is in a session that the provider has stood by since.
fn confirmed_since(moment: i64) -> SelectStatement {
    Query::select()
        .column((Sessions::Table, Sessions::UserId))
        .from(Sessions::Table)
        .inner_join(
            ProviderSessions::Table,
            Expr::col((ProviderSessions::Table, ProviderSessions::TokenHash))
                .equals((Sessions::Table, Sessions::TokenHash)),
        )
        .and_where(Expr::col((ProviderSessions::Table, ProviderSessions::ConfirmedAt)).gt(moment))
        .take()
}
