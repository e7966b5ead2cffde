//! The pod network and the service proxy: pure rules, applied by netlink
