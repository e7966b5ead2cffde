//! NetworkPolicies.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::addresses::{Cidr, validate_cidr};
use crate::cells;
use crate::checks::{only_new, validate_one_of};
use crate::metadata::validate_label_selector;
use crate::place::{Json, Place, Report};
use crate::read::{Read, items_mut, present_mut, same_at, set_default};
use crate::row::{Column, Resource, Strategy, Target};

const TYPES: [&str; 2] = ["Ingress", "Egress"];
/// Lists of rules, and what the peers of each are called.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

/// The row.
pub fn row() -> Resource {
    Resource::new("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
        .short_names(&["netpol"])
        .generation()
        .columns(vec![
            Column::text("Pod-Selector", "Pods that it applies to.", |object, _| {
                cells::selector(object.at(&["spec", "podSelector"])).into()
            }),
            Column::age(),
        ])
        .strategy(NetworkPolicy)
}

struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        let Some(spec) = present_mut(object, "spec") else { return };
        set_default(spec, "podSelector", Value::object());
        if spec.items("policyTypes").is_empty() {
            let types = if spec.items("egress").is_empty() { &TYPES[..1] } else { &TYPES };
            spec.set_at(&["policyTypes"], types.iter().map(|kind| Value::from(*kind)).collect::<Vec<_>>());
        }
        for (list, _) in DIRECTIONS {
            for rule in items_mut(spec, list) {
                for port in items_mut(rule, "ports") {
                    set_default(port, "protocol", "TCP");
                }
            }
        }
    }

    fn wants_new_generation(&self, object: &Value, old: &Value) -> bool {
        !same_at(object, old, &["spec"])
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        if let Some(selector) = spec.present("podSelector") {
            validate_label_selector(selector, &at.field("podSelector"), &mut errors);
        }
        for (list, peers) in DIRECTIONS {
            for (index, rule) in spec.items(list).iter().enumerate() {
                validate_rule(rule, peers, &at.field(list).index(index), &mut errors);
            }
        }
        validate_types(spec, &at.field("policyTypes"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        // What was allowed when the policy was made may stay.
        only_new(self.validate(object), &self.validate(old))
    }
}

fn validate_rule(rule: &Value, peers: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (index, port) in rule.items("ports").iter().enumerate() {
        validate_port(port, &at.field("ports").index(index), errors);
    }
    for (index, peer) in rule.items(peers).iter().enumerate() {
        validate_peer(peer, &at.field(peers).index(index), errors);
    }
}

fn validate_types(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if spec.items("policyTypes").len() > TYPES.len() {
        let value = Json(spec.get("policyTypes").unwrap_or(&Value::Null));
        errors.invalid(at, value, "may not specify more than two policyTypes");
        return;
    }
    for (index, kind) in spec.texts("policyTypes").enumerate() {
        validate_one_of(kind, &TYPES, &at.index(index), errors);
    }
}

fn validate_port(port: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(protocol) = port.present("protocol").and_then(Value::as_str) {
        validate_one_of(protocol, &["TCP", "UDP", "SCTP"], &at.field("protocol"), errors);
    }
    let (end, field) = (port.int("endPort"), at.field("endPort"));
    match (port.present("port"), end) {
        (None, Some(end)) => errors.invalid(&field, end, "may not be specified when `port` is not specified"),
        (None, None) => {}
        (Some(Value::String(name)), end) => {
            if let Some(end) = end {
                errors.invalid(&field, end, "may not be specified when `port` is non-numeric");
            }
            errors.invalid_each(&at.field("port"), name, names::port_name(name));
        }
        (Some(number), end) => {
            let number = number.as_i64().unwrap_or(0);
            for wrong in names::port_number(number) {
                errors.invalid(&at.field("port"), number, &wrong);
            }
            let Some(end) = end else { return };
            if end < number {
                errors.invalid(&field, number, "must be greater than or equal to `port`");
            }
            for wrong in names::port_number(end) {
                errors.invalid(&field, end, &wrong);
            }
        }
    }
}

fn validate_peer(peer: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let selectors = ["podSelector", "namespaceSelector"];
    for field in selectors {
        if let Some(selector) = peer.present(field) {
            validate_label_selector(selector, &at.field(field), errors);
        }
    }
    let selects = selectors.iter().any(|field| peer.has(field));
    match peer.present("ipBlock") {
        Some(block) => {
            validate_block(block, &at.field("ipBlock"), errors);
            if selects {
                errors.forbidden(at, "may not specify both ipBlock and another peer");
            }
        }
        None if !selects => errors.required(at, "must specify a peer"),
        None => {}
    }
}

fn validate_block(block: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let text = block.text("cidr");
    if text.is_empty() {
        errors.required(&at.field("cidr"), "");
        return;
    }
    validate_cidr(text, &at.field("cidr"), errors);
    let Some(whole) = Cidr::parse(text) else { return };
    for (index, text) in block.texts("except").enumerate() {
        let list = at.field("except");
        let at = list.index(index);
        validate_cidr(text, &at, errors);
        if Cidr::parse(text).is_some_and(|part| !whole.contains_strictly(part)) {
            errors.invalid(&at, text, "must be a strict subset of `cidr`");
        }
    }
}
