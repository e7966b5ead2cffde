//! One value of the tree.

use std::sync::Arc;

use super::{Map, Str};

/// A JSON value.
#[derive(Debug, Clone, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction or exponent that fits.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    String(Str),
    /// A list.
    Array(Vec<Value>),
    /// An object.
    Object(Map),
    /// An object into which nobody looks, as its compact JSON: `fieldsV1` of managed fields, which is as long as many an
    /// object itself.
    Raw(Arc<str>),
}

impl Value {
    /// An empty object.
    pub const fn object() -> Self {
        Self::Object(Map::new())
    }

    /// The string, when it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(s) = self { Some(s) } else { None }
    }

    /// The number, when it is whole.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Integer(i) => Some(*i),
            _ => None,
        }
    }

    /// The number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Integer(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// The truth value, when it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(b) = self { Some(*b) } else { None }
    }

    /// The list, when it is one.
    pub fn as_array(&self) -> Option<&Vec<Value>> {
        if let Self::Array(a) = self { Some(a) } else { None }
    }

    /// The list, to change.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Value>> {
        if let Self::Array(a) = self { Some(a) } else { None }
    }

    /// The object, when it is one.
    pub fn as_object(&self) -> Option<&Map> {
        if let Self::Object(o) = self { Some(o) } else { None }
    }

    /// The object, to change.
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        if let Self::Object(o) = self { Some(o) } else { None }
    }

    /// Levels of lists and objects: 0 for a scalar, 1 for `{}`.
    pub fn depth(&self) -> usize {
        match self {
            Self::Array(list) => 1 + list.iter().map(Self::depth).max().unwrap_or_default(),
            Self::Object(map) => 1 + map.iter().map(|(_, value)| value.depth()).max().unwrap_or_default(),
            Self::Raw(_) => self.unfolded().depth(),
            _ => 0,
        }
    }

    /// The same with its own objects in the place of raw ones.
    #[must_use]
    pub fn unfolded(&self) -> Self {
        match self {
            Self::Raw(text) => Self::parse(text.as_bytes()).unwrap_or_else(|_| Self::object()),
            Self::Array(list) => Self::Array(list.iter().map(Self::unfolded).collect()),
            Self::Object(map) => Self::Object(map.iter().map(|(key, value)| (key, value.unfolded())).collect()),
            other => other.clone(),
        }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The value of a key, when this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object()?.get(key)
    }

    /// The value of a key, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.as_object_mut()?.get_mut(key)
    }

    /// The value at a path of keys: `tree.at(&["spec", "replicas"])`.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |value, key| value.get(key))
    }

    /// The value at a path of keys, to change.
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Value> {
        path.iter().try_fold(self, |value, key| value.get_mut(key))
    }

    /// The string at a path of keys.
    pub fn str_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.as_str()
    }

    /// The whole number at a path of keys.
    pub fn i64_at(&self, path: &[&str]) -> Option<i64> {
        self.at(path)?.as_i64()
    }

    /// The value at a path of keys, with objects made on the way where there is nothing (or null).
    /// What is no object on the way is left alone and a fresh null is returned in its place's stead by replacing it.
    pub fn ensure_at(&mut self, path: &[&str]) -> &mut Value {
        let mut value = self;
        for key in path {
            if !matches!(value, Self::Object(_)) {
                *value = Self::object();
            }
            value = value.as_object_mut().expect("it was just made an object").get_or_insert_with(key, || Self::Null);
        }
        value
    }

    /// Sets the value at a path of keys, objects made on the way.
    pub fn set_at(&mut self, path: &[&str], value: impl Into<Value>) {
        *self.ensure_at(path) = value.into();
    }

    /// Sets the value at a path when nothing (or null) stands there.
    pub fn default_at(&mut self, path: &[&str], value: impl Into<Value>) {
        let place = self.ensure_at(path);
        if place.is_null() {
            *place = value.into();
        }
    }

    /// Takes the value at a path out; objects on the way stay.
    pub fn remove_at(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        self.at_mut(parents)?.as_object_mut()?.remove(last)
    }
}

/// A raw object is what it reads as.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            (Self::Raw(a), Self::Raw(b)) if a == b => true,
            (Self::Raw(_), Self::Raw(_) | Self::Object(_)) | (Self::Object(_), Self::Raw(_)) => {
                self.unfolded() == other.unfolded()
            }
            _ => false,
        }
    }
}

/// Compact JSON.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}
impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Self::Integer(v)
    }
}
impl From<i32> for Value {
    fn from(v: i32) -> Self {
        Self::Integer(v.into())
    }
}
impl From<u32> for Value {
    fn from(v: u32) -> Self {
        Self::Integer(v.into())
    }
}
impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Self::Float(v)
    }
}
impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Self::String(v.into())
    }
}
impl From<String> for Value {
    fn from(v: String) -> Self {
        Self::String(v.into())
    }
}
impl From<&String> for Value {
    fn from(v: &String) -> Self {
        Self::String(v.as_str().into())
    }
}
impl From<std::borrow::Cow<'_, str>> for Value {
    fn from(v: std::borrow::Cow<'_, str>) -> Self {
        Self::String(v.into())
    }
}
impl From<Str> for Value {
    fn from(v: Str) -> Self {
        Self::String(v)
    }
}
impl From<Map> for Value {
    fn from(v: Map) -> Self {
        Self::Object(v)
    }
}
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(v: Vec<T>) -> Self {
        Self::Array(v.into_iter().map(Into::into).collect())
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Self {
        v.map_or(Self::Null, Into::into)
    }
}
