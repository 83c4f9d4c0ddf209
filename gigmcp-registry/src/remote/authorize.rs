//! Tells a registry who asks.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::answer::Answer;
use super::challenge::Challenge;
use super::url::Url;
use super::{Remote, RemoteError};
use crate::oci::{Registry, Repository};

/// What authorizes with a repository, while it does.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<(Registry, Repository), (HeaderValue, Instant)>>);

impl Tokens {
    pub(super) fn find(&self, registry: &Registry, repository: &Repository) -> Option<HeaderValue> {
        let mut all = self.lock();
        all.retain(|_, (_, expires)| *expires > Instant::now());
        all.get(&(registry.clone(), repository.clone())).map(|(token, _)| token.clone())
    }

    fn keep(&self, registry: &Registry, repository: &Repository, token: &HeaderValue, lifetime: Duration) {
        let expires = Instant::now() + lifetime.min(LONGEST);
        self.lock().insert((registry.clone(), repository.clone()), (token.clone(), expires));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Registry, Repository), (HeaderValue, Instant)>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Remote {
    /// What the header `Authorization` must be, by what the registry demands.
    pub(super) async fn authorize(
        &self,
        url: &Url,
        repository: &Repository,
        answer: &Answer,
        access: Access,
    ) -> Result<HeaderValue, RemoteError> {
        match Challenge::best(answer.headers(header::WWW_AUTHENTICATE)) {
            Some(Challenge::Basic) => {
                let basic = self.basic(&url.host, &url.host).await?;
                basic.ok_or_else(|| RemoteError::Unauthorized { host: url.host.to_string() })
            }
            Some(Challenge::Bearer { realm, service }) => {
                let failed = || RemoteError::Challenge { host: url.host.to_string() };
                let mut realm = Url::whole(&realm).map_err(|_| failed())?;
                self.must_be_secure(url, &realm).map_err(|_| failed())?;
                add_query(&mut realm.path, service.as_deref(), repository, access);
                let (token, lifetime) = self.token(&url.host, &realm).await?;
                if access == Access::Pull {
                    self.0.tokens.keep(&url.host, repository, &token, lifetime);
                }
                Ok(token)
            }
            None => Err(RemoteError::Challenge { host: url.host.to_string() }),
        }
    }

    async fn basic(&self, registry: &Registry, to: &Registry) -> Result<Option<HeaderValue>, RemoteError> {
        let credential = self.0.credentials.credential(registry, to).await;
        let credential = credential.map_err(|source| RemoteError::Credential { host: to.to_string(), source })?;
        let Some(credential) = credential else { return Ok(None) };
        sensitive(&credential.basic()).map(Some).ok_or_else(|| RemoteError::Challenge { host: to.to_string() })
    }

    async fn token(&self, registry: &Registry, realm: &Url) -> Result<(HeaderValue, Duration), RemoteError> {
        let mut headers = HeaderMap::new();
        if let Some(basic) = self.basic(registry, &realm.host).await? {
            headers.insert(header::AUTHORIZATION, basic);
        }
        // A redirect is no answer here: who gives tokens says so itself.
        let answer = self.request(realm, headers).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.refusal());
        }
        let failed = || RemoteError::Challenge { host: realm.host.to_string() };
        let content = answer.small(&self.0.timeouts, TOKEN_BYTES).await?.ok_or_else(failed)?;
        let content = Zeroizing::new(content);
        let read: Given = serde_json::from_slice(&content).map_err(|_| failed())?;
        let token = read.token.or(read.access_token).map(Zeroizing::new).ok_or_else(failed)?;
        let header = sensitive(&Zeroizing::new(format!("Bearer {}", *token))).ok_or_else(failed)?;
        Ok((header, Duration::from_secs(read.expires_in.unwrap_or(SHORTEST)).saturating_sub(MARGIN)))
    }
}

#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// What a token is wanted for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    Pull,
    Push,
}

/// What is asked for is ours to say: to pull from this repository or push to it, whatever the registry would like.
fn add_query(path: &mut String, service: Option<&str>, repository: &Repository, access: Access) {
    path.push(if path.contains('?') { '&' } else { '?' });
    if let Some(service) = service {
        path.push_str("service=");
        path.push_str(&percent_encoded(service));
        path.push('&');
    }
    let actions = if access == Access::Pull { "pull" } else { "pull,push" };
    path.push_str(&format!("scope=repository:{repository}:{actions}"));
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

const TOKEN_BYTES: u64 = 64 << 10;
/// If nothing is said, by the specification.
const SHORTEST: u64 = 60;
const MARGIN: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(3600);
