//! Addresses and routes.

use std::net::IpAddr;

use nix::errno::Errno;

use crate::cidr::Cidr;
use crate::error::{NetworkError, Result};
use crate::netlink::message::{Attributes, as_address, as_u32, attribute};
use crate::netlink::socket::{CREATE, DUMP, REPLACE, RouteSocket};

/// `IFA_…`.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
/// `RTA_…`.
const DESTINATION: u16 = 1;
const DEVICE: u16 = 4;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const PREFERRED_SOURCE: u16 = 7;

const ADDRESS_HEADER_BYTES: usize = 8;
const ROUTE_HEADER_BYTES: usize = 12;
const TABLE_MAIN: u8 = 254;
/// `RTPROT_STATIC`: set by an administrator's tool.
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const TYPE_UNICAST: u8 = 1;

/// A route of the main table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Where to.
    pub destination: Cidr,
    /// Through which link, by index.
    pub device: u32,
    /// Through which neighbour; `None` when the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The source address that this machine uses on it.
    pub source: Option<IpAddr>,
}

impl RouteSocket {
    /// Gives a link an address with the prefix of its network. No error when it has it.
    pub fn add_address(&mut self, device: u32, address: Cidr) -> Result<()> {
        self.request((libc::RTM_NEWADDR, CREATE | REPLACE), &address_header(device, address), |a| {
            write_address(a, address);
        })
        .map_err(|error| NetworkError::kernel(format!("add address {address}"), error))
    }

    /// Takes an address from a link. No error when it has none such.
    pub fn delete_address(&mut self, device: u32, address: Cidr) -> Result<()> {
        match self.request((libc::RTM_DELADDR, 0), &address_header(device, address), |a| write_address(a, address)) {
            Err(error) if error.errno != Errno::EADDRNOTAVAIL => {
                Err(NetworkError::kernel(format!("delete address {address}"), error))
            }
            _ => Ok(()),
        }
    }

    /// The IPv4 addresses of a link.
    pub fn addresses(&mut self, device: u32) -> Result<Vec<Cidr>> {
        let mut all = Vec::new();
        let header = [libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0];
        self.query((libc::RTM_GETADDR, DUMP), &header, |_| {}, &mut |payload| {
            all.extend(parse_address(payload).filter(|(index, _)| *index == device).map(|(_, address)| address));
        })
        .map_err(|error| NetworkError::kernel("list addresses", error))?;
        Ok(all)
    }

    /// Adds a route or changes the one to the same destination.
    pub fn set_route(&mut self, route: &Route) -> Result<()> {
        self.request((libc::RTM_NEWROUTE, CREATE | REPLACE), &route_header(route), |a| {
            if route.destination.prefix() > 0 {
                a.bytes(DESTINATION, &octets(route.destination.network()));
            }
            a.u32(DEVICE, route.device);
            route.gateway.iter().for_each(|gateway| a.bytes(GATEWAY, &octets(*gateway)));
            route.source.iter().for_each(|source| a.bytes(PREFERRED_SOURCE, &octets(*source)));
        })
        .map_err(|error| NetworkError::kernel(format!("add a route to {}", route.destination), error))
    }

    /// The index of the link that the best IPv4 default route goes through.
    pub fn default_route_device(&mut self) -> Result<Option<u32>> {
        let mut best: Option<(u32, u32)> = None;
        let mut header = [0; ROUTE_HEADER_BYTES];
        header[0] = libc::AF_INET as u8;
        self.query((libc::RTM_GETROUTE, DUMP), &header, |_| {}, &mut |payload| {
            if let Some(found) = parse_default(payload) {
                best = Some(best.map_or(found, |known| known.min(found)));
            }
        })
        .map_err(|error| NetworkError::kernel("list routes", error))?;
        Ok(best.map(|(_, device)| device))
    }
}

fn write_address(a: &mut Attributes<'_>, address: Cidr) {
    a.bytes(LOCAL, &octets(address.address()));
    a.bytes(ADDRESS, &octets(address.address()));
}

/// `struct ifaddrmsg`.
fn address_header(device: u32, address: Cidr) -> [u8; ADDRESS_HEADER_BYTES] {
    let mut bytes = [family(address.address()), address.prefix(), 0, 0, 0, 0, 0, 0];
    bytes[4..].copy_from_slice(&device.to_ne_bytes());
    bytes
}

/// `struct rtmsg`.
fn route_header(route: &Route) -> [u8; ROUTE_HEADER_BYTES] {
    let scope = if route.gateway.is_some() { SCOPE_UNIVERSE } else { SCOPE_LINK };
    let family = family(route.destination.address());
    [family, route.destination.prefix(), 0, 0, TABLE_MAIN, PROTOCOL_STATIC, scope, TYPE_UNICAST, 0, 0, 0, 0]
}

fn parse_address(payload: &[u8]) -> Option<(u32, Cidr)> {
    let attributes = payload.get(ADDRESS_HEADER_BYTES..)?;
    let value = attribute(attributes, LOCAL).or_else(|| attribute(attributes, ADDRESS))?;
    Some((as_u32(&payload[4..8])?, Cidr::new(as_address(value)?, payload[1])?))
}

/// (metric, link) of a default route in the main table.
fn parse_default(payload: &[u8]) -> Option<(u32, u32)> {
    let attributes = payload.get(ROUTE_HEADER_BYTES..)?;
    let is_default = payload[1] == 0 && payload[4] == TABLE_MAIN && payload[7] == TYPE_UNICAST;
    let metric = attribute(attributes, PRIORITY).and_then(as_u32).unwrap_or_default();
    is_default.then_some((metric, attribute(attributes, DEVICE).and_then(as_u32)?))
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

/// The address's bytes in network order.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
