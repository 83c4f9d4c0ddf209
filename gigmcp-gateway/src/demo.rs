//! `demo`: serves with the bundled servers and a profile `demo`, and prints how to connect once it really answers.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Args;
use gigmcp_sandbox::Profile;
use gigmcp_vault::SecretBytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::{
    host::Host,
    output::Failure,
    serve::{self, Server},
    settings::Settings,
    spec::{Owner, ProfileSlug, SecretSlot, ServerName, ServerSpec, Source, SpecLimits, parse_host},
    store::{SecretKey, StoreError},
    token::{self, Token},
};

#[derive(Args)]
pub(crate) struct Demo {
    /// Directory of the demo servers' executables [default: the directory of this program]
    #[arg(long, value_name = "DIR")]
    servers: Option<PathBuf>,
}

/// Prepares the demo, serves, and prints the block once a call went through.
pub(crate) async fn run(settings: Settings, demo: Demo) -> Result<(), Failure> {
    serve::check_host().await?;
    let host = Host::open(&settings)?;
    let token = prepare(&settings, &demo, &host).await?;
    let server = Server::open(&settings, host).await?;
    let address = server.address;
    tracing::info!("listening on http://{address}");
    let check = async {
        call_echo(reachable(address), &token)
            .await
            .map_err(|error| format!("the demo does not answer as it should: {error}"))?;
        write!(io::stdout(), "{}", block(reachable(address), &token))?;
        io::stdout().flush()?;
        std::future::pending::<Result<(), Failure>>().await
    };
    tokio::select! {
        served = server.run() => served,
        failed = check => failed,
    }
}

/// Installs the demo servers and the profile, or finds them as an earlier start left them.
async fn prepare(settings: &Settings, demo: &Demo, host: &Host) -> Result<Zeroizing<String>, Failure> {
    // Before anything is written that would need it.
    let secrets = host.secrets().await?;
    let directory = match &demo.servers {
        Some(directory) => directory.clone(),
        None => std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default(),
    };
    let echo: ServerName = "echo".parse()?;
    let fetch: ServerName = "fetch".parse()?;
    let slot = SecretSlot { env: "API_KEY".parse()?, host: parse_host(FETCH_HOST)? };
    install(host, &echo, &directory.join("gigmcp-demo-echo"), Vec::new()).await?;
    install(host, &fetch, &directory.join("gigmcp-demo-fetch"), vec![slot.clone()]).await?;
    let key = SecretKey { owner: Owner::local(), server: fetch.clone(), name: slot.env.clone() };
    if host.store.secret(key.clone()).await?.is_none() {
        // A value nobody else knows, so that the demo can show that it left and did not come back.
        let value = format!("demo-{}", Token::mint().expose());
        secrets.put(key, &slot.host, SecretBytes::new(value.into_bytes())).await?;
    }
    let token = profile_token(settings, host).await?;
    for server in [echo, fetch] {
        host.store.add_to_profile(PROFILE.parse()?, server).await?;
    }
    Ok(token)
}

async fn install(host: &Host, name: &ServerName, file: &Path, secrets: Vec<SecretSlot>) -> Result<(), Failure> {
    let spec = ServerSpec {
        source: Source::Binary { sha256: host.keep_binary(file)? },
        command: Vec::new(),
        env: BTreeMap::new(),
        allow: Vec::new(),
        allow_read: Vec::new(),
        secrets,
        read_only: Vec::new(),
        limits: SpecLimits::default(),
        seccomp: Profile::default(),
        state: None,
        asks: crate::spec::SpecAsks::default(),
    };
    let present = match host.store.server(name.clone()).await {
        Err(StoreError::Missing { .. }) => return Ok(host.store.add_server(name.clone(), spec, Vec::new()).await?),
        present => present?.spec,
    };
    // Another build of the same server may take the place of the earlier one; somebody's own server may not be lost.
    match (ServerSpec { source: spec.source.clone(), ..present.clone() }) == spec {
        true if matches!(present.source, Source::Binary { .. }) => {
            Ok(host.store.replace_server(name.clone(), spec, Owner::local()).await?)
        }
        _ => Err(format!(
            "there is a server `{name}` that is not the demo's; choose another data directory for the demo with --data-dir"
        )
        .into()),
    }
}

/// The profile's token. Its text lies in a file of mode 0600 beside the master key, because the database
/// holds the hash only and a second start must print the same token.
async fn profile_token(settings: &Settings, host: &Host) -> Result<Zeroizing<String>, Failure> {
    let slug: ProfileSlug = PROFILE.parse()?;
    let path = settings.data_dir().join("demo.token");
    let kept = match fs::read_to_string(&path) {
        Ok(text) => Some(Zeroizing::new(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(format!("cannot read {}: {error}", path.display()).into()),
    };
    if let Some(kept) = kept {
        let owner = host.store.token_owner(token::hash(&kept)).await?;
        if owner.is_some_and(|owner| owner.profile.slug == slug) {
            return Ok(kept);
        }
    }
    let token = Token::mint();
    match host.store.create_profile(slug.clone(), Owner::local(), Vec::new(), token.hash()).await {
        Err(StoreError::Exists { .. }) => host.store.replace_token(slug, token.hash()).await?,
        created => created?,
    }
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
    writeln!(file, "{}", token.expose())?;
    Ok(Zeroizing::new(token.expose().to_owned()))
}

/// Calls `echo_echo` as a client would: through the port, with the token.
async fn call_echo(address: SocketAddr, token: &str) -> Result<(), Failure> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut session = None;
    for message in [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "gigmcp-demo", "version": "1"},
        }}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": "echo_echo", "arguments": {"text": "hello"},
        }}),
    ] {
        let mut request = Request::post(format!("/mcp/p/{PROFILE}"))
            .header(header::HOST, address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25");
        if let Some(session) = session.take() {
            request = request.header("mcp-session-id", session);
        }
        sender.ready().await?;
        let answer = sender.send_request(request.body(Full::new(Bytes::from(message.to_string())))?).await?;
        let status = answer.status();
        session = answer.headers().get("mcp-session-id").cloned();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
        let answer: Value = serde_json::from_slice(&body)?;
        if !status.is_success() || answer.get("result").is_none() {
            return Err(format!("{} was answered {status}: {answer}", message["method"]).into());
        }
    }
    Ok(())
}

/// An address a client on this machine can use.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::from(([127, 0, 0, 1], address.port())),
        false => address,
    }
}

fn block(address: SocketAddr, token: &str) -> String {
    let endpoint = format!("http://{address}/mcp/p/{PROFILE}");
    let snippet = json!({"mcpServers": {"gig": {
        "type": "http", "url": endpoint, "headers": {"Authorization": format!("Bearer {token}")},
    }}});
    let snippet = serde_json::to_string_pretty(&snippet).expect("text keys only");
    format!(
        r#"
gigmcp answers. Two demo servers run behind it, each in its own sandbox: `echo` and `fetch`.

  endpoint  {endpoint}
  token     {token}

Claude Code:
  claude mcp add --transport http gig {endpoint} --header "Authorization: Bearer {token}"

Other clients:
{snippet}

A call by hand, in bash:
  endpoint={endpoint}
  headers=(-H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \
    -H 'Accept: application/json, text/event-stream')
  session=$(curl -sS -D - -o /dev/null "${{headers[@]}}" $endpoint -d '{{"jsonrpc":"2.0","id":1,"method":"initialize",
    "params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"curl","version":"1"}}}}}}' |
    grep -i '^mcp-session-id:' | tr -d '\r')
  curl -sS "${{headers[@]}}" -H "$session" $endpoint -d '{{"jsonrpc":"2.0","id":2,"method":"tools/call",
    "params":{{"name":"echo_echo","arguments":{{"text":"hello"}}}}}}'

`fetch` holds a placeholder for a demo key, and https://{FETCH_HOST} alone gets the real one. Have it get
https://{FETCH_HOST}/headers, which echoes what it was sent: you will see the placeholder. Ctrl-C ends everything.

"#
    )
}

const PROFILE: &str = "demo";
/// A public service that answers with the headers it got.
const FETCH_HOST: &str = "httpbin.org";
const MAX_ANSWER_BYTES: usize = 1 << 20;
