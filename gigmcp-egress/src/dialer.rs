use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::address::CheckedAddr;
use crate::dial::{Connect, Resolver};
use crate::forward::ForwardError;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::lookup::Lookups;
use crate::name::HostName;
use crate::policy::within;
use crate::private_net::PrivateNetworks;

/// The way from a name to a connection: resolve, check all answers, dial what was checked.
pub(crate) struct Dialer {
    lookups: Lookups,
    connect: Arc<dyn Connect>,
    networks: PrivateNetworks,
    limits: Limits,
}

impl Dialer {
    pub(crate) fn new(
        resolver: Arc<dyn Resolver>,
        connect: Arc<dyn Connect>,
        networks: PrivateNetworks,
        limits: Limits,
    ) -> Self {
        Self { lookups: Lookups::new(resolver, &limits), connect, networks, limits }
    }

    /// The addresses that the resolver gave, all of which the guard let through; never none, and at most [`MAX_DIALLED`] are
    /// to be dialled.
    pub(crate) async fn addresses(
        &self,
        identity: &Identity,
        host: &HostName,
        port: u16,
    ) -> Result<Vec<CheckedAddr>, ForwardError> {
        let resolved = within(self.limits.resolve_deadline, self.lookups.resolve(identity, host))
            .await
            .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
        let mut answer: Vec<IpAddr> =
            resolved.map_err(|source| ForwardError::Resolve { host: host.clone(), source })?;
        answer.truncate(MAX_ANSWER);
        let checked = self.networks.guard(host).check(&answer, port);
        checked.map_err(|source| ForwardError::Address { host: host.clone(), source })
    }

    /// A connection to one of them.
    pub(crate) async fn connect(&self, host: &HostName, address: CheckedAddr) -> Result<TcpStream, ForwardError> {
        let stream = self.connect.connect(address).await.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        stream.map_err(|source| ForwardError::Connect { host: host.clone(), source })
    }

    /// A connection to the first that takes one.
    pub(crate) async fn open(
        &self,
        identity: &Identity,
        host: &HostName,
        port: u16,
    ) -> Result<TcpStream, ForwardError> {
        let mut failure = None;
        for address in self.addresses(identity, host, port).await?.into_iter().take(MAX_DIALLED) {
            match within(self.limits.connect_deadline, self.connect(host, address)).await {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => failure = Some(error),
                None => failure = Some(ForwardError::timed_out(host)),
            }
        }
        Err(failure.expect("the guard lets no empty answer through"))
    }
}

/// More addresses than this are not looked at; all that are looked at must be public.
const MAX_ANSWER: usize = 16;
pub(crate) const MAX_DIALLED: usize = 4;
