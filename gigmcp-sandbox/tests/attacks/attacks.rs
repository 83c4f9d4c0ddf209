//! The red team's attacks on the crate from inside it: with all layers, and with layers left out, which
//! the public API cannot do.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod compile;
mod modes;
mod report;
mod run;
mod scene;
mod seam;
mod table;

pub(crate) use seam::Seam;
