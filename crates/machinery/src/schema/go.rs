//! Go's words for schemas and values, which upstream's decode errors use and clients know.

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{DecodeError, Engine as _, alphabet};

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
        Value::Object(_) | Value::Raw(_) => "object",
    }
}

/// The name of the type that Go has for a value of a document which is read into no type of its own.
pub fn interface_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Integer(_) => "int64",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) | Value::Raw(_) => "map[string]interface {}",
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

/// Reads base64 as Go does: line ends are skipped, and the last letter may carry bits that stand for nothing. Gives the text
/// as Go writes it where it was written otherwise; else the offset of the first byte that it refuses.
pub(super) fn base64(text: &str) -> Result<Option<String>, usize> {
    const LENIENT: GeneralPurpose =
        GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
    if STANDARD.decode(text).is_ok() {
        return Ok(None);
    }
    let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match LENIENT.decode(clean.as_bytes()) {
        Ok(bytes) => Ok(Some(STANDARD.encode(bytes))),
        Err(DecodeError::InvalidByte(at, _)) => Err(at),
        Err(_) => Err(clean.len() / 4 * 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_go_reads_it() {
        assert_eq!(base64("aGVsbG8="), Ok(None));
        assert_eq!(base64("aGVs\r\nbG8=\n"), Ok(Some("aGVsbG8=".to_owned())));
        assert_eq!(base64("aGVsbG9="), Ok(Some("aGVsbG8=".to_owned())));
        assert_eq!(base64("aGV%bG8="), Err(3));
        assert_eq!(base64("aGVsbG8"), Err(4));
    }
}
