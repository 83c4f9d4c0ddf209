//! Stand-in until the real one is merged.
use crate::api::{ApiError, Code};
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    Public,
    SignedIn,
    Admin,
}
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    ServersRead,
}
impl Scope {
    pub(crate) fn as_str(self) -> &'static str {
        "servers:read"
    }
}
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub(crate) admin: bool,
    pub(crate) key: Option<Vec<&'static str>>,
}
impl Actor {
    pub(crate) fn nobody() -> Self {
        Self { admin: false, key: None }
    }
    pub(crate) fn may_use(&self, access: Access, _scope: Option<Scope>, _safe: bool) -> Result<(), ApiError> {
        match access {
            Access::Admin if !self.admin => Err(ApiError::new(Code::Forbidden, "only administrators may do this")),
            _ => Ok(()),
        }
    }
}
