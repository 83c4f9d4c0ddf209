//! What the provider says of itself: its addresses and its keys.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::{Request, StatusCode, header};
use openidconnect::core::CoreJsonWebKeySet;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{
    Config,
    http::{Http, HttpError},
};
use crate::output::whole;

/// A provider, whether or not it could be asked yet.
pub(super) struct Provider {
    pub(super) http: Http,
    issuer: String,
    known: RwLock<Option<Arc<Known>>>,
    /// When the keys were asked for the last time because one was not among them.
    asked_again: tokio::sync::Mutex<Option<Instant>>,
}

/// What it said last.
pub(super) struct Known {
    pub(super) metadata: Metadata,
    pub(super) keys: CoreJsonWebKeySet,
}

/// OpenID Connect Discovery 1.0, section 3, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    jwks_uri: String,
    pub(super) userinfo_endpoint: Option<String>,
    pub(super) end_session_endpoint: Option<String>,
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
    /// RFC 9207.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

/// Why the provider cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ProviderError {
    #[error("the provider was not reached yet")]
    NotReady,
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{url} answered {status}")]
    Status { url: String, status: StatusCode },
    #[error("the answer of {url} is not understood")]
    Answer { url: String, source: serde_json::Error },
    #[error("the provider calls itself `{found}`, and GIG_OIDC_ISSUER is `{expected}`; they must be the same")]
    Issuer { expected: String, found: String },
    #[error("the provider's {what} is `{url}`, which is not asked: https, or http on this machine")]
    Endpoint { what: &'static str, url: String },
    #[error("the provider offers PKCE, but not S256")]
    Challenge,
    #[error("the keys were asked for a moment ago")]
    TooSoon,
}

impl Provider {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            http: Http::new(&config.issuer, config.reach.clone(), &config.authorities),
            issuer: config.issuer.as_str().to_owned(),
            known: RwLock::default(),
            asked_again: tokio::sync::Mutex::default(),
        }
    }

    /// What is known of it.
    pub(super) fn known(&self) -> Result<Arc<Known>, ProviderError> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(ProviderError::NotReady)
    }

    /// Asks it until it answers, and again each hour; never returns.
    pub(super) async fn follow(&self) {
        let mut wait = FIRST_WAIT;
        loop {
            match self.discover().await {
                Ok(()) => {
                    if wait != AGAIN {
                        tracing::info!("people can sign in by {}", self.issuer);
                    }
                    wait = AGAIN;
                }
                Err(error) => {
                    tracing::warn!("the identity provider {} cannot be used yet: {}", self.issuer, whole(&error));
                    wait = if wait == AGAIN { FIRST_WAIT } else { (wait * 2).min(LONGEST_WAIT) };
                }
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks it once.
    pub(super) async fn discover(&self) -> Result<(), ProviderError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let metadata: Metadata = self.read(&url, None).await?;
        self.check(&metadata)?;
        let keys = self.read(&metadata.jwks_uri, None).await?;
        self.keep(Known { metadata, keys });
        Ok(())
    }

    /// Asks for the keys again, as one was not among them: at most once in a while, whoever comes with what is signed by none.
    pub(super) async fn renew_keys(&self, before: &Arc<Known>) -> Result<Arc<Known>, ProviderError> {
        let mut asked = self.asked_again.lock().await;
        let known = self.known()?;
        if !Arc::ptr_eq(&known, before) {
            return Ok(known);
        }
        if asked.is_some_and(|asked| asked.elapsed() < KEYS_AGAIN) {
            return Err(ProviderError::TooSoon);
        }
        *asked = Some(Instant::now());
        let keys = self.read(&known.metadata.jwks_uri, None).await?;
        Ok(self.keep(Known { metadata: known.metadata.clone(), keys }))
    }

    /// A document of JSON.
    pub(super) async fn read<T: DeserializeOwned>(&self, url: &str, bearer: Option<&str>) -> Result<T, ProviderError> {
        let mut request = Request::get(url).header(header::ACCEPT, "application/json");
        if let Some(token) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Vec::new()).map_err(|_| HttpError::Address { url: url.to_owned() })?;
        let answer = self.http.ask(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(ProviderError::Status { url: url.to_owned(), status: answer.status() });
        }
        let unlike = |source| ProviderError::Answer { url: url.to_owned(), source };
        serde_json::from_slice(answer.body()).map_err(unlike)
    }

    fn check(&self, metadata: &Metadata) -> Result<(), ProviderError> {
        if metadata.issuer != self.issuer {
            let found = metadata.issuer.chars().filter(|character| !character.is_control()).take(200).collect();
            return Err(ProviderError::Issuer { expected: self.issuer.clone(), found });
        }
        for (what, url) in [
            ("authorization_endpoint", Some(&metadata.authorization_endpoint)),
            ("token_endpoint", Some(&metadata.token_endpoint)),
            ("jwks_uri", Some(&metadata.jwks_uri)),
            ("userinfo_endpoint", metadata.userinfo_endpoint.as_ref()),
            ("end_session_endpoint", metadata.end_session_endpoint.as_ref()),
        ] {
            if let Some(url) = url.filter(|url| !self.http.may_ask(url)) {
                let url = url.chars().filter(|character| !character.is_control()).take(200).collect();
                return Err(ProviderError::Endpoint { what, url });
            }
        }
        match &metadata.code_challenge_methods_supported {
            Some(methods) if !methods.is_empty() && !methods.iter().any(|method| method == "S256") => {
                Err(ProviderError::Challenge)
            }
            _ => Ok(()),
        }
    }

    fn keep(&self, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        known
    }
}

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long what it said of itself is believed.
const AGAIN: Duration = Duration::from_secs(3600);
const KEYS_AGAIN: Duration = Duration::from_secs(10);
