//! `demo`: installs two servers from the registry, serves them in a profile `demo`, and prints how to connect once it really
//! answers.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
};

use bytes::Bytes;
use gigmcp_vault::SecretBytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::{
    cli::progress,
    host::Host,
    install::{Catalog, CatalogError, Consent, Freshness, Installs, Request as Answers, ServerReference},
    output::{Failure, whole},
    people::{Actor, Label, People, PeopleError, Terms, secret_told},
    serve::{self, Server},
    settings::Settings,
    spec::{Owner, ProfileSlug, ServerName},
    store::{Absent, SecretKey, StoreError},
    token::{self, Token},
};

/// Prepares the demo, serves, and prints the block once a call went through.
pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    if settings.front.tls_files().is_some() {
        return Err(
            "the demo is for this machine and speaks no TLS; unset GIG_TLS_CERT_FILE and GIG_TLS_KEY_FILE".into()
        );
    }
    serve::check_host().await?;
    let host = Host::open(&settings)?;
    let token = prepare(&settings, &host).await?;
    let server = Server::open(&settings, host).await?;
    let address = server.address;
    tracing::info!("listening on {}", server.url());
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
async fn prepare(settings: &Settings, host: &Host) -> Result<Zeroizing<String>, Failure> {
    // Before anything is written that would need it.
    let secrets = host.secrets().await?;
    let mut catalog = Catalog::open(settings)?;
    if let Freshness::LastGood(why) = catalog.refresh().await? {
        tracing::warn!("going on with the last good index of the registry: {}", whole(&why));
    }
    let token = profile_token(settings, host).await?;
    let installs = Installs::open(host).await?;
    install(host, &catalog, &installs, ECHO, &[]).await?;
    // Who has it for another site keeps that.
    let new = matches!(host.store.server(FETCH.parse()?).await, Err(StoreError::Missing { .. }));
    let site = new.then_some(("site", FETCH_HOST));
    let fetch = install(host, &catalog, &installs, FETCH, site.as_slice()).await?;
    let slots = host.store.server(fetch.clone()).await?.spec.secrets;
    for slot in slots {
        let key = SecretKey { owner: Owner::local(), server: fetch.clone(), name: slot.name.clone() };
        if host.store.secret(key.clone()).await?.is_none() {
            // A value nobody else knows, so that the demo can show that it left and did not come back.
            let value = format!("demo-{}", Token::mint().expose());
            let told = secret_told(&Actor::local(), &key, "sets");
            secrets.put(key, &slot.sealed_for(), SecretBytes::new(value.into_bytes()), told).await?;
        }
    }
    Ok(token)
}

/// Whoever starts the demo agrees to its servers as the registry has them today.
async fn install(
    host: &Host,
    catalog: &Catalog,
    installs: &Installs<'_>,
    name: &str,
    variables: &[(&str, &str)],
) -> Result<ServerName, Failure> {
    let name: ServerName = name.parse().expect("it is one");
    let manifest = ServerReference::latest(name.clone()).find(catalog.index().ok_or(CatalogError::NotSet)?)?;
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let proposal = installs.propose(manifest, &Answers { variables }, progress()).await?;
    let people = People::new(host.store.clone(), Terms::of(host.settings().session_ttl));
    let profiles = vec![PROFILE.parse().expect("it is one")];
    let joins = people.joins(&Actor::local(), profiles, &name).await?;
    if proposal.needs_consent() {
        let consent = Consent { manifest: proposal.hash(), entrusted: false };
        installs.accept(proposal, &consent, &Actor::local(), joins).await?;
    } else {
        installs.use_as_agreed(&proposal, joins).await?;
    }
    Ok(name)
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
    let people = People::new(host.store.clone(), Terms::of(settings.session_ttl));
    let token = match people.create_profile(&Actor::local(), &slug, Vec::new()).await {
        Err(PeopleError::Store(StoreError::Exists { .. })) => {
            people.replace_token(&Actor::local(), &slug, Label::first(), Absent::Made).await?.0
        }
        created => created?,
    };
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
    writeln!(file, "{}", token.expose())?;
    Ok(Zeroizing::new(token.expose().to_owned()))
}

/// Calls the echo as a client would: through the port, with the token.
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
            "name": ECHO_TOOL, "arguments": {"text": "hello"},
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
gigmcp answers. Two servers of the registry run behind it, each in its own sandbox: `{ECHO}` and `{FETCH}`.

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
    "params":{{"name":"{ECHO_TOOL}","arguments":{{"text":"hello"}}}}}}'

`{FETCH}` holds a placeholder for a demo key, and https://{FETCH_HOST} alone gets the real one. Have it get
https://{FETCH_HOST}/headers, which echoes what it was sent: you will see the placeholder. Ctrl-C ends everything.

"#
    )
}

const PROFILE: &str = "demo";
const ECHO: &str = "demo-echo";
const ECHO_TOOL: &str = "demo-echo_echo";
const FETCH: &str = "demo-fetch";
/// A public service that answers with the headers it got.
const FETCH_HOST: &str = "httpbin.org";
const MAX_ANSWER_BYTES: usize = 1 << 20;
