//! `health`: asks the gateway that listens here whether it is ready, for whoever watches over it and has no other client.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    output::{Failure, Output},
    settings::Settings,
};

/// Why a gateway does not count as ready.
#[derive(Debug, thiserror::Error)]
enum Unhealthy {
    #[error(
        "nothing answers at {address}, where GIG_LISTEN says that the gateway listens; is `gigmcp-gateway serve` running here?"
    )]
    Unreachable { address: SocketAddr, source: std::io::Error },
    #[error("what listens at {address} does not speak HTTP")]
    Http { address: SocketAddr, source: hyper::Error },
    #[error("the gateway at {address} is not ready ({status}); its log says why")]
    NotReady { address: SocketAddr, status: StatusCode },
    #[error("the gateway at {address} did not answer within {} s", DEADLINE.as_secs())]
    Late { address: SocketAddr },
}

/// Exits with 0 if the gateway is ready.
pub(crate) async fn run(settings: &Settings, out: &Output) -> Result<ExitCode, Failure> {
    let address = reachable(settings.listen);
    let asked = tokio::time::timeout(DEADLINE, ask(address)).await;
    asked.map_err(|_| Unhealthy::Late { address })??;
    out.print(&json!({ "ready": true }), |_| vec!["ready".to_owned()])?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(address: SocketAddr) -> Result<(), Unhealthy> {
    let stream = TcpStream::connect(address).await.map_err(|source| Unhealthy::Unreachable { address, source })?;
    let http = |source| Unhealthy::Http { address, source };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let request = Request::get("/readyz").header(header::HOST, "localhost").body(Empty::<Bytes>::new());
    let request = request.expect("a request of constants");
    let answer = async {
        tokio::select! {
            answer = sender.send_request(request) => answer,
            // What it ended with is what the request is told.
            Err(error) = connection => Err(error),
        }
    };
    match answer.await.map_err(http)?.status() {
        StatusCode::OK => Ok(()),
        status => Err(Unhealthy::NotReady { address, status }),
    }
}

/// Whoever listens on all addresses does so on the loopback too.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Before orchestrators give up on the command, so that what is wrong is told.
const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_asked_on_the_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:80", "[::1]:80"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("192.0.2.7:8080", "192.0.2.7:8080"),
        ] {
            let listen: SocketAddr = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), expected);
        }
    }
}
