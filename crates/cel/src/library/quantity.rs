//! Amounts: `quantity("1Gi")`.

use std::rc::Rc;

use machinery::quantity::{Format, Quantity};

use super::standard::{one, text};
use super::{Line, Special};
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::value::Val;

pub(super) const LINES: &[Line] = &[
    ("quantity", "(string)Quantity", |machine, args| one(machine, args, |value| Ok(wrap(parse(text(value)?)?)))),
    ("isQuantity", "(string)bool", |machine, args| {
        one(machine, args, |value| Ok(Val::Bool(Quantity::parse(text(value)?).is_ok())))
    }),
    ("isInteger", "Quantity.()bool", |machine, args| {
        one(machine, args, |value| Ok(Val::Bool(quantity(value)?.as_i64().is_some())))
    }),
    ("asInteger", "Quantity.()int", |machine, args| {
        one(machine, args, |value| {
            let whole = quantity(value)?.as_i64();
            whole.map(Val::Int).ok_or(Fault::new("cannot convert value to integer"))
        })
    }),
    ("asApproximateFloat", "Quantity.()double", |machine, args| {
        one(machine, args, |value| Ok(Val::Double(quantity(value)?.as_f64())))
    }),
    ("sign", "Quantity.()int", |machine, args| {
        one(machine, args, |value| Ok(Val::Int(quantity(value)?.sign().into())))
    }),
    ("add", "Quantity.(Quantity)Quantity;Quantity.(int)Quantity", |machine, args| {
        combined(machine, args, Quantity::add)
    }),
    ("sub", "Quantity.(Quantity)Quantity;Quantity.(int)Quantity", |machine, args| {
        combined(machine, args, Quantity::sub)
    }),
    ("compareTo", "Quantity.(Quantity)int", |machine, args| Ok(Val::Int(compared(machine, args)? as i64))),
    ("isLessThan", "Quantity.(Quantity)bool", |machine, args| Ok(Val::Bool(compared(machine, args)?.is_lt()))),
    ("isGreaterThan", "Quantity.(Quantity)bool", |machine, args| Ok(Val::Bool(compared(machine, args)?.is_gt()))),
];

fn wrap<'a>(quantity: Quantity) -> Val<'a> {
    Val::Special(Special::Quantity(Rc::new(quantity)))
}

fn parse(text: &str) -> Result<Quantity, Fault> {
    Quantity::parse(text).map_err(|wrong| Fault::new(wrong.to_string()))
}

fn quantity<'v>(value: &'v Val<'_>) -> Result<&'v Quantity, Fault> {
    if let Val::Special(Special::Quantity(quantity)) = value { Ok(quantity) } else { Err(Fault::NoOverload) }
}

fn combined<'a>(
    machine: &mut Machine<'_, 'a>,
    args: &[Val<'a>],
    combine: fn(&mut Quantity, &Quantity),
) -> Evaluated<'a> {
    machine.spend(1)?;
    let [a, b] = args else { return Err(Fault::NoOverload) };
    let mut result = quantity(a)?.clone();
    match b {
        Val::Int(number) => combine(&mut result, &Quantity::new(*number, Format::DecimalSi)),
        other => combine(&mut result, quantity(other)?),
    }
    Ok(wrap(result))
}

fn compared<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Result<std::cmp::Ordering, Fault> {
    machine.spend(1)?;
    let [a, b] = args else { return Err(Fault::NoOverload) };
    Ok(quantity(a)?.cmp(quantity(b)?))
}
