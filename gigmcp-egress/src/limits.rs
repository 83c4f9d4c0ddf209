use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use crate::rule::Rate;

/// The bounds on what a sandbox or an upstream can make us spend. Each says which attack it answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Open connections of one identity; more wait in the kernel's queue. Against descriptor exhaustion. Default 256.
    pub connections: usize,
    /// Connections of a [`ProxyPort`](crate::ProxyPort) that have not said whose they are; for one more, the oldest of the address that
    /// has the most is closed. Against those who never say who they are. Default 1,024.
    pub port_connections: usize,
    /// Bytes of one request or response head. Against endless heads. Default 64 KiB, at least 8 KiB.
    pub head_bytes: usize,
    /// Header fields of one head. Against hash flooding. Default 100.
    pub header_fields: usize,
    /// Streams open on one HTTP/2 connection, towards a sandbox or an upstream; more are refused. Against floods of streams.
    /// Default 100.
    pub streams: u32,
    /// HTTP/2 streams of one identity on all its connections; more are refused. Bounds what the connections together can
    /// make us do at once. Default 256.
    pub streams_per_identity: usize,
    /// Streams that a client of HTTP/2 may give up before their answer has ended, beyond those it let end; also how many
    /// malformed ones it may send. Then its connection is closed. Against rapid resets (CVE-2023-44487). Default 100.
    pub reset_streams: usize,
    /// Bytes of a request target. Default 16 KiB.
    pub target_bytes: usize,
    /// Bytes of a request body that are read and searched before anything is sent; a longer or chunked body is searched while
    /// it is sent. Bounds memory per request. Default 64 KiB.
    pub inspected_body_bytes: u64,
    /// Bytes of a request body that a credential is put into, or that is signed; it is read whole. Bounds memory per request.
    /// Default 1 MiB.
    pub rewritten_body_bytes: u64,
    /// Such bodies of one identity at a time, until the head of the answer; more wait. Default 128.
    pub rewritten_bodies: usize,
    /// Requests of one identity a second, and at once. Against floods; a rule can have a lower [`Rate`](crate::Rate). Default
    /// 5,000.
    pub requests_per_second: u32,
    /// Bytes of content that a byte of a body with a content coding may hold, beyond the first MiB. Against bombs. Default 200.
    pub decoded_ratio: u64,
    /// Refusals of one identity a second; more are answered later. Against a sandbox that fills the log for all. Default 500.
    pub refusals_per_second: u32,
    /// Content codings of one identity that are undone at a time, of requests and as many of answers, each of which may need a window of 16 MiB; more wait for
    /// `lookup_deadline`, and are refused then. Default 16.
    pub decoders: usize,
    /// Connections that are being opened for one identity at a time; more wait. Against descriptor exhaustion. Default 64.
    pub dials: usize,
    /// From accepting a connection to the end of its TLS handshake, or, at a [`ProxyPort`](crate::ProxyPort), to the first request that
    /// says whose it is. Against slow handshakes. Default 10 s.
    pub handshake_deadline: Duration,
    /// From the beginning of a wait for a request to the end of its head, so also how long a kept-alive connection may rest.
    /// Against slow heads. Default 75 s.
    pub head_deadline: Duration,
    /// How often the rules are asked again while an answer keeps coming or a connection of WebSocket or plain TCP is open, so how
    /// long after a revocation one may live.
    /// Default 2 s.
    pub revocation_interval: Duration,
    /// Without a byte in either direction on a connection, downstream or upstream. Against stalled bodies and readers.
    /// Default 10 min, so that quiet event streams live.
    pub idle_deadline: Duration,
    /// For one answer of the resolver. Default 5 s.
    pub resolve_deadline: Duration,
    /// Lookups of one identity that the resolver has not ended, whether somebody still waits for them or not; over it, names
    /// are not resolved. Against names that never resolve, each of which holds a thread. Default 8.
    pub lookups_per_identity: usize,
    /// The same of all identities together. Default 64.
    pub lookups: usize,
    /// For TCP and TLS to one upstream address. Default 10 s.
    pub connect_deadline: Duration,
    /// For one answer of `Grants`, `Credentials` or `AuditSink`. Default 5 s.
    pub lookup_deadline: Duration,
    /// From the end of the request to the head of the answer. Default 10 min: models think long.
    pub response_deadline: Duration,
    /// Resting upstream connections kept per identity and host. Default 32.
    pub pooled_per_host: usize,
    /// Resting upstream connections kept per identity; the one that rested longest is closed for the next. Against
    /// connections to every name under a wildcard. Default 64.
    pub pooled_per_identity: usize,
    /// How long an upstream connection may rest before it is closed. Default 60 s.
    pub pooled_deadline: Duration,
    /// TLS configurations kept per identity, one per name. Bounds memory under a wildcard. Default 256.
    pub tls_names: usize,
    /// Certificates made for one sandbox; over it, handshakes are refused. Against a wildcard's endless names, each of which
    /// costs a signature. Default 200 in 4 s, so that many at once and 50 a second from then on.
    pub mints: Rate,
    /// Where the addresses come from that stand for names inside the sandbox. They are never dialled: inside, every address
    /// is local, and no literal address is ever allowed. Default 28.18.0.0/15, of a block that is assigned and not routed,
    /// because servers that guard themselves against private addresses refuse RFC 2544's 198.18.0.0/15 as one.
    pub dns_pool: Ipv4Net,
    /// Seconds a DNS answer may be kept. Default 30.
    pub dns_ttl_seconds: u32,
    /// Names one identity may resolve through wildcards; names a rule lists are not counted. Against data in names. Default 256.
    pub dns_wildcard_names: usize,
    /// DNS questions of one identity a second; more are dropped. Default 200.
    pub dns_questions_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            port_connections: 1024,
            head_bytes: 64 << 10,
            header_fields: 100,
            streams: 100,
            streams_per_identity: 256,
            reset_streams: 100,
            target_bytes: 16 << 10,
            inspected_body_bytes: 64 << 10,
            rewritten_body_bytes: 1 << 20,
            rewritten_bodies: 128,
            requests_per_second: 5000,
            refusals_per_second: 500,
            decoders: 16,
            dials: 64,
            decoded_ratio: 200,
            handshake_deadline: Duration::from_secs(10),
            head_deadline: Duration::from_secs(75),
            revocation_interval: Duration::from_secs(2),
            idle_deadline: Duration::from_secs(600),
            resolve_deadline: Duration::from_secs(5),
            lookups_per_identity: 8,
            lookups: 64,
            connect_deadline: Duration::from_secs(10),
            lookup_deadline: Duration::from_secs(5),
            response_deadline: Duration::from_secs(600),
            pooled_per_host: 32,
            pooled_per_identity: 64,
            pooled_deadline: Duration::from_secs(60),
            tls_names: 256,
            mints: Rate { count: 200, per: Duration::from_secs(4) },
            dns_pool: Ipv4Net { first: Ipv4Addr::new(28, 18, 0, 0), prefix: 15 },
            dns_ttl_seconds: 30,
            dns_wildcard_names: 256,
            dns_questions_per_second: 200,
        }
    }
}

/// A range of IPv4 addresses, written `198.18.0.0/15`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ipv4Net {
    first: Ipv4Addr,
    prefix: u8,
}

impl Ipv4Net {
    /// The address at `index`, counted from the first; `None` beyond the end and for the first and last, which some
    /// systems keep for the network itself.
    pub(crate) fn host(&self, index: u32) -> Option<Ipv4Addr> {
        let last = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
        (index > 0 && index < last).then(|| Ipv4Addr::from_bits(self.first.to_bits() + index))
    }
}

impl FromStr for Ipv4Net {
    type Err = InvalidIpv4Net;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, prefix) = text.split_once('/').ok_or(InvalidIpv4Net)?;
        let (first, prefix): (Ipv4Addr, u8) =
            (first.parse().map_err(|_| InvalidIpv4Net)?, prefix.parse().map_err(|_| InvalidIpv4Net)?);
        let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        let valid = (8..=30).contains(&prefix) && first.to_bits() & host_bits == 0;
        valid.then_some(Self { first, prefix }).ok_or(InvalidIpv4Net)
    }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// The text is not the first address of a range and a prefix of 8 to 30.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an IPv4 range; write its first address and a prefix of 8 to 30, such as 198.18.0.0/15")]
pub struct InvalidIpv4Net;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_gives_its_inner_addresses() {
        let net: Ipv4Net = "198.18.0.0/30".parse().expect("a range");
        let hosts: Vec<_> = (0..6).map(|index| net.host(index).map(|address| address.to_string())).collect();
        let expected = [None, Some("198.18.0.1"), Some("198.18.0.2"), None, None, None];
        assert_eq!(hosts, expected.map(|address| address.map(str::to_owned)));
        for text in ["198.18.0.0", "198.18.0.1/15", "198.18.0.0/33", "198.18.0.0/0", "x/15", ""] {
            assert_eq!(text.parse::<Ipv4Net>(), Err(InvalidIpv4Net), "{text:?}");
        }
    }
}
