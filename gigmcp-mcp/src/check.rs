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
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Unchecked {
    #[error("the schema is larger than is compiled")]
    TooLarge,
    #[error("the schema is no schema, or one of another dialect")]
    Invalid,
    #[error("the schema refers to what is not in it, or by a way that is not followed")]
    Foreign,
    #[error("checking a value of this length by it could take too long")]
    TooCostly,
    #[error("the value is nested so deeply that it cannot be read")]
    Unreadable,
}
