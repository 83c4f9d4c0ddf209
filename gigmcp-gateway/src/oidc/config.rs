//! What the operator says of the provider.

use std::{fmt, net::IpAddr, str::FromStr};

use clap::ValueEnum;
use zeroize::Zeroizing;

use super::Admission;
use crate::people::Lifetime;

/// A provider, and what the gateway is to it.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) issuer: Issuer,
    pub(crate) client_id: String,
    /// None for a public client.
    pub(crate) client_secret: Option<Zeroizing<String>>,
    /// Where browsers reach us, without a path.
    pub(crate) public_url: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) admission: Admission,
    pub(crate) new_accounts: NewAccounts,
    pub(crate) reach: Option<Reach>,
    /// PEM, besides the machine's.
    pub(crate) authorities: Vec<u8>,
    /// How often a session is confirmed.
    pub(crate) recheck: Lifetime,
    /// How long programs go on of somebody for whom it does not vouch any more; none if it is to refuse them.
    pub(crate) programs: Option<Lifetime>,
}

impl Config {
    pub(super) fn redirect_url(&self) -> String {
        format!("{}/api/v1/oidc/callback", self.public_url)
    }

    pub(super) fn signed_out_url(&self) -> String {
        format!("{}/api/v1/oidc/signed-out", self.public_url)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Config").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Who gets an account by signing in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum NewAccounts {
    /// Whose verified address was invited.
    Invited,
    /// All whom the provider and the other settings let in.
    Anyone,
}

/// A provider by the name that it gives itself, byte for byte: `https://...`, or `http://` on this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Issuer(Box<str>);

/// A text that is no such name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("write the issuer as https://HOST/PATH, without ? and #; http:// is for localhost, 127.0.0.1 and [::1] only")]
pub(crate) struct InvalidIssuer;

impl Issuer {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Issuer {
    type Err = InvalidIssuer;

    fn from_str(text: &str) -> Result<Self, InvalidIssuer> {
        let uri: http::Uri = text.parse().map_err(|_| InvalidIssuer)?;
        let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or(InvalidIssuer)?;
        let allowed = match scheme {
            "https" => true,
            "http" => is_loopback(authority.host()),
            _ => false,
        };
        let bare = uri.query().is_none() && !text.contains('#') && !authority.as_str().contains('@');
        match allowed && bare && !authority.host().is_empty() {
            true => Ok(Self(text.into())),
            false => Err(InvalidIssuer),
        }
    }
}

/// Where the issuer's host is dialled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reach {
    pub(super) host: Box<str>,
    pub(super) port: u16,
    pub(super) by: ReachBy,
}

/// How what is found there proves to be the provider.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReachBy {
    /// As under its own name.
    Issuer,
    /// By a certificate for the host that is dialled.
    ItsName,
    /// By being on this machine or in a private network.
    Plain,
}

/// A text that is no such address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("write the address as HOST:PORT, https://HOST:PORT or http://HOST:PORT, without a path")]
pub(crate) struct InvalidReach;

impl FromStr for Reach {
    type Err = InvalidReach;

    fn from_str(text: &str) -> Result<Self, InvalidReach> {
        let (by, rest) = match text.split_once("://") {
            None => (ReachBy::Issuer, text),
            Some(("https", rest)) => (ReachBy::ItsName, rest),
            Some(("http", rest)) => (ReachBy::Plain, rest),
            Some(_) => return Err(InvalidReach),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: http::uri::Authority = rest.parse().map_err(|_| InvalidReach)?;
        let port = authority.port_u16().ok_or(InvalidReach)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        match rest.contains('@') || host.is_empty() {
            true => Err(InvalidReach),
            false => Ok(Self { host: host.to_ascii_lowercase().into(), port, by }),
        }
    }
}

/// Whether a host is this machine by its name.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_taken_as_it_is_written() {
        for (text, expected) in [
            ("https://id.example.com", true),
            ("https://id.example.com/", true),
            ("https://id.example.com:8443/realms/x", true),
            ("http://localhost:8080", true),
            ("http://[::1]:8080", true),
            ("http://id.example.com", false),
            ("http://localhost.example.com", false),
            ("https://id.example.com?x", false),
            ("https://id.example.com#x", false),
            ("https://a@id.example.com", false),
            ("id.example.com", false),
            ("", false),
        ] {
            let parsed = text.parse::<Issuer>();
            assert_eq!(parsed.is_ok_and(|issuer| issuer.as_str() == text), expected, "{text}");
        }
    }

    #[test]
    fn a_reach_says_how_it_is_proven() {
        for (text, expected) in [
            ("zitadel:8080", Some(("zitadel", 8080, ReachBy::Issuer))),
            ("https://Zitadel:8443/", Some(("zitadel", 8443, ReachBy::ItsName))),
            ("http://10.0.0.1:8080", Some(("10.0.0.1", 8080, ReachBy::Plain))),
            ("http://[::1]:8080", Some(("::1", 8080, ReachBy::Plain))),
            ("zitadel", None),
            ("http://zitadel", None),
            ("http://zitadel:8080/path", None),
            ("ftp://zitadel:8080", None),
            ("http://a@zitadel:8080", None),
            (":80", None),
        ] {
            let parsed = text.parse::<Reach>().ok();
            let parsed = parsed.as_ref().map(|reach| (&*reach.host, reach.port, reach.by));
            assert_eq!(parsed, expected, "{text}");
        }
    }
}
