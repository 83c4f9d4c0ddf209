use std::io;
use std::net::IpAddr;

use tokio::net::TcpStream;

use crate::address::CheckedAddr;
use crate::grant::BoxFuture;
use crate::name::HostName;

/// Finds the addresses of a host. Whatever it answers passes the [`AddressGuard`](crate::AddressGuard) before it is used.
pub trait Resolver: Send + Sync {
    /// All addresses of this host.
    fn resolve<'a>(&'a self, host: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// Opens a connection to an address that passed the guard, for embedders that reach the internet through something else
/// than a plain socket. It receives checked addresses only and decides nothing.
pub trait Connect: Send + Sync {
    /// A TCP connection to this address.
    fn connect<'a>(&'a self, address: CheckedAddr) -> BoxFuture<'a, io::Result<TcpStream>>;
}

/// Asks the system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Opens a socket of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectConnect;

impl Connect for DirectConnect {
    fn connect<'a>(&'a self, address: CheckedAddr) -> BoxFuture<'a, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(address.socket_addr()))
    }
}
