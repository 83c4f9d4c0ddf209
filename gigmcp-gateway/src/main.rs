//! `gigmcp-gateway`: runs other people's MCP servers without giving them your keys.
//!
//! This binary composes the gigmcp crates. No security mechanism lives here.
#![allow(rustdoc::bare_urls, reason = "what is said of settings is the help of the program, too")]
#![forbid(unsafe_code)]

mod api;
mod backup;
mod bodies;
mod calls;
mod cli;
mod declare;
mod demo;
mod doctor;
mod egress;
mod endpoint;
mod events;
mod exec;
mod exposures;
mod front;
mod health;
mod host;
mod install;
mod kept;
mod keys;
mod launch;
mod metrics;
mod oidc;
mod output;
mod people;
mod pins;
mod profiles;
mod redact;
mod runtime;
mod secrets;
mod serve;
mod settings;
mod spec;
mod store;
mod supervisor;
mod token;
mod tool_audit;
mod traces;
mod trail;
mod tripwires;
mod welcome;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
