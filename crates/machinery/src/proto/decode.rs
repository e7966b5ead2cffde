//! Messages to trees. Unknown fields are skipped, as protobuf has it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ProtoError;
use crate::json::{DEPTH_MAX, Map, Value};
use crate::schema::{Field, JSON_SCHEMA_PROPS, Schema, Type};
use crate::wire::{Payload, Reader};
use crate::{duration, time};

/// The tree of a message.
pub(super) fn message(bytes: &[u8], ty: &Type) -> Result<Map, ProtoError> {
    struct_at(bytes, ty, 0)
}

fn struct_at(bytes: &[u8], ty: &Type, depth: usize) -> Result<Map, ProtoError> {
    if depth >= DEPTH_MAX {
        return Err(ProtoError::Depth);
    }
    let mut map = Map::new();
    fields(bytes, ty, &[], &mut map, depth)?;
    Ok(map)
}

fn fields(bytes: &[u8], ty: &Type, prefix: &[u32], map: &mut Map, depth: usize) -> Result<(), ProtoError> {
    let mut reader = Reader(bytes);
    while let Some((number, payload)) = reader.next()? {
        let path = [prefix, &[number]].concat();
        if let Some(field) = ty.fields.iter().find(|f| f.proto == path) {
            put(map, field, payload, depth)?;
        } else if let Payload::Bytes(inner) = payload
            && ty.fields.iter().any(|f| f.proto.starts_with(&path))
        {
            fields(inner, ty, &path, map, depth)?;
        }
    }
    Ok(())
}

fn put(map: &mut Map, field: &Field, payload: Payload<'_>, depth: usize) -> Result<(), ProtoError> {
    match &field.schema {
        Schema::List(list) => {
            let items = map.get_or_insert_with(&field.name, || Value::Array(Vec::new()));
            let items = items.as_array_mut().expect("a list's field holds a list");
            match (payload, &list.element) {
                // Numbers may stand packed in one field.
                (Payload::Bytes(packed), Schema::Int32 | Schema::Int64 | Schema::Bool) => {
                    unpack(packed, &list.element, items)?;
                }
                _ => items.push(value(payload, &list.element, &field.name, depth)?),
            }
        }
        Schema::Map(of) => {
            let Payload::Bytes(entry) = payload else { return Err(wrong(&field.name)) };
            let (key, entry) = map_entry(entry, &of.element, &field.name, depth)?;
            let entries = map.get_or_insert_with(&field.name, Value::object);
            entries.as_object_mut().expect("a map's field holds a map").insert(key, entry);
        }
        // A message that stands twice is merged in protobuf; Go's objects are never written so.
        schema => drop(map.insert(field.name.as_ref(), value(payload, schema, &field.name, depth)?)),
    }
    Ok(())
}

fn wrong(field: &str) -> ProtoError {
    ProtoError::Value { field: field.to_owned() }
}

fn unpack(packed: &[u8], element: &Schema, items: &mut Vec<Value>) -> Result<(), ProtoError> {
    // Packed numbers stand without tags: a tag before each makes them fields.
    let mut rest = packed;
    while !rest.is_empty() {
        let length = rest.iter().position(|b| *b < 0x80).ok_or(ProtoError::Message)? + 1;
        let (number, after) = rest.split_at(length);
        let tagged = [&[8_u8], number].concat();
        if let Some((_, payload)) = Reader(&tagged).next()? {
            items.push(value(payload, element, "", 0)?);
        }
        rest = after;
    }
    Ok(())
}

fn map_entry(entry: &[u8], element: &Schema, name: &str, depth: usize) -> Result<(String, Value), ProtoError> {
    let mut reader = Reader(entry);
    let (mut key, mut found) = (String::new(), None);
    while let Some((number, payload)) = reader.next()? {
        match (number, payload) {
            (1, Payload::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
            (2, Payload::Bytes(inner)) if matches!(element, Schema::List(_)) => {
                found = Some(list_message(inner, element)?)
            }
            (2, payload) => found = Some(value(payload, element, name, depth + 1)?),
            _ => {}
        }
    }
    Ok((key, found.unwrap_or_else(|| empty(element))))
}

fn list_message(bytes: &[u8], schema: &Schema) -> Result<Value, ProtoError> {
    let Schema::List(list) = schema else { return Ok(Value::Null) };
    let mut reader = Reader(bytes);
    let mut items = Vec::new();
    while let Some((number, payload)) = reader.next()? {
        if number == 1 {
            items.push(value(payload, &list.element, "items", 0)?);
        }
    }
    Ok(items.into())
}

/// What a map's value is when it does not stand in its entry.
fn empty(schema: &Schema) -> Value {
    match schema {
        Schema::String | Schema::Bytes => "".into(),
        Schema::Quantity => "0".into(),
        Schema::Struct(..) => Value::object(),
        Schema::List(_) => Value::Array(Vec::new()),
        _ => Value::Null,
    }
}

fn value(payload: Payload<'_>, schema: &Schema, name: &str, depth: usize) -> Result<Value, ProtoError> {
    Ok(match (schema, payload) {
        (Schema::String, Payload::Bytes(text)) => String::from_utf8_lossy(text).into_owned().into(),
        (Schema::Bytes, Payload::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Schema::Bool, Payload::Varint(number)) => (number != 0).into(),
        // Numbers of 32 bits are written with all 64 when they are negative.
        (Schema::Int32, Payload::Varint(number)) => (number as u32).cast_signed().into(),
        (Schema::Int64, Payload::Varint(number)) => number.cast_signed().into(),
        // JSON has no number for what is infinite or none.
        (Schema::Double, Payload::Fixed64(bits)) if f64::from_bits(bits).is_finite() => f64::from_bits(bits).into(),
        (Schema::Struct(ty, _), Payload::Bytes(bytes)) => struct_at(bytes, ty.get(), depth + 1)?.into(),
        (_, Payload::Bytes(bytes)) => own_form(bytes, schema, name, depth)?,
        _ => return Err(wrong(name)),
    })
}

/// A time that JSON can tell: of the years 0 to 9999.
fn timestamp(seconds: i64, nanos: i64) -> Option<jiff::Timestamp> {
    let read = jiff::Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()?;
    (read.as_second() >= time::YEAR_0_SECONDS).then_some(read)
}

/// Types with messages of their own.
fn own_form(bytes: &[u8], schema: &Schema, name: &str, depth: usize) -> Result<Value, ProtoError> {
    let mut texts: [Option<&[u8]>; 4] = [None; 4];
    let mut numbers = [0_i64; 4];
    let mut seconds: Vec<&[u8]> = Vec::new();
    let mut reader = Reader(bytes);
    while let Some((number, payload)) = reader.next()? {
        let at = number as usize;
        match payload {
            Payload::Bytes(text) if at < 4 => {
                texts[at] = Some(text);
                if at == 2 {
                    seconds.push(text);
                }
            }
            Payload::Varint(n) if at < 4 => numbers[at] = n.cast_signed(),
            _ => {}
        }
    }
    let text = |at: usize| String::from_utf8_lossy(texts[at].unwrap_or_default()).into_owned();
    let json = |at: usize| match texts[at] {
        None | Some([]) => Ok(Value::Null),
        Some(raw) => Value::parse(raw).map_err(|_| wrong(name)),
    };
    Ok(match schema {
        Schema::Quantity => text(1).into(),
        // No bytes are the zero time, which JSON has as null.
        Schema::Time | Schema::MicroTime if bytes.is_empty() => Value::Null,
        // Like Go, to the second whatever stands after it.
        Schema::Time => time::format(timestamp(numbers[1], 0).ok_or_else(|| wrong(name))?).into(),
        Schema::MicroTime => time::format_micro(timestamp(numbers[1], numbers[2]).ok_or_else(|| wrong(name))?).into(),
        Schema::Duration => duration::format_go(numbers[1]).into(),
        Schema::IntOrString if numbers[1] == 1 => text(3).into(),
        Schema::IntOrString => numbers[2].into(),
        Schema::Object(_) => json(1)?,
        Schema::Any(of) => {
            let schema_of = |bytes: &[u8]| match Schema::builtin(JSON_SCHEMA_PROPS) {
                Some(Schema::Struct(ty, _)) => struct_at(bytes, ty.get(), depth + 1).map(Value::from),
                _ => Err(wrong(of)),
            };
            match of.rsplit('.').next().unwrap_or_default() {
                "JSONSchemaPropsOrBool" => texts[2].map_or_else(|| Ok((numbers[1] != 0).into()), schema_of)?,
                "JSONSchemaPropsOrArray" => match texts[1] {
                    Some(one) => schema_of(one)?,
                    None => seconds.into_iter().map(schema_of).collect::<Result<Vec<_>, _>>()?.into(),
                },
                "JSONSchemaPropsOrStringArray" => match texts[1] {
                    Some(one) => schema_of(one)?,
                    None => {
                        seconds.into_iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect::<Vec<_>>().into()
                    }
                },
                _ => json(1)?,
            }
        }
        _ => return Err(wrong(name)),
    })
}
