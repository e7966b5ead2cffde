//! Strategic merge patch: merges by the schema's merge keys and strategies, and by directives in the patch.

use super::does_not_apply;
use super::order::{arrange, identity, position};
use crate::error::ApiError;
use crate::json::{Map, Value};
use crate::schema::{Field, Schema, Type};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// Applies a strategic merge patch to an object of a type.
pub fn strategic_merge_patch(tree: Value, patch: Value, ty: &Type) -> Result<Value, ApiError> {
    let Value::Object(patch) = patch else {
        let kind = crate::schema::go_value_name(&patch);
        let message = format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
        return Err(ApiError::BadRequest(message));
    };
    let Value::Object(tree) = tree else { return Err(ApiError::BadRequest("invalid JSON document".to_owned())) };
    Ok(merge_map(tree, patch, Some(ty))?.into())
}

fn bad_format(what: &str) -> ApiError {
    ApiError::BadRequest(format!("invalid patch format of {what}"))
}

/// Upstream lets these errors through as they are, so they become a 500 without a reason.
fn failed(message: String) -> ApiError {
    ApiError::other(500, "", message)
}

fn no_merge_key(element: &Value, key: &str) -> ApiError {
    failed(format!("map: {} does not contain declared merge key: {key}", go_text(element)))
}

/// A value as Go's `%v` prints it.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(s) => s.to_string(),
        Value::Array(list) => format!("[{}]", list.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", go_text(v))).collect();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

fn merge_map(mut live: Map, mut patch: Map, ty: Option<&Type>) -> Result<Map, ApiError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => {
                let shown = go_text(&directive);
                patch.insert(DIRECTIVE, directive);
                Err(failed(format!("unknown patch type: {shown} in map: {}", go_text(&patch.into()))))
            }
        };
    }
    retain_keys(&mut live, &mut patch)?;
    merge_ordered(&mut live, &mut patch, ty)?;
    for (key, change) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            let list = list.strip_prefix('/').ok_or_else(|| bad_format("primitive list"))?;
            if let (Some(Value::Array(live)), Value::Array(gone)) = (live.get_mut(list), &change) {
                live.retain(|v| !gone.contains(v));
            }
            continue;
        }
        if change.is_null() {
            live.remove(&key);
            continue;
        }
        let field = ty.and_then(|t| t.field(&key));
        let merged = match (live.remove(&key), change) {
            (Some(Value::Object(live)), Value::Object(change)) => Some(merge_object(live, change, field)?),
            (Some(Value::Array(live)), Value::Array(change)) => Some(merge_field_list(live, change, field)?),
            (_, change) => without_directives(change),
        };
        if let Some(merged) = merged {
            live.insert(key, merged);
        }
    }
    Ok(live)
}

fn merge_object(live: Map, change: Map, field: Option<&Field>) -> Result<Value, ApiError> {
    if field.is_some_and(|f| f.patch_strategy.replace) {
        return Ok(change.into());
    }
    let ty = field.and_then(|f| f.schema.as_type());
    Ok(merge_map(live, change, ty)?.into())
}

fn merge_field_list(live: Vec<Value>, change: Vec<Value>, field: Option<&Field>) -> Result<Value, ApiError> {
    match field {
        Some(field) if field.patch_strategy.merge => Ok(merge_list(live, change, field)?.into()),
        _ => Ok(change.into()),
    }
}

/// `$retainKeys`: what it does not name goes. It must name all that the patch sets.
fn retain_keys(live: &mut Map, patch: &mut Map) -> Result<(), ApiError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(bad_format("retainKeys")) };
    let is_named = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    let sets =
        |key: &str, value: &Value| !value.is_null() && !key.starts_with(DELETE_FROM) && !key.starts_with(SET_ORDER);
    if patch.iter().any(|(k, v)| sets(k, v) && !is_named(k)) {
        return Err(bad_format("retainKeys"));
    }
    live.retain(|key, _| is_named(key));
    Ok(())
}

/// Lists with a `$setElementOrder` beside them.
fn merge_ordered(live: &mut Map, patch: &mut Map, ty: Option<&Type>) -> Result<(), ApiError> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).map(str::to_owned).collect();
    for directive in directives {
        let name = directive.strip_prefix(SET_ORDER).and_then(|n| n.strip_prefix('/'));
        let name = name.ok_or_else(|| bad_format("setElementOrder list"))?;
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(bad_format("setElementOrder list"));
        };
        let Some(field) = ty.and_then(|t| t.field(name)) else {
            let owner = ty.map_or("map", Type::short_name);
            return Err(failed(format!("unable to find api field in struct {owner} for the json field {name:?}")));
        };
        let key = field.patch_merge_key.as_deref();
        let live_list = take_list(live, name)?;
        let change = take_list(patch, name)?;
        check_order(change.as_deref().unwrap_or_default(), &order, key)?;
        let before = live_list.clone().unwrap_or_default();
        let merged = match (live_list, change) {
            (None, None) => continue,
            (Some(live), None) => live,
            (None, Some(change)) => change.into_iter().filter_map(without_directives).collect(),
            (Some(live), Some(change)) if field.patch_strategy.merge => merge_list(live, change, field)?,
            (Some(_), Some(change)) => change,
        };
        check_keys(&merged, key)?;
        live.insert(name, arrange(merged, &order, &before, key));
    }
    Ok(())
}

fn take_list(map: &mut Map, name: &str) -> Result<Option<Vec<Value>>, ApiError> {
    match map.remove(name) {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => {
            let kind = match other {
                Value::Object(_) => "map[string]interface {}",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                Value::Integer(_) => "int64",
                Value::Float(_) => "float64",
                _ => "%!s(<nil>)",
            };
            Err(failed(format!("expected a []interface {{}}, but received a {kind}")))
        }
    }
}

/// The patch's elements stand in the order's order, and the order names them all (deletions aside).
fn check_order(change: &[Value], order: &[Value], key: Option<&str>) -> Result<(), ApiError> {
    if order.is_empty() {
        return Ok(());
    }
    let mut names = order.iter();
    for element in change {
        if element.get(DIRECTIVE).is_some() {
            continue;
        }
        let wanted = identity(element, key).ok_or_else(|| no_merge_key(element, key.unwrap_or_default()))?;
        if !names.any(|name| identity(name, key) == Some(wanted)) {
            let (change, order) = (go_text(&change.to_vec().into()), go_text(&order.to_vec().into()));
            return Err(failed(format!(
                "The order in patch list:\n{change}\n doesn't match {SET_ORDER} list:\n{order}\n"
            )));
        }
    }
    Ok(())
}

fn check_keys(list: &[Value], key: Option<&str>) -> Result<(), ApiError> {
    let Some(key) = key else { return Ok(()) };
    match list.iter().find(|v| v.get(key).is_none()) {
        Some(element) => Err(no_merge_key(element, key)),
        None => Ok(()),
    }
}

fn merge_list(live: Vec<Value>, change: Vec<Value>, field: &Field) -> Result<Vec<Value>, ApiError> {
    if live.is_empty() && change.is_empty() {
        return Ok(live);
    }
    if live.iter().chain(&change).any(|v| matches!(v, Value::Array(_))) {
        return Err(does_not_apply());
    }
    let objects = live.iter().chain(&change).filter(|v| matches!(v, Value::Object(_))).count();
    if objects == 0 {
        return Ok(merge_scalars(live, change));
    }
    if objects < live.len() + change.len() {
        let shown = format!("[{} {}]", go_text(&live.into()), go_text(&change.into()));
        return Err(failed(format!("list element types are not identical: {shown}")));
    }
    let Some(key) = field.patch_merge_key.as_deref() else {
        return Err(failed(format!("cannot merge lists without merge key for {}", field.name)));
    };
    merge_objects(live, change, key, field)
}

fn merge_scalars(live: Vec<Value>, change: Vec<Value>) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::with_capacity(live.len() + change.len());
    for value in live.iter().chain(&change) {
        if !merged.contains(value) {
            merged.push(value.clone());
        }
    }
    arrange(merged, &change, &live, None)
}

fn merge_objects(mut live: Vec<Value>, change: Vec<Value>, key: &str, field: &Field) -> Result<Vec<Value>, ApiError> {
    let (directives, mut change): (Vec<_>, Vec<_>) = change.into_iter().partition(|v| v.get(DIRECTIVE).is_some());
    let mut replace = false;
    for element in directives {
        match element.str_at(&[DIRECTIVE]) {
            Some("delete") => {
                let gone = element.get(key).ok_or_else(|| no_merge_key(&element, key))?;
                live.retain(|v| v.get(key) != Some(gone));
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(failed("merging lists cannot yet be specified in the patch".to_owned())),
            _ => {
                let shown = element.get(DIRECTIVE).map(go_text).unwrap_or_default();
                return Err(failed(format!("unknown patch type: {shown} in map: {}", go_text(&element))));
            }
        }
    }
    if replace {
        live = std::mem::take(&mut change);
    }
    let before = live.clone();
    let order: Vec<Value> = change.clone();
    let element_type = match &field.schema {
        Schema::List(list) => list.element.as_type(),
        _ => None,
    };
    for element in change {
        if element.get(key).is_none() {
            return Err(no_merge_key(&element, key));
        }
        match (position(&live, &element, Some(key)), element) {
            (Some(at), Value::Object(element)) => {
                let Value::Object(old) = std::mem::take(&mut live[at]) else { continue };
                live[at] = merge_map(old, element, element_type)?.into();
            }
            (_, element) => live.extend(without_directives(element)),
        }
    }
    check_keys(&live, Some(key))?;
    Ok(arrange(live, &order, &before, Some(key)))
}

/// A new value without directives and nulls; nothing when the value is itself a directive.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let entries = map.into_iter().filter(|(_, v)| !v.is_null());
            Some(entries.filter_map(|(k, v)| Some((k, without_directives(v)?))).collect::<Map>().into())
        }
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::lookup;

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    fn patched(live: &str, patch: &str) -> Result<Value, ApiError> {
        let ty = lookup("io.k8s.api.core.v1.PodSpec").unwrap();
        strategic_merge_patch(parse(live), parse(patch), ty)
    }

    #[test]
    fn merges_by_schema_and_directives() {
        let cases = [
            (
                "containers merge by name",
                r#"{"containers":[{"name":"a","image":"x"},{"name":"b","image":"y"}]}"#,
                r#"{"containers":[{"name":"b","image":"z"}]}"#,
                r#"{"containers":[{"name":"a","image":"x"},{"name":"b","image":"z"}]}"#,
            ),
            (
                "a new container comes first, as upstream has it",
                r#"{"containers":[{"name":"a"}]}"#,
                r#"{"containers":[{"name":"c","env":null}]}"#,
                r#"{"containers":[{"name":"c"},{"name":"a"}]}"#,
            ),
            (
                "an element is deleted",
                r#"{"containers":[{"name":"a"},{"name":"b"}]}"#,
                r#"{"containers":[{"name":"a","$patch":"delete"}]}"#,
                r#"{"containers":[{"name":"b"}]}"#,
            ),
            (
                "a list is replaced",
                r#"{"containers":[{"name":"a"},{"name":"b"}]}"#,
                r#"{"containers":[{"name":"c"},{"$patch":"replace"}]}"#,
                r#"{"containers":[{"name":"c"}]}"#,
            ),
            (
                "the order is set",
                r#"{"containers":[{"name":"a"},{"name":"b"},{"name":"c"}]}"#,
                r#"{"$setElementOrder/containers":[{"name":"c"},{"name":"a"}],"containers":[{"name":"a","image":"n"}]}"#,
                r#"{"containers":[{"name":"b"},{"name":"c"},{"name":"a","image":"n"}]}"#,
            ),
            (
                "only retained keys survive",
                r#"{"volumes":[{"name":"v","emptyDir":{}}]}"#,
                r#"{"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/"}}]}"#,
                r#"{"volumes":[{"name":"v","hostPath":{"path":"/"}}]}"#,
            ),
            (
                "atomic lists are replaced",
                r#"{"tolerations":[{"key":"a"}]}"#,
                r#"{"tolerations":[{"key":"b"}]}"#,
                r#"{"tolerations":[{"key":"b"}]}"#,
            ),
            (
                "a map merges",
                r#"{"nodeSelector":{"a":"1","b":"2"}}"#,
                r#"{"nodeSelector":{"a":null,"c":"3"}}"#,
                r#"{"nodeSelector":{"b":"2","c":"3"}}"#,
            ),
            (
                "a map is replaced",
                r#"{"nodeSelector":{"a":"1"}}"#,
                r#"{"nodeSelector":{"$patch":"replace","c":"3"}}"#,
                r#"{"nodeSelector":{"c":"3"}}"#,
            ),
            ("null deletes", r#"{"nodeName":"n","priority":1}"#, r#"{"nodeName":null}"#, r#"{"priority":1}"#),
        ];
        for (what, live, patch, wanted) in cases {
            assert_eq!(patched(live, patch).unwrap(), parse(wanted), "{what}");
        }
    }

    #[test]
    fn lists_of_scalars_merge() {
        let ty = lookup("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap();
        let cases = [
            (r#"{"finalizers":["a","b"]}"#, r#"{"finalizers":["c","a"]}"#, r#"{"finalizers":["c","a","b"]}"#),
            (
                r#"{"finalizers":["a","b"]}"#,
                r#"{"$deleteFromPrimitiveList/finalizers":["a"]}"#,
                r#"{"finalizers":["b"]}"#,
            ),
            (
                r#"{"finalizers":["a","b"]}"#,
                r#"{"$setElementOrder/finalizers":["b","c"],"$deleteFromPrimitiveList/finalizers":["a"],"finalizers":["c"]}"#,
                r#"{"finalizers":["b","c"]}"#,
            ),
        ];
        for (live, patch, wanted) in cases {
            assert_eq!(strategic_merge_patch(parse(live), parse(patch), ty).unwrap(), parse(wanted), "{patch}");
        }
    }

    #[test]
    fn errors_are_upstreams() {
        let cases = [
            (r#"{"containers":[{"image":"z"}]}"#, "map: map[image:z] does not contain declared merge key: name"),
            (r#"{"containers":[{"name":"a","$patch":"x"}]}"#, "unknown patch type: x in map: map[$patch:x name:a]"),
            (r#"{"$setElementOrder/containers":{}}"#, "invalid patch format of setElementOrder list"),
            (r#"{"$retainKeys":1}"#, "invalid patch format of retainKeys"),
        ];
        for (patch, wanted) in cases {
            assert_eq!(patched(r#"{"containers":[{"name":"a"}]}"#, patch).unwrap_err().to_string(), wanted);
        }
    }
}
