//! The programs that are asked what they understood.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// One of them, and where it listens.
pub(crate) struct Origin {
    pub(crate) name: &'static str,
    pub(crate) host: &'static str,
    pub(crate) address: SocketAddr,
}

/// All of them; they end with this.
pub(crate) struct Origins {
    pub(crate) all: Vec<Origin>,
    children: Vec<Child>,
    dir: PathBuf,
}

impl Origins {
    pub(crate) async fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("gigmcp-differential-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential");
        let hyper = hyper_origin().await;
        let (node, node_address) = script(Command::new("node").arg(here.join("origin.mjs")));
        let (python, python_address) = script(Command::new("python3").arg(here.join("origin.py")));
        let (nginx, nginx_address) = nginx(&dir, hyper).await;
        let origin = |name, host, address| Origin { name, host, address };
        let all = vec![
            origin("hyper", "hyper.plain.example.com", hyper),
            origin("node", "node.plain.example.com", node_address),
            origin("python", "python.plain.example.com", python_address),
            origin("nginx", "nginx.plain.example.com", nginx_address),
        ];
        Self { all, children: vec![node, python, nginx], dir }
    }
}

impl Drop for Origins {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A script that prints its port, and ends when its input does.
fn script(command: &mut Command) -> (Child, SocketAddr) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("`./dev test` installs it");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = line.trim().parse().unwrap();
    (child, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// hyper, which also says what nginx understood and passed on to it.
async fn hyper_origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = hyper::server::conn::http1::Builder::new();
                server.max_buf_size(1 << 18);
                let _ = server.serve_connection(TokioIo::new(stream), service_fn(saw)).await;
            });
        }
    });
    address
}

async fn saw(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let hash: String = digest(&SHA256, &body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let header = |headers: &HeaderMap, name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let told = |name: &str, own: String| header(&parts.headers, name).unwrap_or(own);
    let host = header(&parts.headers, "host").unwrap_or("-".into());
    let (method, target, host) = (
        told("x-nginx-method", parts.method.to_string()),
        told("x-nginx-target", parts.uri.to_string()),
        told("x-nginx-host", host),
    );
    let saw = format!("{method} {target} {host} {} {hash}", body.len());
    Ok(Response::builder().header("x-saw", saw).body(Empty::new()).unwrap())
}

/// nginx as a reverse proxy: it tells hyper what it understood, and hands it the body that it read.
async fn nginx(dir: &Path, behind: SocketAddr) -> (Child, SocketAddr) {
    // nginx does not say which port it was given. Where this does not listen, nginx may, and nobody else is given it.
    let held = TcpSocket::new_v4().unwrap();
    held.set_reuseaddr(true).unwrap();
    held.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = held.local_addr().unwrap();
    let config = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log; events {{}}
        http {{
            access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
            uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
            large_client_header_buffers 8 64k; client_max_body_size 0; underscores_in_headers on;
            server {{
                listen {address};
                location / {{
                    proxy_pass http://{behind}; proxy_http_version 1.1; proxy_buffer_size 64k; proxy_buffers 8 64k;
                    proxy_busy_buffers_size 128k; proxy_pass_header X-Saw;
                    proxy_set_header X-Nginx-Method $request_method;
                    proxy_set_header X-Nginx-Target $request_uri;
                    proxy_set_header X-Nginx-Host $http_host;
                }}
            }}
        }}",
        dir = dir.display(),
    );
    fs::write(dir.join("nginx.conf"), config).unwrap();
    let program = std::env::var_os("TEST_NGINX").unwrap_or_else(|| "/usr/sbin/nginx".into());
    let mut child = Command::new(program)
        .args(["-p".as_ref(), dir.as_os_str(), "-c".as_ref(), dir.join("nginx.conf").as_os_str()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("`./dev test` unpacks nginx");
    while TcpStream::connect(address).await.is_err() {
        if child.try_wait().unwrap().is_some() {
            panic!("nginx: {}", std::io::read_to_string(child.stderr.take().unwrap()).unwrap());
        }
        tokio::task::yield_now().await;
    }
    (child, address)
}
