//! From the policy to programs in the kernel's form, by libseccomp.

use std::fs::File;
use std::io::{self, Read, Seek};

use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

use super::Programs;
use super::policy::{Line, Policy, Rule, Test};
use crate::Profile;

/// Why there are no programs.
#[derive(Debug)]
pub(super) enum CompileError {
    /// The policy, or libseccomp.
    Policy(String),
    /// There was nothing to write a program to.
    Host(io::Error),
}

impl From<String> for CompileError {
    fn from(reason: String) -> Self {
        Self::Policy(reason)
    }
}

impl From<io::Error> for CompileError {
    fn from(source: io::Error) -> Self {
        Self::Host(source)
    }
}

/// Compiles a policy for a profile.
pub(super) fn compile(text: &str, profile: Profile) -> Result<Programs, CompileError> {
    let policy = Policy::parse(text)?;
    let mut unknown = Vec::new();
    let allowlist = policy.allowlist(profile, &mut unknown)?;
    let denials = policy.denials()?;
    let mut programs = Programs {
        filters: vec![denials, allowlist],
        init: policy.of_init()?,
        unknown,
        tripwires: Vec::new(),
        names: Default::default(),
    };
    let lines = policy.tripwire.iter().flat_map(|line| line.calls.iter().map(|call| (call, line.errno())));
    let rules = policy.tripwire_if.iter().map(|rule| (&rule.call, rule.errno()));
    for (call, errno) in lines.chain(rules) {
        if let Resolved::Number(number) = policy.resolve(call)
            && let (Ok(number), Ok(errno)) = (u32::try_from(i32::from(number)), u32::try_from(errno))
        {
            programs.tripwires.push((number, errno));
            programs.names.insert(number, call.clone());
        }
    }
    Ok(programs)
}

/// What a call's name means here.
pub(super) enum Resolved {
    Number(ScmpSyscall),
    /// The architecture never had the call.
    Absent,
    /// Neither libseccomp nor the policy knows the name.
    Unknown,
}

impl Policy {
    pub(super) fn resolve(&self, call: &str) -> Resolved {
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

    fn allowlist(&self, profile: Profile, unknown: &mut Vec<String>) -> Result<Vec<u8>, CompileError> {
        let mut filter = new_filter(ScmpAction::Errno(Errno::NOSYS.raw_os_error()))?;
        for line in self.allow.iter().filter(|line| line.holds_in(profile)) {
            for call in &line.calls {
                if let Resolved::Unknown = self.resolve(call) {
                    unknown.push(call.clone());
                }
            }
            self.add_line(&mut filter, line, ScmpAction::Allow)?;
        }
        // A call of these that has no name here is refused by the default as well.
        for line in &self.tripwire {
            self.add_line(&mut filter, line, ScmpAction::Notify)?;
        }
        for line in &self.refuse {
            self.add_line(&mut filter, line, ScmpAction::Errno(line.errno()))?;
        }
        for line in &self.kill {
            self.add_line(&mut filter, line, ScmpAction::KillProcess)?;
        }
        for rule in self.allow_if.iter().filter(|rule| rule.holds_in(profile)) {
            self.add_rule(&mut filter, rule, ScmpAction::Allow)?;
        }
        for rule in &self.tripwire_if {
            self.add_rule(&mut filter, rule, ScmpAction::Notify)?;
        }
        export(&filter)
    }

    fn denials(&self) -> Result<Vec<u8>, CompileError> {
        let mut filter = new_filter(ScmpAction::Allow)?;
        for rule in &self.refuse_if {
            self.add_rule(&mut filter, rule, ScmpAction::Errno(rule.errno()))?;
        }
        export(&filter)
    }

    /// PID 1's own program.
    fn of_init(&self) -> Result<Vec<u8>, CompileError> {
        let mut filter = new_filter(ScmpAction::KillProcess)?;
        for line in &self.init {
            self.add_line(&mut filter, line, ScmpAction::Allow)?;
        }
        for rule in &self.init_if {
            self.add_rule(&mut filter, rule, ScmpAction::Allow)?;
        }
        export(&filter)
    }

    fn add_line(&self, filter: &mut ScmpFilterContext, line: &Line, action: ScmpAction) -> Result<(), String> {
        for call in &line.calls {
            if let Resolved::Number(number) = self.resolve(call) {
                filter.add_rule(action, number).map_err(|error| format!("{call}: {error}"))?;
            }
        }
        Ok(())
    }

    fn add_rule(&self, filter: &mut ScmpFilterContext, rule: &Rule, action: ScmpAction) -> Result<(), String> {
        let Resolved::Number(number) = self.resolve(&rule.call) else { return Ok(()) };
        for all in &rule.when {
            let comparisons: Vec<_> = all.iter().copied().map(ScmpArgCompare::from).collect();
            filter
                .add_rule_conditional(action, number, &comparisons)
                .map_err(|error| format!("{}: {error}", rule.call))?;
        }
        Ok(())
    }
}

impl From<Test> for ScmpArgCompare {
    fn from(test: Test) -> Self {
        match test {
            Test::Masked { argument, mask, value } => {
                Self::new(argument, ScmpCompareOp::MaskedEqual(mask.into()), value.into())
            }
            Test::Above { argument, value } => Self::new(argument, ScmpCompareOp::Greater, value),
        }
    }
}

fn new_filter(default: ScmpAction) -> Result<ScmpFilterContext, String> {
    let prepare = || {
        let mut filter = ScmpFilterContext::new(default)?;
        // i386 and x32 would pass every rule about native numbers.
        filter.set_act_badarch(ScmpAction::KillProcess)?;
        filter.set_ctl_optimize(2)?;
        Ok(filter)
    };
    prepare().map_err(|error: libseccomp::error::SeccompError| error.to_string())
}

/// libseccomp before 2.6 writes programs to descriptors only.
fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>, CompileError> {
    let mut file = memfd_create("filter", MemfdFlags::CLOEXEC).map(File::from).map_err(io::Error::from)?;
    filter.export_bpf(&file).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::POLICY;

    #[test]
    fn the_shipped_policy_compiles_to_two_programs_the_kernel_takes() {
        let mut lengths = Vec::new();
        for profile in Profile::ALL {
            let programs = compile(POLICY, profile).expect("the policy is part of the crate");
            assert_eq!(programs.filters.len(), 2);
            for filter in &programs.filters {
                assert_eq!(filter.len() % 8, 0);
                assert!(filter.len() / 8 < 4096, "the kernel's limit on instructions");
            }
            assert_eq!(programs.unknown, Vec::<String>::new());
            lengths.push(programs.filters[1].len());
        }
        let [any, small, ..] = lengths[..] else { panic!("{lengths:?}") };
        assert_eq!(lengths.iter().max(), Some(&any));
        assert_eq!(lengths.iter().min(), Some(&small), "static is the smallest");
    }

    #[test]
    fn every_call_of_the_policy_is_known_by_name_or_number() {
        let policy = Policy::parse(POLICY).expect("the policy is part of the crate");
        let rules = [&policy.allow_if, &policy.tripwire_if, &policy.refuse_if, &policy.init_if].into_iter().flatten();
        let calls = policy.lines().chain(&policy.init).flat_map(|line| &line.calls).chain(rules.map(|rule| &rule.call));
        let unknown: Vec<_> = calls.filter(|call| matches!(policy.resolve(call), Resolved::Unknown)).collect();
        assert_eq!(unknown, Vec::<&String>::new(), "a misspelled refusal refuses nothing");
    }
}
