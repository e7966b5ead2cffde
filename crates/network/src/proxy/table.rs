//! The proxy's table: its fixed part, the shared chains, and the elements.

use super::chain::{Chain, Pick};
use super::diff::Diff;
use super::rules::{Frontend, Key, Value};
use super::sync::ProxyConfig;
use crate::nft::{
    self, Batch, Element, Expression, Hook, Priority, Register, Rule, Set, SetData, SetKey, Start, Verdict, Words,
};

/// Upstream's bit for "give this packet the node's address as it leaves".
const MASQUERADE_MARK: u32 = 0x4000;

const FRONTEND: &[SetKey] = &[SetKey::Address, SetKey::Protocol, SetKey::Port];
const NODE_PORT: &[SetKey] = &[SetKey::Protocol, SetKey::Port];
const SLOT: &[SetKey] = &[SetKey::Address, SetKey::Protocol, SetKey::Port, SetKey::Number];

const SERVICES: Set = Set { name: "services", key: FRONTEND, data: SetData::Verdict };
const NODE_PORTS: Set = Set { name: "node-ports", key: NODE_PORT, data: SetData::Verdict };
const ENDPOINTS: Set = Set { name: "endpoints", key: SLOT, data: SetData::Fields(&[SetKey::Address, SetKey::Port]) };
const REFUSED: Set = Set { name: "refused", key: FRONTEND, data: SetData::Verdict };
const REFUSED_NODE_PORTS: Set = Set { name: "refused-node-ports", key: NODE_PORT, data: SetData::Verdict };
const CLUSTER_ADDRESSES: Set = Set { name: "cluster-addresses", key: &[SetKey::Address], data: SetData::None };
const SETS: [&Set; 6] = [&SERVICES, &NODE_PORTS, &ENDPOINTS, &REFUSED, &REFUSED_NODE_PORTS, &CLUSTER_ADDRESSES];

/// Registers of a key: address, protocol, port, slot. Each map's key is a run of them.
const ADDRESS: Register = Register(0);
const PROTOCOL: Register = Register(1);
const PORT: Register = Register(2);
const NUMBER: Register = Register(3);
/// Where a looked-up endpoint goes.
const TARGET_ADDRESS: Register = Register(4);
const TARGET_PORT: Register = Register(5);

/// The table without services.
pub fn write_base(batch: &mut Batch, start: Start, config: &ProxyConfig) {
    batch.start_table(start, &SETS);
    batch.add_chain("reject");
    batch.add_rule("reject", &Rule::new().is_tcp().then(Expression::RejectReset));
    batch.add_rule("reject", &Rule::new().then(Expression::RejectUnreachable));
    batch.add_chain("dispatch");
    batch.add_base_chain("prerouting", "nat", Hook::Prerouting, Priority::DESTINATION_NAT);
    batch.add_base_chain("output", "nat", Hook::Output, Priority::DESTINATION_NAT);
    batch.add_base_chain("postrouting", "nat", Hook::Postrouting, Priority::SOURCE_NAT);
    write_dispatch(batch, config);
    for chain in ["prerouting", "output"] {
        batch.add_rule(chain, &Rule::new().decide(Verdict::Jump("dispatch".to_owned())));
    }
    let masquerade = Rule::new().has_mark(MASQUERADE_MARK).clear_mark(MASQUERADE_MARK);
    batch.add_rule("postrouting", &masquerade.then(Expression::Masquerade));
    write_filters(batch, config);
}

/// New connections: by address, then, when it is one of this machine's, by node port.
fn write_dispatch(batch: &mut Batch, config: &ProxyConfig) {
    if let (Some(services), Some(cluster)) = (config.service_cidr, config.cluster_cidr) {
        // Who is no pod may reach a cluster address through this node; the answer must come back through it.
        let outsider = Rule::new().destination_in(services, true).source_in(cluster, false);
        batch.add_rule("dispatch", &outsider.set_mark(MASQUERADE_MARK));
    }
    let here = Rule::new().to_this_machine().protocol(PROTOCOL).destination_port(PORT);
    // Each lookup twice: one that is under way just when its element is replaced may find neither the old nor the new one.
    for _ in 0..2 {
        batch.add_rule("dispatch", &frontend(Rule::new()).verdict_map(SERVICES.name, ADDRESS));
    }
    for _ in 0..2 {
        batch.add_rule("dispatch", &here.clone().verdict_map(NODE_PORTS.name, PROTOCOL));
    }
}

/// What is still addressed to a service after translation has no endpoint: it is refused, not left to a timeout.
fn write_filters(batch: &mut Batch, config: &ProxyConfig) {
    let hooks = [("input", Hook::Input), ("forward", Hook::Forward), ("output-filter", Hook::Output)];
    for (chain, hook) in hooks {
        batch.add_base_chain(chain, "filter", hook, Priority::FILTER);
        batch.add_rule(chain, &Rule::new().is_established().decide(Verdict::Accept));
        batch.add_rule(chain, &frontend(Rule::new()).verdict_map(REFUSED.name, ADDRESS));
    }
    let here = Rule::new().to_this_machine().protocol(PROTOCOL).destination_port(PORT);
    batch.add_rule("input", &here.verdict_map(REFUSED_NODE_PORTS.name, PROTOCOL));
    for chain in ["forward", "output-filter"] {
        let other_port = Rule::new().destination(ADDRESS).in_set(CLUSTER_ADDRESSES.name, ADDRESS);
        batch.add_rule(chain, &other_port.decide(Verdict::Goto("reject".to_owned())));
        // An address that no service has (yet): a client that tries again finds the service once it is there.
        if let Some(services) = config.service_cidr {
            batch.add_rule(chain, &Rule::new().destination_in(services, true).decide(Verdict::Drop));
        }
    }
}

fn frontend(rule: Rule) -> Rule {
    rule.destination(ADDRESS).protocol(PROTOCOL).destination_port(PORT)
}

/// The chains of the fixed part.
pub const BASE_CHAINS: [&str; 8] =
    ["reject", "dispatch", "prerouting", "output", "postrouting", "input", "forward", "output-filter"];

/// Makes chains, those that others lead to first.
pub fn write_chains<'a>(batch: &mut Batch, chains: impl IntoIterator<Item = &'a Chain>, config: &ProxyConfig) {
    chains.into_iter().for_each(|chain| write_chain(batch, chain, config));
}

/// Adds a change of elements to the transaction: what goes first, so that a changed element's key is free. Chains that
/// nothing leads to any more go last; those that are new are there already.
pub fn write_diff(batch: &mut Batch, diff: &Diff) {
    for set in SETS {
        let keys = diff.removed.iter().filter(|key| set_of(key) == set).map(key_words);
        batch.delete_elements(set.name, keys);
    }
    for set in SETS {
        let elements = diff.added.iter().filter(|(key, _)| set_of(key) == set);
        batch.add_elements(
            set.name,
            elements.map(|(key, value)| Element { key: key_words(key), value: nft_value(value) }),
        );
    }
    diff.chains_removed.iter().for_each(|chain| batch.delete_chain(&chain.name()));
}

fn set_of(key: &Key) -> &'static Set {
    match key {
        Key::Service(_) => &SERVICES,
        Key::NodePort(_) => &NODE_PORTS,
        Key::Endpoint(..) => &ENDPOINTS,
        Key::Refused(_) => &REFUSED,
        Key::RefusedNodePort(_) => &REFUSED_NODE_PORTS,
        Key::ClusterAddress(_) => &CLUSTER_ADDRESSES,
    }
}

fn key_words(key: &Key) -> Words {
    let whole = |f: &Frontend| Words::new().address(f.address).protocol(f.protocol).port(f.port);
    match key {
        Key::Service(f) | Key::Refused(f) => whole(f),
        Key::NodePort(f) | Key::RefusedNodePort(f) => Words::new().protocol(f.protocol).port(f.port),
        Key::Endpoint(f, slot) => whole(f).number(*slot),
        Key::ClusterAddress(address) => Words::new().address(*address),
    }
}

fn nft_value(value: &Value) -> nft::Value {
    match value {
        Value::Goto(chain) => nft::Value::Verdict(Verdict::Goto(chain.name())),
        Value::Reject => nft::Value::Verdict(Verdict::Goto("reject".to_owned())),
        Value::Drop => nft::Value::Verdict(Verdict::Drop),
        Value::To(target) => nft::Value::Fields(Words::new().address(target.address).port(target.port)),
        Value::Present => nft::Value::None,
    }
}

fn write_chain(batch: &mut Batch, chain: &Chain, config: &ProxyConfig) {
    let name = chain.name();
    batch.add_chain(&name);
    chain_rules(chain, config).iter().for_each(|rule| batch.add_rule(&name, rule));
}

fn chain_rules(chain: &Chain, config: &ProxyConfig) -> Vec<Rule> {
    let goto = |pick: &Pick| Verdict::Goto(Chain::Pick(*pick).name());
    match chain {
        Chain::Pick(pick) => pick_rules(*pick),
        Chain::External(pick) => vec![Rule::new().set_mark(MASQUERADE_MARK).decide(goto(pick))],
        Chain::Edge { cluster, local } => {
            let mut rules = Vec::new();
            if let Some(pods) = config.cluster_cidr {
                rules.push(Rule::new().source_in(pods, true).decide(goto(cluster)));
            }
            rules.push(Rule::new().from_this_machine().set_mark(MASQUERADE_MARK).decide(goto(cluster)));
            rules.push(Rule::new().decide(local.as_ref().map_or(Verdict::Drop, goto)));
            rules
        }
        Chain::Firewall { sources, then } => {
            let then = Verdict::Goto(then.name());
            let allowed = sources.iter().map(|range| Rule::new().source_in(*range, true).decide(then.clone()));
            allowed.chain([Rule::new().decide(Verdict::Drop)]).collect()
        }
    }
}

/// Chance or the client's address picks a slot. The second rule helps a packet that comes between two transactions'
/// halves (it saw the old number of slots and the new slots): the first slot is there as long as the service is.
fn pick_rules(pick: Pick) -> Vec<Rule> {
    let key = || {
        let rule = Rule::new();
        let rule = if pick.node_port {
            let nowhere = Words::new().address(std::net::Ipv4Addr::UNSPECIFIED.into());
            rule.then(Expression::Constant { data: nowhere, to: ADDRESS })
        } else {
            rule.destination(ADDRESS)
        };
        rule.protocol(PROTOCOL).destination_port(PORT)
    };
    let translate = |rule: Rule| {
        rule.map(ENDPOINTS.name, ADDRESS, TARGET_ADDRESS)
            .then(Expression::DestinationNat { address: TARGET_ADDRESS, port: TARGET_PORT })
    };
    let (modulus, offset) = (pick.slots, pick.start());
    let slot = match pick.sticky {
        true => {
            key().source(TARGET_ADDRESS).then(Expression::Hash { from: TARGET_ADDRESS, modulus, offset, to: NUMBER })
        }
        false => key().then(Expression::Random { modulus, offset, to: NUMBER }),
    };
    let first = key().then(Expression::Constant { data: Words::new().number(offset), to: NUMBER });
    vec![translate(slot), translate(first)]
}
