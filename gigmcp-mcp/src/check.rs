//! Whether values fit the schemas of a tool: arguments before the call, what comes back after it.
//!
//! The schema is its server's, so nothing in it can make a check cost more than it may: what is too large, refers to what is not
//! in it, or could take too long is not checked, and that is told.

mod cache;
mod cost;
mod nearest;
mod schema;

pub(crate) use self::{
    cache::{Checks, ToolSchemas},
    schema::{Checked, Misfitting, Schema},
};

/// Why a value is not checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unchecked {
    /// The schema is larger than is compiled.
    TooLarge,
    /// The schema is no schema, or one of another dialect.
    Invalid,
    /// The schema refers to what is not in it, or by a way that is not followed.
    Foreign,
    /// Checking could take too long.
    TooCostly,
    /// The value is nested so deeply that we cannot read it.
    Unreadable,
}
