//! Compiles the seccomp policy, which is data, into the kernel's programs.

mod compile;
#[cfg(test)]
mod differential;
#[cfg(test)]
pub(crate) mod interpreter;
mod policy;

use std::collections::BTreeMap;

use self::compile::CompileError;
use crate::made_once::MadeOnce;
use crate::{Profile, SpawnError};

/// The policy compiled for one profile.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Argument rules, then the allowlist: the order they are installed in, since the allowlist
    /// does not allow installing more.
    pub(crate) filters: Vec<Vec<u8>>,
    /// What PID 1 installs for itself.
    pub(crate) init: Vec<u8>,
    /// Allowed calls that this libseccomp has neither a name nor a number for.
    pub(crate) unknown: Vec<String>,
    /// The calls that wait for PID 1, by number, with the error they get.
    pub(crate) tripwires: Vec<(u32, u32)>,
    names: BTreeMap<u32, String>,
}

impl Programs {
    /// The name of a call that is a tripwire.
    pub(crate) fn call_name(&self, number: u32) -> &str {
        self.names.get(&number).map_or("unknown", String::as_str)
    }
}

/// The programs of a profile, compiled at first use.
pub(crate) fn programs(profile: Profile) -> Result<&'static Programs, SpawnError> {
    static PROGRAMS: [MadeOnce<Programs>; Profile::ALL.len()] = [const { MadeOnce::new() }; Profile::ALL.len()];
    PROGRAMS[profile as usize].get_or_make(|| compile::compile(POLICY, profile)).map_err(|error| match error {
        CompileError::Policy(reason) => SpawnError::SeccompPolicy { reason },
        CompileError::Host(source) => SpawnError::Host { what: "writing the seccomp programs", source },
    })
}

const POLICY: &str = include_str!("../policy/seccomp.toml");
