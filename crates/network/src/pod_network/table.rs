//! The pod network's table: masquerade of what leaves the cluster, host ports, and what a pod sends to itself.

use super::PodNetworkConfig;
use super::state::Record;
use crate::nft::{
    Batch, Element, Expression, Hook, Priority, Register, Rule, Set, SetData, SetKey, Start, Value, Verdict, Words,
};

const TARGET: SetData = SetData::Fields(&[SetKey::Address, SetKey::Port]);
const HOST_PORTS: Set = Set { name: "host-ports", key: &[SetKey::Protocol, SetKey::Port], data: TARGET };
const HOST_PORTS_AT: Set =
    Set { name: "host-ports-at", key: &[SetKey::Address, SetKey::Protocol, SetKey::Port], data: TARGET };
/// Each pod's address twice: the source and destination of a packet that a pod sends to itself.
const SELVES: Set = Set { name: "selves", key: &[SetKey::Address, SetKey::Address], data: SetData::None };

const ADDRESS: Register = Register(0);
const PROTOCOL: Register = Register(1);
const PORT: Register = Register(2);
const TARGET_ADDRESS: Register = Register(4);
const TARGET_PORT: Register = Register(5);

/// The table without pods.
pub fn write_base(batch: &mut Batch, start: Start, config: &PodNetworkConfig) {
    batch.start_table(start, &[&HOST_PORTS, &HOST_PORTS_AT, &SELVES]);
    // The bridge may carry packets of 127.0.0.0/8 (`route_localnet`), for node ports on loopback. Nobody outside may use
    // that to reach what listens on loopback here; answers are translated only after this hook.
    batch.add_base_chain("guard", "filter", Hook::Prerouting, Priority::RAW);
    let outsider = Rule::new().in_over_loopback(false).destination_in(loopback(), true);
    batch.add_rule("guard", &outsider.decide(Verdict::Drop));
    write_host_ports(batch);
    batch.add_base_chain("postrouting", "nat", Hook::Postrouting, Priority::SOURCE_NAT.after(1));
    // A pod drops packets from its own address: one that reaches itself through a service or host port gets the node's.
    let own =
        Rule::new().is_destination_translated().source(ADDRESS).destination(PROTOCOL).in_set(SELVES.name, ADDRESS);
    let from_loopback = Rule::new().out_over_loopback(false).source_in(loopback(), true);
    let leaving = Rule::new()
        .out_over_loopback(false)
        .source_in(config.pod_cidr, true)
        .destination_in(config.cluster_cidr, false)
        .destination_in(multicast(), false);
    for rule in [own, from_loopback, leaving] {
        batch.add_rule("postrouting", &rule.then(Expression::Masquerade));
    }
}

fn write_host_ports(batch: &mut Batch) {
    // After the services: a node port wins over a host port of the same number, as upstream.
    let priority = Priority::DESTINATION_NAT.after(1);
    batch.add_chain("dispatch");
    batch.add_base_chain("prerouting", "nat", Hook::Prerouting, priority);
    batch.add_base_chain("output", "nat", Hook::Output, priority);
    let translate = |rule: Rule, set: &Set, from| {
        rule.map(set.name, from, TARGET_ADDRESS)
            .then(Expression::DestinationNat { address: TARGET_ADDRESS, port: TARGET_PORT })
    };
    let exact = Rule::new().destination(ADDRESS).protocol(PROTOCOL).destination_port(PORT);
    let any = Rule::new().to_this_machine().protocol(PROTOCOL).destination_port(PORT);
    batch.add_rule("dispatch", &translate(exact, &HOST_PORTS_AT, ADDRESS));
    batch.add_rule("dispatch", &translate(any, &HOST_PORTS, PROTOCOL));
    for chain in ["prerouting", "output"] {
        batch.add_rule(chain, &Rule::new().decide(Verdict::Jump("dispatch".to_owned())));
    }
}

/// Adds a pod's elements.
pub fn add_pod(batch: &mut Batch, record: &Record) {
    for (set, element) in elements(record) {
        batch.add_elements(set.name, [element]);
    }
}

/// Deletes a pod's elements.
pub fn remove_pod(batch: &mut Batch, record: &Record) {
    for (set, element) in elements(record) {
        batch.delete_elements(set.name, [element.key]);
    }
}

fn elements(record: &Record) -> Vec<(&'static Set, Element)> {
    let addresses = record.addresses.iter().filter(|address| address.is_ipv4());
    let Some(address) = addresses.clone().next() else { return Vec::new() };
    let selves =
        addresses.map(|a| (&SELVES, Element { key: Words::new().address(*a).address(*a), value: Value::None }));
    let ports = record.host_ports.iter().filter_map(|port| {
        let (set, key) = match port.host_ip.filter(|ip| !ip.is_unspecified()) {
            None => (&HOST_PORTS, Words::new()),
            Some(ip) if ip.is_ipv4() => (&HOST_PORTS_AT, Words::new().address(ip)),
            // The pod has no address of that family.
            Some(_) => return None,
        };
        let key = key.protocol(port.protocol).port(port.host_port);
        Some((set, Element { key, value: Value::Fields(Words::new().address(*address).port(port.container_port)) }))
    });
    selves.chain(ports).collect()
}

fn loopback() -> crate::Cidr {
    crate::Cidr::new([127, 0, 0, 0].into(), 8).expect("8 bits fit an IPv4 address")
}

fn multicast() -> crate::Cidr {
    crate::Cidr::new([224, 0, 0, 0].into(), 4).expect("4 bits fit an IPv4 address")
}
