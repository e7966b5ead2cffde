//! From autoscaling/v1 to v2 and back.

use machinery::json::Value;

use super::annotations::{self, BEHAVIOR, CONDITIONS, CURRENT, METRICS};
use super::v2::{CPU_PERCENT_DEFAULT, cpu_metric};
use crate::pod_spec::qos::quantity;
use crate::read::Read;

/// A field of v1's metrics and where v2 has it.
type Moves = &'static [(&'static str, &'static [&'static str])];

const OF_OBJECT: Moves =
    &[("metricName", &["metric", "name"]), ("selector", &["metric", "selector"]), ("target", &["describedObject"])];
const OF_PODS: Moves = &[("metricName", &["metric", "name"]), ("selector", &["metric", "selector"])];
const OF_RESOURCE: Moves = &[("name", &["name"]), ("container", &["container"])];
const OF_EXTERNAL: Moves = &[("metricName", &["metric", "name"]), ("metricSelector", &["metric", "selector"])];

/// A kind of metric: its field, what moves, and what v1 calls the values of its target and of its status.
struct Source {
    field: &'static str,
    moves: Moves,
    target: Moves,
    current: Moves,
    /// Values that v1 always has.
    target_required: Option<&'static str>,
    current_required: &'static str,
}

const SOURCES: [Source; 5] = [
    Source {
        field: "object",
        moves: OF_OBJECT,
        target: &[("targetValue", &["value"]), ("averageValue", &["averageValue"])],
        current: &[("currentValue", &["value"]), ("averageValue", &["averageValue"])],
        target_required: Some("targetValue"),
        current_required: "currentValue",
    },
    Source {
        field: "pods",
        moves: OF_PODS,
        target: &[("targetAverageValue", &["averageValue"])],
        current: &[("currentAverageValue", &["averageValue"])],
        target_required: Some("targetAverageValue"),
        current_required: "currentAverageValue",
    },
    Source {
        field: "resource",
        moves: OF_RESOURCE,
        target: RESOURCE_TARGET,
        current: RESOURCE_CURRENT,
        target_required: None,
        current_required: "currentAverageValue",
    },
    Source {
        field: "containerResource",
        moves: OF_RESOURCE,
        target: RESOURCE_TARGET,
        current: RESOURCE_CURRENT,
        target_required: None,
        current_required: "currentAverageValue",
    },
    Source {
        field: "external",
        moves: OF_EXTERNAL,
        target: &[("targetValue", &["value"]), ("targetAverageValue", &["averageValue"])],
        current: &[("currentValue", &["value"]), ("currentAverageValue", &["averageValue"])],
        target_required: None,
        current_required: "currentValue",
    },
];
const RESOURCE_TARGET: Moves =
    &[("targetAverageUtilization", &["averageUtilization"]), ("targetAverageValue", &["averageValue"])];
const RESOURCE_CURRENT: Moves =
    &[("currentAverageUtilization", &["averageUtilization"]), ("currentAverageValue", &["averageValue"])];

/// Makes a v1 object one of v2, but for its apiVersion.
pub(super) fn to_v2(object: &mut Value) {
    let cpu = object.remove_at(&["spec", "targetCPUUtilizationPercentage"]).and_then(|percent| percent.as_i64());
    let mut metrics: Vec<Value> = list(annotations::get(object, METRICS)).iter().map(|m| upgraded(m, true)).collect();
    metrics.extend(cpu.map(cpu_metric));
    if metrics.is_empty() {
        metrics.push(cpu_metric(CPU_PERCENT_DEFAULT));
    }
    object.set_at(&["spec", "metrics"], metrics);
    if let Some(behavior) = annotations::get(object, BEHAVIOR).map(|tree| renamed(&tree, lower_first))
        && behavior.as_object().is_some_and(|rules| !rules.is_empty())
    {
        object.set_at(&["spec", "behavior"], behavior);
    }
    let cpu = object.remove_at(&["status", "currentCPUUtilizationPercentage"]).and_then(|percent| percent.as_i64());
    if let Some(current) = annotations::get(object, CURRENT) {
        let current: Vec<Value> = list(Some(current)).iter().map(|m| upgraded(m, false)).collect();
        object.set_at(&["status", "currentMetrics"], current);
    } else if let Some(percent) = cpu {
        let mut metric = Value::object();
        metric.set_at(&["type"], "Resource");
        metric.set_at(&["resource", "name"], "cpu");
        metric.set_at(&["resource", "current", "averageUtilization"], percent);
        object.set_at(&["status", "currentMetrics"], vec![metric]);
    }
    if let Some(conditions) = annotations::get(object, CONDITIONS) {
        object.set_at(&["status", "conditions"], list(Some(conditions)));
    }
    annotations::clear(object);
}

/// Makes a v2 object one of v1, but for its apiVersion.
pub(super) fn from_v2(object: &mut Value) {
    annotations::clear(object);
    let metrics = list(object.remove_at(&["spec", "metrics"]));
    let cpu = |metric: &&Value| {
        metric.text("type") == "Resource"
            && metric.str_at(&["resource", "name"]) == Some("cpu")
            && metric.i64_at(&["resource", "target", "averageUtilization"]).is_some()
    };
    if let Some(metric) = metrics.iter().find(cpu) {
        let percent = metric.i64_at(&["resource", "target", "averageUtilization"]).unwrap_or(0);
        object.set_at(&["spec", "targetCPUUtilizationPercentage"], percent);
    }
    let others: Vec<Value> = metrics.iter().filter(|m| !cpu(m)).map(|m| downgraded(m, true)).collect();
    if !others.is_empty() {
        annotations::set(object, METRICS, &others.into());
    }
    if let Some(behavior) = object.remove_at(&["spec", "behavior"]).filter(|b| !b.is_null()) {
        annotations::set(object, BEHAVIOR, &renamed(&behavior, upper_first));
    }
    let current = list(object.remove_at(&["status", "currentMetrics"]));
    for metric in &current {
        let percent = metric.i64_at(&["resource", "current", "averageUtilization"]);
        if let Some(percent) = percent.filter(|_| metric.str_at(&["resource", "name"]) == Some("cpu")) {
            object.set_at(&["status", "currentCPUUtilizationPercentage"], percent);
        }
    }
    if !current.is_empty() {
        let current: Vec<Value> = current.iter().map(|m| downgraded(m, false)).collect();
        annotations::set(object, CURRENT, &current.into());
    }
    let conditions = list(object.remove_at(&["status", "conditions"]));
    if !conditions.is_empty() {
        annotations::set(object, CONDITIONS, &conditions.into());
    }
    if object.get("status").is_some() {
        object.default_at(&["status", "currentReplicas"], 0);
    }
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// One of v1's metrics, wanted or current, as v2 has it.
fn upgraded(metric: &Value, wanted: bool) -> Value {
    let mut made = Value::object();
    made.set_at(&["type"], metric.text("type"));
    for source in &SOURCES {
        let Some(old) = metric.present(source.field) else { continue };
        let mut new = Value::object();
        for (from, to) in source.moves {
            copy(old, &[from], &mut new, to);
        }
        let (part, moves) = if wanted { ("target", source.target) } else { ("current", source.current) };
        let mut values = Value::object();
        for (from, to) in moves {
            copy(old, &[from], &mut values, to);
        }
        // DIVERGES: upstream makes a value of zero of one that v1 cannot leave out; here it stays left out.
        let is_zero = values.present("value").and_then(quantity).is_some_and(|value| value.is_zero());
        if is_zero && values.has("averageValue") {
            values.remove_at(&["value"]);
        }
        if wanted {
            values.set_at(&["type"], target_type(source.field, &values));
        }
        new.set_at(&[part], values);
        made.set_at(&[source.field], new);
    }
    made
}

fn target_type(source: &str, values: &Value) -> &'static str {
    match source {
        "resource" | "containerResource" if values.has("averageUtilization") => "Utilization",
        "object" if !values.has("averageValue") => "Value",
        "external" if values.has("value") => "Value",
        _ => "AverageValue",
    }
}

/// One of v2's metrics, wanted or current, as v1 has it.
fn downgraded(metric: &Value, wanted: bool) -> Value {
    let mut made = Value::object();
    made.set_at(&["type"], metric.text("type"));
    for source in &SOURCES {
        let Some(new) = metric.present(source.field) else { continue };
        let mut old = Value::object();
        for (to, from) in source.moves {
            copy(new, from, &mut old, &[to]);
        }
        let (part, moves) = if wanted { ("target", source.target) } else { ("current", source.current) };
        if let Some(values) = new.present(part) {
            for (to, from) in moves {
                copy(values, from, &mut old, &[to]);
            }
        }
        let required = if wanted { source.target_required } else { Some(source.current_required) };
        if let Some(field) = required {
            old.default_at(&[field], "0");
        }
        made.set_at(&[source.field], old);
    }
    made
}

fn copy(from: &Value, path: &[&str], to: &mut Value, as_path: &[&str]) {
    if let Some(value) = from.at(path).filter(|value| !value.is_null()) {
        to.set_at(as_path, value.clone());
    }
}

/// Upstream writes a behavior into its annotation by the names that Go has for its fields.
fn renamed(tree: &Value, name: fn(&str) -> String) -> Value {
    match tree {
        Value::Object(map) => {
            let mut made = Value::object();
            for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                made.set_at(&[&name(key)], renamed(value, name));
            }
            made
        }
        Value::Array(list) => list.iter().map(|value| renamed(value, name)).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

fn lower_first(name: &str) -> String {
    name.char_indices().map(|(at, c)| if at == 0 { c.to_ascii_lowercase() } else { c }).collect()
}

fn upper_first(name: &str) -> String {
    name.char_indices().map(|(at, c)| if at == 0 { c.to_ascii_uppercase() } else { c }).collect()
}
