#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod aggregator;
mod catalogue;
mod check;
mod describe;
mod guard;
mod http;
mod hygiene;
mod level;
mod message;
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
    Aggregator, AggregatorBuilder, AggregatorLimits, Backend, CallObserver, CallRecord, CallVerdict, DuplicateServer,
    Fault, FaultKind, FlowLabels, FlowPolicy, Listing, Misfit, NotObserved, OutputText, RateLimits, ServerLimits,
    ServerPolicy, Shadowing,
};
pub use catalogue::{CatalogueError, CatalogueLimits, Named, NamedList, OddItem, Remedy};
pub use describe::{Capabilities, Description};
pub use guard::{Finding, Findings};
pub use http::{Principal, ResponseBody, ServerIdentity, StreamableHttp, StreamableHttpLimits};
pub use hygiene::safe_text;
pub use level::{LogLevel, UnknownLevel};
pub use message::{InvalidMessage, Message, Notification, Request, RequestId, Response, RpcError, Verdict};
pub use name::{InvalidServerId, MAX_NAME_LENGTH, ServerId};
pub use sink::{Asked, ClientContext, ClientId, Features, Passing, Root, Roots, Sink, Turns};
pub use stdio::{ConnectError, Hello, StdioCounters, StdioLimits, StdioUpstream};
pub use upstream::{BoxFuture, Call, CallError, CallId, Event, Launch, LaunchError, List, Outcome, Upstream};
pub use version::{Era, LATEST_LEGACY, MODERN, ProtocolVersion, UnknownVersion};
