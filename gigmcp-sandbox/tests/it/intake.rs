//! What the host is handed: listeners, sockets, and whose connections they accept.

use std::net::{TcpListener, TcpStream};

use gigmcp_sandbox::{AcceptError, Intake, Network, PortRefusal, Sandbox, SpawnError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::probe::sandbox;

async fn with_intake(arguments: &[&str], network: Network) -> (Sandbox, Intake) {
    let mut sandbox = sandbox(arguments).network(network).spawn().await.unwrap();
    let intake = sandbox.network().take().unwrap();
    (sandbox, intake)
}

async fn said(sandbox: &mut Sandbox) -> String {
    let (_stdin, mut stdout) = sandbox.stdio().unwrap();
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    text.trim_end().to_owned()
}

#[tokio::test]
async fn a_port_of_a_manifest_is_handed_over_and_can_be_dialled() {
    let network = Network::handoff().tcp_ports([5432]).udp_ports([123]);
    let (mut sandbox, mut intake) = with_intake(&["say", "192.0.2.7:5432", "hello"], network.clone()).await;
    let ports: Vec<_> = intake.tcp.iter().map(|listener| listener.port()).collect();
    assert_eq!(ports, [443, 80, 3128, 53, 5432]);
    let listener = intake.take_tcp(5432).unwrap().into_tokio().unwrap();
    assert!(intake.take_tcp(5432).is_none());
    let mut connection = listener.accept().await.unwrap();
    assert_eq!(connection.local_addr().unwrap().to_string(), "192.0.2.7:5432");
    let mut word = String::new();
    connection.read_to_string(&mut word).await.unwrap();
    connection.write_all(word.to_uppercase().as_bytes()).await.unwrap();
    drop(connection);
    assert_eq!(said(&mut sandbox).await, "allowed HELLO");

    let (mut sandbox, mut intake) = with_intake(&["ask", "127.0.0.1:123", "time"], network).await;
    let socket = intake.take_udp(123).unwrap();
    let mut word = [0; 16];
    let (length, from) = socket.recv_from(&mut word).unwrap();
    socket.send_to(&word[..length], from).unwrap();
    assert_eq!(said(&mut sandbox).await, "allowed time");

    let (mut sandbox, _intake) = with_intake(&["say", "192.0.2.7:5432", "hello"], Network::handoff()).await;
    assert_eq!(said(&mut sandbox).await, "refused 13", "the control: not named");
}

#[tokio::test]
async fn as_many_ports_as_there_may_be_arrive_and_one_more_is_refused() {
    for (count, expected) in [(27, None), (28, Some(PortRefusal::TooMany { max: 32 }))] {
        let network = Network::handoff().tcp_ports(20_000..20_000 + count);
        match (sandbox(&["list", "/"]).network(network).spawn().await, expected) {
            (Ok(mut sandbox), None) => assert_eq!(sandbox.network().take().unwrap().tcp.len(), 31),
            (Err(SpawnError::RefusedPorts { why }), Some(expected)) => assert_eq!(why, expected),
            (result, _) => panic!("{count}: {:?}", result.err()),
        }
    }
}

#[tokio::test]
async fn connections_of_a_sandbox_are_told_from_those_of_another_and_of_the_host() {
    let (_one, mut mine) = with_intake(&["say", "192.0.2.7:443", "hello"], Network::handoff()).await;
    let (_other, mut others) = with_intake(&["say", "192.0.2.7:443", "hello"], Network::handoff()).await;
    let (listener, origin) = mine.take_tcp(443).unwrap().into_parts();
    let of_mine = listener.accept().unwrap().0;
    let of_other = others.take_tcp(443).unwrap().accept().unwrap();
    let local = TcpListener::bind("127.0.0.1:0").unwrap();
    let of_host = TcpStream::connect(local.local_addr().unwrap()).unwrap();
    assert!(origin.verify(&of_mine).is_ok(), "the twin");
    for (whose, connection) in [("another's", of_other), ("the host's", of_host)] {
        assert!(matches!(origin.verify(&connection), Err(AcceptError::Foreign)), "{whose}");
    }
    assert_eq!(origin, mine.origin());
    assert_ne!(origin, others.origin());
}

#[tokio::test]
async fn a_burst_that_nobody_accepts_yet_does_not_wait() {
    let (mut sandbox, _intake) = with_intake(&["burst", "192.0.2.7:443", "700"], Network::handoff()).await;
    let (_stdin, stdout) = sandbox.stdio().unwrap();
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await.unwrap();
    assert_eq!(line, "allowed at once\n");
}
