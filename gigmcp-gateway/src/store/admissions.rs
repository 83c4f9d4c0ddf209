//! What tokens open, kept for as long as nothing has changed that it depends on.
//!
//! Nothing is believed that is not known to hold now: each time, it is found out how many changes there have been, by this
//! program and by others on the same file. If it was not found a moment ago that the database takes writes, the thread that
//! writes is asked, because a call is made only if its row can be written.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{Finish, Flush, Job, SqlError, Store, StoreError, TokenOwner, Write, now_seconds};

/// What was found of tokens, by their hashes.
#[derive(Debug, Default)]
pub(super) struct Admissions(Mutex<HashMap<String, Known>>);

#[derive(Clone, Debug)]
struct Known {
    /// After how many changes.
    generation: u64,
    owner: Arc<TokenOwner>,
}

/// What a token opens now.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) owner: Option<Arc<TokenOwner>>,
    /// Whether the database takes writes, as [`Store::takes_audit`] would have said a moment ago.
    pub(crate) takes_audit: bool,
}

impl Store {
    /// The same as [`token_owner`](Self::token_owner), from memory if nothing has changed since it was asked before.
    pub(crate) async fn admission(&self, hash: &str) -> Result<Admission, StoreError> {
        let threads = &self.threads;
        if let Some(known) = threads.admissions.find(hash)
            && self.generation().await == Some(known.generation)
            && known.owner.token.is_live()
        {
            let takes_audit = !threads.is_audit_lost();
            return Ok(Admission { owner: Some(known.owner), takes_audit });
        }
        // Before what is read: a change in between makes it old at once.
        let generation = threads.counter.seen();
        let owner = self.token_owner(hash.to_owned()).await?.map(Arc::new);
        if threads.log.is_some() {
            // Another gateway on the same PostgreSQL would not be noticed in time.
            threads.admissions.keep(hash, generation, owner.as_ref());
        }
        Ok(Admission { owner, takes_audit: false })
    }

    /// Notes that a token was used, as [`token_used`](Self::token_used), and keeps in mind that it did.
    pub(crate) fn admitted(&self, hash: &str, owner: &Arc<TokenOwner>) {
        if self.token_used(hash, &owner.token) {
            self.threads.admissions.was_used(hash, owner);
        }
    }

    /// How many changes there have been, once the database is found to take writes, or was a moment ago.
    async fn generation(&self) -> Option<u64> {
        match self.threads.counter.now() {
            Some(generation) => Some(generation),
            None => timeout(PATIENCE, self.asked_generation()).await.ok()?.ok(),
        }
    }

    /// What the thread that writes says of it.
    async fn asked_generation(&self) -> Result<u64, StoreError> {
        let (answer, result) = oneshot::channel();
        let counter = Arc::clone(&self.threads.counter);
        let job: Job = Box::new(move |connection| {
            let now = connection.map(|_| counter.seen());
            let finish: Finish = Box::new(move |committed: Result<(), SqlError>| {
                // Whoever asked may have gone away.
                drop(answer.send(now.and_then(|now| committed.map(|()| now))));
            });
            finish
        });
        self.threads.writer.push(self.asker.clone(), Write { job, followed: false, flush: Flush::Nothing })?;
        Ok(result.await.map_err(|_| StoreError::Stopped)??)
    }
}

impl Admissions {
    fn find(&self, hash: &str) -> Option<Known> {
        self.lock().get(hash).cloned()
    }

    fn keep(&self, hash: &str, generation: u64, owner: Option<&Arc<TokenOwner>>) {
        let mut known = self.lock();
        let Some(owner) = owner else { return drop(known.remove(hash)) };
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(hash.to_owned(), Known { generation, owner: Arc::clone(owner) });
    }

    fn was_used(&self, hash: &str, owner: &Arc<TokenOwner>) {
        if let Some(known) = self.lock().get_mut(hash).filter(|known| Arc::ptr_eq(&known.owner, owner)) {
            let mut used = TokenOwner::clone(owner);
            used.token.last_used_at = Some(now_seconds());
            known.owner = Arc::new(used);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More tokens than call at a time.
const MAX_KNOWN: usize = 4096;
/// How long what is in memory waits for the thread that writes, before the one that reads is asked: that one does not wait for
/// disks and for other programs.
const PATIENCE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        people::Label,
        spec::{Owner, ProfileSlug},
        store::{AuditRow, Database, NewToken, TestDatabase, counter::RECENT, on_both},
        trail::testing::row,
    };

    fn slug() -> ProfileSlug {
        "work".parse().expect("a profile name")
    }

    async fn work(store: &Store) {
        store.create_profile(slug(), Owner::local(), Vec::new(), "hash".to_owned()).await.expect("a new profile");
    }

    async fn admission(store: &Store) -> Admission {
        store.admission("hash").await.expect("it can be read")
    }

    /// What is told when it was asked before: from memory, if it can be. The thread that writes may have too much else to do for
    /// longer than is waited for it, but not always.
    async fn again(store: &Store, from_memory: bool) -> Admission {
        let told = async {
            loop {
                let told = admission(store).await;
                if told.takes_audit == from_memory {
                    return told;
                }
            }
        };
        timeout(Duration::from_secs(60), told).await.expect("it is asked anew each time")
    }

    #[tokio::test]
    async fn what_a_token_opens_ends_with_the_next_question_whoever_ends_it() {
        on_both(async |test| {
            let (store, other) = (test.open(), test.open());
            let from_memory = matches!(test.database, Database::Sqlite(_));
            work(&store).await;
            let revoke = async |by: &Store| {
                by.revoke_token(slug(), Label::first(), AuditRow::default()).await.expect("there is one");
                assert!(admission(&store).await.owner.is_none());
                let again = NewToken::first("hash".to_owned());
                by.add_token(slug(), again, AuditRow::default()).await.expect("there is none");
                assert!(admission(&store).await.owner.is_some(), "twin: it is there again");
            };
            for by in [&store, &other, &store] {
                assert!(admission(&store).await.owner.is_some());
                assert!(again(&store, from_memory).await.owner.is_some(), "nothing has changed");
                revoke(by).await;
            }
            // Whatever it depends on, and by whatever means.
            for (end, begin) in [
                ("UPDATE users SET disabled_at = 5", "UPDATE users SET disabled_at = NULL"),
                ("UPDATE tokens SET expires_at = 5", "UPDATE tokens SET expires_at = NULL"),
                ("DELETE FROM profiles", ""),
            ] {
                // What another program did before is noticed with the next write, and so may be read once more.
                admission(&store).await;
                admission(&store).await;
                again(&store, from_memory).await;
                test.sql(end);
                assert!(admission(&store).await.owner.is_none(), "{end}");
                test.sql(begin);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn what_calls_write_themselves_is_no_change() {
        let (store, _directory) = Store::open_for_test();
        work(&store).await;
        let first = admission(&store).await.owner.expect("it opens a profile");
        store.admitted("hash", &first);
        let tool = AuditRow { kind: "tool".to_owned(), credentials: String::new(), ..row("a_tool") };
        store.add_audit(tool).await.expect("it takes rows");
        store.add_audit(row("GET a")).await.expect("it takes rows");
        let used = again(&store, true).await.owner.expect("it opens a profile").token.last_used_at;
        assert!(used.is_some(), "so that its use is not written with every call");
    }

    #[tokio::test]
    async fn a_token_whose_time_has_come_opens_nothing_also_from_memory() {
        let (store, _directory) = Store::open_for_test();
        work(&store).await;
        let owner = admission(&store).await.owner.expect("it opens a profile");
        let mut over = TokenOwner::clone(&owner);
        over.token.expires_at = Some(now_seconds());
        let generation = store.asked_generation().await.expect("it takes writes");
        store.threads.admissions.keep("hash", generation, Some(&Arc::new(over)));
        assert!(!admission(&store).await.takes_audit, "it was asked anew");
        store.threads.admissions.keep("hash", generation, Some(&owner));
        again(&store, true).await;
    }

    #[tokio::test]
    async fn whoever_keeps_the_database_from_writing_keeps_nobody_out() {
        let test = TestDatabase::sqlite();
        let store = test.open();
        work(&store).await;
        admission(&store).await;
        again(&store, true).await;
        let Database::Sqlite(path) = &test.database else { panic!("it is SQLite") };
        let another = rusqlite::Connection::open(path).expect("it is there");
        another.execute_batch("BEGIN IMMEDIATE").expect("nobody writes");
        tokio::time::sleep(RECENT).await; // until then it is not noticed
        let meanwhile = admission(&store).await;
        assert!(meanwhile.owner.is_some() && !meanwhile.takes_audit);
        another.execute_batch("ROLLBACK").expect("it was begun");
        std::mem::forget(another); // as `stays_open`
    }
}
