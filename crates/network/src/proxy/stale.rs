//! Which tracked UDP flows go where their service no longer does. A UDP flow has no end of its own: the kernel would send
//! its packets to the old endpoint for as long as the client goes on.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::rules::{Frontend, Key, RuleSet, Value};
use crate::netlink::conntrack::Flow;
use crate::port::Protocol;

/// The flows to forget, after `new` took the place of `old`.
pub fn stale<'a>(flows: &'a [Flow], old: Option<&RuleSet>, new: &RuleSet) -> Vec<&'a Flow> {
    let mut targets: HashMap<Frontend, HashSet<SocketAddr>> = HashMap::new();
    for key in old.iter().flat_map(|old| old.elements()).map(|(key, _)| key) {
        if let Some(frontend) = udp(key) {
            targets.entry(frontend).or_default();
        }
    }
    for (key, value) in new.elements() {
        let Some(frontend) = udp(key) else { continue };
        let known = targets.entry(frontend).or_default();
        if let Value::To(target) = value {
            known.insert(SocketAddr::new(target.address, target.port));
        }
    }
    let at = |address: IpAddr, port| targets.get(&Frontend { address, protocol: Protocol::Udp, port });
    let is_stale = |flow: &&Flow| {
        let port = flow.destination.port();
        match at(flow.destination.ip(), port) {
            Some(known) => !known.contains(&flow.replier),
            // A flow to a node port counts only once translated: another program's port may have the same number.
            None if flow.replier != flow.destination => {
                at(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).is_some_and(|known| !known.contains(&flow.replier))
            }
            None => false,
        }
    };
    flows.iter().filter(|flow| flow.protocol == Protocol::Udp.number()).filter(is_stale).collect()
}

fn udp(key: &Key) -> Option<Frontend> {
    key.frontend().filter(|frontend| frontend.protocol == Protocol::Udp).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::rules::rules;
    use crate::proxy::rules::tests::{endpoints, node, service};

    fn flow(destination: &str, replier: &str) -> Flow {
        let parse = |text: &str| text.parse().expect("an address");
        Flow::new(17, parse("10.42.0.9:4000"), parse(destination), parse(replier))
    }

    #[test]
    fn flows_to_removed_endpoints_are_forgotten() {
        let dns = service(
            "dns",
            "10.43.0.10",
            serde_json::json!([
                {"name": "dns", "protocol": "UDP", "port": 53, "nodePort": 30053}
            ]),
        );
        let slice = |addresses: &[&str]| endpoints("dns", "dns", "UDP", 5353, addresses);
        let old = rules(None, std::slice::from_ref(&dns), &[slice(&["10.42.0.2", "10.42.0.3"])], &node());
        let new = rules(None, &[dns], &[slice(&["10.42.0.3"])], &node());
        let flows = [
            flow("10.43.0.10:53", "10.42.0.2:5353"),
            flow("10.43.0.10:53", "10.42.0.3:5353"),
            flow("10.43.0.10:53", "10.43.0.10:53"),
            flow("192.0.2.1:30053", "10.42.0.2:5353"),
            flow("192.0.2.1:30053", "192.0.2.1:30053"),
            flow("192.0.2.1:999", "10.42.0.2:5353"),
        ];
        let found: Vec<&Flow> = stale(&flows, Some(&old), &new);
        assert_eq!(found, [&flows[0], &flows[2], &flows[3]]);
        let gone = rules(None, &[], &[], &node());
        assert_eq!(stale(&flows, Some(&new), &gone).len(), 4);
    }
}
