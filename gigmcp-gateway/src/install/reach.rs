//! What may be dialled for an index or an image: the public internet, and what the operator named.

use std::{collections::BTreeSet, net::IpAddr, str::FromStr};

use gigmcp_egress::{AddressGuard, PrivateNet};

/// One thing that an operator names beside the public internet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Named {
    /// A host, wherever it is.
    Host(String),
    Network(PrivateNet),
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.contains('/') {
            true => {
                text.parse().map(Self::Network).map_err(|error: gigmcp_egress::InvalidPrivateNet| error.to_string())
            }
            false => {
                let host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
                let valid = !text.is_empty() && text.len() <= 253 && text.bytes().all(host);
                let named = valid.then(|| Self::Host(text.to_ascii_lowercase()));
                named.ok_or_else(|| "give a host without a port, or a network such as 10.0.0.0/8".to_owned())
            }
        }
    }
}

/// Says what may be dialled.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    guard: AddressGuard,
    hosts: BTreeSet<String>,
}

impl Reach {
    pub(super) fn new(named: &[Named]) -> Self {
        let networks = named.iter().filter_map(|named| match named {
            Named::Network(network) => Some(*network),
            Named::Host(_) => None,
        });
        let hosts = named.iter().filter_map(|named| match named {
            Named::Host(host) => Some(host.clone()),
            Named::Network(_) => None,
        });
        Self { guard: AddressGuard::permitting(networks), hosts: hosts.collect() }
    }

    /// This host too: the operator named it elsewhere.
    pub(super) fn and(mut self, host: &str) -> Self {
        self.hosts.insert(host.to_ascii_lowercase());
        self
    }

    pub(super) fn allows(&self, host: &str, address: IpAddr) -> bool {
        self.hosts.contains(host) || self.guard.check(&[address], 443).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_and_what_was_named_is_dialled() {
        let named = ["registry.internal", "10.1.0.0/16"].map(|text| text.parse().expect("a name"));
        let reach = Reach::new(&named).and("Index.Internal");
        for (host, address, expected) in [
            ("ghcr.io", "140.82.121.33", true), // twin of the refusals
            ("registry.internal", "127.0.0.1", true),
            ("index.internal", "192.168.0.1", true),
            ("other.internal", "10.1.2.3", true),
            ("ghcr.io", "127.0.0.1", false),
            ("ghcr.io", "10.2.0.1", false),
            ("ghcr.io", "169.254.169.254", false),
            ("ghcr.io", "::ffff:192.168.0.1", false),
            ("evil.registry.internal", "127.0.0.1", false),
        ] {
            assert_eq!(reach.allows(host, address.parse().expect("an address")), expected, "{host} {address}");
        }
        for text in ["", "a b", "127.0.0.0/8", "10.0.0.0/8x", "host:443/x"] {
            assert!(text.parse::<Named>().is_err(), "{text:?}");
        }
    }
}
