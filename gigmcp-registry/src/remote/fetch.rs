//! Asks a registry, which may redirect, or demand to know who asks.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::answer::Answer;
use super::authorize::Access;
use super::url::{Scheme, Url};
use super::{RedirectFault, Remote, RemoteError};
use crate::digest::Digest;
use crate::oci::{ACCEPTED, ImageReference, Kind, PullError, Registry};

impl Remote {
    pub(super) async fn small_from(
        &self,
        registry: &Registry,
        image: &ImageReference,
        digest: Digest,
        limit: u64,
        kind: Kind,
    ) -> Result<Vec<u8>, PullError> {
        let failed = |source| PullError::Remote { registry: registry.clone(), source };
        let answer = self.ask(registry, image, digest, kind, 0).await.map_err(failed)?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(PullError::Missing { digest }),
            _ => return Err(failed(answer.refusal())),
        }
        let content = answer.small(&self.0.timeouts, limit).await.map_err(failed)?;
        content.ok_or(PullError::TooLarge { digest, limit })
    }

    /// Asks for content from an offset on.
    pub(super) async fn ask(
        &self,
        registry: &Registry,
        image: &ImageReference,
        digest: Digest,
        kind: Kind,
        from: u64,
    ) -> Result<Answer, RemoteError> {
        let scheme = if self.0.plain_http.contains(registry) { Scheme::Http } else { Scheme::Https };
        let place = if kind == Kind::Manifest { "manifests" } else { "blobs" };
        let path = format!("/v2/{}/{place}/{digest}", image.repository);
        let url = Url { scheme, host: registry.clone(), path };
        let mut headers = HeaderMap::new();
        if kind == Kind::Manifest {
            headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPTED));
        }
        if from > 0 {
            headers.insert(header::RANGE, HeaderValue::from_str(&format!("bytes={from}-")).expect("digits"));
        }
        if let Some(token) = self.0.tokens.find(registry, &image.repository) {
            headers.insert(header::AUTHORIZATION, token);
            let answer = self.follow(&url, headers.clone()).await?;
            // It may have expired, or have been withdrawn.
            if answer.status != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            headers.remove(header::AUTHORIZATION);
        }
        let answer = self.follow(&url, headers.clone()).await?;
        // Only the registry itself is told who asks.
        if answer.status != StatusCode::UNAUTHORIZED || !answer.url.is_same_origin(&url) {
            return Ok(answer);
        }
        let authorization = self.authorize(&url, &image.repository, &answer, Access::Pull).await?;
        headers.insert(header::AUTHORIZATION, authorization);
        self.follow(&url, headers).await
    }

    /// Follows redirects, and tells nobody else what authorizes with the first one.
    async fn follow(&self, first: &Url, headers: HeaderMap) -> Result<Answer, RemoteError> {
        let mut url = first.clone();
        for _ in 0..=REDIRECTS {
            let mut headers = headers.clone();
            if !url.is_same_origin(first) {
                headers.remove(header::AUTHORIZATION);
            }
            let answer = self.request(&url, headers).await?;
            if !is_redirect(answer.status) {
                return Ok(answer);
            }
            let refused = |why| RemoteError::Redirect { host: answer.host(), why };
            let location = answer.header(header::LOCATION).ok_or(RedirectFault::Address).map_err(refused)?;
            let next = url.named_by(location).map_err(refused)?;
            self.must_be_secure(&url, &next).map_err(refused)?;
            url = next;
        }
        Err(RemoteError::Redirect { host: url.host.to_string(), why: RedirectFault::TooMany })
    }

    /// Plain HTTP is spoken to hosts that it was allowed for, and not after TLS.
    pub(super) fn must_be_secure(&self, from: &Url, to: &Url) -> Result<(), RedirectFault> {
        match to.scheme {
            Scheme::Https => Ok(()),
            Scheme::Http if from.scheme == Scheme::Http && self.0.plain_http.contains(&to.host) => Ok(()),
            Scheme::Http => Err(RedirectFault::Insecure),
        }
    }
}

pub(super) fn is_redirect(status: StatusCode) -> bool {
    use StatusCode as S;
    matches!(status, S::MOVED_PERMANENTLY | S::FOUND | S::SEE_OTHER | S::TEMPORARY_REDIRECT | S::PERMANENT_REDIRECT)
}

pub(super) const REDIRECTS: usize = 5;
