//! A tree out of a typed value, without bytes in between.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::decode::DecodeError;
use super::{Map, Str, Value};

/// Makes a tree of a typed value.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, DecodeError> {
    value.serialize(Maker)
}

struct Maker;

/// A list, or the list of a variant under its name.
struct ListMaker {
    list: Vec<Value>,
    variant: Option<&'static str>,
}

/// An object, or the object of a variant under its name.
struct MapMaker {
    entries: Vec<(Str, Value)>,
    key: Option<Str>,
    variant: Option<&'static str>,
}

fn under(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        Some(name) => [(name, value)].into_iter().collect::<Map>().into(),
        None => value,
    }
}

impl ListMaker {
    fn new(len: usize, variant: Option<&'static str>) -> Self {
        Self { list: Vec::with_capacity(len), variant }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), DecodeError> {
        self.list.push(to_value(value)?);
        Ok(())
    }

    fn finish(self) -> Result<Value, DecodeError> {
        Ok(under(self.variant, Value::Array(self.list)))
    }
}

impl MapMaker {
    fn new(len: usize, variant: Option<&'static str>) -> Self {
        Self { entries: Vec::with_capacity(len), key: None, variant }
    }

    fn push<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), DecodeError> {
        self.entries.push((Str::const_new(key), to_value(value)?));
        Ok(())
    }

    fn finish(self) -> Result<Value, DecodeError> {
        Ok(under(self.variant, Value::Object(Map::from_unsorted(self.entries).0)))
    }
}

impl Serializer for Maker {
    type Ok = Value;
    type Error = DecodeError;
    type SerializeSeq = ListMaker;
    type SerializeTuple = ListMaker;
    type SerializeTupleStruct = ListMaker;
    type SerializeTupleVariant = ListMaker;
    type SerializeMap = MapMaker;
    type SerializeStruct = MapMaker;
    type SerializeStructVariant = MapMaker;

    fn serialize_bool(self, v: bool) -> Result<Value, DecodeError> {
        Ok(Value::Bool(v))
    }
    fn serialize_i8(self, v: i8) -> Result<Value, DecodeError> {
        Ok(Value::Integer(v.into()))
    }
    fn serialize_i16(self, v: i16) -> Result<Value, DecodeError> {
        Ok(Value::Integer(v.into()))
    }
    fn serialize_i32(self, v: i32) -> Result<Value, DecodeError> {
        Ok(Value::Integer(v.into()))
    }
    fn serialize_i64(self, v: i64) -> Result<Value, DecodeError> {
        Ok(Value::Integer(v))
    }
    fn serialize_u8(self, v: u8) -> Result<Value, DecodeError> {
        Ok(Value::Integer(v.into()))
    }
    fn serialize_u16(self, v: u16) -> Result<Value, DecodeError> {
        Ok(Value::Integer(v.into()))
    }
    fn serialize_u32(self, v: u32) -> Result<Value, DecodeError> {
        Ok(Value::Integer(v.into()))
    }
    fn serialize_u64(self, v: u64) -> Result<Value, DecodeError> {
        Ok(i64::try_from(v).map_or(Value::Float(v as f64), Value::Integer))
    }
    fn serialize_f32(self, v: f32) -> Result<Value, DecodeError> {
        Ok(Value::Float(v.into()))
    }
    fn serialize_f64(self, v: f64) -> Result<Value, DecodeError> {
        Ok(Value::Float(v))
    }
    fn serialize_char(self, v: char) -> Result<Value, DecodeError> {
        Ok(Value::from(v.encode_utf8(&mut [0; 4]) as &str))
    }
    fn serialize_str(self, v: &str) -> Result<Value, DecodeError> {
        Ok(Value::from(v))
    }
    fn serialize_bytes(self, v: &[u8]) -> Result<Value, DecodeError> {
        Ok(Value::Array(v.iter().map(|b| Value::Integer((*b).into())).collect()))
    }
    fn serialize_none(self) -> Result<Value, DecodeError> {
        Ok(Value::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, DecodeError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<Value, DecodeError> {
        Ok(Value::Null)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, DecodeError> {
        Ok(Value::Null)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, DecodeError> {
        Ok(Value::String(Str::const_new(variant)))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, v: &T) -> Result<Value, DecodeError> {
        v.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, DecodeError> {
        Ok(under(Some(variant), to_value(value)?))
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<ListMaker, DecodeError> {
        Ok(ListMaker::new(len.unwrap_or(0), None))
    }
    fn serialize_tuple(self, len: usize) -> Result<ListMaker, DecodeError> {
        Ok(ListMaker::new(len, None))
    }
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<ListMaker, DecodeError> {
        Ok(ListMaker::new(len, None))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<ListMaker, DecodeError> {
        Ok(ListMaker::new(len, Some(variant)))
    }
    fn serialize_map(self, len: Option<usize>) -> Result<MapMaker, DecodeError> {
        Ok(MapMaker::new(len.unwrap_or(0), None))
    }
    fn serialize_struct(self, _: &'static str, len: usize) -> Result<MapMaker, DecodeError> {
        Ok(MapMaker::new(len, None))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<MapMaker, DecodeError> {
        Ok(MapMaker::new(len, Some(variant)))
    }
}

macro_rules! list_makers {
    ($($trait:ident $method:ident,)*) => {
        $(impl $trait for ListMaker {
            type Ok = Value;
            type Error = DecodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), DecodeError> {
                self.push(value)
            }
            fn end(self) -> Result<Value, DecodeError> {
                self.finish()
            }
        })*
    };
}
list_makers! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

impl SerializeMap for MapMaker {
    type Ok = Value;
    type Error = DecodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), DecodeError> {
        self.key = Some(match to_value(key)? {
            Value::String(s) => s,
            Value::Integer(i) => Str::from(i.to_string()),
            Value::Bool(b) => Str::from(if b { "true" } else { "false" }),
            _ => return Err(DecodeError::custom("a key must be a string")),
        });
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), DecodeError> {
        let key = self.key.take().ok_or_else(|| DecodeError::custom("a value was given before its key"))?;
        self.entries.push((key, to_value(value)?));
        Ok(())
    }
    fn end(self) -> Result<Value, DecodeError> {
        self.finish()
    }
}

macro_rules! struct_makers {
    ($($trait:ident,)*) => {
        $(impl $trait for MapMaker {
            type Ok = Value;
            type Error = DecodeError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), DecodeError> {
                self.push(key, value)
            }
            fn end(self) -> Result<Value, DecodeError> {
                self.finish()
            }
        })*
    };
}
struct_makers! {
    SerializeStruct,
    SerializeStructVariant,
}
