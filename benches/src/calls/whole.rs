//! The gateway's own binary: a token, a profile, a sandbox and an audit trail in SQLite.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{
    server,
    subject::{Kind, Subject},
};
use crate::Failure;

pub(super) fn start(directory: &Path) -> Result<Subject, Failure> {
    let data = directory.join("gigmcp");
    let token = installed(&data)?;
    let (address, id, running) = serve(&data)?;
    let (running, token) = (Box::new(running), Some(token));
    Ok(Subject { kind: Kind::Whole, address, path: "/mcp/p/bench", token, tool: "bench_make", id, running })
}

/// Starts it on this data; gives where it listens, its process, and what ends it.
pub(crate) fn serve(data: &Path) -> Result<(String, u32, Running), Failure> {
    let mut child = program()?
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .stdout(Stdio::null())
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
    let address = line.trim().rsplit("http://").next().unwrap_or_default().to_owned();
    // The pipe must not fill: at the default level a call logs nothing.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    let id = child.id();
    Ok((address, id, Running(child)))
}

/// Makes a profile with the server in it, once, and gives its token.
fn installed(data: &Path) -> Result<String, Failure> {
    let kept = data.with_extension("token");
    if let Ok(token) = std::fs::read_to_string(&kept) {
        return Ok(token);
    }
    add_server(data)?;
    let token = profile(data, "bench")?;
    std::fs::write(kept, &token)?;
    Ok(token)
}

/// Makes so many profiles with the server in each, and gives what they are called and their tokens.
pub(crate) fn profiles(data: &Path, count: usize) -> Result<Vec<(String, String)>, Failure> {
    add_server(data)?;
    let named = (0..count).map(|number| format!("bench-{number}"));
    named.map(|slug| profile(data, &slug).map(|token| (slug, token))).collect()
}

fn add_server(data: &Path) -> Result<(), Failure> {
    let server = server()?;
    run(data, &["server", "add", "bench", "--binary", server.to_str().ok_or("the path is not text")?]).map(drop)
}

fn profile(data: &Path, slug: &str) -> Result<String, Failure> {
    let created = run(data, &["profile", "create", slug, "--server", "bench"])?;
    Ok(created["token"].as_str().ok_or("no token")?.to_owned())
}

fn run(data: &Path, arguments: &[&str]) -> Result<Value, Failure> {
    let output = program()?.args(["--json", "--data-dir"]).arg(data).args(arguments).output()?;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

fn program() -> Result<Command, Failure> {
    Ok(Command::new(std::env::current_exe()?.with_file_name("gigmcp-gateway")))
}

/// Ends it when dropped.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
