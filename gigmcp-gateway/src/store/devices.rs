//! Browsers in which somebody has signed in with a password, as hashes.

use sea_query::{Expr, ExprTrait, Order, Query};

use super::{
    StoreError,
    connection::Connection,
    now_seconds,
    schema::{Devices, Users},
};
use crate::people::{Email, UserId};

/// The browser of somebody who signs in: by what it is known from now on, and until now.
#[derive(Clone, Debug)]
pub(crate) struct NewDevice {
    pub(crate) hash: String,
    pub(crate) replaces: Option<String>,
}

/// Whether somebody has signed in to the account of that address in this browser.
pub(super) fn is_known(connection: &Connection, email: &Email, hash: &str) -> Result<bool, StoreError> {
    let known = Query::select()
        .column((Devices::Table, Devices::Hash))
        .from(Devices::Table)
        .inner_join(Users::Table, Expr::col((Devices::Table, Devices::UserId)).equals((Users::Table, Users::Id)))
        .and_where(Expr::col((Users::Table, Users::Email)).eq(email.as_str()))
        .and_where(Expr::col((Devices::Table, Devices::Hash)).eq(hash))
        .and_where(Expr::col((Devices::Table, Devices::LastUsedAt)).gt(now_seconds() - DEVICE_SECONDS))
        .take();
    Ok(connection.row(&known, |row| Ok(row.get::<String>(0)?))?.is_some())
}

/// Keeps the browser of somebody who has signed in. Of very many, those go that were used first.
pub(super) fn keep(connection: &Connection, user: &UserId, new: &NewDevice) -> Result<(), StoreError> {
    let now = now_seconds();
    let over = Expr::col(Devices::LastUsedAt).lte(now - DEVICE_SECONDS);
    let replaced = Expr::col(Devices::UserId)
        .eq(user.as_str())
        .and(Expr::col(Devices::Hash).eq(new.replaces.as_deref().unwrap_or_default()));
    connection.execute(Query::delete().from_table(Devices::Table).and_where(over.or(replaced)))?;
    let known = Query::select()
        .column(Devices::Hash)
        .from(Devices::Table)
        .and_where(Expr::col(Devices::UserId).eq(user.as_str()))
        .order_by(Devices::LastUsedAt, Order::Desc)
        .order_by(Devices::Hash, Order::Asc)
        .take();
    for hash in connection.rows(&known, |row| Ok(row.get::<String>(0)?))?.into_iter().skip(MAX_DEVICES - 1) {
        connection.execute(Query::delete().from_table(Devices::Table).and_where(Expr::col(Devices::Hash).eq(hash)))?;
    }
    connection.execute(
        Query::insert()
            .into_table(Devices::Table)
            .columns([Devices::Hash, Devices::UserId, Devices::LastUsedAt])
            .values_panic([new.hash.as_str().into(), user.as_str().into(), now.into()]),
    )?;
    Ok(())
}

/// None is known any more: whoever has one of them may know the password that was.
pub(super) fn delete_of(connection: &Connection, user: &UserId) -> Result<(), StoreError> {
    let whose = Expr::col(Devices::UserId).eq(user.as_str());
    connection.execute(Query::delete().from_table(Devices::Table).and_where(whose))?;
    Ok(())
}

/// How long a browser is known that is not used: 180 days.
pub(crate) const DEVICE_SECONDS: i64 = 180 * 86_400;
/// Of one account.
const MAX_DEVICES: usize = 20;
