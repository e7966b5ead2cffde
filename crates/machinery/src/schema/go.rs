//! Go's words for schemas and values, which upstream's decode errors use and clients know.

use super::Schema;
use crate::json::Value;

/// The Go type of a schema: `[]v1.Container`, `map[string]string`, `int32`.
pub(super) fn type_name(schema: &Schema) -> String {
    match schema {
        Schema::Any(_) => "interface {}".into(),
        Schema::Object(_) => "map[string]interface {}".into(),
        Schema::String => "string".into(),
        Schema::Bytes => "[]uint8".into(),
        Schema::Bool => "bool".into(),
        Schema::Int32 => "int32".into(),
        Schema::Int64 => "int64".into(),
        Schema::Double => "float64".into(),
        Schema::Quantity => "resource.Quantity".into(),
        Schema::Time => "v1.Time".into(),
        Schema::MicroTime => "v1.MicroTime".into(),
        Schema::Duration => "v1.Duration".into(),
        Schema::IntOrString => "intstr.IntOrString".into(),
        Schema::List(list) => format!("[]{}", type_name(&list.element)),
        Schema::Map(map) => format!("map[string]{}", type_name(&map.element)),
        Schema::Struct(ty, _) => ty.get().go_name().to_owned(),
    }
}

/// What Go's decoder calls a value that does not fit.
pub(crate) fn value_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Integer(_) | Value::Float(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A number as it stood in the document, as near as the tree keeps it.
pub(super) fn number_text(value: &Value) -> String {
    match value {
        Value::Integer(i) => i.to_string(),
        Value::Float(f) => format!("{f:?}"),
        _ => String::new(),
    }
}

/// The offset of the first byte that Go's base64 decoder refuses, when there is one. Line ends are skipped, as Go does.
pub(super) fn base64_error(text: &str) -> Option<usize> {
    use base64::Engine as _;
    let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match base64::engine::general_purpose::STANDARD.decode(clean.as_bytes()) {
        Ok(_) => None,
        Err(base64::DecodeError::InvalidByte(at, _)) => Some(at),
        Err(_) => Some(clean.len() / 4 * 4),
    }
}
