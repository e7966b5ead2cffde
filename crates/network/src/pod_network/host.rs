//! The links, addresses, routes and kernel settings of the node and of a pod.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;

use super::PodNetworkConfig;
use super::state::Record;
use crate::cidr::Cidr;
use crate::error::{NetworkError, Result};
use crate::hash::fnv as hash;
use crate::netlink::links::{MacAddress, NAME_BYTES_MAX, VethPair};
use crate::netlink::routes::Route;
use crate::netlink::{RouteSocket, Socket, netns};

const MTU_DEFAULT: u32 = 1500;
const LINK_PREFIX: &str = "veth";
const LINK_HASH_DIGITS: usize = 11;
/// The pod's end.
const POD_LINK: &str = "eth0";

/// Checks the configuration; returns the bridge's address.
pub fn check(config: &PodNetworkConfig) -> Result<IpAddr> {
    let range = config.pod_cidr;
    let name = &config.bridge;
    let bad_name =
        name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(['/', ' ', ':']) || name.starts_with('.');
    if bad_name {
        return Err(NetworkError::Config(format!("{name:?} cannot be the name of a bridge")));
    }
    if !range.address().is_ipv4() || !config.cluster_cidr.address().is_ipv4() {
        return Err(NetworkError::Config(format!("pod range {range} is not IPv4, the only family of pods so far")));
    }
    if range.prefix() > 29 || range.prefix() < 8 {
        return Err(NetworkError::Config(format!("pod range {range} is too small or too large: /8 to /29 works")));
    }
    if !config.cluster_cidr.contains(range.network()) || range.prefix() < config.cluster_cidr.prefix() {
        return Err(NetworkError::Config(format!(
            "pod range {range} is not within the cluster's {}",
            config.cluster_cidr
        )));
    }
    Ok(range.at(1).expect("a range of at least eight addresses has a second"))
}

/// The MTU of pods: as configured, that of the default route's link, or 1500.
pub fn mtu(routes: &mut RouteSocket, config: &PodNetworkConfig) -> Result<u32> {
    if let Some(mtu) = config.mtu {
        return Ok(mtu);
    }
    let device = routes.default_route_device()?;
    let links = routes.links()?;
    let link = links.iter().find(|link| Some(link.index) == device);
    Ok(link.map_or(MTU_DEFAULT, |link| link.mtu))
}

/// Makes or repairs the bridge with its address, routes and settings; returns its index.
pub fn ensure_bridge(routes: &mut RouteSocket, config: &PodNetworkConfig, gateway: IpAddr, mtu: u32) -> Result<u32> {
    let name = &config.bridge;
    if routes.link(name)?.is_none() {
        routes.add_bridge(name, mac(gateway), mtu)?;
    }
    let gone = || NetworkError::Config(format!("bridge {name} was removed while it was being set up"));
    let bridge = routes.link(name)?.ok_or_else(gone)?;
    if bridge.kind.as_deref() != Some("bridge") {
        let kind = bridge.kind.as_deref().unwrap_or("hardware");
        return Err(NetworkError::Config(format!("link {name} is there already and is no bridge, but {kind}")));
    }
    let address = Cidr::new(gateway, config.pod_cidr.prefix()).expect("the gateway has the range's family");
    for other in routes.addresses(bridge.index)?.into_iter().filter(|other| *other != address) {
        routes.delete_address(bridge.index, other)?;
    }
    routes.set_mtu(&bridge, mtu)?;
    routes.set_up(&bridge)?;
    routes.add_address(bridge.index, address)?;
    if let Some(destination) = config.service_cidr {
        routes.set_route(&Route { destination, device: bridge.index, gateway: None, source: Some(gateway) })?;
    }
    switch_on(Path::new("/proc/sys/net/ipv4/ip_forward"), "1")?;
    // Node ports on 127.0.0.1 leave over the bridge with a loopback source until they are masqueraded.
    switch_on(&setting(name, "route_localnet"), "1")?;
    switch_on(&setting(name, "send_redirects"), "0")?;
    Ok(bridge.index)
}

/// Makes a pod's veth pair and sets both ends up. What is there already stays.
pub fn connect(record: &Record, namespace: &File, config: &PodNetworkConfig, gateway: IpAddr, mtu: u32) -> Result<()> {
    let address =
        *record.addresses.first().ok_or_else(|| NetworkError::Config("a pod without an address".to_owned()))?;
    let mut routes = Socket::route()?;
    let bridge = match routes.link(&config.bridge)? {
        Some(bridge) => bridge.index,
        None => ensure_bridge(&mut routes, config, gateway, mtu)?,
    };
    let pair = VethPair {
        name: &record.link,
        master: bridge,
        mtu,
        peer_name: POD_LINK,
        peer_mac: mac(address),
        peer_netns: namespace.as_fd(),
    };
    let complete = routes.link(&record.link)?.is_some_and(|link| link.master == Some(bridge))
        && netns::run_inside(namespace, || Ok(Socket::route()?.link(POD_LINK)?.is_some()))?;
    if !complete {
        routes.delete_link(&record.link)?;
        routes.add_veth(&pair)?;
    }
    if let Some(link) = routes.link(&record.link)? {
        routes.set_port(&link, &format!("pod {}/{} {}", record.namespace, record.name, record.sandbox_id))?;
    }
    netns::run_inside(namespace, || set_up_inside(address, gateway))
}

/// In the pod: loopback, its address, its routes. A route to itself makes the gateway a neighbour although the address is
/// a /32.
fn set_up_inside(address: IpAddr, gateway: IpAddr) -> Result<()> {
    let mut routes = Socket::route()?;
    let missing = |name: &str| NetworkError::Config(format!("a pod's network namespace has no link {name}"));
    let loopback = routes.link("lo")?.ok_or_else(|| missing("lo"))?;
    routes.set_up(&loopback)?;
    let link = routes.link(POD_LINK)?.ok_or_else(|| missing(POD_LINK))?;
    // The node forwards between pods of one bridge; nobody may talk a pod into a shortcut around it.
    switch_on(&setting("all", "accept_redirects"), "0")?;
    switch_on(&setting(POD_LINK, "accept_redirects"), "0")?;
    routes.set_up(&link)?;
    routes.add_address(link.index, Cidr::host(address))?;
    let neighbour =
        Route { destination: Cidr::host(gateway), device: link.index, gateway: None, source: Some(address) };
    routes.set_route(&neighbour)?;
    let everything = Cidr::new([0, 0, 0, 0].into(), 0).expect("zero bits fit");
    routes.set_route(&Route {
        destination: everything,
        device: link.index,
        gateway: Some(gateway),
        source: Some(address),
    })
}

/// The name of the node's end of a sandbox's veth pair.
pub fn link_name(sandbox_id: &str) -> String {
    format!("{LINK_PREFIX}{:011x}", hash(sandbox_id.as_bytes()) & 0xfff_ffff_ffff)
}

/// Whether a link has a name of the form that [`link_name`] gives.
pub fn is_pod_link(name: &str) -> bool {
    name.strip_prefix(LINK_PREFIX)
        .is_some_and(|rest| rest.len() == LINK_HASH_DIGITS && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// An Ethernet address that follows from the IP address: whoever gets the address later has the same one, so no
/// neighbour's cache is ever wrong.
fn mac(address: IpAddr) -> MacAddress {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [0x0a, 0x58, a, b, c, d]
        }
        IpAddr::V6(address) => {
            let o = address.octets();
            [0x0a, 0x58, o[12], o[13], o[14], o[15]]
        }
    }
}

fn setting(link: &str, name: &str) -> std::path::PathBuf {
    Path::new("/proc/sys/net/ipv4/conf").join(link).join(name)
}

/// Sets a kernel setting unless it has the value: `/proc/sys` may be read-only on a machine that is set up already.
fn switch_on(path: &Path, value: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    fs::write(path, value).map_err(|source| NetworkError::io(format!("set {} to {value}", path.display()), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_fit_and_are_known_again() {
        let name = link_name(&"f".repeat(64));
        assert_eq!(name.len(), NAME_BYTES_MAX);
        assert!(is_pod_link(&name));
        assert_ne!(name, link_name("other"));
        for other in ["veth0", "eth0", "veth123456789zz"] {
            assert!(!is_pod_link(other));
        }
    }

    #[test]
    fn configurations_that_cannot_work_are_refused() {
        let config = |bridge: &str, pods: &str, cluster: &str| PodNetworkConfig {
            bridge: bridge.to_owned(),
            ..PodNetworkConfig::new(pods.parse().expect("a range"), cluster.parse().expect("a range"), "/nowhere")
        };
        assert_eq!(check(&config("skiff0", "10.42.3.0/24", "10.42.0.0/16")).expect("fine").to_string(), "10.42.3.1");
        for (bridge, pods, cluster) in [
            ("a-name-that-is-too-long", "10.42.0.0/24", "10.42.0.0/16"),
            ("skiff0", "10.42.0.0/30", "10.42.0.0/16"),
            ("skiff0", "10.43.0.0/24", "10.42.0.0/16"),
            ("skiff0", "10.0.0.0/8", "10.42.0.0/16"),
            ("skiff0", "fd00::/64", "fd00::/48"),
        ] {
            assert!(check(&config(bridge, pods, cluster)).is_err(), "{bridge} {pods}");
        }
    }
}
