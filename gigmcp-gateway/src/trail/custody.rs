//! Who looks after the trail while the gateway runs: signs its end again and again, and deletes what is too old or too
//! much.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{self, Instant, MissedTickBehavior},
};

use super::{Signer, Statement};
use crate::output::whole;
use crate::store::{AuditRow, Prune, Pruned, Store, StoreError, now_millis};

/// How much of the trail is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long; none for ever.
    pub(crate) age: Option<Duration>,
    /// How many rows; none for any number.
    pub(crate) rows: Option<u64>,
}

impl Limits {
    /// As the settings tell it, where 0 is no limit.
    pub(crate) fn new(days: u64, rows: u64) -> Self {
        let age = (days > 0).then(|| Duration::from_secs(days * SECONDS_A_DAY));
        Self { age, rows: (rows > 0).then_some(rows) }
    }
}

/// Looks after the trail until it is closed. When it is dropped, rows of the last seconds stay without a signature.
pub(crate) struct Custody {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Custody {
    /// Signs where the chain begins, or where it ends now, and goes on doing so.
    pub(crate) async fn begin(store: Store, signer: Signer, limits: Limits) -> Result<Self, StoreError> {
        let mut keeper = Keeper { store, signer: Arc::new(signer), limits, head: None, told: Told::default() };
        keeper.sign().await?;
        let (stop, stopped) = oneshot::channel();
        Ok(Self { stop, task: tokio::spawn(keeper.keep(stopped)) })
    }

    /// Signs the end as it is now, unless the database takes too long for it.
    pub(crate) async fn close(self) {
        let Self { stop, task } = self;
        // Nobody hears it if the task has panicked, and then there is nothing to wait for.
        let _ = stop.send(());
        drop(time::timeout(END, task).await);
    }
}

struct Keeper {
    store: Store,
    signer: Arc<Signer>,
    limits: Limits,
    /// What was signed last. It is remembered here, where nobody who can write to the database can change it.
    head: Option<Statement>,
    told: Told,
}

/// What is still to be told of rows that went although they were young.
#[derive(Debug, Default)]
struct Told {
    untold: u64,
    last: Option<Instant>,
}

impl Keeper {
    async fn keep(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut clock = time::interval(SIGN_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_age = Instant::now();
        loop {
            let store = self.store.clone();
            let stopping = tokio::select! {
                _ = clock.tick() => false,
                () = store.audit_grew() => false,
                _ = &mut stopped => true,
            };
            if let Err(error) = self.sign().await {
                tracing::warn!("the audit trail could not be signed: {}", whole(&error));
            }
            if stopping {
                return;
            }
            self.prune_many().await;
            if Instant::now() >= next_age {
                next_age = Instant::now() + PRUNE_EVERY;
                tokio::select! {
                    () = self.prune_old() => {}
                    _ = &mut stopped => {
                        drop(self.sign().await);
                        return;
                    }
                }
            }
        }
    }

    async fn sign(&mut self) -> Result<(), StoreError> {
        let signed = self.store.sign_audit(Arc::clone(&self.signer), self.head.clone()).await?;
        self.head = signed.head;
        if let Some(place) = signed.changed {
            let subject = format!("row {place} or rows before it are not what was signed");
            tracing::error!("the audit trail was changed by something else: {subject}");
            self.alarm("changed", subject).await;
        }
        Ok(())
    }

    /// Makes room, as fast as it has to.
    async fn prune_many(&mut self) {
        let Some(max_rows) = self.limits.rows else { return };
        let prune = Prune::Surplus { max_rows, young_from_ms: self.limits.before_ms().unwrap_or(i64::MIN) };
        loop {
            match self.store.prune_audit(prune, MANY_AT_ONCE, Arc::clone(&self.signer)).await {
                Ok(Pruned { rows: 0, .. }) => break,
                Ok(pruned) => self.tell(pruned).await,
                Err(error) => {
                    tracing::warn!("audit rows beyond GIG_AUDIT_MAX_ROWS could not be deleted: {}", whole(&error));
                    break;
                }
            }
        }
    }

    /// Deletes what is too old, slowly: nothing depends on it.
    async fn prune_old(&mut self) {
        let (Some(age), Some(before_ms)) = (self.limits.age, self.limits.before_ms()) else { return };
        let mut deleted = 0;
        loop {
            match self.store.prune_audit(Prune::Old { before_ms }, OLD_AT_ONCE, Arc::clone(&self.signer)).await {
                Ok(Pruned { rows: 0, .. }) => break,
                Ok(pruned) => deleted += pruned.rows,
                Err(error) => {
                    tracing::warn!("old audit rows could not be deleted: {}", whole(&error));
                    break;
                }
            }
            // What is written meanwhile waits for a few of these rows at most.
            time::sleep(PAUSE).await;
        }
        if deleted > 0 {
            tracing::info!("{deleted} audit rows older than {} days were deleted", age.as_secs() / SECONDS_A_DAY);
        }
    }

    /// Says that young rows went: the first time at once, later once an hour with their number.
    async fn tell(&mut self, pruned: Pruned) {
        self.told.untold += pruned.young;
        if self.told.untold == 0 || self.told.last.is_some_and(|last| last.elapsed() < TELL_EVERY) {
            return;
        }
        self.told.last = Some(Instant::now());
        let count = std::mem::take(&mut self.told.untold);
        let subject = format!("{count} rows up to {} before their time: more than GIG_AUDIT_MAX_ROWS", pruned.upto);
        tracing::error!("the audit trail is full, and loses what is younger than GIG_AUDIT_DAYS: {subject}");
        self.alarm("pruned", subject).await;
    }

    async fn alarm(&self, verdict: &str, subject: String) {
        let (kind, verdict) = ("audit".to_owned(), verdict.to_owned());
        let row = AuditRow { at_ms: now_millis(), kind, subject, verdict, alarm: true, ..AuditRow::default() };
        if let Err(error) = self.store.add_audit(row).await {
            tracing::error!("the audit trail's own alarm could not be written: {}", whole(&error));
        }
    }
}

impl Limits {
    fn before_ms(&self) -> Option<i64> {
        let age = self.age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        age.map(|age| now_millis().saturating_sub(age))
    }
}

/// How long a row may stand without a signature.
const SIGN_EVERY: Duration = Duration::from_secs(10);
/// How long whoever stops waits for the last head.
const END: Duration = Duration::from_secs(2);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
const TELL_EVERY: Duration = Duration::from_secs(3600);
const PAUSE: Duration = Duration::from_millis(10);
/// They are one change, and so what a request may have to wait for.
const OLD_AT_ONCE: u64 = 64;
/// More than one round of the queue can add while this waits for its turn.
const MANY_AT_ONCE: u64 = 256;
const SECONDS_A_DAY: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::testing::on_both,
        trail::{testing::row, verify},
    };

    #[test]
    fn nothing_is_too_old_or_too_much_when_nothing_is_set() {
        let limits = Limits::new(0, 0);
        assert_eq!((limits.age, limits.rows, limits.before_ms()), (None, None, None));
        let limits = Limits::new(1, 5);
        assert_eq!((limits.age, limits.rows), (Some(Duration::from_secs(86_400)), Some(5)), "twin");
    }

    /// Whatever is written, no more stays than may, the chain holds, and an alarm says what was lost: once.
    #[tokio::test]
    async fn a_flood_does_not_fill_the_disk_and_is_an_alarm() {
        on_both(async |test| {
            let (store, signer) = (test.open(), Arc::new(Signer::for_test(1)));
            let limits = Limits { age: None, rows: Some(ROWS) };
            let mut keeper = Keeper { store, signer: Arc::clone(&signer), limits, head: None, told: Told::default() };
            let store = keeper.store.clone();
            keeper.sign().await.expect("it is written");
            let alarms = async || {
                let rows = store.audit_tail(10_000).await.expect("it can be read");
                rows.into_iter().filter(|row| row.row.alarm).map(|row| row.row.subject).collect::<Vec<_>>()
            };
            for (round, expected) in [(ROWS, 0), (700, 1), (500, 1)].into_iter().enumerate() {
                let rows = (0..expected.0).map(|_| {
                    let store = store.clone();
                    tokio::spawn(async move { store.add_audit(row("flood")).await })
                });
                for added in rows.collect::<Vec<_>>() {
                    added.await.expect("it does not panic").expect("it takes rows");
                }
                keeper.prune_many().await;
                keeper.sign().await.expect("it is written");
                let report = verify(&store, &[signer.public_key()], None).await.expect("nothing is wrong");
                assert!(report.rows <= ROWS, "round {round}: {report:?}");
                assert_eq!(alarms().await.len(), expected.1, "round {round}: {:?}", alarms().await);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn the_end_is_signed_at_the_close_and_what_was_changed_meanwhile_is_an_alarm() {
        on_both(async |test| {
            let store = test.open();
            let key = Signer::for_test(1).public_key();
            let begin = async || {
                let limits = Limits { age: None, rows: None };
                Custody::begin(store.clone(), Signer::for_test(1), limits).await.expect("it is written")
            };
            let custody = begin().await;
            for number in 0..5 {
                store.add_audit(row(&number.to_string())).await.expect("it takes rows");
            }
            custody.close().await;
            let report = verify(&store, std::slice::from_ref(&key), None).await.expect("nothing is wrong");
            assert_eq!((report.rows, report.signed_to), (5, 5));

            let custody = begin().await;
            store.meddle("UPDATE audit SET hash = (SELECT hash FROM audit WHERE id = 4) WHERE id = 5").await;
            custody.close().await;
            let last = store.audit_tail(1).await.expect("it can be read").remove(0).row;
            assert_eq!((&*last.kind, &*last.verdict, last.alarm), ("audit", "changed", true), "{last:?}");
        })
        .await;
    }

    const ROWS: u64 = 1000;
}
