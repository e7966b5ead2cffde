//! What a place is to field management: a leaf, a list whose elements are owned one by one, or an object of fields.

use super::element;
use super::set::FieldSet;
use crate::json::{Str, Value};
use crate::schema::{ListSemantics, MapSemantics, Schema, Text, Type};

/// What a place is.
pub(super) enum Shape<'s> {
    /// Owned as a whole.
    Leaf,
    /// A list, each element owned and found by its keys, or by its value when there are none.
    List { element: &'s Schema, keys: &'s [Text] },
    /// An object with known fields.
    Struct(&'s Type),
    /// An object with keys of the user's choice.
    Map(&'s Schema),
}

/// Anything: what stands below an object of which nothing is known.
pub(super) static ANY: Schema = Schema::Any(std::borrow::Cow::Borrowed(""));

/// The shape of a place which the schema describes and these values stand at.
pub(super) fn shape<'s>(schema: &'s Schema, values: [Option<&Value>; 2]) -> Shape<'s> {
    match schema {
        Schema::List(list) => match &list.semantics {
            ListSemantics::Unset | ListSemantics::Atomic => Shape::Leaf,
            ListSemantics::Set => Shape::List { element: &list.element, keys: &[] },
            ListSemantics::Map(keys) => Shape::List { element: &list.element, keys },
        },
        Schema::Map(map) if map.semantics == MapSemantics::Atomic => Shape::Leaf,
        Schema::Map(map) => Shape::Map(&map.element),
        Schema::Struct(_, MapSemantics::Atomic) => Shape::Leaf,
        Schema::Struct(ty, semantics) => {
            let ty = ty.get();
            if ty.atomic && *semantics == MapSemantics::Unset { Shape::Leaf } else { Shape::Struct(ty) }
        }
        Schema::Any(_) | Schema::Object(_) => {
            let objects = values.iter().flatten().all(|v| matches!(v, Value::Object(_)));
            if objects { Shape::Map(&ANY) } else { Shape::Leaf }
        }
        _ => Shape::Leaf,
    }
}

impl<'s> Shape<'s> {
    /// What stands below a field, and whether the field is one that the type names.
    pub(super) fn field(&self, name: &str) -> (&'s Schema, bool) {
        match self {
            Self::Struct(ty) => match ty.field(name) {
                Some(field) => (&field.schema, true),
                None => (&ANY, false),
            },
            Self::Map(element) => (element, false),
            _ => (&ANY, false),
        }
    }
}

/// The step to a list's element.
pub(super) fn list_step(element: &Schema, keys: &[Text], value: &Value) -> Result<Str, String> {
    if keys.is_empty() {
        return match value {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
            scalar => Ok(element::item(scalar)),
        };
    }
    let map = match value {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let default = |key: &Text| element.as_type()?.field(key)?.default.as_ref();
    let mut fields: Vec<(&str, &Value)> =
        keys.iter().filter_map(|key| Some((key.as_ref(), map.get(key).or_else(|| default(key))?))).collect();
    if fields.is_empty() {
        let keys: Vec<String> = keys.iter().map(|k| format!("{k:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values \
             for any key fields)",
            keys.join(" ")
        ));
    }
    fields.sort_unstable_by_key(|(key, _)| *key);
    Ok(element::keys(&fields))
}

/// The set with each field that the types name and that has something below in it, so that taking all from below a field
/// takes the field too.
pub(super) fn with_named_fields(set: &FieldSet, schema: &Schema) -> FieldSet {
    let shape = shape(schema, [None, None]);
    let children = set.children.iter().map(|(step, child)| {
        let (below, named) = match (&shape, step.strip_prefix("f:")) {
            (Shape::List { element, .. }, _) => (*element, false),
            (shape, Some(name)) => shape.field(name),
            _ => (&ANY, false),
        };
        let mut child = with_named_fields(child, below);
        child.member |= named;
        (step.clone(), child)
    });
    FieldSet { member: set.member, children: children.collect() }
}
