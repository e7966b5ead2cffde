//! Values as trees.

use base64::Engine as _;
use machinery::{Map, Value};

use crate::budget::Budget;
use crate::fault::Fault;
use crate::value::{Key, Val};

/// The tree that a value is. What is written is paid for: a value that is small because its parts are shared may be a large tree.
pub(crate) fn to_tree(value: &Val<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    budget.spend(if let Val::Json(..) = value { 1 } else { value.cost_size().div_ceil(10) })?;
    Ok(match value {
        Val::Null | Val::Optional(None) | Val::Lazy(_) => Value::Null,
        Val::Bool(value) => (*value).into(),
        Val::Int(value) => (*value).into(),
        Val::Uint(value) => i64::try_from(*value).map_or(Value::Float(*value as f64), Value::Integer),
        Val::Double(value) if value.is_finite() => (*value).into(),
        Val::Double(_) => return Err(Fault::new("a number that is not finite has no form in JSON")),
        Val::String(text) => (&**text).into(),
        Val::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
        Val::Timestamp(time) => crate::library::time::format_timestamp(*time).into(),
        Val::Duration(duration) => crate::library::time::format_duration(*duration).into(),
        Val::List(list) => Value::Array(list.iter().map(|item| to_tree(item, budget)).collect::<Result<_, _>>()?),
        Val::Map(map) => {
            let entries = map.iter().map(|(key, value)| Ok((key_text(key)?, to_tree(value, budget)?)));
            Value::Object(entries.collect::<Result<Vec<_>, Fault>>()?.into_iter().collect::<Map>())
        }
        Val::Json(value, _) => (*value).clone(),
        Val::Type(ty) => ty.name().into(),
        Val::Optional(Some(inner)) => to_tree(inner, budget)?,
        Val::Struct(made) => {
            let entries = made.fields.iter().map(|(name, value)| Ok((name.to_string(), to_tree(value, budget)?)));
            Value::Object(entries.collect::<Result<Vec<_>, Fault>>()?.into_iter().collect::<Map>())
        }
        Val::Special(special) => special.text().into(),
    })
}

fn key_text(key: &Key<'_>) -> Result<String, Fault> {
    Ok(match key {
        Key::String(text) => text.to_string(),
        Key::Bool(value) => value.to_string(),
        Key::Int(value) => value.to_string(),
        Key::Uint(value) => value.to_string(),
    })
}
