//! Who looks after the trail while the gateway runs: signs its end again and again, and deletes what is too old or too
//! much.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{self, Instant, MissedTickBehavior},
};

use super::{Place, Signer, Statement};
use crate::output::whole;
use crate::store::{AuditRow, Prune, Pruned, Store, StoreError, Tail, now_millis};

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
        let mut keeper = Keeper::new(store, signer, limits);
        keeper.look_at_what_is_unsigned().await?;
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
    /// What was an alarm, and when.
    alarms: BTreeMap<String, Instant>,
    /// Whether rows can be counted by their places; none until somebody looked.
    whole: Option<bool>,
}

/// What is still to be told of rows that went although they were young.
#[derive(Debug, Default)]
struct Told {
    untold: u64,
    last: Option<Instant>,
}

impl Keeper {
    fn new(store: Store, signer: Signer, limits: Limits) -> Self {
        let (signer, told, alarms) = (Arc::new(signer), Told::default(), BTreeMap::new());
        Self { store, signer, limits, head: None, told, alarms, whole: None }
    }

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
        if let Some(place) = signed.forged {
            self.changed(format!("what is said of row {place} was signed with none of our keys")).await;
        }
        if let Some(place) = signed.changed {
            self.whole = Some(false);
            self.changed(format!("row {place} or rows before it are not what was signed")).await;
        }
        Ok(())
    }

    /// A gateway that was killed leaves few rows without a signature; more were written, or their heads taken, by another.
    async fn look_at_what_is_unsigned(&mut self) -> Result<(), StoreError> {
        let tail = self.store.audit_unsigned(Arc::clone(&self.signer)).await?;
        if tail.rows > UNSIGNED_ROWS || tail.millis > UNSIGNED_MILLIS {
            let Tail { rows, first, last, .. } = tail;
            let subject = format!("rows {first} to {last} ({rows}) were signed by nobody before this gateway started");
            tracing::error!("more of the audit trail is unsigned than a gateway leaves: {subject}; look at these rows");
            self.alarm("unsigned", subject).await;
        }
        Ok(())
    }

    /// Says what was changed; the same once an hour, for it is found again until somebody looks, and must not fill the trail.
    async fn changed(&mut self, subject: String) {
        self.alarms.retain(|_, told| told.elapsed() < TELL_EVERY);
        if self.alarms.len() >= MAX_ALARMS || self.alarms.contains_key(&subject) {
            return;
        }
        self.alarms.insert(subject.clone(), Instant::now());
        tracing::error!("the audit trail was changed by something else: {subject}; see `gigmcp-gateway audit verify`");
        self.alarm("changed", subject).await;
    }

    /// Whether rows may go by their number: not once something else was found to change the trail.
    async fn counts(&mut self, max_rows: u64) -> Result<bool, StoreError> {
        if self.whole.is_none() {
            self.whole = self.store.audit_is_whole(max_rows).await?;
            if self.whole == Some(false) {
                self.changed("rows are missing between the first and the last; none is deleted".to_owned()).await;
            }
        }
        Ok(self.whole != Some(false))
    }

    /// Makes room, as fast as it has to.
    async fn prune_many(&mut self) {
        let Some(max_rows) = self.limits.rows else { return };
        let prune = Prune::Surplus { max_rows, young_from_ms: self.limits.before_ms().unwrap_or(i64::MIN) };
        loop {
            match self.counts(max_rows).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!("the audit rows could not be counted: {}", whole(&error));
                    return;
                }
            }
            match self.store.prune_audit(prune, MANY_AT_ONCE, Arc::clone(&self.signer)).await {
                Ok(Pruned { changed: Some(place), .. }) => self.not_deleted(place).await,
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
        if self.whole == Some(false) {
            return;
        }
        let (Some(age), Some(before_ms)) = (self.limits.age, self.limits.before_ms()) else { return };
        let mut deleted = 0;
        loop {
            match self.store.prune_audit(Prune::Old { before_ms }, OLD_AT_ONCE, Arc::clone(&self.signer)).await {
                Ok(Pruned { changed: Some(place), .. }) => {
                    self.not_deleted(place).await;
                    break;
                }
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

    async fn not_deleted(&mut self, place: Place) {
        self.whole = Some(false);
        self.changed(format!("row {place} is not what was signed; no row is deleted")).await;
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
/// What a gateway may leave unsigned when it is killed: what brings it to sign, and one round of the queue.
const UNSIGNED_ROWS: u64 = 1000 + 256;
const UNSIGNED_MILLIS: u64 = 30_000;
/// How many different alarms an hour.
const MAX_ALARMS: usize = 100;
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
            let key = Signer::for_test(1).public_key();
            let limits = Limits { age: None, rows: Some(ROWS) };
            let mut keeper = Keeper::new(test.open(), Signer::for_test(1), limits);
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
                let report = verify(&store, std::slice::from_ref(&key), None).await.expect("nothing is wrong");
                assert!(report.rows <= ROWS, "round {round}: {report:?}");
                assert_eq!(alarms().await.len(), expected.1, "round {round}: {:?}", alarms().await);
            }
        })
        .await;
    }

    /// A row far away, or a time of long ago, makes the gateway delete nothing and is an alarm.
    #[tokio::test]
    async fn who_can_write_to_the_database_cannot_have_rows_deleted() {
        for (sql, expected) in [
            ("SELECT 1", 40),
            ("UPDATE audit SET at_ms = 1 WHERE id = 5", 61),
            ("UPDATE audit SET id = 1000000000000 WHERE id = 60", 61),
            ("DELETE FROM audit WHERE id = 40", 60),
            ("UPDATE audit_heads SET signer = 'ab' WHERE kind = 'begin'", 61),
        ] {
            on_both(async |test| {
                let limits = Limits { age: Some(Duration::from_secs(3600)), rows: Some(40) };
                let mut keeper = Keeper::new(test.open(), Signer::for_test(1), limits);
                keeper.sign().await.expect("it is written");
                let store = keeper.store.clone();
                for number in 1..=60 {
                    let row = AuditRow { at_ms: now_millis(), ..row(&number.to_string()) };
                    store.add_audit(row).await.expect("it takes rows");
                }
                keeper.sign().await.expect("it is written");
                store.meddle(sql).await;
                // It knows no more than what is in the database.
                let mut keeper = Keeper::new(store.clone(), Signer::for_test(1), limits);
                let twin = expected == 40;
                for _ in 0..3 {
                    keeper.sign().await.expect("it is written");
                    keeper.prune_old().await;
                    keeper.prune_many().await;
                }
                let rows = store.audit_tail(100).await.expect("it can be read");
                let alarms = rows.iter().filter(|row| row.row.verdict == "changed").count();
                assert_eq!((rows.first().expect("rows").id > 1, alarms > 0), (twin, !twin), "{sql}: {rows:?}");
                assert!(rows.len() >= expected, "{sql}: {}", rows.len());
                let verified = verify(&store, &[Signer::for_test(1).public_key()], None).await;
                assert_eq!(verified.is_ok(), twin, "{sql}: {verified:?}");
            })
            .await;
        }
    }

    #[tokio::test]
    async fn what_is_not_signed_is_not_deleted_and_too_much_of_it_is_an_alarm() {
        for (last_ms, expected) in [(20_000, 0), (31_000, 1)] {
            on_both(async |test| {
                let store = test.open();
                let limits = Limits { age: None, rows: Some(1) };
                let mut keeper = Keeper::new(store.clone(), Signer::for_test(1), limits);
                keeper.sign().await.expect("it is written");
                for at_ms in [1, last_ms] {
                    store.add_audit(AuditRow { at_ms, ..row("a") }).await.expect("it takes rows");
                }
                keeper.prune_many().await;
                assert_eq!(store.audit_tail(9).await.expect("it can be read").len(), 2, "nothing vouches for them");
                keeper.look_at_what_is_unsigned().await.expect("it is written");
                let rows = store.audit_tail(9).await.expect("it can be read");
                assert_eq!(rows.iter().filter(|row| row.row.verdict == "unsigned").count(), expected, "{last_ms}");
            })
            .await;
        }
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
