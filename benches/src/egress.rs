//! A warm HTTPS request with a 1 KiB answer and a credential to inject: through the proxy beside straight to the origin.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use gigmcp_egress::{
    AuditEvent, AuditSink, AuditUnavailable, BoxFuture, CheckedAddr, Connect, ConnectionCheck, CredentialId,
    CredentialRule, CredentialUnavailable, Credentials, EgressProxy, Grant, GrantUnavailable, Grants, HostName,
    Identity, Intake, Placeholder, Resolver, Rule, SecretString, Shape, Sink,
};
use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{client::conn::http1::SendRequest, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    Failure,
    figures::{Figures, compare, compare_rates},
};

const HOST: &str = "api.example.com";
const REQUESTS: usize = 4000;
const IN_FLIGHT: usize = 16;

pub(crate) async fn run() -> Result<(), Failure> {
    let (authority, acceptor) = certificates()?;
    let origin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = origin.local_addr()?;
    tokio::spawn(serve(origin, acceptor));
    let host = Arc::new(Host::new(address));
    let proxy = EgressProxy::builder(Arc::<Host>::clone(&host), Arc::<Host>::clone(&host), Arc::<Host>::clone(&host))
        .extra_roots_pem(authority.clone())
        .resolver(Arc::<Host>::clone(&host))
        .connect(Arc::<Host>::clone(&host))
        .build()?;
    let listen = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (listener, dns_tcp) = (listen()?, listen()?);
    let through = listener.local_addr()?;
    let dns_udp = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let intake = Intake { tcp: Vec::new(), proxy: listener, dns_udp, dns_tcp, check: Arc::new(AnyConnection) };
    let ours = proxy.authority([HOST.parse()?])?;
    let (trusts_origin, trusts_proxy) = (connector(&authority)?, connector(&ours.ca_pem())?);
    let _attachment = proxy.attach(Identity::new("bench"), intake, ours)?;

    let mut direct = client(TcpStream::connect(address).await?, &trusts_origin, &host).await?;
    let mut proxied = client(tunnel(through).await?, &trusts_proxy, &host).await?;
    let (mut ours, mut bare) = (Figures::default(), Figures::default());
    for round in 0..REQUESTS {
        let clock = Instant::now();
        proxied.get().await?;
        let taken = clock.elapsed();
        let clock = Instant::now();
        direct.get().await?;
        if round >= REQUESTS / 10 {
            ours.add(taken);
            bare.add(clock.elapsed());
        }
    }
    compare("https request with a credential, warm, 1 KiB answer", &ours, "direct", &bare);

    let mut rates = [0.0; 2];
    for (rate, is_ours) in rates.iter_mut().zip([true, false]) {
        let mut clients = Vec::new();
        for _ in 0..IN_FLIGHT {
            clients.push(match is_ours {
                true => client(tunnel(through).await?, &trusts_proxy, &host).await?,
                false => client(TcpStream::connect(address).await?, &trusts_origin, &host).await?,
            });
        }
        let clock = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for mut client in clients {
            tasks.spawn(async move {
                for _ in 0..REQUESTS / IN_FLIGHT {
                    client.get().await?;
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        *rate = REQUESTS as f64 / clock.elapsed().as_secs_f64();
    }
    compare_rates("https requests with a credential, 16 in flight", rates[0], "direct", rates[1]);
    Ok(())
}

/// The rules, the secret, and a world in which the origin has a public address.
#[derive(Debug)]
struct AnyConnection;

impl ConnectionCheck for AnyConnection {
    fn check(&self, _: &TcpStream) -> io::Result<()> {
        Ok(())
    }
}

struct Host {
    grant: Arc<Grant>,
    placeholder: Placeholder,
    secret: SecretString,
    origin: SocketAddr,
}

impl Host {
    fn new(origin: SocketAddr) -> Self {
        let secret = SecretString::new("sk-benchmark-0123456789abcdefghijklmnopqrstuv");
        let placeholder = Placeholder::mint(&Shape::of(&secret));
        let pattern: gigmcp_egress::HostPattern = HOST.parse().expect("a host name");
        let credential = CredentialRule::new(
            CredentialId::new("KEY"),
            placeholder.clone(),
            [pattern.clone()],
            Sink::Header { name: None },
        );
        let grant =
            Arc::new(Grant::new(1, vec![Rule::https(pattern)], vec![credential]).expect("one rule, one credential"));
        Self { grant, placeholder, secret, origin }
    }
}

impl Grants for Host {
    fn grant<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        Box::pin(async { Ok(Arc::clone(&self.grant)) })
    }
}

impl Credentials for Host {
    fn credential<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        Box::pin(async { Ok(self.secret.clone()) })
    }
}

impl AuditSink for Host {
    fn ready(&self) -> BoxFuture<'_, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }

    fn record<'a>(&'a self, _: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }
}

impl Resolver for Host {
    fn resolve<'a>(&'a self, _: &'a HostName) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec![IpAddr::from([93, 184, 215, 14])]) })
    }
}

impl Connect for Host {
    fn connect<'a>(&'a self, _: CheckedAddr) -> BoxFuture<'a, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(self.origin))
    }
}

fn certificates() -> Result<(Vec<u8>, TlsAcceptor), Failure> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    let leaf_key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec![HOST.to_owned()])?.signed_by(&leaf_key, &Issuer::new(params, key))?;
    let leaf_key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], leaf_key)?;
    Ok((authority.pem().into_bytes(), TlsAcceptor::from(Arc::new(config))))
}

fn connector(authority: &[u8]) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    let body = Bytes::from(vec![b'x'; 1024]);
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, body) = (acceptor.clone(), body.clone());
        tokio::spawn(async move {
            drop(stream.set_nodelay(true));
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |_| {
                let body = body.clone();
                async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
            });
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// A connection through the proxy's CONNECT.
async fn tunnel(proxy: SocketAddr) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.write_all(format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    match head.starts_with(b"HTTP/1.1 200") {
        true => Ok(stream),
        false => Err(String::from_utf8_lossy(&head).into_owned().into()),
    }
}

struct Client {
    sender: SendRequest<Empty<Bytes>>,
    authorization: String,
}

async fn client(stream: TcpStream, connector: &TlsConnector, host: &Host) -> Result<Client, Failure> {
    stream.set_nodelay(true)?;
    let stream = connector.connect(ServerName::try_from(HOST)?, stream).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(Client { sender, authorization: format!("Bearer {}", host.placeholder.as_str()) })
}

impl Client {
    async fn get(&mut self) -> Result<(), Failure> {
        let request = Request::get("/").header(header::HOST, HOST).header(header::AUTHORIZATION, &self.authorization);
        self.sender.ready().await?;
        let answer = self.sender.send_request(request.body(Empty::new())?).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        match status.is_success() && body.len() == 1024 {
            true => Ok(()),
            false => Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into()),
        }
    }
}
