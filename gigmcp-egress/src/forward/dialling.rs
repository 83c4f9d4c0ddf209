use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, Error as TlsError};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::address::CheckedAddr;
use crate::dialer::MAX_DIALLED;
use crate::forward::{ForwardError, Inner};
use crate::idle::IdleStream;
use crate::policy::within;
use crate::pool::{Offer, PoolKey};
use crate::request::Destination;
use crate::rule::Scheme;
use crate::takeover::Stream;
use crate::tls::{HTTP_2, HTTP_11};

/// A verified connection, and what is spoken on it.
pub(crate) struct Dialled {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) protocol: Protocol,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Inner {
    /// Opens a connection to a host: resolves it, checks every address, and then tries a few of them, the next one when
    /// the one before fails or takes long (RFC 8305). The first that has proved its name is taken.
    pub(crate) async fn dial(self: &Arc<Self>, key: &PoolKey) -> Result<Dialled, ForwardError> {
        let PoolKey { identity, destination: Destination { host, port, .. }, .. } = key;
        let mut left =
            interleaved(self.dialer.addresses(identity, host, *port).await?).into_iter().take(MAX_DIALLED).peekable();
        let mut attempts = JoinSet::new();
        let mut failure = None;
        loop {
            if let Some(address) = left.next() {
                attempts.spawn(attempt(Arc::clone(self), key.clone(), address));
            }
            tokio::select! {
                Some(ended) = attempts.join_next() => match ended {
                    Ok(Ok(dialled)) => return Ok(dialled),
                    Ok(Err(error)) => failure = Some(error),
                    Err(panicked) => {
                        let source = io::Error::other(panicked);
                        failure = Some(ForwardError::Connect { host: host.clone(), source });
                    }
                },
                () = tokio::time::sleep(STAGGER), if left.peek().is_some() => {}
            }
            if attempts.is_empty() && left.peek().is_none() {
                return Err(failure.expect("the guard lets no empty answer through"));
            }
        }
    }

    async fn handshake(&self, key: &PoolKey, address: CheckedAddr) -> Result<Dialled, ForwardError> {
        let Destination { scheme, host, .. } = &key.destination;
        let offered: &[&[u8]] = match (scheme, key.offer) {
            // A request is never sent unread.
            (Scheme::Tcp, _) => return Err(ForwardError::NoDestination),
            (Scheme::Http, _) => {
                let stream = Box::new(self.tcp(key, address).await?);
                return Ok(Dialled { stream, protocol: Protocol::Http1 });
            }
            (Scheme::Https, Offer::Http1 | Offer::Upgrade) => &[HTTP_11],
            (Scheme::Https, Offer::Either) => &[HTTP_2, HTTP_11],
        };
        let dialled = match self.tls(key, address, offered).await {
            Err(error) if key.offer == Offer::Http1 && is_no_protocol(&error) => {
                self.tls(key, address, &[HTTP_2]).await
            }
            dialled => dialled,
        };
        dialled.map_err(|failure| match failure {
            Failure::Tcp(error) => error,
            Failure::Tls(source) => ForwardError::Tls { host: host.clone(), source },
        })
    }

    async fn tls(&self, key: &PoolKey, address: CheckedAddr, offered: &[&[u8]]) -> Result<Dialled, Failure> {
        let stream = self.tcp(key, address).await.map_err(Failure::Tcp)?;
        let host = &key.destination.host;
        let name = ServerName::try_from(host.as_str().to_owned()).expect("a host name is a DNS name");
        let config = self.tls.of(host).map_err(|error| Failure::Tls(io::Error::other(error)))?;
        let connector = TlsConnector::from(config);
        let offered = offered.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = connector.with_alpn(offered).connect(name, stream).await.map_err(Failure::Tls)?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(HTTP_2) => Protocol::Http2,
            // No answer means what was before ALPN. Another protocol than those offered, rustls refuses.
            _ => Protocol::Http1,
        };
        Ok(Dialled { stream: Box::new(stream), protocol })
    }

    async fn tcp(
        &self,
        key: &PoolKey,
        address: CheckedAddr,
    ) -> Result<IdleStream<tokio::net::TcpStream>, ForwardError> {
        let stream = self.dialer.connect(&key.destination.host, address).await?;
        Ok(IdleStream::new(stream, self.limits.idle_deadline))
    }
}

enum Failure {
    Tcp(ForwardError),
    Tls(io::Error),
}

async fn attempt(inner: Arc<Inner>, key: PoolKey, address: CheckedAddr) -> Result<Dialled, ForwardError> {
    let _place = inner.dials.take(&key.identity, 1).await;
    within(inner.limits.connect_deadline, inner.handshake(&key, address))
        .await
        .unwrap_or_else(|| Err(ForwardError::timed_out(&key.destination.host)))
}

/// Whether the upstream speaks nothing of what was offered.
fn is_no_protocol(failure: &Failure) -> bool {
    let Failure::Tls(error) = failure else { return false };
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    matches!(error, Some(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)))
}

/// The addresses with the two families in turn, beginning with that of the first: if one does not work at all, no time is
/// lost on the rest of it (RFC 8305, section 4).
fn interleaved(addresses: Vec<CheckedAddr>) -> Vec<CheckedAddr> {
    let is_v6 = |address: &CheckedAddr| matches!(address.socket_addr(), SocketAddr::V6(_));
    let first = addresses.first().is_some_and(is_v6);
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| is_v6(address) == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    std::iter::from_fn(|| {
        std::mem::swap(&mut one, &mut other);
        other.next().or_else(|| one.next())
    })
    .collect()
}

const STAGGER: Duration = Duration::from_millis(250);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::address::AddressGuard;

    #[test]
    fn the_families_take_turns() {
        for (given, expected) in [
            (
                &["93.184.216.1", "93.184.216.2", "2600::1", "2600::2", "2600::3"][..],
                &["93.184.216.1", "2600::1", "93.184.216.2", "2600::2", "2600::3"][..],
            ),
            (&["2600::1", "2600::2", "93.184.216.1"], &["2600::1", "93.184.216.1", "2600::2"]),
            (&["2600::1"], &["2600::1"]),
        ] {
            let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
            let checked = AddressGuard::new().check(&parse(given), 443).unwrap();
            let turns: Vec<_> = interleaved(checked).iter().map(|address| address.socket_addr().ip()).collect();
            assert_eq!(turns, parse(expected), "{given:?}");
        }
    }
}
