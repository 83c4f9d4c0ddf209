//! Gives an image of a layout directory to a registry.
//!
//! Source: OCI distribution specification 1.1, Pushing blobs (POST then PUT) and Pushing manifests.

mod contents;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::answer::Answer;
use super::authorize::Access;
use super::connect::Outgoing;
use super::content::{self, Sent};
use super::fetch::{REDIRECTS, is_redirect};
use super::url::{Scheme, Url};
use super::{RedirectFault, Remote, RemoteError};
use crate::digest::Digest;
use crate::oci::{ImageReference, InvalidReference, PullError, Registry, Repository, layout_blob};
use contents::{Blob, Contents, SmallDocument, check};

/// Where an image goes: `REGISTRY/REPOSITORY`, and the tag it gets there, if any: `REGISTRY/REPOSITORY:TAG`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PushTarget {
    /// The registry.
    pub registry: Registry,
    /// The name there.
    pub repository: Repository,
    /// The tag.
    pub tag: Option<String>,
}

impl FromStr for PushTarget {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let slash = text.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match text[slash..].split_once(':') {
            Some((last, tag)) => (&text[..slash + last.len()], Some(tag)),
            None => (text, None),
        };
        // One word alone with a port would be taken for a tag; a repository always has a registry here.
        let ImageReference { registry, repository, .. } = ImageReference::new(name, Digest::of(b""))?;
        let is_tag = |tag: &str| {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            tag.len() <= 128
                && tag.bytes().next().is_some_and(is_word)
                && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
        };
        match tag {
            Some(tag) if !is_tag(tag) => Err(InvalidReference::Repository),
            tag => Ok(Self { registry, repository, tag: tag.map(str::to_owned) }),
        }
    }
}

/// What was done.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Pushed {
    /// Of the image, as the registry has it now.
    pub digest: Digest,
    /// Blobs that were sent.
    pub sent: usize,
    /// Blobs that the registry had.
    pub present: usize,
    /// Bytes of the blobs that were sent.
    pub bytes: u64,
}

impl Remote {
    /// Gives a registry the image of this digest in a layout directory: what it has not yet, and the manifests last, so that
    /// nobody finds an image that is not whole. Done again, it goes on where it stopped.
    ///
    /// # Errors
    /// [`PushError`]. Blobs may have been sent then, which the registry collects; no manifest that lacks one.
    pub async fn push(&self, layout: impl AsRef<Path>, digest: Digest, to: &PushTarget) -> Result<Pushed, PushError> {
        let layout = layout.as_ref().to_owned();
        let read = tokio::task::spawn_blocking(move || Contents::read(&layout, digest));
        let contents = read.await.expect("reading a layout does not panic")?;
        let mut pusher = Pusher { remote: self, to, authorization: None };
        let mut pushed = Pushed { digest, sent: 0, present: 0, bytes: 0 };
        for blob in &contents.blobs {
            if pusher.has(blob).await? {
                pushed.present += 1;
            } else {
                pusher.upload(&contents.layout, blob).await?;
                pushed.sent += 1;
                pushed.bytes += blob.bytes;
            }
        }
        for manifest in &contents.manifests {
            let name = match &to.tag {
                Some(tag) if manifest.digest == digest => tag.clone(),
                _ => manifest.digest.to_string(),
            };
            pusher.put_manifest(manifest, &name).await?;
        }
        Ok(pushed)
    }
}

struct Pusher<'a> {
    remote: &'a Remote,
    to: &'a PushTarget,
    /// Learnt by a request without content, so that nothing large is sent in vain.
    authorization: Option<HeaderValue>,
}

impl Pusher<'_> {
    async fn has(&mut self, blob: &Blob) -> Result<bool, PushError> {
        let answer = self.ask(Method::HEAD, &self.url(&format!("blobs/{}", blob.digest))).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.failed(answer.refusal())),
        }
    }

    async fn upload(&mut self, layout: &Path, blob: &Blob) -> Result<(), PushError> {
        let (path, digest, bytes) = (layout.to_owned(), blob.digest, blob.bytes);
        let checked = tokio::task::spawn_blocking(move || check(&path, digest, bytes));
        checked.await.expect("reading a file does not panic")?;
        let started = self.ask(Method::POST, &self.url("blobs/uploads/")).await?;
        if started.status != StatusCode::ACCEPTED {
            return Err(self.failed(started.refusal()));
        }
        let refused = |why| RemoteError::Redirect { host: started.host(), why };
        let location = started.header(header::LOCATION).ok_or(RedirectFault::Address).map_err(refused);
        let mut place = location
            .and_then(|location| started.url.named_by(location).map_err(refused))
            .map_err(|error| self.failed(error))?;
        self.remote.must_be_secure(&started.url, &place).map_err(|why| self.failed(refused(why)))?;
        place.path.push(if place.path.contains('?') { '&' } else { '?' });
        place.path.push_str(&format!("digest={digest}"));
        let file = layout_blob(layout, digest)?;
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))]);
        let until = self.remote.0.timeouts.whole(bytes);
        let answer = self.send(Method::PUT, &place, headers, content::file(file, bytes), until).await?;
        self.created(&answer, digest)
    }

    async fn put_manifest(&mut self, manifest: &SmallDocument, name: &str) -> Result<(), PushError> {
        let media_type = HeaderValue::from_str(&manifest.media_type);
        let media_type =
            media_type.map_err(|_| self.failed(RemoteError::Challenge { host: self.to.registry.to_string() }))?;
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, media_type)]);
        let until = self.remote.0.timeouts.answer;
        let url = self.url(&format!("manifests/{name}"));
        let answer = self.send(Method::PUT, &url, headers, content::bytes(manifest.content.clone()), until).await?;
        self.created(&answer, manifest.digest)
    }

    /// The registry says which digest it has taken the content under. One that does not is no registry of digests.
    fn created(&self, answer: &Answer, expected: Digest) -> Result<(), PushError> {
        if answer.status != StatusCode::CREATED {
            return Err(self.failed(answer.refusal()));
        }
        let found = answer.header(HeaderName::from_static("docker-content-digest")).unwrap_or_default();
        match found == expected.to_string() {
            true => Ok(()),
            false => Err(PushError::Answer {
                registry: self.to.registry.clone(),
                expected,
                found: found.escape_default().to_string(),
            }),
        }
    }

    /// Without content, so it can be asked again with what authorizes.
    async fn ask(&mut self, method: Method, first: &Url) -> Result<Answer, PushError> {
        let until = self.remote.0.timeouts.answer;
        let answer = self.follow(&method, first).await?;
        if answer.status != StatusCode::UNAUTHORIZED || !answer.url.is_same_origin(first) {
            return Ok(answer);
        }
        let authorized = self.remote.authorize(first, &self.to.repository, &answer, Access::Push).await;
        self.authorization = Some(authorized.map_err(|error| self.failed(error))?);
        if method == Method::HEAD {
            self.follow(&method, first).await
        } else {
            self.send(method, first, HeaderMap::new(), content::bytes(""), until).await
        }
    }

    /// A registry may lead to where it keeps its blobs, which is not told who asks.
    async fn follow(&self, method: &Method, first: &Url) -> Result<Answer, PushError> {
        let mut url = first.clone();
        for _ in 0..=REDIRECTS {
            let answer = self
                .send(method.clone(), &url, HeaderMap::new(), content::bytes(""), self.remote.0.timeouts.answer)
                .await?;
            if !is_redirect(answer.status) || *method != Method::HEAD {
                return Ok(answer);
            }
            let refused = |why| self.failed(RemoteError::Redirect { host: answer.host(), why });
            let location = answer.header(header::LOCATION).ok_or(RedirectFault::Address).map_err(refused)?;
            let next = url.named_by(location).map_err(refused)?;
            self.remote.must_be_secure(&url, &next).map_err(refused)?;
            url = next;
        }
        Err(self.failed(RemoteError::Redirect { host: url.host.to_string(), why: RedirectFault::TooMany }))
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        content: Sent,
        until: Duration,
    ) -> Result<Answer, PushError> {
        // Only the registry itself is told who asks.
        if let Some(authorization) = self.authorization.as_ref().filter(|_| url.is_same_origin(&self.url(""))) {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let sent = self.remote.exchange(url, Outgoing { method, headers, content }, until).await;
        sent.map_err(|error| self.failed(error))
    }

    fn url(&self, path: &str) -> Url {
        let PushTarget { registry, repository, .. } = self.to;
        let scheme = if self.remote.0.plain_http.contains(registry) { Scheme::Http } else { Scheme::Https };
        Url { scheme, host: registry.clone(), path: format!("/v2/{repository}/{path}") }
    }

    fn failed(&self, source: RemoteError) -> PushError {
        PushError::Remote { registry: self.to.registry.clone(), source }
    }
}

/// Why an image was not pushed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// It cannot be read from its layout, or is not what it should be.
    #[error("reading the image")]
    Image(#[from] PullError),
    /// The registry did not take it.
    #[error("pushing to {registry}")]
    Remote {
        /// Which registry.
        registry: Registry,
        /// Why not.
        source: RemoteError,
    },
    /// The registry says that it has taken something else.
    #[error("{registry} says it has taken {found:?} instead of {expected}")]
    Answer {
        /// Which registry.
        registry: Registry,
        /// What was sent.
        expected: Digest,
        /// What it says.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_goes_to_a_repository() {
        for (text, expected) in [
            ("ghcr.io/example/a", Ok(("ghcr.io", "example/a", None))),
            ("ghcr.io/example/a:1.0.0", Ok(("ghcr.io", "example/a", Some("1.0.0")))),
            ("localhost:5000/a", Ok(("localhost:5000", "a", None))),
            ("localhost:5000/a:v1", Ok(("localhost:5000", "a", Some("v1")))),
            ("ghcr.io/example/a:", Err(InvalidReference::Repository)),
            ("ghcr.io/example/a:-x", Err(InvalidReference::Repository)),
            ("ghcr.io/example/a:x/y", Err(InvalidReference::Repository)),
            ("ghcr.io/A", Err(InvalidReference::Repository)),
            ("https://ghcr.io/a", Err(InvalidReference::Registry)),
        ] {
            let target = text.parse::<PushTarget>();
            let parts = target
                .as_ref()
                .map(|target| (target.registry.to_string(), target.repository.as_str(), target.tag.as_deref()))
                .map_err(|error| *error);
            assert_eq!(
                parts,
                expected.map(|(registry, repository, tag)| (registry.to_owned(), repository, tag)),
                "{text}"
            );
        }
    }
}
