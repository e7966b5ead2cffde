//! Merge patch, RFC 7386.

use crate::error::ApiError;
use crate::json::{Map, Value};

/// Applies a merge patch to an object. A patch that is no object is refused.
pub fn merge_patch(mut tree: Value, patch: &Value) -> Result<Value, ApiError> {
    let Value::Object(patch) = patch else {
        let kind = crate::schema::go_value_name(patch);
        let message = format!(
            "error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        );
        return Err(ApiError::BadRequest(message));
    };
    if !matches!(tree, Value::Object(_)) {
        tree = Value::object();
    }
    if let Value::Object(map) = &mut tree {
        merge(map, patch);
    }
    Ok(tree)
}

fn merge(map: &mut Map, patch: &Map) {
    for (key, change) in patch.iter() {
        match (map.get_mut(key), change) {
            (_, Value::Null) => {
                map.remove(key);
            }
            (Some(Value::Object(inner)), Value::Object(change)) => merge(inner, change),
            (Some(place), change) => *place = without_nulls(change),
            (None, change) => {
                map.insert(key, without_nulls(change));
            }
        }
    }
}

/// Nulls in a new value delete nothing, so they go; also those of objects inside lists, as upstream's library does.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect::<Map>().into()
        }
        Value::Array(list) => Value::Array(list.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7386_appendix_a() {
        let cases = [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ];
        for (tree, patch, wanted) in cases {
            let parse = |s: &str| Value::parse(s.as_bytes()).unwrap();
            assert_eq!(merge_patch(parse(tree), &parse(patch)).unwrap(), parse(wanted), "{tree} {patch}");
        }
        assert!(merge_patch(Value::object(), &Value::Array(Vec::new())).is_err());
    }
}
