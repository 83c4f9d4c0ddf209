//! A name server and a web server at the host's end of a sandbox's network.

use std::io::{PipeWriter, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use gigmcp_sandbox::Sandbox;
use rustix::event::{PollFd, PollFlags, poll};

/// What every name resolves to: an address that clients take for a public one.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(93, 184, 215, 14);

/// Answers a sandbox until it is dropped; the network namespace would stay otherwise.
pub(crate) struct Internet {
    dialled: Receiver<IpAddr>,
    _stop: PipeWriter,
}

impl Internet {
    /// Answers every name and every plain HTTP request.
    pub(crate) fn serve(sandbox: &mut Sandbox) -> Self {
        let mut intake = sandbox.network().take().unwrap();
        let (dns_udp, (web, _)) = (intake.take_udp(53).unwrap(), intake.take_tcp(80).unwrap().into_parts());
        let (stopped, stop) = std::io::pipe().unwrap();
        let (sender, dialled) = mpsc::channel();
        thread::spawn(move || {
            loop {
                let mut waited = [stopped.as_fd(), dns_udp.as_fd(), web.as_fd()]
                    .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
                poll(&mut waited, None).unwrap();
                match waited.map(|fd| !fd.revents().is_empty()) {
                    [true, ..] => return,
                    [false, true, _] => answer_name(&dns_udp),
                    [false, false, _] => answer_http(&web, &sender),
                }
            }
        });
        Self { dialled, _stop: stop }
    }

    /// The address that was dialled next.
    pub(crate) fn dialled(&self) -> IpAddr {
        self.dialled.recv_timeout(Duration::from_secs(60)).unwrap()
    }
}

fn answer_http(web: &TcpListener, dialled: &Sender<IpAddr>) {
    let (mut connection, _) = web.accept().unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && connection.read(&mut byte).is_ok_and(|length| length > 0) {
        request.push(byte[0]);
    }
    let _ = dialled.send(connection.local_addr().unwrap().ip());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\nconnection: close";
    // A client may have gone.
    let _ = connection.write_all(format!("{head}\r\n\r\nours").as_bytes());
}

fn answer_name(socket: &UdpSocket) {
    let mut question = [0; 512];
    let (length, from) = socket.recv_from(&mut question).unwrap();
    let _ = socket.send_to(&answer(&question[..length]), from);
}

/// An address to a question for one, and nothing to any other.
fn answer(question: &[u8]) -> Vec<u8> {
    let name = question[12..].iter().position(|length| *length == 0).unwrap();
    let end = 12 + name + 1 + 4;
    let is_address = question[end - 4..end] == [0, 1, 0, 1];
    // Header: the same number, no error, one question; then the question without what follows it.
    let mut answer = [&question[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]].concat();
    answer.extend_from_slice(&question[12..end]);
    if is_address {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend_from_slice(&ADDRESS.octets());
    }
    answer
}
