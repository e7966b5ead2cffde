//! What mutations are made of: `Object{spec: Object.spec{replicas: 1}}` and `JSONPatch{op: "add", path: "/a", value: 1}`.

use std::sync::Arc;

use super::Line;
use super::standard::text;
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::types::{Object, Type};
use crate::value::Val;

/// The name of the whole object's type.
const ROOT: &str = "Object";
/// The name of a patch's type.
const PATCH: &str = "JSONPatch";

pub(super) const LINES: &[Line] = &[("jsonpatch.escapeKey", "(string)string", escape_key)];

/// The type of that name.
pub(crate) fn type_of(name: &str) -> Option<Type> {
    let known = name == PATCH || name == ROOT || name.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('.'));
    known.then(|| Type::Object(Object::Mutation(Arc::from(name))))
}

/// The type of a field; nothing when there is no such field. What an object really has is seen when the mutation is applied.
pub(crate) fn field(name: &str, field: &str) -> Option<Type> {
    if name != PATCH {
        return Some(Type::Dyn);
    }
    match field {
        "op" | "path" | "from" => Some(Type::String),
        "value" => Some(Type::Dyn),
        _ => None,
    }
}

/// An object within another is of the type that its place says.
pub(crate) fn fits(name: &str, field: &str, value: &Val<'_>) -> Result<(), Fault> {
    if name == PATCH {
        return Ok(());
    }
    let wanted = format!("{name}.{field}");
    let wrong = |found: &str| {
        Fault::new(format!(
            "unexpected type name {found:?}, expected {wanted:?}, which matches field name path from root Object type"
        ))
    };
    match value {
        Val::Struct(made) if *made.name != *wanted => Err(wrong(&made.name)),
        Val::List(items) => {
            let other = items.iter().find_map(|item| match item {
                Val::Struct(made) if *made.name != *wanted => Some(&made.name),
                _ => None,
            });
            other.map_or(Ok(()), |name| Err(wrong(name)))
        }
        _ => Ok(()),
    }
}

/// A key as it stands in a pointer.
fn escape_key<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [key] = args else { return Err(Fault::NoOverload) };
    let key = text(key)?;
    machine.spend_letters(key.len())?;
    Ok(Val::string(key.replace('~', "~0").replace('/', "~1")))
}
