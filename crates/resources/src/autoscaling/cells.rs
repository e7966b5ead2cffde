//! Cells of autoscalers.

use jiff::Timestamp;
use machinery::json::Value;

use super::legacy;
use crate::cells::{NONE, UNKNOWN, UNSET, number};
use crate::pod_spec::qos::quantity;
use crate::read::Read;

const METRICS_SHOWN_MAX: usize = 2;

type Cell = fn(&Value, Timestamp) -> Value;

/// The cells of a version.
pub(super) struct Cells {
    pub reference: Cell,
    pub targets: Cell,
    pub min_pods: Cell,
    pub max_pods: Cell,
    pub replicas: Cell,
}

/// Of the version that is stored.
pub(super) const V2: Cells = Cells { reference, targets, min_pods, max_pods, replicas };

/// Of the older one, whose other metrics are in annotations.
pub(super) const V1: Cells = Cells { targets: legacy_targets, ..V2 };

fn reference(object: &Value, _now: Timestamp) -> Value {
    let text = |field: &str| object.str_at(&["spec", "scaleTargetRef", field]).unwrap_or_default();
    format!("{}/{}", text("kind"), text("name")).into()
}

fn min_pods(object: &Value, _now: Timestamp) -> Value {
    match object.i64_at(&["spec", "minReplicas"]) {
        Some(number) => number.to_string().into(),
        None => UNSET.into(),
    }
}

fn max_pods(object: &Value, _now: Timestamp) -> Value {
    number(object, &["spec", "maxReplicas"]).into()
}

fn replicas(object: &Value, _now: Timestamp) -> Value {
    number(object, &["status", "currentReplicas"]).into()
}

fn legacy_targets(object: &Value, now: Timestamp) -> Value {
    let mut newer = object.clone();
    legacy::to_v2(&mut newer);
    targets(&newer, now)
}

/// `cpu: 10%/80%, 3/5 + 1 more...`
fn targets(object: &Value, _now: Timestamp) -> Value {
    let metrics = object.get("spec").map_or(&[] as &[Value], |spec| spec.items("metrics"));
    let current = object.get("status").map_or(&[] as &[Value], |status| status.items("currentMetrics"));
    if metrics.is_empty() {
        return NONE.into();
    }
    let shown: Vec<String> = metrics
        .iter()
        .take(METRICS_SHOWN_MAX)
        .enumerate()
        .map(|(index, metric)| target(metric, current.get(index).unwrap_or(&Value::Null)))
        .collect();
    let more = metrics.len() - shown.len();
    let text = shown.join(", ");
    if more > 0 { format!("{text} + {more} more...").into() } else { text.into() }
}

fn target(metric: &Value, status: &Value) -> String {
    let source = match metric.text("type") {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "External" => "external",
        _ => return "<unknown type>".to_owned(),
    };
    let empty = Value::Null;
    let target = metric.at(&[source, "target"]).unwrap_or(&empty);
    let now = status.at(&[source, "current"]).unwrap_or(&empty);
    let amount = |tree: &Value, field: &str| tree.present(field).and_then(quantity).map(|q| q.to_string());
    let average = amount(target, "averageValue");
    let now_amount = |field: &str| amount(now, field).unwrap_or_else(|| UNKNOWN.to_owned());
    match (source, average) {
        ("object" | "external", Some(average)) => format!("{}/{average} (avg)", now_amount("averageValue")),
        ("object" | "external", None) => {
            format!("{}/{}", now_amount("value"), amount(target, "value").unwrap_or_else(|| "0".to_owned()))
        }
        ("pods", average) => {
            format!("{}/{}", now_amount("averageValue"), average.unwrap_or_else(|| "0".to_owned()))
        }
        (_, average) => {
            let name = metric.str_at(&[source, "name"]).unwrap_or_default();
            let percent = |tree: &Value, none: &str| {
                tree.int("averageUtilization").map_or_else(|| none.to_owned(), |percent| format!("{percent}%"))
            };
            match average {
                Some(average) => format!("{name}: {}/{average}", now_amount("averageValue")),
                None => format!("{name}: {}/{}", percent(now, UNKNOWN), percent(target, "<auto>")),
            }
        }
    }
}
