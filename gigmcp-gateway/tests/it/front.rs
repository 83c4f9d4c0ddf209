//! The real gateway on the network: TLS, proxies, and the end that loses no call.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    client::{ADDRESS, Session, post, send},
    gateway::{Gateway, Installation, demo_server},
    internet::Internet,
};

type Sender1 = hyper::client::conn::http1::SendRequest<Full<Bytes>>;
type Sender2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

fn with_body(request: Request<Bytes>) -> Request<Full<Bytes>> {
    request.map(Full::new)
}

async fn http1() -> Sender1 {
    let stream = TokioIo::new(TcpStream::connect(ADDRESS).await.unwrap());
    let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn http2<S>(stream: S) -> Sender2
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// An origin that answers when it is told to, and tells of each request.
fn held() -> (Internet, mpsc::UnboundedReceiver<()>, Arc<Semaphore>) {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let release = Arc::new(Semaphore::new(0));
    let go = Arc::clone(&release);
    let internet = Internet::serving(&[], move |stream| {
        let (arrived, go) = (arrived.clone(), Arc::clone(&go));
        async move {
            let service = service_fn(move |_: Request<Incoming>| {
                let (arrived, go) = (arrived.clone(), Arc::clone(&go));
                async move {
                    arrived.send(()).unwrap();
                    go.acquire().await.unwrap().forget();
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(
                        b"it came after all",
                    ))))
                }
            });
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        }
    });
    (internet, arrivals, release)
}

fn fetching(internet: &Internet, variables: &[(&str, &str)]) -> (Installation, Gateway, String) {
    let installation = Installation::new();
    let fetch = demo_server("gigmcp-demo-fetch");
    // Each makes one request after the other.
    let servers = ["one", "two", "three"];
    for name in servers {
        let source = ["server", "add", name, "--binary", fetch.to_str().unwrap()];
        installation.json(&[&source[..], &["--secret", "API_KEY=api.example.com"]].concat(), "");
        installation.json(&["secret", "set", name, "API_KEY"], "0123456789abcdef\n");
    }
    let token = installation.profile("work", &servers);
    let gateway = installation.serve(internet, variables);
    (installation, gateway, token)
}

fn fetch(server: &str, token: &str, session: &str) -> Request<Bytes> {
    let params = json!({"name": format!("{server}_fetch"), "arguments": {"url": "https://api.example.com/"}});
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    let mut request = post("/mcp/p/work", Some(token), body.to_string());
    request.headers_mut().insert("mcp-session-id", session.parse().unwrap());
    request
}

async fn text(body: Incoming) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[test]
fn no_call_in_flight_is_lost_at_the_end() {
    let (internet, mut arrivals, release) = held();
    let (_installation, mut gateway, token) = fetching(&internet, &[("GIG_DRAIN_DELAY", "2")]);
    let session = Session::open(&internet, "/mcp/p/work", &token).id().to_owned();
    let pid = gateway.pid();
    internet.near(move || async move {
        let call = |server: &str| with_body(fetch(server, &token, &session));
        // Whoever only listens.
        let mut listen =
            Request::get("/mcp/p/work").header(header::HOST, ADDRESS).header(header::ACCEPT, "text/event-stream");
        for (name, value) in [
            ("authorization", format!("Bearer {token}")),
            ("mcp-session-id", session.clone()),
            ("mcp-protocol-version", "2025-11-25".to_owned()),
        ] {
            listen = listen.header(name, value);
        }
        let listening = http1().await.send_request(listen.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(listening.status(), StatusCode::OK);
        // A call that is answered by a stream, as it takes so long.
        let stream = http1().await.send_request(call("one")).await.unwrap();
        assert_eq!(stream.headers()[header::CONTENT_TYPE], "text/event-stream");
        let mut one = http1().await;
        let request = call("two");
        let plain = tokio::spawn(async move { one.send_request(request).await.unwrap() });
        let mut two = http2(TcpStream::connect(ADDRESS).await.unwrap()).await;
        let mut request = call("three");
        *request.uri_mut() = format!("http://{ADDRESS}/mcp/p/work").parse().unwrap();
        request.headers_mut().remove(header::HOST);
        let multiplexed = tokio::spawn(async move { two.send_request(request).await.unwrap() });
        for _ in 0..3 {
            arrivals.recv().await.unwrap();
        }
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        // First others are asked to go elsewhere, and then nobody is let in.
        let ready = || async {
            let request = Request::get("/readyz").header(header::HOST, ADDRESS).body(Full::default()).unwrap();
            http1().await.send_request(request).await.unwrap().status()
        };
        while ready().await != StatusCode::SERVICE_UNAVAILABLE {
            tokio::task::yield_now().await;
        }
        while TcpStream::connect(ADDRESS).await.is_ok() {
            tokio::task::yield_now().await;
        }
        drop(text(listening.into_body()).await);
        release.add_permits(3);
        let (plain, multiplexed) = (plain.await.unwrap(), multiplexed.await.unwrap());
        assert_eq!(multiplexed.version(), http::Version::HTTP_2);
        for answer in [stream, plain, multiplexed] {
            let text = text(answer.into_body()).await;
            assert!(text.contains("it came after all"), "{text}");
        }
    });
    assert!(gateway.wait().success());
    assert!(!gateway.log().contains("cut off"), "{}", gateway.log());
}

#[test]
fn a_call_that_does_not_end_is_cut_off_after_the_time_that_was_set() {
    let (internet, mut arrivals, _release) = held();
    let (_installation, mut gateway, token) = fetching(&internet, &[("GIG_DRAIN_TIMEOUT", "1")]);
    let session = Session::open(&internet, "/mcp/p/work", &token).id().to_owned();
    let pid = gateway.pid();
    internet.near(move || async move {
        let mut sender = http1().await;
        let request = with_body(fetch("one", &token, &session));
        let answer = tokio::spawn(async move { sender.send_request(request).await });
        arrivals.recv().await.unwrap();
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(answer.await.unwrap().is_err());
    });
    assert!(gateway.wait().success());
    gateway.wait_for("are cut off");
}

/// A certificate for `gig.test` in a directory.
struct Issued {
    certificates: PathBuf,
    key: PathBuf,
    der: CertificateDer<'static>,
}

fn issue(directory: &Path) -> Issued {
    issue_for(directory, 365 * 24)
}

/// The same for so many hours.
fn issue_for(directory: &Path, hours: i64) -> Issued {
    let mut wanted = rcgen::CertificateParams::new(["gig.test".to_owned()]).unwrap();
    let now = time::OffsetDateTime::now_utc();
    (wanted.not_before, wanted.not_after) = (now - time::Duration::days(365), now + time::Duration::hours(hours));
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let cert = wanted.self_signed(&signing_key).unwrap();
    let made = rcgen::CertifiedKey { cert, signing_key };
    let (certificates, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&certificates, made.cert.pem()).unwrap();
    Issued { certificates, key, der: made.cert.der().clone() }
}

async fn shake(trusted: &CertificateDer<'static>, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("gig.test").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(ADDRESS).await?).await
}

#[test]
fn tls_is_spoken_and_its_certificate_renewed_while_calls_go_on() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let directory = tempfile::tempdir().unwrap();
    let first = issue(directory.path());
    let echo = demo_server("gigmcp-demo-echo");
    installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
    let token = installation.profile("work", &["echo"]);
    let tls = [
        ("GIG_TLS_CERT_FILE", first.certificates.to_str().unwrap()),
        ("GIG_TLS_KEY_FILE", first.key.to_str().unwrap()),
        ("GIG_PUBLIC_URL", "https://gig.test:8080"),
    ];
    fs::set_permissions(&first.key, fs::Permissions::from_mode(0o644)).unwrap();
    let mut refused = installation.command_within(&internet);
    let refused = refused.envs(tls).arg("serve").output().unwrap();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("0600"), "{refused:?}");
    fs::set_permissions(&first.key, fs::Permissions::from_mode(0o600)).unwrap();
    let gateway = installation.serve(&internet, &tls);
    gateway.wait_for("listening on https://");
    let (old, hung_up) = (first.der.clone(), gateway.pid());
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let ping = move |uri: &str| {
        let mut request = post(uri, Some(&token), body.clone());
        request.headers_mut().remove("mcp-protocol-version");
        request.headers_mut().insert(header::HOST, "gig.test:8080".parse().unwrap());
        with_body(request)
    };
    let hang_up = move || {
        let pid = rustix::process::Pid::from_raw(hung_up.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    };
    let place = directory.path().to_owned();
    let second = internet.near(move || async move {
        let stream = shake(&old, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut open = http2(stream).await;
        let answer = open.send_request(ping("https://gig.test:8080/mcp/p/work")).await.unwrap();
        assert_ne!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(answer.headers().contains_key(header::STRICT_TRANSPORT_SECURITY), "{answer:?}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let stream = TokioIo::new(shake(&old, &["http/1.1"]).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        assert_ne!(sender.send_request(ping("/mcp/p/work")).await.unwrap().status(), StatusCode::UNAUTHORIZED);
        let second = issue(&place);
        hang_up();
        while shake(&second.der, &["h2"]).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert!(shake(&old, &["h2"]).await.is_err(), "the old one is gone");
        let answer = open.send_request(ping("https://gig.test:8080/mcp/p/work")).await.unwrap();
        assert_ne!(answer.status(), StatusCode::UNAUTHORIZED, "twin: what was open goes on");
        second
    });
    fs::write(&second.key, "no key").unwrap();
    hang_up();
    gateway.wait_for("the new certificate is not used");
    let kept = second.der.clone();
    assert!(internet.near(move || async move { shake(&kept, &["h2"]).await.is_ok() }), "the one before is kept");
    let audit = installation.json(&["audit", "--limit", "10"], "");
    let row = audit.as_array().unwrap().iter().find(|row| row["kind"] == "tls");
    assert_eq!(row.unwrap_or_else(|| panic!("{audit}"))["alarm"], true);
}

#[test]
fn a_gateway_with_tls_says_whether_it_is_ready_and_when_its_certificate_ends() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let directory = tempfile::tempdir().unwrap();
    let certificate = issue_for(directory.path(), 84);
    let tls = [
        ("GIG_TLS_CERT_FILE", certificate.certificates.to_str().unwrap()),
        ("GIG_TLS_KEY_FILE", certificate.key.to_str().unwrap()),
    ];
    let health = |settings: &[(&str, &str)]| {
        let mut command = installation.command_within(&internet);
        command.envs(settings.iter().copied()).args(["--json", "health"]).output().unwrap()
    };
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said(&health(&tls)).contains("nothing answers"), "before it runs");
    let gateway = installation.serve(&internet, &tls);
    let ready = health(&tls);
    assert!(ready.status.success(), "{ready:?}");
    assert_eq!(serde_json::from_slice::<Value>(&ready.stdout).unwrap(), json!({"ready": true}));
    let without = health(&[]);
    assert!(!without.status.success() && said(&without).contains("does not speak HTTP"), "{without:?}");
    gateway.wait_for_line(&["WARN", "the certificate of GIG_TLS_CERT_FILE expires in 3 days"]);
    let key = installation.json(&["api-key", "create", "monitor", "--scopes", "system:read"], "");
    let key = key["key"].as_str().or(key["token"].as_str()).unwrap_or_else(|| panic!("{key}")).to_owned();
    let expires = || {
        let (der, key) = (certificate.der.clone(), key.clone());
        internet.near(move || async move {
            let stream = TokioIo::new(shake(&der, &["http/1.1"]).await.unwrap());
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let request = Request::get("/metrics").header(header::HOST, ADDRESS);
            let request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
            let answer = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
            let text = text(answer.into_body()).await;
            let line = text.lines().find_map(|line| line.strip_prefix("gigmcp_tls_certificate_expires_seconds "));
            line.unwrap_or_else(|| panic!("{text}")).parse::<i64>().unwrap()
        })
    };
    let days = (expires() - time::OffsetDateTime::now_utc().unix_timestamp()) / 86_400;
    assert_eq!(days, 3, "and some hours");
    // Twin: a new one is good for long, and nothing is told of it.
    issue(directory.path());
    let pid = rustix::process::Pid::from_raw(gateway.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let log = gateway.wait_for("the certificate was read again");
    assert_eq!(log.matches("GIG_TLS_CERT_FILE expires").count(), 1, "{log}");
    assert!(health(&tls).status.success());
}

#[test]
fn a_body_that_does_not_come_holds_nobody_up() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let token = installation.profile("work", &[]);
    let _gateway = installation.serve(&internet, &[("GIG_MAX_CONNECTIONS", "4")]);
    internet.near(move || async move {
        let begin = |path: &str, proof: &str| {
            let head = format!("POST {path} HTTP/1.1\r\nHost: {ADDRESS}\r\nContent-Type: application/json\r\n{proof}");
            format!("{head}Accept: application/json, text/event-stream\r\nContent-Length: 60000\r\n\r\n{{")
        };
        let send = async |request: String| {
            let mut stream = TcpStream::connect(ADDRESS).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            stream
        };
        // Who may do nothing is told so, and their body not waited for.
        let began = std::time::Instant::now();
        for path in ["/api/v1/users", "/api/v1/profiles", "/mcp/p/work"] {
            for proof in ["", "Authorization: Bearer gigk_made_up\r\n"] {
                let mut line = String::new();
                BufReader::new(send(begin(path, proof)).await).read_line(&mut line).await.unwrap();
                // Where only GET is, that is told first.
                assert!(line.contains(" 401 ") || line.contains(" 405 "), "{path}: {line}");
            }
        }
        // Each body would be waited for, for five seconds or more.
        assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
        // Who may is waited for, until there is no place for others.
        let proof = format!("Authorization: Bearer {token}\r\n");
        let mut slow = Vec::new();
        for _ in 0..4 {
            slow.push(send(begin("/mcp/p/work", &proof)).await);
        }
        let began = std::time::Instant::now();
        let asked = Request::get("/healthz").header(header::HOST, ADDRESS).body(Full::default()).unwrap();
        assert_eq!(http1().await.send_request(asked).await.unwrap().status(), StatusCode::OK);
        assert!(began.elapsed() < Duration::from_secs(25), "before a body has to be there: {:?}", began.elapsed());
        drop(slow);
        // Twin: a body that comes, if in two parts.
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let head = begin("/mcp/p/work", &proof).replace("60000", &ping.len().to_string());
        let mut stream = send(head).await;
        stream.write_all(&ping.as_bytes()[1..]).await.unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.unwrap();
        assert!(line.contains(" 400 "), "it is read: without a session, a ping is not answered: {line}");
    });
}

#[test]
fn who_has_no_token_that_opens_something_waits_after_many_tries() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let token = installation.profile("work", &[]);
    let _gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token).id().to_owned();
    internet.near(move || async move {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
        let mut sender = http1().await;
        let mut ask = async |token: &str| {
            let mut request = post("/mcp/p/work", Some(token), body.clone());
            request.headers_mut().insert("mcp-session-id", session.parse().unwrap());
            let answer = sender.send_request(with_body(request)).await.unwrap();
            let (status, headers) = (answer.status(), answer.headers().clone());
            drop(text(answer.into_body()).await);
            (status, headers)
        };
        let made_up = format!("gig_{}", "A".repeat(43));
        let mut tries = 0;
        let headers = loop {
            match ask(&made_up).await {
                (StatusCode::UNAUTHORIZED, _) => tries += 1,
                (StatusCode::TOO_MANY_REQUESTS, headers) => break headers,
                other => panic!("{other:?}"),
            }
            assert!(tries < 20_000, "nobody is held back");
        };
        assert!(tries >= 499, "twin: at first, one may: {tries}");
        assert_eq!(headers[header::RETRY_AFTER], "1");
        assert_eq!(ask(&token).await.0, StatusCode::OK, "twin: whoever has a token, from the same address");
    });
}

#[test]
fn head_is_answered_where_get_is() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let token = installation.profile("work", &[]);
    let _gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token).id().to_owned();
    let key = installation.json(&["api-key", "create", "monitor", "--scopes", "system:read"], "");
    let key = key["key"].as_str().or(key["token"].as_str()).unwrap_or_else(|| panic!("{key}")).to_owned();
    for (path, bearer) in [
        ("/healthz", None),
        ("/welcome", None),
        ("/api/v1/openapi.json", None),
        ("/mcp/p/work", Some(&token)),
        ("/metrics", Some(&key)),
    ] {
        for method in [http::Method::HEAD, http::Method::GET] {
            let mut request = Request::builder().method(&method).uri(path).header(header::HOST, ADDRESS);
            if let Some(bearer) = bearer {
                request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
            }
            if path.starts_with("/mcp") {
                if method == http::Method::GET {
                    continue; // A stream, which has no end.
                }
                request = request.header(header::ACCEPT, "text/event-stream").header("mcp-session-id", &session);
            }
            let answer = send(&internet, request.body(Bytes::new()).unwrap());
            assert_eq!(answer.status, StatusCode::OK, "{method} {path}: {answer:?}");
            assert_eq!(answer.body.is_empty(), method == http::Method::HEAD, "{method} {path}");
            let length = answer.headers.get(header::CONTENT_LENGTH).map(|length| length.to_str().unwrap());
            match path {
                "/healthz" => assert_eq!(length, Some("3"), "{method}"),
                "/mcp/p/work" => assert_eq!(answer.headers[header::CONTENT_TYPE], "text/event-stream"),
                _ => assert!(length.is_some_and(|length| length.len() > 2), "{method} {path}: {answer:?}"),
            }
        }
    }
    let request = Request::head("/api/v1/session/view").header(header::HOST, ADDRESS).body(Bytes::new()).unwrap();
    let answer = send(&internet, request);
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "twin: where GET is not: {answer:?}");
}

#[test]
fn one_place_says_where_somebody_comes_from() {
    let body = json!({"email": "ann@example.com", "password": "wrong horse battery"}).to_string();
    let sign_in = |internet: &Internet| {
        let request = Request::post("/api/v1/session")
            .header(header::HOST, ADDRESS)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-forwarded-for", "1.1.1.1, 198.51.100.9")
            .body(Bytes::from(body.clone()));
        send(internet, request.unwrap())
    };
    for (proxies, expected) in [("192.0.2.0/24", "from 127.0.0.1"), ("192.0.2.0/24,127.0.0.1", "from 198.51.100.9")] {
        let (internet, installation) = (Internet::new(), Installation::new());
        let _gateway = installation.serve(&internet, &[("GIG_TRUSTED_PROXIES", proxies)]);
        let answer = sign_in(&internet);
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        let audit: Value = installation.json(&["audit", "--limit", "10"], "");
        let rows = audit.as_array().unwrap();
        let subject = rows.iter().find(|row| row["kind"] == "login").map(|row| row["subject"].to_string());
        assert!(subject.as_ref().is_some_and(|subject| subject.contains(expected)), "{proxies}: {audit}");
    }
}

#[test]
fn requests_and_connections_are_counted_in_few_words() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let _gateway = installation.serve(&internet, &[]);
    let key = installation.json(&["api-key", "create", "monitor", "--scopes", "system:read"], "");
    let key = key["key"].as_str().or(key["token"].as_str()).unwrap_or_else(|| panic!("{key}")).to_owned();
    for path in ["/mcp/p/one", "/mcp/p/two", "/made/up", "/api/v1/users/somebody", "/healthz"] {
        send(&internet, Request::get(path).header(header::HOST, ADDRESS).body(Bytes::new()).unwrap());
    }
    send(
        &internet,
        Request::get("/healthz")
            .header(header::HOST, ADDRESS)
            .header("content-encoding", "gzip")
            .body(Bytes::new())
            .unwrap(),
    );
    let request =
        Request::get("/metrics").header(header::HOST, ADDRESS).header("authorization", format!("Bearer {key}"));
    let answer = send(&internet, request.body(Bytes::new()).unwrap());
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for expected in [
        r#"gigmcp_http_requests_total{route="/mcp/p/{profile}",method="GET",status="4xx"} 2"#,
        r#"gigmcp_http_requests_total{route="none",method="GET",status="4xx"} 1"#,
        r#"gigmcp_http_requests_total{route="/users/{id}",method="GET",status="4xx"} 1"#,
        r#"gigmcp_http_requests_total{route="/healthz",method="GET",status="2xx"} 1"#,
        r#"gigmcp_http_requests_refused_total{reason="encoded"} 1"#,
        "gigmcp_http_requests_in_flight 1",
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected} in {text}");
    }
    assert!(!text.contains("somebody") && !text.contains("made/up"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("gigmcp_http_connections_total{outcome=\"accepted\"}")), "{text}");
}

#[test]
fn bounds_of_connections_are_the_settings() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let _gateway = installation.serve(&internet, &[("GIG_MAX_CONNECTIONS_PER_ADDRESS", "2")]);
    internet.near(|| async {
        let asked = || Request::get("/healthz").header(header::HOST, ADDRESS).body(Full::default()).unwrap();
        let (mut one, mut two, mut three) = (http1().await, http1().await, http1().await);
        assert!(one.send_request(asked()).await.is_ok() && two.send_request(asked()).await.is_ok());
        assert!(tokio::time::timeout(Duration::from_secs(60), three.send_request(asked())).await.unwrap().is_err());
        drop((one, two));
        while http1().await.send_request(asked()).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
}
