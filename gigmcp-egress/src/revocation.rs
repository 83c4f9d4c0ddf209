use std::sync::Arc;

use crate::allow;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::request::Downstream;

/// Waits until the rules no longer allow where a request went.
pub(crate) async fn revocation(policy: Arc<Policy>, downstream: Downstream) -> Refusal {
    loop {
        tokio::time::sleep(policy.limits.revocation_interval).await;
        if let Err(refusal) = still_allowed(&policy, &downstream).await {
            return refusal;
        }
    }
}

/// Whether a rule still allows where something is under way to. If that cannot be told, it ends.
pub(crate) async fn still_allowed(policy: &Policy, downstream: &Downstream) -> Result<(), Refusal> {
    let grant = policy.grant(&downstream.identity).await?;
    allow::destination(&grant, &downstream.destination).map(drop).map_err(|_| Refusal::Revoked)
}
