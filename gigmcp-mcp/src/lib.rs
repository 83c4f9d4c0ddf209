#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod aggregator;
mod attended;
mod catalogue;
mod describe;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod level;
mod message;
mod meta;
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
    Aggregator, AggregatorBuilder, AggregatorLimits, Backend, CallObserver, CallRecord, CallVerdict, CatalogueStore,
    DuplicateServer, Fault, FaultKind, InvalidKnown, Known, Listing, NotObserved, ServerPolicy, ServerTokens,
    TokenReport,
};
pub use catalogue::{CatalogueError, CatalogueLimits, Definitions, Named, NamedList, OddItem, Remedy};
pub use describe::{Capabilities, Description};
pub use http::{
    Occupancy, Principal, ResponseBody, ServerIdentity, StreamableHttp, StreamableHttpLimits, StreamableHttpService,
};
pub use level::{LogLevel, UnknownLevel};
pub use message::{InvalidMessage, Message, Notification, Request, RequestId, Response, RpcError, Verdict};
pub use meta::{ListBudget, ToolMode, estimated_tokens};
pub use name::{InvalidServerId, MAX_NAME_LENGTH, ServerId};
pub use sink::{Asked, ClientContext, ClientId, Features, Passing, Root, Roots, Sink, Turns};
pub use stdio::{ConnectError, Hello, StdioCounters, StdioLaunch, StdioLimits, StdioUpstream};
pub use upstream::{
    Again, BoxFuture, Call, CallError, CallId, Event, Hold, Launch, LaunchError, List, Outcome, Upstream,
};
pub use version::{Era, LATEST_LEGACY, MODERN, ProtocolVersion, UnknownVersion};
