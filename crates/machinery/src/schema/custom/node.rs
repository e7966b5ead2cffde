//! A structural schema in the form in which values are defaulted and validated.

use crate::json::{Map, Str, Value};
use crate::schema::{ListSemantics, Text};

use super::format::Format;
use super::pattern::Pattern;

/// Levels down to which a schema is read; the JSON parser allows no more.
const DEPTH_MAX: usize = crate::json::DEPTH_MAX;

/// What a schema says of one place.
#[derive(Debug, Default)]
pub struct Node {
    /// The type of values.
    pub kind: Kind,
    /// Whether null is a value.
    pub nullable: bool,
    /// Whether unknown fields are kept.
    pub preserve_unknown: bool,
    /// Whether values are whole objects.
    pub embedded_resource: bool,
    /// What stands at this place or below it.
    pub below: Below,
    /// Known fields, sorted by name.
    pub properties: Box<[(Str, Node)]>,
    /// What all other fields are.
    pub additional: Option<Box<Node>>,
    /// What elements of a list are.
    pub items: Option<Box<Node>>,
    /// What stands here when nothing is given.
    pub default: Option<Box<Value>>,
    /// What is particular to a list or object, and to its value.
    pub(super) checks: Option<Box<Checks>>,
}

/// What a place or something below it has, so that walks can pass by the rest.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Below {
    /// A default.
    pub default: bool,
    /// A list that is a set or a map.
    pub list: bool,
    /// An embedded object.
    pub embedded: bool,
}

/// The type of a value.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "JSON schema's own types")]
pub enum Kind {
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    /// `x-kubernetes-int-or-string`
    IntOrString,
}

impl Kind {
    /// As error messages name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::IntOrString => "integer,string",
        }
    }
}

/// Restrictions of values.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub format: Option<Format>,
    pub allowed: Vec<Value>,
    pub pattern: Option<Pattern>,
    pub minimum: Option<Bound>,
    pub maximum: Option<Bound>,
    pub multiple_of: Option<f64>,
    pub length: Size,
    pub items: Size,
    pub properties: Size,
    pub unique_items: bool,
    pub required: Vec<Str>,
    /// `additionalProperties: false`
    pub closed: bool,
    pub all_of: Vec<Node>,
    pub any_of: Vec<Node>,
    pub one_of: Vec<Node>,
    pub not: Option<Node>,
    pub list: ListSemantics,
}

/// How many of something there may be.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Size {
    pub min: Option<i64>,
    pub max: Option<i64>,
}

/// A bound of numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub value: f64,
    pub is_exclusive: bool,
}

impl Node {
    /// Reads a schema (`JSONSchemaProps` in its JSON form). What no schema should have is left out; validation of definitions
    /// refuses it.
    pub fn new(schema: &Value) -> Self {
        read(schema, 0)
    }

    /// The same, of whole objects with kind and metadata.
    #[must_use]
    pub fn whole_object(mut self) -> Self {
        self.embedded_resource = true;
        self.below.embedded = true;
        self
    }

    /// What a field is.
    pub fn property(&self, name: &str) -> Option<&Self> {
        let at = self.properties.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(&self.properties[at].1)
    }

    /// What a field is, known or not.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.property(name).or(self.additional.as_deref())
    }

    /// How writers share a list.
    pub fn list(&self) -> &ListSemantics {
        static UNSET: ListSemantics = ListSemantics::Unset;
        self.checks.as_ref().map_or(&UNSET, |checks| &checks.list)
    }
}

fn read(schema: &Value, depth: usize) -> Node {
    if depth > DEPTH_MAX {
        return Node::default();
    }
    let flag = |key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or_default();
    let below = |schema: &Value| read(schema, depth + 1);
    let properties = entries(schema, "properties").map(|(name, schema)| (Str::from(name), below(schema)));
    let additional = schema.get("additionalProperties");
    let mut node = Node {
        kind: kind(schema),
        nullable: flag("nullable"),
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        embedded_resource: flag("x-kubernetes-embedded-resource"),
        below: Below::default(),
        properties: properties.collect(),
        additional: match additional {
            Some(schema @ Value::Object(_)) => Some(Box::new(below(schema))),
            // Of values under it nothing is known, so null is one as any other.
            Some(Value::Bool(true)) => {
                Some(Box::new(Node { nullable: true, preserve_unknown: true, ..Node::default() }))
            }
            _ => None,
        },
        items: schema.get("items").filter(|items| items.as_object().is_some()).map(|items| Box::new(below(items))),
        default: schema.get("default").filter(|default| !default.is_null()).cloned().map(Box::new),
        checks: checks(schema, depth),
    };
    let children = node.properties.iter().map(|(_, node)| node).chain(node.additional.as_deref());
    let children = children.chain(node.items.as_deref());
    let mut all = Below {
        default: node.default.is_some(),
        list: !matches!(node.list(), ListSemantics::Unset | ListSemantics::Atomic),
        embedded: node.embedded_resource,
    };
    for child in children {
        all.default |= child.below.default;
        all.list |= child.below.list;
        all.embedded |= child.below.embedded;
    }
    node.below = all;
    node
}

fn entries<'v>(schema: &'v Value, key: &str) -> impl Iterator<Item = (&'v str, &'v Value)> {
    schema.get(key).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn kind(schema: &Value) -> Kind {
    if schema.get("x-kubernetes-int-or-string").and_then(Value::as_bool) == Some(true) {
        return Kind::IntOrString;
    }
    match schema.str_at(&["type"]).unwrap_or_default() {
        "object" => Kind::Object,
        "array" => Kind::Array,
        "string" => Kind::String,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "boolean" => Kind::Boolean,
        _ => Kind::Any,
    }
}

/// The keys that make [`Checks`].
const CHECKED: [&str; 21] = [
    "format",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "uniqueItems",
    "required",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "additionalProperties",
];

fn checks(schema: &Value, depth: usize) -> Option<Box<Checks>> {
    if !schema.as_object()?.keys().any(|key| CHECKED.contains(&key)) {
        return None;
    }
    let list = |key: &str| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let flag = |key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or_default();
    let bound = |key: &str, exclusive: &str| number(key).map(|value| Bound { value, is_exclusive: flag(exclusive) });
    let size = |min: &str, max: &str| Size { min: schema.i64_at(&[min]), max: schema.i64_at(&[max]) };
    let nodes = |key: &str| list(key).map(|schema| read(schema, depth + 1)).collect();
    Some(Box::new(Checks {
        format: schema.str_at(&["format"]).and_then(Format::named),
        allowed: list("enum").cloned().collect(),
        pattern: schema.str_at(&["pattern"]).filter(|pattern| !pattern.is_empty()).map(Pattern::new),
        minimum: bound("minimum", "exclusiveMinimum"),
        maximum: bound("maximum", "exclusiveMaximum"),
        multiple_of: number("multipleOf"),
        length: size("minLength", "maxLength"),
        items: size("minItems", "maxItems"),
        properties: size("minProperties", "maxProperties"),
        unique_items: flag("uniqueItems"),
        required: list("required").filter_map(Value::as_str).map(Str::from).collect(),
        closed: schema.get("additionalProperties") == Some(&Value::Bool(false)),
        all_of: nodes("allOf"),
        any_of: nodes("anyOf"),
        one_of: nodes("oneOf"),
        not: schema.get("not").filter(|not| not.as_object().is_some()).map(|not| read(not, depth + 1)),
        list: match schema.str_at(&["x-kubernetes-list-type"]).unwrap_or_default() {
            "set" => ListSemantics::Set,
            "map" => {
                let keys = list("x-kubernetes-list-map-keys").filter_map(Value::as_str);
                ListSemantics::Map(keys.map(|key| Text::Owned(key.to_owned())).collect())
            }
            "atomic" => ListSemantics::Atomic,
            _ => ListSemantics::Unset,
        },
    }))
}
