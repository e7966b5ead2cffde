//! What objects use of resource quotas: upstream's evaluators, for pods, services, volume claims and device claims, and the
//! counting of anything else.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::amounts::{Amounts, add, amounts, containers, pod_total};
use crate::json::Value;
use crate::quantity::{Format, Quantity};
use crate::time;

/// What quotas of pods count besides what has one of [`HUGE_PAGES`] in front, and extended resources.
const POD_NAMES: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
const HUGE_PAGES: [&str; 2] = ["hugepages-", "requests.hugepages-"];
/// What every container has to ask for when a quota counts it.
const REQUIRED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const SERVICE_NAMES: [&str; 4] = ["count/services", "services", "services.nodeports", "services.loadbalancers"];
const CLAIM_NAMES: [&str; 3] = ["count/persistentvolumeclaims", "persistentvolumeclaims", "requests.storage"];
const CLASS_STORAGE: &str = ".storageclass.storage.k8s.io/requests.storage";
const CLASS_CLAIMS: &str = ".storageclass.storage.k8s.io/persistentvolumeclaims";
const CLASS_DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// Most devices that a request can be given.
const DEVICES_MAX: i64 = 32;
/// Resources that are also counted by their plain name.
const PLAIN_NAMES: [&str; 4] = ["replicationcontrollers", "configmaps", "secrets", "resourcequotas"];

/// A kind of objects, as quotas tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted<'a> {
    /// API group; empty for core.
    pub group: &'a str,
    /// The plural.
    pub resource: &'a str,
}

impl Counted<'_> {
    fn is(self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource
    }

    /// `count/deployments.apps`
    fn count_name(self) -> String {
        let dot = if self.group.is_empty() { "" } else { "." };
        format!("count/{}{dot}{}", self.resource, self.group)
    }

    /// Whether a quota's resource of this name counts these objects.
    pub fn tracks(self, name: &str) -> bool {
        match (self.group, self.resource) {
            ("", "pods") => {
                let is_extended = name.starts_with("requests.") && is_extended(&name["requests.".len()..]);
                POD_NAMES.contains(&name) || HUGE_PAGES.iter().any(|p| name.starts_with(p)) || is_extended
            }
            ("", "services") => SERVICE_NAMES.contains(&name),
            ("", "persistentvolumeclaims") => {
                CLAIM_NAMES.contains(&name) || name.ends_with(CLASS_STORAGE) || name.ends_with(CLASS_CLAIMS)
            }
            ("resource.k8s.io", "resourceclaims") => name == self.count_name() || name.ends_with(CLASS_DEVICES),
            ("", plain) if PLAIN_NAMES.contains(&plain) && name == plain => true,
            _ => name == self.count_name(),
        }
    }

    /// What an object uses.
    pub fn usage(self, object: &Value, now: Timestamp) -> Amounts {
        let mut usage = Amounts::from([(self.count_name(), one())]);
        match (self.group, self.resource) {
            ("", "pods") if is_charged(object, now) => add(&mut usage, &pod_usage(object)),
            ("", "services") => service_usage(object, &mut usage),
            ("", "persistentvolumeclaims") => claim_usage(object, &mut usage),
            ("resource.k8s.io", "resourceclaims") => device_usage(object, &mut usage),
            ("", plain) if PLAIN_NAMES.contains(&plain) => drop(usage.insert(plain.to_owned(), one())),
            _ => {}
        }
        usage
    }

    /// Whether an object is among those that a quota is about: all its scopes have to fit. Only pods fit into scopes, and
    /// volume claims into those of their attributes.
    pub fn fits_scopes(self, quota: &Value, object: &Value) -> bool {
        let plain = quota.at(&["spec", "scopes"]).and_then(Value::as_array);
        let plain = plain.into_iter().flatten().filter_map(Value::as_str).map(|scope| (scope, "Exists", Vec::new()));
        let selected = quota.at(&["spec", "scopeSelector", "matchExpressions"]).and_then(Value::as_array);
        let selected = selected.into_iter().flatten().map(|requirement| {
            let text = |key: &str| requirement.str_at(&[key]).unwrap_or_default();
            let values = requirement.get("values").and_then(Value::as_array);
            (text("scopeName"), text("operator"), values.into_iter().flatten().filter_map(Value::as_str).collect())
        });
        plain.chain(selected).all(|(scope, operator, values)| match (self.group, self.resource) {
            ("", "pods") => pod_fits(object, scope, operator, &values),
            ("", "persistentvolumeclaims") if scope == "VolumeAttributesClass" => {
                let classes = [
                    &["spec", "volumeAttributesClassName"][..],
                    &["status", "currentVolumeAttributesClassName"],
                    &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
                ];
                classes.iter().any(|path| selects(object.str_at(path).unwrap_or_default(), operator, &values))
            }
            _ => false,
        })
    }

    /// What the containers of a pod have to ask for, by the names that a quota counts, and do not; empty when all is well.
    pub fn missing(self, names: &[&str], object: &Value) -> String {
        let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        if !self.is("", "pods") {
            return String::new();
        }
        let whole = compute(
            &amounts(object.at(&["spec", "resources", "requests"])),
            &amounts(object.at(&["spec", "resources", "limits"])),
        );
        for container in containers(object, "containers").iter().chain(containers(object, "initContainers")) {
            let asked = |list: &str| amounts(container.at(&["resources", list]));
            let has = compute(&asked("requests"), &asked("limits"));
            let needed = REQUIRED.iter().filter(|name| names.contains(name));
            for name in needed.filter(|name| !has.contains_key(**name) && !whole.contains_key(**name)) {
                missing.entry(name).or_default().push(container.str_at(&["name"]).unwrap_or_default());
            }
        }
        let each = missing.into_iter().map(|(name, mut containers)| {
            containers.sort_unstable();
            containers.dedup();
            format!("{name} for: {}", containers.join(","))
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

fn one() -> Quantity {
    Quantity::new(1, Format::DecimalSi)
}

/// Whether a resource is neither Kubernetes' own nor a quota's.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

/// Pods that ended, and those that should be gone long since, are not charged.
fn is_charged(pod: &Value, now: Timestamp) -> bool {
    if matches!(pod.str_at(&["status", "phase"]), Some("Failed" | "Succeeded")) {
        return false;
    }
    let deletion = pod.str_at(&["metadata", "deletionTimestamp"]).and_then(|t| time::parse(t).ok());
    let grace = pod.i64_at(&["metadata", "deletionGracePeriodSeconds"]);
    match (deletion, grace) {
        (Some(deletion), Some(grace)) => now <= deletion + SignedDuration::from_secs(grace.clamp(0, 1 << 32)),
        _ => true,
    }
}

fn pod_usage(pod: &Value) -> Amounts {
    let overhead = amounts(pod.at(&["spec", "overhead"]));
    let mut requests = pod_total(pod, "requests");
    add(&mut requests, &overhead);
    let mut limits = pod_total(pod, "limits");
    let of_limits = overhead.into_iter().filter(|(name, _)| limits.get(name).is_some_and(|limit| !limit.is_zero()));
    let of_limits: Amounts = of_limits.collect();
    add(&mut limits, &of_limits);
    compute(&requests, &limits)
}

/// Requests and limits by the names that quotas have for them.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::from([("pods".to_owned(), one())]);
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(request) = requests.get(name) {
            usage.insert(name.to_owned(), request.clone());
            usage.insert(format!("requests.{name}"), request.clone());
        }
        if let Some(limit) = limits.get(name) {
            usage.insert(format!("limits.{name}"), limit.clone());
        }
    }
    for (name, request) in requests {
        if name.starts_with("hugepages-") {
            usage.insert(name.clone(), request.clone());
        }
        if name.starts_with("hugepages-") || is_extended(name) {
            usage.insert(format!("requests.{name}"), request.clone());
        }
    }
    usage
}

fn service_usage(service: &Value, usage: &mut Amounts) {
    let ports = service.at(&["spec", "ports"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let kind = service.str_at(&["spec", "type"]).unwrap_or_default();
    let allocates = service.at(&["spec", "allocateLoadBalancerNodePorts"]).and_then(Value::as_bool).unwrap_or(true);
    let node_ports = match kind {
        "NodePort" => ports.len(),
        "LoadBalancer" if allocates => ports.len(),
        "LoadBalancer" => ports.iter().filter(|p| p.i64_at(&["nodePort"]).unwrap_or(0) != 0).count(),
        _ => 0,
    };
    let number = |count: usize| Quantity::new(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi);
    usage.insert("services".to_owned(), one());
    usage.insert("services.nodeports".to_owned(), number(node_ports));
    usage.insert("services.loadbalancers".to_owned(), number(usize::from(kind == "LoadBalancer")));
}

fn claim_usage(claim: &Value, usage: &mut Amounts) {
    let by_annotation = claim.str_at(&["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]);
    let class = by_annotation.or_else(|| claim.str_at(&["spec", "storageClassName"])).unwrap_or_default();
    usage.insert("persistentvolumeclaims".to_owned(), one());
    if !class.is_empty() {
        usage.insert(format!("{class}{CLASS_CLAIMS}"), one());
    }
    let size = |path: &[&str]| amounts(claim.at(path)).remove("storage");
    // What was granted counts while it is more than what is asked for.
    let asked = size(&["spec", "resources", "requests"]);
    let Some(size) = asked.max(size(&["status", "allocatedResources"])) else { return };
    if !class.is_empty() {
        usage.insert(format!("{class}{CLASS_STORAGE}"), size.clone());
    }
    usage.insert("requests.storage".to_owned(), size);
}

fn device_usage(claim: &Value, usage: &mut Amounts) {
    let list = |tree: &Value, path: &[&str]| tree.at(path).and_then(Value::as_array).cloned().unwrap_or_default();
    let number = |request: &Value| match request.str_at(&["allocationMode"]) {
        Some("All") => DEVICES_MAX,
        _ => request.i64_at(&["count"]).unwrap_or(1),
    };
    for request in list(claim, &["spec", "devices", "requests"]) {
        let exactly = request.get("exactly").cloned();
        // Of alternatives the dearest counts, for each class.
        let mut of_request: BTreeMap<String, i64> = BTreeMap::new();
        for one in exactly.into_iter().chain(list(&request, &["firstAvailable"])) {
            let class = one.str_at(&["deviceClassName"]).unwrap_or_default().to_owned();
            let most = of_request.entry(class).or_default();
            *most = (*most).max(number(&one));
        }
        for (class, count) in of_request {
            let count = Amounts::from([(format!("{class}{CLASS_DEVICES}"), Quantity::new(count, Format::DecimalSi))]);
            add(usage, &count);
        }
    }
}

fn pod_fits(pod: &Value, scope: &str, operator: &str, values: &[&str]) -> bool {
    let is_terminating = || pod.i64_at(&["spec", "activeDeadlineSeconds"]).is_some_and(|s| s >= 0);
    match scope {
        "Terminating" => is_terminating(),
        "NotTerminating" => !is_terminating(),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => selects(pod.str_at(&["spec", "priorityClassName"]).unwrap_or_default(), operator, values),
        "CrossNamespacePodAffinity" => asks_other_namespaces(pod),
        _ => false,
    }
}

/// Whether a class, which is none when empty, is one that a requirement selects.
fn selects(class: &str, operator: &str, values: &[&str]) -> bool {
    match operator {
        "Exists" => !class.is_empty(),
        "DoesNotExist" => class.is_empty(),
        "In" => !class.is_empty() && values.contains(&class),
        "NotIn" => class.is_empty() || !values.contains(&class),
        _ => false,
    }
}

fn is_best_effort(pod: &Value) -> bool {
    let asks = |resources: &Value| {
        ["requests", "limits"].iter().any(|list| {
            let asked = amounts(resources.get(list));
            ["cpu", "memory"].iter().any(|name| asked.get(*name).is_some_and(|amount| amount.sign() > 0))
        })
    };
    let each = containers(pod, "containers").iter().chain(containers(pod, "initContainers"));
    let whole = pod.at(&["spec", "resources"]);
    !each.filter_map(|container| container.get("resources")).chain(whole).any(asks)
}

fn asks_other_namespaces(pod: &Value) -> bool {
    let is_other = |term: &Value| {
        let named = term.get("namespaces").and_then(Value::as_array).is_some_and(|n| !n.is_empty());
        named || term.get("namespaceSelector").is_some_and(|s| !s.is_null())
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let terms =
            |list: &str| pod.at(&["spec", "affinity", kind, list]).and_then(Value::as_array).into_iter().flatten();
        let required = terms("requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = terms("preferredDuringSchedulingIgnoredDuringExecution");
        required.chain(preferred.filter_map(|term| term.get("podAffinityTerm"))).any(is_other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amounts::told;

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    fn counted(name: &'static str) -> Counted<'static> {
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        Counted { group, resource }
    }

    const POD: &str = r#"{"spec":{"overhead":{"cpu":"50m"},"containers":[{"name":"a","resources":{"requests":{"cpu":"500m","memory":"1Gi",
        "example.com/gpu":"3"},"limits":{"cpu":"1"}}}]}}"#;

    #[test]
    fn what_objects_use() {
        let cases = [
            (
                "pods",
                POD,
                "count/pods=1,cpu=550m,limits.cpu=1050m,memory=1Gi,pods=1,requests.cpu=550m,\
                 requests.example.com/gpu=3,requests.memory=1Gi",
            ),
            ("pods", r#"{"status":{"phase":"Succeeded"}}"#, "count/pods=1"),
            (
                "pods",
                r#"{"metadata":{"deletionTimestamp":"2024-01-01T00:00:00Z","deletionGracePeriodSeconds":30}}"#,
                "count/pods=1",
            ),
            (
                "services",
                r#"{"spec":{"type":"NodePort","ports":[{"port":80},{"port":81}]}}"#,
                "count/services=1,services=1,services.loadbalancers=0,services.nodeports=2",
            ),
            (
                "services",
                r#"{"spec":{"type":"LoadBalancer","allocateLoadBalancerNodePorts":false,"ports":[{"port":80,"nodePort":30000},{"port":81}]}}"#,
                "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1",
            ),
            (
                "persistentvolumeclaims",
                r#"{"spec":{"storageClassName":"gold","resources":{"requests":{"storage":"1Gi"}}}}"#,
                "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
                 gold.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
            ),
            (
                "resourceclaims.resource.k8s.io",
                r#"{"spec":{"devices":{"requests":[{"exactly":{"deviceClassName":"a","count":2}},
                {"firstAvailable":[{"deviceClassName":"a","count":3},{"deviceClassName":"a","allocationMode":"All"}]}]}}}"#,
                "a.deviceclass.resource.k8s.io/devices=34,count/resourceclaims.resource.k8s.io=1",
            ),
            ("configmaps", "{}", "configmaps=1,count/configmaps=1"),
            ("deployments.apps", "{}", "count/deployments.apps=1"),
        ];
        let now = time::parse("2025-01-01T00:00:00Z").unwrap();
        for (kind, object, wanted) in cases {
            let usage = counted(kind).usage(&parse(object), now);
            assert_eq!(told(&usage), wanted, "{kind} {object}");
            assert!(usage.keys().all(|name| counted(kind).tracks(name)), "{kind} {object}");
        }
        assert!(!counted("pods").tracks("requests.storage") && !counted("pods").tracks("services"));
    }

    #[test]
    fn scopes_select_pods() {
        let short = r#"{"spec":{"activeDeadlineSeconds":5,"priorityClassName":"high","containers":[{"name":"a"}]}}"#;
        let cases = [
            (r#"{"scopes":["Terminating"]}"#, true, false),
            (r#"{"scopes":["NotTerminating"]}"#, false, true),
            (r#"{"scopes":["BestEffort"]}"#, true, false),
            (r#"{"scopes":["NotBestEffort","NotTerminating"]}"#, false, true),
            (r#"{"scopes":["CrossNamespacePodAffinity"]}"#, false, false),
            (
                r#"{"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"In","values":["high"]}]}}"#,
                true,
                false,
            ),
            (
                r#"{"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"NotIn","values":["high"]}]}}"#,
                false,
                true,
            ),
            ("{}", true, true),
        ];
        for (spec, first, second) in cases {
            let quota = parse(&format!(r#"{{"spec":{spec}}}"#));
            let fits = |pod: &str| counted("pods").fits_scopes(&quota, &parse(pod));
            assert_eq!((fits(short), fits(POD)), (first, second), "{spec}");
        }
        let quota = parse(r#"{"spec":{"scopes":["NotTerminating"]}}"#);
        assert!(!counted("configmaps").fits_scopes(&quota, &Value::object()));
    }

    #[test]
    fn containers_have_to_ask_for_what_is_counted() {
        let pods = counted("pods");
        let missing = pods.missing(&["limits.memory", "requests.cpu", "pods", "limits.cpu"], &parse(POD));
        assert_eq!(missing, "limits.memory for: a");
        assert_eq!(pods.missing(&["limits.cpu"], &parse(POD)), "");
        let whole = r#"{"spec":{"resources":{"limits":{"memory":"1Gi"}},"containers":[{"name":"a"}]}}"#;
        assert_eq!(pods.missing(&["limits.memory"], &parse(whole)), "");
    }
}
