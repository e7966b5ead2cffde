//! How two trees differ.

use machinery::json::Value;

use crate::read::is_empty;

/// Without what Go leaves out, so that absent and empty compare alike.
pub(crate) fn normalized(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().filter(|(_, v)| !is_empty(v)).map(|(k, v)| (k, normalized(v))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(normalized).collect()),
        other => other.clone(),
    }
}

/// The fields that differ, in the manner of the diff that upstream prints.
pub(crate) fn diff(of: &str, old: &Value, new: &Value) -> String {
    let (old, new) = (normalized(old), normalized(new));
    let empty = machinery::json::Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut keys: Vec<&str> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut text = format!("  {of}{{\n");
    let mut identical = 0;
    for key in keys {
        if old.get(key) == new.get(key) {
            identical += 1;
            continue;
        }
        let name = format!("{}{}", key[..1].to_uppercase(), &key[1..]);
        for (sign, side) in [('-', old.get(key)), ('+', new.get(key))] {
            let shown = side.map_or_else(|| "nil".into(), |v| String::from_utf8_lossy(&v.to_bytes()).into_owned());
            text.push_str(&format!("{sign} \t{name}: {shown},\n"));
        }
    }
    if identical > 0 {
        text.push_str(&format!("  \t... // {identical} identical fields\n"));
    }
    text.push_str("  }\n");
    text
}
