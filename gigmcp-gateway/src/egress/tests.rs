use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
};

use gigmcp_egress::{Body, Destination, Downstream, EgressLayer, Limits, Scheme, Shape};
use gigmcp_vault::{KeyId, KeyRing, SecretBytes};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::sync::{Notify, mpsc};
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::{exposures::Exposures, keys::Keys, traces::Traces, trail::testing::call_ids};

/// An installation with one server in one profile.
struct World {
    store: Store,
    instances: Arc<Instances>,
    policy: Arc<Policy>,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let (store, directory) = Store::open_for_test();
        let spec = r#"{"source": "host_tools", "command": ["true"], "env": {}, "allow": ["api.example.com"],
                       "allow_read": [], "secrets": [{"env": "API_KEY", "host": "api.example.com"}], "read_only": []}"#;
        let spec = ServerSpec::from_json(spec).expect("a specification");
        store.add_server(server(), spec, Vec::new()).await.expect("a new server");
        store.create_profile(profile(), Owner::local(), vec![server()], "hash".into()).await.expect("a new profile");
        let key = KeyRing::from_key(KeyId::from_bytes([1; 16]), 1, &SecretBytes::new(vec![7; 32]));
        let told = Arc::new(Exposures::new(store.clone()));
        let keys = Keys::fixed(key.expect("a key of 32 bytes")).audited(told);
        let secrets = Secrets::new(store.clone(), keys);
        let slot = slot();
        let key = SecretKey { owner: Owner::local(), server: server(), name: slot.name.clone() };
        let value = SecretBytes::new(b"the-real-value-of-it".to_vec());
        secrets.put(key, &slot.sealed_for(), value, AuditRow::default().into()).await.expect("a new secret");
        let instances = Arc::<Instances>::default();
        let policy =
            Policy::new(store.clone(), Arc::new(secrets), Arc::clone(&instances), HashMap::new(), Traces::default());
        Self { store, instances, policy: Arc::new(policy), _directory: directory }
    }

    async fn enter(&self, identity: &Identity) -> Entered {
        self.enter_with(identity, Vec::new(), Arc::default()).await
    }

    async fn enter_with(
        &self,
        identity: &Identity,
        slots: Vec<(SecretSlot, Placeholder)>,
        calls: Arc<Calls>,
    ) -> Entered {
        let revision = self.store.server(server()).await.expect("it was added").revision;
        self.instances.enter(Instance {
            identity: identity.clone(),
            owner: Owner::local(),
            server: server(),
            slots,
            calls,
            entitlement: Entitlement::Installed {
                profile: profile(),
                edition: Edition::first(revision),
                consented: None,
            },
        })
    }

    /// One request, and what `meanwhile` does when it has left; gives the event that came of it, once it is recorded.
    async fn request(&self, identity: &Identity, meanwhile: impl FnOnce()) -> AuditEvent {
        self.request_with(identity, None, meanwhile).await
    }

    async fn request_with(
        &self,
        identity: &Identity,
        placeholder: Option<&Placeholder>,
        meanwhile: impl FnOnce(),
    ) -> AuditEvent {
        let (told, mut events) = mpsc::unbounded_channel();
        let sink = Arc::new(Told(Arc::clone(&self.policy), told));
        let (left, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let upstream = {
            let (left, go) = (Arc::clone(&left), Arc::clone(&go));
            service_fn(move |_: Request<Body>| {
                let (left, go) = (Arc::clone(&left), Arc::clone(&go));
                async move {
                    left.notify_one();
                    go.notified().await;
                    Ok::<_, Infallible>(Response::new(String::new()))
                }
            })
        };
        let (grants, credentials) = (Arc::clone(&self.policy), Arc::clone(&self.policy));
        let egress = EgressLayer::new(grants, credentials, sink, Limits::default()).layer(upstream);
        let host = "api.example.com".parse().expect("a host");
        let destination = Destination { scheme: Scheme::Https, host, port: 443 };
        let authorization =
            placeholder.map(|placeholder| ("authorization", format!("Bearer {}", placeholder.as_str())));
        let headers = authorization.into_iter().chain([("host", "api.example.com".to_owned())]);
        let request = headers
            .fold(Request::get("/v1"), |request, (name, value)| request.header(name, value))
            .extension(Downstream { identity: identity.clone(), destination })
            .body(String::new())
            .expect("a request");
        let exchange = async {
            let Ok(answer) = egress.oneshot(request).await;
            drop(answer.into_body().collect().await);
        };
        let recorded = async {
            tokio::select! {
                () = left.notified() => {
                    meanwhile();
                    go.notify_one();
                    events.recv().await
                }
                // It was refused.
                event = events.recv() => event,
            }
        };
        tokio::join!(exchange, recorded).1.expect("one event")
    }

    /// The newest row.
    async fn row(&self) -> AuditRow {
        let rows = self.store.audit_tail(1).await;
        rows.expect("it can be read").pop().expect("there is a row").row
    }
}

/// Tells of what was recorded.
struct Told(Arc<Policy>, mpsc::UnboundedSender<AuditEvent>);

impl AuditSink for Told {
    fn ready<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        self.0.ready(identity)
    }

    fn record<'a>(&'a self, event: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async move {
            let recorded = self.0.record(event.clone()).await;
            drop(self.1.send(event));
            recorded
        })
    }
}

fn slot() -> SecretSlot {
    "API_KEY=api.example.com".parse().expect("a secret's place")
}

fn server() -> ServerName {
    "tickets".parse().expect("a server name")
}

fn profile() -> ProfileSlug {
    "work".parse().expect("a profile name")
}

/// What the proxy asks of the database.
#[derive(Clone, Debug)]
enum Operation {
    Grant,
    Ready,
    Record(Box<AuditEvent>),
}

impl Operation {
    async fn run(self, policy: &Policy, identity: &Identity) {
        match self {
            Self::Grant => drop(policy.grant(identity).await.expect("a grant")),
            Self::Ready => policy.ready(identity).await.expect("the database takes rows"),
            Self::Record(event) => {
                let mut event = *event;
                event.identity = identity.clone();
                policy.record(event).await.expect("the database takes the row");
            }
        }
    }
}

/// Lets `loud` ask for very much, then `last` once, all before the database does anything. Gives how much of what `loud` asked
/// for was done when `last` was.
async fn done_before(world: &World, operation: &Operation, loud: &Identity, asked: usize, last: &Identity) -> usize {
    let held = world.store.hold().await;
    let done = Arc::new(AtomicUsize::new(0));
    let ask = |identity: &Identity| {
        let (policy, operation, identity) = (Arc::clone(&world.policy), operation.clone(), identity.clone());
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            operation.run(&policy, &identity).await;
            done.fetch_add(1, Ordering::SeqCst)
        })
    };
    let all_wait = async |count| {
        while world.store.waiting() < count {
            tokio::task::yield_now().await;
        }
    };
    let flood: Vec<_> = (0..asked).map(|_| ask(loud)).collect();
    all_wait(asked).await;
    let last = ask(last);
    all_wait(asked + 1).await;
    drop(held);
    let before = last.await.expect("it does not panic");
    for task in flood {
        task.await.expect("it does not panic");
    }
    before
}

#[tokio::test]
async fn one_sandbox_at_its_limits_does_not_move_another() {
    let world = World::new().await;
    let (loud, quiet) = (Identity::new("loud"), Identity::new("quiet"));
    let (_loud, _quiet) = (world.enter(&loud).await, world.enter(&quiet).await);
    let event = Box::new(world.request(&quiet, || {}).await);
    for operation in [Operation::Grant, Operation::Ready, Operation::Record(event)] {
        let before = done_before(&world, &operation, &loud, FLOOD, &quiet).await;
        assert!(before <= ONE_TRANSACTION, "{before} of the other's: {operation:?}");
        // Twin: who asks for that much does wait.
        let before = done_before(&world, &operation, &loud, FLOOD, &loud).await;
        assert_eq!(before, FLOOD, "{operation:?}");
        // Twin: without the flood.
        assert_eq!(done_before(&world, &operation, &loud, 0, &quiet).await, 0, "{operation:?}");
    }
    let kept = world.store.audit_tail(1_000_000).await.expect("it can be read").len();
    assert_eq!(kept, 1 + (FLOOD + 1) + (FLOOD + 1) + 1, "no row is lost");
}

#[tokio::test]
async fn what_a_server_did_last_is_recorded_under_its_name() {
    let world = World::new().await;
    let named = |row: AuditRow| (row.owner, row.profile, row.server, row.instance);
    let name = |instance: &str| ("local".into(), "work".into(), "tickets".into(), instance.to_owned());
    let (runs, ends) = (Identity::new("runs"), Identity::new("ends"));

    let running = world.enter(&runs).await;
    let event = world.request(&runs, || {}).await;
    assert_eq!(named(world.row().await), name("runs"), "twin: one that runs on");
    assert_eq!(world.row().await.policy_version, event.policy_version.map(u64::cast_signed));
    assert_eq!(event.policy_version, Some(revision(&world).await), "the rules that decided");

    let ending = world.enter(&ends).await;
    world.request(&ends, || drop(ending)).await;
    assert_eq!(named(world.row().await), name("ends"), "it ended while its request was under way");

    let event = world.request(&ends, || panic!("a request of an ended server leaves")).await;
    assert_eq!((event.verdict.code(), event.policy_version), ("host-denied", Some(0)), "it has no rights any more");
    assert_eq!(named(world.row().await), name("ends"));

    // It is not kept for ever.
    drop(running);
    tokio::time::pause();
    tokio::time::advance(NAMED_AFTER_END).await;
    tokio::time::resume();
    let _next = world.enter(&Identity::new("next")).await;
    world.request(&ends, || {}).await;
    let nobody = (String::new(), String::new(), String::new(), "ends".to_owned());
    assert_eq!(named(world.row().await), nobody, "a minute later");
}

async fn revision(world: &World) -> u64 {
    world.store.server(server()).await.expect("it was added").revision.cast_unsigned()
}

#[tokio::test]
async fn a_tool_call_the_request_it_led_to_and_the_credential_that_went_out_with_it_are_joined() {
    let world = World::new().await;
    let identity = Identity::new("one");
    let placeholder = Placeholder::mint(&Shape::of(&SecretString::new("the-real-value-of-it")));
    let calls = Arc::<Calls>::default();
    let _entered = world.enter_with(&identity, vec![(slot(), placeholder.clone())], Arc::clone(&calls)).await;
    let ids = call_ids(2).await;

    let under_way = calls.begin(ids[0]);
    let event = world.request_with(&identity, Some(&placeholder), || drop(under_way)).await;
    let rows = world.store.audit_tail(2).await.expect("it can be read");
    let [credential, request] = [&rows[0].row, &rows[1].row];
    assert_eq!((&*credential.kind, &*request.kind, &*request.credentials), ("credential", "request", "API_KEY"));
    assert_eq!(credential.subject, "tickets/API_KEY version 1: send with a request");
    assert_eq!(request.request, Some(event.id.to_string()));
    assert_eq!(credential.request, request.request);
    let call = Some(ids[0].to_string());
    assert_eq!((&credential.calls, &request.calls), (&call, &call), "it ended while the request was under way");
    assert_eq!((&*credential.instance, &*credential.profile, &*credential.owner), ("one", "work", "local"));

    // Which of two it was, nobody here can know.
    let _both = [calls.begin(ids[0]), calls.begin(ids[1])];
    world.request_with(&identity, Some(&placeholder), || {}).await;
    assert_eq!(world.row().await.calls, Some(format!("{},{}", ids[0], ids[1])));

    drop(_both);
    world.request_with(&identity, Some(&placeholder), || {}).await;
    assert_eq!(world.row().await.calls, None, "the server did it by itself");
    assert_ne!(world.row().await.request, request.request);

    // The answer is searched for the secret also when the request does not carry it: that is told once.
    let kinds = async || {
        let rows = world.store.audit_tail(100).await.expect("it can be read");
        rows.into_iter().filter(|row| row.row.subject.ends_with("search answers for it")).count()
    };
    assert_eq!(kinds().await, 0);
    for _ in 0..3 {
        world.request(&identity, || {}).await;
    }
    assert_eq!(kinds().await, 1);
}

#[tokio::test]
async fn what_cannot_be_written_down_does_not_leave() {
    let world = World::new().await;
    let identity = Identity::new("one");
    let _entered = world.enter(&identity).await;
    let refused = async || {
        let event = world.request(&identity, || panic!("it leaves")).await;
        assert_eq!(event.verdict.code(), "audit-unavailable");
    };
    world.request(&identity, || {}).await; // twin of the refusals

    // Its line is full.
    let held = world.store.hold().await;
    world.store.fill_line(Asker::Instance(identity.clone()));
    assert!(world.policy.ready(&identity).await.is_err(), "nobody waits at the end of a full line");
    let other = Identity::new("other");
    let (ready, ()) = tokio::join!(world.policy.ready(&other), async { drop(held) });
    ready.expect("twin: another's line");

    // The database does not take the row of a request that has left: no other leaves.
    world.store.meddle("ALTER TABLE audit RENAME TO away").await;
    world.request(&identity, || {}).await;
    refused().await;
    world.store.meddle("ALTER TABLE away RENAME TO audit").await;
    refused().await;
    world.request(&identity, || {}).await; // twin: the row of the refusal was kept
}

const FLOOD: usize = 3000;
/// How many changes are made at once; a read waits for no more than the one that is being done.
const ONE_TRANSACTION: usize = 32;

#[tokio::test]
async fn an_instance_of_before_sends_nothing_more() {
    let world = World::new().await;
    let identity = Identity::new("one");
    let _entered = world.enter(&identity).await;
    let may_send = async || !world.policy.read_grant(&identity).await.expect("it can be read").rules().is_empty();
    assert!(may_send().await, "twin");
    let other: Owner = "somebody".parse().expect("an owner");
    world.store.meddle("INSERT INTO users (id, issuer, subject, display_name, role, created_at) VALUES ('somebody', 'x', 'x', 'x', 'user', 0)").await;
    world.store.forget_user(other, None).await.expect("they are there");
    assert!(may_send().await, "twin: another was forgotten");
    world.store.meddle("UPDATE users SET epoch = epoch + 1 WHERE id = 'local'").await;
    assert!(!may_send().await);
    world.store.meddle("UPDATE users SET epoch = epoch - 1 WHERE id = 'local'").await;
    assert!(may_send().await, "twin");
    world.store.meddle("INSERT INTO holdings (owner, server, generation) SELECT 'local', name, 1 FROM servers").await;
    assert!(!may_send().await, "what it holds is not the owner's any more");
}
