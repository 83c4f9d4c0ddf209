//! Links of the host, seen and made from outside.

use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use gigmcp_sandbox::Network;

use crate::probe::probe;
use crate::veth::pool;

/// The name of the host's end of the link with this address, as the crate gives it.
pub(crate) fn interface(host: Ipv4Addr) -> String {
    format!("gig{:08x}", host.to_bits())
}

/// How many packets have come over the link to the host.
pub(crate) fn packets_from(host: Ipv4Addr) -> u64 {
    let path = format!("/sys/class/net/{}/statistics/rx_packets", interface(host));
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

/// The number that the other end of the link has in its network namespace.
pub(crate) fn peer_index(host: Ipv4Addr) -> String {
    let path = format!("/sys/class/net/{}/iflink", interface(host));
    fs::read_to_string(path).unwrap().trim().to_owned()
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// An address that no link has, on loopback.
pub(crate) struct Address(pub(crate) Ipv4Addr);

impl Address {
    pub(crate) fn new() -> Self {
        let address = *Network::veth(&pool()).unwrap().proxy().unwrap().ip();
        ip(&format!("address add {address}/32 dev lo"));
        Self(address)
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        ip(&format!("address del {}/32 dev lo", self.0));
    }
}

/// A link as the original system made them: a pair, a /30 and a default route, and nothing in the way.
pub(crate) struct BareLink {
    holder: Child,
    network: Network,
}

impl BareLink {
    pub(crate) fn new() -> Self {
        let network = Network::veth(&pool()).unwrap();
        let mut holder = Command::new("unshare");
        holder.args(["--net", "--"]).arg(probe()).args(["hang", "bare-link"]).stdout(Stdio::piped());
        let mut holder = holder.spawn().unwrap();
        holder.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        let bare = Self { holder, network };
        let (host, sandbox, name) = (bare.host(), bare.sandbox(), interface(bare.host()));
        let pid = bare.holder.id();
        ip(&format!("link add {name} type veth peer name gig0 netns {pid}"));
        // Addresses of IPv6 would have the ends speak before they are spoken to.
        ip(&format!("link set {name} addrgenmode none"));
        bare.inside("link set gig0 addrgenmode none");
        ip(&format!("address add {host}/30 dev {name}"));
        ip(&format!("link set {name} up"));
        bare.inside(&format!("address add {sandbox}/30 dev gig0"));
        bare.inside("link set gig0 up");
        bare.inside(&format!("route add default via {host}"));
        bare
    }

    pub(crate) fn host(&self) -> Ipv4Addr {
        *self.network.proxy().unwrap().ip()
    }

    pub(crate) fn sandbox(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.host().to_bits() + 1)
    }

    pub(crate) fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    fn inside(&self, arguments: &str) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace())).args(["--", "ip"]).args(arguments.split(' '));
        assert!(command.status().unwrap().success(), "ip {arguments}");
    }
}

impl Drop for BareLink {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
