#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod aggregator;
mod attended;
mod canonical;
mod catalogue;
mod check;
mod definition;
mod describe;
mod extension;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod http;
mod hygiene;
mod level;
mod mend;
mod message;
mod meta;
mod mirror;
mod name;
mod object;
mod seal;
mod sink;
mod stdio;
#[cfg(feature = "toolpack")]
pub mod toolpack;
mod upstream;
mod version;

pub use aggregator::{
    Aggregator, AggregatorBuilder, AggregatorLimits, Backend, CallBegun, CallObserver, CallRecord, CallVerdict,
    CatalogueStore, DuplicateServer, Fault, FaultKind, FlowLabels, FlowPolicy, InvalidKnown, Known, Listing, Misfit,
    NotObserved, OutputText, Pins, PinsUnknown, Prefixes, Process, RateLimits, ServerLimits, ServerPolicy,
    ServerTokens, Shadowing, Standing, TokenReport,
};
pub use catalogue::{CatalogueError, CatalogueLimits, Definitions, Named, NamedList, OddItem, Remedy};
pub use definition::{Definition, DefinitionDigest, DefinitionKind, InvalidDefinitionDigest, UnknownDefinitionKind};
pub use describe::{Capabilities, Description};
pub use extension::Extensions;
pub use guard::{Finding, Findings};
pub use http::{
    Occupancy, Principal, ResponseBody, ServerIdentity, StreamableHttp, StreamableHttpLimits, StreamableHttpService,
};
pub use hygiene::safe_text;
pub use level::{LogLevel, UnknownLevel};
pub use message::{InvalidMessage, Message, Notification, Request, RequestId, Response, RpcError, Verdict};
pub use meta::{ListBudget, ToolMode, estimated_tokens};
pub use mirror::Mirrored;
pub use name::{ExposedName, InvalidExposedName, InvalidServerId, MAX_NAME_LENGTH, ServerId};
pub use sink::{Asked, ClientContext, ClientId, Features, Hearing, Passing, Root, Roots, Sink, Turns};
pub use stdio::{ConnectError, Hello, StdioCounters, StdioLaunch, StdioLimits, StdioUpstream};
pub use upstream::{
    Again, BoxFuture, Call, CallError, CallId, Event, Hold, Launch, LaunchError, List, Outcome, Upstream,
};
pub use version::{Era, LATEST_LEGACY, MODERN, ProtocolVersion, UnknownVersion};
