use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::refusal::Refusal;
use crate::request::{BodyEnd, BodyLength, check_framing};

/// A request for WebSocket that is well-formed. Only [`Handshake::requested`] makes one.
///
/// The two handshakes are separate: the upstream is asked with a key of ours, without extensions, and the sandbox is answered
/// for its key. So nothing is agreed that we would have to understand, above all no compression.
#[derive(Debug)]
pub(crate) struct Handshake {
    sandbox_key: HeaderValue,
    upstream_key: HeaderValue,
    /// Subprotocols, in the order of preference.
    offered: Vec<String>,
}

impl Handshake {
    /// Whether a request asks for WebSocket, and nothing else. `None` if it asks for no change of protocol.
    ///
    /// # Errors
    /// [`Refusal::Upgrade`] if it asks for another, for one among others, or not as RFC 6455, section 4.1 says.
    pub(crate) fn requested(method: &Method, version: Version, headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let connection = names_upgrade(headers);
        if !connection && !headers.contains_key(UPGRADE) {
            return Ok(None);
        }
        let plain = *method == Method::GET
            && version == Version::HTTP_11
            && connection
            && is_websocket(headers)
            && only(headers, &SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13")
            && check_framing(headers, version, BodyEnd::Open)? == BodyLength::Known(0);
        let key = only(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
        let (true, Some(key), Some(offered)) = (plain, key, subprotocols(headers)) else {
            return Err(Refusal::Upgrade);
        };
        Ok(Some(Self { sandbox_key: key.clone(), upstream_key: new_key(), offered }))
    }

    /// What says in a request to the upstream that WebSocket is asked for.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = upgrade();
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(SEC_WEBSOCKET_KEY, self.upstream_key.clone());
        if !self.offered.is_empty() {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, token_value(&self.offered.join(", ")));
        }
        headers
    }

    /// Judges the headers of a `101`, and gives what has to stand in the one for the sandbox.
    ///
    /// # Errors
    /// [`Refusal::UpstreamProtocol`] if it agrees to anything that was not asked for.
    pub(crate) fn accepted(&self, answer: &HeaderMap) -> Result<HeaderMap, Refusal> {
        let agreed = is_websocket(answer)
            && names_upgrade(answer)
            && only(answer, &SEC_WEBSOCKET_ACCEPT).is_some_and(|accept| *accept == accept_of(&self.upstream_key))
            && !answer.contains_key(SEC_WEBSOCKET_EXTENSIONS);
        let chosen = match answer.contains_key(SEC_WEBSOCKET_PROTOCOL) {
            false => None,
            true => Some(
                only(answer, &SEC_WEBSOCKET_PROTOCOL)
                    .filter(|chosen| self.offered.iter().any(|offered| offered.as_bytes() == chosen.as_bytes()))
                    .ok_or(Refusal::UpstreamProtocol)?,
            ),
        };
        if !agreed {
            return Err(Refusal::UpstreamProtocol);
        }
        let mut headers = upgrade();
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept_of(&self.sandbox_key));
        if let Some(chosen) = chosen {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, chosen.clone());
        }
        Ok(headers)
    }
}

/// Takes out what one side says of WebSocket; the other side is told by us.
pub(crate) fn forget_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("sec-websocket-")).cloned().collect();
    for name in named {
        headers.remove(name);
    }
}

fn upgrade() -> HeaderMap {
    [(CONNECTION, HeaderValue::from_static("Upgrade")), (UPGRADE, HeaderValue::from_static("websocket"))]
        .into_iter()
        .collect()
}

/// The value of a header that stands there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// `Upgrade` offers a list; with a second protocol in it, two servers may choose differently.
fn is_websocket(headers: &HeaderMap) -> bool {
    only(headers, &UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter();
    let mut tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// 16 bytes in base64, of which there is one spelling.
fn is_key(key: &HeaderValue) -> bool {
    STANDARD.decode(key.as_bytes()).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

fn new_key() -> HeaderValue {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).expect("the kernel's random source answers after boot");
    token_value(&STANDARD.encode(key))
}

/// The proof that a server understood the request (section 4.2.2).
fn accept_of(key: &HeaderValue) -> HeaderValue {
    let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), ACCEPT_GUID].concat());
    token_value(&STANDARD.encode(proof))
}

/// The subprotocols that are offered, each once; `None` if one of them is no token.
fn subprotocols(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut offered = Vec::new();
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        for token in value.to_str().ok()?.split(',').map(|token| token.trim_matches([' ', '\t'])) {
            if token.is_empty() || !token.bytes().all(is_token_byte) || offered.iter().any(|known| known == token) {
                return None;
            }
            offered.push(token.to_owned());
        }
    }
    Some(offered)
}

/// RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn token_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("tokens and base64 are visible ASCII")
}

const KEY_BYTES: usize = 16;
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const GOOD: &[(&str, &str)] = &[
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    /// `GOOD` with one header replaced, removed (no value) or added (`+`).
    fn edited(name: &str, value: Option<&str>) -> HeaderMap {
        let mut headers = map(GOOD);
        let added = name.strip_prefix('+');
        let name = HeaderName::from_bytes(added.unwrap_or(name).as_bytes()).unwrap();
        if added.is_none() {
            headers.remove(&name);
        }
        if let Some(value) = value {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_request_asks_for_websocket_and_nothing_else() {
        let refused = Err(Refusal::Upgrade);
        for (case, name, value, expected) in [
            ("plain", "upgrade", Some("websocket"), Ok(true)),
            ("spelled differently", "upgrade", Some("WebSocket"), Ok(true)),
            ("G9 an extension is offered", "+sec-websocket-extensions", Some("permessage-deflate"), Ok(true)),
            ("subprotocols", "+sec-websocket-protocol", Some("graphql-ws, v2.x"), Ok(true)),
            ("no body, said so", "+content-length", Some("0"), Ok(true)),
            ("EGR-164 a list", "upgrade", Some("websocket, h2c"), refused),
            ("EGR-164 a second header", "+upgrade", Some("h2c"), refused),
            ("EGR-164 the same twice", "+upgrade", Some("websocket"), refused),
            ("EGR-164 another", "upgrade", Some("foo"), refused),
            ("EGR-164 h2c", "upgrade", Some("h2c"), refused),
            ("EGR-164 with version", "upgrade", Some("websocket/13"), refused),
            ("no upgrade", "upgrade", None, refused),
            ("no connection", "connection", None, refused),
            ("connection without upgrade", "connection", Some("keep-alive"), refused),
            ("EGR-164 no key", "sec-websocket-key", None, refused),
            ("two keys", "+sec-websocket-key", Some(KEY), refused),
            ("a short key", "sec-websocket-key", Some("dGhlIHNhbXBsZQ=="), refused),
            ("a key that is not base64", "sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZ!=="), refused),
            ("a key without padding", "sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ"), refused),
            ("a key in another spelling", "sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZR=="), refused),
            ("no version", "sec-websocket-version", None, refused),
            ("an old version", "sec-websocket-version", Some("8"), refused),
            ("two versions", "sec-websocket-version", Some("13, 8"), refused),
            ("a body", "+content-length", Some("5"), refused),
            ("a chunked body", "+transfer-encoding", Some("chunked"), refused),
            ("a subprotocol that is no token", "+sec-websocket-protocol", Some("a b"), refused),
            ("an empty subprotocol", "+sec-websocket-protocol", Some("a,,b"), refused),
            ("a subprotocol twice", "+sec-websocket-protocol", Some("a, a"), refused),
        ] {
            let judged = Handshake::requested(&Method::GET, Version::HTTP_11, &edited(name, value));
            assert_eq!(judged.map(|handshake| handshake.is_some()), expected, "{case}");
        }
        for (case, method, version, expected) in [
            ("plain", Method::GET, Version::HTTP_11, Ok(true)),
            ("EGR-164 POST", Method::POST, Version::HTTP_11, refused),
            ("HTTP/1.0", Method::GET, Version::HTTP_10, refused),
            ("HTTP/2", Method::GET, Version::HTTP_2, refused),
        ] {
            let judged = Handshake::requested(&method, version, &map(GOOD));
            assert_eq!(judged.map(|handshake| handshake.is_some()), expected, "{case}");
        }
        let ordinary = map(&[("connection", "keep-alive"), ("sec-websocket-key", KEY)]);
        assert!(Handshake::requested(&Method::POST, Version::HTTP_11, &ordinary).unwrap().is_none());
    }

    #[test]
    fn the_upstream_is_asked_in_words_of_ours() {
        let mut headers = map(GOOD);
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate; client_max_window_bits".parse().unwrap());
        headers.append(SEC_WEBSOCKET_PROTOCOL, "a,b".parse().unwrap());
        headers.append(SEC_WEBSOCKET_PROTOCOL, "c".parse().unwrap());
        let handshake = Handshake::requested(&Method::GET, Version::HTTP_11, &headers).unwrap().unwrap();
        let mut asked = handshake.headers();
        let key = asked.remove(SEC_WEBSOCKET_KEY).unwrap();
        assert!(is_key(&key) && key != KEY, "a key of our own: {key:?}");
        let expected = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "a, b, c"),
        ];
        assert_eq!(asked, map(&expected));
        let other = Handshake::requested(&Method::GET, Version::HTTP_11, &headers).unwrap().unwrap();
        assert_ne!(other.headers()[SEC_WEBSOCKET_KEY], key, "and another each time");
        forget_headers(&mut headers);
        assert_eq!(headers, map(&GOOD[..2]));
    }

    #[test]
    fn the_proof_is_the_one_of_the_standard() {
        // RFC 6455, section 1.3.
        assert_eq!(accept_of(&HeaderValue::from_static(KEY)), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn an_answer_may_agree_only_to_what_was_asked() {
        let mut headers = map(GOOD);
        headers.insert(SEC_WEBSOCKET_PROTOCOL, "chat, superchat".parse().unwrap());
        let handshake = Handshake::requested(&Method::GET, Version::HTTP_11, &headers).unwrap().unwrap();
        let proof = accept_of(&handshake.upstream_key);
        let proof = proof.to_str().unwrap();
        let stale = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        let bad = Err(Refusal::UpstreamProtocol);
        for (case, more, expected) in [
            ("plain", &[][..], Ok(None)),
            ("chosen", &[("sec-websocket-protocol", "superchat")][..], Ok(Some("superchat"))),
            ("other headers", &[("set-cookie", "a=1")], Ok(None)),
            ("not offered", &[("sec-websocket-protocol", "admin")], bad),
            ("in another case", &[("sec-websocket-protocol", "Chat")], bad),
            ("two chosen", &[("sec-websocket-protocol", "chat, superchat")], bad),
            ("chosen twice", &[("sec-websocket-protocol", "chat"), ("sec-websocket-protocol", "chat")], bad),
            ("EGR-166 compression", &[("sec-websocket-extensions", "permessage-deflate")], bad),
            ("no extension, said so", &[("sec-websocket-extensions", "")], bad),
            ("a second proof", &[("sec-websocket-accept", stale)], bad),
            ("a second protocol", &[("upgrade", "h2c")], bad),
        ] {
            let agreed = [("connection", "upgrade"), ("upgrade", "WebSocket"), ("sec-websocket-accept", proof)];
            let answer = map(&[&agreed, more].concat());
            let chosen = handshake.accepted(&answer).map(|headers| {
                assert_eq!(headers[SEC_WEBSOCKET_ACCEPT], stale, "the proof for the sandbox's key");
                headers.get(SEC_WEBSOCKET_PROTOCOL).map(|chosen| chosen.to_str().unwrap().to_owned())
            });
            assert_eq!(chosen, expected.map(|chosen| chosen.map(str::to_owned)), "{case}");
        }
        for (case, answer) in [
            ("no proof", map(&[("connection", "upgrade"), ("upgrade", "websocket")])),
            (
                "a proof for another key",
                map(&[("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", stale)]),
            ),
            ("no upgrade", map(&[("connection", "upgrade"), ("sec-websocket-accept", proof)])),
            ("no connection", map(&[("upgrade", "websocket"), ("sec-websocket-accept", proof)])),
        ] {
            assert_eq!(handshake.accepted(&answer).unwrap_err(), Refusal::UpstreamProtocol, "{case}");
        }
    }

    #[test]
    fn a_client_and_a_server_that_are_not_ours_agree_through_us() {
        use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
        use tokio_tungstenite::tungstenite::handshake::{derive_accept_key, server::create_response};

        let mut request = "ws://api.example.com/live".into_client_request().unwrap();
        request.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate".parse().unwrap());
        let handshake = Handshake::requested(request.method(), request.version(), request.headers()).unwrap().unwrap();
        let expected = derive_accept_key(request.headers()[SEC_WEBSOCKET_KEY].as_bytes());
        *request.headers_mut() = handshake.headers();
        let answer = create_response(&request).unwrap();
        assert_eq!(answer.status(), 101);
        let accepted = handshake.accepted(answer.headers()).unwrap();
        assert_eq!(accepted[SEC_WEBSOCKET_ACCEPT], expected);
    }
}
