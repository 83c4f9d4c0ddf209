//! Joins the egress proxy to this installation: who is calling, what it may do now, which secret is meant.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use gigmcp_egress::{
    Allowance, AuditEvent, AuditSink, AuditUnavailable, BoxFuture, CredentialId, CredentialRule, CredentialUnavailable,
    Credentials, EventId, Grant, GrantUnavailable, Grants, HostPattern, Identity, InvalidGrant, Placeholder, Rule,
    SecretString,
};

use http::Method;
use tokio::time::Instant;

use crate::{
    calls::Calls,
    exposures::Use,
    secrets::Secrets,
    spec::{Binding, Owner, ProfileSlug, RequestRule, SecretName, SecretSlot, ServerName, ServerSpec, TcpRule},
    store::{Asker, AuditRow, Edition, SecretKey, Store, StoreError},
    traces::Traces,
};

/// One running sandbox: what the proxy must know about the listener it hears from.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) identity: Identity,
    pub(crate) owner: Owner,
    pub(crate) server: ServerName,
    pub(crate) slots: Vec<(SecretSlot, Placeholder)>,
    pub(crate) entitlement: Entitlement,
    /// The tool calls that it was given.
    pub(crate) calls: Arc<Calls>,
}

/// Where an instance's rules stand.
#[derive(Debug)]
pub(crate) enum Entitlement {
    /// In the database, read anew at every request.
    Installed {
        profile: ProfileSlug,
        /// What the instance was started as; another one ends its rights.
        edition: Edition,
        /// What it was started with, if somebody has agreed to that and nothing else: then other rules under the same
        /// revision are none, whoever wrote them into the database.
        consented: Option<Box<ServerSpec>>,
    },
    /// On the command line of `exec`, for the life of the process.
    Declared(Box<ServerSpec>),
}

impl Instance {
    /// The profile that it was started for; with `exec` there is none.
    pub(crate) fn profile(&self) -> String {
        match &self.entitlement {
            Entitlement::Installed { profile, .. } => profile.to_string(),
            Entitlement::Declared(_) => String::new(),
        }
    }
}

/// The running instances, by identity.
#[derive(Debug, Default)]
pub(crate) struct Instances(Mutex<HashMap<Identity, Entry>>);

#[derive(Debug)]
struct Entry {
    instance: Arc<Instance>,
    /// When it ended: it has no rights any more, but what it did last is still to be named after it.
    ended: Option<Instant>,
}

impl Instances {
    /// Makes an instance known for as long as the answer lives.
    pub(crate) fn enter(self: &Arc<Self>, instance: Instance) -> Entered {
        let identity = instance.identity.clone();
        let mut instances = self.lock();
        instances.retain(|_, entry| entry.ended.is_none_or(|ended| ended.elapsed() < NAMED_AFTER_END));
        instances.insert(identity.clone(), Entry { instance: Arc::new(instance), ended: None });
        drop(instances);
        Entered { instances: Arc::clone(self), identity }
    }

    /// An instance that runs.
    fn find(&self, identity: &Identity) -> Option<Arc<Instance>> {
        let instances = self.lock();
        instances.get(identity).filter(|entry| entry.ended.is_none()).map(|entry| Arc::clone(&entry.instance))
    }

    /// How many run.
    pub(crate) fn count(&self) -> usize {
        self.lock().values().filter(|entry| entry.ended.is_none()).count()
    }

    /// Whether it runs here.
    pub(crate) fn runs(&self, identity: &Identity) -> bool {
        self.find(identity).is_some()
    }

    /// An instance that runs, or did so until a moment ago.
    fn named(&self, identity: &Identity) -> Option<Arc<Instance>> {
        self.lock().get(identity).map(|entry| Arc::clone(&entry.instance))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Identity, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long an ended instance is known by name.
const NAMED_AFTER_END: Duration = Duration::from_secs(60);

/// Ends the rights of the instance when dropped.
pub(crate) struct Entered {
    instances: Arc<Instances>,
    identity: Identity,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(entry) = self.instances.lock().get_mut(&self.identity) {
            entry.ended = Some(Instant::now());
        }
    }
}

/// The rules could not be had.
#[derive(Debug, thiserror::Error)]
enum GrantError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Invalid(#[from] InvalidGrant),
}

/// The proxy's view of this installation.
#[derive(Clone)]
pub(crate) struct Policy {
    store: Store,
    secrets: Arc<Secrets>,
    instances: Arc<Instances>,
    /// Values that came from the caller's environment, for `exec`.
    given: Arc<HashMap<CredentialId, SecretString>>,
    traces: Traces,
}

impl Policy {
    pub(crate) fn new(
        store: Store,
        secrets: Arc<Secrets>,
        instances: Arc<Instances>,
        given: HashMap<CredentialId, SecretString>,
        traces: Traces,
    ) -> Self {
        Self { store, secrets, instances, given: Arc::new(given), traces }
    }

    fn store_for(&self, identity: &Identity) -> Store {
        self.store.in_turn_of(Asker::Instance(identity.clone()))
    }

    async fn read_grant(&self, identity: &Identity) -> Result<Arc<Grant>, GrantError> {
        let Some(instance) = self.instances.find(identity) else { return Ok(Arc::default()) };
        let store = self.store_for(identity);
        let mut versions = HashMap::new();
        let (version, spec) = match &instance.entitlement {
            Entitlement::Declared(spec) => (0, ServerSpec::clone(spec)),
            Entitlement::Installed { profile, edition, consented } => {
                let profile = match store.profile(profile.clone()).await {
                    Err(StoreError::Missing { .. }) => return Ok(Arc::default()),
                    profile => profile?,
                };
                let member = profile.servers.contains(&(instance.server.clone(), *edition));
                if profile.owner != instance.owner || !member {
                    return Ok(Arc::default());
                }
                if !instance.slots.is_empty() {
                    versions = store.secret_versions(instance.owner.clone(), instance.server.clone()).await?;
                }
                let spec = match store.server(instance.server.clone()).await {
                    Err(StoreError::Missing { .. }) => return Ok(Arc::default()),
                    server => server?.spec,
                };
                if consented.as_ref().is_some_and(|consented| **consented != spec) {
                    return Ok(Arc::default());
                }
                (edition.revision.cast_unsigned(), spec)
            }
        };
        Ok(Arc::new(grant(version, &spec, &instance.slots, &versions)?))
    }

    async fn read_credential(
        &self,
        identity: &Identity,
        id: &CredentialId,
        request: Option<EventId>,
    ) -> Result<SecretString, CredentialUnavailable> {
        if let Some(value) = self.given.get(id) {
            return Ok(value.clone());
        }
        let instance = self.instances.find(identity).ok_or(CredentialUnavailable::Denied)?;
        let slot = instance.slots.iter().map(|(slot, _)| slot).find(|slot| slot.name.as_str() == id.as_str());
        let slot = slot.ok_or(CredentialUnavailable::Denied)?;
        let key = SecretKey { owner: instance.owner.clone(), server: instance.server.clone(), name: slot.name.clone() };
        match self.secrets.open(Asker::Instance(identity.clone()), key, &slot.sealed_for()).await {
            Ok(Some(value)) => {
                let used = Use { instance: Some(instance), request };
                used.during(|reason| text(value, reason)).ok_or(CredentialUnavailable::Denied)
            }
            Ok(None) => Err(CredentialUnavailable::Denied),
            Err(error) => Err(CredentialUnavailable::Unreachable { source: Some(Box::new(error)) }),
        }
    }
}

/// The rules of a specification, with the placeholders of one instance. What has no version has no value, or only one.
///
/// # Errors
/// If the specification could be read in two ways; it was checked when it was made, so somebody has edited it since.
pub(crate) fn grant(
    version: u64,
    spec: &ServerSpec,
    slots: &[(SecretSlot, Placeholder)],
    versions: &HashMap<SecretName, i64>,
) -> Result<Grant, InvalidGrant> {
    let everything = spec.hosts().into_iter().map(Rule::https);
    let some = spec.allow_read.iter().cloned().map(read_only).chain(spec.rules.iter().flat_map(RequestRule::rules));
    // Node's fetch leaves in a query what is refused by default.
    let https = everything.chain(some).map(|rule| rule.allow(Allowance::RawQuery));
    let rules = https.chain(spec.tcp.iter().map(TcpRule::rule)).collect();
    let declared = slots.iter().filter(|(slot, _)| spec.secrets.contains(slot));
    let credentials = declared.filter_map(|(slot, placeholder)| {
        let version = versions.get(&slot.name).map_or(0, |version| version.cast_unsigned());
        Some(credential(slot, placeholder)?.version(version))
    });
    Grant::new(version, rules, credentials.collect())
}

/// Where a credential goes. None if the server holds it itself.
fn credential(slot: &SecretSlot, placeholder: &Placeholder) -> Option<CredentialRule> {
    let sink = slot.place.sink()?;
    let id = CredentialId::new(slot.name.as_str());
    let mut bindings = slot.bind.iter().map(binding);
    let first = bindings.next()?;
    let rule = CredentialRule::new(id, placeholder.clone(), first.hosts, sink);
    let rule = first.methods.into_iter().fold(rule, CredentialRule::methods);
    let rule = first.paths.into_iter().fold(rule, CredentialRule::paths);
    Some(bindings.fold(rule, CredentialRule::also))
}

fn binding(binding: &Binding) -> gigmcp_egress::Binding {
    gigmcp_egress::Binding {
        hosts: binding.hosts.clone(),
        methods: (!binding.methods.is_empty()).then(|| binding.methods.clone()),
        paths: (!binding.paths.is_empty()).then(|| binding.paths.clone()),
    }
}

fn read_only(host: HostPattern) -> Rule {
    Rule::https(host).methods([Method::GET, Method::HEAD])
}

/// A secret as text; what is not text cannot stand in a header.
pub(crate) fn text(value: gigmcp_vault::SecretBytes, reason: gigmcp_vault::Reason) -> Option<SecretString> {
    value.expose(reason, |bytes| std::str::from_utf8(bytes).ok().map(SecretString::new))
}

impl Grants for Policy {
    fn grant<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        Box::pin(async {
            self.read_grant(identity).await.map_err(|error| GrantUnavailable { source: Some(Box::new(error)) })
        })
    }
}

impl Credentials for Policy {
    fn credential<'a>(
        &'a self,
        identity: &'a Identity,
        id: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        Box::pin(self.read_credential(identity, id, None))
    }

    fn credential_for<'a>(
        &'a self,
        identity: &'a Identity,
        id: &'a CredentialId,
        request: EventId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        Box::pin(self.read_credential(identity, id, Some(request)))
    }
}

impl AuditSink for Policy {
    fn ready<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async {
            let store = self.store_for(identity);
            store.takes_audit().await.map_err(|error| AuditUnavailable { source: Some(Box::new(error)) })
        })
    }

    fn record<'a>(&'a self, event: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async move {
            let row = self.row(&event);
            if let Some(instance) = self.instances.named(&event.identity) {
                self.traces.egress(&event, instance.calls.spans_at(event.began));
            }
            let store = self.store_for(&event.identity);
            store.add_audit(row).await.map_err(|error| AuditUnavailable { source: Some(Box::new(error)) })
        })
    }
}

impl Policy {
    fn row(&self, event: &AuditEvent) -> AuditRow {
        let instance = self.instances.named(&event.identity);
        let (owner, profile, server) = match instance.as_deref() {
            None => Default::default(),
            Some(instance) => (instance.owner.to_string(), instance.profile(), instance.server.to_string()),
        };
        AuditRow {
            at_ms: millis(event.time),
            kind: event.kind.code().to_owned(),
            owner,
            profile,
            server,
            instance: event.identity.to_string(),
            subject: subject(event),
            verdict: event.verdict.code().to_owned(),
            status: event.status.map(i64::from),
            credentials: event.credentials.iter().map(CredentialId::as_str).collect::<Vec<_>>().join(","),
            bytes_up: event.bytes_up.cast_signed(),
            bytes_down: event.bytes_down.cast_signed(),
            duration_us: i64::try_from(event.duration.as_micros()).unwrap_or(i64::MAX),
            alarm: event.alarm,
            policy_version: event.policy_version.map(u64::cast_signed),
            calls: instance.as_deref().and_then(|instance| instance.calls.at(event.began)),
            request: Some(event.id.to_string()),
            ..AuditRow::default()
        }
    }
}

/// Milliseconds since 1970, as in the rest of the audit.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What was asked for, in one line.
fn subject(event: &AuditEvent) -> String {
    let mut text = event.method.clone().unwrap_or_default();
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(event.host.as_deref().unwrap_or("-"));
    if let Some(port) = event.port {
        text.push_str(&format!(":{port}"));
    }
    text.push_str(event.path.as_deref().unwrap_or_default());
    text
}

#[cfg(test)]
mod tests;
