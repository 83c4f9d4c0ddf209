//! Who may do what: one pure decision.

use super::{ApiScope, Role, Scopes, UserId};
use crate::store::{AuditRow, By, Standing, Told};

/// Somebody who has proven who they are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Actor {
    pub(crate) user: UserId,
    pub(crate) role: Role,
    pub(crate) via: Via,
    /// Whose pages somebody looks at, and what that person is. Nothing can be changed meanwhile.
    pub(crate) viewing: Option<(UserId, Role)>,
    /// What they came with, so that it can be looked at again; on the command line, nothing.
    pub(crate) proof: Option<Proof>,
}

/// What somebody came with, as its hash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Proof {
    Session(String),
    ApiKey(String),
}

/// How somebody has proven it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Via {
    /// Signed in, as a person at a browser is.
    Session,
    /// A key of the control plane, for what it was made for.
    ApiKey { name: String, scopes: Scopes },
    /// The command line on the gateway's own data.
    Local,
}

/// Who may do something that belongs to somebody.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Access {
    /// Everybody, also without an account.
    Public,
    /// Everybody with an account.
    SignedIn,
    /// Whoever it belongs to.
    Own,
    /// Whoever it belongs to, and whoever is at least this.
    OwnOr(Role),
    /// Whoever is at least this.
    AtLeast(Role),
}

/// What is done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Deed {
    Read,
    Change,
    /// To run tools with what belongs to somebody, to open it, or to get what can do so, such as a token of their profile.
    Use,
    /// To change how somebody proves who they are: passwords, second factors, sessions, keys. Not with a key.
    Prove,
    /// To end a session or a view of one's own: what cannot hurt.
    Leave,
}

/// What one operation demands. A route, a command or a function has one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Rule {
    pub(crate) access: Access,
    pub(crate) deed: Deed,
    /// What a key of the control plane must have been made for; without it, none will do.
    pub(crate) scope: Option<ApiScope>,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refusal {
    #[error("sign in first")]
    SignIn,
    #[error("another's pages are only looked at; end the view to change something")]
    Viewing,
    #[error("this key was not made for that")]
    Scope,
    #[error("this is done by a person who is signed in, and not with a key")]
    Key,
    /// To be told like what is not there, so that nobody learns what others have.
    #[error("this belongs to somebody else")]
    NotYours,
    #[error("this needs the role {0}")]
    Role(Role),
}

impl Rule {
    pub(crate) const fn new(access: Access, deed: Deed) -> Self {
        Self { access, deed, scope: None }
    }

    pub(crate) const fn with_scope(self, scope: ApiScope) -> Self {
        Self { scope: Some(scope), ..self }
    }
}

impl Actor {
    /// Whoever has the gateway's own data in their hands.
    pub(crate) fn local() -> Self {
        Self { user: UserId::local(), role: Role::Admin, via: Via::Local, viewing: None, proof: None }
    }

    /// What they do, and as what: it is looked at again where it is written.
    pub(crate) fn does(&self, row: AuditRow) -> Told {
        match self.standing() {
            None => row.into(),
            Some(standing) => Told::by(standing, row),
        }
    }

    /// The same for what makes its own row.
    pub(crate) fn by(&self) -> By {
        By { told: self.told(), standing: self.standing() }
    }

    fn standing(&self) -> Option<Standing> {
        let (user, role, proof) = (self.user.clone(), self.role, self.proof.clone());
        match self.via {
            Via::Local => None,
            Via::Session | Via::ApiKey { .. } => Some(Standing { user, role, proof }),
        }
    }

    /// Whose pages are shown.
    pub(crate) fn shown(&self) -> &UserId {
        self.viewing.as_ref().map_or(&self.user, |(viewed, _)| viewed)
    }

    /// Whether this may be done to what belongs to `owner`; to what is nobody's, `owner` is none.
    pub(crate) fn may(&self, rule: &Rule, owner: Option<&UserId>) -> Result<(), Refusal> {
        self.proof_allows(rule)?;
        let (who, role) = match (&self.viewing, rule.deed) {
            (None, _) | (_, Deed::Leave) => (&self.user, self.role),
            (Some((viewed, role)), Deed::Read) => (viewed, *role),
            (Some(_), Deed::Change | Deed::Use | Deed::Prove) => return Err(Refusal::Viewing),
        };
        let own = owner == Some(who);
        // Whatever a rule says: nobody uses what is another's.
        if rule.deed == Deed::Use && !own {
            return Err(Refusal::NotYours);
        }
        match rule.access {
            Access::Public | Access::SignedIn => Ok(()),
            Access::Own if own => Ok(()),
            Access::Own => Err(Refusal::NotYours),
            Access::OwnOr(least) if own || role >= least => Ok(()),
            Access::OwnOr(_) => Err(Refusal::NotYours),
            Access::AtLeast(least) if role >= least => Ok(()),
            Access::AtLeast(least) => Err(Refusal::Role(least)),
        }
    }

    /// Whether what somebody came with is good for this at all.
    fn proof_allows(&self, rule: &Rule) -> Result<(), Refusal> {
        match (&self.via, rule.access, rule.deed) {
            (Via::Session | Via::Local, ..) | (_, Access::Public, Deed::Read) => Ok(()),
            (Via::ApiKey { .. }, _, Deed::Use | Deed::Prove | Deed::Leave) => Err(Refusal::Key),
            (Via::ApiKey { scopes, .. }, _, Deed::Read | Deed::Change) => match rule.scope {
                Some(scope) if scopes.allow(scope) => Ok(()),
                _ => Err(Refusal::Scope),
            },
        }
    }

    /// For the audit trail.
    pub(crate) fn told(&self) -> String {
        match &self.via {
            Via::Local => "the command line".to_owned(),
            Via::Session => self.user.to_string(),
            Via::ApiKey { name, .. } => format!("{} with the key {name}", self.user),
        }
    }
}

/// The same for whoever has not proven anything.
pub(crate) fn anybody_may(rule: &Rule) -> Result<(), Refusal> {
    match (rule.access, rule.deed) {
        (Access::Public, Deed::Read | Deed::Change | Deed::Prove | Deed::Leave) => Ok(()),
        (Access::Public, Deed::Use) => Err(Refusal::NotYours),
        (Access::SignedIn | Access::Own | Access::OwnOr(_) | Access::AtLeast(_), _) => Err(Refusal::SignIn),
    }
}

#[cfg(test)]
mod tests;
