//! The compiled programs against the policy they came from, call by call.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use std::collections::BTreeSet;

use libseccomp::ScmpSyscall;

use super::compile::{Resolved, compile};
use super::interpreter::{Action, Call, answer};
use super::policy::{Line, Policy, Rule, Test};
use super::{POLICY, Programs};
use crate::Profile;

/// One past the highest number of any architecture, and of the 32-bit ABIs.
const NUMBERS: u32 = 600;
const ENOSYS: i32 = 38;

/// The kernel's numbers of ABIs: ours, and one that this machine's kernel may run too.
#[cfg(target_arch = "x86_64")]
const ARCH: [u32; 2] = [0xc000_003e, 0x4000_0003];
#[cfg(target_arch = "aarch64")]
const ARCH: [u32; 2] = [0xc000_00b7, 0x4000_0028];
#[cfg(target_arch = "riscv64")]
const ARCH: [u32; 2] = [0xc000_00f3, 0x4000_00f3];

impl Test {
    fn holds(self, arguments: &[u64; 6]) -> bool {
        match self {
            Self::Masked { argument, mask, value } => arguments[argument as usize] as u32 & mask == value,
            Self::Above { argument, value } => arguments[argument as usize] > value,
        }
    }

    /// An argument, and values around which the answer changes.
    fn turning_points(self) -> (usize, Vec<u64>) {
        let (argument, value, mask) = match self {
            Self::Masked { argument, mask, value } => (argument, value, mask),
            Self::Above { argument, value } => (argument, value as u32, u32::MAX),
        };
        let near = [value, value.wrapping_add(1), value.wrapping_sub(1), value | !mask];
        let flipped = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| mask != u32::MAX && mask & bit != 0);
        let all = near.into_iter().chain(flipped.map(|bit| value ^ bit)).map(u64::from);
        (argument as usize, all.collect())
    }
}

impl Rule {
    fn holds(&self, arguments: &[u64; 6]) -> bool {
        self.when.iter().any(|all| all.iter().all(|test| test.holds(arguments)))
    }
}

fn names(lines: &[Line], call: &str) -> bool {
    lines.iter().any(|line| line.calls.iter().any(|name| name == call))
}

impl Policy {
    /// The answer as the file says it, without libseccomp.
    fn expected(&self, profile: Profile, call: &str, arguments: &[u64; 6]) -> Action {
        let first = self.expected_of_first(profile, call, arguments);
        let second = self.refuse_if.iter().find(|rule| rule.call == call && rule.holds(arguments));
        match (first, second) {
            (Action::Kill | Action::Errno(_), _) | (_, None) => first,
            (Action::Notify | Action::Allow, Some(rule)) => Action::Errno(rule.errno()),
        }
    }

    fn expected_of_first(&self, profile: Profile, call: &str, arguments: &[u64; 6]) -> Action {
        let named = |line: &&Line| line.calls.iter().any(|name| name == call);
        if names(&self.kill, call) {
            return Action::Kill;
        }
        if let Some(line) = self.refuse.iter().find(named) {
            return Action::Errno(line.errno());
        }
        let allowed = self.allow.iter().filter(named).any(|line| line.holds_in(profile));
        let holds = |rule: &Rule| rule.call == call && rule.holds(arguments);
        if allowed || self.allow_if.iter().any(|rule| rule.holds_in(profile) && holds(rule)) {
            return Action::Allow;
        }
        if names(&self.tripwire, call) || self.tripwire_if.iter().any(holds) {
            return Action::Notify;
        }
        Action::Errno(ENOSYS)
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.allow_if.iter().chain(&self.tripwire_if).chain(&self.refuse_if)
    }

    /// Every call that the policy names and this architecture has, with its number.
    fn calls(&self) -> BTreeSet<(&str, u32)> {
        let calls = self.lines().flat_map(|line| &line.calls).chain(self.rules().map(|rule| &rule.call));
        let numbered = |call: &'_ String| match self.resolve(call) {
            Resolved::Number(number) => u32::try_from(i32::from(number)).ok(),
            Resolved::Absent | Resolved::Unknown => None,
        };
        calls.filter_map(|call| Some((call.as_str(), numbered(call)?))).collect()
    }

    /// Arguments worth asking about: combinations of what the rules of a call look at, and each
    /// with high bits set.
    fn arguments(&self, call: &str) -> Vec<[u64; 6]> {
        let mut values: [BTreeSet<u64>; 6] = std::array::from_fn(|_| BTreeSet::from([0]));
        for test in
            self.rules().chain(&self.init_if).filter(|rule| rule.call == call).flat_map(|rule| &rule.when).flatten()
        {
            let (argument, points) = test.turning_points();
            values[argument].extend(points);
        }
        let mut all = vec![[0; 6]];
        for (index, values) in values.iter().enumerate().filter(|(_, values)| values.len() > 1) {
            let set = |arguments: &[u64; 6], value: u64| {
                let mut arguments = *arguments;
                arguments[index] = value;
                arguments
            };
            let high = all.iter().map(|arguments| set(arguments, 1 << 32)).collect::<Vec<_>>();
            let high = high.iter().flat_map(|arguments| values.iter().map(|value| set(arguments, 1 << 32 | value)));
            let low = all.iter().flat_map(|arguments| values.iter().map(|value| set(arguments, *value)));
            all = low.chain(high.take(values.len() * 20)).collect();
        }
        all
    }
}

fn ask(programs: &Programs, number: u32, arguments: [u64; 6]) -> Action {
    answer(&programs.filters, &Call { number, arch: ARCH[0], arguments })
}

#[test]
fn every_program_answers_as_the_policy_says() {
    let policy = Policy::parse(POLICY).unwrap();
    let mut asked = 0_usize;
    for profile in Profile::ALL {
        let programs = compile(POLICY, profile).unwrap();
        for (call, number) in policy.calls() {
            for arguments in policy.arguments(call) {
                let expected = policy.expected(profile, call, &arguments);
                let found = ask(&programs, number, arguments);
                assert_eq!(found, expected, "{profile}: {call}({arguments:x?})");
                asked += 1;
            }
        }
    }
    assert!(asked > 10_000, "{asked} questions");
}

#[test]
fn numbers_that_the_policy_does_not_name_are_not_there() {
    let policy = Policy::parse(POLICY).unwrap();
    let known: BTreeSet<u32> = policy.calls().into_iter().map(|(_, number)| number).collect();
    for profile in Profile::ALL {
        let programs = compile(POLICY, profile).unwrap();
        for number in (0..NUMBERS).chain([0x3fff_ffff, u32::MAX]).filter(|number| !known.contains(number)) {
            assert_eq!(ask(&programs, number, [0; 6]), Action::Errno(ENOSYS), "{profile}: {number}");
        }
    }
}

#[test]
fn row_100_a_foreign_abi_kills_the_process_whatever_it_calls() {
    for profile in Profile::ALL {
        let programs = compile(POLICY, profile).unwrap();
        for number in 0..NUMBERS {
            let foreign = Call { number, arch: ARCH[1], arguments: [0; 6] };
            assert_eq!(answer(&programs.filters, &foreign), Action::Kill, "{profile}: {number}");
            if cfg!(target_arch = "x86_64") {
                let x32 = Call { number: number | 0x4000_0000, arch: ARCH[0], arguments: [0; 6] };
                assert_eq!(answer(&programs.filters, &x32), Action::Kill, "{profile}: x32 {number}");
            }
        }
    }
}

/// The rows of the reference in words, so that a mistake in the file itself is seen too.
#[test]
fn what_must_be_refused_is_refused_in_every_profile() {
    let refused = |errno| Action::Errno(errno);
    for profile in Profile::ALL {
        let programs = compile(POLICY, profile).unwrap();
        for (call, arguments, expected) in [
            ("io_uring_setup", [0, 0, 0], refused(38)),
            ("clone3", [0, 0, 0], refused(38)),
            ("clone", [0x1000_0000 | 17, 0, 0], Action::Notify),
            ("clone", [1 << 32 | 0x2_0000, 0, 0], Action::Notify),
            ("clone", [0x003d_0f00, 0, 0], Action::Allow),
            ("unshare", [0, 0, 0], Action::Notify),
            ("setns", [0, 0, 0], Action::Notify),
            ("mount", [0, 0, 0], Action::Notify),
            ("fsopen", [0, 0, 0], Action::Notify),
            ("ptrace", [0, 0, 0], Action::Notify),
            ("bpf", [0, 0, 0], Action::Notify),
            ("keyctl", [0, 0, 0], Action::Notify),
            ("process_vm_readv", [0, 0, 0], Action::Notify),
            ("pidfd_getfd", [0, 0, 0], refused(1)),
            ("kexec_load", [0, 0, 0], Action::Kill),
            ("init_module", [0, 0, 0], Action::Kill),
            ("reboot", [0, 0, 0], Action::Kill),
            ("splice", [0, 0, 0], refused(22)),
            ("shmget", [0, 0, 0], refused(38)),
            ("mq_open", [0, 0, 0], refused(38)),
            ("mbind", [0, 0, 0], refused(1)),
            ("seccomp", [0, 0, 0], refused(1)),
            ("personality", [0x040_0000, 0, 0], refused(38)),
            ("ioctl", [0, 0x5412, 0], refused(38)),
            ("ioctl", [0, 1 << 32 | 0x5412, 0], refused(38)),
            ("ioctl", [0, 0x5401, 0], Action::Allow),
            ("prctl", [35, 0, 0], refused(38)),
            ("prctl", [15, 0, 0], Action::Allow),
            ("kill", [1, 9, 0], refused(1)),
            ("kill", [2, 9, 0], Action::Allow),
            ("socket", [1, 1, 0], Action::Allow),
            ("socket", [2, 1, 6], Action::Allow),
            ("socket", [10, 2, 17], Action::Allow),
            ("socket", [2, 3, 1], refused(93)),
            ("socket", [2, 1, 262], refused(93)),
            ("socket", [38, 5, 0], Action::Notify),
            ("socket", [40, 1, 0], Action::Notify),
            ("socket", [17, 3, 0], Action::Notify),
            ("socket", [33, 2, 10], Action::Notify),
            ("socket", [1 << 32 | 40, 1, 0], Action::Notify),
            ("socket", [16, 3, 0], refused(97)),
            ("socket", [16, 3, 12], Action::Notify),
            ("socketpair", [1, 1, 0], Action::Allow),
            ("socketpair", [30, 1, 0], Action::Notify),
            ("setsockopt", [0, 6, 31], refused(92)),
            ("setsockopt", [0, 17, 100], refused(92)),
            ("setsockopt", [0, 1, 25], refused(1)),
            ("setsockopt", [0, 0, 42], refused(1)),
            ("setsockopt", [0, 41, 64], refused(1)),
            ("setsockopt", [0, 6, 1], Action::Allow),
            ("getsockopt", [0, 0, 64], refused(1)),
        ] {
            let number = ScmpSyscall::from_name(call).map(i32::from).unwrap_or(-1);
            let number = u32::try_from(number).unwrap_or_else(|_| panic!("{call} has no number here"));
            let found = ask(&programs, number, [arguments[0], arguments[1], arguments[2], 0, 0, 0]);
            assert_eq!(found, expected, "{profile}: {call}({arguments:x?})");
        }
    }
}

#[test]
fn pid_1_may_call_what_the_policy_says_and_nothing_else() {
    let policy = Policy::parse(POLICY).unwrap();
    let programs = [compile(POLICY, Profile::Static).unwrap().init];
    let number = |call: &String| match policy.resolve(call) {
        Resolved::Number(number) => u32::try_from(i32::from(number)).ok(),
        Resolved::Absent | Resolved::Unknown => None,
    };
    let lines = policy.init.iter().flat_map(|line| &line.calls);
    let allowed: BTreeSet<u32> = lines.filter_map(number).collect();
    for at in 0..NUMBERS {
        let rules = || policy.init_if.iter().filter(|rule| number(&rule.call) == Some(at));
        let name = rules().map(|rule| rule.call.as_str()).next();
        for arguments in name.map_or(vec![[0; 6]], |name| policy.arguments(name)) {
            let expected = allowed.contains(&at) || rules().any(|rule| rule.holds(&arguments));
            let expected = if expected { Action::Allow } else { Action::Kill };
            let found = answer(&programs, &Call { number: at, arch: ARCH[0], arguments });
            assert_eq!(found, expected, "{at} {name:?} {arguments:x?}");
            let foreign = answer(&programs, &Call { number: at, arch: ARCH[1], arguments });
            assert_eq!(foreign, Action::Kill, "{at}");
        }
    }
    // In words, so that a mistake in the file is seen too.
    for call in ["execve", "openat", "openat2", "socket", "connect", "clone", "ptrace", "mprotect", "unshare", "prctl"]
    {
        assert!(!allowed.contains(&number(&call.to_owned()).unwrap()), "{call}");
    }
}

#[test]
fn any_allows_what_some_profile_allows() {
    let policy = Policy::parse(POLICY).unwrap();
    let any = compile(POLICY, Profile::Any).unwrap();
    for profile in Profile::ALL {
        let programs = compile(POLICY, profile).unwrap();
        for (call, number) in policy.calls() {
            for arguments in policy.arguments(call) {
                if ask(&programs, number, arguments) == Action::Allow {
                    assert_eq!(ask(&any, number, arguments), Action::Allow, "{profile}: {call}({arguments:x?})");
                }
            }
        }
    }
}

#[test]
fn pid_1_has_an_answer_for_every_call_that_waits_for_it() {
    let policy = Policy::parse(POLICY).unwrap();
    let programs = compile(POLICY, Profile::Any).unwrap();
    for (call, number) in policy.calls() {
        let mut asked = policy.arguments(call).into_iter().map(|arguments| ask(&programs, number, arguments));
        let waits = asked.any(|action| action == Action::Notify);
        let known = programs.tripwires.iter().any(|(tripwire, errno)| *tripwire == number && *errno > 0);
        assert_eq!(waits, known, "{call}");
        assert_eq!(programs.call_name(number), if waits { call } else { "unknown" });
    }
}
