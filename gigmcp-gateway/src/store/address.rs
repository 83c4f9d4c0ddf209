//! Where PostgreSQL is, and how it is made sure that it is the right one.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where a PostgreSQL database is, and how to get in. Shows no password.
#[derive(Clone)]
pub(crate) struct Address {
    pub(super) config: Box<Config>,
    /// The only authorities that may have signed its certificate, or those of this machine.
    roots: Option<Arc<RootCertStore>>,
}

/// What is wrong with `GIG_DATABASE_URL`; the text is never shown, as it may hold a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InvalidAddress {
    #[error("it does not begin with postgres:// or postgresql://; for SQLite use GIG_DB_PATH")]
    Scheme,
    #[error("it is not a PostgreSQL URL such as postgres://user:password@db.example.com/gigmcp?sslmode=require")]
    Syntax(#[source] tokio_postgres::Error),
    #[error("its user or password holds an @; write it as %40")]
    Unescaped,
    #[error(
        "`options` cannot be given; set them for the role instead, as in ALTER ROLE gigmcp SET search_path = gigmcp"
    )]
    Options,
    #[error("it names no host")]
    NoHost,
    #[error("it names no database; put /NAME after the host")]
    NoDatabase,
    #[error("it is not PEM text of certificate authorities")]
    Authorities,
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(InvalidAddress::Scheme);
        }
        let mut config: Config = text.parse().map_err(InvalidAddress::Syntax)?;
        if config.get_hosts().is_empty() {
            return Err(InvalidAddress::NoHost);
        }
        // What follows the first @ of a password would be shown as the host.
        if config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@'))) {
            return Err(InvalidAddress::Unescaped);
        }
        if config.get_options().is_some() {
            return Err(InvalidAddress::Options);
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(InvalidAddress::NoDatabase);
        }
        // What can be talked out of TLS is no protection, so only what is said counts: `disable`, or a place on this machine.
        if config.get_ssl_mode() == SslMode::Prefer {
            let local = config.get_hosts().iter().all(is_here)
                && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback);
            config.ssl_mode(if local { SslMode::Disable } else { SslMode::Require });
        }
        config.application_name("gigmcp");
        config.connect_timeout(CONNECT_TIMEOUT);
        if config.get_tcp_user_timeout().is_none() {
            // Where nothing comes back any more, nobody waits for what the kernel thinks long.
            config.tcp_user_timeout(TCP_TIMEOUT);
        }
        config.options(SESSION);
        Ok(Self { config: Box::new(config), roots: None })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        };
        write!(formatter, "PostgreSQL {} at {host}", self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
    }
}

impl Address {
    /// The same, checked against the certificate authorities in this PEM text and no others.
    pub(crate) fn trusting(mut self, pem: &[u8]) -> Result<Self, InvalidAddress> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots
                .add(certificate.map_err(|_| InvalidAddress::Authorities)?)
                .map_err(|_| InvalidAddress::Authorities)?;
        }
        match roots.is_empty() {
            true => Err(InvalidAddress::Authorities),
            false => {
                self.roots = Some(Arc::new(roots));
                Ok(self)
            }
        }
    }

    /// TLS to a server of the name that was asked for.
    pub(super) fn tls(&self) -> MakeRustlsConnect {
        let roots = self.roots.clone().unwrap_or_else(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        });
        tls(roots)
    }
}

fn tls(roots: Arc<RootCertStore>) -> MakeRustlsConnect {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

/// What every connection is set to. A gateway that stands still in the middle of a change must not hold up the others.
const SESSION: &str = "-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=10s \
                       -c default_transaction_isolation=read\\ committed -c synchronous_commit=on";
/// How long what was sent may stay without an acknowledgement, and so how long it is waited for a machine that has vanished.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_addresses_are_taken_and_passwords_are_not_shown() {
        for text in [
            "postgres://me:hunter2@db.example.com/gigmcp",
            "postgresql://me@localhost:5433/gigmcp?sslmode=disable",
            "postgres://me@%2Frun%2Fpostgresql/gigmcp",
        ] {
            let address: Address = text.parse().expect(text); // twin of the refusals
            assert!(!format!("{address} {address:?}").contains("hunter2"));
        }
        for text in [
            "mysql://db.example.com/gigmcp",
            "gigmcp.db",
            "postgres:///gigmcp",
            "postgres://db.example.com",
            "postgres://db.example.com/gigmcp?sslmode=sometimes",
            "postgres://db.example.com/gigmcp?sslrootcert=/ca.pem",
            "postgres://me:hun@ter2@db.example.com/gigmcp",
            "postgres://me@db.example.com/gigmcp?options=-c%20search_path%3Dgigmcp",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn tls_is_left_out_only_on_this_machine_or_when_said() {
        for (text, expected) in [
            ("postgres://me@db.example.com/gigmcp", SslMode::Require),
            ("postgres://me@db.example.com/gigmcp?sslmode=prefer", SslMode::Require),
            ("postgres://me@db.example.com,localhost/gigmcp", SslMode::Require),
            ("postgres://me@db.example.com/gigmcp?sslmode=disable", SslMode::Disable),
            ("postgres://me@127.0.0.1/gigmcp", SslMode::Disable),
            ("postgres://me@localhost/gigmcp?hostaddr=127.0.0.1", SslMode::Disable),
            ("postgres://me@localhost/gigmcp?hostaddr=192.0.2.1", SslMode::Require),
            ("postgres://me@localhost/gigmcp?sslmode=require", SslMode::Require),
            ("postgres://me@%2Frun%2Fpostgresql/gigmcp", SslMode::Disable),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.config.get_ssl_mode(), expected, "{text}");
        }
    }
}
