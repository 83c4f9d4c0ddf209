use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderName, Method};

use crate::identity::{CredentialId, Identity};
use crate::name::HostName;
use crate::pattern::HostPattern;
use crate::placeholder::Placeholder;
use crate::secret::SecretString;

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
}

/// What one identity may do. Nothing is allowed that no rule names; an empty grant denies everything.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// What may be reached.
    pub rules: Vec<Rule>,
    /// What is injected where.
    pub credentials: Vec<CredentialRule>,
}

/// One thing that may be reached. A request needs one rule that agrees with all of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// The hosts.
    pub host: HostPattern,
    /// TLS or clear text.
    pub scheme: Scheme,
    /// The ports; none means none.
    pub ports: Vec<u16>,
    /// The methods, or all of them.
    pub methods: Option<Vec<Method>>,
}

/// A credential, what stands for it in the sandbox, and where it may go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CredentialRule {
    /// Its name.
    pub id: CredentialId,
    /// What the sandbox holds instead of it.
    pub placeholder: Placeholder,
    /// The only hosts it may be sent to; they need a [`Rule`] as well.
    pub hosts: Vec<HostPattern>,
    /// Its place in a request.
    pub sink: Sink,
}

/// The place of a credential in a request.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Sink {
    /// A header value: the placeholder alone, after one authentication scheme (`Bearer P`), or as user or password of
    /// `Basic`. Never sent in clear text.
    Header {
        /// The header, or any of [`CREDENTIAL_HEADERS`].
        name: Option<HeaderName>,
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
    "dd-application-key",
    "ocp-apim-subscription-key",
    "private-token",
    "x-access-token",
    "x-api-key",
    "x-api-token",
    "x-apikey",
    "x-auth-key",
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

/// How a request travels.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scheme {
    /// In clear text. No credential is ever sent this way.
    Http,
    /// Over verified TLS.
    Https,
}

impl Grant {
    /// Whether a name may be resolved, which is whether any rule names it.
    pub(crate) fn names(&self, host: &HostName) -> bool {
        self.rules.iter().any(|rule| rule.host.matches(host))
    }

    /// Whether a rule lists this very name, so that it is not one of endlessly many under a wildcard.
    pub(crate) fn names_exactly(&self, host: &HostName) -> bool {
        self.rules.iter().any(|rule| rule.host.is_exact() && rule.host.matches(host))
    }

    /// The rules about this host, whatever they say of scheme, port and method.
    pub(crate) fn rules_for<'a>(&'a self, host: &'a HostName) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| rule.host.matches(host))
    }
}

impl Rule {
    /// Allows all methods over TLS on port 443.
    pub fn https(host: HostPattern) -> Self {
        Self { host, scheme: Scheme::Https, ports: vec![Scheme::Https.default_port()], methods: None }
    }

    /// Allows all methods in clear text on port 80. Credentials do not travel there.
    pub fn http(host: HostPattern) -> Self {
        Self { host, scheme: Scheme::Http, ports: vec![Scheme::Http.default_port()], methods: None }
    }
}

impl CredentialRule {
    /// Whether the credential may go to this host.
    pub(crate) fn is_bound_to(&self, host: &HostName) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }
}

impl Scheme {
    /// 80 or 443.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
    /// Its store did not answer. Retrying may help.
    #[error("the credential store did not answer")]
    Unreachable {
        /// The cause, for the operator's log.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}
