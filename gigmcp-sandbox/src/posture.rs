//! Reads the enforcement off what the kernel said inside.

use std::collections::BTreeMap;
use std::fs;

use crate::enforcement::{Enforcement, Layer, Level};
use crate::protocol::SERVER_ID;

/// What PID 1 and the server's process reported, joined with what was asked for.
pub(crate) struct Posture<'a> {
    /// Pairs as the bootstrap sent them.
    pub(crate) found: &'a BTreeMap<String, String>,
    /// Resource limits asked for.
    pub(crate) rlimits: &'a [(u64, u64)],
    /// Allowed calls the filter could not name.
    pub(crate) unknown_calls: &'a [String],
    /// What the control group says of itself.
    pub(crate) cgroup_limits: Level,
    /// What the host does with the memory of a program that crashed; nothing if that cannot be read.
    pub(crate) core_pattern: Option<&'a str>,
}

impl Posture<'_> {
    pub(crate) fn enforcement(&self) -> Enforcement {
        Enforcement::new(|layer| self.level(layer))
    }

    fn level(&self, layer: Layer) -> Level {
        match layer {
            Layer::User => self.namespace("user").unwrap_or_else(|| self.user_map()),
            Layer::Mount => self.namespace("mnt").unwrap_or_else(|| self.image_path()),
            Layer::Pid => self.namespace("pid").unwrap_or(Level::Full),
            Layer::Net => self.namespace("net").unwrap_or(Level::Full),
            Layer::Ipc => self.namespace("ipc").unwrap_or(Level::Full),
            Layer::Uts => self.namespace("uts").unwrap_or(Level::Full),
            Layer::Cgroup => self.namespace("cgroup").unwrap_or(Level::Full),
            Layer::NetnsOwnership => match self.value("netns_owner") {
                "outside" => Level::Full,
                other => none(format!("its owner is {other:?}"), UNEXPECTED),
            },
            Layer::Capabilities => self.capabilities(),
            Layer::NoNewPrivs => match self.status("NoNewPrivs") {
                "1" => Level::Full,
                other => none(format!("the kernel says {other:?}"), UNEXPECTED),
            },
            Layer::Seccomp => self.seccomp(),
            Layer::Landlock => self.landlock(),
            Layer::Rlimits => self.limits(),
            Layer::CgroupLimits => self.cgroup_limits.clone(),
            Layer::ReadOnlyRoot => match self.value("root").split(',').next() {
                Some("ro") => Level::Full,
                _ => none("/ is writable".to_owned(), UNEXPECTED),
            },
            Layer::NestedUserns => match self.value("nested_userns") {
                "28" => Level::Full, // ENOSPC: as many as there may be below the outer user namespace
                "" => none("it was not tried".to_owned(), UNEXPECTED),
                other => Level::Partial(format!("refused with error {other}, not by the limit")),
            },
        }
    }

    fn value(&self, key: &str) -> &str {
        self.found.get(key).map_or("", String::as_str)
    }

    fn status(&self, field: &str) -> &str {
        let line = |line: &'_ str| line.split_once(':').filter(|(name, _)| *name == field).is_some();
        let found = self.value("status").lines().find(|found| line(found));
        found.and_then(|found| found.split_once(':')).map_or("", |(_, value)| value.trim())
    }

    /// `None` if the namespace differs from ours.
    fn namespace(&self, name: &str) -> Option<Level> {
        let inside = self.value(&format!("ns.{name}"));
        let ours = fs::read_link(format!("/proc/self/ns/{name}"));
        let ours = ours.map(|link| link.to_string_lossy().into_owned());
        match ours {
            _ if inside.is_empty() => {
                Some(none("the kernel does not have it".to_owned(), "use a kernel with all namespaces"))
            }
            Ok(ours) if ours != inside => None,
            Ok(_) => Some(none("it is the host's".to_owned(), UNEXPECTED)),
            Err(error) => Some(Level::Partial(format!("it could not be compared: {error}"))),
        }
    }

    fn image_path(&self) -> Level {
        match self.value("image_path_shown") {
            "true" => Level::Partial("no overlay could be made, so the image's path can be read inside".to_owned()),
            _ => Level::Full,
        }
    }

    fn user_map(&self) -> Level {
        let map: Vec<&str> = self.value("uid_map").split_whitespace().collect();
        match map[..] {
            [inside, _, "1"] if inside == SERVER_ID.to_string() => Level::Full,
            _ => none(format!("unexpected user map {map:?}"), UNEXPECTED),
        }
    }

    fn capabilities(&self) -> Level {
        let left = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].into_iter().find(|set| {
            let value = self.status(set);
            value.is_empty() || value.bytes().any(|digit| digit != b'0')
        });
        match left {
            None => Level::Full,
            Some(set) => none(format!("{set} is not empty"), UNEXPECTED),
        }
    }

    fn seccomp(&self) -> Level {
        let mode = self.status("Seccomp");
        if mode != "2" {
            return none(format!("the kernel says mode {mode:?}"), UNEXPECTED);
        }
        let count = self.status("Seccomp_filters").parse::<u32>();
        let around = self.value("filters_around").parse::<u32>();
        match count.ok().zip(around.ok()) {
            Some((count, around)) if count == around + 2 => {}
            _ => return none("a filter is missing".to_owned(), UNEXPECTED),
        }
        match self.value("tripwire") {
            TRIPWIRE_ANSWER if self.unknown_calls.is_empty() => Level::Full,
            TRIPWIRE_ANSWER => Level::Partial(format!(
                "refused although allowed, as this libseccomp does not know them: {}",
                self.unknown_calls.join(", ")
            )),
            "" => Level::Partial(
                "calls that no server makes are refused but not told: another listener is in force around us"
                    .to_owned(),
            ),
            other => Level::Partial(format!("PID 1 does not answer tripwires: error {other}")),
        }
    }

    fn landlock(&self) -> Level {
        let gap = match self.value("landlock").parse::<u32>() {
            Ok(0) | Err(_) => {
                return none(
                    "the kernel has no Landlock, or it is off".to_owned(),
                    "use Linux 6.12 or later with landlock in CONFIG_LSM or the lsm= boot parameter",
                );
            }
            Ok(abi @ 1..=3) => {
                format!("ABI {abi}: no TCP ports (4), device ioctls (5) or scopes (6)")
            }
            Ok(abi @ 4) => format!("ABI {abi}: no device ioctls (5) or scopes (6)"),
            Ok(abi @ 5) => format!("ABI {abi}: no scopes for signals and abstract sockets (6)"),
            Ok(_) => return Level::Full,
        };
        Level::Partial(gap)
    }

    fn limits(&self) -> Level {
        let missing = self.rlimits.iter().find(|(resource, value)| {
            let now = self.value(&format!("rlimit.{resource}")).parse::<u64>();
            !now.is_ok_and(|now| now <= *value)
        });
        match missing {
            None => self.core_dumps(),
            Some((resource, value)) => none(format!("resource {resource} is not limited to {value}"), UNEXPECTED),
        }
    }

    /// The limit on core dumps keeps the kernel from writing files and from starting a handler. To a socket
    /// it sends what crashed whatever the limit (Linux 6.16 and later).
    fn core_dumps(&self) -> Level {
        match self.core_pattern {
            Some(pattern) if !pattern.starts_with('@') => Level::Full,
            Some(_) => Level::Partial(
                "a crash is dumped past every limit to the host's handler, as kernel.core_pattern names a socket; fix: \
                 set it to a pipe (|program) or a file"
                    .to_owned(),
            ),
            None => Level::Partial("kernel.core_pattern, by which a crash may be dumped, cannot be read".to_owned()),
        }
    }
}

pub(crate) fn none(why: String, fix: &str) -> Level {
    Level::None { why, fix: fix.to_owned() }
}

/// What PID 1 says to the `setns` by which it is tried, as the policy has it: `EPERM`.
const TRIPWIRE_ANSWER: &str = "1";
const UNEXPECTED: &str = "this should not happen; please report it";

#[cfg(test)]
mod tests {
    use super::*;

    fn seccomp(status: &str, around: &str, tripwire: Option<&str>, unknown_calls: &[String]) -> Level {
        let mut found = BTreeMap::from([
            ("status".to_owned(), status.to_owned()),
            ("filters_around".to_owned(), around.to_owned()),
        ]);
        found.extend(tripwire.map(|answer| ("tripwire".to_owned(), answer.to_owned())));
        Posture { found: &found, rlimits: &[], unknown_calls, cgroup_limits: Level::Full, core_pattern: None }.seccomp()
    }

    #[test]
    fn limits_are_full_only_if_a_crash_is_not_sent_to_the_host() {
        let found = BTreeMap::from([("rlimit.4".to_owned(), "1".to_owned())]);
        let level = |core_pattern| {
            let rlimits = &[(4, 1)];
            Posture { found: &found, rlimits, unknown_calls: &[], cgroup_limits: Level::Full, core_pattern }.limits()
        };
        for pattern in ["", "core\n", "core.%p\n", "/var/crash/%e@%h\n", "|/usr/share/apport/apport %p\n"] {
            assert_eq!(level(Some(pattern)), Level::Full, "{pattern:?}");
        }
        for pattern in [Some("@/run/core.sock\n"), Some("@@/run/core.sock\n"), Some("@"), None] {
            assert!(matches!(level(pattern), Level::Partial(_)), "{pattern:?}");
        }
    }

    #[test]
    fn seccomp_is_full_only_with_both_filters_and_a_listener_that_answers() {
        let status = |mode: u32, filters: u32| format!("Seccomp:\t{mode}\nSeccomp_filters:\t{filters}\n");
        assert_eq!(seccomp(&status(2, 2), "0", Some("1"), &[]), Level::Full);
        assert_eq!(seccomp(&status(2, 3), "1", Some("1"), &[]), Level::Full, "in a container");
        for (case, status, around, tripwire) in [
            ("no filter", status(0, 0), "0", None),
            ("one is missing", status(2, 1), "0", Some("1")),
            ("one is the container's", status(2, 2), "1", Some("1")),
            ("not told how many", "Seccomp:\t2\n".to_owned(), "0", Some("1")),
        ] {
            assert!(matches!(seccomp(&status, around, tripwire, &[]), Level::None { .. }), "{case}");
        }
        let unknown = ["getrandom".to_owned()];
        for (case, tripwire, unknown) in [
            ("no listener", None, &[][..]),
            ("nobody answers", Some("38"), &[]),
            ("a call without a name", Some("1"), &unknown),
        ] {
            let level = seccomp(&status(2, 2), "0", tripwire, unknown);
            assert!(matches!(level, Level::Partial(_)), "{case}: {level}");
        }
    }
}
