//! Reads what a request says, strictly: nothing unknown, nothing twice, nothing that is not what it should be.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, header};
use serde::de::{DeserializeOwned, IntoDeserializer, value::MapDeserializer};

use super::{
    error::{ApiError, Code},
    route::BodyType,
};

/// The variables of a path, decoded.
pub(crate) type Variables = Vec<(String, String)>;

/// A request before it is read.
pub(crate) struct Raw {
    pub(crate) request_id: String,
    /// Where the caller is, as far as that is known.
    pub(crate) address: IpAddr,
    pub(crate) headers: HeaderMap,
    /// The variables of the path, decoded.
    pub(crate) path: Variables,
    pub(crate) query: Option<String>,
    pub(crate) body: Bytes,
}

/// What the path names.
pub(super) fn path<P: DeserializeOwned>(raw: &Raw) -> Result<P, ApiError> {
    let members = raw.path.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let read = P::deserialize(MapDeserializer::<_, serde::de::value::Error>::new(members));
    // What is no name is the name of nothing.
    read.or_else(|error| match nothing() {
        Some(nothing) if raw.path.is_empty() => Ok(nothing),
        _ => Err(ApiError::new(Code::NotFound, format!("the path leads nowhere: {error}"))),
    })
}

/// What the query says.
pub(super) fn query<Q: DeserializeOwned>(raw: &Raw) -> Result<Q, ApiError> {
    let text = raw.query.as_deref().unwrap_or_default();
    if let (true, Some(nothing)) = (text.is_empty(), nothing()) {
        return Ok(nothing);
    }
    serde_urlencoded::from_str(text).map_err(|error| ApiError::invalid(format!("the query is not understood: {error}")))
}

/// What the body says.
pub(super) fn body<B: DeserializeOwned>(raw: &Raw, expected: Option<BodyType>) -> Result<B, ApiError> {
    let expected = match (expected, nothing()) {
        (Some(expected), _) => expected,
        (None, Some(nothing)) if raw.body.is_empty() => return Ok(nothing),
        (None, _) => return Err(ApiError::invalid("this method takes no body")),
    };
    if !is(&raw.headers, expected.media_type()) {
        let text = format!("the body must be {}", expected.media_type());
        return Err(ApiError::new(Code::UnsupportedMediaType, text));
    }
    let not_understood = |error: String| ApiError::invalid(format!("the body is not understood: {error}"));
    match expected {
        BodyType::Json => serde_json::from_slice(&raw.body).map_err(|error| not_understood(error.to_string())),
        BodyType::Form => serde_urlencoded::from_bytes(&raw.body).map_err(|error| not_understood(error.to_string())),
    }
}

/// `()`, for what says nothing.
fn nothing<T: DeserializeOwned>() -> Option<T> {
    T::deserialize(IntoDeserializer::<serde::de::value::Error>::into_deserializer(())).ok()
}

/// Exactly one type, with no parameter but `charset=utf-8`.
fn is(headers: &HeaderMap, media_type: &str) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    let (kind, parameter) = value.split_once(';').map_or((value, None), |(kind, rest)| (kind, Some(rest.trim())));
    kind.trim().eq_ignore_ascii_case(media_type)
        && parameter.is_none_or(|parameter| parameter.eq_ignore_ascii_case("charset=utf-8"))
}
