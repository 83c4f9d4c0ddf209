use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpStream, UdpSocket};

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

/// Opens a socket of this host, to any other: a request never comes back to the host it came from, where the proxy itself
/// and its own interfaces listen under public addresses too.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectConnect;

impl Connect for DirectConnect {
    fn connect<'a>(&'a self, address: CheckedAddr) -> BoxFuture<'a, io::Result<TcpStream>> {
        Box::pin(async move {
            let address = address.socket_addr();
            if is_own(address).await? {
                return Err(io::Error::other(Loop));
            }
            let stream = TcpStream::connect(address).await?;
            // Again, should the routes have changed in between.
            if stream.local_addr()?.ip() == stream.peer_addr()?.ip() { Err(io::Error::other(Loop)) } else { Ok(stream) }
        })
    }
}

/// The address is one of this host's own.
#[derive(Debug, thiserror::Error)]
#[error("the address is one of this host")]
struct Loop;

/// Whether a connection was not made because it would lead to this host.
pub(crate) fn is_loop(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<Loop>())
}

/// Whether this host has the address: then the kernel would use it as the source as well. A datagram socket tells without
/// sending anything.
async fn is_own(address: SocketAddr) -> io::Result<bool> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket.local_addr()?.ip() == address.ip())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_of_this_host_is_known_before_it_is_dialled() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(is_own(address("127.0.0.1:9")).await.unwrap());
        // For documentation, so nobody has it; without any route there is nothing to dial either.
        assert!(!is_own(address("192.0.2.1:9")).await.unwrap_or(false), "twin");
        assert!(is_loop(&io::Error::other(Loop)));
        assert!(!is_loop(&io::Error::other("refused")), "twin");
    }
}
