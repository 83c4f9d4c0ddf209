//! Attempts against the network.

use std::ffi::{c_int, c_long};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

unsafe extern "C" {
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_int, length: u32) -> c_int;
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut u8, length: *mut u32) -> c_int;
    fn bind(fd: c_int, address: *const u8, length: u32) -> c_int;
    fn connect(fd: c_int, address: *const u8, length: u32) -> c_int;
    fn sendto(fd: c_int, data: *const u8, length: usize, flags: c_int, to: *const u8, to_length: u32) -> isize;
    fn sendmsg(fd: c_int, message: *const usize, flags: c_int) -> isize;
}

/// The attempt of this name, if it is one against the network.
pub(crate) fn attempt(name: &str, arguments: &[&str]) -> Option<io::Result<String>> {
    let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
    let to = |index: usize| argument(index).parse::<SocketAddrV4>().expect("an address");
    Some(match name {
        "tcp" => tcp(to(0), &[]),
        "tcp-on" => tcp(to(1), &[Setting::interface(argument(0))]),
        "tcp-source" => tcp_from(argument(0), to(1)),
        "tcp-source-routed" => tcp(to(0), &[Setting::source_route(to(0), to(1))]),
        "tcp-mptcp" => tcp_of_protocol(to(0), 262, &[]),
        "tcp-ipv6" => TcpStream::connect_timeout(&argument(0).parse().expect("an address"), PATIENCE).map(drop_it),
        "udp" => udp(to(0), &[]),
        "udp-on" => udp(to(1), &[Setting::interface(argument(0))]),
        "udp-unicast-if" => udp(to(1), &[Setting::unicast_interface(argument(0))]),
        "udp-pktinfo" => udp_by_message(argument(0), to(1)),
        "udp-source" => udp_from(argument(0), to(1)),
        "udp-broadcast" => udp(to(1), &[Setting::broadcast(), Setting::interface(argument(0))]),
        "udp-multicast" => udp(to(1), &[Setting::multicast_interface(argument(0))]),
        "udp-ipv6" => udp_ipv6(argument(0)),
        "udp-forged" => udp_forged(argument(0), to(1)),
        "ping" => ping(argument(0), to(1)),
        "drop-filter" => drop_filter(),
        "say" => say(to(0), argument(1)),
        "serve" => serve(argument(0)),
        "ask" => ask(to(0), argument(1)),
        "stuff" => stuff(to(0)),
        "burst" => burst(to(0), argument(1)),
        _ => return None,
    })
}

/// A socket option.
struct Setting(c_int, c_int, Vec<u8>);

impl Setting {
    fn interface(name: &str) -> Self {
        Self(1, 25, name.as_bytes().to_vec()) // SO_BINDTODEVICE
    }

    fn unicast_interface(index: &str) -> Self {
        Self(0, 50, number(index).to_be_bytes().to_vec()) // IP_UNICAST_IF
    }

    fn broadcast() -> Self {
        Self(1, 6, 1_u32.to_ne_bytes().to_vec()) // SO_BROADCAST
    }

    fn multicast_interface(index: &str) -> Self {
        // IP_MULTICAST_IF with struct ip_mreqn
        Self(0, 32, [[0; 4], [0; 4], number(index).to_ne_bytes()].concat())
    }

    /// IP_FREEBIND: any address may be the source.
    fn any_source() -> Self {
        Self(0, 15, 1_u32.to_ne_bytes().to_vec())
    }

    /// IP_OPTIONS with a loose source route: to `first`, which passes it on to `last`.
    fn source_route(first: SocketAddrV4, last: SocketAddrV4) -> Self {
        let option = [&[1, 131, 11, 4][..], &first.ip().octets(), &last.ip().octets()].concat();
        Self(0, 4, option)
    }

    fn set(&self, fd: c_int) -> io::Result<()> {
        // SAFETY: the kernel reads as many bytes as there are.
        check(unsafe { setsockopt(fd, self.0, self.1, self.2.as_ptr().cast(), self.2.len() as u32) } as c_long)
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

fn drop_it<T>(_: T) -> String {
    String::new()
}

fn check(result: c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}

fn raw(address: SocketAddrV4) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    bytes[4..8].copy_from_slice(&address.ip().octets());
    bytes
}

fn tcp(to: SocketAddrV4, settings: &[Setting]) -> io::Result<String> {
    tcp_of_protocol(to, 6, settings)
}

fn tcp_of_protocol(to: SocketAddrV4, protocol: c_int, settings: &[Setting]) -> io::Result<String> {
    // SAFETY: integers only; the descriptor is ours from here on.
    let stream = unsafe {
        let fd = socket(2, 1, protocol);
        check(fd.into())?;
        TcpStream::from_raw_fd(fd)
    };
    for setting in settings {
        setting.set(stream.as_raw_fd())?;
    }
    finish(stream, to)
}

fn tcp_from(source: &str, to: SocketAddrV4) -> io::Result<String> {
    // SAFETY: as above, and one address of 16 bytes.
    let stream = unsafe {
        let fd = socket(2, 1, 6);
        check(fd.into())?;
        let stream = TcpStream::from_raw_fd(fd);
        Setting::any_source().set(fd)?;
        let source = SocketAddrV4::new(source.parse().expect("an address"), 0);
        check(bind(fd, raw(source).as_ptr(), 16).into())?;
        stream
    };
    finish(stream, to)
}

/// Connects, and gives up where nothing answers for as long as two tries take.
fn finish(stream: TcpStream, to: SocketAddrV4) -> io::Result<String> {
    // TCP_SYNCNT: 1, about three seconds.
    Setting(6, 7, 1_u32.to_ne_bytes().to_vec()).set(stream.as_raw_fd())?;
    // SAFETY: one address of 16 bytes.
    check(unsafe { connect(stream.as_raw_fd(), raw(to).as_ptr(), 16) }.into())?;
    Ok(String::new())
}

/// Sends a datagram. What nobody takes, and what comes back as refused, is an error.
fn udp(to: SocketAddrV4, settings: &[Setting]) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    for setting in settings {
        setting.set(socket.as_raw_fd())?;
    }
    // Not connected: `connect` does not look at every option.
    socket.send_to(b"ping", to)?;
    exchange(&socket, to)
}

fn udp_from(source: &str, to: SocketAddrV4) -> io::Result<String> {
    // SAFETY: integers and one address of 16 bytes; the descriptor is ours from here on.
    let socket = unsafe {
        let fd = socket(2, 2, 17);
        check(fd.into())?;
        let socket = UdpSocket::from_raw_fd(fd);
        Setting::any_source().set(fd)?;
        let source = SocketAddrV4::new(source.parse().expect("an address"), 0);
        check(bind(fd, raw(source).as_ptr(), 16).into())?;
        socket
    };
    exchange(&socket, to)
}

/// Sends, and waits a moment for the network to refuse. What is lost silently counts as sent.
fn exchange(socket: &UdpSocket, to: SocketAddrV4) -> io::Result<String> {
    socket.connect(to)?;
    socket.send(b"ping")?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    match socket.recv(&mut [0; 16]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(String::new()),
        result => result.map(drop_it),
    }
}

/// Names the interface in the message rather than for the socket.
fn udp_by_message(interface: &str, to: SocketAddrV4) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let to = raw(to);
    let data = *b"ping";
    let part = [data.as_ptr() as usize, data.len()];
    // struct cmsghdr: length, IPPROTO_IP, IP_PKTINFO; then struct in_pktinfo
    let mut control = [0_u32; 8];
    control[0] = 28;
    control[3] = 8;
    control[4] = number(interface);
    let message = [to.as_ptr() as usize, 16, part.as_ptr() as usize, 1, control.as_ptr() as usize, 32, 0];
    // SAFETY: `struct msghdr` of 64 bits with an address, one part and one control message, all alive.
    check(unsafe { sendmsg(socket.as_raw_fd(), message.as_ptr(), 0) } as c_long)?;
    Ok(String::new())
}

fn udp_ipv6(to: &str) -> io::Result<String> {
    let to: SocketAddr = to.parse().expect("an address");
    UdpSocket::bind("[::]:0")?.send_to(b"ping", to).map(drop_it)
}

/// As `udp_from`, by an option that lifts all checks of the source and needs CAP_NET_RAW.
fn udp_forged(source: &str, to: SocketAddrV4) -> io::Result<String> {
    // SAFETY: integers and one address of 16 bytes; the descriptor is ours from here on.
    let socket = unsafe {
        let fd = socket(2, 2, 17);
        check(fd.into())?;
        let socket = UdpSocket::from_raw_fd(fd);
        Setting(0, 19, 1_u32.to_ne_bytes().to_vec()).set(fd)?; // IP_TRANSPARENT
        let source = SocketAddrV4::new(source.parse().expect("an address"), 0);
        check(bind(fd, raw(source).as_ptr(), 16).into())?;
        socket
    };
    exchange(&socket, to)
}

/// An echo request through a socket of this kind: 2 a ping socket, 3 a raw one.
fn ping(kind: &str, to: SocketAddrV4) -> io::Result<String> {
    // SAFETY: integers, then 8 bytes of an echo request and an address, all alive.
    unsafe {
        let fd = socket(2, kind.parse().expect("a number"), 1);
        check(fd.into())?;
        let request = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
        check(sendto(fd, request.as_ptr(), 8, 0, raw(to).as_ptr(), 16) as c_long)?;
    }
    Ok(String::new())
}

/// Sends a word over TCP and returns the answer.
fn say(to: SocketAddrV4, word: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
    stream.write_all(word.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Listens for the host to come in, until its standard input ends.
fn serve(port: &str) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.parse().expect("a port")))?;
    println!("listening");
    listener.set_nonblocking(true)?;
    io::stdin().read_to_end(&mut Vec::new())?;
    listener.accept().map(drop_it)
}

/// Opens this many connections that nobody accepts, and tells how many had to ask again.
fn burst(to: SocketAddrV4, count: &str) -> io::Result<String> {
    let (mut held, mut again) = (Vec::new(), 0);
    for _ in 0..count.parse().expect("a number") {
        let stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
        again += u32::from(retransmissions(&stream)? > 0);
        held.push(stream);
    }
    Ok(if again == 0 { "at once".to_owned() } else { format!("{again} again") })
}

/// `tcpi_total_retrans` of TCP_INFO.
fn retransmissions(stream: &TcpStream) -> io::Result<u32> {
    let (mut info, mut length) = ([0_u8; 104], 104);
    // SAFETY: writes no more than it is told there is room for.
    check(unsafe { getsockopt(stream.as_raw_fd(), 6, 11, info.as_mut_ptr(), &raw mut length) }.into())?;
    Ok(u32::from_ne_bytes([info[100], info[101], info[102], info[103]]))
}

/// Asks nf_tables to delete the table of the sandbox's filter.
fn drop_filter() -> io::Result<String> {
    // SAFETY: integers only; the descriptor is ours from here on.
    let mut socket = unsafe {
        let fd = socket(16, 3, 12);
        check(fd.into())?;
        File::from_raw_fd(fd)
    };
    let message = |kind: u16, flags: u16, fixed: [u8; 4], rest: &[u8]| {
        let length = 20 + rest.len() as u32;
        let head = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8], &fixed];
        [&head.concat(), rest].concat()
    };
    let table = [&11_u16.to_ne_bytes()[..], &1_u16.to_ne_bytes(), b"gigmcp\0\0"].concat();
    let (begin, end) = (message(0x10, 1, [0, 0, 0, 10], &[]), message(0x11, 1, [0, 0, 0, 10], &[]));
    socket.write_all(&[begin, message(10 << 8 | 2, 5, [1, 0, 0, 0], &table), end].concat())?;
    let mut answer = [0; 256];
    socket.read_exact(&mut answer[..20])?;
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(String::new()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// Sends a word in a datagram and returns the answer.
fn ask(to: SocketAddrV4, word: &str) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(word.as_bytes())?;
    let mut answer = [0; 256];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Sends until nothing more is taken, and holds on to it.
fn stuff(to: SocketAddrV4) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
    stream.set_write_timeout(Some(Duration::from_millis(200)))?;
    while stream.write(&[0; 1 << 16]).is_ok() {}
    println!("stuffed");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(String::new())
}
