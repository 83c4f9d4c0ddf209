//! Files of other services than registries of images.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::url::Url;
use super::{Remote, RemoteError};

impl Remote {
    /// What is at an `https://` address, at most `limit` bytes of it. A redirect is no answer.
    pub(crate) async fn get(&self, address: &str, accept: &'static str, limit: u64) -> Result<Vec<u8>, RemoteError> {
        let url = Url::whole(address).map_err(|why| RemoteError::Redirect { host: address.to_owned(), why })?;
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
        let answer = self.request(&url, headers).await?;
        if answer.status != StatusCode::OK {
            return Err(RemoteError::Status { host: answer.host(), status: answer.status.as_u16() });
        }
        let content = answer.small(&self.0.timeouts, limit).await?;
        content.ok_or_else(|| RemoteError::Range { host: url.host.to_string() })
    }
}
