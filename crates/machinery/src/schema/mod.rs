//! What types look like: fields, formats, list and map semantics, merge keys, protobuf numbers.
//!
//! Built-in types come from one table (`kubernetes-1.36.txt`, read on first use); custom resources make the same [`Type`]s
//! from their structural schemas. Type checks, pruning, patches, apply, OpenAPI and protobuf all work on this form.

mod absent;
mod check;
pub mod custom;
mod go;
mod table;

use std::borrow::Cow;
use std::sync::Arc;

use crate::gvk::GroupVersionKind;
use crate::json::Value;

/// The type of schemas in definitions of custom resources.
pub(crate) const JSON_SCHEMA_PROPS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

pub use absent::{Absent, complete};
pub use check::{
    CheckError, Decoded, FieldIssue, FieldValidation, check, check_configuration, decode_tree, undecodable,
    unrecognized_body,
};
pub use go::interface_name as go_interface_name;
pub(crate) use go::value_name as go_value_name;
pub use table::{lookup, lookup_gvk, lookup_kind, types};

/// Text of the table, or of a schema made at run time.
pub type Text = Cow<'static, str>;

/// A named (built-in) or anonymous (custom) object type.
#[derive(Debug, Clone, Default)]
pub struct Type {
    /// `io.k8s.api.core.v1.Pod`; for a custom resource the name that OpenAPI shows.
    pub name: Text,
    /// The kinds that are this type on the wire.
    pub kinds: Vec<GroupVersionKind>,
    /// Fields, sorted by name.
    pub fields: Vec<Field>,
    /// Whether fields which are not listed are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
    /// Whether its objects have one owner as a whole (`x-kubernetes-map-type: atomic`), where the field does not say else.
    pub atomic: bool,
    /// Whether this is a whole object with its own apiVersion, kind and metadata (`x-kubernetes-embedded-resource`).
    pub embedded_resource: bool,
    /// Whether it is a custom resource's: a value that does not fit is left for validation to tell.
    pub custom: bool,
    /// What OpenAPI v3 shows of it, when that is not made of the fields (a custom resource's own schema, as raw JSON).
    pub definition: Option<Value>,
}

/// A field of a [`Type`].
#[derive(Debug, Clone, Default)]
pub struct Field {
    /// The JSON name.
    pub name: Text,
    /// What stands there.
    pub schema: Schema,
    /// Protobuf number, with those of inlined messages in front; empty when the field has none.
    pub proto: Vec<u32>,
    /// Whether OpenAPI calls it required.
    pub required: bool,
    /// Whether Go's encoder leaves its empty value out.
    pub omit_empty: bool,
    /// Whether Go keeps "not set" apart from the empty value.
    pub pointer: bool,
    /// Whether an explicit null is kept (custom resources' `nullable`).
    pub nullable: bool,
    /// Key of strategic merge for a list of objects.
    pub patch_merge_key: Option<Text>,
    /// Strategies of strategic merge.
    pub patch_strategy: PatchStrategy,
    /// The schema's default.
    pub default: Option<Value>,
    /// Go's name of the field's type where it is not the schema's: `v1.RestartPolicy`.
    pub go_type: Option<Text>,
    /// What the field is for, when that is known.
    pub description: Option<Text>,
}

/// How strategic merge treats a field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists are merged (by merge key, or as sets), not replaced.
    pub merge: bool,
    /// Objects are replaced as a whole.
    pub replace: bool,
    /// Only keys named in the patch's `$retainKeys` survive.
    pub retain_keys: bool,
}

/// What stands at a place of a tree.
#[derive(Debug, Clone)]
pub enum Schema {
    /// Anything at all, with the name of its type if it has one.
    Any(Text),
    /// An object of which nothing is known (`RawExtension`, `FieldsV1`), with the name of its type if it has one.
    Object(Text),
    /// A string.
    String,
    /// Bytes, in base64.
    Bytes,
    /// A truth value.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A number.
    Double,
    /// `resource.Quantity`: a string or a number.
    Quantity,
    /// `metav1.Time`: RFC 3339, to the second.
    Time,
    /// `metav1.MicroTime`: RFC 3339, to the microsecond.
    MicroTime,
    /// `metav1.Duration`: Go's duration text.
    Duration,
    /// `intstr.IntOrString`
    IntOrString,
    /// A list.
    List(Box<List>),
    /// An object with keys of the user's choice and values of one schema.
    Map(Box<MapOf>),
    /// An object with known fields.
    Struct(TypeRef, MapSemantics),
}

impl Default for Schema {
    fn default() -> Self {
        Self::Any(Text::Borrowed(""))
    }
}

/// A list.
#[derive(Debug, Clone)]
pub struct List {
    /// What its elements are.
    pub element: Schema,
    /// How writers share it.
    pub semantics: ListSemantics,
}

/// A map.
#[derive(Debug, Clone)]
pub struct MapOf {
    /// What its values are.
    pub element: Schema,
    /// How writers share it.
    pub semantics: MapSemantics,
}

/// `x-kubernetes-list-type`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListSemantics {
    /// Nothing said; treated as atomic.
    #[default]
    Unset,
    /// One owner for the whole list.
    Atomic,
    /// Scalars, each owned.
    Set,
    /// Objects, each owned and found by these keys.
    Map(Vec<Text>),
}

/// `x-kubernetes-map-type`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MapSemantics {
    /// Nothing said; treated as granular.
    #[default]
    Unset,
    /// Each key has its owners.
    Granular,
    /// One owner for the whole object.
    Atomic,
}

/// A reference to a type: to a row of the built-in table (which may be recursive), or to one made at run time.
#[derive(Debug, Clone)]
pub enum TypeRef {
    /// A row of the built-in table.
    Builtin(u16),
    /// A type made at run time.
    Owned(Arc<Type>),
}

impl TypeRef {
    /// The type.
    pub fn get(&self) -> &Type {
        match self {
            Self::Builtin(row) => table::row(*row),
            Self::Owned(ty) => ty,
        }
    }
}

impl Type {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|f| f.name.as_ref().cmp(name)).ok().map(|i| &self.fields[i])
    }

    /// The last part of the name: `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// The name as Go prints it: `v1.PodSpec`.
    pub fn go_name(&self) -> &str {
        let mut dots = self.name.rmatch_indices('.');
        dots.next();
        dots.next().map_or(self.name.as_ref(), |(at, _)| &self.name[at + 1..])
    }
}

impl Schema {
    /// The type, when this is an object with known fields.
    pub fn as_type(&self) -> Option<&Type> {
        if let Self::Struct(ty, _) = self { Some(ty.get()) } else { None }
    }

    /// The name of its type, when it has one: of built-in objects and of the few types with a form of their own.
    pub fn type_name(&self) -> Option<&str> {
        let name = match self {
            Self::Any(name) | Self::Object(name) => name,
            Self::Struct(ty, _) => ty.get().name.as_ref(),
            Self::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
            Self::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
            Self::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
            Self::Duration => "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
            Self::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
            _ => "",
        };
        (!name.is_empty()).then_some(name)
    }

    /// A reference to a built-in type by its name.
    pub fn builtin(name: &str) -> Option<Self> {
        table::row_of(name).map(|row| Self::Struct(TypeRef::Builtin(row), MapSemantics::Unset))
    }
}
