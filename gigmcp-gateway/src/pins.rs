//! Definitions of servers, pinned as they were when somebody agreed to them: what has changed is held back until its owner accepts
//! the difference.
//!
//! Everything here takes and gives types and prints nothing; the command line and the API show them.

mod admin;
mod budget;
mod diff;
mod judge;
mod kept;
mod rows;

pub(crate) use admin::{
    Accepted, Difference, PinError, Pinned, Selection, accept, differences, digest_of_all, list, pinned_digest, reset,
    reset_seen,
};
pub(crate) use diff::{Piece, lines_of};
pub(crate) use judge::{Known, PinKey, Reading, Verdicts, digest_of};
pub(crate) use kept::KeptPins;
pub(crate) use rows::{accepted_row, held_row, pinned_row, reset_row};

#[cfg(test)]
mod tests;
