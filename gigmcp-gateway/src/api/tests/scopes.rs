//! What the scopes of keys say of themselves, beside what the routes demand.

use std::collections::BTreeMap;

use super::super::{Route, State, routes};
use crate::people::{Access, ApiScope, Deed, Role};

/// The least role that a route lets in, to what is one's own.
fn least(route: &Route<State>) -> Role {
    match route.rule.access {
        Access::Public | Access::SignedIn | Access::Own | Access::OwnOr(_) => Role::User,
        Access::AtLeast(role) => role,
    }
}

/// The least role of all routes that ask for a scope.
fn of_routes(routes: &[Route<State>]) -> BTreeMap<ApiScope, Role> {
    let mut found = BTreeMap::new();
    for route in routes {
        if let Some(scope) = route.rule.scope {
            let role = least(route);
            found.entry(scope).and_modify(|known: &mut Role| *known = (*known).min(role)).or_insert(role);
        }
    }
    found
}

#[test]
fn the_least_role_of_a_scope_is_that_of_the_routes_which_ask_for_it() {
    let said: BTreeMap<_, _> = ApiScope::all().map(|scope| (scope, scope.least())).collect();
    assert_eq!(
        of_routes(&routes::all()),
        said,
        "a key with a scope is made for whom it is of use, and for nobody else"
    );
}

#[test]
fn a_scope_is_asked_for_by_what_a_key_may_do_and_by_nothing_else() {
    for route in routes::all() {
        let (id, rule) = (route.id, route.rule);
        match (rule.scope, rule.deed) {
            (Some(scope), Deed::Read) => assert!(!scope.write, "{id} only reads"),
            (Some(scope), Deed::Change) => assert!(scope.write, "{id} changes something"),
            (Some(_), Deed::Use | Deed::Prove | Deed::Leave) => panic!("{id}: no key does that, whatever its scopes"),
            (None, _) => {}
        }
    }
}
