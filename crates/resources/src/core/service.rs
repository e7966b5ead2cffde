//! Services.

use machinery::field::FieldError;
use machinery::json::Value;

use super::{service_cells as shown, service_rules};
use crate::read::{Read, is_empty, items_mut, present_mut, same_at, selectable, set_default};
use crate::row::{Column, NameRule, Resource, SelectableField, Strategy, Subresource, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "Service", "services")
        .short_names(&["svc"])
        .categories(&["all"])
        .subresources(&[Subresource::Proxy, Subresource::Status])
        .columns(vec![
            Column::text("Type", "How the service is reached.", |object, _| shown::kind(object)),
            Column::text("Cluster-IP", "Its address inside the cluster.", |object, _| shown::cluster_ip(object)),
            Column::text("External-IP", "Its addresses outside of the cluster.", |object, _| {
                shown::external_ip(object)
            }),
            Column::text("Port(s)", "Ports, with node ports and protocols.", |object, _| shown::ports(object)),
            Column::age(),
            Column::text("Selector", "Labels of the pods behind it.", |object, _| shown::selector(object)).wide(),
        ])
        .selectable(vec![
            SelectableField::new("spec.clusterIP", |object| selectable(object, &["spec", "clusterIP"])),
            SelectableField::new("spec.type", |object| selectable(object, &["spec", "type"])),
        ])
        .strategy(Service)
}

struct Service;

impl Strategy for Service {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        let Some(spec) = present_mut(object, "spec") else { return };
        if spec.text("type").is_empty() {
            spec.set_at(&["type"], "ClusterIP");
        }
        default_affinity(spec);
        for port in items_mut(spec, "ports") {
            default_port(port);
        }
        default_traffic(spec);
        let is_balanced = spec.text("type") == "LoadBalancer";
        if let Some(balancer) = object.at_mut(&["status", "loadBalancer"]).filter(|_| is_balanced) {
            for point in items_mut(balancer, "ingress").iter_mut().filter(|point| !point.text("ip").is_empty()) {
                set_default(point, "ipMode", "VIP");
            }
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        if let Some(spec) = present_mut(object, "spec") {
            normalize_cluster_ips(spec, None);
            default_families(spec);
        }
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, target: Target) {
        if target != Target::Object {
            return;
        }
        let empty = Value::object();
        let old_spec = old.get("spec").unwrap_or(&empty);
        let Some(spec) = present_mut(object, "spec") else { return };
        normalize_cluster_ips(spec, Some(old_spec));
        keep_allocated(spec, old_spec);
        drop_by_type(spec, old_spec);
        default_families(spec);
        default_traffic(spec);
        let is_balanced = spec.text("type") == "LoadBalancer";
        if let Some(balancer) = object.at_mut(&["status", "loadBalancer"]).filter(|_| is_balanced) {
            for point in items_mut(balancer, "ingress").iter_mut().filter(|point| !point.text("ip").is_empty()) {
                set_default(point, "ipMode", "VIP");
            }
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        service_rules::validate(object)
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        match target {
            Target::Object => service_rules::validate_update(object, old),
            Target::Subresource(_) => service_rules::validate_status(object),
        }
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let Some(spec) = object.get("spec") else { return Vec::new() };
        let mut ignored = Vec::new();
        if spec.text("clusterIP") == "None" {
            let set = [
                ("loadBalancerIP", !spec.text("loadBalancerIP").is_empty()),
                ("externalIPs", !spec.items("externalIPs").is_empty()),
                ("SessionAffinity", !matches!(spec.text("sessionAffinity"), "" | "None")),
            ];
            for (field, _) in set.iter().filter(|(_, set)| *set) {
                ignored.push(format!("spec.{field} is ignored when spec.clusterIP is \"None\""));
            }
        }
        if spec.text("type") == "ExternalName" && !spec.items("externalIPs").is_empty() {
            ignored.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
        }
        ignored
    }
}

fn default_affinity(spec: &mut Value) {
    if spec.text("sessionAffinity").is_empty() {
        spec.set_at(&["sessionAffinity"], "None");
    }
    match spec.text("sessionAffinity") {
        "None" => {
            spec.remove_at(&["sessionAffinityConfig"]);
        }
        "ClientIP" => spec.default_at(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"], 10_800),
        _ => {}
    }
}

fn default_port(port: &mut Value) {
    if port.text("protocol").is_empty() {
        port.set_at(&["protocol"], "TCP");
    }
    let unset = port.get("targetPort").is_none_or(|t| is_empty(t) || t.as_i64() == Some(0));
    if unset && let Some(number) = port.int("port") {
        port.set_at(&["targetPort"], number);
    }
}

fn default_traffic(spec: &mut Value) {
    let kind = spec.text("type").to_owned();
    let external = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !spec.items("externalIPs").is_empty());
    if external && spec.text("externalTrafficPolicy").is_empty() {
        spec.set_at(&["externalTrafficPolicy"], "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        set_default(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set_default(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// The cluster has one family: IPv4.
fn default_families(spec: &mut Value) {
    if spec.text("type") == "ExternalName" {
        return;
    }
    set_default(spec, "ipFamilyPolicy", "SingleStack");
    if spec.items("ipFamilies").is_empty() {
        spec.set_at(&["ipFamilies"], vec!["IPv4"]);
    }
}

/// `clusterIP` is the first of `clusterIPs`: clients that know only the one change both.
fn normalize_cluster_ips(spec: &mut Value, old: Option<&Value>) {
    let one = spec.text("clusterIP").to_owned();
    let many_empty = spec.items("clusterIPs").is_empty();
    let Some(old) = old else {
        if !one.is_empty() && many_empty {
            spec.set_at(&["clusterIPs"], vec![one]);
        }
        return;
    };
    let one_changed = one != old.text("clusterIP");
    let same_many = same_at(spec, old, &["clusterIPs"]);
    if one.is_empty() && one_changed && same_many {
        spec.remove_at(&["clusterIPs"]);
    } else if one_changed && !one.is_empty() && (same_many || many_empty) {
        spec.set_at(&["clusterIPs"], vec![one]);
    }
}

fn has_cluster_ip(spec: &Value) -> bool {
    matches!(spec.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn has_node_ports(spec: &Value) -> bool {
    let load_balancer = spec.text("type") == "LoadBalancer"
        && spec.present("allocateLoadBalancerNodePorts").and_then(Value::as_bool).unwrap_or(true);
    spec.text("type") == "NodePort" || load_balancer
}

fn has_health_check_port(spec: &Value) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

/// An update that leaves out what was allocated keeps it.
fn keep_allocated(spec: &mut Value, old: &Value) {
    if has_cluster_ip(spec) && has_cluster_ip(old) {
        if spec.text("clusterIP").is_empty() && !old.text("clusterIP").is_empty() {
            spec.set_at(&["clusterIP"], old.text("clusterIP"));
        }
        if spec.items("clusterIPs").is_empty() && spec.text("clusterIP") == old.text("clusterIP") {
            spec.set_at(&["clusterIPs"], old.get("clusterIPs").cloned());
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if let Some(value) = old.present(field) {
                set_default(spec, field, value.clone());
            }
        }
    }
    if has_node_ports(spec) && has_node_ports(old) {
        keep_node_ports(spec, old);
    }
    if has_health_check_port(spec)
        && has_health_check_port(old)
        && spec.int("healthCheckNodePort").unwrap_or(0) == 0
        && let Some(port) = old.int("healthCheckNodePort")
    {
        spec.set_at(&["healthCheckNodePort"], port);
    }
}

fn keep_node_ports(spec: &mut Value, old: &Value) {
    let mut used: Vec<i64> = spec.items("ports").iter().filter_map(|p| p.int("nodePort")).collect();
    for port in items_mut(spec, "ports") {
        if port.int("nodePort").unwrap_or(0) != 0 {
            continue;
        }
        let known = old
            .items("ports")
            .iter()
            .find(|known| known.int("port") == port.int("port") && known.text("protocol") == port.text("protocol"));
        if let Some(number) = known.and_then(|known| known.int("nodePort")).filter(|n| *n != 0 && !used.contains(n)) {
            port.set_at(&["nodePort"], number);
            used.push(number);
        }
    }
}

/// What a new type has no use for goes, when the update left it as it was.
fn drop_by_type(spec: &mut Value, old: &Value) {
    if has_cluster_ip(old) && !has_cluster_ip(spec) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            drop_same(spec, old, field);
        }
    }
    if has_node_ports(old) && !has_node_ports(spec) && same_node_ports(spec, old) {
        for port in items_mut(spec, "ports") {
            port.remove_at(&["nodePort"]);
        }
    }
    if has_health_check_port(old) && !has_health_check_port(spec) {
        drop_same(spec, old, "healthCheckNodePort");
    }
    if old.text("type") == "LoadBalancer" && spec.text("type") != "LoadBalancer" {
        drop_same(spec, old, "allocateLoadBalancerNodePorts");
        drop_same(spec, old, "loadBalancerClass");
    }
    let external = |spec: &Value| {
        matches!(spec.text("type"), "NodePort" | "LoadBalancer")
            || (spec.text("type") == "ClusterIP" && !spec.items("externalIPs").is_empty())
    };
    if external(old) && !external(spec) {
        drop_same(spec, old, "externalTrafficPolicy");
    }
}

fn drop_same(spec: &mut Value, old: &Value, field: &str) {
    if same_at(spec, old, &[field]) {
        spec.remove_at(&[field]);
    }
}

fn same_node_ports(new: &Value, old: &Value) -> bool {
    let ports = |spec: &Value| {
        let mut numbers: Vec<i64> = spec.items("ports").iter().filter_map(|p| p.int("nodePort")).collect();
        numbers.sort_unstable();
        numbers
    };
    ports(new).iter().all(|port| ports(old).contains(port))
}
