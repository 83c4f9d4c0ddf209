#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "only Linux starts sandboxes; elsewhere this compiles")
)]

#[cfg(target_os = "linux")]
mod bootstrap;
mod builder;
#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod channel;
mod enforcement;
mod error;
mod events;
#[cfg(target_os = "linux")]
mod host;
mod host_uids;
#[cfg(target_os = "linux")]
mod image;
mod intake;
#[cfg(target_os = "linux")]
mod launch;
mod limits;
#[cfg(target_os = "linux")]
mod made_once;
mod network;
#[cfg(target_os = "linux")]
mod plan;
#[cfg(target_os = "linux")]
mod posture;
mod profile;
#[allow(dead_code, reason = "half of it is for the bootstrap")]
#[path = "../bootstrap/protocol.rs"]
mod protocol;
mod report;
mod rootfs;
mod sandbox;
#[cfg(target_os = "linux")]
mod seccomp;
#[cfg(target_os = "linux")]
mod sized_proc;
#[cfg(target_os = "linux")]
mod sources;
#[cfg(target_os = "linux")]
mod state;
mod stderr;
mod stdio;
#[cfg(target_os = "linux")]
mod supervisor;
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "three calls that no safe wrapper has; everything above uses owned descriptors")]
mod sys;
mod usage;
mod veth;
#[allow(dead_code, reason = "half of it is for the bootstrap")]
#[path = "../bootstrap/wire.rs"]
mod wire;

#[cfg(all(test, target_os = "linux"))]
#[path = "../tests/attacks/attacks.rs"]
mod attacks;

pub use builder::SandboxBuilder;
pub use enforcement::{Enforcement, Layer, Level};
pub use error::{PathRefusal, PortRefusal, RootfsRefusal, SpawnError};
pub use events::{Event, Events};
pub use host_uids::{HostUids, InvalidHostUids};
pub use intake::{AcceptError, AsyncPortListener, Connection, Intake, Origin, PortListener, PortSocket};
pub use limits::{Limits, StateQuota};
pub use network::{Network, NetworkHandle};
pub use profile::{OnTripwire, Profile, UnknownProfile};
pub use protocol::Stage;
#[cfg(not(target_os = "linux"))]
pub use report::check_read_only;
pub use report::host_report;
pub use rootfs::Rootfs;
pub use sandbox::{Exit, Sandbox, ServerSignal};
#[cfg(target_os = "linux")]
pub use sources::check_read_only;
pub use stderr::StderrLines;
pub use stdio::{SandboxStdin, SandboxStdout, StdioError};
pub use usage::{Usage, UsageSamples, UsageSource};
pub use veth::{InvalidVethPool, PoolExhausted, VethPool};
