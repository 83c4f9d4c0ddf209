//! How the gateway meets the network.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Args, builder::TypedValueParser};

use super::{PrivateFile, SettingsError};
use crate::front::{Limits, Proxies, TlsFiles, TrustedNetwork};

/// How the gateway meets the network.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FrontSettings {
    /// PEM file of the certificate chain for TLS, the gateway's own first. Both files are read again when they change, or on
    /// SIGHUP
    #[arg(long, env = "GIG_TLS_CERT_FILE", value_name = "FILE", global = true)]
    pub(crate) tls_cert_file: Option<PathBuf>,

    /// PEM file of the private key that belongs to it; only its owner and its group may read it
    #[arg(long, env = "GIG_TLS_KEY_FILE", value_name = "FILE", global = true)]
    pub(crate) tls_key_file: Option<PrivateFile>,

    /// Networks of the proxies that are believed when they say who the client is, such as 10.0.0.0/8 or 192.0.2.1 (comma
    /// separated)
    #[arg(long, env = "GIG_TRUSTED_PROXIES", value_name = "NETWORK", value_delimiter = ',', global = true)]
    pub(crate) trusted_proxies: Vec<TrustedNetwork>,

    /// Connections that are open at once, of all clients together
    #[arg(
        long, env = "GIG_MAX_CONNECTIONS", value_name = "NUMBER", default_value = "10000", global = true,
        value_parser = connections()
    )]
    pub(crate) max_connections: usize,

    /// The same of one address (of IPv6: one /64), unless it is a trusted proxy
    #[arg(
        long, env = "GIG_MAX_CONNECTIONS_PER_ADDRESS", value_name = "NUMBER", default_value = "1024", global = true,
        value_parser = connections()
    )]
    pub(crate) max_connections_per_address: usize,

    /// Seconds that calls in flight may go on when the gateway is told to stop
    #[arg(
        long, env = "GIG_DRAIN_TIMEOUT", value_name = "SECONDS", default_value = "30", global = true,
        value_parser = seconds(0..=3600)
    )]
    pub(crate) drain_timeout: Duration,

    /// Seconds before that in which new connections are still served while /readyz says 503, so that a load balancer can
    /// turn away first
    #[arg(
        long, env = "GIG_DRAIN_DELAY", value_name = "SECONDS", default_value = "0", global = true,
        value_parser = seconds(0..=600)
    )]
    pub(crate) drain_delay: Duration,
}

impl FrontSettings {
    /// Whether what belongs together was given together.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let (certificate, key) = ("GIG_TLS_CERT_FILE", "GIG_TLS_KEY_FILE");
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(_), None) => Err(SettingsError::HalfOfTls { given: certificate, missing: key }),
            (None, Some(_)) => Err(SettingsError::HalfOfTls { given: key, missing: certificate }),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }

    /// The files of TLS, if it is spoken at all.
    pub(crate) fn tls_files(&self) -> Option<TlsFiles> {
        let (certificates, key) = self.tls_cert_file.clone().zip(self.tls_key_file.as_deref())?;
        Some(TlsFiles { certificates, key: key.to_owned() })
    }

    /// Who is believed.
    pub(crate) fn proxies(&self) -> Proxies {
        Proxies::new(self.trusted_proxies.clone())
    }

    /// The bounds in force.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_connections: self.max_connections,
            max_connections_per_address: self.max_connections_per_address,
            ..Limits::default()
        }
    }
}

/// A number of connections.
fn connections() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u32).range(1..=1_000_000).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
}

/// A time in whole seconds.
fn seconds(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = Duration> {
    clap::value_parser!(u64).range(range).map(Duration::from_secs)
}
