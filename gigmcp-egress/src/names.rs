use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use crate::limits::Ipv4Net;
use crate::name::HostName;

/// The addresses that stand for names inside one sandbox. A name keeps its address for the life of the sandbox, and an
/// address never stands for a second name, so a connection tells which name it was meant for.
pub(crate) struct Names {
    pool: Ipv4Net,
    wildcard_names: usize,
    given: Mutex<Given>,
}

#[derive(Default)]
struct Given {
    by_name: HashMap<HostName, Ipv4Addr>,
    by_address: HashMap<Ipv4Addr, HostName>,
    wildcard_names: usize,
}

/// How a name is allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Named {
    /// A rule lists it.
    Exactly,
    /// A wildcard covers it, as it covers endlessly many.
    ByWildcard,
}

/// An address for a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// Given out now.
    First(Ipv4Addr),
    /// Given out before.
    Again(Ipv4Addr),
    /// The limit or the pool is exhausted.
    Exhausted,
}

impl Names {
    pub(crate) fn new(pool: Ipv4Net, wildcard_names: usize) -> Self {
        Self { pool, wildcard_names, given: Mutex::default() }
    }

    /// The address of a name that the grant allows.
    pub(crate) fn address(&self, host: &HostName, named: Named) -> Answer {
        let mut given = self.given.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(address) = given.by_name.get(host) {
            return Answer::Again(*address);
        }
        if named == Named::ByWildcard && given.wildcard_names >= self.wildcard_names {
            return Answer::Exhausted;
        }
        let next = u32::try_from(given.by_name.len() + 1).ok().and_then(|index| self.pool.host(index));
        let Some(address) = next else { return Answer::Exhausted };
        given.wildcard_names += usize::from(named == Named::ByWildcard);
        given.by_name.insert(host.clone(), address);
        given.by_address.insert(address, host.clone());
        Answer::First(address)
    }

    /// The name an address was given out for.
    pub(crate) fn name(&self, address: Ipv4Addr) -> Option<HostName> {
        self.given.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).by_address.get(&address).cloned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_address_and_wildcards_are_limited() {
        let names = Names::new("198.18.0.0/15".parse().unwrap(), 1);
        let host = |text: &str| text.parse::<HostName>().unwrap();
        let one = Ipv4Addr::new(198, 18, 0, 1);
        assert_eq!(names.address(&host("a.cdn.test"), Named::ByWildcard), Answer::First(one));
        assert_eq!(names.address(&host("a.cdn.test"), Named::ByWildcard), Answer::Again(one));
        assert_eq!(names.address(&host("b.cdn.test"), Named::ByWildcard), Answer::Exhausted, "EGR-048");
        assert_eq!(names.address(&host("api.test"), Named::Exactly), Answer::First(Ipv4Addr::new(198, 18, 0, 2)));
        assert_eq!(names.name(one), Some(host("a.cdn.test")));
        assert_eq!(names.name(Ipv4Addr::new(198, 18, 0, 3)), None, "EGR-054");
    }

    #[test]
    fn an_exhausted_pool_gives_nothing_twice() {
        let names = Names::new("198.18.0.0/30".parse().unwrap(), 9);
        let answers: Vec<_> =
            ["a.test", "b.test", "c.test"].map(|name| names.address(&name.parse().unwrap(), Named::Exactly)).into();
        assert_eq!(
            answers,
            [
                Answer::First(Ipv4Addr::new(198, 18, 0, 1)),
                Answer::First(Ipv4Addr::new(198, 18, 0, 2)),
                Answer::Exhausted
            ]
        );
    }
}
