use http::StatusCode;

/// Why something was not let through. Each has a code that stays the same, and a text that says nothing a sandbox did not know.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// The request came without the facts that say who calls; the layer was put on the wrong server.
    Unidentified,
    /// A proxy port cannot tell whose a request is, or does not admit it.
    ProxyIdentity,
    /// A connection to a proxy port speaks for a second identity.
    IdentityMismatch,
    /// The host is an address.
    IpLiteral,
    /// The host is not a canonical name.
    HostNotCanonical,
    /// `Host`, TLS name, `CONNECT` and original destination do not agree.
    HostMismatch,
    /// No rule names this host.
    HostDenied,
    /// Rules name this host, none with this port and scheme.
    PortDenied,
    /// Rules name this destination, none with this method.
    MethodDenied,
    /// Rules name this destination and method, none with this path.
    PathDenied,
    /// The body is longer than the rule takes, or than can be read to put a credential in.
    BodyTooLarge,
    /// A question of DNS over HTTPS.
    DnsMessage,
    /// The rules stopped to allow what was under way.
    Revoked,
    /// More requests than the rule or the limits take.
    RateLimited,
    /// A method that is never let through (`TRACE`, `CONNECT` in a tunnel, lower case).
    MethodRefused,
    /// The request target is not in canonical form.
    TargetNotCanonical,
    /// The request target is too long.
    TargetTooLong,
    /// The head of the request, or what follows its last chunk, is too long or has too many fields.
    HeadTooLarge,
    /// More requests at a time than the limit.
    StreamLimit,
    /// The length of the request is ambiguous.
    Framing,
    /// The request body is coded for its transfer in another way than in chunks.
    TransferCoding,
    /// A header that contradicts another or that programs read differently.
    Header,
    /// An expectation other than `100-continue`.
    Expectation,
    /// A change of protocol other than to WebSocket, or one that is not asked for as it should be.
    Upgrade,
    /// `CONNECT` inside HTTP/2.
    ConnectInStream,
    /// A WebSocket frame that is not well-formed.
    Frame,
    /// The request could not be read as HTTP.
    Malformed,
    /// The head of the request did not come in time.
    RequestTimeout,
    /// `CONNECT` is not strictly `host:port`.
    ConnectTarget,
    /// Clear text inside a tunnel for TLS.
    CleartextInTunnel,
    /// A credential would travel in clear text.
    CleartextCredential,
    /// A placeholder somewhere else than in its place.
    PlaceholderWrongPlace,
    /// A placeholder on the way to a host it is not for.
    PlaceholderWrongHost,
    /// A placeholder in a request with a method or path it is not for.
    PlaceholderWrongRequest,
    /// The placeholder of another sandbox.
    ForeignPlaceholder,
    /// More than one credential, or one more than once.
    PlaceholderAmbiguous,
    /// A credential the sandbox brought itself to a host that ours are for.
    AgentCredential,
    /// The credential does not exist any more or is not for this identity.
    CredentialDenied,
    /// The credential store did not answer.
    CredentialUnavailable,
    /// The credential holds something that cannot stand in its place.
    CredentialUnusable,
    /// A new access token could not be fetched.
    TokenRefresh,
    /// The request could not be signed.
    Signature,
    /// The rules could not be read.
    GrantUnavailable,
    /// The audit log does not take entries.
    AuditUnavailable,
    /// The name could not be resolved.
    Dns,
    /// The name leads to an address that is not on the public internet.
    AddressClass,
    /// The name leads to a cloud's metadata service.
    MetadataAddress,
    /// The upstream could not be reached.
    UpstreamConnect,
    /// The upstream could not prove who it is.
    UpstreamTls,
    /// The upstream's keys are not the ones that are pinned for it.
    UpstreamPin,
    /// The name leads back to this host.
    Loop,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The upstream broke the protocol.
    UpstreamProtocol,
    /// The answer is encoded so that it cannot be searched for the credential.
    Unscannable,
    /// The request is encoded so that it cannot be searched for placeholders, on the way to a host that credentials go to.
    UnscannableRequest,
    /// The connection goes to an address that was given out for no name.
    UnknownAddress,
    /// The TLS handshake names no host.
    SniMissing,
    /// The TLS handshake names a host that is not canonical.
    SniNotCanonical,
    /// The TLS handshake names another host than the connection.
    SniMismatch,
    /// The TLS handshake failed, for example because the program does not trust our authority.
    TlsHandshake,
    /// More TLS names than certificates may be made for in this time.
    MintRate,
    /// The host was not among those that the sandbox's authority was made for.
    AuthorityScope,
    /// A DNS question for a name no rule allows.
    DnsDenied,
    /// More names under wildcards than the limit.
    DnsNameLimit,
}

impl Refusal {
    /// The code, for programs.
    pub fn code(self) -> &'static str {
        self.facts().0
    }

    /// The status of the answer, where there is one.
    pub fn status(self) -> StatusCode {
        self.facts().1
    }

    /// The text, for people.
    pub fn message(self) -> &'static str {
        self.facts().2
    }

    /// Whether this is more than a mistake: a program handles a placeholder as only a thief would.
    pub fn is_alarm(self) -> bool {
        matches!(
            self,
            Self::PlaceholderWrongPlace
                | Self::PlaceholderWrongHost
                | Self::PlaceholderWrongRequest
                | Self::ForeignPlaceholder
                | Self::IdentityMismatch
                | Self::AgentCredential
        )
    }

    /// Whether the connection is still understood the same by both ends, so that it may stay open.
    pub(crate) fn keeps_connection(self) -> bool {
        // A denial by policy or by an upstream leaves no doubt about where the request ended; everything else might.
        let status = self.status();
        status == StatusCode::FORBIDDEN && self != Self::IpLiteral
            || status.is_server_error() && self != Self::TransferCoding
    }

    fn facts(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unidentified => ("unidentified", S::FORBIDDEN, "the caller is not identified"),
            Self::ProxyIdentity => (
                "proxy-identity",
                S::PROXY_AUTHENTICATION_REQUIRED,
                "the proxy cannot tell who is calling, or does not know them",
            ),
            Self::IdentityMismatch => {
                ("identity-mismatch", S::PROXY_AUTHENTICATION_REQUIRED, "this connection is somebody else's")
            }
            Self::IpLiteral => ("ip-literal", S::FORBIDDEN, "addresses cannot be reached, only names"),
            Self::HostNotCanonical => ("host-not-canonical", S::BAD_REQUEST, "the host is not a canonical name"),
            Self::HostMismatch => {
                ("host-mismatch", S::MISDIRECTED_REQUEST, "the host is not the one this connection was made to")
            }
            Self::HostDenied => ("host-denied", S::FORBIDDEN, "no rule allows this host"),
            Self::PortDenied => ("port-denied", S::FORBIDDEN, "no rule allows this port and scheme on this host"),
            Self::MethodDenied => ("method-denied", S::FORBIDDEN, "no rule allows this method on this host"),
            Self::PathDenied => ("path-denied", S::FORBIDDEN, "no rule allows this path on this host"),
            Self::BodyTooLarge => ("body-too-large", S::PAYLOAD_TOO_LARGE, "the request body is too large"),
            Self::DnsMessage => ("dns-message", S::FORBIDDEN, "DNS over HTTPS is not let through"),
            Self::Revoked => ("revoked", S::FORBIDDEN, "the rules no longer allow this"),
            Self::RateLimited => ("rate-limited", S::TOO_MANY_REQUESTS, "too many requests; retry later"),
            Self::MethodRefused => ("method-refused", S::METHOD_NOT_ALLOWED, "this method is never let through"),
            Self::TargetNotCanonical => {
                ("target-not-canonical", S::BAD_REQUEST, "the request target is not in canonical form")
            }
            Self::TargetTooLong => ("target-too-long", S::URI_TOO_LONG, "the request target is too long"),
            Self::HeadTooLarge => {
                ("head-too-large", S::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many or too long headers")
            }
            Self::TransferCoding => {
                ("transfer-coding", S::NOT_IMPLEMENTED, "a request body is sent in chunks or with its length")
            }
            Self::StreamLimit => ("stream-limit", S::TOO_MANY_REQUESTS, "too many requests at a time"),
            Self::Framing => ("framing", S::BAD_REQUEST, "the length of the request is ambiguous"),
            Self::Header => ("header", S::BAD_REQUEST, "a header is ambiguous"),
            Self::Expectation => ("expectation", S::EXPECTATION_FAILED, "only 100-continue may be expected"),
            Self::Upgrade => {
                ("upgrade", S::BAD_REQUEST, "the protocol may only be changed to WebSocket, over HTTP/1.1")
            }
            Self::ConnectInStream => ("connect-in-stream", S::NOT_IMPLEMENTED, "a stream of HTTP/2 cannot be a tunnel"),
            Self::Frame => ("frame", S::BAD_REQUEST, "a WebSocket frame is not well-formed"),
            Self::Malformed => ("malformed", S::BAD_REQUEST, "the request is not well-formed HTTP"),
            Self::RequestTimeout => ("request-timeout", S::REQUEST_TIMEOUT, "the request head did not come in time"),
            Self::ConnectTarget => ("connect-target", S::BAD_REQUEST, "CONNECT takes exactly host:port and no body"),
            Self::CleartextInTunnel => ("cleartext-in-tunnel", S::BAD_REQUEST, "only TLS is let through a tunnel"),
            Self::CleartextCredential => {
                ("cleartext-credential", S::FORBIDDEN, "credentials do not travel in clear text; use https")
            }
            Self::PlaceholderWrongPlace => {
                ("placeholder-wrong-place", S::FORBIDDEN, "a placeholder stands where it does not belong")
            }
            Self::PlaceholderWrongHost => {
                ("placeholder-wrong-host", S::FORBIDDEN, "a placeholder was sent to a host it is not for")
            }
            Self::PlaceholderWrongRequest => {
                ("placeholder-wrong-request", S::FORBIDDEN, "a placeholder was sent with a request it is not for")
            }
            Self::ForeignPlaceholder => {
                ("foreign-placeholder", S::FORBIDDEN, "a placeholder stands where it does not belong")
            }
            Self::PlaceholderAmbiguous => {
                ("placeholder-ambiguous", S::BAD_REQUEST, "the request names a credential more than once")
            }
            Self::AgentCredential => {
                ("agent-credential", S::FORBIDDEN, "this host takes only credentials of the gateway")
            }
            Self::CredentialDenied => ("credential-denied", S::FORBIDDEN, "the credential is not available"),
            Self::CredentialUnavailable => {
                ("credential-unavailable", S::SERVICE_UNAVAILABLE, "the credential could not be read; retry later")
            }
            Self::CredentialUnusable => {
                ("credential-unusable", S::BAD_GATEWAY, "the credential cannot stand in its place")
            }
            Self::TokenRefresh => {
                ("token-refresh", S::BAD_GATEWAY, "a new access token could not be fetched; retry later")
            }
            Self::Signature => ("signature", S::FORBIDDEN, "the request could not be signed"),
            Self::GrantUnavailable => {
                ("grant-unavailable", S::SERVICE_UNAVAILABLE, "the rules could not be read; retry later")
            }
            Self::AuditUnavailable => {
                ("audit-unavailable", S::SERVICE_UNAVAILABLE, "the audit log is not available; retry later")
            }
            Self::Dns => ("dns", S::BAD_GATEWAY, "the host could not be resolved"),
            Self::AddressClass => ("address-class", S::FORBIDDEN, "the host has an address that is not public"),
            Self::MetadataAddress => {
                ("metadata-address", S::FORBIDDEN, "the host has the address of a metadata service")
            }
            Self::UpstreamConnect => ("upstream-connect", S::BAD_GATEWAY, "the host could not be reached"),
            Self::UpstreamTls => ("upstream-tls", S::BAD_GATEWAY, "the host could not prove its identity"),
            Self::UpstreamPin => ("upstream-pin", S::BAD_GATEWAY, "the host's keys are not the pinned ones"),
            Self::Loop => ("loop", S::FORBIDDEN, "the host leads back to where the request came from"),
            Self::UpstreamTimeout => ("upstream-timeout", S::GATEWAY_TIMEOUT, "the host did not answer in time"),
            Self::UpstreamProtocol => ("upstream-protocol", S::BAD_GATEWAY, "the host did not answer in valid HTTP"),
            Self::Unscannable => ("unscannable", S::BAD_GATEWAY, "the answer is encoded so that it cannot be checked"),
            Self::UnscannableRequest => (
                "unscannable-request",
                S::UNSUPPORTED_MEDIA_TYPE,
                "this host takes no request with a content encoding; send it plain",
            ),
            Self::UnknownAddress => ("unknown-address", S::FORBIDDEN, "the address was not given out for a name"),
            Self::SniMissing => ("sni-missing", S::BAD_REQUEST, "the TLS handshake names no host"),
            Self::SniNotCanonical => {
                ("sni-not-canonical", S::BAD_REQUEST, "the TLS handshake names a host that is not canonical")
            }
            Self::SniMismatch => ("sni-mismatch", S::MISDIRECTED_REQUEST, "the TLS handshake names another host"),
            Self::TlsHandshake => ("tls-handshake", S::BAD_REQUEST, "the TLS handshake failed"),
            Self::MintRate => ("mint-rate", S::TOO_MANY_REQUESTS, "too many new TLS names; retry later"),
            Self::AuthorityScope => {
                ("authority-scope", S::FORBIDDEN, "the host was allowed after the sandbox started; start it again")
            }
            Self::DnsDenied => ("dns-denied", S::FORBIDDEN, "no rule allows this name"),
            Self::DnsNameLimit => ("dns-name-limit", S::TOO_MANY_REQUESTS, "too many names under wildcards"),
        }
    }
}

/// The error of a request body that broke the rules of its framing after its head was let through.
#[derive(Debug, thiserror::Error)]
#[error("the request body was refused: {}", .0.code())]
pub(crate) struct RefusedBody(pub(crate) Refusal);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clear_denials_keep_the_connection() {
        for (refusal, keeps) in [
            (Refusal::HostDenied, true),
            (Refusal::PlaceholderWrongHost, true),
            (Refusal::UpstreamConnect, true),
            (Refusal::HostMismatch, false),
            (Refusal::Framing, false),
            (Refusal::TargetNotCanonical, false),
            (Refusal::Upgrade, false),
        ] {
            assert_eq!(refusal.keeps_connection(), keeps, "{refusal:?}");
        }
    }
}
