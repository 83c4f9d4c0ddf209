//! A virtual link between a sandbox and the host: addresses, and the host's end.

#[cfg(target_os = "linux")]
mod link;
#[cfg(target_os = "linux")]
mod listen;
mod pool;

#[cfg(target_os = "linux")]
pub(crate) use link::Link;
pub(crate) use pool::Lease;
pub use pool::{InvalidVethPool, PoolExhausted, VethPool};
