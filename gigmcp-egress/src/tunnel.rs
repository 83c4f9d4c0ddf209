use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::Service as _;

use crate::allow;
use crate::audit::{AuditKind, Entry};
use crate::authorize::refuse_as_name;
use crate::body::{Body, full};
use crate::connection::serve_tls;
use crate::grant::Grant;
use crate::http1::{self, EarlyBytes};
use crate::identity::Identity;
use crate::intake::Site;
use crate::name::{Authority, HostName, InvalidAuthority, InvalidHostName};
use crate::names::Answer;
use crate::policy::{Policy, within};
use crate::port::{self, Caller};
use crate::refusal::Refusal;
use crate::request::{Destination, Downstream, refused_authority};
use crate::rule::Scheme;
use crate::takeover::Takeover;

/// Serves a program that knows it speaks to a proxy: `CONNECT` for https, whole URLs for http.
pub(crate) async fn serve_proxy<T>(stream: T, site: Arc<Site>)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut stream = EarlyBytes::new(Bytes::new(), stream);
    let Some(Ok(Some(first))) = within(site.limits().head_deadline, stream.first()).await else { return };
    if SOCKS_VERSIONS.contains(&first) {
        return site.record_connect("", PROXY_PORT, Refusal::Malformed).await;
    }
    let service = |request: Result<Request<Body>, Refusal>| {
        let site = &site;
        async move {
            match request {
                Ok(request) if request.method() == Method::CONNECT => connect(site, request).await,
                Ok(request) => forward(site, request).await,
                Err(refusal) => site.refuse("", PROXY_PORT, refusal).await,
            }
        }
    };
    http1::serve(stream, site.limits(), service).await;
}

/// The same at a port that many share: each request tells whose it is.
pub(crate) async fn serve_port<T>(stream: T, caller: Caller, port: Arc<port::Inner>)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = &port.shared.policy().limits;
    let serving = async {
        let mut stream = EarlyBytes::new(Bytes::new(), stream);
        let Some(Ok(Some(first))) = within(limits.head_deadline, stream.first()).await else { return };
        if SOCKS_VERSIONS.contains(&first) {
            drop(port.refuse_nonsense(Refusal::Malformed, &caller).await);
            return;
        }
        let service = |request: Result<Request<Body>, Refusal>| {
            let (port, caller) = (&port, &caller);
            async move {
                let (head, body) = match request {
                    Ok(request) => request.into_parts(),
                    Err(refusal) => return port.refuse_nonsense(refusal, caller).await,
                };
                let head = Request::from_parts(head, ());
                match port.site(&head, caller).await {
                    Ok(site) if head.method() == Method::CONNECT => connect(&site, head.map(|()| body)).await,
                    Ok(site) => forward(&site, head.map(|()| body)).await,
                    Err(refused) => refused,
                }
            }
        };
        http1::serve(stream, limits, service).await;
    };
    tokio::select! {
        biased;
        () = caller.is_over(limits.handshake_deadline) => {}
        () = serving => {}
    }
}

async fn connect(site: &Arc<Site>, request: Request<Body>) -> Response<Body> {
    let policy = site.shared.policy();
    let request = request.map(drop); // there is none, or the request is refused for it
    let entry = entry(policy, &site.identity, &request);
    let decided = async {
        let destination = check_connect(&request)?;
        let grant = policy.grant(&site.identity).await?;
        refuse_as_name(&site.identity, destination.host.as_str(), destination.scheme, &policy.live)?;
        allow::destination(&grant, &destination)?;
        claim(site, &grant, &destination.host)?;
        Ok(destination)
    };
    match decided.await {
        Ok(destination) => {
            // What goes through the tunnel is recorded; that it was opened says nothing more.
            entry.forget();
            let site = Arc::clone(site);
            let mut response = Response::new(full(""));
            response.extensions_mut().insert(Takeover::new(|stream| {
                Box::pin(async move {
                    let token = site.token.clone();
                    token.run_until_cancelled(Box::pin(serve_tls(stream, site, destination))).await;
                })
            }));
            response
        }
        Err(refusal) => {
            let mut response = policy.refuse(entry, refusal).await;
            // Whatever follows was meant for a tunnel that does not exist (RFC 9931).
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

/// A whole URL in clear text; `https` has no business here.
async fn forward(site: &Site, mut request: Request<Body>) -> Response<Body> {
    let policy = site.shared.policy();
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let uri = request.uri().clone();
    let checked = async {
        let destination = check_absolute(&uri, authority.as_deref())?;
        let grant = policy.grant(&site.identity).await?;
        // Names that no rule allows are refused below, with all that is said of requests.
        if grant.names(&destination.host) {
            claim(site, &grant, &destination.host)?;
        }
        Ok(destination)
    };
    match checked.await {
        Ok(destination) => {
            let target = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
            *request.uri_mut() = Uri::from(target);
            request.extensions_mut().insert(Downstream { identity: site.identity.clone(), destination });
            site.shared.service.clone().call(request).await.unwrap_or_else(|never| match never {})
        }
        Err(refusal) => policy.refuse(entry(policy, &site.identity, &request), refusal).await,
    }
}

/// The event of a request as it was sent.
pub(crate) fn entry<B>(policy: &Policy, identity: &Identity, request: &Request<B>) -> Entry {
    let (uri, method) = (request.uri(), policy.shown(request.method().as_str()));
    if request.method() != Method::CONNECT {
        let host = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        return policy.entry(AuditKind::Request, identity).host(policy.shown(host), None).method(method);
    }
    let (host, port) = match uri.authority() {
        Some(authority) => (authority.host().to_owned(), authority.port_u16()),
        None => (uri.to_string(), None),
    };
    policy.entry(AuditKind::Connect, identity).host(policy.shown(&host), port).method(method)
}

/// A name under a wildcard counts as one also when our DNS was not asked for it: each one is a question that leaves the host.
fn claim(site: &Site, grant: &Grant, host: &HostName) -> Result<(), Refusal> {
    match site.dns.claim(grant, host) {
        Answer::Exhausted => Err(Refusal::DnsNameLimit),
        Answer::First(_) | Answer::Again(_) => Ok(()),
    }
}

fn check_absolute(uri: &Uri, authority: Option<&str>) -> Result<Destination, Refusal> {
    let (Some("http"), Some(authority)) = (uri.scheme_str(), authority) else {
        return Err(Refusal::TargetNotCanonical);
    };
    let Authority { host, port } = authority.parse().map_err(refused_authority)?;
    Ok(Destination { scheme: Scheme::Http, host, port: port.unwrap_or(80) })
}

/// `CONNECT host:port`, with the same in `Host` if it is there at all, and nothing to send.
fn check_connect<B>(request: &Request<B>) -> Result<Destination, Refusal> {
    let uri = request.uri();
    let (None, None, Some(authority)) = (uri.scheme(), uri.path_and_query(), uri.authority()) else {
        return Err(Refusal::ConnectTarget);
    };
    let (host, port) = strict_authority(authority.as_str())?;
    let headers = request.headers();
    let mut named = headers.get_all(HOST).iter();
    match (named.next(), named.next()) {
        (None, _) => {}
        (Some(named), None) => {
            let named: Authority =
                named.to_str().ok().and_then(|text| text.parse().ok()).ok_or(Refusal::ConnectTarget)?;
            if named.host != host || named.port.is_some_and(|named| named != port) {
                return Err(Refusal::ConnectTarget);
            }
        }
        (Some(_), Some(_)) => return Err(Refusal::ConnectTarget),
    }
    let empty = headers.get_all(CONTENT_LENGTH).iter().all(|length| length == "0");
    if !empty || headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::ConnectTarget);
    }
    Ok(Destination { scheme: Scheme::Https, host, port })
}

fn strict_authority(text: &str) -> Result<(HostName, u16), Refusal> {
    match text.parse() {
        Ok(Authority { host, port: Some(port) }) => Ok((host, port)),
        Ok(Authority { port: None, .. }) | Err(InvalidAuthority::Port) => Err(Refusal::ConnectTarget),
        Err(InvalidAuthority::Host(InvalidHostName::Address)) => Err(Refusal::IpLiteral),
        Err(InvalidAuthority::Host(_)) => Err(Refusal::HostNotCanonical),
    }
}

const PROXY_PORT: u16 = 3128;
/// The first byte of a greeting in SOCKS 4 or 5, to which there is no answer that helps.
const SOCKS_VERSIONS: [u8; 2] = [4, 5];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn connect_takes_exactly_host_and_port() {
        for (case, target, headers, expected) in [
            ("plain", "api.example.com:443", &[][..], Ok(443)),
            ("with host", "api.example.com:443", &[("host", "api.example.com:443")], Ok(443)),
            ("EGR-066 other host", "api.example.com:443", &[("host", "b.example.com")], Err(Refusal::ConnectTarget)),
            (
                "EGR-066 other port",
                "api.example.com:443",
                &[("host", "api.example.com:80")],
                Err(Refusal::ConnectTarget),
            ),
            (
                "two hosts",
                "api.example.com:443",
                &[("host", "api.example.com"), ("host", "api.example.com")],
                Err(Refusal::ConnectTarget),
            ),
            ("EGR-068 length", "api.example.com:443", &[("content-length", "5")], Err(Refusal::ConnectTarget)),
            (
                "EGR-068 chunked",
                "api.example.com:443",
                &[("transfer-encoding", "chunked")],
                Err(Refusal::ConnectTarget),
            ),
            ("EGR-072 URL", "https://api.example.com/", &[], Err(Refusal::ConnectTarget)),
            ("EGR-072 no port", "api.example.com", &[], Err(Refusal::ConnectTarget)),
            ("EGR-072 path", "/", &[], Err(Refusal::ConnectTarget)),
            ("EGR-022 leading zero", "api.example.com:0443", &[], Err(Refusal::ConnectTarget)),
            ("EGR-012 userinfo", "a@api.example.com:443", &[], Err(Refusal::HostNotCanonical)),
            ("EGR-002 trailing dot", "api.example.com.:443", &[], Err(Refusal::HostNotCanonical)),
            ("EGR-026 address", "1.2.3.4:443", &[], Err(Refusal::IpLiteral)),
            ("EGR-028 IPv6", "[::1]:443", &[], Err(Refusal::IpLiteral)),
        ] {
            let mut request = Request::connect(target);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let checked = check_connect(&request.body(()).unwrap()).map(|destination| destination.port);
            assert_eq!(checked, expected, "{case}: {target}");
        }
    }

    #[test]
    fn whole_urls_are_http_only() {
        for (case, target, expected) in [
            ("plain", "http://api.example.com/x", Ok(80)),
            ("port", "http://api.example.com:8080/x", Ok(8080)),
            ("https", "https://api.example.com/x", Err(Refusal::TargetNotCanonical)),
            ("EGR-080 other scheme", "ftp://api.example.com/", Err(Refusal::TargetNotCanonical)),
            ("EGR-080 no scheme", "//api.example.com/", Err(Refusal::TargetNotCanonical)),
            ("no host", "/x", Err(Refusal::TargetNotCanonical)),
            ("EGR-076 address", "http://169.254.169.254/latest/", Err(Refusal::IpLiteral)),
            ("EGR-012 userinfo", "http://u@api.example.com/", Err(Refusal::HostNotCanonical)),
        ] {
            let uri: Uri = target.parse().unwrap();
            let checked = check_absolute(&uri, uri.authority().map(|authority| authority.as_str()))
                .map(|destination| destination.port);
            assert_eq!(checked, expected, "{case}: {target}");
        }
    }
}
