//! Which addresses of the node's range are taken.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::cidr::Cidr;

/// The addresses of a range that pods may have: all but the first (the network), the gateway and the last (broadcast).
#[derive(Debug)]
pub struct AddressPool {
    range: Cidr,
    gateway: IpAddr,
    used: BTreeSet<IpAddr>,
    /// Where the next search begins: a freed address rests while others are left, so that late packets for the pod that
    /// had it do not meet a new one.
    next: u128,
}

impl AddressPool {
    /// A pool in which `used` are taken already.
    pub fn new(range: Cidr, gateway: IpAddr, used: impl IntoIterator<Item = IpAddr>) -> Self {
        let used: BTreeSet<IpAddr> = used.into_iter().collect();
        let mut pool = Self { range, gateway, used, next: 1 };
        let highest = (1..pool.end()).rev().find(|index| range.at(*index).is_some_and(|a| pool.used.contains(&a)));
        pool.next = highest.map_or(1, |index| index + 1);
        pool
    }

    /// How many are taken.
    pub fn used(&self) -> usize {
        self.used.len()
    }

    /// A free address, marked as taken; `None` when there is none.
    pub fn allocate(&mut self) -> Option<IpAddr> {
        let (end, start) = (self.end(), self.next);
        let order = (start..end).chain(1..start.min(end));
        let found = order.filter_map(|index| Some((index, self.range.at(index)?)));
        let (index, address) =
            found.into_iter().find(|(_, address)| *address != self.gateway && !self.used.contains(address))?;
        self.used.insert(address);
        self.next = index + 1;
        Some(address)
    }

    /// Marks an address as free.
    pub fn release(&mut self, address: IpAddr) {
        self.used.remove(&address);
    }

    fn end(&self) -> u128 {
        self.range.size() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(used: &[&str]) -> AddressPool {
        let used: Vec<IpAddr> = used.iter().map(|a| a.parse().expect("an address")).collect();
        let range: Cidr = "10.42.0.0/29".parse().expect("a range");
        AddressPool::new(range, "10.42.0.1".parse().expect("an address"), used)
    }

    fn take(pool: &mut AddressPool) -> String {
        pool.allocate().map_or("none".to_owned(), |a| a.to_string())
    }

    #[test]
    fn hands_out_each_address_once_and_rests_freed_ones() {
        let mut pool = pool(&[]);
        assert_eq!(take(&mut pool), "10.42.0.2");
        assert_eq!(take(&mut pool), "10.42.0.3");
        pool.release("10.42.0.2".parse().expect("an address"));
        for expected in ["10.42.0.4", "10.42.0.5", "10.42.0.6", "10.42.0.2", "none"] {
            assert_eq!(take(&mut pool), expected);
        }
        assert_eq!(pool.used(), 5);
        pool.release("10.42.0.5".parse().expect("an address"));
        assert_eq!(take(&mut pool), "10.42.0.5");
    }

    #[test]
    fn knows_what_an_earlier_life_gave_away() {
        let mut pool = pool(&["10.42.0.6", "10.42.0.3"]);
        assert_eq!(take(&mut pool), "10.42.0.2");
        assert_eq!(take(&mut pool), "10.42.0.4");
    }
}
