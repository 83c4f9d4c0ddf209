//! What a server asks to reach beyond whole hosts.

use std::fmt::Display;

use gigmcp_egress::PathPattern;

use super::document::{RuleDocument, TcpDocument};
use super::faults::Faults;
use super::problem::Problem;
use super::{Allowance, Method, Variable};
use crate::egress_host::EgressHost;

/// Hosts of which only some requests are allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RequestRule {
    /// To these hosts, over HTTPS.
    pub hosts: Vec<EgressHost>,
    /// With these methods; all if empty.
    pub methods: Vec<Method>,
    /// To these paths; all if empty.
    pub paths: Vec<PathPattern>,
    /// The longest body of a request, in bytes; not bounded if absent.
    pub max_body_bytes: Option<u64>,
    /// Exceptions from the proxy's strict default.
    pub allow: Vec<Allowance>,
}

/// A host that does not speak HTTP, which only an entrusted server may reach: what is sent there is not looked into.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TcpRule {
    /// The host, no wildcard.
    pub host: EgressHost,
    /// The port.
    pub port: u16,
}

pub(super) fn request_rule(
    faults: &mut Faults,
    path: impl Display + Copy,
    document: &RuleDocument,
    variables: &[Variable],
) -> RequestRule {
    let allow = faults.each(format_args!("{path}.allow"), document.allow.clone(), |faults, path, text| {
        faults.word(path, &text, Allowance::from_word, Allowance::WORDS)
    });
    RequestRule {
        hosts: hosts(faults, format_args!("{path}.hosts"), &document.hosts, variables),
        methods: methods(faults, format_args!("{path}.methods"), &document.methods),
        paths: paths(faults, format_args!("{path}.paths"), &document.paths),
        max_body_bytes: document.max_body_bytes,
        allow,
    }
}

pub(super) fn tcp_rule(
    faults: &mut Faults,
    path: impl Display + Copy,
    document: &TcpDocument,
    variables: &[Variable],
) -> Option<TcpRule> {
    let host = host(faults, format_args!("{path}.host"), &document.host, variables);
    if host.as_ref().is_some_and(EgressHost::is_wildcard) {
        faults.add(format_args!("{path}.host"), Problem::TcpWildcard);
    }
    let port = u16::try_from(document.port).ok().filter(|port| *port != 0);
    if port.is_none() {
        faults.add(format_args!("{path}.port"), Problem::Range { min: 1, max: 65535 });
    }
    Some(TcpRule { host: host?, port: port? })
}

pub(super) fn hosts(
    faults: &mut Faults,
    path: impl Display + Copy,
    texts: &[String],
    variables: &[Variable],
) -> Vec<EgressHost> {
    if texts.is_empty() {
        faults.add(path, Problem::Missing);
    }
    faults.unique(path, "", texts.iter().map(String::as_str));
    faults.each(path, texts.to_vec(), |faults, path, text| host(faults, path, &text, variables))
}

pub(super) fn host(
    faults: &mut Faults,
    path: impl Display + Copy,
    text: &str,
    variables: &[Variable],
) -> Option<EgressHost> {
    if text.is_empty() {
        faults.add(path, Problem::Missing);
        return None;
    }
    EgressHost::with_variables(text, variables).map_err(|problem| faults.add(path, problem.into())).ok()
}

pub(super) fn methods(faults: &mut Faults, path: impl Display + Copy, texts: &[String]) -> Vec<Method> {
    faults.unique(path, "", texts.iter().map(String::as_str));
    faults.each(path, texts.to_vec(), |faults, path, text| faults.word(path, &text, Method::from_word, Method::WORDS))
}

pub(super) fn paths(faults: &mut Faults, path: impl Display + Copy, texts: &[String]) -> Vec<PathPattern> {
    faults.unique(path, "", texts.iter().map(String::as_str));
    faults.each(path, texts.to_vec(), |faults, path, text| faults.parsed(path, &text))
}
