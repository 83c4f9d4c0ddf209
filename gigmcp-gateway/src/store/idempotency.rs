//! What was asked with an `Idempotency-Key`, and what came of it.

use sea_query::{Expr, ExprTrait, OnConflict, Query};

use super::{Flush, Store, StoreError, connection::Connection, now_seconds, schema::IdempotencyKeys};
use crate::people::UserId;

/// One request that is to be done once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OnceKey {
    pub(crate) user: UserId,
    /// Empty for a session, or the name of a key of the control plane.
    pub(crate) via: String,
    /// Of the key that was sent.
    pub(crate) hash: String,
    /// Of the request.
    pub(crate) fingerprint: String,
}

/// What came of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Kept {
    pub(crate) status: u16,
    /// None if it is shown once, or too long.
    pub(crate) answer: Option<String>,
}

/// How a request stands that is to be done once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Begun {
    /// It is to be done now.
    First,
    /// It was done.
    Again(Kept),
    /// It is being done.
    InFlight,
    /// It was begun, and whoever did it is gone.
    Unknown,
    /// The same key was sent with another request.
    Another,
    /// This one has sent too many keys; one is forgotten in so many seconds.
    Full(i64),
}

impl Store {
    /// Begins a request, unless it was begun before.
    ///
    /// What is then done is flushed, and this with it, as it stands before that in the log.
    pub(crate) async fn begin_once(&self, key: OnceKey) -> Result<Begun, StoreError> {
        self.write_flushed(Flush::Soon, move |connection| {
            let now = now_seconds();
            let old = Expr::col(IdempotencyKeys::BegunAt).lte(now - KEPT_SECONDS);
            connection.execute(Query::delete().from_table(IdempotencyKeys::Table).and_where(old))?;
            if let Some(found) = find(connection, &key, now)? {
                return Ok(found);
            }
            if let Some(oldest) = full(connection, &key)? {
                return Ok(Begun::Full(Ord::max(oldest + KEPT_SECONDS - now, 1)));
            }
            insert(connection, &key, now)?;
            Ok(Begun::First)
        })
        .await
    }

    /// Keeps what came of a request; of nothing, nothing is kept, and it can be tried again.
    pub(crate) async fn end_once(&self, key: OnceKey, kept: Option<Kept>) -> Result<(), StoreError> {
        self.write_promised(Flush::WithCommit, move |connection| {
            match kept {
                None => connection.execute(
                    Query::delete()
                        .from_table(IdempotencyKeys::Table)
                        .and_where(Expr::col(IdempotencyKeys::UserId).eq(key.user.as_str()))
                        .and_where(Expr::col(IdempotencyKeys::Via).eq(key.via))
                        .and_where(Expr::col(IdempotencyKeys::Hash).eq(key.hash)),
                )?,
                Some(Kept { status, answer }) => connection.execute(
                    Query::update()
                        .table(IdempotencyKeys::Table)
                        .value(IdempotencyKeys::Status, i64::from(status))
                        .value(IdempotencyKeys::Answer, answer)
                        .and_where(Expr::col(IdempotencyKeys::UserId).eq(key.user.as_str()))
                        .and_where(Expr::col(IdempotencyKeys::Via).eq(key.via))
                        .and_where(Expr::col(IdempotencyKeys::Hash).eq(key.hash)),
                )?,
            };
            Ok(())
        })
        .await
    }
}

fn find(connection: &Connection, key: &OnceKey, now: i64) -> Result<Option<Begun>, StoreError> {
    let select = Query::select()
        .columns([
            IdempotencyKeys::Fingerprint,
            IdempotencyKeys::BegunAt,
            IdempotencyKeys::Status,
            IdempotencyKeys::Answer,
        ])
        .from(IdempotencyKeys::Table)
        .and_where(Expr::col(IdempotencyKeys::UserId).eq(key.user.as_str()))
        .and_where(Expr::col(IdempotencyKeys::Via).eq(key.via.as_str()))
        .and_where(Expr::col(IdempotencyKeys::Hash).eq(key.hash.as_str()))
        .take();
    connection.row(&select, |row| {
        let (fingerprint, begun_at): (String, i64) = (row.get(0)?, row.get(1)?);
        let (status, answer): (Option<i64>, Option<String>) = (row.get(2)?, row.get(3)?);
        Ok(match status.map(u16::try_from) {
            _ if fingerprint != key.fingerprint => Begun::Another,
            Some(Ok(status)) => Begun::Again(Kept { status, answer }),
            None if now < begun_at + LONGEST_SECONDS => Begun::InFlight,
            None | Some(Err(_)) => Begun::Unknown,
        })
    })
}

/// When the oldest key came that was sent in the same way, if there are as many as there may be. What a key of the control
/// plane sends takes no room from the sessions of its owner, nor from other keys.
fn full(connection: &Connection, key: &OnceKey) -> Result<Option<i64>, StoreError> {
    let select = Query::select()
        .expr(Expr::col(IdempotencyKeys::Hash).count())
        .expr(Expr::col(IdempotencyKeys::BegunAt).min())
        .from(IdempotencyKeys::Table)
        .and_where(Expr::col(IdempotencyKeys::UserId).eq(key.user.as_str()))
        .and_where(Expr::col(IdempotencyKeys::Via).eq(key.via.as_str()))
        .take();
    let counted = connection.row(&select, |row| Ok((row.get::<i64>(0)?, row.get::<Option<i64>>(1)?)))?;
    Ok(counted.filter(|(count, _)| *count >= MAX_KEYS).and_then(|(_, oldest)| oldest))
}

fn insert(connection: &Connection, key: &OnceKey, now: i64) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(IdempotencyKeys::Table)
        .columns([
            IdempotencyKeys::UserId,
            IdempotencyKeys::Via,
            IdempotencyKeys::Hash,
            IdempotencyKeys::Fingerprint,
            IdempotencyKeys::BegunAt,
        ])
        .values_panic([
            key.user.as_str().into(),
            key.via.as_str().into(),
            key.hash.as_str().into(),
            key.fingerprint.as_str().into(),
            now.into(),
        ])
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .take();
    match connection.execute(&insert)? {
        // Another gateway was faster, which the order of writers does not let happen.
        0 => Err(StoreError::Changed),
        _ => Ok(()),
    }
}

const KEPT_SECONDS: i64 = 24 * 3600;
/// Longer than any request may take.
const LONGEST_SECONDS: i64 = 15 * 60;
/// Of one key of the control plane, or of the sessions of one account; with the longest answers, 32 MiB.
pub(crate) const MAX_KEYS: i64 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::on_both;

    fn key(user: &str, hash: &str, fingerprint: &str) -> OnceKey {
        let user = user.parse().expect("an id");
        OnceKey { user, via: String::new(), hash: hash.to_owned(), fingerprint: fingerprint.to_owned() }
    }

    #[tokio::test]
    async fn what_is_asked_again_is_told_and_not_done() {
        on_both(async |test| {
            let store = test.open();
            test.sql("INSERT INTO users (id, issuer, subject, display_name, role, created_at) VALUES ('ann', 'x', 'ann', 'ann', 'user', 0)");
            let one = key("ann", "one", "body");
            let begin = async |key: &OnceKey| store.begin_once(key.clone()).await.expect("it works");
            assert_eq!(begin(&one).await, Begun::First);
            assert_eq!(begin(&one).await, Begun::InFlight);
            assert_eq!(begin(&key("ann", "one", "another")).await, Begun::Another);
            assert_eq!(begin(&OnceKey { via: "ci".to_owned(), ..one.clone() }).await, Begun::First, "twin: another actor");
            assert_eq!(begin(&key("local", "one", "body")).await, Begun::First, "twin: another account");
            let kept = Kept { status: 201, answer: Some("{}".to_owned()) };
            store.end_once(one.clone(), Some(kept.clone())).await.expect("it works");
            // Another gateway, or this one later.
            let again = test.open().begin_once(one.clone()).await.expect("it works");
            assert_eq!(again, Begun::Again(kept));
            assert_eq!(begin(&key("ann", "one", "another")).await, Begun::Another);
            let failed = key("ann", "failed", "body");
            for _ in 0..2 {
                assert_eq!(begin(&failed).await, Begun::First, "what did not work is tried again");
                store.end_once(failed.clone(), None).await.expect("it works");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_key_is_forgotten_after_a_day_and_nobody_has_too_many() {
        on_both(async |test| {
            let store = test.open();
            let begin = async |hash: &str| store.begin_once(key("local", hash, "body")).await.expect("it works");
            assert_eq!(begin("one").await, Begun::First);
            test.sql(&format!("UPDATE idempotency_keys SET begun_at = begun_at - {LONGEST_SECONDS}"));
            assert_eq!(begin("one").await, Begun::Unknown, "whoever did it was killed");
            test.sql(&format!("UPDATE idempotency_keys SET begun_at = begun_at - {KEPT_SECONDS}"));
            assert_eq!(begin("one").await, Begun::First);
            let rows = (1..MAX_KEYS).map(|number| format!("('local', '', 'k{number}', 'x', {}, 204)", now_seconds()));
            let rows = rows.collect::<Vec<_>>().join(", ");
            test.sql(&format!(
                "INSERT INTO idempotency_keys (user_id, via, hash, fingerprint, begun_at, status) VALUES {rows}"
            ));
            assert!(matches!(begin("more").await, Begun::Full(seconds) if seconds > KEPT_SECONDS - 60));
            assert_eq!(begin("one").await, Begun::InFlight, "twin: what is known");
            let elsewhere = OnceKey { via: "ci".to_owned(), ..key("local", "more", "body") };
            assert_eq!(store.begin_once(elsewhere).await.expect("it works"), Begun::First, "what another way sends");
            test.sql("DELETE FROM idempotency_keys WHERE hash = 'k7'");
            assert_eq!(begin("more").await, Begun::First, "twin: there is room");
        })
        .await;
    }
}
