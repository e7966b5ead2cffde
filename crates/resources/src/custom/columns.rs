//! Columns of custom resources: `additionalPrinterColumns`, each a JSONPath into the object.

use std::sync::Arc;

use jiff::Timestamp;
use machinery::json::Value;
use machinery::json_path::JsonPath;

use crate::cells::{UNKNOWN, since};
use crate::read::Read;
use crate::row::{Cell, Column};

/// What stands for a date that is none.
const INVALID: &str = "<invalid>";

/// The columns after Name: those of the definition, or the age when it has none.
pub(super) fn columns(definitions: &[Value]) -> Vec<Column> {
    if definitions.is_empty() {
        return vec![column("Age", "date", "", "", 0, ".metadata.creationTimestamp")];
    }
    let column = |definition: &Value| {
        let (name, kind, path) = (definition.text("name"), definition.text("type"), definition.text("jsonPath"));
        let priority = definition.int("priority").and_then(|priority| i32::try_from(priority).ok()).unwrap_or_default();
        column(name, kind, definition.text("format"), definition.text("description"), priority, path)
    };
    definitions.iter().map(column).collect()
}

fn column(name: &str, kind: &str, format: &str, description: &str, priority: i32, path: &str) -> Column {
    let description = match description {
        "" => format!("Custom resource definition column (in JSONPath format): {path}"),
        text => text.to_owned(),
    };
    // A path that cannot be read finds nothing; validation refuses it.
    let (parsed, owned_kind) = (JsonPath::parse(path).ok(), kind.to_owned());
    let cell = move |object: &Value, now: Timestamp| {
        let found = parsed.as_ref().and_then(|path| path.find(object).into_iter().next());
        found.map_or(Value::Null, |value| cell(value, &owned_kind, now))
    };
    Column {
        name: name.to_owned().into(),
        kind: kind.to_owned().into(),
        format: format.to_owned().into(),
        description: description.into(),
        priority,
        cell: Cell::Made(Arc::new(cell)),
    }
}

/// A value as a column of a type shows it; null when it is of another type.
fn cell(value: &Value, kind: &str, now: Timestamp) -> Value {
    match (kind, value) {
        ("string", Value::Null) => "<no value>".into(),
        ("string", Value::String(_)) => value.clone(),
        ("string", other) => other.to_string().into(),
        ("integer" | "number", Value::Integer(_)) | ("number", Value::Float(_)) | ("boolean", Value::Bool(_)) => {
            value.clone()
        }
        #[expect(clippy::cast_possible_truncation, reason = "as Go does")]
        ("integer", Value::Float(number)) => (*number as i64).into(),
        ("date", Value::String(text)) if text.is_empty() => UNKNOWN.into(),
        ("date", Value::String(text)) if text.parse::<Timestamp>().is_err() => INVALID.into(),
        ("date", Value::String(text)) => since(text, now).into(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_shown_by_their_type() {
        let object = br#"{"s":"x","i":3,"f":2.5,"b":true,"d":"2026-01-01T00:00:00Z","bad":"soon","l":["a",1],"n":null,
            "metadata":{"creationTimestamp":"2026-01-01T00:00:00Z"}}"#;
        let object = Value::parse(object).expect("the test's own text");
        let now: Timestamp = "2026-01-01T00:05:00Z".parse().expect("a moment");
        let cases = [
            ("string", ".s", "\"x\""),
            ("string", ".i", "\"3\""),
            ("string", ".l", "\"[\\\"a\\\",1]\""),
            ("string", ".n", "\"<no value>\""),
            ("string", ".missing", "null"),
            ("integer", ".i", "3"),
            ("integer", ".f", "2"),
            ("integer", ".s", "null"),
            ("number", ".f", "2.5"),
            ("boolean", ".b", "true"),
            ("date", ".d", "\"5m\""),
            ("date", ".bad", "\"<invalid>\""),
            ("string", ".l[*]", "\"a\""),
        ];
        for (kind, path, wanted) in cases {
            let made = column("A", kind, "", "", 0, path);
            let wanted = Value::parse(wanted.as_bytes()).expect("the test's own text");
            assert_eq!(made.cell.of(&object, now), wanted, "{kind} {path}");
        }
        let age = &columns(&[])[0];
        assert_eq!((age.name.as_ref(), age.cell.of(&object, now)), ("Age", "5m".into()));
    }
}
