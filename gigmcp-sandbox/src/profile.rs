//! Which system calls a server may make, and what happens when it makes one that no server makes.

use std::fmt;
use std::str::FromStr;

/// The system calls a server may make, by what it is written in.
///
/// All come from one list, `policy/seccomp.toml`, which has a reason for every line. What a profile
/// leaves out answers `ENOSYS`, as on an older kernel, and all agree on what is never allowed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Profile {
    /// What any of the runtimes that were measured needs: the other profiles together, and Java.
    #[default]
    Any,
    /// A static program, as Go and Rust make them. The smallest.
    Static,
    /// Node.
    Node,
    /// Python.
    Python,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 4] = [Self::Any, Self::Static, Self::Node, Self::Python];

    /// The name used in settings and in the policy.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Static => "static",
            Self::Node => "node",
            Self::Python => "python",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or(UnknownProfile)
    }
}

/// There is no profile of this name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the profiles are any, static, node and python")]
pub struct UnknownProfile;

/// What happens when a server makes a call that no server makes, such as `unshare` or `ptrace`.
///
/// The call is refused either way and told as [`Event::Tripwire`](crate::Event::Tripwire). Where the host
/// process itself is under a seccomp filter, as in a container, what that filter refuses is refused by it
/// and not told.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum OnTripwire {
    /// The server goes on.
    #[default]
    Report,
    /// The sandbox ends at once, with [`Exit::Tripwire`](crate::Exit::Tripwire).
    Kill,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_known_by_its_name_alone() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        assert_eq!("Node".parse::<Profile>(), Err(UnknownProfile));
        assert_eq!(Profile::default(), Profile::Any);
    }
}
