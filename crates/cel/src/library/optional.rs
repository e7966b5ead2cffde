//! Values that may not be there.

use super::Line;
use super::standard::one;
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::value::Val;

pub(super) const LINES: &[Line] = &[
    ("optional.of", "(A)optional(A)", |machine, args| one(machine, args, |value| Ok(Val::some(value.clone())))),
    ("optional.none", "()optional(A)", |machine, _| {
        machine.spend(1)?;
        Ok(Val::Optional(None))
    }),
    ("optional.ofNonZeroValue", "(A)optional(A)", |machine, args| one(machine, args, of_non_zero)),
    ("hasValue", "optional(A).()bool", |machine, args| {
        one(machine, args, |value| match value {
            Val::Optional(inner) => Ok(Val::Bool(inner.is_some())),
            _ => Err(Fault::NoOverload),
        })
    }),
    ("value", "optional(A).()A", |machine, args| {
        one(machine, args, |value| match value {
            Val::Optional(Some(inner)) => Ok((**inner).clone()),
            Val::Optional(None) => Err(Fault::new("optional.none() dereference")),
            _ => Err(Fault::NoOverload),
        })
    }),
    ("or", "optional(A).(optional(A))optional(A)", or),
    ("orValue", "optional(A).(A)A", or_value),
];

fn of_non_zero<'a>(value: &Val<'a>) -> Evaluated<'a> {
    let zero = match value {
        Val::Null | Val::Bool(false) | Val::Int(0) | Val::Uint(0) => true,
        Val::Double(value) => *value == 0.0,
        Val::Duration(span) => span.is_zero(),
        Val::Optional(inner) => inner.is_none(),
        other => other.size() == Some(0),
    };
    Ok(if zero { Val::Optional(None) } else { Val::some(value.clone()) })
}

fn or<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    match args {
        [Val::Optional(None), other @ Val::Optional(_)] => Ok(other.clone()),
        [value @ Val::Optional(Some(_)), Val::Optional(_)] => Ok(value.clone()),
        _ => Err(Fault::NoOverload),
    }
}

fn or_value<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    match args {
        [Val::Optional(None), other] => Ok(other.clone()),
        [Val::Optional(Some(value)), _] => Ok((**value).clone()),
        _ => Err(Fault::NoOverload),
    }
}
