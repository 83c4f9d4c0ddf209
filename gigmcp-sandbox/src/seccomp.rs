//! Compiles the seccomp policy, which is data, into the kernel's programs.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::sync::OnceLock;

use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Deserialize;

use crate::SpawnError;

/// The compiled policy.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Argument rules, then the allowlist: the order they are installed in, since the allowlist
    /// does not allow installing more.
    pub(crate) filters: Vec<Vec<u8>>,
    /// Allowed calls that this libseccomp has neither a name nor a number for.
    pub(crate) unknown: Vec<String>,
}

/// The programs, compiled at first use.
pub(crate) fn programs() -> Result<&'static Programs, SpawnError> {
    static PROGRAMS: OnceLock<Result<Programs, String>> = OnceLock::new();
    PROGRAMS
        .get_or_init(|| compile(POLICY))
        .as_ref()
        .map_err(|reason| SpawnError::SeccompPolicy { reason: reason.clone() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    numbers: BTreeMap<String, i32>,
    groups: Vec<Group>,
    conditions: Vec<Condition>,
    denials: Vec<Denial>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    action: Action,
    reason: String,
    calls: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    call: String,
    reason: String,
    argument: u32,
    mask: u64,
    values: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Denial {
    call: String,
    action: Action,
    reason: String,
    when: Vec<Vec<Comparison>>,
    #[serde(default)]
    each_with: Vec<Comparison>,
}

impl Denial {
    /// The alternatives, each a list of comparisons that must all hold.
    fn alternatives(&self) -> Vec<Vec<Comparison>> {
        if self.each_with.is_empty() {
            return self.when.clone();
        }
        let with = |one: &Comparison| {
            let joined = |all: &Vec<Comparison>| all.iter().chain([one]).cloned().collect();
            self.when.iter().map(joined).collect::<Vec<_>>()
        };
        self.each_with.iter().flat_map(with).collect()
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Comparison {
    argument: u32,
    mask: Option<u64>,
    equals: Option<u64>,
    above: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
enum Action {
    #[serde(rename = "allow")]
    Allow,
    #[serde(rename = "EPERM")]
    Eperm,
    #[serde(rename = "EINVAL")]
    Einval,
    #[serde(rename = "EAFNOSUPPORT")]
    Eafnosupport,
    #[serde(rename = "EPROTONOSUPPORT")]
    Eprotonosupport,
    #[serde(rename = "EOPNOTSUPP")]
    Eopnotsupp,
    #[serde(rename = "ENOPROTOOPT")]
    Enoprotoopt,
}

impl From<Action> for ScmpAction {
    fn from(action: Action) -> Self {
        let refuse = |errno: rustix::io::Errno| Self::Errno(errno.raw_os_error());
        match action {
            Action::Allow => Self::Allow,
            Action::Eperm => refuse(rustix::io::Errno::PERM),
            Action::Einval => refuse(rustix::io::Errno::INVAL),
            Action::Eafnosupport => refuse(rustix::io::Errno::AFNOSUPPORT),
            Action::Eprotonosupport => refuse(rustix::io::Errno::PROTONOSUPPORT),
            Action::Eopnotsupp => refuse(rustix::io::Errno::OPNOTSUPP),
            Action::Enoprotoopt => refuse(rustix::io::Errno::NOPROTOOPT),
        }
    }
}

impl Comparison {
    /// Looks at the low 32 bits, the size of the arguments compared. "Above" looks at all 64, so
    /// set high bits only make the number larger, and the call refused.
    fn compile(&self) -> Result<ScmpArgCompare, String> {
        match (self.equals, self.above) {
            (Some(value), None) => {
                let mask = self.mask.unwrap_or(u64::from(u32::MAX));
                Ok(ScmpArgCompare::new(self.argument, ScmpCompareOp::MaskedEqual(mask), value))
            }
            (None, Some(value)) if self.mask.is_none() => {
                Ok(ScmpArgCompare::new(self.argument, ScmpCompareOp::Greater, value))
            }
            _ => Err("a comparison needs either `equals` or `above`".to_owned()),
        }
    }
}

fn compile(text: &str) -> Result<Programs, String> {
    let policy: Policy = toml::from_str(text).map_err(|error| error.to_string())?;
    let unreasoned = policy.groups.iter().map(|group| (&group.name, &group.reason));
    let unreasoned = unreasoned
        .chain(policy.conditions.iter().map(|condition| (&condition.call, &condition.reason)))
        .chain(policy.denials.iter().map(|denial| (&denial.call, &denial.reason)))
        .find(|(_, reason)| reason.is_empty());
    if let Some((name, _)) = unreasoned {
        return Err(format!("{name} has no reason"));
    }
    let mut unknown = Vec::new();
    let allowlist = allowlist(&policy, &mut unknown)?;
    let denials = denials(&policy)?;
    Ok(Programs { filters: vec![denials, allowlist], unknown })
}

fn allowlist(policy: &Policy, unknown: &mut Vec<String>) -> Result<Vec<u8>, String> {
    let failed = |error: SeccompError| error.to_string();
    let refused = ScmpAction::Errno(rustix::io::Errno::NOSYS.raw_os_error());
    let mut filter = new_filter(refused).map_err(failed)?;
    for group in &policy.groups {
        for call in &group.calls {
            match policy.resolve(call) {
                Resolved::Number(number) => {
                    filter.add_rule(group.action.into(), number).map_err(|error| format!("{call}: {error}"))?;
                }
                // A call that is only refused is refused by the default as well.
                Resolved::Unknown if matches!(group.action, Action::Allow) => unknown.push(call.clone()),
                Resolved::Unknown | Resolved::Absent => {}
            }
        }
    }
    for condition in &policy.conditions {
        let Resolved::Number(number) = policy.resolve(&condition.call) else {
            continue;
        };
        for value in &condition.values {
            let operator = ScmpCompareOp::MaskedEqual(condition.mask);
            let comparison = ScmpArgCompare::new(condition.argument, operator, *value);
            filter
                .add_rule_conditional(ScmpAction::Allow, number, &[comparison])
                .map_err(|error| format!("{}: {error}", condition.call))?;
        }
    }
    export(&filter)
}

fn denials(policy: &Policy) -> Result<Vec<u8>, String> {
    let mut filter = new_filter(ScmpAction::Allow).map_err(|error| error.to_string())?;
    for denial in &policy.denials {
        let Resolved::Number(number) = policy.resolve(&denial.call) else {
            continue;
        };
        for all in denial.alternatives() {
            let comparisons = all.iter().map(Comparison::compile).collect::<Result<Vec<_>, _>>()?;
            filter
                .add_rule_conditional(denial.action.into(), number, &comparisons)
                .map_err(|error| format!("{}: {error}", denial.call))?;
        }
    }
    export(&filter)
}

/// What a call's name means here.
enum Resolved {
    Number(ScmpSyscall),
    /// The architecture never had the call.
    Absent,
    /// Neither libseccomp nor the policy knows the name.
    Unknown,
}

impl Policy {
    fn resolve(&self, call: &str) -> Resolved {
        match ScmpSyscall::from_name(call) {
            Ok(number) if number.as_raw_syscall() >= 0 => Resolved::Number(number),
            // A negative number is libseccomp's for a call of other architectures.
            Ok(_) => Resolved::Absent,
            Err(_) => match self.numbers.get(call) {
                Some(number) => Resolved::Number(ScmpSyscall::from(*number)),
                None => Resolved::Unknown,
            },
        }
    }
}

fn new_filter(default: ScmpAction) -> Result<ScmpFilterContext, SeccompError> {
    let mut filter = ScmpFilterContext::new(default)?;
    // i386 and x32 would pass every rule about native numbers.
    filter.set_act_badarch(ScmpAction::KillProcess)?;
    filter.set_ctl_optimize(2)?;
    Ok(filter)
}

/// libseccomp before 2.6 writes programs to descriptors only.
fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>, String> {
    let mut file =
        memfd_create("filter", MemfdFlags::CLOEXEC).map(std::fs::File::from).map_err(|error| error.to_string())?;
    filter.export_bpf(&file).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(|error| error.to_string())?;
    Ok(bytes)
}

const POLICY: &str = include_str!("../policy/seccomp.toml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_policy_compiles_to_two_programs_the_kernel_takes() {
        let programs = compile(POLICY).expect("the policy is part of the crate");
        assert_eq!(programs.filters.len(), 2);
        for filter in &programs.filters {
            assert_eq!(filter.len() % 8, 0);
            assert!(filter.len() / 8 < 4096, "the kernel's limit on instructions");
        }
        assert_eq!(programs.unknown, Vec::<String>::new());
    }

    #[test]
    fn a_policy_with_a_mistake_is_refused() {
        for (case, from, to) in [
            ("unknown field", "argument = 0", "argumnet = 0"),
            ("unknown action", "action = \"EINVAL\"", "action = \"EWHAT\""),
            ("no reason", "reason = \"the usual tools of kernel exploits\"", "reason = \"\""),
        ] {
            let broken = POLICY.replacen(from, to, 1);
            assert_ne!(broken, POLICY, "{case}: nothing was changed");
            assert!(compile(&broken).is_err(), "{case}");
        }
    }
}
