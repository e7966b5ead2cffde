//! This machine's address.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use network::Cidr;

/// The address that other machines reach this one by: that of the default route, else any that is not loopback, else the
/// pod network's own, which is there on a machine with nothing but loopback and which pods reach too.
pub fn find(cluster_cidr: &Cidr) -> Ipv4Addr {
    of_default_route().or_else(|| of_any_link(cluster_cidr)).unwrap_or_else(|| gateway(cluster_cidr))
}

/// Connecting a datagram socket sends nothing: the kernel only chooses a route and with it the source. The target is an
/// address that belongs to nobody (RFC 5737).
fn of_default_route() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    usable(socket.local_addr().ok()?.ip())
}

fn of_any_link(cluster_cidr: &Cidr) -> Option<Ipv4Addr> {
    let all = nix::ifaddrs::getifaddrs().ok()?;
    let addresses = all.filter_map(|link| Some(IpAddr::V4(link.address?.as_sockaddr_in()?.ip())));
    addresses.filter(|a| !cluster_cidr.contains(*a)).find_map(usable)
}

fn usable(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) if !v4.is_loopback() && !v4.is_unspecified() && !v4.is_link_local() => Some(v4),
        _ => None,
    }
}

/// The first node's bridge has the first address of the pod network.
fn gateway(cluster_cidr: &Cidr) -> Ipv4Addr {
    match cluster_cidr.at(1) {
        Some(IpAddr::V4(first)) => first,
        _ => Ipv4Addr::LOCALHOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_network_serves_when_there_is_nothing_else() {
        assert_eq!(gateway(&"10.42.0.0/16".parse().unwrap()), Ipv4Addr::new(10, 42, 0, 1));
        assert_eq!(usable("127.0.0.1".parse().unwrap()), None);
        assert!(usable(find(&"10.42.0.0/16".parse().unwrap()).into()).is_some());
    }
}
