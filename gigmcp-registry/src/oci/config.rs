use serde::{Deserialize, Serialize};

/// How an image wants to be started. A server's manifest says what is started; this says in which surroundings.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
#[non_exhaustive]
pub struct ImageConfig {
    /// `NAME=VALUE`.
    #[serde(deserialize_with = "null_is_empty")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(deserialize_with = "null_is_empty")]
    pub entrypoint: Vec<String>,
    /// More arguments, or the program.
    #[serde(deserialize_with = "null_is_empty")]
    pub cmd: Vec<String>,
    /// The directory to start in; empty for the root.
    pub working_dir: String,
}

/// Go writes a list that was never made as `null`.
fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::<Vec<String>>::deserialize(deserializer).map(Option::unwrap_or_default)
}
