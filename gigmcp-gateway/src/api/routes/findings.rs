//! What was found in what the servers of a profile say.

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{ApiError, Call, Reply, Route, State, Text, route};
use crate::{
    output::harmless,
    people::{Access, ApiScope, Area, Deed, Role, Rule},
    profiles::Found,
    spec::ProfileSlug,
};

const READ: Rule = Rule::new(Access::OwnOr(Role::Auditor), Deed::Read).with_scope(ApiScope::read(Area::Profiles));

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/profiles/{slug}/findings", "profile_findings", READ)
            .summary("What was removed from what the servers of a profile say, refused or held back, counted since the profile was changed last; starts nothing")
            .path::<ProfilePath>()
            .answers(StatusCode::OK, show),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProfilePath {
    slug: Text<ProfileSlug>,
}

#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "Findings")]
struct Findings {
    /// Whether this gateway has used the profile since it was changed last. If not, nothing is known of it.
    used: bool,
    servers: Vec<ServerFindings>,
    /// Whether the servers together read strangers' text and private data, and can send.
    toxic_flow: bool,
    /// Descriptions of running servers that name another one's tool.
    shadowings: Vec<Shadowing>,
}

#[derive(JsonSchema, Serialize)]
struct ServerFindings {
    server: String,
    counts: Vec<Count>,
    /// What is missing from its lists or held back, and why; or what is wrong with itself.
    faults: Vec<String>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "FindingCount")]
struct Count {
    /// As `escape-sequence` or `arguments-refused`.
    finding: &'static str,
    count: u64,
}

#[derive(JsonSchema, Serialize)]
struct Shadowing {
    server: String,
    tool: String,
    other: String,
    named: String,
}

async fn show(call: Call<State, ProfilePath>) -> Result<Reply<Findings>, ApiError> {
    let profile = call.state.store().profile(call.path.slug.0.clone()).await?;
    call.actor()?.may(&READ, Some(&profile.owner))?;
    Ok(Reply::of(call.state.profiles.findings(&profile).map(Findings::from).unwrap_or_default()))
}

impl From<Found> for Findings {
    fn from(found: Found) -> Self {
        let Found { servers, faults, shadowings, toxic_flow } = found;
        let of = |server: String, counts: std::collections::BTreeMap<&'static str, u64>| {
            let own = faults.iter().filter(|(of, _)| *of == server).map(|(_, fault)| harmless(fault).to_string());
            let faults = own.collect();
            let counts = counts.into_iter().map(|(finding, count)| Count { finding, count }).collect();
            ServerFindings { server, counts, faults }
        };
        let shadowings = shadowings.into_iter().map(|found| Shadowing {
            server: found.server.to_string(),
            tool: harmless(&found.tool).to_string(),
            other: found.other.to_string(),
            named: harmless(&found.named).to_string(),
        });
        let shadowings = shadowings.collect();
        let servers = servers.into_iter().map(|(server, counts)| of(server, counts)).collect();
        Self { used: true, servers, toxic_flow, shadowings }
    }
}
