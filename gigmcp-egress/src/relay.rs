use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};

use crate::allow;
use crate::audit::{AuditKind, Entry, Verdict};
use crate::authorize::{refuse_as_name, refused_placeholder};
use crate::forward::ForwardError;
use crate::identity::Identity;
use crate::idle::IdleStream;
use crate::intake::Site;
use crate::name::HostName;
use crate::policy::{Policy, within};
use crate::refusal::Refusal;
use crate::request::{Destination, Downstream};
use crate::revocation::Ongoing;
use crate::rule::Scheme;

/// How a connection to this port is to be read, as the rules say now. That they allow it is decided later.
pub(crate) async fn scheme_at(site: &Site, host: &HostName, port: u16) -> Result<Scheme, Refusal> {
    Ok(site.shared.policy().grant(&site.identity).await?.scheme_at(host, port))
}

/// Relays a connection of plain TCP to where a rule lets it go, unread but for placeholders, and records it once.
///
/// This is the most that a host can be trusted with: what goes over the connection is between the program and the host. So the
/// rule is explicit, no credential is injected, and a placeholder that is seen ends the connection with an alarm.
pub(crate) async fn serve<T>(downstream: T, site: Arc<Site>, destination: Destination)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let policy = site.shared.policy();
    let entry = policy
        .entry(AuditKind::Tcp, &site.identity)
        .host(policy.shown(destination.host.as_str()), Some(destination.port));
    let mut record =
        Record { entry: Some(entry), version: OnceLock::new(), up: AtomicU64::new(0), down: AtomicU64::new(0) };
    let verdict = match relay(downstream, &site, &destination, &record).await {
        Ok(()) => Verdict::Allowed,
        Err(End::Broken) => Verdict::Aborted,
        Err(End::Refused(refusal)) => Verdict::Refused(refusal),
    };
    if let Some(entry) = record.finish(Some(verdict)) {
        // By now the connection is gone, but not its place among those of the sandbox.
        if matches!(verdict, Verdict::Refused(_)) {
            policy.rates.slow_down(&site.identity, &policy.limits).await;
        }
        entry.record().await;
    }
}

/// Why a relay ended before both sides had said all they had to say.
enum End {
    /// One side failed, or nothing moved for too long.
    Broken,
    Refused(Refusal),
}

async fn relay<T>(sandbox: T, site: &Site, destination: &Destination, record: &Record) -> Result<(), End>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (policy, identity) = (site.shared.policy(), &site.identity);
    let Destination { host, port, .. } = destination;
    refuse_as_name(identity, host.as_str(), Scheme::Tcp, &policy.live)?;
    let grant = policy.grant(identity).await?;
    // The version that let it begin; which one ended it, the refusal's time tells.
    let _ = record.version.set(grant.version());
    allow::destination(&grant, destination)?;
    let ready = within(policy.limits.lookup_deadline, policy.audit.ready(identity)).await;
    if !matches!(ready, Some(Ok(()))) {
        return Err(Refusal::AuditUnavailable.into());
    }
    let upstream = site.shared.forward.open(identity, host, *port).await;
    let upstream = upstream.map_err(|error| {
        tracing::info!(%identity, error = &error as &dyn std::error::Error, "plain TCP destination not reached");
        ForwardError::refusal(&error)
    })?;
    let upstream = IdleStream::new(upstream, policy.limits.idle_deadline);
    let ((from_sandbox, to_sandbox), (from_upstream, to_upstream)) = (split(sandbox), split(upstream));
    let downstream = Downstream { identity: identity.clone(), destination: destination.clone() };
    let ongoing = Ongoing::connection(policy, downstream);
    let both = async {
        let up = searched(from_sandbox, to_upstream, policy, identity, &record.up);
        let down = async { Ok(copied(from_upstream, to_sandbox, &record.down).await?) };
        tokio::try_join!(up, down).map(|_| ())
    };
    tokio::select! {
        // The rules first: a connection that never rests must not keep them from being read.
        biased;
        refusal = ongoing.revoked() => Err(refusal.into()),
        ended = both => ended,
    }
}

/// Passes on what the sandbox sends, chunk after chunk, each after it was searched with what came before it.
async fn searched(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    policy: &Policy,
    identity: &Identity,
    count: &AtomicU64,
) -> Result<(), End> {
    let (mut scan, mut buffer) = (policy.live.scan(), vec![0; BUFFER_BYTES]);
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(to.shutdown().await?);
        }
        if let Some(owner) = scan.feed(&policy.live, &buffer[..length]) {
            return Err(refused_placeholder(&owner, identity, Scheme::Tcp).into());
        }
        to.write_all(&buffer[..length]).await?;
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

async fn copied(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// The event in the making with what was counted, so that it is whole even when the task is dropped.
struct Record {
    entry: Option<Entry>,
    version: OnceLock<u64>,
    up: AtomicU64,
    down: AtomicU64,
}

impl Record {
    fn finish(&mut self, verdict: Option<Verdict>) -> Option<Entry> {
        let mut entry = self.entry.take()?;
        entry.set_policy_version(self.version.get().copied());
        entry.set_bytes(self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed));
        if let Some(verdict) = verdict {
            entry.set_verdict(verdict);
        }
        Some(entry)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        drop(self.finish(None));
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

const BUFFER_BYTES: usize = 16 << 10;
