//! All that the API offers, by what it is about.

mod api_keys;
mod factors;
mod invitations;
mod session;
mod tokens;
mod users;

use super::{Route, State};

/// The table.
pub(crate) fn all() -> Vec<Route<State>> {
    let mut routes = session::routes();
    routes.extend(factors::routes());
    routes.extend(invitations::routes());
    routes.extend(users::routes());
    routes.extend(api_keys::routes());
    routes.extend(tokens::routes());
    routes
}
