//! Who the client is, as far as a proxy that is trusted says so.

mod forwarded;

use std::{fmt, net::IpAddr, str::FromStr};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use super::{Caller, Peer, refused::Refused};

/// A network whose hosts are believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TrustedNetwork(IpNet);

/// A text that is no network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "give an address, or a network without bits behind its prefix, such as 10.0.0.0/8; everybody cannot be trusted"
)]
pub(crate) struct InvalidNetwork;

/// The proxies that are believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Vec<TrustedNetwork>);

/// What a proxy says of a request.
#[derive(Debug, Default, Eq, PartialEq)]
struct Said {
    /// From the client to the last proxy but one.
    hops: Vec<IpAddr>,
    scheme: Option<Scheme>,
    host: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scheme {
    Http,
    Https,
}

impl Proxies {
    pub(crate) fn new(networks: Vec<TrustedNetwork>) -> Self {
        Self(networks)
    }

    /// Whether this is one of them.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.0.contains(&address))
    }

    /// Whose request it is. The headers that say so are taken out of it, whoever wrote them, so that nobody else reads them.
    pub(super) fn caller(&self, peer: Peer, headers: &mut HeaderMap) -> Result<(Caller, Option<String>), Refused> {
        let direct = Caller { address: peer.address, is_https: peer.is_tls };
        let said = if self.trusts(peer.address) { self.said(headers)? } else { None };
        for name in NAMES {
            headers.remove(name);
        }
        let Some(said) = said else { return Ok((direct, None)) };
        let is_https = said.scheme.map_or(direct.is_https, |scheme| scheme == Scheme::Https);
        Ok((Caller { address: self.first_untrusted(peer.address, &said.hops), is_https }, said.host))
    }

    fn said(&self, headers: &HeaderMap) -> Result<Option<Said>, Refused> {
        let plain =
            [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST].iter().any(|name| headers.contains_key(name));
        match (headers.contains_key(header::FORWARDED), plain) {
            (false, false) => Ok(None),
            (true, true) => Err(Refused::Forwarded("there are both Forwarded and X-Forwarded headers\n")),
            (true, false) => {
                let elements = forwarded::parse(&list(headers, &header::FORWARDED)?)?;
                // What was said of the client's own request, by the first proxy that is trusted.
                let trusted = |hop: &&forwarded::Element| self.trusts(hop.by_whom);
                let behind = elements.iter().rev().take_while(trusted).count();
                let of = elements.len().saturating_sub(behind + 1);
                let Some(element) = elements.get(of) else { return Ok(None) };
                let (scheme, host) = (element.scheme, element.host.clone());
                Ok(Some(Said { scheme, host, hops: elements.iter().map(|element| element.by_whom).collect() }))
            }
            (false, true) => {
                let hops = entries(&list(headers, &X_FORWARDED_FOR)?).map(address).collect::<Option<Vec<_>>>();
                let hops = hops.ok_or(Refused::Forwarded("X-Forwarded-For is not a list of addresses\n"))?;
                let scheme = match one(&list(headers, &X_FORWARDED_PROTO)?)? {
                    None => None,
                    Some(text) => Some(text.parse()?),
                };
                Ok(Some(Said { hops, scheme, host: one(&list(headers, &X_FORWARDED_HOST)?)? }))
            }
        }
    }

    /// Each proxy is believed about whoever was before it, and so on; what an untrusted one says of others is not.
    fn first_untrusted(&self, peer: IpAddr, hops: &[IpAddr]) -> IpAddr {
        let mut current = peer;
        for hop in hops.iter().rev() {
            if !self.trusts(current) {
                break;
            }
            current = *hop;
        }
        current
    }
}

impl FromStr for TrustedNetwork {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let network = match text.contains('/') {
            true => text.parse::<IpNet>().map_err(|_| InvalidNetwork)?,
            false => text.parse::<IpAddr>().map(IpNet::from).map_err(|_| InvalidNetwork)?,
        };
        let mapped = matches!(network.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
        let exact = network.trunc() == network && network.prefix_len() > 0 && !mapped;
        exact.then_some(Self(network)).ok_or(InvalidNetwork)
    }
}

impl fmt::Display for TrustedNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for Scheme {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        match text {
            _ if text.eq_ignore_ascii_case("https") => Ok(Self::Https),
            _ if text.eq_ignore_ascii_case("http") => Ok(Self::Http),
            _ => Err(Refused::Forwarded("the forwarded protocol is neither http nor https\n")),
        }
    }
}

/// All values of a header, which are one list (RFC 9110, section 5.3).
fn list(headers: &HeaderMap, name: &HeaderName) -> Result<String, Refused> {
    let values: Result<Vec<&str>, _> = headers.get_all(name).iter().map(|value| value.to_str()).collect();
    let joined = values.map_err(|_| Refused::Forwarded("a forwarding header is not ASCII\n"))?.join(",");
    match joined.len() <= MAX_LIST {
        true => Ok(joined),
        false => Err(Refused::Forwarded("a forwarding header is too long\n")),
    }
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// What all of them say.
fn one(list: &str) -> Result<Option<String>, Refused> {
    let mut all = entries(list);
    let Some(first) = all.next() else { return Ok(None) };
    match all.all(|other| other == first) {
        true => Ok(Some(first.to_owned())),
        false => Err(Refused::Forwarded("the proxies do not agree about the protocol or the host\n")),
    }
}

/// An address, which some write with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match (bracketed, text.split_once(':')) {
        (Some((host, port)), _) => (host.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6)?, port.strip_prefix(':')),
        (None, Some((host, port))) if !port.contains(':') => (host.parse().ok()?, Some(port)),
        (None, _) => (text.parse().ok()?, None),
    };
    let rest_fits = match (bracketed, port) {
        (_, Some(port)) => !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()),
        (Some((_, rest)), None) => rest.is_empty(),
        (None, None) => true,
    };
    rest_fits.then(|| host.to_canonical())
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// All that say where a request comes from.
const NAMES: [HeaderName; 7] = [
    header::FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-real-ip"),
];
/// More proxies than there are before anybody.
const MAX_LIST: usize = 2048;

#[cfg(test)]
mod tests;
