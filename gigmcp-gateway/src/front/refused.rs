//! Why a request goes no further than the front.

use http::StatusCode;

/// Why a request goes no further than the front. The text is fixed: nothing of the request is said back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// The head is not what RFC 9112 says a sender writes, or can be read in two ways.
    Head(&'static str),
    /// Not an HTTP/1 that is spoken here.
    Version,
    TooManyFields,
    HeadTooLarge,
    /// The head did not arrive in time.
    Slow,
    /// A method for proxies.
    Tunnel,
    /// No host, several, or two that differ.
    Host(&'static str),
    /// The body is compressed: what it would become is not known before.
    Encoded,
    /// A trusted proxy says who the client is in a way that is not clear.
    Forwarded(&'static str),
}

impl Refused {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Head(_) | Self::Host(_) | Self::Forwarded(_) => StatusCode::BAD_REQUEST,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TooManyFields | Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Tunnel => StatusCode::NOT_IMPLEMENTED,
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Head(text) | Self::Host(text) | Self::Forwarded(text) => text,
            Self::Version => "HTTP/1.1 and HTTP/2 are spoken here\n",
            Self::TooManyFields => "the head has too many fields\n",
            Self::HeadTooLarge => "the head is too large\n",
            Self::Slow => "the head did not arrive in time\n",
            Self::Tunnel => "this is no proxy\n",
            Self::Encoded => "send the body without Content-Encoding\n",
        }
    }

    /// The same in one word, for counters.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Head(_) | Self::Version => "malformed",
            Self::TooManyFields | Self::HeadTooLarge => "large",
            Self::Slow => "slow",
            Self::Tunnel => "tunnel",
            Self::Host(_) => "host",
            Self::Encoded => "encoded",
            Self::Forwarded(_) => "forwarded",
        }
    }
}
