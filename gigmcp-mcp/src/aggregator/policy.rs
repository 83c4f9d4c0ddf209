//! What is demanded of one server.

/// What is demanded of one server of an aggregator.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerPolicy {
    /// How often it is started beside itself at most, if not as often as [`AggregatorLimits`](crate::AggregatorLimits) say.
    pub spares: Option<usize>,
}
