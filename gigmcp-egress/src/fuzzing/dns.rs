use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{RData, RecordType};

use crate::audit::{AuditEvent, AuditSink, AuditUnavailable};
use crate::dns::Responder;
use crate::grant::{BoxFuture, CredentialUnavailable, Credentials, Grant, GrantUnavailable, Grants};
use crate::identity::{CredentialId, Identity};
use crate::layer::EgressLayer;
use crate::limits::Limits;
use crate::rule::Rule;
use crate::secret::SecretString;

/// Any packet gets no reply or one that a resolver can read: the question's id, the question itself, at most one address
/// and only of an allowed name, hardly longer than what was asked. Each that was decided leaves one event.
pub fn dns(packet: &[u8]) {
    let world = Arc::new(World::default());
    let limits = Limits { dns_questions_per_second: u32::MAX, ..Limits::default() };
    let layer = EgressLayer::new(
        Arc::<World>::clone(&world),
        Arc::<World>::clone(&world),
        Arc::<World>::clone(&world),
        limits.clone(),
    );
    let responder = Responder::new(&limits);
    let reply = super::runtime().block_on(responder.reply(layer.policy(), &Identity::new("one"), packet));
    let Some(reply) = reply else { return };
    let question = Message::from_vec(packet).unwrap();
    let answer = Message::from_vec(&reply).unwrap();
    assert_eq!(answer.metadata.id, question.metadata.id);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    assert_eq!(answer.queries.as_slice(), &question.queries[..question.queries.len().min(1)]);
    assert!(reply.len() <= packet.len() + LONGEST_NAME + LONGEST_ANSWER, "{} for {}", reply.len(), packet.len());
    let addresses: Vec<_> = answer.answers.iter().map(|record| &record.data).collect();
    let events = world.events.load(Ordering::Relaxed);
    match addresses.as_slice() {
        [] => assert!(events <= 1, "{events} events"),
        [RData::A(address)] => {
            assert_eq!((answer.metadata.response_code, events), (ResponseCode::NoError, 1));
            let asked = &answer.queries[0];
            assert_eq!(asked.query_type, RecordType::A);
            let name = asked.name.to_ascii().to_ascii_lowercase();
            let name = name.strip_suffix('.').unwrap_or(&name);
            assert!(name == "api.example.com" || name.ends_with(".cdn.example.com"), "{name}");
            assert!(responder.name(address.0).is_some_and(|known| known.as_str() == name));
        }
        more => panic!("{} answers", more.len()),
    }
}

#[derive(Default)]
struct World {
    events: AtomicUsize,
}

impl Grants for World {
    fn grant<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        let rules = ["api.example.com", "*.cdn.example.com"].map(|host| Rule::https(host.parse().unwrap())).into();
        Box::pin(async { Ok(Arc::new(Grant::new(1, rules, Vec::new()).unwrap())) })
    }
}

impl Credentials for World {
    fn credential<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        let source = Some(io::Error::other("a question reads no credential").into());
        Box::pin(async { Err(CredentialUnavailable::Unreachable { source }) })
    }
}

impl AuditSink for World {
    fn ready<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }

    fn record<'a>(&'a self, _: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        self.events.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }
}

const LONGEST_NAME: usize = 255;
/// An address by reference to the name, and what EDNS adds.
const LONGEST_ANSWER: usize = 16 + 11;
