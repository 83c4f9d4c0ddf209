use http::Method;

use crate::identity::CredentialId;
use crate::name::HostName;
use crate::path::PathPattern;
use crate::pattern::HostPattern;
use crate::placeholder::Placeholder;
use crate::sink::Sink;

/// A credential, what stands for it in the sandbox, and where it may go.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CredentialRule {
    /// Its name.
    pub id: CredentialId,
    /// What the sandbox holds instead of it.
    pub placeholder: Placeholder,
    /// The only hosts it may be sent to; they need a [`Rule`](crate::Rule) for `https` as well.
    pub hosts: Vec<HostPattern>,
    /// The only methods it may be sent with, or all.
    pub methods: Option<Vec<Method>>,
    /// The only paths it may be sent to, or all.
    pub paths: Option<Vec<PathPattern>>,
    /// Its place in a request.
    pub sink: Sink,
    /// Which of its values, so that what goes on with an older one is ended. 0 if it has only one.
    pub version: u64,
}

impl CredentialRule {
    /// A credential for these hosts, in this place, with every method and path that the rules allow.
    pub fn new(
        id: CredentialId,
        placeholder: Placeholder,
        hosts: impl IntoIterator<Item = HostPattern>,
        sink: Sink,
    ) -> Self {
        Self { id, placeholder, hosts: hosts.into_iter().collect(), methods: None, paths: None, sink, version: 0 }
    }

    /// Only with these methods.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = Some(methods.into_iter().collect());
        self
    }

    /// Only to these paths.
    #[must_use]
    pub fn paths(mut self, paths: impl IntoIterator<Item = PathPattern>) -> Self {
        self.paths = Some(paths.into_iter().collect());
        self
    }

    /// Another one after every change of its value, or when it has none any more.
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = version;
        self
    }

    /// Whether the credential may go to this host.
    pub(crate) fn is_bound_to(&self, host: &HostName) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// Whether it may go out with such a request. `path` is there if it has only one reading.
    pub(crate) fn goes_with(&self, method: &Method, path: Option<&str>) -> bool {
        let of_path =
            |patterns: &Vec<PathPattern>| path.is_some_and(|path| patterns.iter().any(|pattern| pattern.matches(path)));
        self.methods.as_ref().is_none_or(|methods| methods.contains(method)) && self.paths.as_ref().is_none_or(of_path)
    }
}
