//! A link never outlives its sandbox.

use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gigmcp_sandbox::{Network, VethPool};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncBufReadExt;

use crate::left_out::has_root;
use crate::probe::{PROBE_VARIABLE, probe, sandbox};
use crate::processes::{Watched, descendants, field};
use crate::veth::{exists, pool};

/// Asks the test binary to be a host process that is going to be killed.
const ROLE: &str = "GIGMCP_TEST_VETH_HOST";

#[tokio::test]
async fn plays_the_host_of_a_link_when_asked() {
    let Some(marker) = std::env::var_os(ROLE) else { return };
    let network = Network::veth(&pool()).unwrap();
    let host = *network.proxy().unwrap().ip();
    let _sandbox = sandbox(&["hang", marker.to_str().unwrap()]).network(network).spawn().await.unwrap();
    println!("host is ready: {host}");
    std::future::pending::<()>().await;
}

/// A host process with one sandbox: itself, the process that waits for PID 1, PID 1, the server.
struct Frame {
    host: Child,
    link: Ipv4Addr,
    processes: Vec<u32>,
}

impl Frame {
    fn start(marker: &str) -> Self {
        let mut host = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "veth_ends::plays_the_host_of_a_link_when_asked", "--nocapture"])
            .env(ROLE, marker)
            .env(PROBE_VARIABLE, probe())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(host.stdout.take().unwrap()).lines().map(Result::unwrap);
        let link = lines.find_map(|line| line.split_once("host is ready: ").map(|(_, link)| link.to_owned())).unwrap();
        // The sweeper of control groups is of all sandboxes and has no part in their networks.
        let is_part = |pid: &u32| field(*pid, "Name:").unwrap() != "gigmcp-sweeper";
        let processes = [host.id()].into_iter().chain(descendants(host.id())).filter(is_part);
        let processes: Vec<u32> = processes.collect();
        assert_eq!(processes.len(), 4);
        Self { host, link: link.parse().unwrap(), processes }
    }
}

/// Waits for a link to go.
fn assert_gone(host: Ipv4Addr, case: &str) {
    let started = Instant::now();
    while exists(host) {
        assert!(started.elapsed() < Duration::from_secs(60), "{case}: the link is left");
        std::thread::yield_now();
    }
}

#[test]
fn kill_9_in_every_order_leaves_no_link() {
    if !has_root("making links is root's here, and tested there") {
        return;
    }
    for order in orders(4) {
        let mut frame = Frame::start(&format!("link-killed-{order:?}"));
        assert!(exists(frame.link), "the control");
        let watched = Watched::new(&frame.processes[1..]);
        let host = frame.processes[0];
        for index in &order {
            let pid = Pid::from_raw(i32::try_from(frame.processes[*index]).unwrap()).unwrap();
            // Those that the ones before took along are gone.
            let _ = kill_process(pid, Signal::KILL);
        }
        assert_gone(frame.link, &format!("{order:?} of {host} and its own"));
        watched.assert_gone();
        frame.host.wait().unwrap();
    }
}

/// Every order of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let shorter = orders(last);
    let insert = |order: &Vec<usize>, at: usize| {
        let mut longer = order.clone();
        longer.insert(at, last);
        longer
    };
    shorter.iter().flat_map(|order| (0..count).map(move |at| insert(order, at))).collect()
}

#[tokio::test]
async fn the_end_of_one_process_of_the_frame_is_the_end_of_the_link() {
    if !has_root("making links is root's here") {
        return;
    }
    for index in 0..4 {
        let mut frame = Frame::start(&format!("link-one-killed-{index}"));
        let pid = Pid::from_raw(i32::try_from(frame.processes[index]).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        assert_gone(frame.link, &index.to_string());
        frame.host.kill().unwrap();
        frame.host.wait().unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_the_host_holds_on_to_does_not_keep_the_link() {
    if !has_root("making links is root's here") {
        return;
    }
    let network = Network::veth(&pool()).unwrap();
    let proxy = network.proxy().unwrap();
    let mut server = sandbox(&["stuff", &proxy.to_string()]).network(network).spawn().await.unwrap();
    let mut intake = server.network().take().unwrap();
    let listener = intake.take_tcp(proxy.port()).unwrap();
    let mut connection = listener.accept().unwrap();
    let (_stdin, stdout) = server.stdio().unwrap();
    let mut line = String::new();
    tokio::io::BufReader::new(stdout).read_line(&mut line).await.unwrap();
    assert_eq!(line, "stuffed\n");
    assert!(exists(*proxy.ip()), "the control");
    server.kill().await;
    assert!(!exists(*proxy.ip()), "what is left to be sent would keep the namespace");
    connection.read_exact(&mut [0; 1024]).unwrap();
}

#[tokio::test]
async fn addresses_rest_after_their_sandbox() {
    if !has_root("making links is root's here") {
        return;
    }
    let narrow: VethPool = "10.198.7.16/30".parse().unwrap();
    let patient = narrow.clone().cool_down(Duration::from_secs(3600));
    for (pool, cooling) in [(narrow.clone().cool_down(Duration::ZERO), None), (patient, Some(1))] {
        let network = Network::veth(&pool).unwrap();
        let mut server = sandbox(&["hang", "cooling"]).network(network).spawn().await.unwrap();
        drop(server.network().take());
        server.kill().await;
        let host = "10.198.7.17".parse().unwrap();
        assert!(!exists(host));
        drop(server);
        assert_eq!(Network::veth(&narrow).err().map(|error| error.cooling), cooling);
    }
}
