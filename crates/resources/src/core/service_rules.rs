//! Validation of services (`pkg/apis/core/validation`, ValidateService).

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::addresses::{self, PROTOCOLS};
use crate::metadata::validate_labels;
use crate::place::{Json, Place, Report};
use crate::read::{Read, same_at};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITY_SECONDS_MAX: i64 = 86_400;

/// A new service.
pub(super) fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let spec = object.get("spec").unwrap_or(&empty);
    let at = Place::root("spec");
    let headless = spec.text("clusterIP") == "None";
    if spec.items("ports").is_empty() && !headless && spec.text("type") != "ExternalName" {
        errors.required(&at.field("ports"), "");
    }
    let known_type = validate_type(spec, &at, &mut errors);
    validate_ports(spec, &at.field("ports"), &mut errors);
    validate_labels(spec, "selector", &at.field("selector"), &mut errors);
    validate_affinity(spec, &at, &mut errors);
    validate_cluster_ips(spec, &at, &mut errors);
    validate_families(spec, &at, &mut errors);
    validate_external_ips(spec, &at, &mut errors);
    if !known_type {
        let kind = spec.text("type");
        match kind {
            "" => errors.required(&at.field("type"), ""),
            _ => errors.unsupported(&at.field("type"), kind, &TYPES),
        }
    }
    validate_port_pairs(spec, &at.field("ports"), &mut errors);
    validate_source_ranges(spec, &at, &mut errors);
    validate_load_balancer(spec, &at, &mut errors);
    validate_traffic(spec, &at, &mut errors);
    errors
}

/// A changed service.
pub(super) fn validate_update(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (new_spec, old_spec) = (object.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
    let at = Place::root("spec");
    validate_kept_addresses(new_spec, old_spec, &at, &mut errors);
    validate_kept_families(new_spec, old_spec, &at, &mut errors);
    let balanced = |spec: &Value| spec.text("type") == "LoadBalancer";
    if balanced(old_spec) && balanced(new_spec) && !same_at(new_spec, old_spec, &["loadBalancerClass"]) {
        let value = new_spec.get("loadBalancerClass").unwrap_or(&Value::Null);
        errors.invalid(&at.field("loadBalancerClass"), Json(value), "may not change once set");
    }
    errors.extend(validate(object));
    errors
}

fn is_headless(spec: &Value) -> bool {
    let mut ips = spec.texts("clusterIPs");
    ips.next() == Some("None") && ips.next().is_none()
}

fn list<'a>(spec: &'a Value, field: &str) -> Json<'a> {
    Json(spec.get(field).unwrap_or(&Value::Null))
}

/// Cluster IPs are allocated once; only a change from or to ExternalName lets go of them.
fn validate_kept_addresses(new: &Value, old: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let external = |spec: &Value| spec.text("type") == "ExternalName";
    if external(new) || external(old) || (is_headless(new) && is_headless(old)) {
        return;
    }
    let field = at.field("clusterIPs");
    let (after, before) = (new.items("clusterIPs"), old.items("clusterIPs"));
    if after.is_empty() && !before.is_empty() {
        errors.invalid(&field.index(0), list(new, "clusterIPs"), "primary clusterIP can not be unset");
    }
    let compared = if after.len() == before.len() { before.len() } else { 1 };
    for (index, (was, is)) in before.iter().zip(after).take(compared).enumerate() {
        if was != is {
            errors.invalid(&field.index(index), list(new, "clusterIPs"), "may not change once set");
        }
    }
    if before.len() > after.len() && after.len() == 1 && new.text("ipFamilyPolicy") != "SingleStack" {
        let detail = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        errors.invalid(&at.field("ipFamilyPolicy"), list(new, "ipFamilyPolicy"), detail);
    }
}

fn validate_kept_families(new: &Value, old: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let external = |spec: &Value| spec.text("type") == "ExternalName";
    if external(new) || external(old) || is_headless(new) || is_headless(old) {
        return;
    }
    let field = at.field("ipFamilies");
    let (after, before) = (new.items("ipFamilies"), old.items("ipFamilies"));
    let compared = if after.len() == before.len() { before.len() } else { 1 };
    if before.iter().zip(after).take(compared).any(|(was, is)| was != is) {
        errors.invalid(&field.index(0), list(new, "ipFamilies"), "may not change once set");
    }
}

/// The status of a service.
pub(super) fn validate_status(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let Some(balancer) = object.at(&["status", "loadBalancer"]) else { return errors };
    let status = Place::root("status");
    let list = status.field("loadBalancer.ingress");
    let kind = object.str_at(&["spec", "type"]).unwrap_or_default();
    if kind != "LoadBalancer" && !balancer.items("ingress").is_empty() {
        errors.forbidden(&list, "may only be used when `spec.type` is 'LoadBalancer'");
        return errors;
    }
    for (index, point) in balancer.items("ingress").iter().enumerate() {
        let at = list.index(index);
        let (ip, hostname) = (point.text("ip"), point.text("hostname"));
        if !ip.is_empty() {
            addresses::validate_ip(ip, &at.field("ip"), &mut errors);
        }
        let field = at.field("ipMode");
        match point.present("ipMode").and_then(Value::as_str) {
            None if !ip.is_empty() => errors.required(&field, "must be specified when `ip` is set"),
            Some(_) if ip.is_empty() => errors.forbidden(&field, "may not be specified when `ip` is not set"),
            None | Some("Proxy" | "VIP") => {}
            Some(mode) => errors.unsupported(&field, mode, &["Proxy", "VIP"]),
        }
        if !hostname.is_empty() {
            errors.invalid_each(&at.field("hostname"), hostname, names::dns1123_subdomain(hostname));
            if hostname.parse::<std::net::IpAddr>().is_ok() {
                errors.invalid(&at.field("hostname"), hostname, "must be a DNS name, not an IP address");
            }
        }
    }
    errors
}

/// What a type asks for; returns whether it is one of those known.
fn validate_type(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) -> bool {
    let kind = spec.text("type");
    let headless = spec.text("clusterIP") == "None";
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&at.field("clusterIPs").index(0), "None", &detail);
        }
        "ExternalName" => validate_external_name(spec, at, errors),
        _ => {}
    }
    TYPES.contains(&kind)
}

fn validate_external_name(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if !spec.items("clusterIPs").is_empty() || !spec.text("clusterIP").is_empty() {
        errors.forbidden(&at.field("clusterIPs"), "may not be set for ExternalName services");
    }
    if !spec.items("ipFamilies").is_empty() {
        errors.forbidden(&at.field("ipFamilies"), "may not be set for ExternalName services");
    }
    if spec.has("ipFamilyPolicy") {
        errors.forbidden(&at.field("ipFamilyPolicy"), "may not be set for ExternalName services");
    }
    let name = spec.text("externalName");
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() {
        errors.required(&at.field("externalName"), "");
    } else {
        errors.invalid_each(&at.field("externalName"), bare, names::dns1123_subdomain(bare));
    }
}

fn validate_ports(spec: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let ports = spec.items("ports");
    let mut seen_names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        validate_port(port, ports.len() > 1, &list.index(index), &mut seen_names, errors);
    }
}

/// Node ports, and ports, are each used once per protocol.
fn validate_port_pairs(spec: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let ports = spec.items("ports");
    if spec.text("type") == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| port.int("nodePort").unwrap_or(0) != 0) {
            errors.forbidden(&list.index(index).field("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let at = list.index(index);
        let Some(node_port) = port.int("nodePort").filter(|n| *n != 0) else { continue };
        let same = |p: &Value| p.int("nodePort") == Some(node_port) && p.text("protocol") == port.text("protocol");
        if ports[..index].iter().any(same) {
            errors.duplicate(&at.field("nodePort"), node_port);
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let same = |p: &Value| p.int("port") == port.int("port") && p.text("protocol") == port.text("protocol");
        if ports[..index].iter().any(same) {
            let key = Value::Object(
                [("port", port.get("port").cloned()), ("protocol", port.get("protocol").cloned())]
                    .into_iter()
                    .filter_map(|(k, v)| Some((k, v?)))
                    .collect(),
            );
            errors.duplicate(&list.index(index), Json(&key));
        }
    }
}

fn validate_port<'v>(
    port: &'v Value,
    named: bool,
    at: &Place<'_>,
    seen: &mut Vec<&'v str>,
    errors: &mut Vec<FieldError>,
) {
    let name = port.text("name");
    if named && name.is_empty() {
        errors.required(&at.field("name"), "");
    } else if !name.is_empty() {
        errors.invalid_each(&at.field("name"), name, names::dns1123_label(name));
        if seen.contains(&name) {
            errors.duplicate(&at.field("name"), name);
        }
        seen.push(name);
    }
    let number = port.int("port").unwrap_or(0);
    for message in names::port_number(number) {
        errors.invalid(&at.field("port"), number, &message);
    }
    let protocol = port.text("protocol");
    if protocol.is_empty() {
        errors.required(&at.field("protocol"), "");
    } else if !PROTOCOLS.contains(&protocol) {
        errors.unsupported(&at.field("protocol"), protocol, &PROTOCOLS);
    }
    validate_port_or_name(port.get("targetPort"), &at.field("targetPort"), errors);
    let app_protocol = port.text("appProtocol");
    if !app_protocol.is_empty() {
        errors.invalid_each(&at.field("appProtocol"), app_protocol, names::qualified_name(app_protocol));
    }
}

/// A port by number or by name.
pub(crate) fn validate_port_or_name(port: Option<&Value>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match port {
        Some(Value::String(name)) => errors.invalid_each(at, name, names::port_name(name)),
        other => {
            let number = other.and_then(Value::as_i64).unwrap_or(0);
            for message in names::port_number(number) {
                errors.invalid(at, number, &message);
            }
        }
    }
}

fn validate_affinity(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let affinity = spec.text("sessionAffinity");
    match affinity {
        "" => errors.required(&at.field("sessionAffinity"), ""),
        "None" if spec.has("sessionAffinityConfig") => {
            errors.forbidden(&at.field("sessionAffinityConfig"), "must not be set when session affinity is None");
        }
        "None" => {}
        "ClientIP" => {
            let seconds = spec.i64_at(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"]);
            let at = at.field("sessionAffinityConfig.clientIP.timeoutSeconds");
            match seconds {
                None => errors.required(&at, "when session affinity type is ClientIP"),
                Some(1..=AFFINITY_SECONDS_MAX) => {}
                Some(seconds) => errors.invalid(&at, seconds, "must be greater than 0 and less than 86400"),
            }
        }
        _ => errors.unsupported(&at.field("sessionAffinity"), affinity, &["ClientIP", "None"]),
    }
}

fn validate_cluster_ips(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let field = at.field("clusterIPs");
    let one = spec.text("clusterIP");
    let many: Vec<&str> = spec.texts("clusterIPs").collect();
    if spec.text("type") == "ExternalName" {
        return;
    }
    match (one.is_empty(), many.first()) {
        (false, None) => errors.required(&field, ""),
        (false, Some(first)) if *first != one => {
            errors.invalid(&field, list(spec, "clusterIPs"), "first value must match `clusterIP`");
        }
        (true, Some(_)) => {
            errors.invalid(&field, list(spec, "clusterIPs"), "must be empty when `clusterIP` is not specified");
        }
        _ => {}
    }
    let before = errors.len();
    for (index, ip) in many.iter().enumerate() {
        match *ip {
            "None" if index == 0 && many.len() > 1 => {
                errors.invalid(&field, list(spec, "clusterIPs"), "'None' must be the first and only value");
            }
            "None" if index == 0 => {}
            ip => addresses::validate_ip(ip, &field.index(index), errors),
        }
    }
    let all_valid = errors.len() == before;
    if many.len() > 2 {
        errors.invalid(&field, list(spec, "clusterIPs"), "may only hold up to 2 values");
    }
    if all_valid {
        validate_families_of(spec, &many, &field, errors);
    }
}

/// Each cluster IP is of the family that stands at its index, and the two of a pair differ.
fn validate_families_of(spec: &Value, ips: &[&str], field: &Place<'_>, errors: &mut Vec<FieldError>) {
    let six = ips.iter().filter(|ip| ip.contains(':')).count();
    if ips.len() > 1 && (six == 0 || six == ips.len()) {
        errors.invalid(field, list(spec, "clusterIPs"), "may specify no more than one IP for each IP family");
    }
    if is_headless(spec) {
        return;
    }
    for (index, (ip, family)) in ips.iter().zip(spec.texts("ipFamilies")).enumerate() {
        let own = if ip.contains(':') { "IPv6" } else { "IPv4" };
        if family != own && matches!(family, "IPv4" | "IPv6") {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(&field.index(index), *ip, &detail);
        }
    }
}

fn validate_families(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if spec.text("type") == "ExternalName" {
        return;
    }
    let list = at.field("ipFamilies");
    let families: Vec<&str> = spec.texts("ipFamilies").collect();
    for (index, family) in families.iter().enumerate() {
        match *family {
            "IPv4" if families[..index].contains(family) => errors.duplicate(&list.index(index), *family),
            "IPv4" => {}
            // DIVERGES: the cluster has one address family so far, so IPv6 is what upstream says of a family it lacks.
            "IPv6" => errors.invalid(&list.index(index), *family, "not configured on this cluster"),
            _ => errors.unsupported(&list.index(index), *family, &["IPv4", "IPv6"]),
        }
    }
    let policy = spec.text("ipFamilyPolicy");
    match policy {
        "" | "SingleStack" | "PreferDualStack" => {}
        "RequireDualStack" => {
            let detail = "this cluster is not configured for dual-stack services";
            errors.invalid(&at.field("ipFamilyPolicy"), policy, detail);
        }
        _ => {
            let supported = ["PreferDualStack", "RequireDualStack", "SingleStack"];
            errors.unsupported(&at.field("ipFamilyPolicy"), policy, &supported);
        }
    }
}

fn validate_external_ips(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let list = at.field("externalIPs");
    for (index, ip) in spec.texts("externalIPs").enumerate() {
        let before = errors.len();
        addresses::validate_ip(ip, &list.index(index), errors);
        if errors.len() == before {
            super::endpoints::validate_special_ip(ip, &list.index(index), errors);
        }
    }
}

fn validate_source_ranges(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let ranges = at.field("LoadBalancerSourceRanges");
    if !spec.items("loadBalancerSourceRanges").is_empty() && spec.text("type") != "LoadBalancer" {
        errors.forbidden(&ranges, "may only be used when `type` is 'LoadBalancer'");
    }
    for (index, cidr) in spec.texts("loadBalancerSourceRanges").enumerate() {
        addresses::validate_cidr(cidr.trim(), &ranges.index(index), errors);
    }
}

fn validate_traffic(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let kind = spec.text("type");
    let external =
        matches!(kind, "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && !spec.items("externalIPs").is_empty());
    let policy = spec.text("externalTrafficPolicy");
    let field = at.field("externalTrafficPolicy");
    match (external, policy) {
        (true, "Cluster" | "Local") | (false, "") => {}
        (true, "") => errors.required(&field, ""),
        (true, _) => errors.unsupported(&field, policy, &["Cluster", "Local"]),
        (false, _) => errors.invalid(&field, policy, "may only be set for externally-accessible services"),
    }
    let health = spec.int("healthCheckNodePort").unwrap_or(0);
    let field = at.field("healthCheckNodePort");
    if health != 0 && !(kind == "LoadBalancer" && policy == "Local") {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid(&field, health, detail);
    } else if health != 0 {
        for message in names::port_number(health) {
            errors.invalid(&field, health, &message);
        }
    }
    let internal = spec.text("internalTrafficPolicy");
    let field = at.field("internalTrafficPolicy");
    match internal {
        "Cluster" | "Local" => {}
        "" if kind == "ExternalName" => {}
        "" => errors.required(&field, ""),
        _ => errors.unsupported(&field, internal, &["Cluster", "Local"]),
    }
    let distribution = spec.text("trafficDistribution");
    let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    if !distribution.is_empty() && !known.contains(&distribution) {
        errors.unsupported(&at.field("trafficDistribution"), distribution, &known);
    }
}

fn validate_load_balancer(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let balanced = spec.text("type") == "LoadBalancer";
    let field = at.field("allocateLoadBalancerNodePorts");
    match (balanced, spec.has("allocateLoadBalancerNodePorts")) {
        (true, false) => errors.required(&field, ""),
        (false, true) => errors.forbidden(&field, "may only be used when `type` is 'LoadBalancer'"),
        _ => {}
    }
    let Some(class) = spec.present("loadBalancerClass").and_then(Value::as_str) else { return };
    let field = at.field("loadBalancerClass");
    if balanced {
        errors.invalid_each(&field, class, names::qualified_name(class));
    } else {
        errors.forbidden(&field, "may only be used when `type` is 'LoadBalancer'");
    }
}
