//! A virtual link between a sandbox and the host.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use gigmcp_sandbox::{AcceptError, Network, Sandbox, SpawnError, Stage, VethPool};
use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::left_out::has_root;
use crate::link::{BareLink, interface};
use crate::probe::{Dir, PROBE_VARIABLE, copy_program, probe, run, sandbox};
use crate::processes::{marker, of_server};

/// Asks the test binary to start a sandbox with a link and say what happens.
const ROLE: &str = "GIGMCP_TEST_VETH_ROLE";
const WITHOUT_NF_TABLES: &str = "without nf_tables";
const EPROTONOSUPPORT: i32 = 93;

/// The one range of the tests of this process, so that no two have a link in common.
pub(crate) fn pool() -> VethPool {
    static POOL: OnceLock<VethPool> = OnceLock::new();
    POOL.get_or_init(|| "10.199.0.0/16".parse().unwrap()).clone()
}

pub(crate) fn exists(host: Ipv4Addr) -> bool {
    fs::exists(format!("/sys/class/net/{}", interface(host))).unwrap()
}

fn host_of(network: &Network) -> Ipv4Addr {
    *network.proxy().unwrap().ip()
}

async fn said(sandbox: &mut Sandbox) -> String {
    let (_stdin, mut stdout) = sandbox.stdio().unwrap();
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    text.trim_end().to_owned()
}

#[tokio::test]
async fn tells_whether_a_link_can_be_made_when_asked() {
    let Some(role) = std::env::var_os(ROLE) else { return };
    if role == WITHOUT_NF_TABLES {
        without_nf_tables();
    }
    let network = Network::veth(&pool()).unwrap();
    let proxy = network.proxy().unwrap().to_string();
    let mut sandbox = match sandbox(&["say", &proxy, "hello"]).network(network).spawn().await {
        Ok(sandbox) => sandbox,
        Err(error) => return println!("inside: {error:?}"),
    };
    let mut intake = sandbox.network().take().unwrap();
    let mut connection = intake.take_tcp(intake.proxy_port).unwrap().accept().unwrap();
    connection.read_exact(&mut [0; 5]).unwrap();
    connection.write_all(b"heard").unwrap();
    drop(connection);
    println!("inside: {}", said(&mut sandbox).await);
}

/// From here on the kernel is one without nf_tables, for this thread and all it starts.
fn without_nf_tables() {
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow).unwrap();
    let netlink = ScmpArgCompare::new(0, ScmpCompareOp::Equal, 16);
    let netfilter = ScmpArgCompare::new(2, ScmpCompareOp::Equal, 12);
    let socket = ScmpSyscall::from_name("socket").unwrap();
    filter.add_rule_conditional(ScmpAction::Errno(EPROTONOSUPPORT), socket, &[netlink, netfilter]).unwrap();
    filter.load().unwrap();
}

#[test]
fn without_a_packet_filter_there_is_no_link() {
    if !has_root("making links is root's here") {
        return;
    }
    for (role, expected) in [("veth", "allowed heard"), (WITHOUT_NF_TABLES, "Setup { stage: Filter, ")] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let said = role_says(command.env(ROLE, role).env(PROBE_VARIABLE, probe()));
        assert!(said.starts_with(expected), "{role}: {said}");
    }
}

fn role_says(command: &mut Command) -> String {
    command.args(["--exact", "veth::tells_whether_a_link_can_be_made_when_asked", "--nocapture"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let said = said.lines().find_map(|line| line.split_once("inside: ")).map(|(_, said)| said.to_owned());
    said.unwrap_or_else(|| panic!("{output:?}"))
}

/// What the role says as an unprivileged user with these capabilities and no other.
fn unprivileged_with(capabilities: &str) -> String {
    let dir = Dir::new("veth");
    let copied = |name: &str, from: &std::path::Path| copy_program(from, dir.path().join(name));
    let binary = copied("it", &std::env::current_exe().unwrap());
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args([format!("--inh-caps={capabilities}"), format!("--ambient-caps={capabilities}")])
        .args([format!("--bounding-set={capabilities}"), "--".to_owned()])
        .arg(&binary);
    role_says(command.env(ROLE, "veth").env(PROBE_VARIABLE, copied("probe", probe())).current_dir("/"))
}

#[test]
fn a_link_needs_the_capability_for_networks_and_no_other() {
    if !has_root("the capability is root's to give") {
        return;
    }
    assert_eq!(unprivileged_with("-all,+net_admin"), "allowed heard");
    let without = unprivileged_with("-all");
    assert!(without.starts_with("Setup { stage: Link, ") && without.contains("code: 1,"), "{without}");
    assert!(without.contains("CAP_NET_ADMIN"), "{without}");
}

#[tokio::test]
async fn only_what_comes_over_the_link_reaches_the_proxy() {
    if !has_root("making links is root's here") {
        return;
    }
    let network = Network::veth(&pool()).unwrap();
    let proxy = network.proxy().unwrap();
    let mut server = sandbox(&["say", &proxy.to_string(), "hello"]).network(network).spawn().await.unwrap();
    let mut intake = server.network().take().unwrap();
    assert_eq!(intake.tcp.len(), 1);
    let listener = intake.take_tcp(proxy.port()).unwrap();
    let connection = listener.accept().unwrap();
    assert_eq!(connection.local_addr().unwrap(), SocketAddr::from(proxy));
    // A program of the host may knock, from an address that is not the sandbox's.
    let _of_host = TcpStream::connect(proxy).unwrap();
    assert!(matches!(listener.accept(), Err(AcceptError::Foreign)));
    // A connection of the host's to itself is in the same network namespace, and not the sandbox's.
    let local = TcpListener::bind("127.0.0.1:0").unwrap();
    let of_host = TcpStream::connect(local.local_addr().unwrap()).unwrap();
    assert!(matches!(intake.origin().verify(&of_host), Err(AcceptError::Foreign)));
    assert!(intake.origin().verify(&connection).is_ok(), "the twin");
}

#[tokio::test]
async fn ports_that_were_asked_for_can_be_reached_and_answer() {
    if !has_root("making links is root's here") {
        return;
    }
    let ask = |kind: &'static str| async move {
        let network = Network::veth(&pool()).unwrap().tcp_ports([53]).udp_ports([53]);
        let dns = format!("{}:53", host_of(&network));
        let mut server = sandbox(&[kind, &dns, "name?"]).network(network).spawn().await.unwrap();
        let intake = server.network().take().unwrap();
        (server, intake)
    };
    let (mut server, mut intake) = ask("ask").await;
    let socket = intake.take_udp(53).unwrap();
    let (length, from) = socket.recv_from(&mut [0; 16]).unwrap();
    assert_eq!((length, Some(from.ip())), (5, intake.origin().peer().map(Into::into)));
    socket.send_to(b"address", from).unwrap();
    assert_eq!(said(&mut server).await, "allowed address");
    let (mut server, mut intake) = ask("say").await;
    let mut connection = intake.take_tcp(53).unwrap().accept().unwrap();
    connection.read_exact(&mut [0; 5]).unwrap();
    connection.write_all(b"address").unwrap();
    drop(connection);
    assert_eq!(said(&mut server).await, "allowed address");
}

#[tokio::test]
async fn row_93_the_host_cannot_come_in() {
    if !has_root("making links is root's here") {
        return;
    }
    let network = Network::veth(&pool()).unwrap();
    let inside = Ipv4Addr::from_bits(host_of(&network).to_bits() + 1);
    let mut server = sandbox(&["serve", "8080"]).network(network).spawn().await.unwrap();
    let (stdin, stdout) = server.stdio().unwrap();
    let mut lines = BufReader::new(stdout).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "listening");
    let to = |address: Ipv4Addr, patience| TcpStream::connect_timeout(&(address, 8080).into(), patience);
    assert_eq!(to(inside, Duration::from_millis(300)).unwrap_err().kind(), ErrorKind::TimedOut);
    drop(stdin);
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "refused 11", "nobody came");
    // The control: the same server on a bare link.
    let bare = BareLink::new();
    let mut outside = Command::new("nsenter");
    outside.arg(format!("--net={}", bare.namespace())).arg("--").arg(probe()).args(["serve", "8080"]);
    let mut outside = outside.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    outside.stdout.as_mut().unwrap().read_exact(&mut [0; 10]).unwrap();
    assert!(to(bare.sandbox(), Duration::from_secs(60)).is_ok());
    drop(outside.stdin.take());
    outside.wait().unwrap();
}

#[tokio::test]
async fn a_link_is_all_there_is() {
    if !has_root("making links is root's here") {
        return;
    }
    let network = Network::veth(&pool()).unwrap();
    let host = host_of(&network);
    let _server = sandbox(&["hang", &marker("link-alone")]).network(network).spawn().await.unwrap();
    let server = of_server("link-alone")[0];
    let read = |name: &str| fs::read_to_string(format!("/proc/{server}/net/{name}")).unwrap();
    let first = |text: String| -> Vec<String> {
        text.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
    };
    assert_eq!(first(read("dev"))[2..], ["lo:", "gig0:"]);
    let routes: Vec<String> = read("route").lines().skip(1).map(str::to_owned).collect();
    let destination = format!("{:08X}", u32::from_ne_bytes(host.octets()));
    assert!(routes.len() == 1 && routes[0].starts_with(&format!("gig0\t{destination}\t00000000\t")), "{routes:?}");
    let inet6: Vec<String> = read("if_inet6").lines().map(str::to_owned).collect();
    assert!(inet6.len() == 1 && inet6[0].ends_with(" lo"), "{inet6:?}");
    assert!(!read("ipv6_route").contains("gig0"), "no route of IPv6: {}", read("ipv6_route"));
    // At the host's end neither; and it passes nothing on.
    let conf = |family: &str, name: &str| {
        fs::read_to_string(format!("/proc/sys/net/{family}/conf/{}/{name}", interface(host))).unwrap()
    };
    let of_host = fs::read_to_string("/proc/net/if_inet6").unwrap();
    assert!(!of_host.contains(&interface(host)), "{of_host}");
    assert_eq!((conf("ipv4", "forwarding").as_str(), conf("ipv4", "rp_filter").as_str()), ("0\n", "1\n"));
    let flags = fs::read_to_string(format!("/sys/class/net/{}/flags", interface(host))).unwrap();
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap();
    assert_eq!(flags & 0x80, 0x80, "asks for no hardware address and answers none");
}

#[tokio::test]
async fn the_filter_belongs_to_a_user_namespace_around_the_servers() {
    if !has_root("making links is root's here") {
        return;
    }
    let network = Network::veth(&pool()).unwrap();
    let _server = sandbox(&["hang", &marker("filter-owner")]).network(network).spawn().await.unwrap();
    let server = of_server("filter-owner")[0];
    let run = |namespaces: &[&str], program: &[&str]| {
        let namespaces = namespaces.iter().map(|name| {
            let option = if *name == "user" { "--user" } else { "--net" };
            format!("{option}=/proc/{server}/ns/{name}")
        });
        Command::new("nsenter").arg("--preserve-credentials").args(namespaces).arg("--").args(program).output().unwrap()
    };
    let probe = probe().to_str().unwrap();
    // Every capability, but only in the user namespace that the server is in.
    let found = run(&["user", "net"], &[probe, "drop-filter"]);
    assert_eq!(String::from_utf8_lossy(&found.stdout), "refused 1\n", "{found:?}");
    for change in ["link set gig0 down", "address add 192.0.2.1/32 dev gig0", "route add default dev gig0"] {
        let program: Vec<_> = ["ip"].into_iter().chain(change.split(' ')).collect();
        assert!(!run(&["user", "net"], &program).status.success(), "{change}");
    }
    assert_eq!(run(&["net"], &[probe, "drop-filter"]).stdout, b"allowed\n", "the control: the host's root");
}

#[tokio::test]
async fn what_the_host_has_in_the_way_is_named() {
    if !has_root("making links is root's here") {
        return;
    }
    let squatter = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = squatter.local_addr().unwrap().port();
    let start = async |pool: VethPool| sandbox(&["list", "/"]).network(Network::veth(&pool).unwrap()).spawn().await;
    let error = start(pool().proxy_port(port)).await.unwrap_err();
    let SpawnError::Setup { stage: Stage::Listeners, fix, .. } = error else { panic!("{error:?}") };
    assert!(fix.contains("VethPool::proxy_port"), "{fix}");
    drop(squatter);
    assert!(start(pool().proxy_port(port)).await.is_ok(), "the twin");

    let narrow: VethPool = "10.198.7.8/30".parse().unwrap();
    let network = Network::veth(&narrow).unwrap();
    let host = host_of(&network);
    let _kept = sandbox(&["hang", "exhausted"]).network(network.clone()).spawn().await.unwrap();
    let error = Network::veth(&narrow).unwrap_err();
    assert_eq!((error.pool.as_str(), error.links, error.cooling), ("10.198.7.8/30", 1, 0));
    let error = sandbox(&["list", "/"]).network(network).spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::NetworkTaken), "{error:?}");
    // Another process with the same range sees the link of the first.
    let same: VethPool = "10.198.7.8/30".parse().unwrap();
    assert!(exists(host) && Network::veth(&same).is_err());
}

#[tokio::test]
async fn names_are_asked_for_at_the_hosts_end() {
    if !has_root("making links is root's here") {
        return;
    }
    let network = Network::veth(&pool()).unwrap();
    let expected = format!("allowed nameserver {}\n", host_of(&network));
    let found = run(sandbox(&["read", "/etc/resolv.conf"]).network(network)).await;
    assert!(found.starts_with(&expected), "{found}");
}
