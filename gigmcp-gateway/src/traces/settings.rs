//! Which collector spans go to.

use std::{fmt, fs, path::PathBuf, str::FromStr};

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::{Traces, collector::Collector};
use crate::settings::{SecretFile, SettingsError, kept, secret};

/// Which collector spans go to.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct OtlpSettings {
    /// Where an OpenTelemetry collector takes spans over OTLP/HTTP, as http://HOST:4318; nothing is sent by default
    #[arg(long, env = "GIG_OTLP_ENDPOINT", value_name = "URL", global = true)]
    pub(crate) otlp_endpoint: Option<CollectorUrl>,

    /// File with headers that the collector wants, such as `authorization: Bearer ...`, one a line
    #[arg(long, env = "GIG_OTLP_HEADERS_FILE", value_name = "FILE", global = true)]
    pub(crate) otlp_headers_file: Option<SecretFile>,

    /// PEM file of the certificate authorities that the collector is checked against, instead of those of this machine
    #[arg(long, env = "GIG_OTLP_CA_FILE", value_name = "FILE", global = true)]
    pub(crate) otlp_ca_file: Option<PathBuf>,
}

/// Where a collector is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CollectorUrl {
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    path: String,
}

/// A text that is no such address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "write the address as http://HOST:4318 or https://HOST, without a user, a query or the path /v1/traces, which is added"
)]
pub(crate) struct InvalidCollectorUrl;

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TracesError {
    #[error("{}, which {name} names, cannot be read", path.display())]
    Unreadable { name: &'static str, path: PathBuf, source: std::io::Error },
    #[error("line {line} of GIG_OTLP_HEADERS is no header as `name: value`")]
    Header { line: usize },
    #[error(transparent)]
    Secret(#[from] SettingsError),
    #[error("GIG_OTLP_HEADERS is not sent without TLS to another machine; give GIG_OTLP_ENDPOINT as https://")]
    Clear,
    #[error("{}, which GIG_OTLP_CA_FILE names, holds no certificates", path.display())]
    Authorities { path: PathBuf },
    #[error("the certificate authorities of this machine cannot be used")]
    Roots { source: rustls::Error },
    #[error("the exporter of OpenTelemetry does not start")]
    Exporter { source: Box<dyn std::error::Error + Send + Sync> },
}

impl OtlpSettings {
    /// Whether there is a collector for what was given for one.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let headers = kept(HEADERS, self.otlp_headers_file.as_deref())?;
        if self.otlp_endpoint.is_some() {
            return Ok(());
        }
        let headers = headers.map(|_| HEADERS);
        let needless = headers.or(self.otlp_ca_file.as_ref().map(|_| "GIG_OTLP_CA_FILE"));
        needless.map_or(Ok(()), |name| Err(SettingsError::NoCollector { name }))
    }

    /// The traces that these settings ask for.
    pub(crate) fn traces(&self) -> Result<Traces, TracesError> {
        let Some(url) = &self.otlp_endpoint else { return Ok(Traces::default()) };
        let headers = self.headers()?;
        if !headers.is_empty() && !url.is_tls && !url.is_loopback() {
            return Err(TracesError::Clear);
        }
        let authorities = match &self.otlp_ca_file {
            None => None,
            Some(path) => {
                let unreadable =
                    |source| TracesError::Unreadable { name: "GIG_OTLP_CA_FILE", path: path.clone(), source };
                Some((path.clone(), fs::read(path).map_err(unreadable)?))
            }
        };
        Traces::to(Collector::new(url.clone(), headers, authorities)?)
    }

    fn headers(&self) -> Result<HeaderMap, TracesError> {
        let Some(text) = secret(HEADERS, self.otlp_headers_file.as_deref())? else { return Ok(HeaderMap::new()) };
        let mut headers = HeaderMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let invalid = || TracesError::Header { line: index + 1 };
            let (name, value) = line.split_once(':').ok_or_else(invalid)?;
            let name: HeaderName = name.trim().parse().map_err(|_| invalid())?;
            let mut value = HeaderValue::from_str(value.trim()).map_err(|_| invalid())?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(headers)
    }
}

impl CollectorUrl {
    fn is_loopback(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for CollectorUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}:{}{}/v1/traces", self.host, self.port, self.path)
    }
}

impl FromStr for CollectorUrl {
    type Err = InvalidCollectorUrl;

    fn from_str(text: &str) -> Result<Self, InvalidCollectorUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidCollectorUrl)?;
        let (is_tls, usual) = match uri.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return Err(InvalidCollectorUrl),
        };
        let authority = uri.authority().ok_or(InvalidCollectorUrl)?;
        let path = uri.path().trim_end_matches('/');
        if authority.host().is_empty()
            || authority.as_str().contains('@')
            || uri.query().is_some()
            || path.ends_with("/v1/traces")
        {
            return Err(InvalidCollectorUrl);
        }
        let port = authority.port_u16().unwrap_or(usual);
        Ok(Self { is_tls, host: authority.host().to_ascii_lowercase(), port, path: path.to_owned() })
    }
}

const HEADERS: &str = "GIG_OTLP_HEADERS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_where_a_collector_is() {
        for (text, expected) in [
            ("http://127.0.0.1:4318", Some("http://127.0.0.1:4318/v1/traces")),
            ("https://otlp.test", Some("https://otlp.test:443/v1/traces")),
            ("https://otlp.test/tenant/", Some("https://otlp.test:443/tenant/v1/traces")),
            ("http://[::1]:4318/", Some("http://[::1]:4318/v1/traces")),
            ("https://otlp.test/v1/traces", None),
            ("https://user@otlp.test", None),
            ("https://otlp.test?x", None),
            ("otlp.test:4318", None),
            ("grpc://otlp.test", None),
        ] {
            assert_eq!(text.parse::<CollectorUrl>().ok().map(|url| url.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn secrets_of_headers_are_not_sent_in_clear_text_to_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("headers");
        let settings = |url: &str, text: &str| {
            fs::write(&file, text).expect("written");
            let otlp_endpoint = Some(url.parse().expect("an address"));
            OtlpSettings {
                otlp_endpoint,
                otlp_headers_file: Some(file.clone().into_os_string().into()),
                otlp_ca_file: None,
            }
        };
        let good = "authorization: Bearer x\n\nx-tenant: a\n";
        for url in ["http://127.0.0.1:1", "https://otlp.test"] {
            assert!(settings(url, good).traces().is_ok(), "twin: {url}");
        }
        assert!(settings("http://otlp.test:4318", "\n\n \n").traces().is_ok(), "twin: nothing secret");
        assert!(matches!(settings("http://otlp.test:4318", good).traces(), Err(TracesError::Clear)));
        for (text, expected) in [("authorization Bearer", 1), ("a: b\nx y: z", 2), ("a: \u{7f}", 1)] {
            let found = settings("https://otlp.test", text).traces();
            assert!(matches!(found, Err(TracesError::Header { line, .. }) if line == expected), "{text}");
        }
    }
}
