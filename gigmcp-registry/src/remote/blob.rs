//! Layers: large, and gone on with where they stopped.

use http::{StatusCode, header};

use super::answer::Answer;
use super::{Remote, RemoteError};
use crate::digest::Digest;
use crate::oci::{ImageReference, Kind, Progress, PullError, PullEvent, Registry, explain};
use crate::store::{BlobFault, Partial};

impl Remote {
    /// Fetches what is missing of a blob, and puts it into the store.
    pub(crate) async fn blob(
        &self,
        image: &ImageReference,
        digest: Digest,
        mut partial: Partial,
        progress: &dyn Progress,
    ) -> Result<(), PullError> {
        let mut last = PullError::Missing { digest };
        for registry in self.places(&image.registry) {
            match self.blob_from(registry, image, digest, &mut partial, progress).await {
                Ok(()) => {
                    let bytes = partial.bytes();
                    let finished = tokio::task::spawn_blocking(move || partial.finish());
                    let finished = finished.await.expect("renaming a file does not panic");
                    return finished.map_err(|fault| explain(fault, digest, bytes));
                }
                Err(error) => {
                    if is_of_content(&error) {
                        partial.restart().map_err(crate::store::StoreError::io("restarting a blob"))?;
                    }
                    last = error;
                }
            }
        }
        if partial.have() == 0 {
            partial.discard()?;
        }
        Err(last)
    }

    /// Goes on as long as each attempt brings something.
    async fn blob_from(
        &self,
        registry: &Registry,
        image: &ImageReference,
        digest: Digest,
        partial: &mut Partial,
        progress: &dyn Progress,
    ) -> Result<(), PullError> {
        let mut attempts = 0;
        let mut was_resumed = partial.have() > 0;
        loop {
            let before = partial.have();
            attempts += 1;
            let ended = match partial.have() < partial.bytes() || partial.bytes() == 0 {
                true => self.stream(registry, image, digest, partial, progress).await,
                false => Ok(()),
            };
            match ended.and_then(|()| partial.verify().map_err(|fault| explain(fault, digest, partial.bytes()))) {
                Ok(()) => return Ok(()),
                // What was left of an attempt before may be what is wrong.
                Err(PullError::WrongDigest { .. }) if was_resumed => {
                    was_resumed = false;
                    partial.restart().map_err(crate::store::StoreError::io("restarting a blob"))?;
                }
                Err(error) if is_interruption(&error) && partial.have() > before && attempts < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn stream(
        &self,
        registry: &Registry,
        image: &ImageReference,
        digest: Digest,
        partial: &mut Partial,
        progress: &dyn Progress,
    ) -> Result<(), PullError> {
        let failed = |source| PullError::Remote { registry: registry.clone(), source };
        let answer = self.ask(registry, image, digest, Kind::Blob, partial.have()).await.map_err(failed)?;
        match answer.status {
            StatusCode::PARTIAL_CONTENT if is_rest(&answer, partial) => {}
            StatusCode::PARTIAL_CONTENT => return Err(failed(RemoteError::Range { host: answer.host() })),
            // The whole, because the server knows no ranges.
            StatusCode::OK => partial.restart().map_err(crate::store::StoreError::io("restarting a blob"))?,
            StatusCode::NOT_FOUND => return Err(PullError::Missing { digest }),
            _ => return Err(failed(answer.refusal())),
        }
        let expected = partial.bytes();
        let left = expected - partial.have();
        let announced = answer.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if let Some(announced) = announced.filter(|announced| *announced != left) {
            let found = (announced < left).then(|| partial.have() + announced);
            return Err(PullError::WrongSize { digest, expected, found });
        }
        progress.event(PullEvent::Fetched { digest, bytes: partial.have(), of: expected });
        let mut content = answer.content(&self.0.timeouts, left);
        while let Some(piece) = content.piece().await.map_err(failed)? {
            partial.write(&piece).map_err(|fault| explain(fault, digest, expected))?;
            progress.event(PullEvent::Fetched { digest, bytes: partial.have(), of: expected });
        }
        match partial.have() {
            have if have < expected => Err(explain(BlobFault::Short(have), digest, expected)),
            _ => Ok(()),
        }
    }
}

/// Whether a part is the one that is missing.
fn is_rest(answer: &Answer, partial: &Partial) -> bool {
    let range = answer.header(header::CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes "));
    let rest = format!("{}-{}/{}", partial.have(), partial.bytes().saturating_sub(1), partial.bytes());
    range == Some(&*rest)
}

/// Whether more might come next time.
fn is_interruption(error: &PullError) -> bool {
    matches!(
        error,
        PullError::Remote { source: RemoteError::Http { .. }, .. } | PullError::WrongSize { found: Some(_), .. }
    )
}

/// Whether what came is not what was asked for, so that none of it is worth keeping.
fn is_of_content(error: &PullError) -> bool {
    matches!(error, PullError::WrongDigest { .. } | PullError::WrongSize { .. })
}

const ATTEMPTS: u32 = 5;
