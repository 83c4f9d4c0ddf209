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
    /// Further requests it may go out with, each with hosts, methods and paths of its own.
    pub also: Vec<Binding>,
    /// Its place in a request.
    pub sink: Sink,
    /// Which of its values, so that what goes on with an older one is ended. 0 if it has only one.
    pub version: u64,
}

/// Requests that a credential may go out with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binding {
    /// To these hosts.
    pub hosts: Vec<HostPattern>,
    /// With these methods, or all.
    pub methods: Option<Vec<Method>>,
    /// To these paths, or all.
    pub paths: Option<Vec<PathPattern>>,
}

impl CredentialRule {
    /// A credential for these hosts, in this place, with every method and path that the rules allow.
    pub fn new(
        id: CredentialId,
        placeholder: Placeholder,
        hosts: impl IntoIterator<Item = HostPattern>,
        sink: Sink,
    ) -> Self {
        let (hosts, also) = (hosts.into_iter().collect(), Vec::new());
        Self { id, placeholder, hosts, methods: None, paths: None, also, sink, version: 0 }
    }

    /// With these requests too.
    #[must_use]
    pub fn also(mut self, binding: Binding) -> Self {
        self.also.push(binding);
        self
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
        self.bindings_to(host).next().is_some()
    }

    /// Whether it may go to this host with some requests only.
    pub(crate) fn judges(&self, host: &HostName) -> bool {
        self.bindings_to(host).any(|(methods, paths)| methods.is_some() || paths.is_some())
    }

    /// Whether it may go to this host with such a request. `path` is there if it has only one reading.
    pub(crate) fn goes_with(&self, host: &HostName, method: &Method, path: Option<&str>) -> bool {
        let of_path =
            |patterns: &Vec<PathPattern>| path.is_some_and(|path| patterns.iter().any(|pattern| pattern.matches(path)));
        self.bindings_to(host).any(|(methods, paths)| {
            methods.as_ref().is_none_or(|methods| methods.contains(method)) && paths.as_ref().is_none_or(of_path)
        })
    }

    fn bindings_to(&self, host: &HostName) -> impl Iterator<Item = (&Option<Vec<Method>>, &Option<Vec<PathPattern>>)> {
        let also = self.also.iter().map(|binding| (&binding.hosts, &binding.methods, &binding.paths));
        let all = [(&self.hosts, &self.methods, &self.paths)].into_iter().chain(also);
        all.filter(move |(hosts, ..)| hosts.iter().any(|pattern| pattern.matches(host)))
            .map(|(_, methods, paths)| (methods, paths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placeholder::Shape;

    #[test]
    fn each_binding_has_hosts_methods_and_paths_of_its_own() {
        let hosts = |text: &str| vec![text.parse::<HostPattern>().expect("a host")];
        let paths = |text: &str| Some(vec![text.parse::<PathPattern>().expect("a path")]);
        let rule = CredentialRule::new(
            CredentialId::new("key"),
            Placeholder::mint(&Shape::opaque()),
            hosts("read.example.com"),
            Sink::Bearer,
        )
        .methods([Method::GET])
        .also(Binding { hosts: hosts("write.example.com"), methods: None, paths: paths("/v1/**") });
        for (host, method, path, expected) in [
            ("read.example.com", Method::GET, "/any", true),
            ("write.example.com", Method::POST, "/v1/a", true),
            ("read.example.com", Method::POST, "/v1/a", false), // the other binding's method
            ("write.example.com", Method::GET, "/any", false),  // the other binding's path
            ("other.example.com", Method::GET, "/v1/a", false),
        ] {
            let name: HostName = host.parse().expect("a host");
            assert_eq!(rule.goes_with(&name, &method, Some(path)), expected, "{host} {method} {path}");
        }
        assert!(!rule.goes_with(&"write.example.com".parse().expect("a host"), &Method::GET, None));
    }
}
