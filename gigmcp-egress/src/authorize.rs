use http::HeaderName;

use crate::answer::is_scannable;
use crate::grant::{CREDENTIAL_HEADERS, CredentialRule, Grant, Rule, Scheme, Sink};
use crate::identity::Identity;
use crate::live::{LivePlaceholders, Owner};
use crate::refusal::Refusal;
use crate::request::{Destination, ValidRequest};
use crate::slot::{self, Slot};

/// A request that a rule allows, with every placeholder in its place. Only [`AuthorizedRequest::decide`] makes one; nothing
/// secret was touched for it.
pub(crate) struct AuthorizedRequest {
    pub(crate) request: ValidRequest,
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
pub(crate) struct Injection {
    pub(crate) credential: CredentialRule,
    pub(crate) header: HeaderName,
    pub(crate) slot: Slot,
}

impl AuthorizedRequest {
    /// Decides on all of a request but its body.
    pub(crate) fn decide(request: ValidRequest, grant: &Grant, live: &LivePlaceholders) -> Result<Self, Refusal> {
        let Destination { scheme, host, .. } = &request.downstream.destination;
        refuse_as_name(&request.downstream.identity, host.as_str(), *scheme, live)?;
        destination_allowed(grant, &request.downstream.destination, Some(&request))?;
        let mut injections = Vec::new();
        for credential in &grant.credentials {
            let found = places(&request, credential)?;
            let mut found = found.into_iter();
            if let Some((header, slot)) = found.next() {
                if found.next().is_some() {
                    return Err(Refusal::PlaceholderAmbiguous);
                }
                if *scheme == Scheme::Http {
                    return Err(Refusal::CleartextCredential);
                }
                if !credential.is_bound_to(host) {
                    return Err(Refusal::PlaceholderWrongHost);
                }
                injections.push(Injection { credential: credential.clone(), header, slot });
            }
        }
        refuse_strays(&request, &injections, live)?;
        refuse_own_credentials(&request, grant, &injections)?;
        let carried = |other: &CredentialRule| injections.iter().any(|injection| injection.credential.id == other.id);
        let others = grant.credentials.iter().filter(|other| !carried(other)).cloned().collect();
        let is_bound = grant.credentials.iter().any(|credential| credential.is_bound_to(host));
        if is_bound && !is_scannable(&request.headers) {
            return Err(Refusal::UnscannableRequest);
        }
        let reading = match (is_bound, grant.credentials.is_empty()) {
            (true, _) => Reading::Required,
            (false, false) => Reading::Preferred,
            (false, true) => Reading::Needless,
        };
        Ok(Self { request, injections, others, reading })
    }
}

/// Whether a rule allows this destination and, once it is known, the method.
///
/// # Errors
/// The refusal tells which part no rule agrees with: the host, then scheme and port, then the method.
pub(crate) fn destination_allowed(
    grant: &Grant,
    destination: &Destination,
    request: Option<&ValidRequest>,
) -> Result<(), Refusal> {
    let mut rules = grant.rules_for(&destination.host).peekable();
    if rules.peek().is_none() {
        return Err(Refusal::HostDenied);
    }
    let reaches = |rule: &&Rule| rule.scheme == destination.scheme && rule.ports.contains(&destination.port);
    let mut rules = rules.filter(reaches).peekable();
    if rules.peek().is_none() {
        return Err(Refusal::PortDenied);
    }
    let Some(request) = request else { return Ok(()) };
    let allows = |rule: &Rule| rule.methods.as_ref().is_none_or(|methods| methods.contains(&request.method));
    if rules.any(allows) { Ok(()) } else { Err(Refusal::MethodDenied) }
}

/// What a placeholder that was found means for this caller.
pub(crate) fn refused_placeholder(owner: &Owner, caller: &Identity, scheme: Scheme) -> Refusal {
    match (owner.identity == *caller, scheme) {
        (false, _) => Refusal::ForeignPlaceholder,
        (true, Scheme::Http) => Refusal::CleartextCredential,
        (true, Scheme::Https) => Refusal::PlaceholderWrongPlace,
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

/// Where the placeholder of a credential stands as its sink wants it.
fn places(request: &ValidRequest, credential: &CredentialRule) -> Result<Vec<(HeaderName, Slot)>, Refusal> {
    let Sink::Header { name: wanted } = &credential.sink;
    let mut places = Vec::new();
    for (name, value) in &request.headers {
        let fits = wanted.as_ref().map_or_else(|| is_credential_header(name), |wanted| wanted == name);
        if !fits {
            continue;
        }
        if let Some(slot) = slot::parse(name, value, &credential.placeholder) {
            if request.headers.get_all(name).iter().count() > 1 {
                return Err(Refusal::PlaceholderAmbiguous);
            }
            places.push((name.clone(), slot));
        }
    }
    Ok(places)
}

/// Looks for placeholders everywhere else: every header but the ones that will be replaced whole, names included, the method and the target.
fn refuse_strays(request: &ValidRequest, injections: &[Injection], live: &LivePlaceholders) -> Result<(), Refusal> {
    let replaced = |name: &HeaderName| injections.iter().any(|injection| injection.header == *name);
    let in_headers = request.headers.iter().find_map(|(name, value)| {
        let outside_slot = if replaced(name) { None } else { live.find(value.as_bytes()) };
        outside_slot.or_else(|| live.find(name.as_str().as_bytes()))
    });
    let in_target = || live.find(request.target.as_bytes());
    let beside_slot = || injections.iter().find_map(|injection| live.find(injection.slot.rest().as_bytes()));
    let in_method = || live.find(request.method.as_str().as_bytes());
    match in_headers.or_else(in_method).or_else(in_target).or_else(beside_slot) {
        Some(owner) => {
            Err(refused_placeholder(&owner, &request.downstream.identity, request.downstream.destination.scheme))
        }
        None => Ok(()),
    }
}

/// A host that our credentials are for takes no other: a key of the attacker's own would carry data out through an allowed host.
fn refuse_own_credentials(request: &ValidRequest, grant: &Grant, injections: &[Injection]) -> Result<(), Refusal> {
    let host = &request.downstream.destination.host;
    let replaced = |name: &HeaderName| injections.iter().any(|injection| injection.header == *name);
    let brought = grant.credentials.iter().filter(|credential| credential.is_bound_to(host)).any(|credential| {
        let Sink::Header { name: wanted } = &credential.sink;
        let is_credential = |name: &HeaderName| wanted.as_ref() == Some(name) || is_credential_header(name);
        request.headers.keys().any(|name| is_credential(name) && !replaced(name))
    });
    if brought { Err(Refusal::AgentCredential) } else { Ok(()) }
}

fn is_credential_header(name: &HeaderName) -> bool {
    CREDENTIAL_HEADERS.contains(&name.as_str())
}
