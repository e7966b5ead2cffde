//! Trees to messages.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ProtoError;
use crate::json::{Map, Value};
use crate::schema::{Field, JSON_SCHEMA_PROPS, Schema, Type};
use crate::wire::Writer;
use crate::{duration, time};

/// The message of an object. Fields without a number (apiVersion and kind) are left out.
pub(super) fn message(tree: &Value, ty: &Type) -> Result<Vec<u8>, ProtoError> {
    let mut out = Writer::default();
    let Value::Object(map) = tree else { return Err(wrong(&ty.name)) };
    fields(&mut out, map, ty, &[])?;
    Ok(out.0)
}

fn wrong(field: &str) -> ProtoError {
    ProtoError::Value { field: field.to_owned() }
}

/// The fields whose number starts with `prefix`: those of the message itself, or of one that Go inlines.
fn fields(out: &mut Writer, map: &Map, ty: &Type, prefix: &[u32]) -> Result<(), ProtoError> {
    let depth = prefix.len();
    let set: Vec<(&Field, &Value)> = map
        .iter()
        .filter(|(_, value)| !value.is_null())
        .filter_map(|(name, value)| Some((ty.field(name)?, value)))
        .filter(|(field, _)| field.proto.len() > depth && field.proto.starts_with(prefix))
        .collect();
    let numbers: BTreeSet<u32> = set.iter().map(|(field, _)| field.proto[depth]).collect();
    for number in numbers {
        let own = set.iter().find(|(field, _)| field.proto.len() == depth + 1 && field.proto[depth] == number);
        if let Some((field, value)) = own {
            put(out, number, value, &field.schema, &field.name)?;
        } else {
            let mut inner = Writer::default();
            fields(&mut inner, map, ty, &[prefix, &[number]].concat())?;
            out.bytes(number, &inner.0);
        }
    }
    Ok(())
}

fn put(out: &mut Writer, number: u32, value: &Value, schema: &Schema, name: &str) -> Result<(), ProtoError> {
    match (schema, value) {
        (Schema::String, Value::String(s)) => out.bytes(number, s.as_bytes()),
        (Schema::Bytes, Value::String(s)) => out.bytes(number, &STANDARD.decode(s.as_str()).map_err(|_| wrong(name))?),
        (Schema::Bool, Value::Bool(b)) => out.flag(number, *b),
        (Schema::Int32 | Schema::Int64, Value::Integer(i)) => out.number(number, *i),
        (Schema::Double, Value::Integer(_) | Value::Float(_)) => out.double(number, value.as_f64().unwrap_or_default()),
        (Schema::Quantity, Value::String(s)) => out.message(number, |w| w.bytes(1, s.as_bytes())),
        (Schema::Time, Value::String(s)) => {
            let time = time::parse(s).map_err(|_| wrong(name))?;
            // Written to the second, as in JSON.
            put_time(out, number, time::parse(&time::format(time)).map_err(|_| wrong(name))?);
        }
        (Schema::MicroTime, Value::String(s)) => put_time(out, number, time::parse_micro(s).map_err(|_| wrong(name))?),
        (Schema::Duration, Value::String(s)) => {
            let nanos = duration::parse_go(s).map_err(|_| wrong(name))?;
            out.message(number, |w| w.number(1, nanos));
        }
        (Schema::IntOrString, Value::Integer(i)) => out.message(number, |w| {
            w.number(1, 0);
            w.number(2, *i);
            w.bytes(3, b"");
        }),
        (Schema::IntOrString, Value::String(s)) => out.message(number, |w| {
            w.number(1, 1);
            w.number(2, 0);
            w.bytes(3, s.as_bytes());
        }),
        (Schema::Object(_), Value::Raw(text)) => out.message(number, |w| w.bytes(1, text.as_bytes())),
        (Schema::Object(_), Value::Object(_)) => out.message(number, |w| w.bytes(1, &value.to_bytes())),
        // Go keeps null in lists and maps of these: the zero time, an object of no bytes.
        (Schema::Time | Schema::MicroTime | Schema::Object(_), Value::Null) => out.bytes(number, b""),
        (Schema::Any(of), _) => put_any(out, number, value, of)?,
        (Schema::Struct(ty, _), Value::Object(_)) => out.bytes(number, &message(value, ty.get())?),
        (Schema::List(list), Value::Array(items)) => {
            for item in items {
                put(out, number, item, &list.element, name)?;
            }
        }
        (Schema::Map(of), Value::Object(map)) => {
            for (key, value) in map.iter() {
                let mut entry = Writer::default();
                entry.bytes(1, key.as_bytes());
                put_map_value(&mut entry, value, &of.element, name)?;
                out.bytes(number, &entry.0);
            }
        }
        _ => return Err(wrong(name)),
    }
    Ok(())
}

/// A list as a map's value is a message of its own, with the list in its first field.
fn put_map_value(entry: &mut Writer, value: &Value, schema: &Schema, name: &str) -> Result<(), ProtoError> {
    if !matches!(schema, Schema::List(_)) {
        return put(entry, 2, value, schema, name);
    }
    let mut list = Writer::default();
    if !value.is_null() {
        put(&mut list, 1, value, schema, name)?;
    }
    entry.bytes(2, &list.0);
    Ok(())
}

/// Seconds since 1970, and what of the next has passed: never less than nothing, before 1970 as well.
fn put_time(out: &mut Writer, number: u32, time: jiff::Timestamp) {
    let (seconds, nanos) = (time.as_second(), i64::from(time.subsec_nanosecond()));
    let borrowed = i64::from(nanos < 0);
    out.message(number, |w| {
        w.number(1, seconds - borrowed);
        w.number(2, nanos + borrowed * 1_000_000_000);
    });
}

/// The types of `apiextensions` which are one of several things.
fn put_any(out: &mut Writer, number: u32, value: &Value, of: &str) -> Result<(), ProtoError> {
    let schema = |value: &Value| match Schema::builtin(JSON_SCHEMA_PROPS) {
        Some(Schema::Struct(ty, _)) => message(value, ty.get()),
        _ => Err(wrong(of)),
    };
    let mut inner = Writer::default();
    match (of.rsplit('.').next().unwrap_or_default(), value) {
        // Neither the one nor the other.
        ("JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray", Value::Null) => {}
        ("JSONSchemaPropsOrBool", Value::Bool(allows)) => inner.flag(1, *allows),
        ("JSONSchemaPropsOrBool", value) => {
            inner.flag(1, true);
            inner.bytes(2, &schema(value)?);
        }
        ("JSONSchemaPropsOrArray", Value::Array(list)) => {
            for item in list {
                inner.bytes(2, &schema(item)?);
            }
        }
        ("JSONSchemaPropsOrStringArray", Value::Array(list)) => {
            for item in list {
                inner.bytes(2, item.as_str().ok_or_else(|| wrong(of))?.as_bytes());
            }
        }
        ("JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray", value) => inner.bytes(1, &schema(value)?),
        (_, value) => inner.bytes(1, &value.to_bytes()),
    }
    out.bytes(number, &inner.0);
    Ok(())
}
