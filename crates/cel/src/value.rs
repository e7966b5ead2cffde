//! Values while an expression is evaluated. What comes from outside is borrowed, and read only where it is looked at.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use machinery::Value;

use crate::fault::Fault;
use crate::library::Special;
use crate::types::{Object, Type};

/// A string, borrowed or shared.
#[derive(Debug, Clone)]
pub(crate) enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// A key of a map.
#[derive(Debug, Clone)]
pub(crate) enum Key<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(Text<'a>),
}

impl Key<'_> {
    fn rank(&self) -> (u8, i128, &str) {
        match self {
            Self::Bool(value) => (0, (*value).into(), ""),
            Self::Int(value) => (1, (*value).into(), ""),
            Self::Uint(value) => (1, (*value).into(), ""),
            Self::String(text) => (2, 0, text),
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Key<'_> {}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// A map that an expression made.
pub(crate) type MadeMap<'a> = BTreeMap<Key<'a>, Val<'a>>;

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    Duration(SignedDuration),
    List(Rc<Vec<Val<'a>>>),
    Map(Rc<MadeMap<'a>>),
    /// A list or an object of a tree, and what is known of it.
    Json(&'a Value, Type),
    Type(Arc<Type>),
    Optional(Option<Rc<Val<'a>>>),
    /// What a mutation makes.
    Struct(Rc<Made<'a>>),
    /// A library's own.
    Special(Special),
    /// Variables that are evaluated when they are asked for: the index of their binding.
    Lazy(usize),
}

/// An object that an expression made.
#[derive(Debug)]
pub(crate) struct Made<'a> {
    pub name: Arc<str>,
    pub fields: BTreeMap<Arc<str>, Val<'a>>,
}

impl<'a> Val<'a> {
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(Text::Shared(text.into()))
    }

    pub fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items))
    }

    pub fn some(of: Self) -> Self {
        Self::Optional(Some(Rc::new(of)))
    }

    /// What stands at a place of a tree.
    pub fn wrap(value: &'a Value, ty: &Type) -> Result<Self, Fault> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Integer(value) if matches!(ty, Type::Double) => Self::Double(*value as f64),
            Value::Integer(value) => Self::Int(*value),
            Value::Float(value) if matches!(ty, Type::Int) && value.fract() == 0.0 && value.abs() < 9e18 => {
                Self::Int(*value as i64)
            }
            Value::Float(value) => Self::Double(*value),
            Value::String(text) => return Self::from_text(text, ty),
            Value::Array(_) | Value::Object(_) => Self::Json(value, ty.clone()),
            Value::Raw(_) => Self::own(&value.unfolded()),
        })
    }

    /// A string that may stand for something else.
    fn from_text(text: &'a str, ty: &Type) -> Result<Self, Fault> {
        use base64::Engine as _;
        Ok(match ty {
            Type::Timestamp => Self::Timestamp(crate::library::time::parse_timestamp(text)?),
            Type::Date => Self::Timestamp(crate::library::time::parse_timestamp(&format!("{text}T00:00:00Z"))?),
            Type::Duration => Self::Duration(crate::library::time::parse_duration(text)?),
            Type::Bytes => {
                let decoded = base64::engine::general_purpose::STANDARD.decode(text);
                Self::Bytes(decoded.map_err(|wrong| Fault::new(format!("illegal base64 data: {wrong}")))?.into())
            }
            _ => Self::String(Text::Borrowed(text)),
        })
    }

    /// A copy of a tree.
    pub fn own(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Integer(value) => Self::Int(*value),
            Value::Float(value) => Self::Double(*value),
            Value::String(text) => Self::string(text.as_str()),
            Value::Array(list) => Self::list(list.iter().map(Self::own).collect()),
            Value::Object(map) => {
                let entry = |(key, value): (&str, &Value)| (Key::String(Text::Shared(key.into())), Self::own(value));
                Self::Map(Rc::new(map.iter().map(entry).collect()))
            }
            Value::Raw(_) => Self::own(&value.unfolded()),
        }
    }

    /// The type, as far as the value tells.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::List(_) | Self::Json(Value::Array(_), _) => Type::list(Type::Dyn),
            Self::Json(_, ty @ Type::Object(_)) => ty.clone(),
            Self::Map(_) | Self::Json(..) | Self::Lazy(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Type(_) => Type::Type(None),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Struct(made) => Type::Object(Object::Mutation(made.name.clone())),
            Self::Special(special) => Type::Opaque(special.type_name()),
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// How many letters, bytes, elements or entries it has.
    pub fn size(&self) -> Option<usize> {
        Some(match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            Self::Json(Value::Array(list), _) => list.len(),
            Self::Json(Value::Object(map), _) => map.len(),
            Self::Struct(made) => made.fields.len(),
            _ => return None,
        })
    }

    /// The size that costs are counted by.
    pub fn cost_size(&self) -> u64 {
        match self {
            Self::String(text) => text.len() as u64,
            other => other.size().map_or(1, |size| size as u64),
        }
    }

    /// Elements, when this is a list.
    pub fn elements(&self) -> Option<Elements<'_, 'a>> {
        match self {
            Self::List(list) => Some(Elements::Made(list)),
            Self::Json(Value::Array(list), ty) => Some(Elements::Json(list, element_type(ty))),
            _ => None,
        }
    }

    /// The keys, when this is a map, in their order.
    pub fn keys(&self) -> Option<Vec<Self>> {
        match self {
            Self::Map(map) => Some(map.keys().map(Self::from_key).collect()),
            Self::Json(Value::Object(map), ty) => {
                let written = |key: &'a str| match ty {
                    Type::Object(_) => match crate::escape::escape(key) {
                        Some(Cow::Owned(name)) => Self::string(name),
                        _ => Self::String(Text::Borrowed(key)),
                    },
                    _ => Self::String(Text::Borrowed(key)),
                };
                Some(map.keys().map(written).collect())
            }
            Self::Struct(made) => Some(made.fields.keys().map(|key| Self::string(key.clone())).collect()),
            _ => None,
        }
    }

    /// The value of a key; nothing when it is not there. Fails when this is no map.
    pub fn find(&self, key: &Self) -> Result<Option<Self>, Fault> {
        match self {
            Self::Json(Value::Object(map), ty) => match key.as_str() {
                Some(name) => find_json(map, ty, name),
                None => Ok(None),
            },
            Self::Map(map) => Ok(key.to_key().and_then(|key| map.get(&key).cloned())),
            Self::Struct(made) => Ok(key.as_str().and_then(|name| made.fields.get(name).cloned())),
            _ => Err(Fault::NO_OVERLOAD),
        }
    }

    fn from_key(key: &Key<'a>) -> Self {
        match key {
            Key::Bool(value) => Self::Bool(*value),
            Key::Int(value) => Self::Int(*value),
            Key::Uint(value) => Self::Uint(*value),
            Key::String(text) => Self::String(text.clone()),
        }
    }

    /// The key that it is, when it can be one: whole doubles find whole numbers.
    pub fn to_key(&self) -> Option<Key<'a>> {
        Some(match self {
            Self::Bool(value) => Key::Bool(*value),
            Self::Int(value) => Key::Int(*value),
            Self::Uint(value) => Key::Uint(*value),
            Self::Double(value) if value.fract() == 0.0 && value.abs() < 9e18 => Key::Int(*value as i64),
            Self::String(text) => Key::String(text.clone()),
            _ => return None,
        })
    }
}

/// The value of a field or key of an object.
pub(crate) fn find_json<'a>(map: &'a machinery::Map, ty: &Type, name: &str) -> Result<Option<Val<'a>>, Fault> {
    let found = match ty {
        Type::Object(object) => {
            let Some(field) = crate::escape::unescape(name) else { return Ok(None) };
            map.get(&field).map(|value| (value, object.field(name).unwrap_or(Type::Dyn)))
        }
        Type::Map(of) => map.get(name).map(|value| (value, of.1.clone())),
        _ => map.get(name).map(|value| (value, Type::Dyn)),
    };
    found.map(|(value, ty)| Val::wrap(value, &ty)).transpose()
}

fn element_type(ty: &Type) -> Type {
    if let Type::List(list) = ty { list.element.clone() } else { Type::Dyn }
}

/// The elements of a list.
pub(crate) enum Elements<'v, 'a> {
    Made(&'v [Val<'a>]),
    Json(&'a [Value], Type),
}

impl<'a> Elements<'_, 'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Made(list) => list.len(),
            Self::Json(list, _) => list.len(),
        }
    }

    pub fn get(&self, index: usize) -> Option<Result<Val<'a>, Fault>> {
        match self {
            Self::Made(list) => list.get(index).cloned().map(Ok),
            Self::Json(list, ty) => list.get(index).map(|value| Val::wrap(value, ty)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Result<Val<'a>, Fault>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}
