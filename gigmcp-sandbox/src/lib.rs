#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bootstrap;
mod builder;
mod channel;
mod enforcement;
mod error;
mod host;
mod host_uids;
mod image;
mod limits;
mod network;
mod plan;
mod posture;
#[allow(dead_code, reason = "half of it is for the bootstrap")]
#[path = "../bootstrap/protocol.rs"]
mod protocol;
mod rootfs;
mod sandbox;
mod seccomp;
mod stderr;
mod stdio;
mod supervisor;
#[allow(dead_code, reason = "half of it is for the bootstrap")]
#[path = "../bootstrap/wire.rs"]
mod wire;

pub use builder::SandboxBuilder;
pub use enforcement::{Enforcement, Layer, Level};
pub use error::{PathRefusal, RootfsRefusal, SpawnError};
pub use host::host_report;
pub use host_uids::{HostUids, InvalidHostUids};
pub use limits::Limits;
pub use network::{Intake, Network, NetworkHandle, PortListener};
pub use plan::check_read_only;
pub use protocol::Stage;
pub use rootfs::Rootfs;
pub use sandbox::{Exit, Sandbox};
pub use stderr::StderrLines;
pub use stdio::{SandboxStdin, SandboxStdout};
