//! What is demanded of one server, and how it is shown.

use std::collections::BTreeMap;

use crate::name::ExposedName;

/// What is demanded of one server of an aggregator, and how it is shown.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerPolicy {
    /// Other names of its tools and prompts than `<server>_<tool>`: the server's own name by the one that clients see. Of two
    /// for the same tool the first counts, and so does the first server's, if two have the same alias.
    pub aliases: BTreeMap<ExposedName, String>,
}
