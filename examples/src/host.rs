//! A host of its own: starts an MCP server in a sandbox, lets it reach one host, and lists its tools.
//! The server uses the key in `API_KEY` without ever holding it.

use std::{collections::BTreeMap, env, error::Error, sync::Arc};

use gigmcp_egress::{
    AuditEvent, AuditSink, AuditUnavailable, BoxFuture, CredentialId, CredentialRule, CredentialUnavailable,
    Credentials, EgressProxy, Grant, GrantUnavailable, Grants, HostPattern, Identity, Placeholder, Rule, SecretString,
    Shape, Sink, TrustPaths,
};
use gigmcp_mcp::{Call, Outcome, StdioLimits, StdioUpstream, Upstream};
use gigmcp_sandbox::{Network, Rootfs, Sandbox};

/// Everything the proxy asks its host: the rules, the key, and where to write down what happened.
struct OneServer {
    grant: Arc<Grant>,
    key: SecretString,
}

/// Whether a connection is the sandbox's, as the sandbox crate tells it.
#[derive(Debug)]
struct FromSandbox(gigmcp_sandbox::Origin);

impl gigmcp_egress::ConnectionCheck for FromSandbox {
    fn check(&self, connection: &tokio::net::TcpStream) -> std::io::Result<()> {
        self.0.verify(connection).map_err(std::io::Error::other)
    }
}

impl Grants for OneServer {
    fn grant<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        Box::pin(async { Ok(Arc::clone(&self.grant)) }) // asked at every request, so it could change
    }
}

impl Credentials for OneServer {
    fn credential<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        Box::pin(async { Ok(self.key.clone()) }) // asked only after the request was allowed
    }
}

impl AuditSink for OneServer {
    fn ready<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) }) // an error here refuses the request: nothing leaves unrecorded
    }

    fn record<'a>(&'a self, event: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        eprintln!("{}: {:?} {}", event.identity, event.host, event.verdict);
        Box::pin(async { Ok(()) })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let host: HostPattern = arguments.next().ok_or("usage: host HOST COMMAND...")?.parse()?;
    let key = SecretString::new(env::var("API_KEY")?);
    let placeholder = Placeholder::mint(&Shape::of(&key));

    // 1. What the server may do: reach one host, with one credential that goes nowhere else.
    let credential = CredentialRule::new(
        CredentialId::new("API_KEY"),
        placeholder.clone(),
        [host.clone()],
        Sink::Header { name: None },
    );
    let grant = Arc::new(Grant::new(1, vec![Rule::https(host.clone())], vec![credential])?);
    let policy = Arc::new(OneServer { grant, key });
    let proxy =
        EgressProxy::builder(Arc::<OneServer>::clone(&policy), Arc::<OneServer>::clone(&policy), policy).build()?;

    // 2. The server, with the placeholder where the key would be and an authority for that host alone among its roots.
    let (authority, trust) = (proxy.authority([host])?, TrustPaths::within("/.gig"));
    let variables = [("API_KEY", placeholder.as_str()), ("HOME", "/tmp"), ("PATH", "/usr/local/bin:/usr/bin:/bin")];
    let mut variables = BTreeMap::from(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    trust.add_to(&mut variables);
    let mut sandbox = Sandbox::builder(Rootfs::host_tools())
        .command(arguments)
        .ca_bundle(authority.ca_bundle_pem())
        .network(Network::handoff())
        .working_dir("/tmp");
    for (path, content) in authority.files(&trust) {
        sandbox = sandbox.file(path, content);
    }
    for (name, value) in variables {
        sandbox = sandbox.env(name, value);
    }
    let mut sandbox = sandbox.spawn().await?;

    // 3. Its listeners go to the proxy under a name that only this sandbox can have.
    let mut intake = sandbox.network().take().ok_or("the listeners were taken before")?;
    let check = Arc::new(FromSandbox(intake.origin()));
    let proxy_port = intake.proxy_port;
    let mut take = |port| intake.take_tcp(port).map(|listener| listener.into_parts().0);
    let (through, dns_tcp) = (take(proxy_port), take(53));
    let intake = gigmcp_egress::Intake {
        proxy: through.ok_or("no proxy port")?,
        dns_tcp: dns_tcp.ok_or("no DNS")?,
        dns_udp: intake.take_udp(53).ok_or("no DNS")?,
        tcp: intake.tcp.into_iter().map(|listener| (listener.port(), listener.into_parts().0)).collect(),
        check,
    };
    let _attachment = proxy.attach(Identity::new(sandbox.id()), intake, authority)?;

    // 4. MCP over its standard input and output.
    let (stdin, stdout) = sandbox.stdio()?;
    let server = StdioUpstream::connect(stdin, stdout, StdioLimits::default()).await?;
    match server.call(Call::new("tools/list", None)).await {
        Outcome::Complete(tools) => println!("{tools}"),
        other => eprintln!("{other:?}\n{:#?}", sandbox.stderr_tail()),
    }
    sandbox.kill().await;
    Ok(())
}
