use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::private_net::PrivateNet;

/// An address that passed the guard. Only [`AddressGuard`] makes one, so nothing else can be dialled.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CheckedAddr(SocketAddr);

impl CheckedAddr {
    /// The address and port.
    pub fn socket_addr(self) -> SocketAddr {
        self.0
    }
}

/// Lets through addresses of the public internet only, and of private networks that an operator named. No setting lets
/// through an address of this host, of a link, of a metadata service, or one inside another.
///
/// Sources: the IANA IPv4 and IPv6 special-purpose address registries (RFC 6890 and successors), the multicast ranges, and
/// the metadata services of the large clouds, one of which has a public address. An IPv4 address inside an IPv6 address
/// (mapped, compatible, NAT64, 6to4, Teredo, ISATAP, SIIT) is judged as well.
///
/// ```
/// use gigmcp_egress::{AddressDenied, AddressGuard};
///
/// let guard = AddressGuard::new();
/// let checked = guard.check(&["93.184.216.34".parse()?], 443)?;
/// assert_eq!(checked[0].socket_addr().port(), 443);
///
/// // One bad address spoils the whole answer.
/// let mixed = ["93.184.216.34".parse()?, "10.0.0.1".parse()?];
/// assert_eq!(guard.check(&mixed, 443), Err(AddressDenied::SpecialPurpose("10.0.0.1".parse()?)));
/// assert!(AddressGuard::permitting(["10.0.0.0/24".parse()?]).check(&mixed, 443).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AddressGuard {
    permitted: Arc<[PrivateNet]>,
}

impl AddressGuard {
    /// A guard that lets through public addresses only.
    pub fn new() -> Self {
        Self::default()
    }

    /// A guard that lets through addresses of these networks too.
    pub fn permitting(networks: impl IntoIterator<Item = PrivateNet>) -> Self {
        Self { permitted: networks.into_iter().collect() }
    }

    /// Checks a whole answer of a resolver: all or nothing.
    ///
    /// # Errors
    /// [`AddressDenied`] names the first address that is not public.
    pub fn check(&self, answer: &[IpAddr], port: u16) -> Result<Vec<CheckedAddr>, AddressDenied> {
        if answer.is_empty() {
            return Err(AddressDenied::NoAddress);
        }
        answer
            .iter()
            .map(|address| self.check_one(*address).map(|()| CheckedAddr(SocketAddr::new(*address, port))))
            .collect()
    }

    fn check_one(&self, address: IpAddr) -> Result<(), AddressDenied> {
        let embedded = match address {
            IpAddr::V4(_) => Vec::new(),
            IpAddr::V6(v6) => embedded_v4(v6),
        };
        let is_metadata = match address {
            IpAddr::V4(v4) => METADATA_V4.contains(&v4),
            IpAddr::V6(v6) => METADATA_V6.contains(&v6) || embedded.iter().any(|v4| METADATA_V4.contains(v4)),
        };
        if is_metadata {
            return Err(AddressDenied::Metadata(address));
        }
        let is_special = match address {
            IpAddr::V4(v4) => within_v4(v4, SPECIAL_V4),
            IpAddr::V6(v6) => !within_v6(v6, GLOBAL_UNICAST_V6) || within_v6(v6, SPECIAL_V6),
        };
        let is_permitted = || self.permitted.iter().any(|net| net.contains(address));
        // What is inside an address is never permitted: whoever named a network did not mean ways around it.
        let hides_special = embedded.into_iter().any(|v4| within_v4(v4, SPECIAL_V4));
        if hides_special || is_special && !is_permitted() {
            return Err(AddressDenied::SpecialPurpose(address));
        }
        Ok(())
    }
}

/// Why an answer of a resolver was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressDenied {
    /// There was no address.
    #[error("the name has no address")]
    NoAddress,
    /// Loopback, private, link-local, multicast, documentation, reserved, or an embedding of one.
    #[error("{0} is not an address of the public internet")]
    SpecialPurpose(IpAddr),
    /// The metadata service of a cloud.
    #[error("{0} is the address of a metadata service")]
    Metadata(IpAddr),
}

/// Every IPv4 address that a router or translator could read out of `address`.
fn embedded_v4(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let mut found = Vec::new();
    match (a, b, c, d, e, f) {
        // Compatible, mapped (RFC 4291) and SIIT (RFC 2765) are all zero before them; NAT64 has two prefixes (RFC 6052, 8215).
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0, 0, 0, 0, 0xffff, 0) => found.push(v4(g, h)),
        (0x64, 0xff9b, 0, 0, 0, 0) => found.push(v4(g, h)),
        (0x64, 0xff9b, 1, ..) => found.extend([v4(g, h), v4(d, e)]),
        // 6to4 (RFC 3056).
        (0x2002, ..) => found.push(v4(b, c)),
        // Teredo (RFC 4380): the server, and the client with every bit turned.
        (0x2001, 0, ..) => found.extend([v4(c, d), v4(!g, !h)]),
        _ => {}
    }
    // ISATAP (RFC 5214) works under any prefix; the interface identifier gives it away.
    if e & !0x0300 == 0 && f == 0x5efe {
        found.push(v4(g, h));
    }
    found
}

fn within_v4(address: Ipv4Addr, ranges: &[(Ipv4Addr, u32)]) -> bool {
    let same = |first: Ipv4Addr, prefix: u32| (address.to_bits() ^ first.to_bits()).leading_zeros() >= prefix;
    ranges.iter().any(|(first, prefix)| same(*first, *prefix))
}

fn within_v6(address: Ipv6Addr, ranges: &[(Ipv6Addr, u32)]) -> bool {
    let same = |first: Ipv6Addr, prefix: u32| (address.to_bits() ^ first.to_bits()).leading_zeros() >= prefix;
    ranges.iter().any(|(first, prefix)| same(*first, *prefix))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u32) -> (Ipv4Addr, u32) {
    (Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u32) -> (Ipv6Addr, u32) {
    (Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// <https://www.iana.org/assignments/iana-ipv4-special-registry/>, multicast, and the reserved rest.
const SPECIAL_V4: &[(Ipv4Addr, u32)] = &[
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 31, 196, 0, 24),
    v4(192, 52, 193, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(192, 175, 48, 0, 24),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

/// All that is assigned for use between networks; everything outside is loopback, local, multicast or unassigned.
const GLOBAL_UNICAST_V6: &[(Ipv6Addr, u32)] = &[v6(0x2000, 0, 0, 3), v6(0x64, 0xff9b, 0, 96)];

/// <https://www.iana.org/assignments/iana-ipv6-special-registry/>, the part inside global unicast.
const SPECIAL_V6: &[(Ipv6Addr, u32)] = &[
    v6(0x2001, 0, 0, 23),
    v6(0x2001, 0xdb8, 0, 32),
    v6(0x2002, 0, 0, 16),
    v6(0x2620, 0x4f, 0x8000, 48),
    v6(0x3fff, 0, 0, 20),
];

/// AWS, GCP, Azure and most others; AWS ECS and EKS; Alibaba; Oracle; Azure WireServer, which is a public address.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// AWS over IPv6: instance metadata, EKS, time service, resolver; GCP; Scaleway; Akamai. They lie in `fc00::/7`, so a
/// network that an operator names may hold them.
const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1),
];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_pass() {
        for (case, address, expected) in [
            ("public", "93.184.216.34", "ok"),
            ("public DNS", "8.8.8.8", "ok"),
            ("public, before the shared range", "100.63.255.255", "ok"),
            ("public, after the private range", "172.32.0.1", "ok"),
            ("public IPv6", "2606:2800:220:1::1", "ok"),
            ("NAT64 of a public address", "64:ff9b::5db8:d822", "ok"),
            ("EGR-033 this network", "0.0.0.0", "special"),
            ("EGR-036 loopback", "127.0.0.1", "special"),
            ("private", "10.0.0.1", "special"),
            ("shared", "100.64.0.1", "special"),
            ("link-local", "169.254.1.1", "special"),
            ("private, end", "172.31.255.255", "special"),
            ("protocol assignments", "192.0.0.8", "special"),
            ("documentation", "203.0.113.9", "special"),
            ("benchmark, our own pool", "198.19.255.255", "special"),
            ("EGR-033 broadcast", "255.255.255.255", "special"),
            ("EGR-033 multicast", "224.0.0.1", "special"),
            ("EGR-033 unspecified", "::", "special"),
            ("EGR-028 loopback", "::1", "special"),
            ("EGR-028 mapped", "::ffff:127.0.0.1", "special"),
            ("mapped, even of a public address", "::ffff:8.8.8.8", "special"),
            ("EGR-028 compatible", "::127.0.0.1", "special"),
            ("EGR-032 6to4", "2002:7f00:1::", "special"),
            ("EGR-032 Teredo", "2001:0:4136:e378:8000:63bf:80ff:fffe", "special"),
            ("EGR-032 SIIT", "::ffff:0:7f00:1", "special"),
            ("EGR-032 ISATAP", "2606:2800:220:1:0:5efe:10.0.0.1", "special"),
            ("EGR-032 ISATAP, universal", "2606:2800:220:1:200:5efe:10.0.0.1", "special"),
            ("NAT64 of loopback", "64:ff9b::7f00:1", "special"),
            ("local NAT64", "64:ff9b:1::a00:1", "special"),
            ("EGR-033 multicast IPv6", "ff02::1", "special"),
            ("link-local IPv6", "fe80::1", "special"),
            ("site-local IPv6", "fec0::1", "special"),
            ("unique local", "fd12:3456::1", "special"),
            ("documentation IPv6", "2001:db8::1", "special"),
            ("new documentation IPv6", "3fff::1", "special"),
            ("discard", "100::1", "special"),
            ("dummy", "100:0:0:1::1", "special"),
            ("benchmarking IPv6", "2001:2::1", "special"),
            ("ORCHID", "2001:20::1", "special"),
            ("drone identities", "2001:30::1", "special"),
            ("AS112", "192.175.48.1", "special"),
            ("AS112 IPv6", "2620:4f:8000::1", "special"),
            ("multicast relays", "192.52.193.1", "special"),
            ("6to4 relays", "192.88.99.1", "special"),
            ("reserved", "240.0.0.1", "special"),
            ("the first beyond protocol assignments", "192.0.1.1", "ok"),
            ("segment routing", "5f00::1", "special"),
            ("EGR-034 metadata", "169.254.169.254", "metadata"),
            ("EGR-034 ECS", "169.254.170.2", "metadata"),
            ("EGR-034 EKS", "169.254.170.23", "metadata"),
            ("EGR-034 Alibaba", "100.100.100.200", "metadata"),
            ("EGR-034 Oracle", "192.0.0.192", "metadata"),
            ("EGR-034 Azure, a public address", "168.63.129.16", "metadata"),
            ("the address beside it", "168.63.129.17", "ok"),
            ("EGR-034 AWS IPv6", "fd00:ec2::254", "metadata"),
            ("EGR-034 EKS IPv6", "fd00:ec2::23", "metadata"),
            ("metadata, mapped", "::ffff:169.254.169.254", "metadata"),
            ("metadata through NAT64", "64:ff9b::a83f:8110", "metadata"),
        ] {
            assert_eq!(kind(&AddressGuard::new(), address), expected, "{case}: {address}");
        }
    }

    fn kind(guard: &AddressGuard, address: &str) -> &'static str {
        match guard.check(&[address.parse().unwrap()], 443) {
            Ok(_) => "ok",
            Err(AddressDenied::SpecialPurpose(_)) => "special",
            Err(AddressDenied::Metadata(_)) => "metadata",
            Err(AddressDenied::NoAddress) => "none",
        }
    }

    #[test]
    fn a_named_network_opens_itself_and_nothing_else() {
        let all = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
        let guard = AddressGuard::permitting(all.map(|net| net.parse().unwrap()));
        let narrow = AddressGuard::permitting(["10.20.0.0/16".parse().unwrap()]);
        for (case, guard, address, expected) in [
            ("private", &guard, "10.20.30.40", "ok"),
            ("private IPv6", &guard, "fd12:3456::1", "ok"),
            ("shared", &guard, "100.64.0.1", "ok"),
            ("public still", &guard, "93.184.216.34", "ok"),
            ("part", &narrow, "10.20.30.40", "ok"),
            ("beside the part", &narrow, "10.21.0.1", "special"),
            ("other private", &narrow, "192.168.0.1", "special"),
            ("loopback", &guard, "127.0.0.1", "special"),
            ("link-local", &guard, "169.254.1.1", "special"),
            ("EGR-034 metadata", &guard, "169.254.169.254", "metadata"),
            ("EGR-034 Alibaba, in a named network", &guard, "100.100.100.200", "metadata"),
            ("EGR-034 AWS, in a named network", &guard, "fd00:ec2::254", "metadata"),
            ("Scaleway, in a named network", &guard, "fd00:42::42", "metadata"),
            ("Akamai, in a named network", &guard, "fd00:a9fe:a9fe::1", "metadata"),
            ("EGR-028 mapped", &guard, "::ffff:10.20.30.40", "special"),
            ("NAT64 of it", &guard, "64:ff9b::a14:1e28", "special"),
            ("EGR-032 ISATAP in a named network", &guard, "fd12::5efe:10.20.30.40", "special"),
            ("EGR-032 ISATAP of loopback in it", &guard, "fd12::5efe:127.0.0.1", "special"),
            ("EGR-032 6to4 of it", &guard, "2002:a14:1e28::", "special"),
        ] {
            assert_eq!(kind(guard, address), expected, "{case}: {address}");
        }
    }

    #[test]
    fn one_bad_address_spoils_the_answer() {
        let (good, bad) = ("93.184.216.34".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let guard = AddressGuard::new();
        assert_eq!(guard.check(&[good, bad], 443), Err(AddressDenied::SpecialPurpose(bad)), "EGR-042");
        assert_eq!(guard.check(&[], 443), Err(AddressDenied::NoAddress));
        assert_eq!(guard.check(&[good], 443).unwrap().len(), 1);
    }
}
