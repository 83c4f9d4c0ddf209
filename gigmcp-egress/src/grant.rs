use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderName;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST};

use crate::audit::EventId;
use crate::credential::CredentialRule;
use crate::identity::{CredentialId, Identity};
use crate::name::HostName;
use crate::pattern::HostPattern;
use crate::request::is_hop_by_hop;
use crate::rule::{Rule, Scheme};
use crate::secret::SecretString;
use crate::sink::Sink;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the rules come from. Asked at every request and every DNS question, so an answer must be cheap and current:
/// a rule that is gone here is gone for the next request of a connection that is open.
pub trait Grants: Send + Sync {
    /// The rules of this identity, now.
    fn grant<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>>;
}

/// Where the real values come from. Asked once per request and credential of the grant, after the request was authorised:
/// for those that go out with it, and for those that its answer is searched for.
pub trait Credentials: Send + Sync {
    /// The value of this credential for this identity, now.
    fn credential<'a>(
        &'a self,
        identity: &'a Identity,
        id: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>>;

    /// The same, for a request that goes out with it and whose [`AuditEvent`](crate::AuditEvent) will have this id. For those who
    /// record each use; the default asks [`credential`](Self::credential).
    fn credential_for<'a>(
        &'a self,
        identity: &'a Identity,
        id: &'a CredentialId,
        request: EventId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        let _ = request;
        self.credential(identity, id)
    }

    /// The same, for an answer of a host that this credential is not for, which can hold only what was given out before. For those
    /// who would have to fetch a value first, so that a source which is slow holds up nobody but its own requests; the default
    /// asks [`credential`](Self::credential). [`CredentialUnavailable::Denied`] if there is none.
    fn known<'a>(
        &'a self,
        identity: &'a Identity,
        id: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        self.credential(identity, id)
    }

    /// An upstream answered `401` to a request that carried this value. For those who can fetch a new one, so that the next
    /// request gets it; the default does nothing.
    fn rejected(&self, identity: &Identity, id: &CredentialId, value: &SecretString) {
        let _ = (identity, id, value);
    }
}

/// What one identity may do. Nothing is allowed that no rule names; an empty grant denies everything.
///
/// Checked when it is made, so that a grant which could be read in two ways does not exist.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    version: u64,
    rules: Vec<Rule>,
    credentials: Vec<CredentialRule>,
}

impl Grant {
    /// What may be reached, and what is injected where. `version` stands in the audit, to tell by which policy was decided.
    ///
    /// # Errors
    /// [`InvalidGrant`] names what could be read in two ways or means nothing.
    pub fn new(version: u64, rules: Vec<Rule>, credentials: Vec<CredentialRule>) -> Result<Self, InvalidGrant> {
        for rule in &rules {
            check_rule(rule)?;
            let contradicts = |other: &&Rule| (rule.scheme == Scheme::Tcp) != (other.scheme == Scheme::Tcp);
            let shared = |other: &Rule| other.ports.iter().copied().find(|port| rule.ports.contains(port));
            let overlapping = rules.iter().filter(contradicts).filter(|other| other.host.overlaps(&rule.host));
            if let Some(port) = overlapping.filter_map(shared).next() {
                return Err(InvalidGrant::ReadAndUnread { host: rule.host.clone(), port });
            }
        }
        for (index, credential) in credentials.iter().enumerate() {
            check_credential(credential)?;
            for other in &credentials[..index] {
                let (one, two) = (credential.placeholder.as_str(), other.placeholder.as_str());
                if credential.id == other.id || one.contains(two) || two.contains(one) {
                    return Err(InvalidGrant::Ambiguous { one: other.id.clone(), two: credential.id.clone() });
                }
            }
        }
        Ok(Self { version, rules, credentials })
    }

    /// The version it was made with.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What may be reached.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What is injected where.
    pub fn credentials(&self) -> &[CredentialRule] {
        &self.credentials
    }

    /// Whether a name may be resolved, which is whether any rule names it.
    pub(crate) fn names(&self, host: &HostName) -> bool {
        self.rules.iter().any(|rule| rule.host.matches(host))
    }

    /// Whether a rule lists this very name, so that it is not one of endlessly many under a wildcard.
    pub(crate) fn names_exactly(&self, host: &HostName) -> bool {
        self.rules.iter().any(|rule| rule.host.is_exact() && rule.host.matches(host))
    }

    /// How a connection to this port is read: as plain TCP if a rule says so, and else as TLS.
    pub(crate) fn scheme_at(&self, host: &HostName, port: u16) -> Scheme {
        let is_tcp = |rule: &Rule| rule.scheme == Scheme::Tcp && rule.ports.contains(&port);
        if self.rules_for(host).any(is_tcp) { Scheme::Tcp } else { Scheme::Https }
    }

    /// The rules about this host, whatever they say of scheme, port and method.
    pub(crate) fn rules_for<'a>(&'a self, host: &'a HostName) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| rule.host.matches(host))
    }
}

fn check_rule(rule: &Rule) -> Result<(), InvalidGrant> {
    let bounded = rule.max_body_bytes.is_some() || rule.rate.is_some();
    let narrowed = rule.methods.is_some() || rule.paths.is_some() || !rule.allowances.is_empty() || bounded;
    match rule.scheme {
        _ if rule.ports.contains(&0) => Err(InvalidGrant::Port { host: rule.host.clone() }),
        Scheme::Tcp if narrowed => Err(InvalidGrant::NotHttp { host: rule.host.clone() }),
        Scheme::Http | Scheme::Https | Scheme::Tcp => Ok(()),
    }
}

fn check_credential(credential: &CredentialRule) -> Result<(), InvalidGrant> {
    let segment = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte);
    match &credential.sink {
        _ if credential.hosts.is_empty() || credential.also.iter().any(|binding| binding.hosts.is_empty()) => {
            Err(InvalidGrant::Unbound { credential: credential.id.clone() })
        }
        Sink::PathSegment { prefix } if !prefix.bytes().all(segment) => {
            Err(InvalidGrant::PathPrefix { credential: credential.id.clone(), prefix: prefix.clone() })
        }
        Sink::Header { name: Some(name) } | Sink::HeaderFormat { name, .. } if is_ours(name) => {
            Err(InvalidGrant::Header { credential: credential.id.clone(), name: name.clone() })
        }
        _ => Ok(()),
    }
}

/// Headers that we write ourselves or that speak of the connection.
fn is_ours(name: &HeaderName) -> bool {
    [HOST, CONTENT_LENGTH, CONTENT_TYPE, EXPECT].contains(name) || is_hop_by_hop(name.as_str())
}

/// Rules that could be read in two ways, or that mean nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidGrant {
    /// One credential could be taken for another.
    #[error("the credentials {one} and {two} are ambiguous: one is the other, or one placeholder is part of the other")]
    Ambiguous {
        /// The first.
        one: CredentialId,
        /// The second.
        two: CredentialId,
    },
    /// The credential may go nowhere.
    #[error("the credential {credential} is bound to no host")]
    Unbound {
        /// Which.
        credential: CredentialId,
    },
    /// A path segment that would have to be escaped.
    #[error("the credential {credential} stands behind {prefix:?}, which is not part of a path segment")]
    PathPrefix {
        /// Which.
        credential: CredentialId,
        /// What stands before it.
        prefix: String,
    },
    /// A header that no credential can have.
    #[error("the credential {credential} cannot stand in the header {name}, which is about the connection or the body")]
    Header {
        /// Which.
        credential: CredentialId,
        /// The header.
        name: HeaderName,
    },
    /// The same connections would have to be read and not to be read.
    #[error("{host} on port {port} has a tcp rule and an http rule; a connection is read or it is not")]
    ReadAndUnread {
        /// The hosts.
        host: HostPattern,
        /// The port.
        port: u16,
    },
    /// Methods, paths and exceptions of a rule for a server that does not speak HTTP.
    #[error("the tcp rule for {host} has methods, paths, allowances or bounds, which only http has")]
    NotHttp {
        /// The hosts.
        host: HostPattern,
    },
    /// Port 0.
    #[error("the rule for {host} names port 0")]
    Port {
        /// The hosts.
        host: HostPattern,
    },
}

/// The headers that carry credentials and nothing else. Only in these a placeholder is swapped if its [`Sink`] names none:
/// in another, such as `User-Agent`, an upstream would write the key into its logs or give it to others. A host that our
/// credentials are for takes none of these headers with anything else.
pub const CREDENTIAL_HEADERS: &[&str] = &[
    "api-key",
    "apikey",
    "authorization",
    "dd-api-key",
    "circle-token",
    "dd-application-key",
    "deploy-token",
    "job-token",
    "ocp-apim-subscription-key",
    "private-token",
    "x-access-token",
    "x-api-key",
    "x-api-token",
    "x-apikey",
    "x-auth-key",
    "x-consul-token",
    "x-functions-key",
    "x-auth-token",
    "x-figma-token",
    "x-gitlab-token",
    "x-goog-api-key",
    "x-rapidapi-key",
    "x-shopify-access-token",
    "x-subscription-token",
    "x-token",
    "x-vault-token",
    "xi-api-key",
];

/// The rules could not be read. The request is refused.
#[derive(Debug, thiserror::Error)]
#[error("the grant could not be read")]
pub struct GrantUnavailable {
    /// The cause, for the operator's log.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A credential could not be had. The request is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialUnavailable {
    /// It does not exist, was revoked, or is not for this identity. Retrying will not help.
    #[error("the credential is not available to this identity")]
    Denied,
    /// A new access token could not be fetched.
    #[error("a new access token could not be fetched")]
    Refresh {
        /// The cause, for the operator's log.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Its store did not answer. Retrying may help.
    #[error("the credential store did not answer")]
    Unreachable {
        /// The cause, for the operator's log.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use http::Method;

    use super::*;
    use crate::placeholder::{Placeholder, Shape};

    fn credential(id: &str, placeholder: &Placeholder, sink: Sink) -> CredentialRule {
        CredentialRule::new(CredentialId::new(id), placeholder.clone(), ["api.example.com".parse().unwrap()], sink)
    }

    #[test]
    fn a_grant_that_could_be_read_in_two_ways_is_not_made() {
        let [one, two] = [(); 2].map(|()| Placeholder::mint(&Shape::opaque()));
        let host = |text: &str| text.parse::<HostPattern>().unwrap();
        let header = |name: &'static str| Sink::Header { name: Some(HeaderName::from_static(name)) };
        let prefix = |prefix: &str| Sink::PathSegment { prefix: prefix.to_owned() };
        let plain = || Rule::https(host("api.example.com"));
        let mut nowhere = credential("a", &one, Sink::Bearer);
        nowhere.hosts.clear();
        let mut no_port = plain();
        no_port.ports = vec![0];
        for (case, rules, credentials, expected) in [
            ("plain", vec![plain()], vec![credential("a", &one, Sink::Bearer)], None),
            ("empty", vec![], vec![], None),
            (
                "two keys for one host, told apart by their placeholders",
                vec![plain()],
                vec![credential("a", &one, Sink::Bearer), credential("b", &two, Sink::Bearer)],
                None,
            ),
            (
                "EGR-040 one name for two keys",
                vec![],
                vec![credential("a", &one, Sink::Bearer), credential("a", &two, Sink::Bearer)],
                Some("ambiguous"),
            ),
            (
                "EGR-040 one placeholder for two keys",
                vec![],
                vec![credential("a", &one, Sink::Bearer), credential("b", &one, Sink::Bearer)],
                Some("ambiguous"),
            ),
            ("a key for no host", vec![], vec![nowhere], Some("bound to no host")),
            ("a header of ours", vec![], vec![credential("a", &one, header("host"))], Some("cannot stand in")),
            ("a hop's header", vec![], vec![credential("a", &one, header("connection"))], Some("cannot stand in")),
            ("a path that is two", vec![], vec![credential("a", &one, prefix("a/b"))], Some("not part of a path")),
            ("twin: part of a segment", vec![], vec![credential("a", &one, prefix("bot"))], None),
            (
                "read and unread",
                vec![Rule::https(host("**.example.com")), Rule::tcp(host("*.db.example.com"), 443)],
                vec![],
                Some("tcp rule and an http rule"),
            ),
            (
                "twin: on another port",
                vec![Rule::https(host("**.example.com")), Rule::tcp(host("*.db.example.com"), 5432)],
                vec![],
                None,
            ),
            ("twin: another host", vec![plain(), Rule::tcp(host("db.example.com"), 443)], vec![], None),
            (
                "methods without http",
                vec![Rule::tcp(host("db.example.com"), 5432).methods([Method::GET])],
                vec![],
                Some("only http has"),
            ),
            ("port 0", vec![no_port], vec![], Some("port 0")),
        ] {
            let said = Grant::new(1, rules, credentials).err().map(|error| error.to_string());
            match (said, expected) {
                (None, None) => {}
                (Some(said), Some(expected)) => assert!(said.contains(expected), "{case}: {said}"),
                (said, _) => panic!("{case}: {said:?}"),
            }
        }
    }
}
