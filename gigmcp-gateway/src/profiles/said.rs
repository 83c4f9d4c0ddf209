//! What is said of a profile's servers: in their declarations, and by the profile's owner.

use std::collections::BTreeMap;

use gigmcp_mcp::ServerPolicy;

use crate::{
    spec::{ProfileSettings, ServerName, ServerSpec, Source},
    store::{Profile, Store, StoreError},
};

/// What the declarations of a profile's servers say that clients are told of.
pub(super) struct Said(BTreeMap<ServerName, Declared>);

struct Declared {
    spec: ServerSpec,
    purpose: Option<String>,
}

impl Said {
    /// Reads what is said of each server in the revision that the profile has.
    pub(super) async fn of(store: &Store, profile: &Profile) -> Result<Self, StoreError> {
        let mut declared = BTreeMap::new();
        for (name, edition) in &profile.servers {
            let spec = store.policy(name.clone(), edition.revision).await?.spec(name)?;
            let purpose = match spec.source {
                Source::Image(_) => {
                    let installed = store.installed(name.clone(), edition.revision).await?;
                    installed.and_then(|row| row.manifest.description.or(row.manifest.display_name))
                }
                Source::Binary { .. } | Source::HostTools => None,
            };
            declared.insert(name.clone(), Declared { spec, purpose });
        }
        Ok(Self(declared))
    }

    /// What is demanded of a server. What only reads is what its manifest calls so, never what the server says itself.
    pub(super) fn policy(&self, server: &ServerName, settings: &ProfileSettings) -> ServerPolicy {
        let mut policy = settings.policy(server.as_str());
        if let Some(Declared { spec, purpose }) = self.0.get(server) {
            let read_only = spec.tools.iter().filter(|tool| tool.read_only);
            policy.read_only_tools.extend(read_only.map(|tool| Box::from(tool.name.as_str())));
            policy.purpose.clone_from(purpose);
            let enabled = settings.servers.get(server.as_str()).map(|member| &member.enabled_tools);
            let is_off = |name: &str| enabled.is_none_or(|enabled| !enabled.contains(name));
            let off = spec.tools.iter().filter(|tool| tool.off && is_off(&tool.name));
            policy.disabled.extend(off.map(|tool| Box::from(tool.name.as_str())));
        }
        if let Some(member) = settings.servers.get(server.as_str()) {
            policy.aliases.clone_from(&member.aliases);
            policy.spares = member.spares.map(usize::from);
            policy.stateless = member.stateless;
            policy.disabled.extend(member.disabled_tools.iter().map(|name| Box::from(name.as_str())));
        }
        policy
    }
}
