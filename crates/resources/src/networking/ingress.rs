//! Ingresses.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::ingress_backends::{validate_backend, validate_http};
use crate::addresses;
use crate::cells;
use crate::place::{Json, Place, Report};
use crate::read::{Read, same_at, set_default};
use crate::row::{Column, Resource, Strategy, Subresource, Target};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const HOSTS_SHOWN_MAX: usize = 3;

/// The row.
pub fn row() -> Resource {
    Resource::new("networking.k8s.io/v1", "Ingress", "ingresses")
        .short_names(&["ing"])
        .subresources(&[Subresource::Status])
        .generation()
        .columns(vec![
            Column::text("Class", "Name of its IngressClass.", |object, _| {
                cells::or_none(object.str_at(&["spec", "ingressClassName"]).unwrap_or_default())
            }),
            Column::text("Hosts", "Hosts whose requests it takes.", |object, _| hosts(object).into()),
            Column::text("Address", "Where it can be reached.", |object, _| addresses_of(object).into()),
            Column::text("Ports", "Ports that are open.", |object, _| {
                let has_tls = object.get("spec").is_some_and(|spec| !spec.items("tls").is_empty());
                if has_tls { "80, 443".into() } else { "80".into() }
            }),
            Column::age(),
        ])
        .strategy(Ingress)
}

fn hosts(object: &Value) -> String {
    let rules = object.get("spec").map_or(&[] as &[Value], |spec| spec.items("rules"));
    let (mut shown, mut is_more) = (Vec::new(), false);
    for host in rules.iter().map(|rule| rule.text("host")) {
        // Rules after the last host that is shown are more, whether or not they have a host.
        is_more |= shown.len() == HOSTS_SHOWN_MAX;
        if !is_more && !host.is_empty() {
            shown.push(host);
        }
    }
    match (shown.is_empty(), is_more) {
        (true, _) => "*".to_owned(),
        (false, true) => format!("{} + {} more...", shown.join(","), rules.len() - HOSTS_SHOWN_MAX),
        (false, false) => shown.join(","),
    }
}

fn addresses_of(object: &Value) -> String {
    let Some(balancer) = object.at(&["status", "loadBalancer"]) else { return String::new() };
    let address = |point: &Value| {
        let ip = point.text("ip");
        if ip.is_empty() { point.text("hostname").to_owned() } else { ip.to_owned() }
    };
    let mut all: Vec<String> = balancer.items("ingress").iter().map(address).filter(|a| !a.is_empty()).collect();
    all.sort_unstable();
    all.dedup();
    all.join(",")
}

struct Ingress;

impl Strategy for Ingress {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
    }

    fn wants_new_generation(&self, object: &Value, old: &Value) -> bool {
        !same_at(object, old, &["spec"])
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = validate_spec(object, None);
        let annotation = object.at(&["metadata", "annotations"]).map_or("", |a| a.text(CLASS_ANNOTATION));
        let class = object.str_at(&["spec", "ingressClassName"]);
        if class.is_some_and(|class| class != annotation) && has_class_annotation(object) {
            let at = Place::root("annotations");
            errors.invalid(
                &at.field(CLASS_ANNOTATION),
                annotation,
                "must match `ingressClassName` when both are specified",
            );
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            validate_status(object, old)
        } else {
            validate_spec(object, Some(old))
        }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let is_new = object.i64_at(&["metadata", "generation"]).unwrap_or(0) <= 1;
        if !is_new || !has_class_annotation(object) || object.at(&["spec", "ingressClassName"]).is_some() {
            return Vec::new();
        }
        vec![format!("annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead")]
    }
}

fn has_class_annotation(object: &Value) -> bool {
    object.at(&["metadata", "annotations"]).is_some_and(|annotations| annotations.has(CLASS_ANNOTATION))
}

fn validate_spec(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
    let old = old.map(|old| old.get("spec").unwrap_or(&empty));
    let rules = spec.items("rules");
    match spec.present("defaultBackend") {
        None if rules.is_empty() => {
            let value = Json(spec.get("rules").unwrap_or(&Value::Null));
            errors.invalid(&at, value, "either `defaultBackend` or `rules` must be specified");
        }
        None => {}
        Some(backend) => validate_backend(backend, &at.field("defaultBackend"), &mut errors),
    }
    // Rules for wildcards that were wrong before may stay so.
    let lax =
        old.is_some_and(|old| old.items("rules").iter().any(|r| is_wildcard(r) && !rule_value_errors(r).is_empty()));
    for (index, rule) in rules.iter().enumerate() {
        validate_rule(rule, lax, &at.field("rules").index(index), &mut errors);
    }
    let lax = old
        .is_some_and(|old| old.items("tls").iter().any(|tls| !secret_name_problems(tls.text("secretName")).is_empty()));
    validate_tls(spec, lax, &at.field("tls"), &mut errors);
    if let Some(class) = spec.present("ingressClassName").and_then(Value::as_str) {
        errors.invalid_each(&at.field("ingressClassName"), class, names::dns1123_subdomain(class));
    }
    errors
}

fn is_wildcard(rule: &Value) -> bool {
    rule.text("host").contains('*')
}

fn rule_value_errors(rule: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    validate_http(rule, &Place::root(""), &mut errors);
    errors
}

fn validate_rule(rule: &Value, lax: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (host, field) = (rule.text("host"), at.field("host"));
    if !host.is_empty() {
        if addresses::is_ip(host) {
            errors.invalid(&field, host, "must be a DNS name, not an IP address");
        }
        errors.invalid_each(&field, host, host_problems(host));
    }
    if !(is_wildcard(rule) && lax) {
        validate_http(rule, at, errors);
    }
}

fn host_problems(host: &str) -> Vec<String> {
    if host.contains('*') { names::wildcard_dns1123_subdomain(host) } else { names::dns1123_subdomain(host) }
}

fn secret_name_problems(name: &str) -> Vec<String> {
    if name.is_empty() { Vec::new() } else { names::dns1123_subdomain(name) }
}

fn validate_tls(spec: &Value, lax: bool, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (index, tls) in spec.items("tls").iter().enumerate() {
        let at = list.index(index);
        for (index, host) in tls.texts("hosts").enumerate() {
            errors.invalid_each(&at.field("hosts").index(index), host, host_problems(host));
        }
        if !lax {
            let name = tls.text("secretName");
            errors.invalid_each(&at.field("secretName"), name, secret_name_problems(name));
        }
    }
}

fn validate_status(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let points = |object: &Value| -> Vec<Value> {
        object.at(&["status", "loadBalancer", "ingress"]).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let before = points(old);
    let list = Place::root("status.loadBalancer.ingress");
    for (index, point) in points(object).iter().enumerate() {
        let at = list.index(index);
        let (ip, host) = (point.text("ip"), point.text("hostname"));
        if !ip.is_empty() && !before.iter().any(|old| old.text("ip") == ip) {
            addresses::validate_ip(ip, &at.field("ip"), &mut errors);
        }
        if !host.is_empty() {
            errors.invalid_each(&at.field("hostname"), host, names::dns1123_subdomain(host));
            if addresses::is_ip(host) {
                errors.invalid(&at.field("hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
    errors
}
