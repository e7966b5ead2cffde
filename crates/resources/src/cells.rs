//! Cells that several tables share.

use jiff::Timestamp;
use machinery::duration;
use machinery::json::{Map, Value};

use crate::read::Read;

/// What stands for nothing.
pub const NONE: &str = "<none>";
/// What stands for what is not known.
pub const UNKNOWN: &str = "<unknown>";
/// What stands for a field that is not set.
pub const UNSET: &str = "<unset>";

/// The object's name.
pub fn name(object: &Value, _now: Timestamp) -> Value {
    object.str_at(&["metadata", "name"]).unwrap_or_default().into()
}

/// Time since creation.
pub fn age(object: &Value, now: Timestamp) -> Value {
    since(object.str_at(&["metadata", "creationTimestamp"]).unwrap_or_default(), now).into()
}

/// The moment of creation.
pub fn created_at(object: &Value, _now: Timestamp) -> Value {
    object.str_at(&["metadata", "creationTimestamp"]).unwrap_or_default().into()
}

/// Time since a moment, as `kubectl get` shows it: `5m`, `3d4h`.
pub fn since(moment: &str, now: Timestamp) -> String {
    match moment.parse::<Timestamp>() {
        Ok(then) => duration::human(now.as_second() - then.as_second()),
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// The text, or `<none>`.
pub fn or_none(text: &str) -> Value {
    if text.is_empty() { NONE.into() } else { text.into() }
}

/// The texts, with a comma and a space between.
pub fn join(texts: &[String]) -> Value {
    texts.join(", ").into()
}

/// Number of keys or elements of a field.
pub fn count(object: &Value, key: &str) -> i64 {
    (object.items(key).len() + object.entries(key).len()) as i64
}

/// `a=b,c=d`, or `<none>`.
pub fn labels(labels: &Map) -> String {
    if labels.is_empty() {
        return NONE.to_owned();
    }
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}

/// A label selector as one text: `app=web,tier in (a,b)`; `<none>` when it selects everything or nothing.
pub fn selector(selector: Option<&Value>) -> String {
    let text = selector.map(selector_text).unwrap_or_default();
    if text.is_empty() { NONE.to_owned() } else { text }
}

/// A label selector as text, its requirements sorted by key; empty when it selects everything.
pub fn selector_text(selector: &Value) -> String {
    let mut parts: Vec<(&str, String)> = selector
        .entries("matchLabels")
        .iter()
        .map(|(key, value)| (key, format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    for expression in selector.items("matchExpressions") {
        let key = expression.text("key");
        let mut values: Vec<&str> = expression.texts("values").collect();
        values.sort_unstable();
        let values = values.join(",");
        parts.push((
            key,
            match expression.text("operator") {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "Exists" => key.to_owned(),
                _ => format!("!{key}"),
            },
        ));
    }
    parts.sort_by_key(|(key, _)| *key);
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// Texts of a pod spec's containers, joined.
pub fn of_containers(object: &Value, template: &[&str], key: &str) -> Value {
    let Some(spec) = object.at(template) else { return "".into() };
    let texts: Vec<&str> = spec.items("containers").iter().map(|c| c.text(key)).collect();
    texts.join(",").into()
}

/// Names of the containers of `spec.template`.
pub fn template_containers(object: &Value, _now: Timestamp) -> Value {
    of_containers(object, &["spec", "template", "spec"], "name")
}

/// Images of the containers of `spec.template`.
pub fn template_images(object: &Value, _now: Timestamp) -> Value {
    of_containers(object, &["spec", "template", "spec"], "image")
}

/// `spec.selector`
pub fn spec_selector(object: &Value, _now: Timestamp) -> Value {
    selector(object.at(&["spec", "selector"])).into()
}

/// The number at a path; 0 when there is none.
pub fn number(object: &Value, path: &[&str]) -> i64 {
    object.i64_at(path).unwrap_or_default()
}
