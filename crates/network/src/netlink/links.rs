//! Links: the bridge, veth pairs, and what there is.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::error::{NetworkError, Result};
use crate::netlink::message::{Attributes, as_text, as_u32, attribute};
use crate::netlink::socket::{CREATE, DUMP, EXCLUSIVE, RouteSocket};

const NEW_LINK: u16 = libc::RTM_NEWLINK;
const DELETE_LINK: u16 = libc::RTM_DELLINK;
const GET_LINK: u16 = libc::RTM_GETLINK;

/// `IFLA_…`.
const ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const MASTER: u16 = 10;
const INFO: u16 = 18;
const ALIAS: u16 = 20;
const NETNS_FD: u16 = 28;
/// `IFLA_INFO_…`.
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
/// `VETH_INFO_PEER`.
const VETH_PEER: u16 = 1;
/// `IFLA_BRPORT_MODE`: hairpin.
const PORT_HAIRPIN: u16 = 4;

/// Bytes of `struct ifinfomsg`.
const HEADER_BYTES: usize = 16;
/// An interface's name has at most this many bytes (`IFNAMSIZ` less its zero byte).
pub const NAME_BYTES_MAX: usize = 15;

/// An Ethernet address.
pub type MacAddress = [u8; 6];

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// `bridge`, `veth` …; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
}

/// A veth pair: one end on the bridge here, the other in the pod.
#[derive(Debug)]
pub struct VethPair<'a> {
    /// Name of this end.
    pub name: &'a str,
    /// The bridge's index.
    pub master: u32,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Name of the pod's end.
    pub peer_name: &'a str,
    /// Ethernet address of the pod's end.
    pub peer_mac: MacAddress,
    /// The pod's network namespace.
    pub peer_netns: BorrowedFd<'a>,
}

impl RouteSocket {
    /// The link with this name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut found = None;
        let answer = self.query((GET_LINK, 0), &header(0, 0), |a| a.text(NAME, name), &mut |payload| {
            found = found.take().or_else(|| parse(payload))
        });
        match answer {
            Ok(()) => Ok(found),
            Err(error) if error.errno == Errno::ENODEV => Ok(None),
            Err(error) => Err(NetworkError::kernel(format!("look up link {name}"), error)),
        }
    }

    /// All links of this namespace.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let mut all = Vec::new();
        self.query((GET_LINK, DUMP), &header(0, 0), |_| {}, &mut |payload| all.extend(parse(payload)))
            .map_err(|error| NetworkError::kernel("list links", error))?;
        Ok(all)
    }

    /// Makes a bridge and switches it on. A fixed Ethernet address keeps it from changing as ports come and go.
    pub fn add_bridge(&mut self, name: &str, mac: MacAddress, mtu: u32) -> Result<()> {
        let answer = self.request((NEW_LINK, CREATE | EXCLUSIVE), &header(0, libc::IFF_UP as u32), |a| {
            a.text(NAME, name);
            a.bytes(ADDRESS, &mac);
            a.u32(MTU, mtu);
            a.nest(INFO, |a| a.text(INFO_KIND, "bridge"));
        });
        answer.map_err(|error| match error.errno {
            Errno::EOPNOTSUPP => NetworkError::Missing("bridges (CONFIG_BRIDGE, module bridge)"),
            _ => NetworkError::kernel(format!("make bridge {name}"), error),
        })
    }

    /// Makes a veth pair with one end on the bridge, switched on, and the other in the pod's namespace.
    pub fn add_veth(&mut self, pair: &VethPair<'_>) -> Result<()> {
        let answer = self.request((NEW_LINK, CREATE | EXCLUSIVE), &header(0, libc::IFF_UP as u32), |a| {
            a.text(NAME, pair.name);
            a.u32(MTU, pair.mtu);
            a.u32(MASTER, pair.master);
            a.nest(INFO, |a| {
                a.text(INFO_KIND, "veth");
                a.nest(INFO_DATA, |a| a.nest(VETH_PEER, |a| write_peer(a, pair)));
            });
        });
        answer.map_err(|error| match error.errno {
            Errno::EOPNOTSUPP => NetworkError::Missing("virtual Ethernet pairs (CONFIG_VETH, module veth)"),
            _ => NetworkError::kernel(format!("make veth pair {}", pair.name), error),
        })
    }

    /// Lets a bridge port send frames back to where they came from, and notes what the port is for.
    pub fn set_port(&mut self, link: &Link, alias: &str) -> Result<()> {
        self.request((NEW_LINK, 0), &header(link.index, 0), |a| {
            a.text(ALIAS, alias);
            a.nest(INFO, |a| {
                a.text(INFO_SLAVE_KIND, "bridge");
                a.nest(INFO_SLAVE_DATA, |a| a.u8(PORT_HAIRPIN, 1));
            });
        })
        .map_err(|error| NetworkError::kernel(format!("set hairpin mode on {}", link.name), error))
    }

    /// Makes the link a port of the bridge `master`.
    pub fn set_master(&mut self, link: &Link, master: u32) -> Result<()> {
        self.request((NEW_LINK, 0), &header(link.index, 0), |a| a.u32(MASTER, master))
            .map_err(|error| NetworkError::kernel(format!("attach {} to the bridge", link.name), error))
    }

    /// Switches a link on.
    pub fn set_up(&mut self, link: &Link) -> Result<()> {
        if link.up {
            return Ok(());
        }
        self.request((NEW_LINK, 0), &header(link.index, libc::IFF_UP as u32), |_| {})
            .map_err(|error| NetworkError::kernel(format!("switch on {}", link.name), error))
    }

    /// Sets the largest packet, in bytes.
    pub fn set_mtu(&mut self, link: &Link, mtu: u32) -> Result<()> {
        if link.mtu == mtu {
            return Ok(());
        }
        self.request((NEW_LINK, 0), &header(link.index, 0), |a| a.u32(MTU, mtu))
            .map_err(|error| NetworkError::kernel(format!("set the MTU of {}", link.name), error))
    }

    /// Deletes the link with this name; a veth's other end goes with it. Whether there was one.
    pub fn delete_link(&mut self, name: &str) -> Result<bool> {
        match self.request((DELETE_LINK, 0), &header(0, 0), |a| a.text(NAME, name)) {
            Ok(()) => Ok(true),
            Err(error) if error.errno == Errno::ENODEV => Ok(false),
            Err(error) => Err(NetworkError::kernel(format!("delete link {name}"), error)),
        }
    }
}

fn write_peer(a: &mut Attributes<'_>, pair: &VethPair<'_>) {
    a.raw(&header(0, 0));
    a.text(NAME, pair.peer_name);
    a.bytes(ADDRESS, &pair.peer_mac);
    a.u32(MTU, pair.mtu);
    a.u32(NETNS_FD, pair.peer_netns.as_raw_fd() as u32);
}

/// `struct ifinfomsg`, with `flags` to switch on.
fn header(index: u32, flags: u32) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

fn parse(payload: &[u8]) -> Option<Link> {
    let flags = as_u32(payload.get(8..12)?)?;
    let attributes = payload.get(HEADER_BYTES..)?;
    let kind = attribute(attributes, INFO).and_then(|info| attribute(info, INFO_KIND)).map(as_text);
    Some(Link {
        index: as_u32(payload.get(4..8)?)?,
        name: as_text(attribute(attributes, NAME)?),
        mtu: attribute(attributes, MTU).and_then(as_u32).unwrap_or_default(),
        up: flags & libc::IFF_UP as u32 != 0,
        kind,
        master: attribute(attributes, MASTER).and_then(as_u32),
    })
}
