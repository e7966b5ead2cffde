//! Connection tracking: reading entries and deleting stale ones (ctnetlink).

use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;

use crate::error::{NetworkError, Result};
use crate::netlink::message::{Attributes, as_address, as_be16, attribute};
use crate::netlink::socket::{DUMP, Socket};

/// `NFNL_SUBSYS_CTNETLINK`.
const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;

/// `CTA_…`.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const FILTER: u16 = 25;
/// `CTA_FILTER_…`: which fields of the tuples count.
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const FILTER_BY_PROTOCOL: u32 = 1 << 3;
/// `CTA_TUPLE_…`.
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
/// `CTA_PROTO_…`.
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

/// Bytes of `struct nfgenmsg`.
const HEADER_BYTES: usize = 4;

/// A tracked flow of a protocol with ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The protocol's number in the IP header.
    pub protocol: u8,
    /// Who started it.
    pub source: SocketAddr,
    /// Whom the first packet was sent to.
    pub destination: SocketAddr,
    /// Who answers: the destination, or the endpoint that it was translated to.
    pub replier: SocketAddr,
    /// The original tuple and the kernel's number for the entry, as received: what a deletion names.
    key: (Vec<u8>, Option<Vec<u8>>),
}

impl Flow {
    /// A flow for tests of what decides on flows.
    #[cfg(test)]
    pub(crate) fn new(protocol: u8, source: SocketAddr, destination: SocketAddr, replier: SocketAddr) -> Self {
        Self { protocol, source, destination, replier, key: (Vec::new(), None) }
    }
}

/// The tracked IPv4 flows of one protocol.
pub fn flows(socket: &mut Socket, protocol: u8) -> Result<Vec<Flow>> {
    let mut all = Vec::new();
    let header = [libc::AF_INET as u8, 0, 0, 0];
    socket
        .query((GET, DUMP), &header, |a| write_filter(a, protocol), &mut |payload| {
            all.extend(parse(payload).filter(|flow| flow.protocol == protocol));
        })
        .map_err(|error| match error.errno {
            Errno::EINVAL | Errno::EOPNOTSUPP => {
                NetworkError::Missing("conntrack netlink (CONFIG_NF_CT_NETLINK, module nf_conntrack_netlink)")
            }
            _ => NetworkError::kernel("list tracked connections", error),
        })?;
    Ok(all)
}

/// Lets the kernel leave out other protocols, of which there may be very many. Before Linux 5.8 it does not heed this.
fn write_filter(a: &mut Attributes<'_>, protocol: u8) {
    a.nest(TUPLE_ORIGINAL, |a| a.nest(TUPLE_PROTOCOL, |a| a.u8(PROTOCOL_NUMBER, protocol)));
    a.nest(FILTER, |a| {
        a.u32(FILTER_ORIGINAL, FILTER_BY_PROTOCOL);
        a.u32(FILTER_REPLY, 0);
    });
}

/// Forgets a flow: its next packet is treated as the first one. No error when it has ended meanwhile.
pub fn delete(socket: &mut Socket, flow: &Flow) -> Result<()> {
    let header = [libc::AF_INET as u8, 0, 0, 0];
    let answer = socket.request((DELETE, 0), &header, |a| {
        // The tuple holds attributes: 1 << 15 says so.
        a.bytes(TUPLE_ORIGINAL | 1 << 15, &flow.key.0);
        flow.key.1.iter().for_each(|id| a.bytes(ID, id));
    });
    match answer {
        Err(error) if error.errno != Errno::ENOENT => Err(NetworkError::kernel("delete a tracked connection", error)),
        _ => Ok(()),
    }
}

fn parse(payload: &[u8]) -> Option<Flow> {
    let attributes = payload.get(HEADER_BYTES..)?;
    let original = attribute(attributes, TUPLE_ORIGINAL)?;
    let (protocol, source, destination) = parse_tuple(original)?;
    let (_, replier, _) = parse_tuple(attribute(attributes, TUPLE_REPLY)?)?;
    let id = attribute(attributes, ID).map(<[u8]>::to_vec);
    Some(Flow { protocol, source, destination, replier, key: (original.to_vec(), id) })
}

fn parse_tuple(tuple: &[u8]) -> Option<(u8, SocketAddr, SocketAddr)> {
    let addresses = attribute(tuple, TUPLE_IP)?;
    let protocol = attribute(tuple, TUPLE_PROTOCOL)?;
    // CTA_IP_V4_SRC and _DST are 1 and 2, CTA_IP_V6_… 3 and 4.
    let address =
        |v4, v6| -> Option<IpAddr> { as_address(attribute(addresses, v4).or_else(|| attribute(addresses, v6))?) };
    Some((
        *attribute(protocol, PROTOCOL_NUMBER)?.first()?,
        SocketAddr::new(address(1, 3)?, as_be16(attribute(protocol, SOURCE_PORT)?)?),
        SocketAddr::new(address(2, 4)?, as_be16(attribute(protocol, DESTINATION_PORT)?)?),
    ))
}
