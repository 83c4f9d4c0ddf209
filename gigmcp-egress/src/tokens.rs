use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::grant::{BoxFuture, CredentialUnavailable, Credentials};
use crate::identity::{CredentialId, Identity};
use crate::secret::SecretString;

/// Fetches access tokens, for example with a refresh token at an OAuth2 token endpoint.
pub trait TokenSource: Send + Sync {
    /// A new token for this credential of this identity.
    fn fetch<'a>(
        &'a self,
        identity: &'a Identity,
        id: &'a CredentialId,
    ) -> BoxFuture<'a, Result<Token, TokenUnavailable>>;
}

/// An access token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Token {
    /// Its value.
    pub value: SecretString,
    /// How long it is good from now on, if its issuer said so.
    pub lifetime: Option<Duration>,
}

impl Token {
    /// A token that is good for so long, or until an upstream rejects it.
    pub fn new(value: SecretString, lifetime: Option<Duration>) -> Self {
        Self { value, lifetime }
    }
}

/// No token could be fetched.
#[derive(Debug, thiserror::Error)]
#[error("no access token could be fetched")]
pub struct TokenUnavailable {
    /// The cause, for the operator's log.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Keeps access tokens fresh: a [`Credentials`] over a [`TokenSource`].
///
/// A token is fetched when it is first needed, shortly before it ends, and after an upstream answered `401` to it: once,
/// however many requests wait for it. A failed fetch is not tried again for a moment, so that a source that is down is not
/// asked by every request. Nothing that was rejected or has ended is ever given out. Call
/// [`forget`](Self::forget) when an identity is gone.
pub struct FreshTokens {
    source: Arc<dyn TokenSource>,
    kept: Arc<Mutex<HashMap<Key, Kept>>>,
}

type Key = (Identity, CredentialId);

enum Kept {
    Token { value: SecretString, until: Option<Instant>, fetched: Instant },
    Fetching { outcome: watch::Receiver<Option<Outcome>>, before: Option<SecretString> },
    Failed { until: Instant },
}

/// What a fetch came to, for all who wait.
type Outcome = Result<SecretString, ()>;

enum Step {
    Use(SecretString),
    Wait(watch::Receiver<Option<Outcome>>),
    Fail,
}

impl FreshTokens {
    /// Tokens of this source.
    pub fn new(source: Arc<dyn TokenSource>) -> Self {
        Self { source, kept: Arc::default() }
    }

    /// Forgets the tokens of an identity that is gone.
    pub fn forget(&self, identity: &Identity) {
        self.lock().retain(|(owner, _), _| owner != identity);
    }

    async fn token(&self, key: Key) -> Result<SecretString, CredentialUnavailable> {
        let failed = |source| CredentialUnavailable::Refresh { source };
        match self.step(&key) {
            Step::Use(value) => Ok(value),
            Step::Fail => Err(failed(None)),
            Step::Wait(mut outcome) => {
                let outcome = outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
                match outcome {
                    Ok(Some(Ok(value))) => Ok(value),
                    Ok(Some(Err(())) | None) | Err(_) => Err(failed(None)),
                }
            }
        }
    }

    /// What to do for a request. Begins a fetch if none is under way and one is needed.
    fn step(&self, key: &Key) -> Step {
        let now = Instant::now();
        let mut kept = self.lock();
        match kept.get(key) {
            Some(Kept::Token { value, until, .. }) if until.is_none_or(|until| now < until) => {
                return Step::Use(value.clone());
            }
            // Over without an outcome means that the source panicked.
            Some(Kept::Fetching { outcome, .. }) if outcome.has_changed().is_ok() || outcome.borrow().is_some() => {
                return Step::Wait(outcome.clone());
            }
            Some(Kept::Failed { until }) if now < *until => return Step::Fail,
            Some(Kept::Token { .. } | Kept::Failed { .. } | Kept::Fetching { .. }) | None => {}
        }
        let before = kept.get(key).and_then(Kept::known).cloned();
        let (sender, outcome) = watch::channel(None);
        kept.insert(key.clone(), Kept::Fetching { outcome: outcome.clone(), before });
        drop(kept);
        // In a task of its own: who asked first may go away, the others still wait.
        let (source, all, key, ours) = (Arc::clone(&self.source), Arc::clone(&self.kept), key.clone(), outcome.clone());
        tokio::spawn(async move {
            let fetched = tokio::time::timeout(FETCH_DEADLINE, source.fetch(&key.0, &key.1)).await;
            let (next, outcome) = judge(fetched.unwrap_or(Err(TokenUnavailable { source: None })), &key);
            let mut kept = all.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            // Gone if the identity was forgotten meanwhile, and another's if it was asked for again since.
            if let Some(entry) = kept.get_mut(&key)
                && matches!(entry, Kept::Fetching { outcome, .. } if outcome.same_channel(&ours))
            {
                *entry = next;
            }
            drop(kept);
            sender.send_replace(Some(outcome));
        });
        Step::Wait(outcome)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Kept {
    /// What was given out, and may still be good although it is not given out any more.
    fn known(&self) -> Option<&SecretString> {
        match self {
            Self::Token { value, .. } => Some(value),
            Self::Fetching { before, .. } => before.as_ref(),
            Self::Failed { .. } => None,
        }
    }
}

fn judge(fetched: Result<Token, TokenUnavailable>, (identity, id): &Key) -> (Kept, Outcome) {
    let now = Instant::now();
    match fetched {
        Ok(Token { value, lifetime }) => {
            // What never ends in the clock's terms ends when it is rejected.
            let until = lifetime.and_then(|all| now.checked_add(all.saturating_sub(MARGIN).max(all / 2)));
            (Kept::Token { value: value.clone(), until, fetched: now }, Ok(value))
        }
        Err(error) => {
            tracing::warn!(%identity, credential = %id, error = &error as &dyn std::error::Error, "no access token");
            (Kept::Failed { until: now + PAUSE_AFTER_FAILURE }, Err(()))
        }
    }
}

impl Credentials for FreshTokens {
    fn credential<'a>(
        &'a self,
        identity: &'a Identity,
        id: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        Box::pin(self.token((identity.clone(), id.clone())))
    }

    fn known<'a>(
        &'a self,
        identity: &'a Identity,
        id: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        let known = self.lock().get(&(identity.clone(), id.clone())).and_then(Kept::known).cloned();
        Box::pin(std::future::ready(known.ok_or(CredentialUnavailable::Denied)))
    }

    fn rejected(&self, identity: &Identity, id: &CredentialId, value: &SecretString) {
        let key = (identity.clone(), id.clone());
        let mut kept = self.lock();
        // Of many rejections of one token only the first counts; a newer token is not touched by them.
        let Some(Kept::Token { value: current, fetched, .. }) = kept.get(&key) else { return };
        if current.expose() != value.expose() {
            return;
        }
        // A token that is rejected as soon as it is there will not be better the next time; who provokes that asks no issuer.
        let until = *fetched + PAUSE_AFTER_FAILURE;
        match until > Instant::now() {
            true => kept.insert(key, Kept::Failed { until }),
            false => kept.remove(&key),
        };
    }
}

impl fmt::Debug for FreshTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreshTokens").finish_non_exhaustive()
    }
}

/// How long before its end a token is no longer used.
const MARGIN: Duration = Duration::from_secs(30);
const FETCH_DEADLINE: Duration = Duration::from_secs(30);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Issuer {
        fetched: AtomicUsize,
        down: AtomicBool,
    }

    impl TokenSource for Issuer {
        fn fetch<'a>(&'a self, _: &'a Identity, _: &'a CredentialId) -> BoxFuture<'a, Result<Token, TokenUnavailable>> {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let number = self.fetched.fetch_add(1, Ordering::SeqCst) + 1;
                if self.down.load(Ordering::SeqCst) {
                    return Err(TokenUnavailable { source: None });
                }
                let value = SecretString::new(format!("token-number-{number}"));
                Ok(Token::new(value, Some(Duration::from_secs(3600))))
            })
        }
    }

    fn fresh() -> (Arc<Issuer>, Arc<FreshTokens>, Identity, CredentialId) {
        let issuer = Arc::new(Issuer::default());
        let tokens = Arc::new(FreshTokens::new(Arc::<Issuer>::clone(&issuer)));
        (issuer, tokens, Identity::new("one"), CredentialId::new("key"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_rejections_lead_to_one_refresh() {
        let (issuer, tokens, identity, id) = fresh();
        let first = tokens.credential(&identity, &id).await.unwrap();
        tokio::time::advance(PAUSE_AFTER_FAILURE).await;
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (tokens, identity, id, first) = (Arc::clone(&tokens), identity.clone(), id.clone(), first.clone());
            all.spawn(async move {
                tokens.rejected(&identity, &id, &first);
                tokens.credential(&identity, &id).await.unwrap().expose().to_owned()
            });
        }
        assert!(all.join_all().await.iter().all(|token| token == "token-number-2"), "EGR-192");
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 2, "one refresh");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_rejected_at_once_is_not_fetched_again_and_again() {
        let (issuer, tokens, identity, id) = fresh();
        for _ in 0..10 {
            if let Ok(value) = tokens.credential(&identity, &id).await {
                tokens.rejected(&identity, &id, &value);
            }
        }
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 1, "EGR-192: no loop");
        tokio::time::advance(PAUSE_AFTER_FAILURE).await;
        assert!(tokens.credential(&identity, &id).await.is_ok(), "later it is");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_replaced_before_it_ends() {
        let (issuer, tokens, identity, id) = fresh();
        assert_eq!(tokens.credential(&identity, &id).await.unwrap().expose(), "token-number-1");
        tokio::time::advance(Duration::from_secs(3500)).await;
        assert_eq!(tokens.credential(&identity, &id).await.unwrap().expose(), "token-number-1", "still good");
        tokio::time::advance(Duration::from_secs(80)).await;
        assert_eq!(tokens.credential(&identity, &id).await.unwrap().expose(), "token-number-2");
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_down_is_not_asked_by_every_request() {
        let (issuer, tokens, identity, id) = fresh();
        issuer.down.store(true, Ordering::SeqCst);
        for _ in 0..10 {
            let refused = tokens.credential(&identity, &id).await;
            assert!(matches!(refused, Err(CredentialUnavailable::Refresh { .. })));
        }
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 1, "EGR-192: no loop");
        issuer.down.store(false, Ordering::SeqCst);
        tokio::time::advance(PAUSE_AFTER_FAILURE).await;
        assert_eq!(tokens.credential(&identity, &id).await.unwrap().expose(), "token-number-2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_goes_on_when_who_asked_has_left() {
        let (issuer, tokens, identity, id) = fresh();
        let left = tokio::time::timeout(Duration::from_millis(10), tokens.credential(&identity, &id)).await;
        assert!(left.is_err());
        assert_eq!(tokens.credential(&identity, &id).await.unwrap().expose(), "token-number-1");
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_for_somebody_forgotten_does_not_answer_for_the_next() {
        let (issuer, tokens, identity, id) = fresh();
        let ask = || {
            let (tokens, identity, id) = (Arc::clone(&tokens), identity.clone(), id.clone());
            tokio::spawn(async move { tokens.credential(&identity, &id).await.unwrap().expose().to_owned() })
        };
        let first = ask();
        tokio::time::sleep(Duration::from_millis(500)).await;
        tokens.forget(&identity);
        let second = ask();
        assert_eq!(first.await.unwrap(), "token-number-1");
        let third = ask(); // while the second fetch is under way
        assert_eq!((second.await.unwrap(), third.await.unwrap()), ("token-number-2".into(), "token-number-2".into()));
        assert_eq!(tokens.credential(&identity, &id).await.unwrap().expose(), "token-number-2");
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_out_is_known_and_nothing_is_fetched_for_that() {
        let (issuer, tokens, identity, id) = fresh();
        let known = async || tokens.known(&identity, &id).await.map(|value| value.expose().to_owned()).ok();
        assert_eq!((known().await, issuer.fetched.load(Ordering::SeqCst)), (None, 0));
        let first = tokens.credential(&identity, &id).await.unwrap();
        assert_eq!(known().await.as_deref(), Some("token-number-1"));
        tokio::time::advance(Duration::from_secs(3580)).await;
        let asked = tokio::time::timeout(Duration::from_millis(10), tokens.credential(&identity, &id)).await;
        assert!(asked.is_err(), "the next one is under way");
        assert_eq!(known().await.as_deref(), Some("token-number-1"), "this one is good for some seconds");
        assert_eq!(tokens.credential(&identity, &id).await.unwrap().expose(), "token-number-2");
        assert_eq!(known().await.as_deref(), Some("token-number-2"));
        tokens.rejected(&identity, &id, &first);
        assert_eq!(known().await.as_deref(), Some("token-number-2"));
        tokens.forget(&identity);
        assert_eq!((known().await, issuer.fetched.load(Ordering::SeqCst)), (None, 2));
    }
}
