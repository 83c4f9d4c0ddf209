//! The server as a process, fetching from a real TLS origin.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use serde_json::{Value, json};

/// An origin on loopback that gives back the head of each request as its body.
struct Origin {
    address: SocketAddr,
    roots: PathBuf,
}

impl Origin {
    fn start(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let roots = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pem"));
        std::fs::write(&roots, issuer.pem()).unwrap();

        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                echo_head(StreamOwned::new(tls, connection.unwrap()));
            }
        });
        Self { address, roots }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/path", self.address.port())
    }
}

fn echo_head(mut stream: impl Read + Write) {
    let Some(head) = read_head(&mut stream) else {
        return; // a client that does not trust us
    };
    let length = head.len();
    let answer = format!("HTTP/1.1 403 Forbidden\r\nx-seen: yes\r\ncontent-length: {length}\r\n\r\n{head}");
    stream.write_all(answer.as_bytes()).unwrap();
    stream.flush().unwrap();
}

fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = String::new();
    let mut lines = BufReader::with_capacity(1, stream);
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// A proxy that knows only CONNECT, and reports whom it connected.
fn start_proxy(origin: SocketAddr) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, seen) = mpsc::channel();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let Some(head) = read_head(&mut client) else {
                continue;
            };
            heads.send(head.lines().next().unwrap_or_default().to_owned()).ok();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let upstream = TcpStream::connect(origin).unwrap();
            let back = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || relay(back.0, back.1));
            thread::spawn(move || relay(client, upstream));
        }
    });
    (address, seen)
}

fn relay(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to); // either side may hang up first
    let _ = to.shutdown(Shutdown::Write);
}

fn call(environment: &[(&str, &str)], arguments: &Value) -> Value {
    let mut server = Command::new(env!("CARGO_BIN_EXE_gigmcp-demo-fetch"))
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let params = json!({ "name": "fetch", "arguments": arguments });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    writeln!(server.stdin.take().unwrap(), "{request}").unwrap();
    let output = server.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["result"].take()
}

#[test]
fn the_key_goes_into_its_header_and_the_answer_comes_back() {
    let origin = Origin::start("key");
    let roots = origin.roots.to_str().unwrap();
    for (case, key, arguments, expected) in [
        ("bearer", Some("k3y"), json!({ "url": origin.url() }), Some("authorization: Bearer k3y\r\n")),
        (
            "a header of its own",
            Some("k3y"),
            json!({ "url": origin.url(), "header": "x-api-key" }),
            Some("x-api-key: k3y\r\n"),
        ),
        ("no key", None, json!({ "url": origin.url() }), None),
    ] {
        let mut environment = vec![("SSL_CERT_FILE", roots)];
        environment.extend(key.map(|key| ("API_KEY", key)));
        let result = call(&environment, &arguments);
        let answer = &result["structuredContent"];
        assert_eq!(answer["status"], 403, "{case}: {result}");
        assert_eq!(answer["headers"][0], json!(["x-seen", "yes"]), "{case}");
        let body = answer["body"].as_str().unwrap();
        assert!(body.starts_with("GET /path HTTP/1.1\r\n"), "{case}: {body}");
        match expected {
            Some(header) => assert!(body.contains(header), "{case}: {body}"),
            None => assert!(!body.contains("authorization"), "{case}: {body}"),
        }
        assert!(result["content"][0]["text"].as_str().unwrap().contains(body), "{case}");
    }
}

#[test]
fn proxies_are_unknown_until_asked_for() {
    let origin = Origin::start("proxy");
    let (proxy, seen) = start_proxy(origin.address);
    let proxy = format!("http://{proxy}");
    let mut environment = vec![("SSL_CERT_FILE", origin.roots.to_str().unwrap()), ("HTTPS_PROXY", &proxy)];
    let arguments = json!({ "url": origin.url() });
    assert_eq!(call(&environment, &arguments)["structuredContent"]["status"], 403);
    assert!(seen.try_recv().is_err(), "the proxy was not asked");
    environment.push(("FETCH_USE_PROXY", "1"));
    assert_eq!(call(&environment, &arguments)["structuredContent"]["status"], 403);
    let expected = format!("CONNECT localhost:{} HTTP/1.1", origin.address.port());
    assert_eq!(seen.try_recv().as_deref(), Ok(&*expected));
}

#[test]
fn an_origin_that_is_not_trusted_gets_no_key() {
    let (origin, other) = (Origin::start("untrusted"), Origin::start("other"));
    let environment = [("API_KEY", "k3y"), ("SSL_CERT_FILE", other.roots.to_str().unwrap())];
    let result = call(&environment, &json!({ "url": origin.url() }));
    assert_eq!(result["isError"], true);
    assert!(result["content"][0]["text"].as_str().unwrap().contains("certificate"), "{result}");
    let twin = call(&environment, &json!({ "url": other.url() }));
    assert_eq!(twin["structuredContent"]["status"], 403);
}

#[test]
fn arguments_that_do_not_fit_are_tool_errors() {
    let origin = Origin::start("arguments");
    let environment = [("SSL_CERT_FILE", origin.roots.to_str().unwrap())];
    for arguments in
        [json!({}), json!({ "url": 1 }), json!({ "url": "not a url" }), json!({ "url": origin.url(), "header": 1 })]
    {
        assert_eq!(call(&environment, &arguments)["isError"], true, "{arguments}");
    }
    assert_eq!(call(&environment, &json!({ "url": origin.url() }))["isError"], Value::Null);
    // Without roots the server runs and says what is missing.
    let result = call(&[("SSL_CERT_FILE", "/nonexistent.pem")], &json!({ "url": origin.url() }));
    assert!(result["content"][0]["text"].as_str().unwrap().contains("/nonexistent.pem"));
}
