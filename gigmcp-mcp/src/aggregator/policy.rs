//! What is demanded of one server.

/// What is demanded of one server of an aggregator.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerPolicy {}
