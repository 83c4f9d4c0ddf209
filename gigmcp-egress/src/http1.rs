//! A strict HTTP/1.1 server: bytes become a validated request or a refusal, and are never repaired.
//!
//! [`serve`] runs one connection. It knows nothing of policy: whoever calls it answers each request, and each refusal of
//! one, so that both leave the same trace. Requests are read one after the other: the next head is looked at only when the
//! answer before it has been sent and the body before it has been read to its end. Wherever that end is in doubt, the
//! connection is closed behind the answer and what follows is thrown away unread.

mod body;
mod connection;
mod early;
mod fields;
mod head;
#[cfg(any(fuzzing, test))]
pub(crate) mod laws;
mod output;
mod pipe;
mod scan;
mod upload;
mod write;

pub(crate) use connection::serve;
pub(crate) use early::EarlyBytes;
