use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authority::SandboxAuthority;
use crate::connection;
use crate::dns::Responder;
use crate::identity::Identity;
use crate::packet::PacketSocket;
use crate::proxy::Shared;
use crate::tls::ServerConfigs;

/// The sockets of one sandbox: opened inside its network namespace, accepted here. Which socket accepted is the identity.
///
/// Every address is local in the sandbox, so the local address of an accepted connection is where the program wanted to go.
#[derive(Debug)]
pub struct Intake {
    /// The port a program connects to, and its listener: 80 is plain HTTP, all others are TLS unless a rule says plain TCP.
    pub tcp: Vec<(u16, std::net::TcpListener)>,
    /// Where `HTTP_PROXY` and `HTTPS_PROXY` point.
    pub proxy: std::net::TcpListener,
    /// Port 53 over UDP; bound to an IPv4 address.
    pub dns_udp: std::net::UdpSocket,
    /// Port 53 over TCP.
    pub dns_tcp: std::net::TcpListener,
    /// Tells the sandbox's connections from others.
    pub check: Arc<dyn ConnectionCheck>,
}

/// Tells the connections of one sandbox from all others.
///
/// The socket that accepted is the identity already. This is the second look, by whoever made the sockets.
pub trait ConnectionCheck: fmt::Debug + Send + Sync {
    /// Makes sure that a connection is the sandbox's. Asked for each one before a byte of it is read.
    ///
    /// # Errors
    /// If it is not, or if that cannot be told. The connection is closed, and the next may be the sandbox's.
    fn check(&self, connection: &TcpStream) -> io::Result<()>;
}

impl Intake {
    /// Hands all sockets to the runtime, or none.
    pub(crate) fn register(self) -> io::Result<Sockets> {
        let listener = |listener: std::net::TcpListener| {
            listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener))
        };
        let tcp = self.tcp.into_iter().map(|(port, socket)| Ok((listener(socket)?, Door::Port(port))));
        let mut listeners = tcp.collect::<io::Result<Vec<_>>>()?;
        listeners.push((listener(self.proxy)?, Door::Proxy));
        listeners.push((listener(self.dns_tcp)?, Door::Dns));
        Ok(Sockets { listeners, dns_udp: PacketSocket::new(self.dns_udp)?, check: self.check })
    }
}

/// Sockets of a sandbox that the runtime watches.
pub(crate) struct Sockets {
    listeners: Vec<(TcpListener, Door)>,
    dns_udp: PacketSocket,
    check: Arc<dyn ConnectionCheck>,
}

/// What comes in through a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    Port(u16),
    Proxy,
    Dns,
}

/// One sandbox, as its connections see it.
pub(crate) struct Site {
    pub(crate) shared: Arc<Shared>,
    pub(crate) identity: Identity,
    pub(crate) dns: Responder,
    pub(crate) tls: ServerConfigs,
    connections: Arc<Semaphore>,
    /// Streams of HTTP/2 that may be open at the same time.
    pub(crate) streams: Arc<Semaphore>,
    /// All that runs for the sandbox.
    pub(crate) tasks: TaskTracker,
    /// Ends it.
    pub(crate) token: CancellationToken,
}

impl Site {
    pub(crate) fn new(
        shared: Arc<Shared>,
        identity: Identity,
        authority: SandboxAuthority,
        tasks: TaskTracker,
        token: CancellationToken,
    ) -> Self {
        let limits = &shared.policy().limits;
        let (dns, tls) = (Responder::new(limits), ServerConfigs::new(authority, limits));
        let connections = Arc::new(Semaphore::new(limits.connections.max(1)));
        let streams = Arc::new(Semaphore::new(limits.streams_per_identity));
        Self { shared, identity, dns, tls, connections, streams, tasks, token }
    }

    /// A place among its connections, if there is one left.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }
}

impl Sockets {
    /// Starts the tasks of a sandbox, all of which end with the token.
    pub(crate) fn serve(self, site: &Arc<Site>, token: &CancellationToken, tasks: &TaskTracker) {
        for (listener, door) in self.listeners {
            let entrance = Entrance { listener, door, check: Arc::clone(&self.check) };
            let accepting = entrance.accept(Arc::clone(site), token.clone(), tasks.clone());
            tasks.spawn(token.clone().run_until_cancelled_owned(accepting));
        }
        let answering = answer_packets(self.dns_udp, Arc::clone(site));
        tasks.spawn(token.clone().run_until_cancelled_owned(answering));
        let noting = note_placeholders(Arc::clone(site));
        tasks.spawn(token.clone().run_until_cancelled_owned(noting));
    }
}

/// A listener with what its connections must pass.
struct Entrance {
    listener: TcpListener,
    door: Door,
    check: Arc<dyn ConnectionCheck>,
}

impl Entrance {
    async fn accept(self, site: Arc<Site>, token: CancellationToken, tasks: TaskTracker) {
        loop {
            let stream = match self.listener.accept().await.and_then(|(stream, _)| no_delay(stream)) {
                Ok(stream) => stream,
                Err(error) => {
                    // The connection is gone already, or descriptors are short; either passes.
                    tracing::debug!(error = &error as &dyn std::error::Error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if let Err(error) = self.check.check(&stream) {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(identity = %site.identity, error, "connection closed that may not be the sandbox's");
                continue;
            }
            site.shared.policy().rates.settle(&site.identity).await;
            // At its limit a sandbox waits: one connection here, the rest in the kernel's queue.
            let permit = Arc::clone(&site.connections).acquire_owned().await.expect("the semaphore is never closed");
            // Boxed, because what is awaited through the token takes its size twice.
            let serving = Box::pin(connection::serve(stream, self.door, Arc::clone(&site)));
            let token = token.clone();
            tasks.spawn(async move {
                token.run_until_cancelled(serving).await;
                drop(permit);
            });
        }
    }
}

async fn answer_packets(socket: PacketSocket, site: Arc<Site>) {
    let mut buffer = vec![0; MAX_PACKET_BYTES];
    loop {
        let outcome = match socket.receive(&mut buffer).await {
            Ok((length, route)) => {
                match site.dns.reply(site.shared.policy(), &site.identity, &buffer[..length]).await {
                    Some(reply) => socket.send(&reply, &route).await,
                    None => Ok(()),
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::debug!(error = &error as &dyn std::error::Error, "DNS packet lost");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// Learns the placeholders of a sandbox before it has used one, so that they are recognised in the requests of others.
async fn note_placeholders(site: Arc<Site>) {
    // A failure was logged; the first request asks again.
    let _ = site.shared.policy().grant(&site.identity).await;
}

fn no_delay(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

const MAX_PACKET_BYTES: usize = 4096;
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
