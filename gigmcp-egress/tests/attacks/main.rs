//! What a hostile server, upstream and network try at the proxy, row by row of the project's table of attacks.
//!
//! Each row is tried as bytes on real sockets, whole, a byte at a time and cut at every offset, over HTTP/1.1 and HTTP/2
//! where it applies, and for each refusal it is checked that nothing was dialled, no credential read, exactly one event
//! recorded with the code that was answered, and no byte of a secret shown or logged. Each row has a twin: the same with
//! only the attack removed, which must succeed. `EGRESS.md` is what the run has seen.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
#![allow(dead_code, reason = "the tests of custody and the differential test use some parts that this one does not")]

#[path = "../support/log.rs"]
mod log;
#[path = "../support/secrets.rs"]
mod secrets;
#[path = "../support/stage.rs"]
mod stage;
#[path = "../support/upstream.rs"]
mod upstream;
#[path = "../support/wire.rs"]
mod wire;

mod elsewhere;
mod frames;
mod report;
mod row;
mod run;
mod table;
