//! Addresses for the links of sandboxes.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A range of IPv4 addresses that is split into /30s, one for the link of each sandbox: the second
/// address is the host's, the third the sandbox's.
///
/// Clones share the range. Nothing else that the host can reach may use it.
///
/// ```
/// use gigmcp_sandbox::VethPool;
///
/// let pool: VethPool = "10.199.0.0/16".parse()?;
/// assert_eq!(pool.links(), 16_384);
/// # Ok::<(), gigmcp_sandbox::InvalidVethPool>(())
/// ```
#[derive(Clone, Debug)]
pub struct VethPool {
    range: Arc<Range>,
    proxy_port: u16,
    cool_down: Duration,
}

#[derive(Debug)]
struct Range {
    first: u32,
    prefix: u8,
    leases: Mutex<Leases>,
}

#[derive(Debug)]
struct Leases {
    /// In use or cooling down.
    taken: BTreeSet<u32>,
    /// Which of them are free again, and from when on.
    cooling: Vec<(Instant, u32)>,
    /// Where the search for a free one starts, so that each rests as long as possible.
    next: u32,
}

/// A range that cannot be split into links of sandboxes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a range for links is written as 10.199.0.0/16: the first of its addresses, which must be those of \
     ordinary machines, and a prefix of 8 to 30 bits"
)]
pub struct InvalidVethPool;

/// Every link of a [`VethPool`] is in use, or was until just now.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("all {links} links of {pool} are in use ({cooling} of them ended a moment ago); use a wider range")]
pub struct PoolExhausted {
    /// The range.
    pub pool: String,
    /// How many links it holds.
    pub links: u32,
    /// How many of them have ended and wait for [`VethPool::cool_down`] to pass.
    pub cooling: u32,
}

impl VethPool {
    /// The range that starts at this address.
    ///
    /// # Errors
    /// [`InvalidVethPool`] if it does not start there, is not of 8 to 30 bits, or holds addresses that
    /// ordinary machines do not have.
    pub fn new(first: Ipv4Addr, prefix: u8) -> Result<Self, InvalidVethPool> {
        if !(8..=30).contains(&prefix) {
            return Err(InvalidVethPool);
        }
        let (bits, within) = (first.to_bits(), u32::MAX >> prefix);
        let range = bits..=bits | within;
        let link_local = first.is_link_local() || range.contains(&Ipv4Addr::new(169, 254, 0, 0).to_bits());
        // With 8 bits or more, all have the first octet in common.
        if bits & within != 0 || link_local || matches!(first.octets()[0], 0 | 127 | 224..) {
            return Err(InvalidVethPool);
        }
        // Two host processes that share a range start at different places of it.
        let next = std::process::id().wrapping_mul(2_654_435_761) % (1 << (30 - prefix));
        let leases = Mutex::new(Leases { taken: BTreeSet::new(), cooling: Vec::new(), next });
        let range = Arc::new(Range { first: bits, prefix, leases });
        Ok(Self { range, proxy_port: PROXY_PORT, cool_down: COOL_DOWN })
    }

    /// The port of the proxy at the host's end of each link. Default 3128.
    ///
    /// No other program of the host may listen at this port of all addresses, now or later.
    #[must_use]
    pub fn proxy_port(mut self, port: u16) -> Self {
        self.proxy_port = port;
        self
    }

    /// How long the addresses of a sandbox that has ended are not used again, so that what was meant
    /// for it does not reach another. Default 60 s, for which TCP remembers a connection.
    #[must_use]
    pub fn cool_down(mut self, time: Duration) -> Self {
        self.cool_down = time;
        self
    }

    /// How many sandboxes can have a link at a time.
    #[must_use]
    pub fn links(&self) -> u32 {
        1 << (30 - self.range.prefix)
    }

    /// Takes the addresses of one link.
    pub(crate) fn lease(&self) -> Result<Lease, PoolExhausted> {
        let mut leases = self.range.lock();
        leases.forget_cold();
        let links = self.links();
        let free = (0..links).map(|step| (leases.next + step) % links).find(|index| {
            // Another process may use the range too; the name of its link tells.
            !leases.taken.contains(index) && !exists(&interface(self.range.host(*index)))
        });
        let Some(index) = free else {
            let cooling = u32::try_from(leases.cooling.len()).unwrap_or(u32::MAX);
            return Err(PoolExhausted { pool: self.to_string(), links, cooling });
        };
        leases.taken.insert(index);
        leases.next = (index + 1) % links;
        Ok(Lease { pool: self.clone(), index, linked: AtomicBool::new(false) })
    }
}

impl FromStr for VethPool {
    type Err = InvalidVethPool;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, prefix) = text.split_once('/').ok_or(InvalidVethPool)?;
        let plain = prefix.bytes().all(|byte| byte.is_ascii_digit());
        match (first.parse(), prefix.parse()) {
            (Ok(first), Ok(prefix)) if plain => Self::new(first, prefix),
            _ => Err(InvalidVethPool),
        }
    }
}

impl fmt::Display for VethPool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", Ipv4Addr::from_bits(self.range.first), self.range.prefix)
    }
}

impl Range {
    fn lock(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host's address of a link.
    fn host(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first + 4 * index + 1)
    }
}

impl Leases {
    fn forget_cold(&mut self) {
        let now = Instant::now();
        let Self { taken, cooling, .. } = self;
        cooling.retain(|(until, index)| *until > now || !taken.remove(index));
    }
}

/// The addresses of one link. Once it is dropped they cool down.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: VethPool,
    index: u32,
    linked: AtomicBool,
}

impl Lease {
    /// The address of the host's end.
    pub(crate) fn host(&self) -> Ipv4Addr {
        self.pool.range.host(self.index)
    }

    /// The address of the sandbox's end.
    pub(crate) fn sandbox(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.host().to_bits() + 1)
    }

    /// Where the sandbox finds its proxy.
    pub(crate) fn proxy(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.host(), self.pool.proxy_port)
    }

    /// The name of the host's end: one that no other link of the host can have, because it is made
    /// of the address.
    pub(crate) fn interface(&self) -> String {
        interface(self.host())
    }

    /// Whether this is the first time that somebody asks: a lease is for one sandbox.
    pub(crate) fn take(&self) -> bool {
        !self.linked.swap(true, Ordering::Relaxed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = self.pool.range.lock();
        if *self.linked.get_mut() {
            leases.cooling.push((Instant::now() + self.pool.cool_down, self.index));
        } else {
            leases.taken.remove(&self.index);
        }
    }
}

fn interface(host: Ipv4Addr) -> String {
    format!("gig{:08x}", host.to_bits())
}

/// Whether the host has a link of this name.
fn exists(name: &str) -> bool {
    #[cfg(target_os = "linux")]
    return crate::veth::link::index(name).is_ok();
    #[cfg(not(target_os = "linux"))]
    return name.is_empty();
}

/// Where proxies are expected, as with the hand-off.
const PROXY_PORT: u16 = 3128;
const COOL_DOWN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_of_ordinary_machines_are_split() {
        for (case, text, links) in [
            ("twin of the refusals", "10.199.0.0/16", Some(16_384)),
            ("the smallest", "192.0.2.4/30", Some(1)),
            ("the largest", "10.0.0.0/8", Some(1 << 22)),
            ("not its first address", "10.199.0.4/16", None),
            ("too small for two machines", "10.199.0.0/31", None),
            ("too large", "10.0.0.0/7", None),
            ("this network", "0.0.0.0/8", None),
            ("loopback", "127.0.0.0/16", None),
            ("link-local, with the address of metadata", "169.254.0.0/16", None),
            ("link-local within", "169.0.0.0/8", None),
            ("multicast", "224.0.0.0/8", None),
            ("no prefix", "10.199.0.0", None),
            ("a sign", "10.199.0.0/+16", None),
            ("an address of IPv6", "fd00::/16", None),
        ] {
            let found = text.parse::<VethPool>().map(|pool| pool.links()).ok();
            assert_eq!(found, links, "{case}: {text}");
        }
    }

    #[test]
    fn live_links_differ_and_an_exhausted_pool_names_itself() {
        let pool: VethPool = "192.0.2.8/29".parse().expect("a range");
        let (one, other) = (pool.lease().expect("free"), pool.clone().lease().expect("free"));
        let mut hosts = [one.host().to_string(), other.host().to_string()];
        hosts.sort();
        assert_eq!(hosts, ["192.0.2.13", "192.0.2.9"]);
        assert_eq!(one.sandbox().to_bits(), one.host().to_bits() + 1);
        assert_ne!(one.interface(), other.interface());
        let error = pool.lease().expect_err("none is left");
        assert_eq!(error, PoolExhausted { pool: "192.0.2.8/29".to_owned(), links: 2, cooling: 0 });
        drop(one);
        assert!(pool.lease().is_ok(), "no sandbox ever had it");
    }

    #[test]
    fn addresses_that_a_sandbox_had_rest_before_another_gets_them() {
        let pool: VethPool = "192.0.2.16/30".parse().expect("a range");
        for (cool_down, cooling) in [(Duration::ZERO, None), (Duration::from_secs(3600), Some(1))] {
            let lease = pool.clone().cool_down(cool_down).lease().expect("free");
            assert!(lease.take() && !lease.take(), "for one sandbox");
            drop(lease);
            assert_eq!(pool.lease().err().map(|error| error.cooling), cooling);
        }
    }
}
