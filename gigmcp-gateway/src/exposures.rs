//! Each time a secret leaves the vault, as a row of the audit trail.

use std::{
    cell::RefCell,
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use gigmcp_egress::{EventId, Identity};
use gigmcp_vault::{AuditSink, Exposure, Reason};

use crate::{
    egress::Instance,
    store::{Asker, AuditRow, Store, now_millis},
    trail,
};

/// To inject it into a request.
const SEND: Reason = Reason::new("send with a request");
/// So that an answer which shows it does not reach the sandbox.
const SEARCH: Reason = Reason::new("search answers for it");
/// To make a placeholder that looks like it.
pub(crate) const SHAPE: Reason = Reason::new("learn its shape");

/// Because somebody agreed that the server holds it.
pub(crate) const HOLD: Reason = Reason::new("give to the server");

/// What a secret is read for.
#[derive(Clone, Default)]
pub(crate) struct Use {
    /// Whose sandbox it is read for.
    pub(crate) instance: Option<Arc<Instance>>,
    /// The request that it goes out with.
    pub(crate) request: Option<EventId>,
}

thread_local! {
    /// What the secret that is being read in this thread is read for.
    static USE: RefCell<Use> = RefCell::default();
}

impl Use {
    /// Runs what exposes a secret, so that its row tells of this use.
    pub(crate) fn during<T>(self, read: impl FnOnce(Reason) -> T) -> T {
        let reason = if self.request.is_some() { SEND } else { SEARCH };
        let before = USE.replace(self);
        let done = read(reason);
        USE.set(before);
        done
    }
}

/// Writes the rows. The vault does not wait for them; if one is lost, nothing is let out any more until one is kept again.
pub(crate) struct Exposures {
    store: Store,
    /// Every answer is searched for every secret of its sandbox, so of that only the first time is told.
    searched: Mutex<HashSet<(Identity, String)>>,
}

impl Exposures {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, searched: Mutex::default() }
    }

    fn is_new(&self, instance: Option<&Instance>, secret: &str) -> bool {
        let Some(instance) = instance else { return true };
        let mut searched = self.searched.lock().unwrap_or_else(PoisonError::into_inner);
        if searched.len() >= MAX_SEARCHED {
            searched.clear();
        }
        searched.insert((instance.identity.clone(), secret.to_owned()))
    }
}

impl AuditSink for Exposures {
    fn exposed(&self, exposure: Exposure<'_>) {
        let Use { instance, request } = USE.with_borrow(Clone::clone);
        let (context, instance) = (exposure.context, instance.as_deref());
        if context.purpose.as_str() == trail::PURPOSE {
            // The key of the trail itself: it is no credential, and who only verifies the trail shall not write to it.
            return;
        }
        let secret = format!("{} version {}", context.secret.as_str(), context.version);
        if exposure.reason == SEARCH && !self.is_new(instance, &secret) {
            return;
        }
        let asker = instance.map_or(Asker::Gateway, |instance| Asker::Instance(instance.identity.clone()));
        let server = context.secret.as_str().split('/').next().unwrap_or_default();
        self.store.in_turn_of(asker).add_audit_later(AuditRow {
            at_ms: now_millis(),
            kind: "credential".to_owned(),
            owner: context.tenant.as_str().to_owned(),
            profile: instance.map(Instance::profile).unwrap_or_default(),
            server: server.to_owned(),
            instance: instance.map(|instance| instance.identity.to_string()).unwrap_or_default(),
            subject: format!("{secret}: {}", exposure.reason),
            verdict: "allowed".to_owned(),
            calls: instance.and_then(|instance| instance.calls.at(Instant::now())),
            request: request.map(|request| request.to_string()),
            ..AuditRow::default()
        });
    }
}

/// When more are known, all are told anew.
const MAX_SEARCHED: usize = 10_000;
