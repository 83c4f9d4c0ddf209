//! Results and errors, as this revision has them.

use http::StatusCode;
use serde_json::value::RawValue;

use crate::{
    message::{RpcError, Verdict, error_code},
    object::{Members, is_object},
};

/// Whether a result may be kept by a client, and how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cached {
    /// For a while; what has changed is told.
    List,
    /// It says so, but for no time.
    Once,
    /// It does not say so.
    Never,
}

/// A result that is complete.
pub(super) fn complete(result: &RawValue, cached: Cached) -> Verdict {
    let malformed = || {
        let text = "the server's result is no object, or names a member twice";
        RpcError::new(RpcError::INTERNAL_ERROR, text).with_data(&serde_json::json!({ "code": "server-protocol" }))
    };
    if !is_object(result) {
        return Verdict::refused(&malformed());
    }
    let mut result = match Members::of(result) {
        Ok(members) => members.set("resultType", r#""complete""#),
        Err(_) => return Verdict::refused(&malformed()),
    };
    let ttl = match cached {
        Cached::Never => None,
        Cached::List => Some("60000"),
        Cached::Once => Some("0"),
    };
    if let Some(ttl) = ttl {
        // What a profile sees is nobody else's, whatever the server thinks of it.
        for (name, json) in [("cacheScope", r#""private""#), ("ttlMs", ttl)] {
            result = Members::grown(&result).expect("it was read before").set(name, json);
        }
    }
    Verdict::Result(result)
}

/// An error with its status.
pub(super) fn error(error: &RawValue) -> (StatusCode, Verdict) {
    let code = error_code(error);
    let status = match code {
        Some(RpcError::METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        Some(RpcError::HEADER_MISMATCH | RpcError::MISSING_CAPABILITY | RpcError::UNSUPPORTED_VERSION) => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::OK,
    };
    let changed = (code == Some(RpcError::RESOURCE_NOT_FOUND))
        .then(|| Members::of(error).ok()?.with_raw("code", &RpcError::INVALID_PARAMS.to_string()))
        .flatten();
    (status, Verdict::Error(changed.unwrap_or_else(|| error.to_owned())))
}

/// Whether a call has failed, one way or the other.
pub(super) fn has_failed(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Error(_) => true,
        Verdict::Result(result) => {
            let flag = Members::of(result).ok().and_then(|members| members.value("isError"));
            flag.is_some_and(|flag| flag.get() == "true")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn an_object_of_as_many_members_as_are_read_may_get_some_more() {
        let of = |count: usize| {
            let members: Vec<String> = (0..count).map(|number| format!(r#""a{number}":0"#)).collect();
            RawValue::from_string(format!("{{{}}}", members.join(","))).unwrap()
        };
        let Verdict::Result(result) = complete(&of(1 << 16), Cached::Once) else { panic!("it can be read") };
        assert!(result.get().starts_with(r#"{"ttlMs":0,"cacheScope":"private","resultType":"complete","a0":0,"#));
        assert!(matches!(complete(&of((1 << 16) + 1), Cached::Once), Verdict::Error(_)), "twin: too many");
    }
}
