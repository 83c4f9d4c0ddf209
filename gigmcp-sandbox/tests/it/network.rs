//! The network's rows of the table of attacks, against hand-off and link alike.
//!
//! Each attempt is made in a sandbox of each kind; with a link also in its network namespace without
//! capability, system call filter and Landlock, so that the packet filter stands alone; and on a bare link
//! of the same shape, where it must get out. What gets out is seen by the counter of the host's end.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use gigmcp_sandbox::{Network, Sandbox, SandboxStdin, SandboxStdout};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader as AsyncBufReader};

use crate::left_out::has_root;
use crate::link::{BareLink, packets_from, peer_index};
use crate::probe::{probe, sandbox};
use crate::processes::{marker, of_server};
use crate::veth::pool;

/// Row, attempt, and the answer with hand-off, with a link, and with a link's packet filter alone.
///
/// `HOST` is the host's end of the link, `ELSEWHERE` another address of the host, `TCP` and `UDP` ports
/// where the host has services at every address, `SIBLING` the address of another sandbox, `INDEX` the
/// number of the link inside.
const TABLE: &[(u32, &str, &str, &str, &str)] = &[
    (81, "tcp HOST:TCP", "refused 13", "refused 13", "refused 111"),
    (81, "tcp ELSEWHERE:TCP", "refused 13", "refused 13", "refused 101"),
    (81, "udp HOST:UDP", "refused 111", "refused 1", "refused 1"),
    (81, "udp ELSEWHERE:UDP", "refused 111", "refused 101", "refused 101"),
    (81, "udp SIBLING:54", "refused 111", "refused 101", "refused 101"),
    (91, "tcp-on gig0 HOST:TCP", "refused 1", "refused 1", "refused 111"),
    (91, "tcp-on gig0 ELSEWHERE:TCP", "refused 1", "refused 1", "refused 111"),
    (91, "udp-on gig0 ELSEWHERE:UDP", "refused 1", "refused 1", "refused 1"),
    (91, "udp-on gig0 SIBLING:54", "refused 1", "refused 1", "refused 1"),
    (91, "udp-unicast-if INDEX ELSEWHERE:UDP", "refused 99", "refused 1", "refused 1"),
    (91, "udp-pktinfo INDEX ELSEWHERE:UDP", "refused 19", "refused 1", "refused 1"),
    (91, "fastopen HOST:TCP", "refused 95", "refused 95", "refused 111"),
    (86, "udp-broadcast gig0 255.255.255.255:UDP", "refused 1", "refused 1", "refused 1"),
    (86, "udp-multicast INDEX 224.0.0.251:5353", "refused 99", "refused 1", "refused 1"),
];

/// The same for what needs a capability outside; the last column is with all of them.
const PRIVILEGED: &[(u32, &str, &str, &str, &str)] = &[
    (88, "ping 3 HOST:0", "refused 93", "refused 93", "refused 1"),
    (88, "ping 3 SIBLING:0", "refused 93", "refused 93", "refused 101"),
    (91, "tcp-source-routed HOST:TCP ELSEWHERE:TCP", "refused 1", "refused 1", "refused 111"),
    (91, "udp-forged SIBLING HOST:UDP", "refused 1", "refused 1", "refused 1"),
];

/// What needs no link to be refused.
const EITHER: &[(u32, &str, &str)] = &[
    (50, "socket 16 3 0", "refused 97"),
    (50, "socket 17 3 0", "refused 97"),
    (80, "connect 169.254.169.254:8080", "refused 13"),
    (80, "tcp-ipv6 [fd00:ec2::254]:3128", "refused 101"),
    (81, "connect 127.0.0.1:5432", "refused 13"),
    (88, "ping 2 HOST:0", "refused 93"),
    (90, "socket 40 1 0", "refused 97"),
    (96, "write /proc/sys/net/ipv4/ip_forward", "refused 13"),
    (98, "tcp-ipv6 [2001:db8::1]:3128", "refused 101"),
    (98, "udp-ipv6 [ff02::1%1]:5353", "refused 101"),
];

#[tokio::test]
async fn what_a_bare_link_lets_out_stays_in_with_both_networks() {
    if !has_root("making links is root's here, and tested there") {
        return;
    }
    let services = Services::new();
    let (mut handoff, mut veth) = (Inside::new("handoff").await, Inside::new("veth").await);
    let sibling = Inside::new("sibling").await;
    let bare = BareLink::new();
    let mut wrong = Vec::new();
    for (privileged, table) in [(false, TABLE), (true, PRIVILEGED)] {
        let mut behind_filter = Outside::new(&veth.namespace, privileged);
        let mut control = Outside::new(&bare.namespace(), privileged);
        for (row, attempt, with_handoff, with_link, with_filter) in table {
            let place = |host: Ipv4Addr| services.place(attempt, host, sibling.host);
            let before = packets_from(bare.host());
            let found = control.attempt(&place(bare.host()));
            assert!(packets_from(bare.host()) > before, "row {row}: {attempt} is void: {found}");
            let before = packets_from(veth.host);
            for (name, expected, found) in [
                ("hand-off", with_handoff, handoff.attempt(&place(veth.host)).await),
                ("link", with_link, veth.attempt(&place(veth.host)).await),
                ("packet filter", with_filter, behind_filter.attempt(&place(veth.host))),
            ] {
                if found != *expected {
                    wrong.push(format!("row {row}: {attempt}, {name}: {found}"));
                }
            }
            if packets_from(veth.host) != before {
                wrong.push(format!("row {row}: {attempt}: packets got out"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_refused_anywhere_is_refused_with_both_networks() {
    if !has_root("making links is root's here, and tested there") {
        return;
    }
    let mut wrong = Vec::new();
    for name in ["handoff-either", "veth-either"] {
        let mut inside = Inside::new(name).await;
        for (row, attempt, expected) in EITHER {
            let found = inside.attempt(&attempt.replace("HOST", &inside.host.to_string())).await;
            if found != *expected {
                wrong.push(format!("row {row}: {attempt}, {name}: {found}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Services of the host at every one of its addresses.
struct Services {
    tcp: TcpListener,
    udp: UdpSocket,
    elsewhere: crate::link::Address,
}

impl Services {
    fn new() -> Self {
        Self {
            tcp: TcpListener::bind("0.0.0.0:0").unwrap(),
            udp: UdpSocket::bind("0.0.0.0:0").unwrap(),
            elsewhere: crate::link::Address::new(),
        }
    }

    /// Fills in the places of an attempt.
    fn place(&self, attempt: &str, host: Ipv4Addr, sibling: Ipv4Addr) -> String {
        let port = |address: std::net::SocketAddr| address.port().to_string();
        attempt
            .replace("INDEX", &peer_index(host))
            .replace("ELSEWHERE", &self.elsewhere.0.to_string())
            .replace("HOST", &host.to_string())
            .replace("SIBLING", &Ipv4Addr::from_bits(sibling.to_bits() + 1).to_string())
            .replace("TCP", &port(self.tcp.local_addr().unwrap()))
            .replace("UDP", &port(self.udp.local_addr().unwrap()))
    }
}

/// The probe in a sandbox.
struct Inside {
    _sandbox: Sandbox,
    stdin: SandboxStdin,
    stdout: AsyncBufReader<SandboxStdout>,
    /// The host's end of its link, if it has one.
    host: Ipv4Addr,
    namespace: String,
}

impl Inside {
    async fn new(name: &str) -> Self {
        let network = if name.starts_with("handoff") { Network::handoff() } else { Network::veth(&pool()).unwrap() };
        let host = *network.proxy().unwrap().ip();
        let name = format!("network-{name}-here");
        let mut sandbox = sandbox(&["attempts", &marker(&name)]).network(network).spawn().await.unwrap();
        let (stdin, stdout) = sandbox.stdio().unwrap();
        let server = of_server(&name)[0];
        let namespace = format!("/proc/{server}/ns/net");
        Self { _sandbox: sandbox, stdin, stdout: AsyncBufReader::new(stdout), host, namespace }
    }

    async fn attempt(&mut self, attempt: &str) -> String {
        self.stdin.write_all(format!("{attempt}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).await.unwrap();
        answer.trim_end().to_owned()
    }
}

/// The probe in a network namespace and nothing else of a sandbox.
struct Outside {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Outside {
    fn new(namespace: &str, privileged: bool) -> Self {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={namespace}")).arg("--");
        if !privileged {
            command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--"]);
        }
        let mut process =
            command.arg(probe()).arg("attempts").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, stdin, stdout }
    }

    fn attempt(&mut self, attempt: &str) -> String {
        writeln!(self.stdin.as_mut().unwrap(), "{attempt}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.process.wait();
    }
}
