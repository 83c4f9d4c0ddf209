//! All that the API offers, by what it is about.

mod api_keys;
mod audit;
mod catalog;
mod credentials;
mod declared;
mod factors;
mod findings;
mod installs;
mod instances;
mod invitations;
mod machine;
mod oidc;
mod pins;
mod profiles;
mod servers;
mod session;
#[cfg(test)]
mod tests;
mod tokens;
mod users;
#[cfg(test)]
mod world;

use super::{Route, State};

/// The table.
pub(crate) fn all() -> Vec<Route<State>> {
    let mut routes = session::routes();
    routes.extend(oidc::routes());
    routes.extend(factors::routes());
    routes.extend(invitations::routes());
    routes.extend(users::routes());
    routes.extend(api_keys::routes());
    routes.extend(tokens::routes());
    routes.extend(servers::routes());
    routes.extend(catalog::routes());
    routes.extend(installs::routes());
    routes.extend(profiles::routes());
    routes.extend(credentials::routes());
    routes.extend(audit::routes());
    routes.extend(instances::routes());
    routes.extend(declared::routes());
    routes.extend(pins::routes());
    routes.extend(findings::routes());
    routes.extend(machine::routes());
    routes
}
