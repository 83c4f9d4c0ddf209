use std::time::Duration;

/// How long registries may take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// For an address, a connection and TLS; 15 s.
    pub connect: Duration,
    /// Until an answer begins; 30 s.
    pub answer: Duration,
    /// Between two pieces of content; 30 s.
    pub idle: Duration,
    /// On average, once [`grace`](Self::grace) has passed; 16 KiB/s. Against servers that never stop sending a little.
    pub slowest_bytes_per_second: u64,
    /// 60 s.
    pub grace: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            slowest_bytes_per_second: 16 << 10,
            grace: Duration::from_secs(60),
        }
    }
}

impl Timeouts {
    /// For content of this size, at most.
    pub(super) fn whole(&self, bytes: u64) -> Duration {
        self.grace + Duration::from_secs(bytes / self.slowest_bytes_per_second.max(1))
    }
}
