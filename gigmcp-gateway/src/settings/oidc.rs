//! Who vouches for people, if not only the gateway itself.

use std::{fs, path::PathBuf};

use clap::{Args, ValueEnum};

use super::{PublicUrl, SecretFile, SettingsError, secret};
use crate::{
    oidc::{Admission, ClaimPath, Config, Issuer, NewAccounts, Reach, RoleMapping},
    people::Lifetime,
};

/// How people sign in.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Settings of how people sign in, each also a variable")]
pub(crate) struct OidcSettings {
    /// Whether people sign in with a password kept here; `off` needs GIG_OIDC_ISSUER
    #[arg(long, env = "GIG_LOCAL_LOGIN", value_name = "on|off", default_value = "on", global = true)]
    local_login: Switch,

    /// OpenID Connect provider that people sign in by, as it names itself; https, or http on this machine. Needs
    /// GIG_OIDC_CLIENT_ID and GIG_PUBLIC_URL. Tell it the redirect address GIG_PUBLIC_URL/api/v1/oidc/callback, after signing out
    /// GIG_PUBLIC_URL/api/v1/oidc/signed-out, and for back-channel logout GIG_PUBLIC_URL/api/v1/oidc/backchannel-logout
    #[arg(long, env = "GIG_OIDC_ISSUER", value_name = "URL", global = true)]
    oidc_issuer: Option<Issuer>,

    /// What the provider calls the gateway
    #[arg(long, env = "GIG_OIDC_CLIENT_ID", value_name = "ID", global = true)]
    oidc_client_id: Option<String>,

    /// File of the secret that the provider knows the gateway by. Without one the gateway is a public client
    #[arg(long, env = "GIG_OIDC_CLIENT_SECRET_FILE", value_name = "FILE", global = true)]
    oidc_client_secret_file: Option<SecretFile>,

    /// What is asked of the provider (separated by blanks); `offline_access` asks for a refresh token, with which sessions are
    /// confirmed while they last
    #[arg(long, env = "GIG_OIDC_SCOPES", value_name = "SCOPES", default_value = "openid profile email", global = true)]
    oidc_scopes: String,

    /// Claim with somebody's roles: `roles`, a path such as `realm_access.roles`, a name with a colon in it as it is, or a JSON
    /// pointer. It is a text, a list of texts, or an object whose names are the roles
    #[arg(long, env = "GIG_OIDC_ROLE_CLAIM", value_name = "CLAIM", default_value = "roles", global = true)]
    oidc_role_claim: ClaimPath,

    /// What the roles of that claim are here, as gig-admins=admin,staff=user; whoever has none of them is not let in, and the
    /// highest counts. Without it, new accounts are users, and roles are given here
    #[arg(long, env = "GIG_OIDC_ROLE_MAP", value_name = "ROLE=ROLE", value_delimiter = ',', global = true)]
    oidc_role_map: Vec<RoleMapping>,

    /// Claim with somebody's groups, written as that of the roles
    #[arg(long, env = "GIG_OIDC_GROUP_CLAIM", value_name = "CLAIM", default_value = "groups", global = true)]
    oidc_group_claim: ClaimPath,

    /// Groups whose members are let in (comma separated); without them, all are
    #[arg(long, env = "GIG_OIDC_ALLOWED_GROUPS", value_name = "GROUP", value_delimiter = ',', global = true)]
    oidc_allowed_groups: Vec<String>,

    /// Domains of the verified addresses of those who are let in (comma separated); without them, all are
    #[arg(long, env = "GIG_OIDC_ALLOWED_DOMAINS", value_name = "DOMAIN", value_delimiter = ',', global = true)]
    oidc_allowed_domains: Vec<String>,

    /// Who gets an account by signing in: those whose verified address was invited, or anyone whom the provider and the other
    /// settings let in
    #[arg(
        long,
        env = "GIG_OIDC_NEW_ACCOUNTS",
        value_name = "invited|anyone",
        default_value = "invited",
        global = true
    )]
    oidc_new_accounts: NewAccounts,

    /// Where the gateway reaches the host of the issuer, if not under its name: HOST:PORT, with the certificate of the issuer's
    /// host; https://HOST:PORT, with one of that host; or http://HOST:PORT, on this machine or in a private network
    #[arg(long, env = "GIG_OIDC_REACH", value_name = "ADDRESS", global = true)]
    oidc_reach: Option<Reach>,

    /// PEM file of certificate authorities that the provider's hosts are checked against, besides those of this machine
    #[arg(long, env = "GIG_OIDC_CA", value_name = "FILE", global = true)]
    oidc_ca: Option<PathBuf>,

    /// How often a session is confirmed by the provider, where it gave a refresh token
    #[arg(long, env = "GIG_OIDC_RECHECK", value_name = "TIME", default_value = "15m", global = true)]
    oidc_recheck: Lifetime,

    /// How long keys, tokens and servers of somebody without a password go on after the provider has vouched for them last, at a
    /// sign-in or when a session was confirmed; without it, until it refuses them
    #[arg(long, env = "GIG_OIDC_PROGRAMS_TTL", value_name = "TIME", global = true)]
    oidc_programs_ttl: Option<Lifetime>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// What is wrong with them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InvalidOidc {
    #[error("GIG_OIDC_ISSUER and GIG_OIDC_CLIENT_ID go together; set both or none")]
    Half,
    #[error("GIG_OIDC_ISSUER needs GIG_PUBLIC_URL, where browsers come back to")]
    PublicUrl,
    #[error("GIG_LOCAL_LOGIN=off without GIG_OIDC_ISSUER would let nobody in; set a provider, or leave it on")]
    NobodyIn,
    #[error("GIG_OIDC_SCOPES must hold `openid`, and names of visible ASCII characters separated by blanks")]
    Scopes,
    #[error("GIG_OIDC_ALLOWED_DOMAINS holds `{text}`; write domains as example.com, without @")]
    Domain { text: String },
    #[error("{}, which GIG_OIDC_CA names, holds no certificates", .path.display())]
    Authority { path: PathBuf },
}

impl OidcSettings {
    /// Whether passwords are kept and asked for here.
    pub(crate) fn is_local(&self) -> bool {
        self.local_login == Switch::On
    }

    /// The provider, if one is set.
    pub(crate) fn config(&self, public_url: Option<&PublicUrl>) -> Result<Option<Config>, SettingsError> {
        let (issuer, client_id) = match (&self.oidc_issuer, &self.oidc_client_id) {
            (Some(issuer), Some(client_id)) => (issuer.clone(), client_id.clone()),
            (None, None) if !self.is_local() => return Err(InvalidOidc::NobodyIn.into()),
            (None, None) => return Ok(None),
            _ => return Err(InvalidOidc::Half.into()),
        };
        let public_url = public_url.ok_or(InvalidOidc::PublicUrl)?.origin().to_owned();
        let client_secret = secret("GIG_OIDC_CLIENT_SECRET", self.oidc_client_secret_file.as_deref())?;
        Ok(Some(Config {
            issuer,
            client_id,
            client_secret: client_secret.filter(|secret| !secret.is_empty()),
            public_url,
            scopes: self.scopes()?,
            admission: self.admission()?,
            new_accounts: self.oidc_new_accounts,
            reach: self.oidc_reach.clone(),
            authorities: self.authorities()?,
            recheck: self.oidc_recheck,
            programs: self.oidc_programs_ttl,
        }))
    }

    fn scopes(&self) -> Result<Vec<String>, InvalidOidc> {
        let scopes: Vec<String> =
            self.oidc_scopes.split([' ', ',']).filter(|scope| !scope.is_empty()).map(Into::into).collect();
        let visible =
            |scope: &String| scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        match scopes.iter().any(|scope| scope == "openid") && scopes.iter().all(visible) {
            true => Ok(scopes),
            false => Err(InvalidOidc::Scopes),
        }
    }

    fn admission(&self) -> Result<Admission, InvalidOidc> {
        let mut domains = Vec::new();
        for text in &self.oidc_allowed_domains {
            let domain = text.trim().to_ascii_lowercase();
            if format!("x@{domain}").parse::<crate::people::Email>().is_err() {
                return Err(InvalidOidc::Domain { text: text.clone() });
            }
            domains.push(domain);
        }
        Ok(Admission {
            role_claim: self.oidc_role_claim.clone(),
            role_map: self.oidc_role_map.clone(),
            group_claim: self.oidc_group_claim.clone(),
            groups: self.oidc_allowed_groups.clone(),
            domains,
        })
    }

    fn authorities(&self) -> Result<Vec<u8>, SettingsError> {
        let Some(path) = &self.oidc_ca else { return Ok(Vec::new()) };
        let unreadable =
            |source| SettingsError::Unreadable { name: "GIG_OIDC_CA".to_owned(), path: path.clone(), source };
        let pem = fs::read(path).map_err(unreadable)?;
        match crate::oidc::holds_authorities(&pem) {
            true => Ok(pem),
            false => Err(InvalidOidc::Authority { path: path.clone() }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn config(arguments: &[&str], public_url: Option<&str>) -> Result<bool, String> {
        let command = OidcSettings::augment_args(clap::Command::new("gigmcp-gateway"));
        let given = [&["gigmcp-gateway"], arguments].concat();
        let matches = command.try_get_matches_from(given).map_err(|error| error.to_string())?;
        let settings = OidcSettings::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        let public_url = public_url.map(|url| url.parse().expect("an address"));
        settings.config(public_url.as_ref()).map(|config| config.is_some()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_does_not_fit_together_is_refused_with_what_to_do() {
        let (issuer, client) = (["--oidc-issuer", "https://id.example"], ["--oidc-client-id", "gig"]);
        let both = [issuer, client].concat();
        let url = Some("https://gig.example");
        let with = |more: &[&'static str]| [both.as_slice(), more].concat();
        let empty = tempfile::NamedTempFile::new().expect("a file");
        let empty = empty.path().to_str().expect("text").to_owned();
        let authority = [both.as_slice(), &["--oidc-ca", &empty]].concat();
        for (case, arguments, public_url, expected) in [
            ("none", Vec::new(), None, Ok(false)),
            ("twin", both.clone(), url, Ok(true)),
            ("twin: no passwords", with(&["--local-login", "off"]), url, Ok(true)),
            (
                "twin: all",
                with(&["--oidc-role-map", "a=admin,b=user", "--oidc-allowed-domains", "example.com"]),
                url,
                Ok(true),
            ),
            ("half", issuer.to_vec(), url, Err("go together")),
            ("other half", client.to_vec(), url, Err("go together")),
            ("nowhere to come back to", both.clone(), None, Err("GIG_PUBLIC_URL")),
            ("nobody in", vec!["--local-login", "off"], url, Err("nobody in")),
            (
                "plain",
                vec!["--oidc-issuer", "http://id.example", "--oidc-client-id", "gig"],
                url,
                Err("https://HOST/PATH"),
            ),
            ("not OpenID", with(&["--oidc-scopes", "profile"]), url, Err("must hold `openid`")),
            ("no domain", with(&["--oidc-allowed-domains", "@example.com"]), url, Err("without @")),
            ("no role", with(&["--oidc-role-map", "a=root"]), url, Err("user, auditor or admin")),
            ("no claim", with(&["--oidc-role-claim", "a..b"]), url, Err("JSON pointer")),
            ("no port", with(&["--oidc-reach", "zitadel"]), url, Err("HOST:PORT")),
            ("no certificates", authority, url, Err("holds no certificates")),
        ] {
            match (config(&arguments, public_url), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{case}"),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{case}: {error}"),
                (found, expected) => panic!("{case}: {found:?} and not {expected:?}"),
            }
        }
    }
}
