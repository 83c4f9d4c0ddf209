//! What the API keeps between requests.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use gigmcp_registry::Index;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::{
    error::{ApiError, Code},
    streams::{Streaming, Streams},
};
use crate::{
    doctor::HostReport,
    install::{Catalog, CatalogError, Freshness},
    output::whole,
    people::UserId,
    settings::Settings,
    spec::ServerName,
    store::Store,
};

/// What the API keeps between requests.
pub(crate) struct Desk {
    changing: Arc<Mutex<HashSet<ServerName>>>,
    catalog: tokio::sync::Mutex<Option<Followed>>,
    streams: Arc<Streams>,
    verifying: Semaphore,
    ending: watch::Sender<bool>,
    ready: tokio::sync::Mutex<Option<(Instant, bool)>>,
    host: tokio::sync::Mutex<Option<(Instant, HostReport)>>,
}

struct Followed {
    catalog: Catalog,
    asked: Instant,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            changing: Arc::default(),
            catalog: tokio::sync::Mutex::default(),
            streams: Arc::default(),
            verifying: Semaphore::new(1),
            ending: watch::Sender::new(false),
            ready: tokio::sync::Mutex::default(),
            host: tokio::sync::Mutex::default(),
        }
    }
}

/// A server that one request changes. Others may when it is dropped.
pub(crate) struct Changing {
    all: Arc<Mutex<HashSet<ServerName>>>,
    server: ServerName,
}

impl Drop for Changing {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.server);
    }
}

impl Desk {
    /// One change of a server at a time, and few of all.
    pub(crate) fn change(&self, server: &ServerName) -> Result<Changing, ApiError> {
        let mut all = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_CHANGES && !all.contains(server) {
            return Err(ApiError::new(Code::Unavailable, "too many servers are being changed; try again later"));
        }
        match all.insert(server.clone()) {
            true => Ok(Changing { all: Arc::clone(&self.changing), server: server.clone() }),
            false => Err(ApiError::new(Code::Conflict, format!("{server} is being changed; try again later"))),
        }
    }

    /// Reads the catalogue, which was asked for in the last minute, or is now. Whoever comes meanwhile waits for the same answer.
    pub(crate) async fn catalog<T>(
        &self,
        settings: &Settings,
        read: impl FnOnce(&Index) -> Result<T, ApiError> + Send,
    ) -> Result<T, ApiError> {
        let mut followed = self.catalog.lock().await;
        if followed.as_ref().is_none_or(|followed| followed.asked.elapsed() > CATALOG_AGE) {
            let mut catalog = match followed.take() {
                Some(followed) => followed.catalog,
                None => Catalog::open(settings)?,
            };
            match tokio::time::timeout(CATALOG_DEADLINE, catalog.refresh()).await {
                Ok(Ok(Freshness::Fresh)) => {}
                Ok(Ok(Freshness::LastGood(why))) => tracing::warn!("the last good index is used: {}", whole(&why)),
                Ok(Err(error)) => tracing::warn!("the registry's index cannot be had: {}", whole(&error)),
                Err(_) => tracing::warn!("the registry took longer than {} s", CATALOG_DEADLINE.as_secs()),
            }
            *followed = Some(Followed { catalog, asked: Instant::now() });
        }
        let index = followed.as_ref().and_then(|followed| followed.catalog.index());
        let none = || ApiError::new(Code::Upstream, "the registry gives no index that can be believed");
        read(index.ok_or_else(none)?)
    }

    /// A place for somebody who follows the audit trail or exports it. Nobody has many, and some are kept for auditors.
    pub(crate) fn tail(&self, who: &UserId, audits: bool) -> Result<(Streaming, watch::Receiver<bool>), ApiError> {
        Ok((self.streams.begin(who, audits)?, self.ending.subscribe()))
    }

    /// The place of the one who verifies the trail: all of it is read for that.
    pub(crate) fn verify(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        let busy = |_| ApiError::new(Code::Unavailable, "somebody verifies the trail now; try again later");
        self.verifying.try_acquire().map_err(busy)
    }

    /// What this host can enforce. Looked at once a minute at most, as that starts sandboxes.
    pub(crate) async fn host_report(&self) -> HostReport {
        let mut host = self.host.lock().await;
        if let Some((asked, report)) = &*host
            && asked.elapsed() < HOST_AGE
        {
            return report.clone();
        }
        let report = HostReport::now().await;
        *host = Some((Instant::now(), report.clone()));
        report
    }

    /// Ends what goes on until somebody ends it, as the gateway stops.
    pub(crate) fn end_streams(&self) {
        self.ending.send_replace(true);
    }

    /// Whether calls can be served: the database answers, and takes rows of the audit trail. Asked at most once a second, as
    /// everybody may.
    pub(crate) async fn is_ready(&self, store: &Store) -> bool {
        let mut ready = self.ready.lock().await;
        if let Some((asked, is_ready)) = *ready
            && asked.elapsed() < READY_AGE
        {
            return is_ready;
        }
        let works = tokio::time::timeout(READY_DEADLINE, async {
            store.audit_tail(1).await?;
            store.takes_audit().await
        });
        let is_ready = match works.await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!("not ready: {}", whole(&error));
                false
            }
            Err(_) => false,
        };
        *ready = Some((Instant::now(), is_ready));
        is_ready
    }
}

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        match &error {
            CatalogError::NotSet => Self::new(Code::Unavailable, "no registry is set"),
            CatalogError::NoServer { .. } | CatalogError::NoVersion { .. } => Self::not_found("thing"),
            CatalogError::Several { .. } => Self::new(Code::Conflict, "several versions have this image; name one"),
            CatalogError::NoIndex { .. } => {
                tracing::warn!("the registry's index cannot be had: {}", whole(&error));
                Self::new(Code::Upstream, "the registry gives no index that can be believed")
            }
            _ => Self::internal(&error),
        }
    }
}

/// How many servers are changed at once: each may fetch an image.
const MAX_CHANGES: usize = 4;
/// How long an index is gone on with before the registry is asked again.
const CATALOG_AGE: Duration = Duration::from_secs(60);
const CATALOG_DEADLINE: Duration = Duration::from_secs(30);
const HOST_AGE: Duration = Duration::from_secs(60);
const READY_AGE: Duration = Duration::from_secs(1);
const READY_DEADLINE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_changed_by_one_at_a_time() {
        let desk = Desk::default();
        let name = |text: &str| text.parse::<ServerName>().expect("a name");
        let first = desk.change(&name("notes")).map_err(|error| error.code);
        assert!(first.is_ok());
        assert_eq!(desk.change(&name("notes")).map(drop).map_err(|error| error.code), Err(Code::Conflict));
        let others = ["a", "b", "c"].map(|other| desk.change(&name(other)).map_err(|error| error.code));
        assert!(others.iter().all(Result::is_ok), "twin: others");
        assert_eq!(desk.change(&name("d")).map(drop).map_err(|error| error.code), Err(Code::Unavailable));
        drop(first);
        assert!(desk.change(&name("notes")).is_ok(), "twin: it is done");
    }

    #[tokio::test]
    async fn ready_is_who_can_write_the_audit() {
        let (store, _directory) = Store::open_for_test();
        store.stays_open();
        assert!(Desk::default().is_ready(&store).await); // twin
        store.meddle("DROP TABLE audit").await;
        assert!(!Desk::default().is_ready(&store).await);
    }
}
