//! The HTTP client.

use std::{env, error::Error, fmt::Write, fs, io::Read, sync::Arc, time::Duration};

use ureq::{
    Agent, Proxy,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
};

/// A client with the key and the roots of this process's environment.
pub(crate) struct Client {
    key: Option<String>,
    agent: Result<Agent, String>,
}

/// What came back.
pub(crate) struct Fetched {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) truncated: bool,
}

impl Client {
    pub(crate) fn from_env() -> Self {
        Self { key: env::var("API_KEY").ok(), agent: agent() }
    }

    /// GETs `url` once; redirects are not followed.
    pub(crate) fn get(&self, url: &str, header: Option<&str>) -> Result<Fetched, String> {
        let mut request = self.agent.as_ref()?.get(url);
        request = match (&self.key, header) {
            (Some(key), Some(name)) => request.header(name, key),
            (Some(key), None) => request.header("authorization", format!("Bearer {key}")),
            (None, _) => request,
        };
        let response = request.call().map_err(|error| chain(&error))?;
        let (parts, body) = response.into_parts();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = parts.headers.iter();
        let headers = headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
        let mut bytes = Vec::new();
        body.into_reader().take(MAX_BODY_BYTES + 1).read_to_end(&mut bytes).map_err(|error| chain(&error))?;
        let truncated = bytes.len() as u64 > MAX_BODY_BYTES;
        if truncated {
            bytes.pop();
        }
        Ok(Fetched { status: parts.status.as_u16(), headers, body: text(&bytes), truncated })
    }
}

fn agent() -> Result<Agent, String> {
    let path = env::var("SSL_CERT_FILE").unwrap_or_else(|_| DEFAULT_ROOTS.to_owned());
    let pem = fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
    let roots: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build();
    let uses_proxy = env::var("FETCH_USE_PROXY").is_ok_and(|value| value == "1");
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(if uses_proxy { Proxy::try_from_env() } else { None })
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(TIMEOUT))
        .build();
    Ok(Agent::new_with_config(config))
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}"); // writing to a string cannot fail
        source = cause.source();
    }
    text
}

const DEFAULT_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
const MAX_BODY_BYTES: u64 = 256 << 10;
const TIMEOUT: Duration = Duration::from_secs(30);
