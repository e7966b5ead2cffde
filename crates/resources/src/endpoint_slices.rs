//! discovery.k8s.io: endpoint slices.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::addresses;
use crate::cells;
use crate::core::endpoints::validate_special_ip;
use crate::metadata::validate_labels;
use crate::place::{Place, Report};
use crate::read::{Read, items_mut, set_default};
use crate::row::{Column, Resource, Strategy, Target};

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const TOPOLOGY_LABELS_MAX: usize = 16;
const ZONE_HINTS_MAX: usize = 8;
const NODE_HINTS_MAX: usize = 8;
const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
/// Ports and addresses that the table's cells show before they count the rest.
const SHOWN_MAX: usize = 3;

/// The row.
pub fn row() -> Resource {
    Resource::new("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
        .generation()
        .columns(vec![
            Column::text("AddressType", "Type of the addresses.", |object, _| object.text("addressType").into()),
            Column::text("Ports", "Ports of all endpoints.", |object, _| ports_cell(object).into()),
            Column::text("Endpoints", "Addresses.", |object, _| endpoints_cell(object).into()),
            Column::age(),
        ])
        .strategy(EndpointSlice)
}

fn shorten(texts: &[String]) -> String {
    match texts.len() {
        n if n > SHOWN_MAX => format!("{} + {} more...", texts[..SHOWN_MAX].join(","), n - SHOWN_MAX),
        _ if texts.iter().all(String::is_empty) && texts.len() < 2 => cells::UNSET.to_owned(),
        _ => texts.join(","),
    }
}

fn ports_cell(object: &Value) -> String {
    let text = |port: &Value| match (port.int("port"), port.get("name").and_then(Value::as_str)) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    };
    shorten(&object.items("ports").iter().map(text).collect::<Vec<_>>())
}

fn endpoints_cell(object: &Value) -> String {
    let all = object.items("endpoints").iter().flat_map(|endpoint| endpoint.texts("addresses"));
    shorten(&all.map(str::to_owned).collect::<Vec<_>>())
}

struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn default(&self, object: &mut Value) {
        for port in items_mut(object, "ports") {
            set_default(port, "name", "");
            set_default(port, "protocol", "TCP");
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let kind = object.text("addressType");
        let at = Place::root("addressType");
        if kind.is_empty() {
            errors.required(&at, "");
        } else if !TYPES.contains(&kind) {
            errors.unsupported(&at, kind, &TYPES);
        }
        validate_endpoints(object, kind, &mut errors);
        validate_ports(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        if object.text("addressType") != old.text("addressType") {
            errors.invalid(&Place::root("addressType"), object.text("addressType"), "field is immutable");
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        false
    }
}

fn validate_endpoints(object: &Value, kind: &str, errors: &mut Vec<FieldError>) {
    let endpoints = object.items("endpoints");
    let list = Place::root("endpoints");
    if endpoints.len() > ENDPOINTS_MAX {
        errors.too_many(&list, endpoints.len(), ENDPOINTS_MAX);
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let at = list.index(index);
        validate_addresses(endpoint, kind, &at.field("addresses"), errors);
        validate_topology(endpoint, &at, errors);
    }
}

fn validate_addresses(endpoint: &Value, kind: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let addresses = endpoint.items("addresses");
    if addresses.is_empty() {
        errors.required(at, "must contain at least 1 address");
    } else if addresses.len() > ADDRESSES_MAX {
        errors.too_many(at, addresses.len(), ADDRESSES_MAX);
    }
    for (index, address) in endpoint.texts("addresses").enumerate() {
        let at = at.index(index);
        match kind {
            "IPv4" if !address.contains(':') => addresses::validate_ip(address, &at, errors),
            "IPv4" => errors.invalid(&at, address, "must be an IPv4 address"),
            "IPv6" if address.contains(':') => addresses::validate_ip(address, &at, errors),
            "IPv6" => errors.invalid(&at, address, "must be an IPv6 address"),
            "FQDN" => errors.invalid_each(&at, address, names::dns1123_subdomain(address)),
            _ => {}
        }
        if kind != "FQDN" {
            validate_special_ip(address, &at, errors);
        }
    }
}

fn validate_topology(endpoint: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(node) = endpoint.present("nodeName").and_then(Value::as_str) {
        errors.invalid_each(&at.field("nodeName"), node, names::dns1123_subdomain(node));
    }
    let topology = endpoint.entries("deprecatedTopology");
    if topology.len() > TOPOLOGY_LABELS_MAX {
        errors.too_many(&at.field("deprecatedTopology"), topology.len(), TOPOLOGY_LABELS_MAX);
    }
    validate_labels(endpoint, "deprecatedTopology", &at.field("deprecatedTopology"), errors);
    if let Some(hostname) = endpoint.present("hostname").and_then(Value::as_str) {
        errors.invalid_each(&at.field("hostname"), hostname, names::dns1123_label(hostname));
    }
    for (list, max, check) in [
        ("forZones", ZONE_HINTS_MAX, names::label_value as fn(&str) -> Vec<String>),
        ("forNodes", NODE_HINTS_MAX, names::dns1123_subdomain),
    ] {
        let hints = endpoint.get("hints").map_or(&[] as &[Value], |hints| hints.items(list));
        validate_hints(hints, max, check, &at.field("hints").field(list), errors);
    }
}

/// Names of zones or nodes, each once.
fn validate_hints(
    hints: &[Value],
    max: usize,
    check: fn(&str) -> Vec<String>,
    list: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    if hints.len() > max {
        errors.too_many(list, hints.len(), max);
        return;
    }
    for (index, hint) in hints.iter().enumerate() {
        let name = hint.text("name");
        let at = list.index(index);
        if name.is_empty() {
            errors.required(&at.field("name"), "");
            continue;
        }
        errors.invalid_each(&at.field("name"), name, check(name));
        if hints[..index].iter().any(|earlier| earlier.text("name") == name) {
            errors.duplicate(&at.field("name"), name);
        }
    }
}

fn validate_ports(object: &Value, errors: &mut Vec<FieldError>) {
    let ports = object.items("ports");
    let list = Place::root("ports");
    if ports.len() > PORTS_MAX {
        errors.too_many(&list, ports.len(), PORTS_MAX);
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let at = list.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            errors.invalid_each(&at.field("name"), name, names::dns1123_label(name));
        }
        if seen.contains(&name) {
            errors.duplicate(&at.field("name"), name);
        }
        seen.push(name);
        let protocol = port.text("protocol");
        if protocol.is_empty() {
            errors.required(&at.field("protocol"), "");
        } else if !addresses::PROTOCOLS.contains(&protocol) {
            errors.unsupported(&at.field("protocol"), protocol, &addresses::PROTOCOLS);
        }
        let app_protocol = port.text("appProtocol");
        if !app_protocol.is_empty() {
            errors.invalid_each(&at.field("appProtocol"), app_protocol, names::qualified_name(app_protocol));
        }
    }
}
