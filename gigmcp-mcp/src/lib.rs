#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod aggregator;
mod catalogue;
mod describe;
mod extension;
mod http;
mod level;
mod mend;
mod message;
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
    Aggregator, AggregatorBuilder, AggregatorLimits, Backend, CallObserver, CallRecord, CallVerdict, DuplicateServer,
    Fault, FaultKind, Listing, NotObserved, Prefixes, ServerPolicy,
};
pub use catalogue::{CatalogueError, CatalogueLimits, Named, NamedList, OddItem, Remedy};
pub use describe::{Capabilities, Description};
pub use extension::Extensions;
pub use http::{Principal, ResponseBody, ServerIdentity, StreamableHttp, StreamableHttpLimits};
pub use level::{LogLevel, UnknownLevel};
pub use message::{InvalidMessage, Message, Notification, Request, RequestId, Response, RpcError, Verdict};
pub use mirror::Mirrored;
pub use name::{ExposedName, InvalidExposedName, InvalidServerId, MAX_NAME_LENGTH, ServerId};
pub use sink::{Asked, ClientContext, ClientId, Features, Passing, Root, Roots, Sink, Turns};
pub use stdio::{ConnectError, Hello, StdioCounters, StdioLimits, StdioUpstream};
pub use upstream::{BoxFuture, Call, CallError, CallId, Event, Launch, LaunchError, List, Outcome, Upstream};
pub use version::{Era, LATEST_LEGACY, MODERN, ProtocolVersion, UnknownVersion};
