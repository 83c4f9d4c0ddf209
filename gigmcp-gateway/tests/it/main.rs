//! The whole: the real binary, real servers in real sandboxes, an internet of the tests' own.
//!
//! Needs root, because it joins network namespaces. `./dev test` installs everything else.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod admin;
mod api;
mod api_attacks;
mod api_control;
mod api_servers;
mod audit;
mod backup;
mod behind;
mod client;
mod cold;
mod command_line;
mod container;
mod conversations;
mod custody;
mod declared_tools;
#[path = "../support/docker_registry.rs"]
mod docker_registry;
mod documents;
mod eras;
mod exec;
mod faults;
mod forgotten;
mod front;
mod gateway;
mod install;
mod install_refusals;
mod installed_secrets;
mod internet;
mod keys;
mod lifecycle;
mod meta_tools;
mod oidc;
mod people;
mod pins;
#[path = "../support/postgres.rs"]
mod postgres;
mod refusals;
#[path = "../support/registry.rs"]
mod registry;
mod remote;
mod runtimes;
mod schemathesis;
mod search;
mod servers;
mod settings;
mod tampering;
mod told;
mod toolpacks;
mod traces;
mod two;
mod undying;
