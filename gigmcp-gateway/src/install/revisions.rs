//! What differs between two revisions of one server, so that whoever agreed to one can agree to the other.

use std::collections::BTreeSet;

use gigmcp_registry::{Change, Digest, ServerName};
use serde_json::{Map, Value};

use super::{InstallError, Said, lower::hash};
use crate::{host::Host, spec::ServerSpec, store::StoreError};

/// What differs.
#[derive(Clone, Debug)]
pub(crate) struct Between {
    /// The versions; of what came from no registry, the revisions.
    pub(crate) before: String,
    pub(crate) after: String,
    /// The hash of the manifest after it, if it came from a registry.
    pub(crate) manifest: Option<Digest>,
    /// What the manifests say differently.
    pub(crate) changes: Vec<Change>,
    /// Variables with other values.
    pub(crate) said: Vec<Said>,
    /// What differs in the declarations of a server that came from no registry.
    pub(crate) declared: Vec<Declared>,
}

/// One member of a declaration that is another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Declared {
    pub(crate) member: String,
    /// Neither is told of what names paths of the machine or values that may be nobody's business.
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

/// What differs between two revisions of a server, of which there may be later ones.
///
/// # Errors
/// [`StoreError::Missing`] if one of them never was one of this server.
pub(crate) async fn revisions(host: &Host, server: &ServerName, from: i64, to: i64) -> Result<Between, InstallError> {
    let store = &host.store;
    let (before, after) = (spec(host, server, from).await?, spec(host, server, to).await?);
    let manifests = (store.installed(server.clone(), from).await?, store.installed(server.clone(), to).await?);
    let manifest = manifests.1.as_ref().map(|row| hash(&row.manifest));
    Ok(match manifests {
        (Some(earlier), Some(later)) => Between {
            before: earlier.manifest.version.to_string(),
            after: later.manifest.version.to_string(),
            manifest,
            changes: earlier.manifest.changes_to(&later.manifest),
            said: Said::changes(&before, &after),
            declared: Vec::new(),
        },
        _ => Between {
            before: from.to_string(),
            after: to.to_string(),
            manifest,
            changes: Vec::new(),
            said: Vec::new(),
            declared: declared(&before, &after),
        },
    })
}

async fn spec(host: &Host, server: &ServerName, revision: i64) -> Result<ServerSpec, StoreError> {
    host.store.policy(server.clone(), revision).await?.spec(server)
}

fn declared(before: &ServerSpec, after: &ServerSpec) -> Vec<Declared> {
    let members = |spec: &ServerSpec| match serde_json::to_value(spec) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    let (before, after) = (members(before), members(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    differs
        .map(|name| {
            let told = |of: &Map<String, Value>| of.get(name).filter(|_| !UNTOLD.contains(&name.as_str())).cloned();
            Declared { member: name.clone(), before: told(&before), after: told(&after) }
        })
        .collect()
}

/// For auditors only, as everywhere.
const UNTOLD: [&str; 5] = ["source", "command", "env", "read_only", "state"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Source;

    #[test]
    fn what_a_declaration_reaches_is_told_and_what_is_of_the_machine_is_only_named() {
        let before = ServerSpec { command: vec!["a".to_owned()], ..ServerSpec::new(Source::HostTools) };
        let mut after = before.clone();
        assert_eq!(declared(&before, &after), [], "twin");
        after.allow.push("api.example.com".parse().expect("a host"));
        after.read_only.push("/opt/inside".into());
        let found = declared(&before, &after);
        let found: Vec<_> = found.iter().map(|of| (of.member.as_str(), &of.before, &of.after)).collect();
        let (none, some) = (Some(serde_json::json!([])), Some(serde_json::json!(["api.example.com"])));
        assert_eq!(found, [("allow", &none, &some), ("read_only", &None, &None)]);
    }
}
