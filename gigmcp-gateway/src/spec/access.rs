//! What a server may reach beyond whole hosts.

use gigmcp_egress::{Allowance, HostPattern, PathPattern, Rule};
use http::Method;
use serde::{Deserialize, Serialize};

use super::text::{all_as_text, all_from_text, as_text, from_text};

/// Hosts of which only some requests are allowed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestRule {
    #[serde(serialize_with = "all_as_text", deserialize_with = "all_from_text")]
    pub(crate) hosts: Vec<HostPattern>,
    /// All if empty.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "all_as_text",
        deserialize_with = "all_from_text"
    )]
    pub(crate) methods: Vec<Method>,
    /// All if empty.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "all_as_text",
        deserialize_with = "all_from_text"
    )]
    pub(crate) paths: Vec<PathPattern>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_body_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow: Vec<Exception>,
}

/// What the proxy lets through although its strict default refuses it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Exception {
    EncodedSlash,
    PathParameters,
    BodyOnGet,
    Range,
    Cookies,
}

/// A host that does not speak HTTP. What is sent there is not looked into.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpRule {
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub(crate) host: HostPattern,
    pub(crate) port: u16,
}

impl RequestRule {
    /// For the proxy.
    pub(crate) fn rules(&self) -> impl Iterator<Item = Rule> {
        self.hosts.iter().map(|host| {
            let mut rule = Rule::https(host.clone());
            if !self.methods.is_empty() {
                rule = rule.methods(self.methods.iter().cloned());
            }
            if !self.paths.is_empty() {
                rule = rule.paths(self.paths.iter().cloned());
            }
            rule.max_body_bytes = self.max_body_bytes;
            self.allow.iter().fold(rule, |rule, exception| rule.allow(exception.allowance()))
        })
    }
}

impl Exception {
    fn allowance(self) -> Allowance {
        match self {
            Self::EncodedSlash => Allowance::EncodedSlash,
            Self::PathParameters => Allowance::PathParameters,
            Self::BodyOnGet => Allowance::BodyOnGet,
            Self::Range => Allowance::Range,
            Self::Cookies => Allowance::Cookies,
        }
    }
}

impl TcpRule {
    /// For the proxy.
    pub(crate) fn rule(&self) -> Rule {
        Rule::tcp(self.host.clone(), self.port)
    }
}
