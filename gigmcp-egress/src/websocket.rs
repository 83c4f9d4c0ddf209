//! WebSocket between a sandbox and its upstream (RFC 6455): the handshake of each side is checked and written by us, and
//! frames are taken apart and made anew, so that neither side ever reads bytes of the other that we did not.
//!
//! How an exchange uses this, in order:
//! 1. [`Handshake::requested`] judges the request. It gives nothing for a request that asks for no other protocol.
//! 2. [`forget_headers`] takes all `Sec-WebSocket-*` out of the request, and [`Handshake::headers`] are put in, *before*
//!    the headers are searched for placeholders: a subprotocol is text of the sandbox.
//! 3. The upstream answered: anything but `101` is an ordinary answer. [`Handshake::accepted`] judges the headers of a
//!    `101` and gives those for the sandbox, beside which the others go as in any answer (without `Sec-WebSocket-*`).
//! 4. [`Relay::run`] takes both streams and the [`Entry`](crate::audit::Entry), and records once, at the end.

mod direction;
mod frame;
mod handshake;
#[cfg(any(fuzzing, test))]
pub(crate) mod laws;
mod reader;
mod relay;
mod scrub;
mod search;
mod tally;
mod writer;

pub(crate) use handshake::{Handshake, forget_headers};
pub(crate) use relay::Relay;
