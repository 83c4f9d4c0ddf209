//! Commands for a gateway elsewhere: the same words and the same answers, over its API.

mod connection;
mod error;
mod machine;
mod once;
mod people;
mod pins;
mod profiles;
mod said;
mod servers;
mod trail;

use std::{process::ExitCode, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use connection::Connection;
use error::Reason;
pub(crate) use error::RemoteError;
use once::Asked;

use super::Command;
use crate::{
    api,
    output::{Failure, Output},
    settings::{Settings, secret},
};

/// A gateway elsewhere.
pub(super) struct Remote {
    connection: Connection,
    key: Option<HeaderValue>,
}

impl Remote {
    /// The gateway that the settings name, if it is not the one whose data is here.
    pub(super) fn of(settings: &Settings) -> Result<Option<Self>, Failure> {
        let said = &settings.remote;
        let key = secret("GIG_API_KEY", said.api_key_file.as_deref())?;
        let Some(url) = &said.gateway_url else {
            // Whoever set these means another gateway.
            return match (key, &said.ca_file) {
                (Some(_), _) => Err(RemoteError::NoUrl { setting: "GIG_API_KEY" }.into()),
                (None, Some(_)) => Err(RemoteError::NoUrl { setting: "GIG_CA_FILE" }.into()),
                (None, None) => Ok(None),
            };
        };
        let key = key.map(|key| {
            let word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
            let header = word.then(|| HeaderValue::from_str(&format!("Bearer {}", &*key)).ok()).flatten();
            let mut header = header.ok_or(RemoteError::NotAKey)?;
            header.set_sensitive(true);
            Ok::<_, RemoteError>(header)
        });
        Ok(Some(Self { connection: Connection::new(url, said.ca_file.as_deref())?, key: key.transpose()? }))
    }

    /// What lies at this path.
    async fn get<T: DeserializeOwned>(&self, path: &Path) -> Result<T, RemoteError> {
        self.read(Method::GET, path, None, DEADLINE).await
    }

    /// All items of a list, page by page.
    async fn all<T: DeserializeOwned>(&self, path: &Path) -> Result<Vec<T>, RemoteError> {
        self.some(path, usize::MAX).await
    }

    /// The first items of a list, page by page.
    async fn some<T: DeserializeOwned>(&self, path: &Path, limit: usize) -> Result<Vec<T>, RemoteError> {
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        while found.len() < limit {
            let size = (limit - found.len()).min(PAGE);
            let path = path.clone().with("limit", Some(size)).with("cursor", cursor.take());
            let page: Page<T> = self.get(&path).await?;
            found.extend(page.items);
            match page.next_cursor {
                Some(_) if limit == usize::MAX && found.len() >= MAX_ITEMS => {
                    return Err(RemoteError::TooMany { items: MAX_ITEMS });
                }
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Says something, and reads the answer.
    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &Path,
        body: &impl Serialize,
    ) -> Result<T, RemoteError> {
        self.read(method, path, Some(said::body(body)), DEADLINE).await
    }

    /// Has something made that is all said by its path, and reads the answer.
    async fn make<T: DeserializeOwned>(&self, path: &Path) -> Result<T, RemoteError> {
        self.read(Method::POST, path, None, PATIENCE).await
    }

    /// The same for what takes long.
    async fn send_patiently<T: DeserializeOwned>(&self, path: &Path, body: &impl Serialize) -> Result<T, RemoteError> {
        self.read(Method::POST, path, Some(said::body(body)), PATIENCE).await
    }

    /// Has something done that says nothing and answers nothing.
    async fn tell(&self, method: Method, path: &Path) -> Result<(), RemoteError> {
        self.whole(method, path, None, PATIENCE).await.map(drop)
    }

    /// Has something done that answers nothing.
    async fn say(&self, method: Method, path: &Path, body: &impl Serialize) -> Result<(), RemoteError> {
        self.whole(method, path, Some(said::body(body)), DEADLINE).await.map(drop)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &Path,
        body: Option<Bytes>,
        deadline: Duration,
    ) -> Result<T, RemoteError> {
        serde_json::from_slice(&self.whole(method, path, body, deadline).await?).map_err(RemoteError::Answer)
    }

    async fn whole(
        &self,
        method: Method,
        path: &Path,
        body: Option<Bytes>,
        deadline: Duration,
    ) -> Result<Bytes, RemoteError> {
        let late = |_| RemoteError::Late { seconds: deadline.as_secs() };
        tokio::time::timeout(deadline, self.done(&Asked::new(method, path, body)?)).await.map_err(late)?
    }

    /// Asks, and once more if the connection broke: with the same key, so that what is done is done once.
    async fn done(&self, asked: &Asked<'_>) -> Result<Bytes, RemoteError> {
        match self.try_done(asked).await {
            Err(broken @ RemoteError::Broken(_)) if asked.is_repeatable() => {
                asked.again(broken, self.try_done(asked).await)
            }
            done => done,
        }
    }

    async fn try_done(&self, asked: &Asked<'_>) -> Result<Bytes, RemoteError> {
        let response = self.ask(asked).await?;
        self.collected(response).await
    }

    /// Asks, and gives an answer that says yes. Whoever asked too often waits, as nothing was done then; and so does whoever
    /// asked for what is being done.
    async fn ask(&self, asked: &Asked<'_>) -> Result<Response<Incoming>, RemoteError> {
        let key = match asked.path.needs_key {
            true => Some(self.key.as_ref().ok_or(RemoteError::NoKey)?),
            false => None,
        };
        loop {
            let response = self.connection.send(asked, key).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let wait = response.headers().get(header::RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
            let body = self.collected(response).await?;
            let refused = RemoteError::refused(self.connection.host(), asked.path, status, &body);
            let passes = status == StatusCode::TOO_MANY_REQUESTS || refused.code() == Some(IN_FLIGHT);
            match wait.filter(|seconds| passes && *seconds <= DEADLINE.as_secs()) {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => return Err(refused),
            }
        }
    }

    async fn collected(&self, response: Response<Incoming>) -> Result<Bytes, RemoteError> {
        match Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(error) => RemoteError::Broken(*error),
                Err(error) => {
                    debug_assert!(error.is::<LengthLimitError>(), "there are two kinds");
                    RemoteError::TooLarge { bytes: MAX_ANSWER_BYTES }
                }
            }),
        }
    }
}

/// Does what was asked, at a gateway elsewhere. Never here: what has no route there is refused.
pub(super) async fn run(remote: &Remote, command: Command, out: &Output) -> Result<ExitCode, Failure> {
    let no_route = |command, reason| Err(RemoteError::NoRoute { command, reason }.into());
    match command {
        Command::Catalog(command) => servers::catalog(remote, command, out).await?,
        Command::Server(command) => servers::run(remote, command, out).await?,
        Command::Profile(command) => profiles::run(remote, command, out).await?,
        Command::Token(command) => profiles::token(remote, command, out).await?,
        Command::Secret(command) => profiles::secret(remote, command, out).await?,
        Command::User(command) => people::run(remote, command, out).await?,
        Command::ApiKey(command) => people::api_key(remote, command, out).await?,
        Command::Pin(command) => pins::run(remote, command, out).await?,
        Command::Registry(command) => machine::registry(remote, command, out).await?,
        Command::Images(command) => machine::images(remote, command, out).await?,
        Command::Key(command) => return machine::key(remote, &command, out).await,
        Command::Doctor(command) => return machine::doctor(remote, &command, out).await,
        Command::Audit(command) => return trail::run(remote, command, out).await,
        Command::Serve => return no_route("serve", Reason::Here),
        Command::Config(_) => return no_route("config", Reason::Here),
        Command::Demo => return no_route("demo", Reason::Here),
        Command::Exec(_) => return no_route("exec", Reason::Here),
        Command::Health => return no_route("health", Reason::Here),
        Command::Completions { .. } => return no_route("completions", Reason::Here),
        Command::Backup(_) => return no_route("backup", Reason::Database),
        Command::Restore(_) => return no_route("restore", Reason::Database),
    }
    Ok(ExitCode::SUCCESS)
}

/// A path of the API with its query, each part encoded.
#[derive(Clone)]
struct Path {
    text: String,
    needs_key: bool,
    changes: bool,
}

impl Path {
    fn of(parts: &[&str]) -> Self {
        let mut text = api::PREFIX.to_owned();
        for part in parts {
            text.push('/');
            text.extend(percent_encoding::utf8_percent_encode(part, ENCODED));
        }
        Self { text, needs_key: true, changes: true }
    }

    /// Where nobody is anybody yet.
    fn without_key(self) -> Self {
        Self { needs_key: false, ..self }
    }

    /// Where a body is sent, and nothing is changed.
    fn that_only_looks(self) -> Self {
        Self { changes: false, ..self }
    }

    fn with(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.text.push(if self.text.contains('?') { '&' } else { '?' });
            self.text.push_str(name);
            self.text.push('=');
            self.text.extend(percent_encoding::utf8_percent_encode(&value.to_string(), ENCODED));
        }
        self
    }

    fn text(&self) -> &str {
        &self.text
    }

    /// What it names, for people.
    fn place(&self) -> &str {
        let path = self.text.split('?').next().unwrap_or_default();
        path.strip_prefix(api::PREFIX).unwrap_or(path)
    }
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

/// All but what RFC 3986 calls unreserved.
const ENCODED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PAGE: usize = 200;
/// More of anything is more than somebody reads.
const MAX_ITEMS: usize = 20_000;
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// What is asked twice with one key is being done for the first time.
const IN_FLIGHT: &str = "idempotency_in_flight";
const DEADLINE: Duration = Duration::from_secs(60);
/// For what pulls an image: longer than the gateway itself waits.
const PATIENCE: Duration = Duration::from_secs(630);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_no_part_that_is_more_than_one() {
        for (parts, expected) in [
            (&["servers", "notes"][..], "/api/v1/servers/notes"),
            (&["users", "../api-keys?x=1#y"], "/api/v1/users/..%2Fapi-keys%3Fx%3D1%23y"),
            (&["invitations", "a+b@example.com"], "/api/v1/invitations/a%2Bb%40example.com"),
        ] {
            assert_eq!(Path::of(parts).text(), expected);
        }
        let asked = Path::of(&["audit"]).with("kind", Some("a&b=c")).with("limit", Some(5)).with("none", None::<u8>);
        assert_eq!(asked.text(), "/api/v1/audit?kind=a%26b%3Dc&limit=5");
    }
}
