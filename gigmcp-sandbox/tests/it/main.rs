//! The sandbox through its public API, on the real kernel.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod attacks;
#[path = "../attacks/compile.rs"]
mod compile;
mod docker;
mod hostile_images;
mod hosts;
mod inherited;
mod intake;
mod internet;
mod left_out;
mod lifecycle;
mod limits;
mod link;
mod network;
mod posture;
mod probe;
mod processes;
mod real_servers;
mod rootfs;
mod runtimes;
mod start;
mod state;
mod tripwires;
mod unprivileged;
mod veth;
mod veth_ends;
