//! Reading a checked tree shortly: the pipeline has compared types with the schema, so what is not there is empty.

use machinery::json::{Map, Value};

/// Reading fields of an object of the tree.
pub trait Read {
    /// The field, unless it is missing or null.
    fn present(&self, key: &str) -> Option<&Value>;
    /// Its text; empty when there is none.
    fn text(&self, key: &str) -> &str;
    /// Its number.
    fn int(&self, key: &str) -> Option<i64>;
    /// Its truth; false when there is none.
    fn flag(&self, key: &str) -> bool;
    /// Its elements.
    fn items(&self, key: &str) -> &[Value];
    /// Its keys and values.
    fn entries(&self, key: &str) -> &Map;
    /// Its texts.
    fn texts<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str>;
    /// Whether it is set.
    fn has(&self, key: &str) -> bool {
        self.present(key).is_some()
    }
}

static EMPTY: Map = Map::new();

impl Read for Value {
    fn present(&self, key: &str) -> Option<&Value> {
        self.get(key).filter(|v| !v.is_null())
    }
    fn text(&self, key: &str) -> &str {
        self.get(key).and_then(Value::as_str).unwrap_or_default()
    }
    fn int(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_i64()
    }
    fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or_default()
    }
    fn items(&self, key: &str) -> &[Value] {
        self.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
    fn entries(&self, key: &str) -> &Map {
        self.get(key).and_then(Value::as_object).unwrap_or(&EMPTY)
    }
    fn texts<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> {
        self.items(key).iter().filter_map(Value::as_str)
    }
}

/// The value of a path as a field selector compares it: texts as they are, numbers and truths printed, else empty.
pub fn selectable(tree: &Value, path: &[&str]) -> String {
    match tree.at(path) {
        Some(Value::String(s)) => s.to_string(),
        Some(Value::Integer(i)) => i.to_string(),
        Some(Value::Bool(b)) => b.to_string(),
        _ => String::new(),
    }
}

/// Sets a field when nothing (or null) stands there.
pub fn set_default(tree: &mut Value, key: &str, value: impl Into<Value>) {
    tree.default_at(&[key], value);
}

/// The elements of a list, to change.
pub fn items_mut<'a>(tree: &'a mut Value, key: &str) -> &'a mut [Value] {
    tree.get_mut(key).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// A field, to change, unless it is missing or null.
pub fn present_mut<'a>(tree: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    tree.get_mut(key).filter(|v| !v.is_null())
}

/// Whether two trees have the same value at a path; missing, null and empty are the same.
pub fn same_at(a: &Value, b: &Value, path: &[&str]) -> bool {
    fn solid<'v>(tree: &'v Value, path: &[&str]) -> Option<&'v Value> {
        tree.at(path).filter(|v| !is_empty(v))
    }
    solid(a, path) == solid(b, path)
}

/// Whether a value is what Go leaves out: null, "", [], {}.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        _ => false,
    }
}
