//! Sums, extremes and places of lists.

use std::cmp::Ordering;

use jiff::SignedDuration;
use machinery::Value;

use super::Line;
use crate::compare::order;
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::types::Type;
use crate::value::{Elements, Val};

const SORTED: &str = "list(int).()bool;list(uint).()bool;list(double).()bool;list(bool).()bool;list(duration).()bool;\
    list(timestamp).()bool;list(string).()bool;list(bytes).()bool";
const EXTREME: &str = "list(int).()int;list(uint).()uint;list(double).()double;list(bool).()bool;list(duration).()duration;\
    list(timestamp).()timestamp;list(string).()string;list(bytes).()bytes";

pub(super) const LINES: &[Line] = &[
    ("isSorted", SORTED, is_sorted),
    ("sum", "list(int).()int;list(uint).()uint;list(double).()double;list(duration).()duration", sum),
    ("min", EXTREME, |machine, args| extreme(machine, args, "min", Ordering::Less)),
    ("max", EXTREME, |machine, args| extreme(machine, args, "max", Ordering::Greater)),
    ("indexOf", "list(A).(A)int", |machine, args| place(machine, args, false)),
    ("lastIndexOf", "list(A).(A)int", |machine, args| place(machine, args, true)),
];

/// Going through a list costs what reading its elements does.
fn walk<'v, 'a>(machine: &mut Machine<'_, 'a>, list: &'v Val<'a>) -> Result<Elements<'v, 'a>, Fault> {
    let elements = list.elements().ok_or(Fault::NoOverload)?;
    for index in 0..elements.len() {
        let Some(element) = elements.get(index) else { break };
        machine.spend(match element? {
            Val::String(text) => (text.len() as u64) / 10 + 1,
            other => other.cost_size(),
        })?;
    }
    Ok(elements)
}

fn is_sorted<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [list] = args else { return Err(Fault::NoOverload) };
    let mut last: Option<Val<'a>> = None;
    for element in walk(machine, list)?.iter() {
        let element = element?;
        if let Some(last) = &last
            && order(last, &element)?.is_gt()
        {
            return Ok(Val::Bool(false));
        }
        last = Some(element);
    }
    Ok(Val::Bool(true))
}

fn sum<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [list] = args else { return Err(Fault::NoOverload) };
    let plus = super::find("_+_").ok_or(Fault::NoOverload)?;
    let mut total: Option<Val<'a>> = None;
    for element in walk(machine, list)?.iter() {
        let element = element?;
        if !matches!(element, Val::Int(_) | Val::Uint(_) | Val::Double(_) | Val::Duration(_)) {
            return Err(Fault::NO_OVERLOAD);
        }
        total = Some(match total {
            None => element,
            Some(total) => (plus.forms[0].run)(machine, &[total, element])?,
        });
    }
    Ok(total.unwrap_or_else(|| zero(list)))
}

/// What nothing amounts to.
fn zero<'a>(list: &Val<'a>) -> Val<'a> {
    let Val::Json(Value::Array(_), Type::List(of)) = list else { return Val::Int(0) };
    match of.element {
        Type::Double => Val::Double(0.0),
        Type::Uint => Val::Uint(0),
        Type::Duration => Val::Duration(SignedDuration::ZERO),
        _ => Val::Int(0),
    }
}

fn extreme<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>], name: &str, wanted: Ordering) -> Evaluated<'a> {
    let [list] = args else { return Err(Fault::NoOverload) };
    let mut best: Option<Val<'a>> = None;
    for element in walk(machine, list)?.iter() {
        let element = element?;
        best = Some(match best {
            Some(best) if order(&element, &best)? != wanted => best,
            _ => element,
        });
    }
    best.ok_or_else(|| Fault::new(format!("{name} called on empty list")))
}

fn place<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>], last: bool) -> Evaluated<'a> {
    let [list, wanted] = args else { return Err(Fault::NoOverload) };
    let mut found = -1;
    for (index, element) in walk(machine, list)?.iter().enumerate() {
        if machine.equal(&element?, wanted)? {
            found = index as i64;
            if !last {
                break;
            }
        }
    }
    Ok(Val::Int(found))
}
