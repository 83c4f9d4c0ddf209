#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod address;
mod answer;
mod audit;
mod authorize;
mod body;
mod ca;
mod connection;
mod dial;
mod dns;
mod encoding;
mod escape;
mod exchange;
mod forward;
mod grant;
mod identity;
mod idle;
mod intake;
mod layer;
mod limits;
mod live;
mod lookup;
mod name;
mod names;
mod packet;
mod pattern;
mod placeholder;
mod pool;
mod proxy;
mod refusal;
mod render;
mod request;
mod scrub;
mod secret;
mod slot;
mod takeover;
mod tls;
mod tunnel;

pub use address::{AddressDenied, AddressGuard, CheckedAddr};
pub use audit::{AuditEvent, AuditKind, AuditSink, AuditUnavailable, Verdict};
pub use body::{Body, BoxError};
pub use dial::{Connect, DirectConnect, Resolver, SystemResolver};
pub use forward::ForwardError;
pub use grant::{
    BoxFuture, CREDENTIAL_HEADERS, CredentialRule, CredentialUnavailable, Credentials, Grant, GrantUnavailable, Grants,
    Rule, Scheme, Sink,
};
pub use identity::{CredentialId, Identity};
pub use intake::{ConnectionCheck, Intake};
pub use layer::{EgressLayer, EgressService};
pub use limits::{InvalidIpv4Net, Ipv4Net, Limits};
pub use name::{HostName, InvalidHostName};
pub use pattern::{HostPattern, InvalidHostPattern};
pub use placeholder::{Placeholder, Shape};
pub use proxy::{AttachError, Attachment, BuildError, EgressProxy, EgressProxyBuilder};
pub use refusal::Refusal;
pub use request::{Destination, Downstream};
pub use secret::{SecretString, UnusableSecret};
