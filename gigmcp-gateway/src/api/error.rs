//! What a caller is told that went wrong: a stable code, a text, and never a cause that names what is inside.

use http::{HeaderValue, Response, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::Body;
use crate::{
    oidc::{OidcError, ProviderError},
    output::whole,
    people::{Actor, HashError, IdentityError, Origin, PeopleError, Refusal, Shown, SignInError},
    store::StoreError,
};

/// The kind of an error. The text of each is stable.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// Nobody is signed in, or the credential is not valid.
    Unauthenticated,
    /// The password is right, and a code of the second factor is needed too.
    SecondFactor,
    /// The password is right, and a code of the second factor is needed too. The session goes on.
    FactorNeeded,
    /// Who this is must be proven once more, at the identity provider. The session goes on.
    FreshSignIn,
    /// The caller may not do this.
    Forbidden,
    /// Somebody else is being viewed, so nothing can be changed.
    ViewOnly,
    /// The request came from another site, or without the token that shows that it did not.
    CrossSite,
    /// There is no such thing, or not for this caller.
    NotFound,
    /// The path has no such method; the header `Allow` lists those it has.
    MethodNotAllowed,
    /// The request is malformed.
    Invalid,
    /// The request is well-formed, and something in it cannot be accepted.
    Unacceptable,
    /// The new password is too easy to guess, or not of an accepted length.
    WeakPassword,
    /// The password or the code that was given once more is wrong. The session goes on.
    WrongProof,
    /// The request is larger than allowed.
    TooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// It contradicts what is there.
    Conflict,
    /// The `Idempotency-Key` was sent with another request before.
    IdempotencyMismatch,
    /// The same request with this `Idempotency-Key` is being done.
    IdempotencyInFlight,
    /// It was done with this `Idempotency-Key` before, and the answer holds what is shown once.
    IdempotencyReplayed,
    /// It was begun with this `Idempotency-Key`, and what came of it is not known.
    IdempotencyUnknown,
    /// Too many requests; the header `Retry-After` says how many seconds to wait.
    RateLimited,
    /// A service that the gateway asks did not answer as it should.
    Upstream,
    /// Not possible at the moment; nothing was done.
    Unavailable,
    /// It took too long and was given up; what was done of it is not known.
    TimedOut,
    /// A fault of the gateway; its log knows more, under the request's id.
    Internal,
}

impl Code {
    /// The status that goes with it.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated | Self::SecondFactor => StatusCode::UNAUTHORIZED,
            Self::Forbidden
            | Self::ViewOnly
            | Self::CrossSite
            | Self::WrongProof
            | Self::FactorNeeded
            | Self::FreshSignIn => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Conflict | Self::IdempotencyInFlight | Self::IdempotencyReplayed | Self::IdempotencyUnknown => {
                StatusCode::CONFLICT
            }
            Self::IdempotencyMismatch | Self::Unacceptable | Self::WeakPassword => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Upstream => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether somebody who gets this cannot tell that nothing was done.
    pub(crate) fn may_have_been_done(self) -> bool {
        matches!(self, Self::Upstream | Self::TimedOut | Self::Internal)
    }
}

/// An error on its way to a caller.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) code: Code,
    message: String,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

/// The document that every error is.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Error")]
pub(crate) struct ErrorDocument {
    error: ErrorBody,
}

#[derive(JsonSchema, Serialize)]
#[schemars(inline)]
struct ErrorBody {
    /// What programs go by.
    code: Code,
    /// What people read.
    message: String,
    /// Finds the request in the gateway's log.
    request_id: String,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), headers: Vec::new() }
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "sign in, or send a key as `Authorization: Bearer KEY`")
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message)
    }

    pub(crate) fn unacceptable(message: impl Into<String>) -> Self {
        Self::new(Code::Unacceptable, message)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// The whole cause goes to the log, and a fixed text to the caller.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!("a request to the API failed: {}", whole(error));
        Self::new(Code::Internal, "the gateway failed; its log says why")
    }

    pub(crate) fn wait(wait: std::time::Duration) -> Self {
        let seconds = wait.as_secs() + 1;
        Self::new(Code::RateLimited, format!("too many tries; wait {seconds} s"))
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(crate) fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn into_response(self, request_id: &str) -> Response<Body> {
        let error = ErrorBody { code: self.code, message: self.message, request_id: request_id.to_owned() };
        let mut response = super::reply::json(self.code.status(), &ErrorDocument { error });
        if self.code.status() == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"gigmcp\""));
        }
        response.headers_mut().extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

/// A password or a code that was given once more in a session and is wrong leaves a trace: whoever has the session may be guessing.
pub(super) fn confirmed<T>(
    state: &super::State,
    actor: &Actor,
    raw: &super::Raw,
    done: Result<T, PeopleError>,
) -> Result<T, ApiError> {
    if let Err(PeopleError::Wrong) = &done {
        state.people.failed.note(Shown::Confirmation, actor.user.as_str(), &Origin::new(raw.address, ""));
    }
    Ok(done?)
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::SignIn => Self::unauthenticated(),
            Refusal::Viewing => Self::new(Code::ViewOnly, refusal.to_string()),
            // Whoever it belongs to is nobody's business.
            Refusal::NotYours => Self::not_found("thing"),
            Refusal::Scope | Refusal::Key | Refusal::Role(_) => Self::new(Code::Forbidden, refusal.to_string()),
        }
    }
}

impl From<PeopleError> for ApiError {
    fn from(error: PeopleError) -> Self {
        match error {
            PeopleError::Refused(refusal) => refusal.into(),
            PeopleError::Store(error) => error.into(),
            PeopleError::Wait(wait) => Self::wait(wait),
            PeopleError::Hash(error) => error.into(),
            PeopleError::NoSession => Self::not_found("session"),
            PeopleError::Wrong => Self::new(Code::WrongProof, error.to_string()),
            PeopleError::KeyGrants | PeopleError::OwnProof | PeopleError::ScopesAbove { .. } => {
                Self::new(Code::Forbidden, error.to_string())
            }
            PeopleError::FactorThere | PeopleError::NoFactor | PeopleError::OwnIdentity => {
                Self::new(Code::Conflict, error.to_string())
            }
            PeopleError::EmailNeeded => Self::unacceptable("an address is needed, as `email`"),
            PeopleError::Weak(_) => Self::new(Code::WeakPassword, whole(&error)),
            PeopleError::Code | PeopleError::OwnView | PeopleError::ViewTime => Self::unacceptable(whole(&error)),
            PeopleError::FactorNeeded => Self::new(Code::FactorNeeded, error.to_string()),
            PeopleError::Setting(error) => error.into(),
            PeopleError::Secret(error) => error.into(),
            PeopleError::Random(_) => Self::internal(&error),
        }
    }
}

impl From<HashError> for ApiError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::new(Code::Unavailable, error.to_string()),
            HashError::Corrupt | HashError::Failed => Self::internal(&error),
        }
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Refused => Self::new(Code::Unauthenticated, error.to_string()),
            SignInError::SecondFactor => Self::new(Code::SecondFactor, error.to_string()),
            SignInError::Wait(wait) => Self::wait(wait),
            SignInError::Hash(error) => error.into(),
            SignInError::Store(error) => error.into(),
            SignInError::Secret(_) => Self::internal(&error),
        }
    }
}

/// What went wrong is for the operator; a caller learns what to do.
impl From<OidcError> for ApiError {
    fn from(error: OidcError) -> Self {
        match error {
            OidcError::Provider(ProviderError::NotReady) => {
                Self::new(Code::Unavailable, "the identity provider cannot be used yet; try again later")
            }
            OidcError::Provider(_) | OidcError::Exchange { .. } | OidcError::Endpoint { .. } => {
                Self::new(Code::Upstream, "the identity provider did not answer as it should; begin again")
            }
            OidcError::Flow(_) => Self::invalid("this was not begun in this browser, or is over; begin again"),
            OidcError::Denied { .. } => Self::new(Code::Unauthenticated, "the identity provider did not let you in"),
            OidcError::Token { .. } => {
                Self::new(Code::Unauthenticated, "what the identity provider says is not accepted; begin again")
            }
            OidcError::NotAdmitted(_) => not_admitted(),
            OidcError::Busy => Self::new(Code::Unavailable, "too many sign in at once; try again later"),
            OidcError::Random(_) => Self::internal(&error),
        }
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Oidc(error) => error.into(),
            IdentityError::NoAccount | IdentityError::AddressTaken | IdentityError::Disabled => not_admitted(),
            IdentityError::Anothers => Self::new(Code::Conflict, "this identity is not one of this account"),
            IdentityError::Wait(wait) => Self::wait(wait),
            IdentityError::People(error) => error.into(),
            IdentityError::Store(error) => error.into(),
            IdentityError::NotSealed => Self::internal(&error),
        }
    }
}

/// Whether there is an account is nobody's business.
fn not_admitted() -> ApiError {
    ApiError::new(Code::Forbidden, "you are not let in here; ask an administrator")
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            // The names that are known are for the operator only; and what is another's is told in the same words.
            StoreError::Missing { .. } => Self::not_found("thing"),
            StoreError::Exists { .. }
            | StoreError::LastAdministrator
            | StoreError::LocalAccount
            | StoreError::LastIdentity
            | StoreError::TooMany { .. }
            | StoreError::TooLong { .. }
            | StoreError::Disabled(_)
            | StoreError::Moved { .. }
            | StoreError::Changed
            | StoreError::Confirmed => Self::new(Code::Conflict, error.to_string()),
            StoreError::NotFresh => Self::new(Code::FreshSignIn, error.to_string()),
            StoreError::TooMuch { .. } => Self::new(Code::Forbidden, error.to_string()),
            StoreError::Revoked => Self::unauthenticated(),
            StoreError::Busy => Self::new(Code::Unavailable, error.to_string()),
            StoreError::Query(query) if query.is_passing() => {
                tracing::error!("a request to the API failed: {}", whole(&error));
                Self::new(Code::Unavailable, "the database takes nothing at the moment; the gateway's log says why")
            }
            _ => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SqlError;

    #[test]
    fn what_the_database_does_not_take_now_is_no_fault_and_what_may_be_written_is_not_said_not_to_be() {
        let sqlite = |code| SqlError::from(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
        for (case, error, expected) in [
            ("a full disk", SqlError::Full, Code::Unavailable),
            ("a full disk, found late", sqlite(rusqlite::ffi::SQLITE_FULL), Code::Unavailable),
            ("another program's lock", sqlite(rusqlite::ffi::SQLITE_BUSY), Code::Unavailable),
            ("undone with another's change", SqlError::Undone, Code::Unavailable),
            ("written, and perhaps not on the disk", SqlError::NotFlushed, Code::Internal),
            ("a connection that was lost, perhaps after the commit", SqlError::Lost, Code::Internal),
            ("a damaged file", sqlite(rusqlite::ffi::SQLITE_CORRUPT), Code::Internal),
        ] {
            assert_eq!(ApiError::from(StoreError::Query(error)).code, expected, "{case}");
        }
    }
}
