//! Where connections arrive: TLS, HTTP/1.1 and HTTP/2, and what both may cost before it is known who asks.
//!
//! What is behind it sees requests for one host, of one client address, without what could be read in two ways; and what it
//! answers leaves with the headers that all answers have.

mod answer;
mod arriving;
mod connection;
mod gate;
mod head;
mod intake;
mod limits;
mod proxies;
mod refused;
mod stats;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod vitals;

use std::{future::Future, io, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};

use crate::traces::Traces;
pub(crate) use arriving::Arriving;
pub(crate) use intake::Intake;
pub(crate) use limits::Limits;
pub(crate) use proxies::{Proxies, TrustedNetwork};
pub(crate) use stats::Stats;
pub(crate) use tls::{Follower, Tls, TlsFiles};

/// Whoever answers what the front lets through.
pub(crate) trait Answers: Send + Sync + 'static {
    /// What its answers consist of.
    type Body: http_body::Body<Data = Bytes, Error = io::Error> + Send + Unpin + 'static;

    /// Answers one request. Never fails: every fault is an answer.
    fn answer(&self, request: Request<Arriving>, caller: Caller) -> impl Future<Output = Response<Self::Body>> + Send;

    /// What the path is counted as: one of few, whatever is asked for.
    fn route(&self, path: &str) -> &'static str;
}

/// Whose request it is. All who hold somebody back, or write down where somebody came from, have the address from here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Caller {
    pub(crate) address: IpAddr,
    /// Whether the client speaks TLS, with us or with a proxy that says so.
    pub(crate) is_https: bool,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
struct Peer {
    address: IpAddr,
    is_tls: bool,
}

/// What all connections share.
pub(crate) struct Front<A> {
    answers: Arc<A>,
    tls: Option<Arc<Tls>>,
    proxies: Proxies,
    limits: Limits,
    stats: Arc<Stats>,
    traces: Traces,
}

impl<A: Answers> Front<A> {
    /// A front before these answers.
    pub(crate) fn new(
        answers: Arc<A>,
        tls: Option<Arc<Tls>>,
        proxies: Proxies,
        limits: Limits,
        stats: Arc<Stats>,
    ) -> Self {
        Self { answers, tls, proxies, limits, stats, traces: Traces::default() }
    }

    /// The same, with a span for each request.
    pub(crate) fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }
}
