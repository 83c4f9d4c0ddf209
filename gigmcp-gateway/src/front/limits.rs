//! What connections may cost.

use std::time::Duration;

/// Bounds on what clients can cost before they are known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at once; against descriptors and memory that run out. Default 10,000.
    pub(crate) max_connections: usize,
    /// The same of one address; against one client that takes all places. Default 1,024.
    pub(crate) max_connections_per_address: usize,
    /// Time for the TLS handshake; against clients that begin many. Default 10 s.
    pub(crate) handshake: Duration,
    /// Time for the head of a request, from its first byte; against heads that come a byte at a time. Default 15 s.
    pub(crate) head: Duration,
    /// How long a connection may be without a request. Default 120 s, as clients keep some for 90 s.
    pub(crate) idle: Duration,
    /// How long a client may leave a ready part of an answer unread; against clients that never read. Default 60 s.
    pub(crate) unread: Duration,
    /// Bytes of a head; against heads that fill the memory. Default 32 KiB.
    pub(crate) max_head_bytes: usize,
    /// Fields in a head; against those that make all who look for one slow. Default 100.
    pub(crate) max_fields: usize,
    /// Requests at once on one HTTP/2 connection. Default 128.
    pub(crate) max_streams: u32,
    /// Requests of one HTTP/2 connection that its client may give up before they are answered, as long as they are fewer than
    /// half; against requests that are made only to be given up (CVE-2023-44487). Default 100.
    pub(crate) max_abandoned: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: 1024,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(15),
            idle: Duration::from_secs(120),
            unread: Duration::from_secs(60),
            max_head_bytes: 32 << 10,
            max_fields: 100,
            max_streams: 128,
            max_abandoned: 100,
        }
    }
}
