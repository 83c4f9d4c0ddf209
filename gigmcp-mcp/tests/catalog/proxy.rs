//! The proxy of the gateway with the entitlements of a manifest, before a request goes to the service: what it would refuse is a
//! fault of the catalogue.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use gigmcp_egress::{
    Allowance, AuditEvent, AuditSink, AuditUnavailable, Binding, Body, BoxFuture as EgressFuture, CredentialId,
    CredentialRule, CredentialUnavailable, Credentials, Destination, Downstream, EgressLayer, Grant, GrantUnavailable,
    Grants, Identity, Limits, Placeholder, Rule, Scheme, SecretString, Sink,
};
use gigmcp_mcp::{
    BoxFuture,
    toolpack::{HttpAnswer, HttpClient, HttpFailure, HttpsClient},
};
use gigmcp_registry::{BasicPart, Credential, EgressHost, Inject, Manifest, Method, Tier, Values};
use http::{Request, Response, header::HOST};
use tower::{Layer, Service, ServiceExt};

/// Asks the proxy, then sends what the engine made to the service.
pub(crate) struct Proxied {
    client: HttpsClient,
    office: Arc<Office>,
    refused: Mutex<Vec<String>>,
}

impl Proxied {
    /// With the rules of a manifest. An entrusted server sends its keys by itself.
    pub(crate) fn new(
        client: HttpsClient,
        manifest: &Manifest,
        values: &Values,
        placeholders: &[Placeholder],
    ) -> Result<Self, String> {
        let mut rules = Vec::new();
        for host in &manifest.egress {
            rules.push(Rule::https(host.pattern(values).map_err(|error| error.to_string())?));
        }
        for rule in &manifest.rules {
            for host in &rule.hosts {
                let made = Rule::https(host.pattern(values).map_err(|error| error.to_string())?);
                let made = if rule.methods.is_empty() { made } else { made.methods(methods(&rule.methods)) };
                let mut made = if rule.paths.is_empty() { made } else { made.paths(rule.paths.iter().cloned()) };
                made.max_body_bytes = rule.max_body_bytes;
                rules.push(rule.allow.iter().filter_map(|allow| allowance(allow.as_str())).fold(made, Rule::allow));
            }
        }
        let sealed = manifest.credentials.iter().zip(placeholders).filter(|_| manifest.tier == Tier::Sealed);
        let hosts: Vec<_> = manifest.egress.iter().chain(manifest.rules.iter().flat_map(|rule| &rule.hosts)).collect();
        let mut credentials = Vec::new();
        for (declared, placeholder) in sealed {
            credentials.push(credential(declared, placeholder, &hosts, values)?);
        }
        let grant = Arc::new(Grant::new(1, rules, credentials).map_err(|error| error.to_string())?);
        Ok(Self { client, office: Arc::new(Office(grant)), refused: Mutex::default() })
    }

    /// What it refused.
    pub(crate) fn refused(&self) -> Vec<String> {
        std::mem::take(&mut self.refused.lock().unwrap())
    }

    async fn ask(&self, request: Request<Bytes>) -> Option<String> {
        let office = self.office.clone();
        let egress = EgressLayer::new(office.clone(), office.clone(), office, Limits::default()).layer(Nobody);
        let (mut parts, body) = request.into_parts();
        let host = parts.uri.host().unwrap().to_owned();
        parts.headers.insert(HOST, host.parse().unwrap());
        parts.uri = parts.uri.path_and_query().unwrap().as_str().parse().unwrap();
        let destination = Destination { scheme: Scheme::Https, host: host.parse().unwrap(), port: 443 };
        parts.extensions.insert(Downstream { identity: Identity::new("sandbox"), destination });
        let target = format!("{} https://{host}{}", parts.method, parts.uri);
        let request = Request::from_parts(parts, String::from_utf8(body.to_vec()).unwrap());
        let answer = egress.oneshot(request).await.unwrap();
        let code = answer.headers().get("x-gigmcp-refusal")?.to_str().unwrap().to_owned();
        Some(format!("the proxy refuses {target}: {code}"))
    }
}

impl HttpClient for Proxied {
    fn send<'a>(&'a self, request: Request<Bytes>, max: usize) -> BoxFuture<'a, Result<HttpAnswer, HttpFailure>> {
        Box::pin(async move {
            let refused = self.ask(request.clone()).await;
            self.refused.lock().unwrap().extend(refused);
            self.client.send(request, max).await
        })
    }
}

fn credential(
    declared: &Credential,
    placeholder: &Placeholder,
    all: &[&EgressHost],
    values: &Values,
) -> Result<CredentialRule, String> {
    let patterns = |hosts: &[&EgressHost]| {
        let patterns: Result<Vec<_>, _> = hosts.iter().map(|host| host.pattern(values)).collect();
        patterns.map_err(|error| error.to_string())
    };
    let id = CredentialId::new(declared.id.as_str());
    let sink = sink(&declared.inject)?;
    let Some((first, others)) = declared.bind.split_first() else {
        let all: HashSet<_> = all.iter().copied().collect();
        let all: Vec<_> = all.into_iter().collect();
        return Ok(CredentialRule::new(id, placeholder.clone(), patterns(&all)?, sink));
    };
    let binding = |declared: &gigmcp_registry::Binding| -> Result<Binding, String> {
        let hosts: Vec<_> = declared.hosts.iter().collect();
        Ok(Binding {
            hosts: patterns(&hosts)?,
            methods: (!declared.methods.is_empty()).then(|| methods(&declared.methods)),
            paths: (!declared.paths.is_empty()).then(|| declared.paths.clone()),
        })
    };
    let Binding { hosts, methods, paths } = binding(first)?;
    let mut rule = CredentialRule::new(id, placeholder.clone(), hosts, sink);
    (rule.methods, rule.paths) = (methods, paths);
    others.iter().try_fold(rule, |rule, other| Ok(rule.also(binding(other)?)))
}

fn sink(place: &Inject) -> Result<Sink, String> {
    Ok(match place {
        Inject::Header { name, format } => Sink::HeaderFormat {
            name: name.parse().map_err(|_| format!("{name} is no header"))?,
            format: format.replace("{token}", "{}").parse().map_err(|_| format!("{format} is no form"))?,
        },
        Inject::Basic(BasicPart::User) => Sink::Basic(gigmcp_egress::BasicPart::User),
        Inject::Basic(_) => Sink::Basic(gigmcp_egress::BasicPart::Password),
        Inject::Query(name) => Sink::Query(name.clone()),
        Inject::Path { prefix } => Sink::PathSegment { prefix: prefix.clone() },
        Inject::Form(name) => Sink::Form(name.clone()),
        Inject::Json(pointer) => Sink::Json(pointer.clone()),
        other => return Err(format!("{other:?} is no place of a request")),
    })
}

fn methods(methods: &[Method]) -> Vec<http::Method> {
    methods.iter().map(|method| method.as_str().parse().unwrap()).collect()
}

fn allowance(word: &str) -> Option<Allowance> {
    match word {
        "encoded-slash" => Some(Allowance::EncodedSlash),
        "path-parameters" => Some(Allowance::PathParameters),
        "body-on-get" => Some(Allowance::BodyOnGet),
        "range" => Some(Allowance::Range),
        "cookies" => Some(Allowance::Cookies),
        _ => None,
    }
}

struct Office(Arc<Grant>);

impl Grants for Office {
    fn grant<'a>(&'a self, _: &'a Identity) -> EgressFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

impl Credentials for Office {
    fn credential<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a CredentialId,
    ) -> EgressFuture<'a, Result<SecretString, CredentialUnavailable>> {
        Box::pin(async { Ok(SecretString::new("the-real-key-0123456789")) })
    }
}

impl AuditSink for Office {
    fn ready<'a>(&'a self, _: &'a Identity) -> EgressFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }

    fn record<'a>(&'a self, _: AuditEvent) -> EgressFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }
}

/// A service that says nothing: only what the proxy says is asked for.
#[derive(Clone)]
struct Nobody;

impl Service<Request<Body>> for Nobody {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(Ok(Response::new(String::new())))
    }
}
