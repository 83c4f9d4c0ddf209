use std::sync::LazyLock;

use http::HeaderName;
use http::header::COOKIE;

use crate::allow::{self, Allowed};
use crate::coding;
use crate::credential::CredentialRule;
use crate::grant::{CREDENTIAL_HEADERS, Grant};
use crate::identity::Identity;
use crate::live::{LivePlaceholders, Owner};
use crate::messages;
use crate::refusal::Refusal;
use crate::request::{Destination, ValidRequest};
use crate::rule::{Allowance, Rule, Scheme};
use crate::sink::fields::FieldName;
use crate::sink::{self, Place, target};

/// A request that a rule allows, with every placeholder of its head in its place. Only [`AuthorizedRequest::decide`] makes one;
/// nothing secret was touched for it.
pub(crate) struct AuthorizedRequest {
    pub(crate) request: ValidRequest,
    pub(crate) rule: Rule,
    pub(crate) injections: Vec<Injection>,
    /// Credentials of the grant that the request does not carry. An answer may hold what an earlier request brought, to
    /// this host or to one that it speaks with.
    pub(crate) others: Vec<CredentialRule>,
    pub(crate) reading: Reading,
}

/// Whether the answer must be readable for us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reading {
    /// The host gets credentials: what cannot be searched is not passed on.
    Required,
    /// Only other hosts get credentials: plain text is asked for, and searched if it comes.
    Preferred,
    /// There is nothing to search for.
    Needless,
}

/// One credential to put in.
#[derive(Clone, Debug)]
pub(crate) struct Injection {
    pub(crate) credential: CredentialRule,
    pub(crate) place: Place,
}

impl AuthorizedRequest {
    /// Decides on all of a request but its body.
    pub(crate) fn decide(request: ValidRequest, grant: &Grant, live: &LivePlaceholders) -> Result<Self, Refusal> {
        let Destination { scheme, host, .. } = &request.downstream.destination;
        refuse_as_name(&request.downstream.identity, host.as_str(), *scheme, live)?;
        let Allowed { rule, path } = allow::request(grant, &request)?;
        let mut injections = Vec::new();
        for credential in grant.credentials() {
            let mut found = credential.sink.find_in_head(&request, &credential.placeholder)?.into_iter();
            if let Some(place) = found.next() {
                if found.next().is_some() {
                    return Err(Refusal::PlaceholderAmbiguous);
                }
                may_go(credential, &request, path)?;
                injections.push(Injection { credential: credential.clone(), place });
            }
        }
        refuse_strays(&request, &injections, live)?;
        let is_bound = grant.credentials().iter().any(|credential| credential.is_bound_to(host));
        if is_bound {
            refuse_own_credentials(&request, grant, &injections)?;
            if request.headers.contains_key(COOKIE) && !rule.allows(Allowance::Cookies) {
                return Err(Refusal::AgentCredential);
            }
            let readable = coding::is_readable(&request.headers) && messages::are_readable(&request.headers);
            if !readable && !rule.allows(Allowance::UnreadableBody) {
                return Err(Refusal::UnscannableRequest);
            }
        }
        let others = not_injected(grant, &injections);
        let reading = match (is_bound, grant.credentials().is_empty()) {
            (true, _) => Reading::Required,
            (false, false) => Reading::Preferred,
            (false, true) => Reading::Needless,
        };
        let rule = rule.clone();
        Ok(Self { request, rule, injections, others, reading })
    }

    /// The credentials whose place may be in the body of this request, so that it has to be read first.
    pub(crate) fn in_body(&self) -> impl Iterator<Item = &CredentialRule> {
        let host = &self.request.downstream.destination.host;
        self.others.iter().filter(|other| other.is_bound_to(host) && other.sink.reads_body(&self.request))
    }

    /// Whether a signature covers the body.
    pub(crate) fn signs_body(&self) -> bool {
        self.injections.iter().any(|injection| injection.credential.sink.reads_body(&self.request))
    }

    /// Decides on a body that was read whole: finds the credentials that stand in it, and no placeholder elsewhere.
    pub(crate) fn decide_body(&mut self, body: &[u8], live: &LivePlaceholders) -> Result<(), Refusal> {
        let mut found = Vec::new();
        for credential in self.in_body().filter(|_| !body.is_empty()) {
            let mut places = credential.sink.find_in_body(body, &credential.placeholder)?.into_iter();
            if let Some(place) = places.next() {
                may_go(credential, &self.request, allow::path(&self.request, &self.rule))?;
                found.push(Injection { credential: credential.clone(), place });
            }
        }
        let ranges = found.iter().filter_map(|injection| match &injection.place {
            Place::Body { range, .. } => Some(range),
            Place::Header { .. } | Place::Target { .. } | Place::Signature { .. } => None,
        });
        if let Some(owner) = live.find(&sink::without(body, ranges)) {
            return Err(self.judge(&owner));
        }
        self.others.retain(|other| !found.iter().any(|injection| injection.credential.id == other.id));
        self.injections.extend(found);
        Ok(())
    }

    /// What a placeholder means that stands somewhere else than in its place.
    pub(crate) fn judge(&self, owner: &Owner) -> Refusal {
        let downstream = &self.request.downstream;
        refused_placeholder(owner, &downstream.identity, downstream.destination.scheme)
    }
}

/// Whether a credential may go out with this request. `path` is there if it has only one reading.
fn may_go(credential: &CredentialRule, request: &ValidRequest, path: Option<&str>) -> Result<(), Refusal> {
    let Destination { scheme, host, .. } = &request.downstream.destination;
    if *scheme != Scheme::Https {
        return Err(Refusal::CleartextCredential);
    }
    if !credential.is_bound_to(host) {
        return Err(Refusal::PlaceholderWrongHost);
    }
    if credential.goes_with(host, &request.method, path) { Ok(()) } else { Err(Refusal::PlaceholderWrongRequest) }
}

/// What a placeholder that was found means for this caller.
pub(crate) fn refused_placeholder(owner: &Owner, caller: &Identity, scheme: Scheme) -> Refusal {
    match (owner.identity == *caller, scheme) {
        (false, _) => Refusal::ForeignPlaceholder,
        (true, Scheme::Http) => Refusal::CleartextCredential,
        (true, Scheme::Https | Scheme::Tcp) => Refusal::PlaceholderWrongPlace,
    }
}

/// A name carries a placeholder to whoever answers for the names around it.
pub(crate) fn refuse_as_name(
    identity: &Identity,
    name: &str,
    scheme: Scheme,
    live: &LivePlaceholders,
) -> Result<(), Refusal> {
    live.find(name.as_bytes()).map_or(Ok(()), |owner| Err(refused_placeholder(&owner, identity, scheme)))
}

/// Looks for placeholders everywhere else: every header but those that will be replaced whole, names included, the method and
/// the rest of the target.
fn refuse_strays(request: &ValidRequest, injections: &[Injection], live: &LivePlaceholders) -> Result<(), Refusal> {
    let in_headers = request.headers.iter().find_map(|(name, value)| {
        let outside_place = if is_replaced(name, injections) { None } else { live.find(value.as_bytes()) };
        outside_place.or_else(|| live.find(name.as_str().as_bytes()))
    });
    let ranges = injections.iter().filter_map(|injection| match &injection.place {
        Place::Target { range, .. } => Some(range),
        Place::Header { .. } | Place::Body { .. } | Place::Signature { .. } => None,
    });
    let in_target = || live.find(&sink::without(request.target.as_bytes(), ranges));
    let beside_place = || {
        injections.iter().find_map(|injection| match &injection.place {
            Place::Header { slot, .. } => live.find(slot.rest().as_bytes()),
            Place::Target { .. } | Place::Body { .. } | Place::Signature { .. } => None,
        })
    };
    let in_method = || live.find(request.method.as_str().as_bytes());
    match in_headers.or_else(in_method).or_else(in_target).or_else(beside_place) {
        Some(owner) => {
            Err(refused_placeholder(&owner, &request.downstream.identity, request.downstream.destination.scheme))
        }
        None => Ok(()),
    }
}

/// A host that our credentials are for takes no other: a key of the attacker's own would carry data out through an allowed host.
fn refuse_own_credentials(request: &ValidRequest, grant: &Grant, injections: &[Injection]) -> Result<(), Refusal> {
    let host = &request.downstream.destination.host;
    let bound = || grant.credentials().iter().filter(|credential| credential.is_bound_to(host));
    let injected = |credential: &CredentialRule| injections.iter().any(|one| one.credential.id == credential.id);
    let brought = bound().any(|credential| {
        let is_credential = |name: &HeaderName| credential.sink.owns_header(name) || is_credential_header(name);
        let in_header = request.headers.keys().any(|name| is_credential(name) && !is_replaced(name, injections));
        in_header || !injected(credential) && credential.sink.is_filled_in_target(&request.target)
    });
    // A parameter that is the place of one of ours was judged as that.
    let is_place = |name: &FieldName| bound().any(|credential| credential.sink.is_parameter(name));
    let mut others = CREDENTIAL_PARAMETERS.iter().filter(|name| !is_place(name));
    let in_query = others.any(|name| target::has_parameter(&request.target, name));
    if brought || in_query { Err(Refusal::AgentCredential) } else { Ok(()) }
}

/// Parameters that carry credentials and nothing else.
static CREDENTIAL_PARAMETERS: LazyLock<Vec<FieldName>> = LazyLock::new(|| {
    let names = ["access_token", "api_key", "api-key", "apikey", "auth_token", "private_token", "x-api-key"];
    let signatures = ["X-Amz-Credential", "X-Amz-Signature", "X-Goog-Credential", "X-Goog-Signature"];
    names.iter().chain(&signatures).map(|name| name.parse().expect("letters, digits, hyphens")).collect()
});

/// Whether one of the injections writes this header anew.
fn is_replaced(name: &HeaderName, injections: &[Injection]) -> bool {
    injections.iter().any(|injection| match &injection.place {
        Place::Header { name: replaced, .. } => replaced == name,
        Place::Signature { headers } => headers.contains(name),
        Place::Target { .. } | Place::Body { .. } => false,
    })
}

fn not_injected(grant: &Grant, injections: &[Injection]) -> Vec<CredentialRule> {
    let injected = |other: &CredentialRule| injections.iter().any(|injection| injection.credential.id == other.id);
    grant.credentials().iter().filter(|other| !injected(other)).cloned().collect()
}

pub(crate) fn is_credential_header(name: &HeaderName) -> bool {
    CREDENTIAL_HEADERS.contains(&name.as_str())
}
