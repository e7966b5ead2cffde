//! The Swagger document in protobuf, as `github.com/google/gnostic-models` defines `openapi.v2.Document`. kubectl before
//! 1.27 asks for no other form.

use crate::json::{Map, Value};
use crate::wire::Writer;

/// Encodes a document which [`super::v2`] made. What that does not make is left out.
pub fn v2_to_protobuf(document: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    text(&mut out, 1, document.get("swagger"));
    out.message(2, |info| {
        text(info, 1, document.at(&["info", "title"]));
        text(info, 2, document.at(&["info", "version"]));
    });
    out.message(8, |paths| named(paths, 2, document.get("paths"), path_item));
    out.message(9, |definitions| named(definitions, 1, document.get("definitions"), schema));
    for requirement in list(document.get("security")) {
        out.message(12, |w| named(w, 1, Some(requirement), |_, _| {}));
    }
    out.message(13, |w| named(w, 1, document.get("securityDefinitions"), security_scheme));
    out.0
}

fn text(out: &mut Writer, field: u32, value: Option<&Value>) {
    if let Some(text) = value.and_then(Value::as_str) {
        out.bytes(field, text.as_bytes());
    }
}

fn flag(out: &mut Writer, field: u32, value: Option<&Value>) {
    if value.and_then(Value::as_bool) == Some(true) {
        out.flag(field, true);
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn texts(out: &mut Writer, field: u32, value: Option<&Value>) {
    for item in list(value) {
        text(out, field, Some(item));
    }
}

/// Entries of an object, each a message of its name (1) and value (2).
fn named(out: &mut Writer, field: u32, value: Option<&Value>, write: impl Fn(&mut Writer, &Value)) {
    for (name, value) in value.and_then(Value::as_object).into_iter().flat_map(Map::iter) {
        out.message(field, |entry| {
            entry.bytes(1, name.as_bytes());
            entry.message(2, |w| write(w, value));
        });
    }
}

/// `x-…` entries. Their values are YAML, of which JSON is a part.
fn extensions(out: &mut Writer, field: u32, value: &Value) {
    for (name, value) in value.as_object().into_iter().flat_map(Map::iter).filter(|(n, _)| n.starts_with("x-")) {
        out.message(field, |entry| {
            entry.bytes(1, name.as_bytes());
            entry.message(2, |w| any(w, value));
        });
    }
}

fn any(out: &mut Writer, value: &Value) {
    out.bytes(2, &value.to_bytes());
}

fn path_item(out: &mut Writer, item: &Value) {
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(value) = item.get(method) {
            out.message(field, |w| operation(w, value));
        }
    }
    parameters(out, 9, item.get("parameters"));
}

fn operation(out: &mut Writer, value: &Value) {
    texts(out, 1, value.get("tags"));
    text(out, 5, value.get("operationId"));
    texts(out, 6, value.get("produces"));
    texts(out, 7, value.get("consumes"));
    parameters(out, 8, value.get("parameters"));
    out.message(9, |responses| {
        named(responses, 1, value.get("responses"), |w, response| {
            w.message(1, |w| {
                text(w, 1, response.get("description"));
                if let Some(body) = response.get("schema") {
                    w.message(2, |item| item.message(1, |w| schema(w, body)));
                }
            });
        });
    });
    texts(out, 10, value.get("schemes"));
    extensions(out, 13, value);
}

fn parameters(out: &mut Writer, field: u32, value: Option<&Value>) {
    for value in list(value) {
        out.message(field, |item| item.message(1, |w| parameter(w, value)));
    }
}

fn parameter(out: &mut Writer, value: &Value) {
    match value.str_at(&["in"]) {
        Some("body") => out.message(1, |w| {
            text(w, 2, value.get("name"));
            text(w, 3, value.get("in"));
            flag(w, 4, value.get("required"));
            if let Some(body) = value.get("schema") {
                w.message(5, |w| schema(w, body));
            }
        }),
        place => {
            let is_query = place == Some("query");
            // Query parameters have one field more than path parameters, before the type.
            let (message, kind, unique) = if is_query { (3, 6, 20) } else { (4, 5, 19) };
            out.message(2, |w| {
                w.message(message, |w| {
                    flag(w, 1, value.get("required"));
                    text(w, 2, value.get("in"));
                    text(w, 4, value.get("name"));
                    text(w, kind, value.get("type"));
                    flag(w, unique, value.get("uniqueItems"));
                });
            });
        }
    }
}

fn schema(out: &mut Writer, value: &Value) {
    text(out, 1, value.get("$ref"));
    text(out, 2, value.get("format"));
    text(out, 4, value.get("description"));
    if let Some(default) = value.get("default") {
        out.message(5, |w| any(w, default));
    }
    texts(out, 19, value.get("required"));
    match value.get("additionalProperties") {
        Some(Value::Bool(any)) => out.message(21, |item| item.flag(2, *any)),
        Some(values) => out.message(21, |item| item.message(1, |w| schema(w, values))),
        None => {}
    }
    if let Some(kind) = value.get("type") {
        out.message(22, |item| text(item, 1, Some(kind)));
    }
    if let Some(items) = value.get("items") {
        out.message(23, |item| item.message(1, |w| schema(w, items)));
    }
    if let Some(properties) = value.get("properties") {
        out.message(25, |w| named(w, 1, Some(properties), schema));
    }
    extensions(out, 31, value);
}

fn security_scheme(out: &mut Writer, value: &Value) {
    out.message(2, |w| {
        text(w, 1, value.get("type"));
        text(w, 2, value.get("name"));
        text(w, 3, value.get("in"));
        text(w, 4, value.get("description"));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_nest_as_the_definition_says() {
        let document = Value::parse(
            br#"{"swagger":"2.0","info":{"title":"K","version":"v"},"definitions":{"A":{"type":"object","x-y":"z"}}}"#,
        )
        .unwrap();
        let definition =
            [b"\xb2\x01\x08\x0a\x06object".as_slice(), b"\xfa\x01\x0c\x0a\x03x-y\x12\x05\x12\x03\"z\""].concat();
        let entry = [b"\x0a\x01A\x12".as_slice(), &[definition.len() as u8], &definition].concat();
        let definitions = [b"\x0a".as_slice(), &[entry.len() as u8], &entry].concat();
        let wanted = [
            b"\x0a\x032.0\x12\x06\x0a\x01K\x12\x01v\x42\x00".as_slice(),
            &[0x4a, definitions.len() as u8],
            &definitions,
            b"\x6a\x00",
        ]
        .concat();
        assert_eq!(v2_to_protobuf(&document), wanted);
    }
}
