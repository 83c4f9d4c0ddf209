//! Rows 80 to 98: what can be dialled, bound and configured.
//!
//! Success is a word that only the host's services know; those of a throwaway copy know it too.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use crate::case::{Case, Outcome, Stopped, World, any, case, done};
use crate::numbers as n;
use crate::sys::{self, at, call, into};

pub(crate) const CASES: &[Case] = &[
    case(80, "reach the metadata service", |world| reach(world, "169.254.169.254:80")),
    case(80, "reach Alibaba's metadata service", |world| reach(world, "100.100.100.200:80")),
    case(80, "reach the metadata service over IPv6", |world| reach(world, "[fd00:ec2::254]:80")),
    case(81, "reach a service on the host's 127.0.0.1", |world| reach_host(world, "127.0.0.1")).on_host(),
    case(81, "reach it as 127.1.2.3", |world| reach_host(world, "127.1.2.3")).on_host(),
    case(81, "reach it as 0.0.0.0", |world| reach_host(world, "0.0.0.0")).on_host(),
    case(81, "reach it as [::1]", |world| reach_host(world, "[::1]")).on_host(),
    case(81, "reach it as [::ffff:127.0.0.1]", |world| reach_host(world, "[::ffff:127.0.0.1]")).on_host(),
    case(81, "reach it at the host's own address", |world| reach_host(world, world.get("host_address"))).on_host(),
    case(81, "reach a UDP service of the host", |world| ask(world, &format!("127.0.0.1:{}", world.get("udp_port"))))
        .on_host(),
    case(86, "resolve past us over TCP 53", |world| reach(world, "192.0.2.53:53")),
    case(86, "resolve past us over TLS (853)", |world| reach(world, "192.0.2.53:853")),
    case(86, "resolve past us over UDP 53", |world| ask(world, "192.0.2.53:53")),
    case(86, "resolve by multicast (mDNS)", |world| ask(world, "224.0.0.251:5353")).needs("a route for multicast"),
    case(87, "speak QUIC to anywhere", |world| ask(world, "192.0.2.1:443")),
    case(87, "ask for the time (NTP)", |world| ask(world, "192.0.2.1:123")),
    case(87, "punch a hole (STUN)", |world| ask(world, "192.0.2.1:3478")),
    case(88, "open a ping socket", |_| open(2, 2, 1)),
    case(88, "open a raw socket", |_| open(2, 3, 1)),
    case(88, "open a raw socket for headers of our own", |_| open(2, 3, 255)),
    case(88, "open a raw IPv6 socket", |_| open(10, 3, 58)),
    case(88, "open a packet socket", |_| open(17, 3, 0)),
    case(88, "open a raw socket with high bits in the family", |_| open(0x1_0000_0002, 3, 1)),
    case(90, "open a vsock socket", |_| open(40, 1, 0)).needs("CONFIG_VSOCKETS"),
    case(91, "open an MPTCP socket", |_| open(2, 1, 262)).needs("CONFIG_MPTCP"),
    case(91, "open an SCTP socket", |_| open(2, 1, 132)).needs("CONFIG_IP_SCTP"),
    case(91, "open a UDP-Lite socket", |_| open(2, 2, 136)),
    case(91, "dial by MSG_FASTOPEN", |world| fast_open(world, n::SENDTO)),
    case(91, "dial by MSG_FASTOPEN in sendmsg", |world| fast_open(world, n::SENDMSG)),
    case(91, "dial by TCP_FASTOPEN_CONNECT", |world| {
        let socket = sys::socket(2, 1, 0)?;
        set(&socket, 6, 30, &1_u32.to_ne_bytes())?;
        dial(world, socket, "192.0.2.53:853")
    }),
    case(91, "dial again after AF_UNSPEC", |world| {
        let socket = sys::socket(2, 1, 0)?;
        if !is_outward(world, "192.0.2.53:80") {
            let _ = call(n::CONNECT, &[i64::from(socket.as_raw_fd()), at(&address("192.0.2.53:80")), 16]);
        }
        call(n::CONNECT, &[i64::from(socket.as_raw_fd()), at(&[0_u8; 16]), 16])?;
        dial(world, socket, "192.0.2.53:853")
    }),
    case(91, "load a protocol into TCP (TLS)", |_| option(1, 6, 31, b"tls\0")).needs("CONFIG_TLS and a connection"),
    case(91, "load a protocol into TCP (ESP)", |_| option(1, 6, 31, b"espintcp\0")).needs("CONFIG_INET_ESPINTCP"),
    case(91, "encapsulate ESP in UDP", |_| option(2, 17, 100, &2_u32.to_ne_bytes())),
    case(91, "encapsulate ESP in UDP by UDP-Lite's level", |_| option(2, 136, 100, &2_u32.to_ne_bytes())),
    case(91, "encapsulate L2TP in UDP by UDP-Lite's level", |_| option(2, 136, 100, &3_u32.to_ne_bytes())),
    case(91, "encapsulate ESP in UDP over IPv6", |_| option6(17, 100, &2_u32.to_ne_bytes())),
    case(91, "encapsulate ESP in UDP over IPv6 by UDP-Lite's level", |_| option6(136, 100, &2_u32.to_ne_bytes())),
    case(91, "ask for UDP's encapsulation by UDP-Lite's level", |_| ask_option(&sys::socket(2, 2, 0)?, 136, 100)),
    case(91, "take a flow label of the machine", |_| {
        // struct in6_flowlabel_req: [::1], any label, IPV6_FL_A_GET, IPV6_FL_S_EXCL, IPV6_FL_F_CREATE.
        let mut request = [0_u8; 32];
        request[15] = 1;
        request[21] = 1;
        request[22..24].copy_from_slice(&1_u16.to_ne_bytes());
        option6(41, 32, &request)
    }),
    case(91, "send flow labels", |_| option6(41, 33, &1_u32.to_ne_bytes())),
    case(91, "ask the connection tracker over IPv6", |_| ask_option(&sys::socket(10, 1, 0)?, 41, 80))
        .needs("CONFIG_NF_CONNTRACK and a tracked connection"),
    case(91, "set an IPsec policy on a socket", |_| option(2, 0, 17, &[0; 168]))
        .needs("CONFIG_XFRM_USER, and a policy that is valid"),
    case(91, "bind to a device", |_| option(1, 1, 25, b"lo\0")),
    case(91, "mark packets", |_| option(1, 1, 36, &7_u32.to_ne_bytes())),
    case(91, "force a receive buffer beyond the limit", |_| option(1, 1, 33, &(64_u32 << 20).to_ne_bytes())),
    case(91, "force a send buffer beyond the limit", |_| option(1, 1, 32, &(64_u32 << 20).to_ne_bytes())),
    case(91, "raise a socket's priority", |_| option(1, 1, 12, &7_u32.to_ne_bytes())),
    case(91, "repair a TCP connection", |_| option(1, 6, 19, &1_u32.to_ne_bytes())),
    case(91, "be transparent", |_| option(1, 0, 19, &1_u32.to_ne_bytes())),
    case(91, "be transparent over IPv6", |_| {
        let socket = sys::socket(10, 1, 0)?;
        done(set(&socket, 41, 75, &1_u32.to_ne_bytes()))
    }),
    case(91, "attach a packet filter", |_| {
        let program = [6_u64 | 0xffff << 32];
        let header = [1_u64, at(&program) as u64];
        let bytes: Vec<u8> = header.iter().flat_map(|word| word.to_ne_bytes()).collect();
        option(1, 1, 26, &bytes)
    }),
    case(91, "attach a filter that picks among listeners", |_| {
        let program = [6_u64];
        let header = [1_u64, at(&program) as u64];
        let bytes: Vec<u8> = header.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let socket = sys::socket(2, 2, 0)?;
        set(&socket, 1, 15, &1_u32.to_ne_bytes())?;
        done(set(&socket, 1, 51, &bytes))
    }),
    case(91, "list the packet filter's rules", |_| {
        let socket = sys::socket(2, 3, 255).or_else(|_| sys::socket(2, 1, 0))?;
        let (mut info, length) = ([0_u8; 84], 84_u32);
        info[..6].copy_from_slice(b"filter");
        const GETSOCKOPT: i64 = if cfg!(target_arch = "x86_64") { 55 } else { 209 };
        done(call(GETSOCKOPT, &[i64::from(socket.as_raw_fd()), 0, 64, at(&info), at(&length)]))
    })
    .needs("CONFIG_IP_NF_IPTABLES_LEGACY"),
    case(91, "replace the packet filter's rules", |_| {
        let socket = sys::socket(2, 3, 255).or_else(|_| sys::socket(2, 1, 0))?;
        done(set(&socket, 0, 64, &[0; 96]))
    })
    .needs("CONFIG_IP_NF_IPTABLES_LEGACY"),
    case(92, "bind beside our listener on every address", |_| steal("0.0.0.0:443")),
    case(92, "bind beside our listener on one address", |_| steal("1.2.3.4:443")),
    case(92, "bind beside our proxy", |_| steal("1.2.3.4:3128")),
    case(92, "bind a low port", |_| steal("127.0.0.1:81")),
    case(92, "bind our resolver's port", |_| {
        let socket = sys::socket(2, 2, 0)?;
        let (one, address) = (1_u32.to_ne_bytes(), address("127.0.0.1:54"));
        let _ = set(&socket, 1, 2, &one).and_then(|_| set(&socket, 1, 15, &one));
        done(call(n::BIND, &[i64::from(socket.as_raw_fd()), at(&address), 16]))
    }),
    case(93, "listen on a port", |_| Ok(TcpListener::bind("0.0.0.0:0").map(|_| String::new())?))
        .by_design("in a network of its own, which the host's processes cannot dial"),
    case(97, "dial a literal address past the proxy", |world| reach(world, "198.51.100.7:8443")),
    case(98, "dial a global IPv6 address", |world| reach(world, "[2001:db8::1]:80")),
    case(98, "ask over UDP at a global IPv6 address", |world| ask(world, "[2001:db8::1]:443")),
    case(50, "find an interface besides lo", |_| {
        let known = std::fs::read_to_string("/proc/self/net/dev")?;
        let names =
            known.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
        any(names.filter(|name| name != "lo").collect())
    })
    .on_host(),
    case(50, "find a socket of the host in /proc/net", |world| {
        let port = format!(":{:04X} ", world.number("service_port"));
        let tables =
            ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default());
        any(tables.iter().filter(|table| table.contains(&port)).map(|_| "listed".to_owned()).collect())
    })
    .on_host(),
    case(50, "find a Unix socket of the host in /proc/net", |world| {
        let table = std::fs::read_to_string("/proc/self/net/unix")?;
        any(table.lines().filter(|line| line.contains(world.get("abstract_socket"))).map(str::to_owned).collect())
    })
    .on_host(),
];

/// As long as a control waits for an answer on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(5);

fn open(family: i64, kind: i64, protocol: i64) -> Outcome {
    Ok(sys::socket(family, kind, protocol).map(|_| String::new())?)
}

/// Whether it would leave the machine when the network namespace is left out; it is then not tried.
fn is_outward(world: &World, address: &str) -> bool {
    let of_host = ["127.", "0.0.0.0:", "[::1]", "[::ffff:127."].iter().any(|start| address.starts_with(start));
    world.get("outward") == "no" && !of_host && !address.starts_with(world.get("host_address"))
}

fn is_ours(world: &World, answer: &[u8]) -> Outcome {
    let token = world.get("token");
    match String::from_utf8_lossy(answer).contains(token) && !token.is_empty() {
        true => Ok(String::new()),
        false => Err(Stopped::Nothing("answered by our listener")),
    }
}

fn converse(world: &World, mut stream: TcpStream) -> Outcome {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    is_ours(world, &answer)
}

fn reach(world: &World, address: &str) -> Outcome {
    if is_outward(world, address) {
        return Err(Stopped::Nothing("not tried"));
    }
    let address: SocketAddr = address.parse().map_err(|_| Stopped::Nothing("no address"))?;
    converse(world, TcpStream::connect_timeout(&address, PATIENCE)?)
}

fn reach_host(world: &World, address: &str) -> Outcome {
    reach(world, &format!("{address}:{}", world.get("service_port")))
}

fn ask(world: &World, address: &str) -> Outcome {
    if is_outward(world, address) {
        return Err(Stopped::Nothing("not tried"));
    }
    let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(address)?;
    socket.send(b"who are you?")?;
    let mut answer = [0; 512];
    match socket.recv(&mut answer) {
        Ok(length) => is_ours(world, &answer[..length]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Stopped::Nothing("no answer")),
        Err(error) => Err(error.into()),
    }
}

/// `struct sockaddr_in`.
fn address(text: &str) -> [u8; 16] {
    let parsed: SocketAddrV4 = text.parse().unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&parsed.port().to_be_bytes());
    bytes[4..8].copy_from_slice(&parsed.ip().octets());
    bytes
}

fn set(socket: &OwnedFd, level: i64, name: i64, value: &[u8]) -> io::Result<i64> {
    call(n::SETSOCKOPT, &[i64::from(socket.as_raw_fd()), level, name, at(value), value.len() as i64])
}

fn option(kind: i64, level: i64, name: i64, value: &[u8]) -> Outcome {
    done(set(&sys::socket(2, kind, 0)?, level, name, value))
}

fn option6(level: i64, name: i64, value: &[u8]) -> Outcome {
    done(set(&sys::socket(10, 2, 0)?, level, name, value))
}

fn ask_option(socket: &OwnedFd, level: i64, name: i64) -> Outcome {
    const GETSOCKOPT: i64 = if cfg!(target_arch = "x86_64") { 55 } else { 209 };
    let (mut value, mut length) = ([0_u8; 32], 32_u32);
    done(call(GETSOCKOPT, &[i64::from(socket.as_raw_fd()), level, name, into(&mut value), into(&mut length)]))
}

fn dial(world: &World, socket: OwnedFd, to: &str) -> Outcome {
    if is_outward(world, to) {
        return Err(Stopped::Nothing("not tried"));
    }
    call(n::CONNECT, &[i64::from(socket.as_raw_fd()), at(&address(to)), 16])?;
    converse(world, TcpStream::from(socket))
}

fn fast_open(world: &World, number: i64) -> Outcome {
    let socket = sys::socket(2, 1, 0)?;
    let (to, data) = (address("192.0.2.53:853"), b"GET / HTTP/1.0\r\n\r\n");
    let (fd, flags) = (i64::from(socket.as_raw_fd()), 0x2000_0000);
    if is_outward(world, "192.0.2.53:853") {
        return Err(Stopped::Nothing("not tried"));
    }
    if number == n::SENDTO {
        call(number, &[fd, at(data), data.len() as i64, flags, at(&to), 16])?;
    } else {
        let part = [at(data), data.len() as i64];
        call(number, &[fd, at(&[at(&to), 16, at(&part), 1, 0, 0, 0]), flags])?;
    }
    let mut answer = Vec::new();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    let _ = stream.read_to_end(&mut answer);
    is_ours(world, &answer)
}

fn steal(place: &str) -> Outcome {
    let socket = sys::socket(2, 1, 0)?;
    let one = 1_u32.to_ne_bytes();
    set(&socket, 1, 2, &one)?;
    set(&socket, 1, 15, &one)?;
    call(n::BIND, &[i64::from(socket.as_raw_fd()), at(&address(place)), 16])?;
    const LISTEN: i64 = if cfg!(target_arch = "x86_64") { 50 } else { 201 };
    done(call(LISTEN, &[i64::from(socket.as_raw_fd()), 1]))
}

/// Answers with the token on every port that attacks dial on a throwaway copy.
pub(crate) fn serve(world: &World, ready: impl FnOnce()) -> io::Result<()> {
    let token = world.get("token").to_owned();
    for port in [53, 80, 853, 8443] {
        let listener = TcpListener::bind(("::", port))?;
        let token = token.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(token.as_bytes());
                let mut rest = [0; 64];
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read(&mut rest);
            }
        });
    }
    for port in [53, 123, 443, 3478] {
        for socket in [UdpSocket::bind(("0.0.0.0", port))?, udp_elsewhere(port)?] {
            let token = token.clone();
            std::thread::spawn(move || answer_udp(&socket, &token));
        }
    }
    ready();
    sys::wait_for_ever()
}

/// A socket at 2001:db8::1, which is local without being an address of any interface; bound there,
/// because an answer must come from the address that was asked.
fn udp_elsewhere(port: u16) -> io::Result<UdpSocket> {
    const IPV6_FREEBIND: i64 = 78;
    let socket = sys::socket(10, 2, 0)?;
    set(&socket, 41, IPV6_FREEBIND, &1_u32.to_ne_bytes())?;
    let mut address = [0_u8; 28];
    address[..2].copy_from_slice(&10_u16.to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[8..12].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    address[23] = 1;
    call(n::BIND, &[i64::from(socket.as_raw_fd()), at(&address), 28])?;
    Ok(UdpSocket::from(socket))
}

fn answer_udp(socket: &UdpSocket, token: &str) {
    let mut question = [0; 512];
    while let Ok((_, from)) = socket.recv_from(&mut question) {
        let _ = socket.send_to(token.as_bytes(), from);
    }
}
