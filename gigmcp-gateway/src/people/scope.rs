//! What a key of the control plane was made for.

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::Role;

/// A part of the control plane.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Area {
    /// Servers, their installation and the catalogue.
    Servers,
    /// Profiles, what is in them and what was said of them; not their tokens.
    Profiles,
    /// Which credentials there are; to write is to set them. None is ever read.
    Credentials,
    /// Accounts and invitations.
    Users,
    /// The audit trail. It cannot be written.
    Audit,
    /// Instances, health and settings.
    System,
}

/// One thing that a key may do: `servers:read`, `servers:write`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct ApiScope {
    pub(crate) area: Area,
    pub(crate) write: bool,
}

/// All that a key may do; at least one thing. As text, comma separated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Scopes(BTreeSet<ApiScope>);

/// A text that is no list of scopes.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is not a scope; there are: {}", ApiScope::all().map(|scope| scope.to_string()).collect::<Vec<_>>().join(", "))]
pub(crate) struct InvalidScope {
    text: String,
}

impl Area {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Servers, "servers"),
        (Self::Profiles, "profiles"),
        (Self::Credentials, "credentials"),
        (Self::Users, "users"),
        (Self::Audit, "audit"),
        (Self::System, "system"),
    ];
}

impl ApiScope {
    pub(crate) const fn read(area: Area) -> Self {
        Self { area, write: false }
    }

    pub(crate) const fn write(area: Area) -> Self {
        Self { area, write: true }
    }

    /// All there are.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let both = Area::ALL.into_iter().flat_map(|(area, _)| [Self::read(area), Self::write(area)]);
        both.filter(|scope| *scope != Self::write(Area::Audit))
    }

    /// The least role that may do something with it. What reads is also of what is one's own.
    pub(crate) fn least(self) -> Role {
        match (self.area, self.write) {
            (Area::Servers | Area::Users, true) => Role::Admin,
            (Area::Servers | Area::Users, false)
            | (Area::Profiles | Area::Credentials | Area::Audit | Area::System, _) => Role::User,
        }
    }
}

impl Scopes {
    /// Those that are of no use to somebody of that role, whatever they own.
    pub(crate) fn above(&self, role: Role) -> Vec<String> {
        self.0.iter().filter(|scope| scope.least() > role).map(ToString::to_string).collect()
    }

    /// Whoever may write may read.
    pub(crate) fn allow(&self, scope: ApiScope) -> bool {
        self.0.contains(&scope) || self.0.contains(&ApiScope::write(scope.area))
    }
}

impl fmt::Display for ApiScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Area::ALL.into_iter().find(|(area, _)| *area == self.area).map_or("", |(_, name)| name);
        write!(formatter, "{name}:{}", if self.write { "write" } else { "read" })
    }
}

impl FromStr for ApiScope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        Self::all().find(|scope| scope.to_string() == text).ok_or_else(|| InvalidScope { text: text.to_owned() })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&all.join(","))
    }
}

impl FromStr for Scopes {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_is_reading_too_and_nothing_is_another_area() {
        for given in ApiScope::all() {
            let scopes: Scopes = given.to_string().parse().expect("it has one");
            for asked in ApiScope::all() {
                let expected = given.area == asked.area && (given.write || !asked.write);
                assert_eq!(scopes.allow(asked), expected, "{given} {asked}");
            }
            assert_eq!(scopes.to_string().parse(), Ok(scopes));
        }
        assert_eq!(ApiScope::all().count(), 11);
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        assert!("servers:read,users:write".parse::<Scopes>().is_ok(), "twin");
        for text in [
            "",
            "servers",
            "servers:",
            "servers:*",
            "audit:write",
            "servers:read,",
            "Servers:read",
            "servers:read users:read",
        ] {
            assert!(text.parse::<Scopes>().is_err(), "{text}");
        }
    }
}
