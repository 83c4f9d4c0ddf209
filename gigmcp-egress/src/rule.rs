use std::fmt;
use std::time::Duration;

use http::Method;

use crate::path::{PathPattern, Spelling};
use crate::pattern::HostPattern;

/// One thing that may be reached. A request needs one rule that agrees with all of it.
///
/// Made by [`Rule::https`], [`Rule::http`] or [`Rule::tcp`], then narrowed field by field.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Rule {
    /// The hosts.
    pub host: HostPattern,
    /// How it is reached.
    pub scheme: Scheme,
    /// The ports; none means none.
    pub ports: Vec<u16>,
    /// The methods, or all of them.
    pub methods: Option<Vec<Method>>,
    /// The paths, or all of them. Naming any makes [canonical spelling](Allowance) a duty on these hosts.
    pub paths: Option<Vec<PathPattern>>,
    /// The longest body of a request, in bytes. Default: no bound.
    pub max_body_bytes: Option<u64>,
    /// How many requests an identity may send by this rule. Default: no bound but that of [`Limits`](crate::Limits).
    pub rate: Option<Rate>,
    /// What is let through although the strict default refuses it.
    pub allowances: Vec<Allowance>,
}

/// Something that real programs do and that two programs may read in two ways. Refused or removed unless a rule names it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Allowance {
    /// `%2F` in a path that patterns judge; it counts as part of its segment (GitLab's projects, npm's scopes).
    EncodedSlash,
    /// `;` in a path that patterns judge.
    PathParameters,
    /// The characters `^`, `` ` ``, `{`, `|` and `}` as they are in a query. RFC 3986 wants them escaped; the URL standard, by which
    /// Node's `fetch` writes, does not.
    RawQuery,
    /// Any spelling of a path that patterns judge, S3's keys for example: it is held against them as it is written.
    /// Also `//` at the beginning of any path.
    OpaquePath,
    /// A body on `GET` (Elasticsearch).
    BodyOnGet,
    /// `Range` on hosts that credentials go to: slices of an answer could be put together beyond the scrubber.
    Range,
    /// Cookies, both ways, on hosts that credentials go to: a session there is a credential as well.
    Cookies,
    /// A request body whose coding cannot be read, on hosts that credentials go to.
    UnreadableBody,
    /// Questions of DNS over HTTPS.
    DnsMessages,
    /// Trailers of a request.
    Trailers,
}

/// How a request travels.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scheme {
    /// HTTP in clear text. No credential is ever sent this way.
    Http,
    /// HTTP over verified TLS.
    Https,
    /// Bytes that are not looked into, to a server that does not speak HTTP: the entrusted tier, for databases. No credential
    /// is ever injected; a program that needs one there has to hold it.
    Tcp,
}

/// So many in a while, and that many at once.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

impl Rule {
    /// Allows all methods and paths over TLS on port 443.
    pub fn https(host: HostPattern) -> Self {
        Self::over(host, Scheme::Https, 443)
    }

    /// Allows all methods and paths in clear text on port 80. Credentials do not travel there.
    pub fn http(host: HostPattern) -> Self {
        Self::over(host, Scheme::Http, 80)
    }

    /// Allows any bytes on this port, unread. See [`Scheme::Tcp`].
    pub fn tcp(host: HostPattern, port: u16) -> Self {
        Self::over(host, Scheme::Tcp, port)
    }

    fn over(host: HostPattern, scheme: Scheme, port: u16) -> Self {
        let (methods, paths, allowances) = (None, None, Vec::new());
        Self { host, scheme, ports: vec![port], methods, paths, max_body_bytes: None, rate: None, allowances }
    }

    /// Only these methods.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = Some(methods.into_iter().collect());
        self
    }

    /// Only these paths.
    #[must_use]
    pub fn paths(mut self, paths: impl IntoIterator<Item = PathPattern>) -> Self {
        self.paths = Some(paths.into_iter().collect());
        self
    }

    /// With this exception from the strict default.
    #[must_use]
    pub fn allow(mut self, allowance: Allowance) -> Self {
        self.allowances.push(allowance);
        self
    }

    /// Whether the rule makes this exception.
    pub fn allows(&self, allowance: Allowance) -> bool {
        self.allowances.contains(&allowance)
    }

    pub(crate) fn spelling(&self) -> Spelling {
        Spelling {
            encoded_slash: self.allows(Allowance::EncodedSlash),
            parameters: self.allows(Allowance::PathParameters),
        }
    }
}

impl Scheme {
    /// `http`, `https` or `tcp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
        }
    }

    /// The port that need not be written: 80 or 443.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Tcp => None,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
