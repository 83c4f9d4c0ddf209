//! The host as attacks find it: secrets, sockets, services, careless descriptors, a hostile image.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;

use rustix::io::{FdFlags, fcntl_setfd};

use super::compile::static_program;

/// The red team's program.
pub(crate) fn red_team() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os(PROGRAM_VARIABLE) {
            return PathBuf::from(path);
        }
        let output = Path::new(env!("OUT_DIR")).join("redteam");
        static_program("tests/redteam/main.rs", &output, &["--crate-name=redteam"])
    })
}

/// Copies a program. By another process: if this one had it open for writing, a child forked at that moment by another test
/// would too, and it could not be started.
pub(crate) fn copy_program(program: &Path, to: &Path, mode: &str) {
    let copied = Command::new("install").args(["--mode", mode]).arg(program).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Names the program to a test binary that is run again as another user.
pub(crate) const PROGRAM_VARIABLE: &str = "GIGMCP_TEST_REDTEAM";

/// Lives as long as the attacks; takes everything away when dropped.
pub(crate) struct Scene {
    dir: PathBuf,
    token: String,
    service_port: u16,
    udp_port: u16,
    abstract_socket: String,
    /// A process with the token in its command line.
    careless: Child,
    shares_objects: bool,
    key: String,
    _huge_pages: Option<HugePages>,
    _held: Vec<OwnedFd>,
}

impl Scene {
    /// `key` names a key in the session of this process.
    pub(crate) fn new(key: &str) -> Self {
        let id = std::process::id();
        let dir = std::env::temp_dir().join(format!("gigmcp-attacks-{id}"));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        let token = format!("token-{:x}", u64::from(id) * 0x9e37_79b9_7f4a);
        fs::write(dir.join("canary"), &token).unwrap();
        let mut held = image(&dir.join("image"));
        held.push(UnixListener::bind(dir.join("host.socket")).unwrap().into());
        fs::set_permissions(dir.join("host.socket"), Permissions::from_mode(0o777)).unwrap();
        let abstract_socket = format!("gigmcp-attacks-{id}");
        let name = |name: &str| SocketAddr::from_abstract_name(name).unwrap();
        held.push(UnixListener::bind_addr(&name(&abstract_socket)).unwrap().into());
        held.push(UnixDatagram::bind_addr(&name(&format!("{abstract_socket}-datagram"))).unwrap().into());
        held.extend(careless_descriptors(&dir));
        let (service_port, udp_port) = services(&token);
        let careless = Command::new(red_team()).args(["hang", &token]).stdout(std::process::Stdio::null()).spawn();
        let shares_objects = rustix::process::geteuid().is_root();
        let scene = Self {
            dir,
            token,
            service_port,
            udp_port,
            abstract_socket,
            careless: careless.unwrap(),
            shares_objects,
            key: key.to_owned(),
            _huge_pages: shares_objects.then(HugePages::new),
            _held: held,
        };
        if shares_objects {
            scene.objects("make");
        }
        scene
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.dir.join("image")
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// What an attack is told. Inside, an image's files have other paths.
    pub(crate) fn world(&self, image: &Path) -> String {
        let below = |path: &str| image.join(path).display().to_string();
        let own = |path: &str| self.dir.join(path).display().to_string();
        let mut world = vec![
            ("canary", own("canary")),
            ("host_socket", own("host.socket")),
            ("host_paths", self.dir.file_name().unwrap().to_str().unwrap().to_owned()),
            ("token", self.token.clone()),
            ("set_user_id", below("bin/set-user-id")),
            ("file_capabilities", below("bin/file-capabilities")),
            ("planted_socket", below("app/planted.socket")),
            ("gateway", std::process::id().to_string()),
            ("gateway_group", rustix::process::getpgrp().as_raw_nonzero().to_string()),
            ("service_port", self.service_port.to_string()),
            ("udp_port", self.udp_port.to_string()),
            ("host_address", host_address()),
            ("abstract_socket", self.abstract_socket.clone()),
            ("ipc_key", self.ipc_key().to_string()),
            ("queue", self.abstract_socket.clone()),
            ("key", self.key.clone()),
            ("environment", "TOKEN".to_owned()),
        ]
        .into_iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect::<String>();
        for name in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
            let link = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            world.push_str(&format!("ns.{name}={}\n", link.display()));
        }
        world
    }

    fn ipc_key(&self) -> u32 {
        0x6769_0000 | std::process::id() & 0xffff
    }

    /// Objects that have names or numbers instead of descriptors.
    fn objects(&self, verb: &str) {
        let arguments = [verb, &self.ipc_key().to_string(), &self.abstract_socket];
        let status = Command::new(red_team()).arg("objects").args(arguments).status().unwrap();
        assert!(status.success(), "{verb} the objects that are shared by name");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.shares_objects {
            self.objects("remove");
        }
        let _ = self.careless.kill();
        let _ = self.careless.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Huge pages of the host, for as long as this lives.
struct HugePages {
    before: String,
}

impl HugePages {
    const COUNT: &str = "/proc/sys/vm/nr_hugepages";

    fn new() -> Self {
        let before = fs::read_to_string(Self::COUNT).unwrap();
        let more: u32 = before.trim().parse::<u32>().unwrap() + 16;
        fs::write(Self::COUNT, more.to_string()).unwrap();
        Self { before }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = fs::write(Self::COUNT, &self.before);
    }
}

/// An image with the red team in it, as a server and with marks that should give it rights, and a
/// socket of the host deep inside.
fn image(top: &Path) -> Vec<OwnedFd> {
    for dir in ["bin", "etc", "usr/lib", "app"] {
        fs::create_dir_all(top.join(dir)).unwrap();
    }
    for (name, mode) in [("server", "755"), ("bin/set-user-id", "6755"), ("bin/file-capabilities", "755")] {
        copy_program(red_team(), &top.join(name), mode);
    }
    fs::write(top.join("usr/lib/libc.so"), "not really").unwrap();
    if rustix::process::geteuid().is_root() {
        // `struct vfs_cap_data` of version 2, effective, with CAP_NET_RAW and CAP_SYS_ADMIN permitted.
        let permitted: u32 = 1 << 13 | 1 << 21;
        let words = [0x0200_0001, permitted, 0, 0, 0].map(u32::to_le_bytes).concat();
        let path = top.join("bin/file-capabilities");
        rustix::fs::setxattr(path, "security.capability", &words, rustix::fs::XattrFlags::empty()).unwrap();
    }
    let socket = UnixListener::bind(top.join("app/planted.socket")).unwrap();
    fs::set_permissions(top.join("app/planted.socket"), Permissions::from_mode(0o777)).unwrap();
    vec![socket.into()]
}

/// Descriptors that an embedder forgot to mark, of every kind that grants something.
fn careless_descriptors(dir: &Path) -> Vec<OwnedFd> {
    let (one, other) = UnixDatagram::pair().unwrap();
    let leaked: Vec<OwnedFd> = vec![
        File::open(dir.join("canary")).unwrap().into(),
        File::open("/").unwrap().into(),
        File::open("/proc/self/ns/net").unwrap().into(),
        TcpListener::bind("127.0.0.1:0").unwrap().into(),
        rustix::event::epoll::create(rustix::event::epoll::CreateFlags::empty()).unwrap(),
        rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap(),
        one.into(),
    ];
    for fd in &leaked {
        fcntl_setfd(fd, FdFlags::empty()).unwrap();
    }
    leaked.into_iter().chain([other.into()]).collect()
}

/// Services on every address of the host, that answer with the token.
fn services(token: &str) -> (u16, u16) {
    let listener = TcpListener::bind("[::]:0").unwrap();
    let datagrams = UdpSocket::bind("0.0.0.0:0").unwrap();
    let ports = (listener.local_addr().unwrap().port(), datagrams.local_addr().unwrap().port());
    let word = token.to_owned();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(word.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 64]);
        }
    });
    let word = token.to_owned();
    std::thread::spawn(move || {
        while let Ok((_, from)) = datagrams.recv_from(&mut [0; 64]) {
            let _ = datagrams.send_to(word.as_bytes(), from);
        }
    });
    ports
}

/// The address that the host's packets would have, or its loopback.
fn host_address() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let found = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    found.map_or("127.0.0.1".to_owned(), |address| address.ip().to_string())
}
