//! Merging a configuration into an object.

use std::collections::{BTreeMap, BTreeSet};

use super::element::shown;
use super::shape::{Shape, list_step, shape};
use crate::json::{Map, Str, Value};
use crate::schema::{Schema, Text};

/// Merges `config` into `live`. Errors name an element that has no key, or one that stands twice in the configuration.
pub(super) fn merge(schema: &Schema, live: &Value, config: &Value) -> Result<Value, String> {
    values(schema, live, config, "")
}

fn values(schema: &Schema, live: &Value, config: &Value, path: &str) -> Result<Value, String> {
    match (shape(schema, [Some(live), Some(config)]), live, config) {
        (Shape::List { element, keys }, Value::Array(live), Value::Array(config)) if !config.is_empty() => {
            lists(element, keys, live, config, path).map(Value::Array)
        }
        (Shape::List { element, keys }, _, Value::Array(config)) if !config.is_empty() => {
            lists(element, keys, &[], config, path).map(Value::Array)
        }
        (Shape::List { .. }, Value::Array(old), config) if !old.is_empty() && is_bare(config) => Ok(live.clone()),
        (shape @ (Shape::Struct(_) | Shape::Map(_)), Value::Object(live), Value::Object(config)) => {
            maps(&shape, live, config, path).map(Value::Object)
        }
        (Shape::Struct(_) | Shape::Map(_), Value::Object(old), Value::Null) if !old.is_empty() => Ok(live.clone()),
        (shape @ (Shape::Struct(_) | Shape::Map(_)), _, Value::Object(config)) if !config.is_empty() => {
            maps(&shape, &Map::new(), config, path).map(Value::Object)
        }
        _ => Ok(config.clone()),
    }
}

fn is_bare(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn maps(shape: &Shape<'_>, live: &Map, config: &Map, path: &str) -> Result<Map, String> {
    let mut merged = live.clone();
    for (name, value) in config.iter() {
        let (schema, _) = shape.field(name);
        let path = format!("{path}.{name}");
        let value = values(schema, live.get(name).unwrap_or(&Value::Null), value, &path)?;
        merged.insert(name, value);
    }
    Ok(merged)
}

/// Elements of a list with the steps to them.
type Steps<'v> = Vec<(Str, &'v Value)>;

fn steps<'v>(element: &Schema, keys: &[Text], list: &'v [Value], path: &str) -> Result<Steps<'v>, String> {
    let step = |(i, value)| {
        let step = list_step(element, keys, value).map_err(|e| format!("{path}: element {i}: {e}"))?;
        Ok((step, value))
    };
    list.iter().enumerate().map(step).collect()
}

/// The configuration's order holds; elements of the live list alone keep their places between those that both have.
fn lists(element: &Schema, keys: &[Text], live: &[Value], config: &[Value], path: &str) -> Result<Vec<Value>, String> {
    let (old, new) = (steps(element, keys, live, path)?, steps(element, keys, config, path)?);
    let mut wanted: BTreeSet<&Str> = BTreeSet::new();
    if let Some((double, _)) = new.iter().find(|(step, _)| !wanted.insert(step)) {
        return Err(format!("{path}: duplicate entries for key {}", shown(double)));
    }
    // What stands twice in the live list is replaced, not merged.
    let mut known: BTreeMap<&Str, Option<&Value>> = BTreeMap::new();
    for (step, value) in &old {
        known.entry(step).and_modify(|v| *v = None).or_insert(Some(*value));
    }
    let merge_one = |(step, value): &(Str, &Value)| {
        let before = known.get(step).copied().flatten().unwrap_or(&Value::Null);
        values(element, before, value, &format!("{path}{}", shown(step)))
    };
    let mut shared = new.iter().map(|(step, _)| step).filter(|step| known.contains_key(step)).peekable();
    let mut done: BTreeSet<&Str> = BTreeSet::new();
    let mut merged = Vec::with_capacity(live.len().max(config.len()));
    let (mut l, mut r) = (0, 0);
    while l < old.len() || r < new.len() {
        if let Some((step, value)) = old.get(l) {
            if !wanted.contains(step) {
                merged.push((*value).clone());
                l += 1;
                continue;
            }
            // One that the configuration has elsewhere comes when the configuration comes to it.
            let elsewhere = shared.peek().is_some_and(|next| *next != step);
            if done.contains(step) || r < new.len() && elsewhere {
                l += 1;
                continue;
            }
        }
        let Some(next) = new.get(r) else { break };
        merged.push(merge_one(next)?);
        done.insert(&next.0);
        r += 1;
        if old.get(l).is_some_and(|(step, _)| *step == next.0) {
            l += 1;
        }
        if shared.peek() == Some(&&next.0) {
            shared.next();
        }
    }
    Ok(merged)
}
