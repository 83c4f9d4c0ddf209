//! Names of variables: a misspelled setting must not be a setting left at its default.

use std::ffi::OsString;

use super::{SettingsError, listed::Setting};

/// The `GIG_*` variables that nobody reads.
pub(super) fn faults(
    settings: &[Setting],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<SettingsError> {
    let mut names: Vec<String> = environment
        .filter_map(|(name, value)| name.into_string().ok().filter(|_| !value.is_empty()))
        .filter(|name| name.starts_with("GIG_"))
        .collect();
    names.sort_unstable();
    let known: Vec<&str> = known(settings).collect();
    names.into_iter().filter(|name| !known.contains(&name.as_str())).map(|name| fault(name, &known)).collect()
}

/// Every variable that is read.
pub(super) fn known(settings: &[Setting]) -> impl Iterator<Item = &str> {
    settings.iter().flat_map(|setting| [Some(setting.variable.as_str()), setting.file_variable()]).flatten()
}

fn fault(name: String, known: &[&str]) -> SettingsError {
    if let Some(instead) = instead(&name) {
        return SettingsError::Replaced { name, instead };
    }
    // A file is what only secrets have.
    if let Some(whole) = name.strip_suffix("_FILE").filter(|whole| known.contains(whole)) {
        return SettingsError::Unknown { nearest: Some(whole.to_owned()), name };
    }
    let nearest = known.iter().map(|known| (strsim::osa_distance(&name, known), *known)).min();
    let nearest = nearest.filter(|(distance, known)| *distance <= known.len() / 3);
    SettingsError::Unknown { name, nearest: nearest.map(|(_, known)| known.to_owned()) }
}

/// What takes the place of a variable of the original gigmcp.
fn instead(name: &str) -> Option<&'static str> {
    let is = |pattern: &str| match pattern.split_once('*') {
        Some((start, end)) => {
            name.strip_prefix(start).is_some_and(|rest| rest.ends_with(end) && rest.len() > end.len())
        }
        None => name == pattern,
    };
    REPLACED.iter().find(|(pattern, _)| is(pattern)).map(|(_, instead)| *instead)
}

/// The variables of the original gigmcp that have no meaning here. `*` stands for the name of a vendor.
pub(super) const REPLACED: &[(&str, &str)] = &[
    ("GIG_BOOTSTRAP_PATH", "the first program of a sandbox is part of this one"),
    ("GIG_CAPTEST", "`gigmcp-gateway doctor` shows what is enforced"),
    ("GIG_ECHO_BIN", "add a server with `gigmcp-gateway server add echo --binary FILE`, or see `gigmcp-gateway demo`"),
    ("GIG_INSTALL", "what is installed is agreed to, with `gigmcp-gateway server install NAME@sha256:... --yes`"),
    ("GIG_OAUTH_*_AUTHORIZE_URL", OAUTH),
    ("GIG_OAUTH_*_CLIENT_ID", OAUTH),
    ("GIG_OAUTH_*_CLIENT_SECRET", OAUTH),
    ("GIG_OAUTH_*_CLIENT_SECRET_FILE", OAUTH),
    ("GIG_OAUTH_*_DEFAULT_SCOPES", OAUTH),
    ("GIG_OAUTH_*_PKCE", OAUTH),
    ("GIG_OAUTH_*_TOKEN_URL", OAUTH),
    ("GIG_OIDC_ADMIN_ROLE", "set GIG_OIDC_ROLE_MAP, as gigmcp-admin=admin"),
    ("GIG_OIDC_POST_LOGOUT_REDIRECT_URL", "people come back to GIG_PUBLIC_URL"),
    ("GIG_OIDC_REDIRECT_URL", "set GIG_PUBLIC_URL; where a provider sends people back to follows from it"),
    ("GIG_PROXY_PORT", "servers reach the proxy by sockets of their own sandbox, and it has no port"),
    ("GIG_REGISTRY_INDEX_URL", "set GIG_REGISTRY_URL to the address of the directory with index.jsonl in it"),
    ("GIG_REGISTRY_PUBKEY", "set GIG_REGISTRY_ROOT to the file with the root of the registry, which names its keys"),
    ("GIG_SECCOMPTEST", "`gigmcp-gateway doctor` shows what is enforced"),
    ("GIG_SIGNING_KEY", "an index is signed by `registryctl sign`, which is told of its key by a flag"),
    ("GIG_TOOLPACK_MANIFEST", "a toolpack is installed as any server is, with `gigmcp-gateway server install`"),
    ("GIG_TOOLPACK_SPEC", "a toolpack is installed as any server is, with `gigmcp-gateway server install`"),
];

const OAUTH: &str = "no vendor's OAuth is asked for tokens yet; set a token with `gigmcp-gateway secret set`";
