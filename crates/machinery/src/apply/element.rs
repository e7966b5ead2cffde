//! Steps of a field path, in the text form that `fieldsV1` has: `f:name`, `k:{"name":"a"}`, `v:"x"`, `i:0`.

use crate::json::{Map, Str, Value};

/// A field.
pub(super) fn field(name: &str) -> Str {
    Str::from(format!("f:{name}"))
}

/// A list's element by the values of its keys.
pub(super) fn key(fields: Map) -> Str {
    Str::from(format!("k:{}", Value::Object(fields)))
}

/// A set's element.
pub(super) fn item(value: &Value) -> Str {
    Str::from(format!("v:{value}"))
}

/// An element that another server wrote, in our spelling. Nothing when it is none.
pub(super) fn normalized(text: &str) -> Option<Str> {
    let (kind, rest) = text.split_once(':')?;
    match kind {
        "f" => Some(Str::from(text)),
        "k" => match Value::parse(rest.as_bytes()).ok()? {
            Value::Object(fields) => Some(key(fields)),
            _ => None,
        },
        "v" => Value::parse(rest.as_bytes()).ok().map(|v| item(&v)),
        "i" => rest.parse::<i64>().ok().map(|_| Str::from(text)),
        _ => None,
    }
}

/// How a step is shown in a path: `.spec`, `[name="a"]`, `[="x"]`, `[0]`.
pub(super) fn shown(element: &str) -> String {
    let (kind, rest) = element.split_once(':').unwrap_or_default();
    match kind {
        "f" => format!(".{rest}"),
        "k" => {
            let fields = Value::parse(rest.as_bytes()).unwrap_or_default();
            let fields = fields.as_object().into_iter().flat_map(Map::iter);
            format!("[{}]", fields.map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","))
        }
        "v" => format!("[={rest}]"),
        _ => format!("[{rest}]"),
    }
}
