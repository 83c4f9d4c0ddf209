use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::audit::{AuditKind, Entry, Verdict};
use crate::authorize::refuse_as_name;
use crate::grant::Grant;
use crate::identity::Identity;
use crate::name::HostName;
use crate::names::{Answer, Named, Names};
use crate::policy::Policy;
use crate::rates::Bucket;
use crate::refusal::Refusal;
use crate::rule::{Rate, Scheme};

/// Answers the DNS questions of one sandbox from what the grant says. Sends nothing anywhere.
pub(crate) struct Responder {
    names: Names,
    bucket: Mutex<Bucket>,
    ttl_seconds: u32,
}

/// What a question gets.
enum Reply {
    Address(Ipv4Addr),
    /// The name exists, but has nothing of this type.
    NoData,
    Denied,
    Refused,
    Failed,
}

impl Responder {
    pub(crate) fn new(limits: &crate::limits::Limits) -> Self {
        let rate = Rate { count: limits.dns_questions_per_second, per: Duration::from_secs(1) };
        let names = Names::new(limits.dns_pool, limits.dns_wildcard_names);
        Self { names, bucket: Mutex::new(Bucket::full(rate)), ttl_seconds: limits.dns_ttl_seconds }
    }

    /// Counts a name that the rules allow, however it was asked for.
    pub(crate) fn claim(&self, grant: &Grant, host: &HostName) -> Answer {
        let named = if grant.names_exactly(host) { Named::Exactly } else { Named::ByWildcard };
        self.names.address(host, named)
    }

    /// The name an address was given out for.
    pub(crate) fn name(&self, address: Ipv4Addr) -> Option<HostName> {
        self.names.name(address)
    }

    /// The reply to a packet; `None` if it gets none: not a question, or too many of them.
    pub(crate) async fn reply(&self, policy: &Policy, identity: &Identity, packet: &[u8]) -> Option<Vec<u8>> {
        if packet.len() > MAX_QUESTION_BYTES || !self.admit() {
            return None;
        }
        let question = Message::from_vec(packet).ok()?;
        if question.metadata.message_type != MessageType::Query {
            return None;
        }
        let reply = match (question.metadata.op_code, question.queries.as_slice()) {
            (OpCode::Query, [query]) if query.query_class == DNSClass::IN => self.decide(policy, identity, query).await,
            (_, _) => Reply::Refused,
        };
        write(&question, reply, self.ttl_seconds)
    }

    async fn decide(&self, policy: &Policy, identity: &Identity, query: &Query) -> Reply {
        let text = query.name.to_ascii();
        let entry = policy
            .entry(AuditKind::Dns, identity)
            .host(policy.shown(&text), None)
            .method(&query.query_type.to_string());
        let grant = match policy.grant(identity).await {
            Ok(grant) => grant,
            Err(refusal) => {
                record(entry, Verdict::Refused(refusal)).await;
                return Reply::Failed;
            }
        };
        if let Err(refusal) = refuse_as_name(identity, &text, Scheme::Https, &policy.live) {
            record(entry, Verdict::Refused(refusal)).await;
            return Reply::Denied;
        }
        // The dot at the end is how DNS writes a whole name.
        let host = text.strip_suffix('.').unwrap_or(&text).parse::<HostName>().ok().filter(|host| grant.names(host));
        let Some(host) = host else {
            record(entry, Verdict::Refused(Refusal::DnsDenied)).await;
            return Reply::Denied;
        };
        match self.claim(&grant, &host) {
            Answer::Exhausted => {
                record(entry, Verdict::Refused(Refusal::DnsNameLimit)).await;
                Reply::Refused
            }
            Answer::First(address) => {
                record(entry, Verdict::Allowed).await;
                Reply::of(query.query_type, address)
            }
            Answer::Again(address) => {
                entry.forget();
                Reply::of(query.query_type, address)
            }
        }
    }

    fn admit(&self) -> bool {
        self.bucket.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }
}

impl Reply {
    /// Only addresses of version 4 are given out; `AAAA`, `HTTPS`, `SVCB` and all else have no data.
    fn of(query_type: RecordType, address: Ipv4Addr) -> Self {
        if query_type == RecordType::A { Self::Address(address) } else { Self::NoData }
    }
}

async fn record(mut entry: Entry, verdict: Verdict) {
    entry.set_verdict(verdict);
    entry.record().await;
}

fn write(question: &Message, reply: Reply, ttl_seconds: u32) -> Option<Vec<u8>> {
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.recursion_desired = question.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.authoritative = true;
    message.metadata.response_code = match reply {
        Reply::Address(_) | Reply::NoData => ResponseCode::NoError,
        Reply::Denied => ResponseCode::NXDomain,
        Reply::Refused => ResponseCode::Refused,
        Reply::Failed => ResponseCode::ServFail,
    };
    message.add_queries(question.queries.iter().take(1).cloned());
    if let (Reply::Address(address), Some(query)) = (reply, question.queries.first()) {
        let name: Name = query.name.clone();
        message.add_answer(Record::from_rdata(name, ttl_seconds, RData::A(A(address))));
    }
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        message.set_edns(edns);
    }
    message.to_vec().ok()
}

/// No question of a resolver is longer.
const MAX_QUESTION_BYTES: usize = 1232;
