//! What the checker knows of values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use machinery::schema::{ListSemantics, Schema, TypeRef};

/// The type of an expression or of a variable.
#[derive(Debug, Clone)]
pub enum Type {
    /// Anything; looked at when it is evaluated.
    Dyn,
    /// `null`
    Null,
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `uint`
    Uint,
    /// `double`
    Double,
    /// `string`
    String,
    /// `bytes`; base64 in JSON.
    Bytes,
    /// A point in time; RFC 3339 in JSON.
    Timestamp,
    /// A day, in JSON; otherwise a [`Type::Timestamp`].
    Date,
    /// A span of time; Go's text in JSON.
    Duration,
    /// A list.
    List(Arc<ListOf>),
    /// A map of keys to values.
    Map(Arc<(Type, Type)>),
    /// An object with known fields.
    Object(Object),
    /// A value that may not be there.
    Optional(Arc<Type>),
    /// A type as a value, and which one, when that is known.
    Type(Option<Arc<Type>>),
    /// A type of a library, by its name.
    Opaque(&'static str),
    /// A type that is still to be found.
    Param(u32),
    /// What has been complained about already.
    Error,
}

/// A list: its elements, and what makes two of them equal.
#[derive(Debug, Clone)]
pub struct ListOf {
    /// What its elements are.
    pub element: Type,
    /// `x-kubernetes-list-type`: decides on `==` and `+`.
    pub semantics: ListSemantics,
}

/// An object with known fields.
#[derive(Debug, Clone)]
pub enum Object {
    /// Declared for the purpose.
    Declared(Arc<Declared>),
    /// A type of the schema table; its fields are read as declared by [`Type::from_schema`].
    Schema(TypeRef),
    /// What a mutation makes: a type of any fields, named by the path to it (`Object.spec`).
    Mutation(Arc<str>),
}

/// A declared object.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// The name in messages.
    pub name: String,
    /// Fields by the names that expressions use (see [`crate::escape`]).
    pub fields: BTreeMap<String, Type>,
}

impl Type {
    /// A list of elements, equal when they are in the same order.
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(ListOf { element, semantics: ListSemantics::Unset }))
    }

    /// A list with `x-kubernetes-list-type`.
    pub fn list_with(element: Self, semantics: ListSemantics) -> Self {
        Self::List(Arc::new(ListOf { element, semantics }))
    }

    /// A map.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    /// An object with fields; names are taken as expressions write them.
    pub fn object<N: Into<String>>(name: &str, fields: impl IntoIterator<Item = (N, Self)>) -> Self {
        let fields = fields.into_iter().map(|(name, ty)| (name.into(), ty)).collect();
        Self::Object(Object::Declared(Arc::new(Declared { name: name.to_owned(), fields })))
    }

    /// A value that may not be there.
    pub fn optional(of: Self) -> Self {
        Self::Optional(Arc::new(of))
    }

    /// The type of what stands at a place of a tree. What may be of several kinds, such as a
    /// quantity, is [`Type::Dyn`].
    pub fn from_schema(schema: &Schema) -> Self {
        match schema {
            Schema::Any(_) | Schema::Object(_) | Schema::IntOrString | Schema::Quantity => Self::Dyn,
            Schema::String => Self::String,
            Schema::Bytes => Self::Bytes,
            Schema::Bool => Self::Bool,
            Schema::Int32 | Schema::Int64 => Self::Int,
            Schema::Double => Self::Double,
            Schema::Time | Schema::MicroTime => Self::Timestamp,
            Schema::Duration => Self::Duration,
            Schema::List(list) => Self::list_with(Self::from_schema(&list.element), list.semantics.clone()),
            Schema::Map(map) => Self::map(Self::String, Self::from_schema(&map.element)),
            Schema::Struct(ty, _) => Self::Object(Object::Schema(ty.clone())),
        }
    }

    /// Whether nothing is known of it.
    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// The same type, as a value of this program has it: texts in JSON are read into their types.
    pub(crate) fn plain(self) -> Self {
        if matches!(self, Self::Date) { Self::Timestamp } else { self }
    }

    /// The name of the type as a value: without its parameters.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::List(_) => "list".to_owned(),
            Self::Map(_) => "map".to_owned(),
            Self::Null => "null_type".to_owned(),
            Self::Type(_) => "type".to_owned(),
            Self::Optional(_) => "optional_type".to_owned(),
            Self::Timestamp | Self::Date => "google.protobuf.Timestamp".to_owned(),
            Self::Duration => "google.protobuf.Duration".to_owned(),
            other => other.to_string(),
        }
    }
}

impl Object {
    /// The field of that name, as expressions write it.
    pub(crate) fn field(&self, name: &str) -> Option<Type> {
        match self {
            Self::Declared(declared) => declared.fields.get(name).cloned(),
            Self::Schema(ty) => {
                let name = crate::escape::unescape(name)?;
                ty.get().field(&name).map(|field| Type::from_schema(&field.schema))
            }
            Self::Mutation(_) => Some(Type::Dyn),
        }
    }

    /// The name in messages.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Declared(declared) => &declared.name,
            Self::Schema(ty) => ty.get().short_name(),
            Self::Mutation(path) => path,
        }
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Declared(a), Self::Declared(b)) => Arc::ptr_eq(a, b) || (!a.name.is_empty() && a.name == b.name),
            (Self::Schema(TypeRef::Builtin(a)), Self::Schema(TypeRef::Builtin(b))) => a == b,
            (Self::Schema(TypeRef::Owned(a)), Self::Schema(TypeRef::Owned(b))) => Arc::ptr_eq(a, b),
            (Self::Mutation(a), Self::Mutation(b)) => a == b,
            _ => false,
        }
    }
}

/// As error messages name types.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp | Self::Date => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(list) => write!(f, "list({})", list.element),
            Self::Map(map) => write!(f, "map({}, {})", map.0, map.1),
            Self::Object(object) => f.write_str(object.name()),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Type(Some(of)) => write!(f, "type({of})"),
            Self::Type(None) => f.write_str("type"),
            Self::Opaque(name) => f.write_str(name),
            Self::Param(number) => write!(f, "_var{number}"),
            Self::Error => f.write_str("!error!"),
        }
    }
}
