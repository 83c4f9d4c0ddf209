//! Real runtimes of the host under the whole filter, and what they dial.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::thread;

use gigmcp_sandbox::{Intake, Network, Rootfs, Sandbox, SandboxBuilder};
use tokio::io::AsyncReadExt;

use crate::probe::run;

fn tools(command: &[&str]) -> SandboxBuilder {
    Sandbox::builder(Rootfs::host_tools()).command(command.iter().copied()).env("HOME", "/tmp").env("PATH", "/usr/bin")
}

#[tokio::test]
async fn node_and_python_run() {
    let script = "import sys, os, threading, multiprocessing, ssl, sqlite3, subprocess, tempfile\n\
        t = threading.Thread(target=lambda: None); t.start(); t.join()\n\
        p = multiprocessing.Process(target=print, args=('child',)); p.start(); p.join()\n\
        tempfile.TemporaryFile().write(b'x'); ssl.create_default_context(); os.urandom(8)\n\
        print(subprocess.check_output(['echo', 'hello']).decode().strip(), os.getuid())";
    assert_eq!(run(tools(&["/usr/bin/python3", "-c", script])).await, "child\nhello 65534");
    let script = "const {Worker} = require('worker_threads'); const cp = require('child_process');\
        new Worker('0', {eval: true}).on('exit', () => {\
        require('fs').writeFileSync('/tmp/x', 'y'); console.log(cp.execSync('echo hello').toString().trim())})";
    assert!(Path::new("/usr/bin/node").exists(), "the tests need Node");
    assert_eq!(run(tools(&["/usr/bin/node", "-e", script])).await, "hello");
}

/// Answers every question with one address.
fn answer_dns(socket: UdpSocket) {
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let mut answer = question[..length].to_vec();
            // A question for AAAA (28) is answered with nothing.
            let is_a = question[length - 4..length] == [0, 1, 0, 1] || !answer.contains(&28);
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[6..8].copy_from_slice(&[0, u8::from(is_a)]);
            answer[10..12].copy_from_slice(&[0, 0]);
            if is_a {
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 18, 0, 7]);
            }
            if socket.send_to(&answer, from).is_err() {
                return;
            }
        }
    });
}

/// Answers one plain HTTP request; returns the address that was dialled.
fn answer_http(intake: Intake) -> thread::JoinHandle<SocketAddr> {
    intake.dns_udp.set_nonblocking(false).unwrap();
    answer_dns(intake.dns_udp);
    let web = intake.tcp.into_iter().find(|listener| listener.port == 80).unwrap().listener;
    thread::spawn(move || {
        let (mut connection, _) = web.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nours").unwrap();
        connection.local_addr().unwrap()
    })
}

#[tokio::test]
async fn what_node_and_python_fetch_arrives_at_our_listeners() {
    for command in [
        [
            "/usr/bin/python3",
            "-c",
            "import urllib.request as u; print(u.urlopen('http://example.test/').read().decode())",
        ],
        ["/usr/bin/node", "-e", "fetch('http://example.test/').then(r => r.text()).then(console.log)"],
    ] {
        let mut sandbox = tools(&command).network(Network::handoff()).spawn().await.unwrap();
        let server = answer_http(sandbox.network().take().unwrap());
        let (_stdin, mut stdout) = sandbox.stdio().unwrap();
        let mut text = String::new();
        stdout.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "ours\n", "{command:?}: {:?}", sandbox.stderr_tail());
        assert_eq!(server.join().unwrap().to_string(), "198.18.0.7:80");
    }
}
