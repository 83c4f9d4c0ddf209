//! What the proxy asks of whoever builds: which hosts, no credentials, and where the dialled address is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use gigmcp_egress as egress;
use gigmcp_egress::{AuditEvent, AuditSink, AuditUnavailable, BoxFuture, Grant, HostName, HostPattern, Rule};
use http::Method;
use tokio::net::TcpStream;

use super::FetchError;

/// All that the proxy asks: one grant, no credentials, and a place for what was refused.
pub(super) struct Office {
    grant: Arc<Grant>,
    refused: Mutex<Vec<String>>,
}

impl Office {
    pub(super) fn new(hosts: &[HostPattern]) -> Result<Self, FetchError> {
        let rules = hosts.iter().map(|host| Rule::https(host.clone()).methods([Method::GET])).collect();
        let grant = Grant::new(1, rules, Vec::new()).map_err(|source| FetchError::Policy(source.into()))?;
        Ok(Self { grant: Arc::new(grant), refused: Mutex::default() })
    }

    pub(super) fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

impl egress::Grants for Office {
    fn grant<'a>(&'a self, _: &'a egress::Identity) -> BoxFuture<'a, Result<Arc<Grant>, egress::GrantUnavailable>> {
        Box::pin(async { Ok(Arc::clone(&self.grant)) })
    }
}

impl egress::Credentials for Office {
    fn credential<'a>(
        &'a self,
        _: &'a egress::Identity,
        _: &'a egress::CredentialId,
    ) -> BoxFuture<'a, Result<egress::SecretString, egress::CredentialUnavailable>> {
        Box::pin(async { Err(egress::CredentialUnavailable::Denied) })
    }
}

impl AuditSink for Office {
    fn ready<'a>(&'a self, _: &'a egress::Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }

    fn record<'a>(&'a self, event: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        if matches!(event.verdict, egress::Verdict::Refused(_)) {
            let mut refused = self.refused.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if refused.len() < REFUSALS {
                refused.push(format!("{}: {}", event.host.as_deref().unwrap_or("?"), event.verdict));
            }
        }
        Box::pin(async { Ok(()) })
    }
}

/// Whether a connection is the sandbox's, as the sandbox crate tells it.
#[derive(Debug)]
pub(super) struct FromSandbox(pub(super) gigmcp_sandbox::Origin);

impl egress::ConnectionCheck for FromSandbox {
    fn check(&self, connection: &TcpStream) -> io::Result<()> {
        self.0.verify(connection).map_err(io::Error::other)
    }
}

/// Any public address, which is not dialled: [`Dial`] goes where the operator says.
pub(super) struct Somewhere;

impl egress::Resolver for Somewhere {
    fn resolve<'a>(&'a self, _: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec![IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1))]) })
    }
}

pub(super) struct Dial(pub(super) SocketAddr);

impl egress::Connect for Dial {
    fn connect<'a>(&'a self, _: egress::CheckedAddr) -> BoxFuture<'a, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(self.0))
    }
}

const REFUSALS: usize = 20;
