//! Addresses of services: random from the upper band; the lower one is left to those who choose theirs (KEP-3070).

use std::fmt;
use std::net::Ipv4Addr;

use crate::request::ServiceCidr;

/// Tries of random addresses before all are looked through.
const RANDOM_TRIES_MAX: usize = 16;

/// The addresses of one range.
pub(super) struct Addresses {
    cidr: ServiceCidr,
    network: u32,
    /// Addresses that can be given out: all but the network's and the broadcast address.
    count: u32,
    /// Addresses at the start that are given out last.
    band: u32,
}

impl Addresses {
    pub(super) fn new(cidr: ServiceCidr) -> Self {
        let size = 1_u64 << (32 - u32::from(cidr.prefix_length.min(32)));
        let mask = u32::try_from(size - 1).unwrap_or(u32::MAX);
        let count = u32::try_from(size.saturating_sub(2)).unwrap_or(u32::MAX);
        // min(max(16, size / 16), 256); small ranges have no band.
        let band = if count < 16 { 0 } else { (count / 16).clamp(16, 256) };
        Self { cidr, network: u32::from(cidr.network) & !mask, count, band }
    }

    /// Reads an IPv4 range; none when it is of IPv6.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (network, prefix_length) = text.split_once('/')?;
        let (network, prefix_length) = (network.parse().ok()?, prefix_length.parse().ok()?);
        (prefix_length <= 32).then(|| Self::new(ServiceCidr { network, prefix_length }))
    }

    pub(super) fn first(&self) -> Ipv4Addr {
        self.at(0)
    }

    /// Whether it can be given out.
    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address).checked_sub(self.network + 1).is_some_and(|offset| offset < self.count)
    }

    /// Whether it lies between the first and the last address of the network.
    pub(super) fn covers(&self, address: Ipv4Addr) -> bool {
        let bits = 32 - u32::from(self.cidr.prefix_length.min(32));
        (u64::from(u32::from(address)) >> bits) == (u64::from(self.network) >> bits)
    }

    /// An address that is not taken.
    pub(super) fn free(&self, taken: impl Fn(&Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let upper = self.count.saturating_sub(self.band);
        let random = |bound: u32| u32::try_from(seams::random::below(u64::from(bound.max(1)))).unwrap_or(0);
        let fits = |offset: u32| Some(self.at(offset)).filter(|a| offset < self.count && !taken(a));
        if let Some(found) = (0..RANDOM_TRIES_MAX).find_map(|_| fits(self.band + random(upper))) {
            return Some(found);
        }
        let start = random(upper);
        let above = (0..upper).map(|i| self.band + (start + i) % upper);
        above.chain(0..self.band).find_map(fits)
    }

    fn at(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.network.wrapping_add(1).wrapping_add(offset))
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.cidr.prefix_length)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_address_is_given_out_once() {
        let addresses = Addresses::parse("10.43.0.0/27").unwrap();
        let mut taken = HashSet::new();
        while let Some(address) = addresses.free(|a| taken.contains(a)) {
            assert!(addresses.contains(address) && taken.insert(address));
            // The lower band comes last.
            assert!(taken.len() > 14 || u32::from(address) & 0xff > 16, "{address}");
        }
        assert_eq!(taken.len(), 30);
        assert_eq!(addresses.first(), Ipv4Addr::new(10, 43, 0, 1));
        for last in [0, 31, 32] {
            let address = Ipv4Addr::new(10, 43, 0, last);
            assert_eq!((addresses.contains(address), addresses.covers(address)), (false, last < 32));
        }
        assert_eq!(addresses.to_string(), "10.43.0.0/27");
        for (text, count) in [("10.0.0.0/30", 2), ("10.0.0.0/31", 0), ("10.0.0.1/32", 0), ("0.0.0.0/0", u32::MAX - 1)] {
            let addresses = Addresses::parse(text).unwrap();
            assert_eq!(addresses.count, count, "{text}");
            assert_eq!(addresses.free(|_| false).is_some(), count > 0, "{text}");
            assert!(addresses.covers(addresses.cidr.network));
        }
        assert!(Addresses::parse("fd00::/64").is_none() && Addresses::parse("10.0.0.0/33").is_none());
    }
}
