//! Address ranges.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses: `10.42.0.0/16`. The address keeps its host bits, so it can also name an interface's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The range of `prefix` bits around `address`; `None` when the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        (u32::from(prefix) <= bits(address)).then_some(Self { address, prefix })
    }

    /// The range of just this address.
    pub fn host(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }

    /// The address as given, host bits included.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the network part, in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The first address of the range: host bits cleared.
    pub fn network(&self) -> IpAddr {
        self.at(0).expect("each range has a first address")
    }

    /// The network part as a mask of the address's length, most significant byte first.
    pub fn mask(&self) -> Vec<u8> {
        let length = bits(self.address) as usize / 8;
        let full = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
        full.to_be_bytes()[..length].to_vec()
    }

    /// How many addresses the range holds; saturates at `u128::MAX`.
    pub fn size(&self) -> u128 {
        1u128.checked_shl(bits(self.address) - u32::from(self.prefix)).unwrap_or(u128::MAX)
    }

    /// The address at `index` from the start of the range.
    pub fn at(&self, index: u128) -> Option<IpAddr> {
        if index >= self.size() {
            return None;
        }
        let host = self.size().wrapping_sub(1);
        match self.address {
            IpAddr::V4(address) => {
                let network = u32::from(address) & !(host as u32);
                Some(IpAddr::V4((network | index as u32).into()))
            }
            IpAddr::V6(address) => Some(IpAddr::V6(((u128::from(address) & !host) | index).into())),
        }
    }

    /// Whether `address` lies in the range. Addresses of the other family never do.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && Cidr { address, ..*self }.network() == self.network()
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The text is no address range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address range such as 10.42.0.0/16")]
pub struct CidrError(String);

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let plain = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
            Cidr::new(address.parse().ok()?, prefix.parse().ok().filter(|_| plain)?)
        };
        parse().ok_or_else(|| CidrError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a valid range")
    }

    #[test]
    fn parses_and_prints() {
        for text in ["10.42.0.0/16", "0.0.0.0/0", "10.0.0.7/32", "fd00::/8", "::/0"] {
            assert_eq!(cidr(text).to_string(), text);
        }
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "x/8", "::/129", "10.0.0.0/-1"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn knows_its_addresses() {
        let range = cidr("10.42.7.9/24");
        assert_eq!(range.network().to_string(), "10.42.7.0");
        assert_eq!(range.at(1).expect("in range").to_string(), "10.42.7.1");
        assert_eq!(range.at(256), None);
        assert_eq!(range.mask(), [255, 255, 255, 0]);
        assert!(range.contains("10.42.7.255".parse().expect("an address")));
        assert!(!range.contains("10.42.8.0".parse().expect("an address")));
        assert!(!range.contains("::1".parse().expect("an address")));
        assert_eq!(cidr("0.0.0.0/0").mask(), [0, 0, 0, 0]);
        assert!(cidr("0.0.0.0/0").contains("8.8.8.8".parse().expect("an address")));
        assert_eq!(cidr("::/0").size(), u128::MAX);
        assert_eq!(cidr("1.2.3.4/32").at(0).expect("in range").to_string(), "1.2.3.4");
    }
}
