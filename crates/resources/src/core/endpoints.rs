//! Endpoints.

use std::net::IpAddr;

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::addresses;
use crate::cells;
use crate::place::{Place, Report};
use crate::read::{Read, items_mut};
use crate::row::{Column, Resource, Strategy};

/// Addresses that the table's cell shows before it counts the rest.
const SHOWN_MAX: usize = 3;

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "Endpoints", "endpoints")
        .short_names(&["ep"])
        .columns(vec![
            Column::text("Endpoints", "Ready addresses with their ports.", |object, _| endpoints_cell(object).into()),
            Column::age(),
        ])
        .strategy(Endpoints)
}

struct Endpoints;

impl Strategy for Endpoints {
    fn default(&self, object: &mut Value) {
        for subset in items_mut(object, "subsets") {
            for port in items_mut(subset, "ports") {
                port.default_at(&["protocol"], "TCP");
            }
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let list = Place::root("subsets");
        for (index, subset) in object.items("subsets").iter().enumerate() {
            validate_subset(subset, &list.index(index), &mut errors);
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate_subset(subset: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if subset.items("addresses").is_empty() && subset.items("notReadyAddresses").is_empty() {
        errors.required(at, "must specify `addresses` or `notReadyAddresses`");
    }
    for field in ["addresses", "notReadyAddresses"] {
        let list = at.field(field);
        for (index, address) in subset.items(field).iter().enumerate() {
            validate_address(address, &list.index(index), errors);
        }
    }
    let list = at.field("ports");
    let ports = subset.items("ports");
    for (index, port) in ports.iter().enumerate() {
        validate_port(port, ports.len() > 1, &list.index(index), errors);
    }
}

fn validate_address(address: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let ip = address.text("ip");
    addresses::validate_ip(ip, &at.field("ip"), errors);
    let hostname = address.text("hostname");
    if !hostname.is_empty() {
        errors.invalid_each(&at.field("hostname"), hostname, names::dns1123_label(hostname));
    }
    if let Some(node) = address.present("nodeName").and_then(Value::as_str) {
        errors.invalid_each(&at.field("nodeName"), node, names::dns1123_subdomain(node));
    }
    validate_special_ip(ip, &at.field("ip"), errors);
}

/// Addresses that may not be endpoints: unspecified, loopback, link-local.
pub(crate) fn validate_special_ip(text: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(ip) = addresses::parse_ip(text) else {
        errors.invalid(at, text, "must be a valid IP address");
        return;
    };
    let multicast_link_local = match ip {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if ip.is_unspecified() {
        errors.invalid(at, text, &format!("may not be unspecified ({text})"));
    }
    if ip.is_loopback() {
        errors.invalid(at, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        errors.invalid(at, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast_link_local {
        errors.invalid(at, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

fn validate_port(port: &Value, named: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let name = port.text("name");
    if named && name.is_empty() {
        errors.required(&at.field("name"), "");
    } else if !name.is_empty() {
        errors.invalid_each(&at.field("name"), name, names::dns1123_label(name));
    }
    let number = port.int("port").unwrap_or(0);
    for message in names::port_number(number) {
        errors.invalid(&at.field("port"), number, &message);
    }
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

fn endpoints_cell(object: &Value) -> String {
    let mut shown: Vec<String> = Vec::new();
    let mut count = 0;
    let mut add = |text: String| {
        count += 1;
        if shown.len() < SHOWN_MAX {
            shown.push(text);
        }
    };
    for subset in object.items("subsets") {
        let ports = subset.items("ports");
        let ips = || subset.items("addresses").iter().map(|address| address.text("ip"));
        if ports.is_empty() {
            ips().for_each(|ip| add(ip.to_owned()));
        }
        for port in ports {
            ips().for_each(|ip| add(addresses::join_host_port(ip, port.int("port").unwrap_or(0))));
        }
    }
    match count - shown.len() {
        _ if object.items("subsets").is_empty() => cells::NONE.to_owned(),
        0 => shown.join(","),
        more => format!("{} + {more} more...", shown.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cell_counts_what_it_does_not_show() {
        let cases = [
            (r#"{}"#, "<none>"),
            (r#"{"subsets":[{"addresses":[{"ip":"10.0.0.1"}]}]}"#, "10.0.0.1"),
            (
                r#"{"subsets":[{"addresses":[{"ip":"10.0.0.1"},{"ip":"10.0.0.2"}],"ports":[{"port":80},{"port":81}]}]}"#,
                "10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more...",
            ),
            (r#"{"subsets":[{"notReadyAddresses":[{"ip":"10.0.0.1"}],"ports":[{"port":80}]}]}"#, ""),
        ];
        for (text, wanted) in cases {
            assert_eq!(endpoints_cell(&Value::parse(text.as_bytes()).unwrap()), wanted, "{text}");
        }
    }
}
