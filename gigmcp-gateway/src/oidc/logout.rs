//! Signing out at the provider, and being told by it that somebody did: OpenID Connect RP-Initiated Logout 1.0 and Back-Channel
//! Logout 1.0.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use openidconnect::{JsonWebKey, JsonWebKeyAlgorithm, JsonWebKeyUse, core::CoreJwsSigningAlgorithm};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Flow, Grant, Oidc, OidcError,
    provider::{Known, ProviderError},
    verify::{ALGORITHMS, CLOCKS, subject},
};
use crate::store::now_seconds;

/// What a provider tells: whose sessions are over.
#[derive(Debug)]
pub(crate) struct LogoutNotice {
    pub(crate) subject: Option<String>,
    pub(crate) sid: Option<String>,
    /// Told once.
    pub(crate) id: String,
    /// After this it is refused for its age, and need not be remembered.
    pub(crate) expires_at: i64,
}

#[derive(Deserialize)]
struct Header {
    alg: CoreJwsSigningAlgorithm,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
    b64: Option<Value>,
}

#[derive(Deserialize)]
struct LogoutClaims {
    iss: String,
    aud: Audience,
    iat: i64,
    exp: Option<i64>,
    jti: String,
    events: Map<String, Value>,
    sub: Option<String>,
    sid: Option<String>,
    nonce: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Oidc {
    /// Where the browser is sent to be signed out there too, if the provider offers that.
    pub(crate) fn end_session_url(&self, grant: &Grant, flow: &Flow) -> Option<String> {
        let known = self.provider.known().ok()?;
        let mut url: openidconnect::url::Url = known.metadata.end_session_endpoint.as_ref()?.parse().ok()?;
        let mut query = url.query_pairs_mut();
        query
            .append_pair("id_token_hint", &grant.id_token)
            .append_pair("client_id", &self.config.client_id)
            .append_pair("post_logout_redirect_uri", &self.config.signed_out_url())
            .append_pair("state", &flow.state());
        drop(query);
        Some(url.into())
    }

    /// What a logout token tells, if it is the provider's and for us. Whether it was told before is for the caller to find out.
    pub(crate) async fn logout_notice(&self, token: &str) -> Result<LogoutNotice, OidcError> {
        let known = self.provider.known()?;
        let claims = match signed(&known, token) {
            Err(Unsigned::Key) => {
                let renewed = match self.provider.renew_keys(&known).await {
                    Err(ProviderError::TooSoon) => return Err(OidcError::token("unknown-key", "its key is not known")),
                    renewed => renewed?,
                };
                signed(&renewed, token)
            }
            signed => signed,
        };
        let claims = claims.map_err(|unsigned| match unsigned {
            Unsigned::Key => OidcError::token("unknown-key", "its key is not known"),
            Unsigned::Token(cause) => OidcError::token(cause, "it is no logout token"),
        })?;
        self.read_notice(claims).map_err(|cause| OidcError::token(cause, "it is no logout token for us"))
    }

    /// Back-Channel Logout 1.0, section 2.6.
    fn read_notice(&self, claims: LogoutClaims) -> Result<LogoutNotice, &'static str> {
        let ours = match &claims.aud {
            Audience::One(audience) => *audience == self.config.client_id,
            Audience::Several(audiences) => audiences.contains(&self.config.client_id),
        };
        let now = now_seconds();
        let oldest = now.saturating_sub(MAX_AGE + CLOCKS);
        if claims.iss != self.config.issuer.as_str() {
            return Err("issuer");
        }
        if !ours {
            return Err("audience");
        }
        if claims.iat > now.saturating_add(CLOCKS) {
            return Err("future");
        }
        if claims.iat < oldest || claims.exp.is_some_and(|exp| exp <= now) {
            return Err("expired");
        }
        if !claims.events.get(EVENT).is_some_and(Value::is_object) {
            return Err("events");
        }
        // Or an ID token could end sessions.
        if claims.nonce.is_some() {
            return Err("nonce");
        }
        if claims.jti.is_empty() || claims.jti.len() > 255 {
            return Err("id");
        }
        let subject = match claims.sub {
            Some(text) => Some(subject(&text).ok_or("subject")?),
            None => None,
        };
        let sid = claims.sid.filter(|sid| !sid.is_empty() && sid.len() <= 255);
        if subject.is_none() && sid.is_none() {
            return Err("subject");
        }
        Ok(LogoutNotice { subject, sid, id: claims.jti, expires_at: claims.iat.saturating_add(MAX_AGE + 2 * CLOCKS) })
    }
}

enum Unsigned {
    /// It may be signed with a key that the provider has since it was asked.
    Key,
    Token(&'static str),
}

/// The claims of a token that one of the provider's keys has signed (RFC 7515, compact form).
fn signed(known: &Arc<Known>, token: &str) -> Result<LogoutClaims, Unsigned> {
    let form = Unsigned::Token;
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { return Err(form("form")) };
    let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| form("form"));
    let signature = decoded(signature)?;
    // An algorithm without a public key is not among those that are read.
    let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| form("algorithm"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(form("algorithm"));
    }
    let is_type = |typ: &String| ["logout+jwt", "jwt"].contains(&&*typ.to_ascii_lowercase());
    if header.crit.is_some() || header.b64.is_some() || !header.typ.as_ref().is_none_or(is_type) {
        return Err(form("form"));
    }
    let mut keys = known.keys.keys().iter().filter(|key| {
        let named = header.kid.as_ref().is_none_or(|kid| key.key_id().is_some_and(|id| id.as_str() == kid));
        let for_it = match key.signing_alg() {
            JsonWebKeyAlgorithm::Algorithm(alg) => *alg == header.alg,
            JsonWebKeyAlgorithm::Unspecified => true,
            JsonWebKeyAlgorithm::Unsupported => false,
        };
        named && for_it && key.key_use().is_none_or(JsonWebKeyUse::allows_signature)
    });
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(Unsigned::Key) };
    let message = token.rsplit_once('.').map_or("", |(message, _)| message);
    key.verify_signature(&header.alg, message.as_bytes(), &signature).map_err(|_| form("signature"))?;
    serde_json::from_slice(&decoded(payload)?).map_err(|_| form("form"))
}

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Providers give them two minutes.
const MAX_AGE: i64 = 300;
