//! Reading a request before it is decided who sent it.

use std::error::Error;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{ResponseBody, StreamableHttp, reply::plain};

impl StreamableHttp {
    /// Reads the body of a request whole, within the limits of this endpoint.
    ///
    /// A client may hold the end of a body back for [`body_timeout`](super::StreamableHttpLimits::body_timeout). Whoever
    /// must not act for a client whose token was revoked meanwhile reads first, decides who it is then, and calls
    /// [`handle`](Self::handle) with what this gives. The body of a request that has none that is of interest is left out.
    ///
    /// # Errors
    /// What the client is to be answered whose body is too large, ends early, or takes too long.
    pub async fn receive<B>(&self, request: Request<B>) -> Result<Request<Full<Bytes>>, Response<ResponseBody>>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let body = match parts.method {
            Method::POST => self.whole(body).await?,
            _ => Bytes::new(),
        };
        Ok(Request::from_parts(parts, Full::new(body)))
    }

    /// All of a body, or what the client is answered.
    pub(super) async fn whole<B>(&self, body: B) -> Result<Bytes, Response<ResponseBody>>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        // A length that is declared need not be waited for.
        if body.size_hint().lower() > self.limits.max_body_bytes as u64 {
            return Err(self.too_large());
        }
        let reading = Limited::new(body, self.limits.max_body_bytes).collect();
        match timeout(self.limits.body_timeout, reading).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(self.too_large()),
            Ok(Err(_)) => Err(plain(StatusCode::BAD_REQUEST, "the body could not be read")),
            Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
        }
    }

    fn too_large(&self) -> Response<ResponseBody> {
        plain(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {} bytes", self.limits.max_body_bytes))
    }
}
