use std::net::IpAddr;

/// Says which addresses may be dialled. A publisher chooses the registry, and a registry where it redirects to: without a
/// check, both could have this machine ask its neighbours.
pub trait AddressCheck: Send + Sync {
    /// Whether `address`, which `host` resolved to, may be dialled.
    fn allows(&self, host: &str, address: IpAddr) -> bool;
}

impl<F: Fn(&str, IpAddr) -> bool + Send + Sync> AddressCheck for F {
    fn allows(&self, host: &str, address: IpAddr) -> bool {
        self(host, address)
    }
}
