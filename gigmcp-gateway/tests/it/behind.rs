//! The gateway behind the real nginx, with the settings that `deploy/README.md` gives.

use std::{
    fs,
    net::Ipv4Addr,
    process::{Child, Stdio},
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    client::{Session, send_to},
    gateway::{Installation, demo_server},
    internet::Internet,
};

const PROXY: &str = "127.0.0.1:8000";

/// Ended when dropped.
struct Nginx {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The block that `deploy/README.md` gives for nginx.
fn documented() -> String {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/README.md")).unwrap();
    let (_, rest) = text.split_once("```nginx\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn nginx(internet: &Internet) -> Nginx {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().display();
    let config = format!(
        "daemon off; master_process off; user root; pid {dir}/pid; error_log stderr; events {{ }}
        http {{
            access_log off; client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;
            uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
            server {{ listen {PROXY}; {} }}
        }}",
        documented()
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, config).unwrap();
    let program = std::env::var_os("TEST_NGINX").unwrap_or_else(|| "/usr/sbin/nginx".into());
    let mut child = internet
        .command(program)
        .args(["-p".as_ref(), directory.path().as_os_str(), "-c".as_ref(), file.as_os_str()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("`./dev test` unpacks nginx");
    let listens = || internet.near(|| async { TcpStream::connect(PROXY).await.is_ok() });
    while !listens() {
        if child.try_wait().unwrap().is_some() {
            panic!("nginx: {}", std::io::read_to_string(child.stderr.take().unwrap()).unwrap());
        }
    }
    Nginx { child, _directory: directory }
}

#[test]
fn what_nginx_says_of_a_client_is_believed_and_what_the_client_says_is_not() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let echo = demo_server("gigmcp-demo-echo");
    installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
    let token = installation.profile("work", &["echo"]);
    // The tests' clients come to nginx from 127.0.0.1, and so does nginx to the gateway.
    let proxy = Ipv4Addr::LOCALHOST.to_string();
    let _gateway = installation.serve(&internet, &[("GIG_TRUSTED_PROXIES", &proxy)]);
    let _nginx = nginx(&internet);
    let session = Session::open_at(&internet, PROXY, "/mcp/p/work", &token);
    assert_eq!(session.call("echo_echo", &json!({ "text": "hello" })).text(), "hello");
    let body = json!({"email": "ann@example.com", "password": "wrong horse battery"}).to_string();
    let mut request = Request::post("/api/v1/session").header(header::HOST, PROXY);
    let forged = [
        ("x-forwarded-for", "198.51.100.9"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=198.51.100.9;host=evil.test"),
    ];
    for (name, value) in forged {
        request = request.header(name, value);
    }
    let request = request.header(header::CONTENT_TYPE, "application/json").body(Bytes::from(body)).unwrap();
    let answer = send_to(&internet, PROXY, request);
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    assert!(!answer.headers.contains_key(header::STRICT_TRANSPORT_SECURITY), "nginx speaks no TLS here: {answer:?}");
    let audit: Value = installation.json(&["audit", "--limit", "10"], "");
    assert!(audit.to_string().contains("from 127.0.0.1") && !audit.to_string().contains("198.51.100.9"), "{audit}");
}
