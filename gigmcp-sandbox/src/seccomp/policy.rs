//! The policy as it stands in its file.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;
use serde::Deserialize;

use crate::Profile;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    pub(super) allow: Vec<Line>,
    pub(super) tripwire: Vec<Line>,
    pub(super) refuse: Vec<Line>,
    pub(super) kill: Vec<Line>,
    pub(super) init: Vec<Line>,
    pub(super) numbers: BTreeMap<String, i32>,
    pub(super) allow_if: Vec<Rule>,
    pub(super) tripwire_if: Vec<Rule>,
    pub(super) refuse_if: Vec<Rule>,
    pub(super) init_if: Vec<Rule>,
}

/// What holds for calls whatever their arguments.
#[derive(Debug, Deserialize)]
#[serde(try_from = "LineText")]
pub(super) struct Line {
    pub(super) calls: Vec<String>,
    scope: Scope,
    errno: Option<i32>,
}

/// What holds for a call with certain arguments.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RuleText")]
pub(super) struct Rule {
    pub(super) call: String,
    scope: Scope,
    errno: Option<i32>,
    /// The alternatives, each a list of tests that must all hold.
    pub(super) when: Vec<Vec<Test>>,
}

/// One comparison as libseccomp and the kernel make it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Test {
    /// The bits under the mask are these.
    Masked { argument: u32, mask: u32, value: u32 },
    /// All 64 bits make a larger number.
    Above { argument: u32, value: u64 },
}

impl Policy {
    /// Reads a policy and refuses one that contradicts itself.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let lines = policy.allow.iter().chain(&policy.kill).map(|line| line.errno);
        if lines.chain(policy.allow_if.iter().map(|rule| rule.errno)).any(|errno| errno.is_some()) {
            return Err("what is allowed, or kills, has no error".to_owned());
        }
        let lines = policy.tripwire.iter().chain(&policy.refuse).map(|line| (&line.scope, line.errno));
        let rules = policy.tripwire_if.iter().chain(&policy.refuse_if).map(|rule| (&rule.scope, rule.errno));
        if lines.chain(rules).any(|(scope, errno)| !scope.is_all() || errno.is_none()) {
            return Err("what is refused has an error, the same in every profile".to_owned());
        }
        if policy.kill.iter().any(|line| !line.scope.is_all()) {
            return Err("what kills does so in every profile".to_owned());
        }
        let lines = policy.init.iter().map(|line| (&line.scope, line.errno));
        let rules = policy.init_if.iter().map(|rule| (&rule.scope, rule.errno));
        if lines.chain(rules).any(|(scope, errno)| !scope.is_all() || errno.is_some()) {
            return Err("what PID 1 may call has no error, and is the same in every profile".to_owned());
        }
        policy.check_calls()?;
        Ok(policy)
    }

    /// Every call has one line, or rules; PID 1 knows one error a call.
    fn check_calls(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for call in self.lines().flat_map(|line| &line.calls) {
            if !seen.insert(call) {
                return Err(format!("{call} is named twice"));
            }
        }
        let mut errors = BTreeMap::new();
        for rule in self.allow_if.iter().chain(&self.tripwire_if) {
            if seen.contains(&rule.call) {
                return Err(format!("{} has rules and a line without conditions", rule.call));
            }
            if let Some(errno) = rule.errno
                && *errors.entry(&rule.call).or_insert(errno) != errno
            {
                return Err(format!("{} has tripwires with different errors", rule.call));
            }
        }
        let mut seen = BTreeSet::new();
        let rules = self.init_if.iter().map(|rule| &rule.call);
        match self.init.iter().flat_map(|line| &line.calls).chain(rules).find(|call| !seen.insert(*call)) {
            Some(call) => Err(format!("{call} is named twice for PID 1")),
            None => Ok(()),
        }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.allow.iter().chain(&self.tripwire).chain(&self.refuse).chain(&self.kill)
    }
}

impl Line {
    pub(super) fn holds_in(&self, profile: Profile) -> bool {
        self.scope.contains(profile)
    }

    /// The error of a refusal.
    pub(super) fn errno(&self) -> i32 {
        self.errno.expect("a policy whose refusals have no error is not parsed")
    }
}

impl Rule {
    pub(super) fn holds_in(&self, profile: Profile) -> bool {
        self.scope.contains(profile)
    }

    /// The error of a refusal.
    pub(super) fn errno(&self) -> i32 {
        self.errno.expect("a policy whose refusals have no error is not parsed")
    }
}

/// The profiles that something holds in; `any` is always among them.
#[derive(Debug)]
enum Scope {
    All,
    Only(Vec<Profile>),
}

impl Scope {
    fn parse(profiles: Option<Vec<String>>) -> Result<Self, String> {
        let Some(names) = profiles else { return Ok(Self::All) };
        let parse = |name: String| name.parse().map_err(|_| format!("there is no profile {name}"));
        names.into_iter().map(parse).collect::<Result<_, _>>().map(Self::Only)
    }

    fn contains(&self, profile: Profile) -> bool {
        match self {
            Self::All => true,
            Self::Only(profiles) => profile == Profile::Any || profiles.contains(&profile),
        }
    }

    fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineText {
    calls: String,
    reason: String,
    profiles: Option<Vec<String>>,
    errno: Option<Error>,
}

impl TryFrom<LineText> for Line {
    type Error = String;

    fn try_from(text: LineText) -> Result<Self, String> {
        let calls = text.calls.split_whitespace().map(str::to_owned).collect();
        give_reason(&text.calls, &text.reason)?;
        Ok(Self { calls, scope: Scope::parse(text.profiles)?, errno: text.errno.map(Error::number) })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    call: String,
    reason: String,
    profiles: Option<Vec<String>>,
    errno: Option<Error>,
    when: Vec<Vec<Comparison>>,
}

impl TryFrom<RuleText> for Rule {
    type Error = String;

    fn try_from(text: RuleText) -> Result<Self, String> {
        give_reason(&text.call, &text.reason)?;
        let mut when = Vec::new();
        for all in &text.when {
            let mut joined = vec![Vec::new()];
            for comparison in all {
                let tests = comparison.tests()?;
                let with = |have: &Vec<Test>| {
                    let one = |test: &Test| have.iter().chain([test]).copied().collect::<Vec<_>>();
                    tests.iter().map(one).collect::<Vec<_>>()
                };
                joined = joined.iter().flat_map(with).collect();
            }
            when.extend(joined);
        }
        Ok(Self { call: text.call, scope: Scope::parse(text.profiles)?, errno: text.errno.map(Error::number), when })
    }
}

fn give_reason(name: &str, reason: &str) -> Result<(), String> {
    if reason.is_empty() { Err(format!("{name} has no reason")) } else { Ok(()) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Comparison {
    argument: u32,
    mask: Option<u32>,
    is: Option<Vec<u32>>,
    any_bit: Option<u32>,
    above: Option<u64>,
}

impl Comparison {
    /// The tests of which one must hold.
    fn tests(&self) -> Result<Vec<Test>, String> {
        let argument = self.argument;
        let masked = |mask, value| Test::Masked { argument, mask, value };
        match (&self.is, self.any_bit, self.above, self.mask) {
            (Some(values), None, None, mask) => {
                Ok(values.iter().map(|value| masked(mask.unwrap_or(u32::MAX), *value)).collect())
            }
            (None, Some(bits), None, None) => {
                let each = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| bits & bit != 0);
                Ok(each.map(|bit| masked(bit, bit)).collect())
            }
            (None, None, Some(value), None) => Ok(vec![Test::Above { argument, value }]),
            _ => Err("a comparison has one of `is`, `any_bit` and `above`".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
enum Error {
    #[serde(rename = "EPERM")]
    Perm,
    #[serde(rename = "EINVAL")]
    Inval,
    #[serde(rename = "EAFNOSUPPORT")]
    Afnosupport,
    #[serde(rename = "EPROTONOSUPPORT")]
    Protonosupport,
    #[serde(rename = "EOPNOTSUPP")]
    Opnotsupp,
    #[serde(rename = "ENOPROTOOPT")]
    Noprotoopt,
}

impl Error {
    fn number(self) -> i32 {
        let errno = match self {
            Self::Perm => Errno::PERM,
            Self::Inval => Errno::INVAL,
            Self::Afnosupport => Errno::AFNOSUPPORT,
            Self::Protonosupport => Errno::PROTONOSUPPORT,
            Self::Opnotsupp => Errno::OPNOTSUPP,
            Self::Noprotoopt => Errno::NOPROTOOPT,
        };
        errno.raw_os_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::POLICY;

    #[test]
    fn a_policy_with_a_mistake_is_refused() {
        assert!(Policy::parse(POLICY).is_ok(), "the twin");
        for (case, from, to) in [
            ("unknown field", "argument = 0", "argumnet = 0"),
            ("unknown error", "errno = \"EINVAL\"", "errno = \"EWHAT\""),
            ("no reason", "reason = \"the usual tools of kernel exploits\"", "reason = \"\""),
            ("unknown profile", "profiles = [\"node\"]", "profiles = [\"ruby\"]"),
            ("allowed with an error", "reason = \"keys\"", "reason = \"keys\", errno = \"EPERM\""),
            ("refused for a profile", "reason = \"devices\"", "reason = \"devices\", profiles = []"),
            ("refused without an error", "calls = \"mknod mknodat\", errno = \"EPERM\"", "calls = \"mknod\""),
            ("named twice", "calls = \"unshare setns\"", "calls = \"unshare setns open\""),
            ("a line and rules", "calls = \"getrandom\"", "calls = \"getrandom clone\""),
            ("PID 1 refused", "calls = \"wait4\", reason", "calls = \"wait4\", errno = \"EPERM\", reason"),
            ("twice for PID 1", "calls = \"brk munmap\"", "calls = \"brk munmap kill\""),
            ("two errors for PID 1", "call = \"socketpair\"\nerrno = \"EAF", "call = \"clone\"\nerrno = \"EAF"),
            ("two comparisons in one", "any_bit = 0x7E020000", "any_bit = 0x7E020000, above = 1"),
            ("no comparison", "any_bit = 0x7E020000", "mask = 1"),
        ] {
            let broken = POLICY.replacen(from, to, 1);
            assert_ne!(broken, POLICY, "{case}: nothing was changed");
            assert!(Policy::parse(&broken).is_err(), "{case}");
        }
    }

    #[test]
    fn comparisons_are_multiplied_out() {
        let rule: Rule = toml::from_str(
            "call = 'a'\nreason = 'b'\nwhen = [[{ argument = 0, is = [1, 2] }, { argument = 1, any_bit = 6 }]]",
        )
        .expect("a rule");
        let masked = |argument, mask, value| Test::Masked { argument, mask, value };
        let all = |value, bit| vec![masked(0, u32::MAX, value), masked(1, bit, bit)];
        assert_eq!(rule.when, [all(1, 2), all(1, 4), all(2, 2), all(2, 4)]);
    }
}
