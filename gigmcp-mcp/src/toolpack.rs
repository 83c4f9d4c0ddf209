//! Tools described by data: a toolspec says for each tool which one HTTP request it is, and this module sends it.
//!
//! What a model says is checked against the tool's schema first, and can then only be a value: the host, the method, the number
//! of the path's segments, the names in the query and those of the headers are the toolspec's, whatever the arguments. Answers
//! are bounded, shaped as the toolspec says, and free of the credentials that were sent.
//!
//! [`ToolpackUpstream`] is the engine behind the crate's one seam, for a program that embeds it; [`serve`] speaks MCP with it over
//! a pair of pipes, which is all that the program `gigmcp-toolpack` does.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use gigmcp_mcp::toolpack::{HttpsClient, Sidecars, ToolpackUpstream};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sidecars = Sidecars::read("/app".as_ref())?;
//! let toolpack = sidecars.bind(|name| std::env::var(name).ok())?;
//! let client = HttpsClient::from_env(|name| std::env::var(name).ok())?;
//! let upstream = ToolpackUpstream::new(toolpack, Arc::new(client));
//! # Ok(())
//! # }
//! ```

mod advice;
mod answer;
mod arguments;
mod client;
mod credential;
mod encode;
mod engine;
mod https;
mod pages;
mod plan;
mod render;
mod scrub;
mod serve;
mod shown;
mod start;
mod upstream;

pub use arguments::{ArgumentFault, ArgumentProblem};
pub use client::{HttpAnswer, HttpClient, HttpFailure};
pub use https::{HttpsClient, InvalidHttpsClient};
pub use plan::Toolpack;
pub use render::RenderError;
pub use serve::serve;
pub use start::{Sidecars, StartError};
pub use upstream::{ToolpackLimits, ToolpackUpstream};
