//! What is left of people who are not seen any more: a provider is asked about somebody only while they use a browser, so what
//! their programs have is bounded by time, if the operator says so.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::{
    Lifetime, People, UserId,
    confirmation::SUSPENDED,
    record::{self, Kind},
};
use crate::{
    output::whole,
    store::{StoreError, now_seconds},
};

impl People {
    /// Suspends those for whom no provider has vouched for as long as that; never returns.
    pub(crate) async fn follow_unseen(&self, longest: Lifetime) {
        let mut turns = interval(EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if let Err(error) = self.suspend_unseen(longest).await {
                tracing::error!("who was not seen for long could not be suspended: {}", whole(&error));
            }
        }
    }

    /// The same once. Says whom.
    pub(crate) async fn suspend_unseen(&self, longest: Lifetime) -> Result<Vec<UserId>, StoreError> {
        let what = format!("no provider has vouched for them for {longest}; {SUSPENDED}");
        let told = move |user: &UserId| record::of(Kind::Account, user.as_str(), what.clone(), "unseen");
        self.store.suspend_unseen(now_seconds().saturating_sub(longest.seconds()), Box::new(told)).await
    }
}

const EVERY: Duration = Duration::from_secs(60);
