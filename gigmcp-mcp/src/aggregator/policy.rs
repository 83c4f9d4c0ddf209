//! What is demanded of one server.

use std::sync::Arc;

use super::Pins;

/// What is demanded of one server of an aggregator.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerPolicy {
    /// Which of its definitions somebody has agreed to. By default all are taken as they come.
    pub pins: Option<Arc<dyn Pins>>,
}
