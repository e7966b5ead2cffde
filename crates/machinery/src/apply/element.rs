//! Steps of a field path, in the text form that `fieldsV1` has: `f:name`, `k:{"name":"a"}`, `v:"x"`, `i:0`.

use crate::json::{Map, Str, Value, write_string};

/// A field.
pub(super) fn field(name: &str) -> Str {
    let mut step = Str::const_new("f:");
    step.push_str(name);
    step
}

/// A list's element by the values of its keys, which are sorted.
pub(super) fn keys(fields: &[(&str, &Value)]) -> Str {
    const CAPACITY_BYTES: usize = 64;
    let mut text = Vec::with_capacity(CAPACITY_BYTES);
    text.extend_from_slice(b"k:");
    for (i, (key, value)) in fields.iter().enumerate() {
        text.push(if i == 0 { b'{' } else { b',' });
        write_string(key, &mut text);
        text.push(b':');
        value.write(&mut text);
    }
    text.push(b'}');
    Str::from(String::from_utf8(text).expect("it is written of strings and marks"))
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
            Value::Object(fields) if fields.is_empty() => None,
            Value::Object(fields) => Some(keys(&fields.iter().collect::<Vec<_>>())),
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
