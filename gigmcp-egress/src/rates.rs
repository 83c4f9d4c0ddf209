use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::identity::Identity;
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::rule::{Rate, Rule};

/// How often identities did something lately.
#[derive(Default)]
pub(crate) struct Rates(Mutex<HashMap<Identity, Spent>>);

#[derive(Default)]
struct Spent {
    all: Option<Bucket>,
    refusals: Option<Bucket>,
    /// By what a rule is told from others.
    by_rule: HashMap<String, Bucket>,
}

impl Rates {
    /// Counts one request of an identity, whatever becomes of it.
    ///
    /// # Errors
    /// If it is one too many; it is not counted then.
    pub(crate) fn admit(&self, identity: &Identity, limits: &Limits) -> Result<(), Refusal> {
        let rate = Rate { count: limits.requests_per_second, per: Duration::from_secs(1) };
        let admitted = self.with(identity, |spent| spent.all.get_or_insert_with(|| Bucket::full(rate)).take());
        if admitted { Ok(()) } else { Err(Refusal::RateLimited) }
    }

    /// Counts one request by a rule.
    ///
    /// # Errors
    /// If it is one too many; it is not counted then.
    pub(crate) fn admit_by(&self, rule: &Rule, identity: &Identity) -> Result<(), Refusal> {
        let Some(rate) = rule.rate else { return Ok(()) };
        let key = format!("{} {} {:?} {:?} {:?}", rule.scheme, rule.host, rule.ports, rule.methods, rule.paths);
        let admitted = self.with(identity, |spent| {
            let bucket = spent.by_rule.entry(key).or_insert_with(|| Bucket::full(rate));
            if bucket.rate != rate {
                *bucket = Bucket::full(rate);
            }
            bucket.take()
        });
        if admitted { Ok(()) } else { Err(Refusal::RateLimited) }
    }

    /// Waits until an identity may be refused once more.
    pub(crate) async fn slow_down(&self, identity: &Identity, limits: &Limits) {
        let rate = Rate { count: limits.refusals_per_second, per: Duration::from_secs(1) };
        let may = || self.with(identity, |spent| spent.refusals.get_or_insert_with(|| Bucket::full(rate)).take());
        while !may() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Counts something that is recorded without anybody who could be made to wait, as of a request that was given up.
    pub(crate) fn charge(&self, identity: &Identity, per_second: u32) {
        let rate = Rate { count: per_second, per: Duration::from_secs(1) };
        // One that is not there has been forgotten since its request came, and nobody would forget it again.
        if let Some(spent) = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_mut(identity) {
            spent.refusals.get_or_insert_with(|| Bucket::full(rate)).charge();
        }
    }

    /// Waits until an identity has not been charged for more than its rate, before more is taken from it.
    pub(crate) async fn settle(&self, identity: &Identity) {
        while self.with(identity, |spent| spent.refusals.as_mut().is_some_and(Bucket::is_overdrawn)) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn with<T>(&self, identity: &Identity, count: impl FnOnce(&mut Spent) -> T) -> T {
        count(self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).entry(identity.clone()).or_default())
    }

    pub(crate) fn forget(&self, identity: &Identity) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(identity);
    }
}

/// Between two looks at a bucket that was empty.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// A bucket that holds what a rate allows at once, and refills steadily.
pub(crate) struct Bucket {
    rate: Rate,
    left: f64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn full(rate: Rate) -> Self {
        Self { rate, left: f64::from(rate.count), filled: Instant::now() }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self) -> bool {
        self.refill();
        let taken = self.left >= 1.0;
        self.left -= f64::from(u8::from(taken));
        taken
    }

    /// Takes one, whether there is one or not.
    fn charge(&mut self) {
        self.refill();
        self.left -= 1.0;
    }

    fn is_overdrawn(&mut self) -> bool {
        self.refill();
        self.left < 0.0
    }

    pub(crate) fn is_full(&mut self) -> bool {
        self.refill();
        self.left >= f64::from(self.rate.count)
    }

    fn refill(&mut self) {
        let (now, count) = (Instant::now(), f64::from(self.rate.count));
        let refilled = now.duration_since(self.filled).as_secs_f64() / self.rate.per.as_secs_f64().max(f64::EPSILON);
        self.left = (self.left + refilled * count).min(count);
        self.filled = now;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn a_rule_and_an_identity_have_their_rates() {
        let (rates, one, two) = (Rates::default(), Identity::new("one"), Identity::new("two"));
        let limits = Limits { requests_per_second: 1, ..Limits::default() };
        let mut slow = Rule::https("api.example.com".parse().unwrap());
        slow.rate = Some(Rate { count: 1, per: Duration::from_secs(3600) });
        let free = Rule::https("b.example.com".parse().unwrap());
        assert_eq!(rates.admit_by(&slow, &one), Ok(()));
        assert_eq!(rates.admit_by(&slow, &one), Err(Refusal::RateLimited), "the rule");
        assert_eq!(rates.admit_by(&free, &one), Ok(()), "another rule");
        assert_eq!(rates.admit_by(&slow, &two), Ok(()), "another identity");
        assert_eq!(rates.admit(&one, &limits), Ok(()));
        assert_eq!(rates.admit(&one, &limits), Err(Refusal::RateLimited), "the identity");
        assert_eq!(rates.admit(&two, &limits), Ok(()), "another one");
        rates.forget(&one);
        assert_eq!(rates.admit(&one, &limits), Ok(()), "forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_again_and_again_has_to_wait() {
        let (rates, one, two) = (Rates::default(), Identity::new("one"), Identity::new("two"));
        let limits = Limits { refusals_per_second: 2, ..Limits::default() };
        let in_time = async |identity: &Identity| {
            tokio::time::timeout(Duration::ZERO, rates.slow_down(identity, &limits)).await.is_ok()
        };
        let mut at_once = 0;
        while in_time(&one).await {
            at_once += 1;
        }
        assert!(at_once >= 2, "{at_once}");
        assert!(in_time(&two).await, "another one does not");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_again_and_again_has_to_wait() {
        let (rates, one, two) = (Rates::default(), Identity::new("one"), Identity::new("two"));
        let in_time =
            async |identity: &Identity| tokio::time::timeout(Duration::ZERO, rates.settle(identity)).await.is_ok();
        rates.charge(&one, 2);
        assert!(rates.0.lock().unwrap().is_empty(), "nothing is kept of who is not there");
        rates.admit(&one, &Limits::default()).unwrap();
        for _ in 0..2 {
            rates.charge(&one, 2);
        }
        assert!(in_time(&one).await, "as much as its rate");
        for _ in 0..100 {
            rates.charge(&one, 2);
        }
        assert!(!in_time(&one).await && in_time(&two).await);
    }

    #[test]
    fn a_bucket_refills() {
        let mut bucket = Bucket::full(Rate { count: 2, per: Duration::from_secs(60) });
        assert_eq!([bucket.take(), bucket.take(), bucket.take()], [true, true, false]);
        bucket.filled -= Duration::from_secs(30);
        assert_eq!([bucket.take(), bucket.take()], [true, false]);
        bucket.filled -= Duration::from_secs(3600);
        assert_eq!([bucket.take(), bucket.take(), bucket.take()], [true, true, false], "no more than full");
    }
}
