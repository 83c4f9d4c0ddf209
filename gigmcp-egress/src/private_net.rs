use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::address::AddressGuard;
use crate::name::HostName;
use crate::pattern::HostPattern;

/// A network of addresses that are private by definition and that an operator may name: `10.0.0.0/8`, `172.16.0.0/12`,
/// `192.168.0.0/16`, `100.64.0.0/10` or `fc00::/7`, or a part of one.
///
/// Nothing else can be named. Loopback, link-local and multicast addresses are this host's own, or everybody's at once.
///
/// ```
/// use gigmcp_egress::{InvalidPrivateNet, PrivateNet};
///
/// let net: PrivateNet = "10.20.0.0/16".parse()?;
/// assert!(net.contains("10.20.30.40".parse().unwrap()));
/// assert_eq!("127.0.0.0/8".parse::<PrivateNet>(), Err(InvalidPrivateNet::NotPrivate));
/// # Ok::<(), InvalidPrivateNet>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PrivateNet {
    first: IpAddr,
    prefix: u32,
}

impl PrivateNet {
    /// Whether the address is of this network, as it stands: an IPv4 address inside an IPv6 address is not.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= self.prefix
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= self.prefix
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The same address with what is behind the prefix made zero.
    fn base(&self) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                Ipv4Addr::from_bits(first.to_bits() & !u32::MAX.checked_shr(self.prefix).unwrap_or(0)).into()
            }
            IpAddr::V6(first) => {
                Ipv6Addr::from_bits(first.to_bits() & !u128::MAX.checked_shr(self.prefix).unwrap_or(0)).into()
            }
        }
    }
}

impl FromStr for PrivateNet {
    type Err = InvalidPrivateNet;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, prefix) = text.split_once('/').ok_or(InvalidPrivateNet::Form)?;
        let is_plain = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let first: IpAddr = first.parse().map_err(|_| InvalidPrivateNet::Form)?;
        let prefix: u32 = prefix.parse().ok().filter(|_| is_plain).ok_or(InvalidPrivateNet::Form)?;
        let net = Self { first, prefix };
        let bits = if first.is_ipv4() { 32 } else { 128 };
        if prefix > bits || net.base() != first {
            return Err(InvalidPrivateNet::Form);
        }
        let is_private = PRIVATE.iter().any(|private| private.prefix <= prefix && private.contains(first));
        if is_private { Ok(net) } else { Err(InvalidPrivateNet::NotPrivate) }
    }
}

impl fmt::Display for PrivateNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// Why a text is not a [`PrivateNet`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPrivateNet {
    /// Not the first address of a network and its prefix.
    #[error("not a network; write its first address and a prefix, such as 10.20.0.0/16")]
    Form,
    /// Not one of the networks that may be named, or wider than one.
    #[error(
        "not a private network; only 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7 and parts of them may be reached"
    )]
    NotPrivate,
}

/// Which hosts may have addresses of which private networks.
#[derive(Default)]
pub(crate) struct PrivateNetworks(Vec<(HostPattern, PrivateNet)>);

impl PrivateNetworks {
    pub(crate) fn permit(&mut self, host: HostPattern, net: PrivateNet) {
        self.0.push((host, net));
    }

    /// The guard for the addresses of this host.
    pub(crate) fn guard(&self, host: &HostName) -> AddressGuard {
        let named = self.0.iter().filter(|(pattern, _)| pattern.matches(host));
        AddressGuard::permitting(named.map(|(_, net)| *net))
    }
}

const fn v4(a: u8, b: u8, prefix: u32) -> PrivateNet {
    PrivateNet { first: IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), prefix }
}

/// RFC 1918, RFC 6598 and RFC 4193.
const PRIVATE: [PrivateNet; 5] = [
    v4(10, 0, 8),
    v4(172, 16, 12),
    v4(192, 168, 16),
    v4(100, 64, 10),
    PrivateNet { first: IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), prefix: 7 },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_networks_can_be_named() {
        use InvalidPrivateNet::{Form, NotPrivate};
        for (case, text, expected) in [
            ("whole", "10.0.0.0/8", Ok(())),
            ("part", "172.16.5.0/24", Ok(())),
            ("one address", "192.168.1.7/32", Ok(())),
            ("shared", "100.64.0.0/10", Ok(())),
            ("IPv6", "fd12:3456::/32", Ok(())),
            ("wider than private", "10.0.0.0/7", Err(NotPrivate)),
            ("wider than private, aligned", "8.0.0.0/5", Err(NotPrivate)),
            ("everything", "0.0.0.0/0", Err(NotPrivate)),
            ("everything IPv6", "::/0", Err(NotPrivate)),
            ("public", "8.8.8.0/24", Err(NotPrivate)),
            ("loopback", "127.0.0.0/8", Err(NotPrivate)),
            ("loopback IPv6", "::1/128", Err(NotPrivate)),
            ("link-local", "169.254.0.0/16", Err(NotPrivate)),
            ("EGR-034 metadata", "169.254.169.254/32", Err(NotPrivate)),
            ("link-local IPv6", "fe80::/10", Err(NotPrivate)),
            ("multicast", "224.0.0.0/4", Err(NotPrivate)),
            ("multicast IPv6", "ff00::/8", Err(NotPrivate)),
            ("mapped private", "::ffff:10.0.0.0/104", Err(NotPrivate)),
            ("behind the private range", "172.32.0.0/12", Err(NotPrivate)),
            ("bits behind the prefix", "10.0.0.1/8", Err(Form)),
            ("no prefix", "10.0.0.0", Err(Form)),
            ("signed prefix", "10.0.0.0/+8", Err(Form)),
            ("prefix too long", "10.0.0.0/33", Err(Form)),
            ("name", "intranet/8", Err(Form)),
        ] {
            assert_eq!(text.parse::<PrivateNet>().map(|_| ()), expected, "{case}: {text:?}");
        }
    }

    #[test]
    fn a_network_holds_its_own_addresses_only() {
        let net: PrivateNet = "10.20.0.0/16".parse().expect("a network");
        for (address, expected) in [
            ("10.20.0.0", true),
            ("10.20.255.255", true),
            ("10.21.0.0", false),
            ("::ffff:10.20.0.1", false),
            ("8.8.8.8", false),
        ] {
            assert_eq!(net.contains(address.parse().expect("an address")), expected, "{address}");
        }
    }
}
