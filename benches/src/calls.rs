//! A warm `tools/call` of the echo server: through the gateway, with token, policy and audit, beside direct stdio.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    Failure,
    figures::{Figures, compare, compare_rates},
};

const CALLS: usize = 3000;
const IN_FLIGHT: usize = 32;
const TEXT_BYTES: usize = 1024;

pub(crate) async fn run() -> Result<(), Failure> {
    let mut direct = Direct::start()?;
    let gateway = Gateway::start()?;
    let mut client = gateway.client().await?;
    let (mut ours, mut bare) = (Figures::default(), Figures::default());
    for round in 0..CALLS {
        let clock = Instant::now();
        client.call().await?;
        let taken = clock.elapsed();
        let clock = Instant::now();
        direct.call()?;
        if round >= CALLS / 10 {
            ours.add(taken);
            bare.add(clock.elapsed());
        }
    }
    compare("tools/call of echo, warm, 1 KiB, one at a time", &ours, "stdio", &bare);

    let clock = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let mut client = gateway.client().await?;
        callers.spawn(async move {
            for _ in 0..CALLS / IN_FLIGHT * 4 {
                client.call().await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    let count = (CALLS / IN_FLIGHT * 4 * IN_FLIGHT) as f64;
    let rate = count / clock.elapsed().as_secs_f64();
    let clock = Instant::now();
    direct.calls(CALLS * 4)?;
    compare_rates(
        "tools/call of echo, 32 in flight",
        rate,
        "stdio",
        (CALLS * 4) as f64 / clock.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn call(id: usize) -> String {
    let arguments = json!({"text": "x".repeat(TEXT_BYTES)});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}})
        .to_string()
}

fn initialize() -> String {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"},
    }})
    .to_string()
}

fn echo_server() -> Result<PathBuf, Failure> {
    let directory = std::env::var_os("TEST_DEMO_SERVERS").ok_or("run this by ./dev bench")?;
    Ok(PathBuf::from(directory).join("gigmcp-demo-echo"))
}

/// The server with nothing around it.
struct Direct {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: String,
}

impl Direct {
    fn start() -> Result<Self, Failure> {
        let mut child = Command::new(echo_server()?).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().ok_or("no pipe")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut direct = Self { child, stdin, stdout, line: String::new() };
        direct.send(&initialize())?;
        direct.receive()?;
        Ok(direct)
    }

    fn call(&mut self) -> Result<(), Failure> {
        self.send(&call(1))?;
        self.receive()
    }

    /// Keeps 32 calls in flight.
    fn calls(&mut self, count: usize) -> Result<(), Failure> {
        let message = call(1);
        for sent in 0..count + IN_FLIGHT {
            if sent < count {
                self.send(&message)?;
            }
            if sent >= IN_FLIGHT {
                self.receive()?;
            }
        }
        Ok(())
    }

    fn send(&mut self, message: &str) -> Result<(), Failure> {
        self.stdin.write_all(format!("{message}\n").as_bytes())?;
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Failure> {
        self.line.clear();
        self.stdout.read_line(&mut self.line)?;
        match self.line.contains("\"result\"") {
            true => Ok(()),
            false => Err(format!("the server answered {}", self.line).into()),
        }
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        // It ends by itself when its input does; this only hurries it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The gateway's own binary, serving the same server.
struct Gateway {
    child: Child,
    address: String,
    token: String,
    _data: tempfile::TempDir,
}

impl Gateway {
    fn start() -> Result<Self, Failure> {
        let program = std::env::current_exe()?.with_file_name("gigmcp-gateway");
        let data = tempfile::tempdir()?;
        let run = |arguments: &[&str]| -> Result<Value, Failure> {
            let output = Command::new(&program)
                .args(["--json", "--data-dir"])
                .arg(data.path().join("data"))
                .args(arguments)
                .output()?;
            match output.status.success() {
                true => Ok(serde_json::from_slice(&output.stdout)?),
                false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
            }
        };
        let echo = echo_server()?;
        run(&["server", "add", "echo", "--binary", echo.to_str().ok_or("the path is not text")?])?;
        let created = run(&["profile", "create", "bench", "--server", "echo"])?;
        let token = created["token"].as_str().ok_or("no token")?.to_owned();
        let mut child = Command::new(&program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path().join("data"))
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log = BufReader::new(child.stderr.take().ok_or("no pipe")?);
        let mut line = String::new();
        while !line.contains("listening on http://") {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                return Err("the gateway ended".into());
            }
        }
        // Nobody reads on, so the pipe must not fill: at the default level a call logs nothing.
        let address = line.trim().rsplit("http://").next().unwrap_or_default().to_owned();
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Self { child, address, token, _data: data })
    }

    async fn client(&self) -> Result<Client, Failure> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut client = Client { sender, address: self.address.clone(), token: self.token.clone(), session: None };
        let answer = client.post(initialize()).await?;
        client.session = answer.headers().get("mcp-session-id").cloned();
        answer.into_body().collect().await?;
        Ok(client)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: String,
    token: String,
    session: Option<HeaderValue>,
}

impl Client {
    async fn call(&mut self) -> Result<(), Failure> {
        let message = call(1).replacen("\"name\":\"echo\"", "\"name\":\"echo_echo\"", 1);
        let answer = self.post(message).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        match body.windows(8).any(|window| window == b"\"result\"") {
            true => Ok(()),
            false => Err(format!("the gateway answered {}", String::from_utf8_lossy(&body)).into()),
        }
    }

    async fn post(&mut self, message: String) -> Result<http::Response<hyper::body::Incoming>, Failure> {
        let mut request = Request::post("/mcp/p/bench")
            .header(header::HOST, &self.address)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25");
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(Full::new(Bytes::from(message)))?).await?)
    }
}
