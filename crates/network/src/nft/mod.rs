//! nftables by plain netlink: a batch is one transaction, taken whole or not at all.
//!
//! Only what skiff's own tables need is here: base chains, rules of a few expressions, sets and maps without intervals.
//! Numbers and layouts are the kernel's `include/uapi/linux/netfilter/nf_tables.h`.

pub mod batch;
pub mod expression;
pub mod probe;

pub use batch::{Batch, Element, Hook, Priority, Set, SetData, SetKey, Start, Value};
pub use expression::{Expression, Register, Rule, Verdict};

use std::net::IpAddr;

use crate::error::{NetworkError, Result};
use crate::netlink::Socket;
use crate::netlink::message::{as_be32, as_text, attribute};
use crate::netlink::socket::DUMP;

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
/// `NFPROTO_IPV4`.
pub(crate) const FAMILY_IPV4: u8 = 2;

const GET_TABLE: u16 = SUBSYSTEM << 8 | 1;
const GET_CHAIN: u16 = SUBSYSTEM << 8 | 4;
const GET_GENERATION: u16 = SUBSYSTEM << 8 | 16;
/// `NFTA_TABLE_…`.
const TABLE_NAME: u16 = 1;
const TABLE_USE: u16 = 3;
const TABLE_HANDLE: u16 = 4;
/// `NFTA_CHAIN_…`.
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
/// `NFTA_GEN_ID`.
const GENERATION_ID: u16 = 1;

/// At most this many bytes: four words of an IPv6 address, then protocol, port and slot.
const WORDS_BYTES_MAX: usize = 28;

/// The bytes of a set's key or of a map's value: fields side by side, each filled up to four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Words {
    bytes: [u8; WORDS_BYTES_MAX],
    length: u8,
}

impl Words {
    /// No fields.
    pub const fn new() -> Self {
        Self { bytes: [0; WORDS_BYTES_MAX], length: 0 }
    }

    /// Adds an address.
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.push(&address.octets()),
            IpAddr::V6(address) => self.push(&address.octets()),
        }
    }

    /// Adds a transport protocol's number.
    pub fn protocol(self, protocol: crate::Protocol) -> Self {
        self.push(&[protocol.number()])
    }

    /// Adds a port.
    pub fn port(self, port: u16) -> Self {
        self.push(&port.to_be_bytes())
    }

    /// Adds a number in the machine's byte order.
    pub fn number(self, number: u32) -> Self {
        self.push(&number.to_ne_bytes())
    }

    fn push(mut self, field: &[u8]) -> Self {
        let start = usize::from(self.length);
        self.bytes[start..start + field.len()].copy_from_slice(field);
        self.length = (start + field.len()).next_multiple_of(4) as u8;
        self
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Default for Words {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x?}", self.as_bytes())
    }
}

/// What tells whether a table is still the one that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableIdentity {
    /// The kernel's number for it; a table made anew has another.
    pub handle: u64,
    /// How many chains and sets it has.
    pub uses: u32,
}

/// The table as it is now; `None` when there is none with this name.
pub fn table_identity(socket: &mut Socket, name: &str) -> Result<Option<TableIdentity>> {
    let mut found = None;
    let answer = socket.query((GET_TABLE, 0), &[FAMILY_IPV4, 0, 0, 0], |a| a.text(TABLE_NAME, name), &mut |payload| {
        let attributes = payload.get(4..).unwrap_or_default();
        let handle = attribute(attributes, TABLE_HANDLE).and_then(|value| value.try_into().ok());
        found = handle.map(|handle| TableIdentity {
            handle: u64::from_be_bytes(handle),
            uses: attribute(attributes, TABLE_USE).and_then(as_be32).unwrap_or_default(),
        });
    });
    match answer {
        Ok(()) => Ok(found),
        Err(error) if error.errno == nix::errno::Errno::ENOENT => Ok(None),
        Err(error) => Err(NetworkError::kernel(format!("nftables: look up table {name}"), error)),
    }
}

/// The names of a table's chains; none when there is no such table.
pub fn chains(socket: &mut Socket, table: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    socket
        .query((GET_CHAIN, DUMP), &[FAMILY_IPV4, 0, 0, 0], |_| {}, &mut |payload| {
            let attributes = payload.get(4..).unwrap_or_default();
            let owner = attribute(attributes, CHAIN_TABLE).map(as_text);
            if owner.as_deref() == Some(table) {
                names.extend(attribute(attributes, CHAIN_NAME).map(as_text));
            }
        })
        .map_err(|error| NetworkError::kernel("nftables: list chains", error))?;
    Ok(names)
}

/// A number that grows with each transaction of anyone in this network namespace.
pub fn generation(socket: &mut Socket) -> Result<u32> {
    let mut id = 0;
    socket
        .query((GET_GENERATION, 0), &[0, 0, 0, 0], |_| {}, &mut |payload| {
            id = attribute(payload.get(4..).unwrap_or_default(), GENERATION_ID).and_then(as_be32).unwrap_or(id);
        })
        .map_err(|error| match error.errno {
            nix::errno::Errno::EINVAL | nix::errno::Errno::EOPNOTSUPP => {
                NetworkError::Missing("nftables (CONFIG_NF_TABLES, module nf_tables)")
            }
            _ => NetworkError::kernel("nftables: read the generation", error),
        })?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_fill_whole_words() {
        let words = Words::new()
            .address("10.43.0.1".parse().expect("an address"))
            .protocol(crate::Protocol::Udp)
            .port(53)
            .number(7);
        let slot = 7u32.to_ne_bytes();
        assert_eq!(words.as_bytes()[..12], [10, 43, 0, 1, 17, 0, 0, 0, 0, 53, 0, 0]);
        assert_eq!(words.as_bytes()[12..], slot);
        let longest = Words::new()
            .address("fd00::1".parse().expect("an address"))
            .protocol(crate::Protocol::Sctp)
            .port(1)
            .number(2);
        assert_eq!(longest.as_bytes().len(), WORDS_BYTES_MAX);
    }
}
