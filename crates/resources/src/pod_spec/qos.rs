//! Quality of service classes (`pkg/apis/core/v1/helper/qos`).

use machinery::json::Value;
use machinery::quantity::Quantity;

use crate::read::Read;

/// `Guaranteed` when every container's CPU and memory are limited to what it requests; `BestEffort` when nothing is asked
/// for; else `Burstable`.
pub fn class(pod: &Value) -> &'static str {
    let Some(spec) = pod.get("spec") else { return "BestEffort" };
    let whole = spec.present("resources").into_iter().filter(|r| asks(r, "requests") || asks(r, "limits"));
    let each = spec.items("initContainers").iter().chain(spec.items("containers"));
    let of_pod: Vec<&Value> = whole.collect();
    let resources: Vec<Option<&Value>> = match of_pod.is_empty() {
        true => each.map(|container| container.present("resources")).collect(),
        false => of_pod.into_iter().map(Some).collect(),
    };
    let nothing = resources.iter().flatten().all(|r| !asks(r, "requests") && !asks(r, "limits"));
    if nothing {
        return "BestEffort";
    }
    let full = |r: &Option<&Value>| r.is_some_and(|r| ["cpu", "memory"].iter().all(|name| guaranteed(r, name)));
    if resources.iter().all(full) { "Guaranteed" } else { "Burstable" }
}

fn positive(list: &Value, resource: &str) -> Option<Quantity> {
    list.get(resource).and_then(quantity).filter(|q| q.sign() > 0)
}

/// Reads a quantity, written as text or as a number.
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Integer(number) => Quantity::parse(&number.to_string()).ok(),
        Value::Float(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

fn asks(resources: &Value, list: &str) -> bool {
    resources.present(list).is_some_and(|list| ["cpu", "memory"].iter().any(|name| positive(list, name).is_some()))
}

fn guaranteed(resources: &Value, name: &str) -> bool {
    let limit = resources.present("limits").and_then(|limits| positive(limits, name));
    let request = resources.present("requests").and_then(|requests| positive(requests, name));
    match (limit, request) {
        (Some(limit), Some(request)) => limit == request,
        (Some(_), None) => true,
        _ => false,
    }
}
