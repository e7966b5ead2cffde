//! Operators: arithmetic, comparison, indexing, membership.

use std::cmp::Ordering;

use jiff::SignedDuration;
use machinery::schema::ListSemantics;

use super::Line;
use super::time::{add, bounded, since};
use crate::compare::{Effort, order, same_keys, semantics};
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::value::Val;

const ORDERED: &str = "(bool,bool)bool;(int,int)bool;(int,double)bool;(int,uint)bool;(uint,uint)bool;(uint,double)bool;\
    (uint,int)bool;(double,double)bool;(double,int)bool;(double,uint)bool;(string,string)bool;(bytes,bytes)bool;\
    (timestamp,timestamp)bool;(duration,duration)bool";

pub(super) const LINES: &[Line] = &[
    (
        "_+_",
        "(bytes,bytes)bytes;(double,double)double;(duration,duration)duration;(duration,timestamp)timestamp;\
         (timestamp,duration)timestamp;(int,int)int;(list(A),list(A))list(A);(string,string)string;(uint,uint)uint",
        plus,
    ),
    (
        "_-_",
        "(double,double)double;(duration,duration)duration;(int,int)int;(timestamp,duration)timestamp;\
         (timestamp,timestamp)duration;(uint,uint)uint",
        minus,
    ),
    ("_*_", "(double,double)double;(int,int)int;(uint,uint)uint", times),
    ("_/_", "(double,double)double;(int,int)int;(uint,uint)uint", divided),
    ("_%_", "(int,int)int;(uint,uint)uint", modulo),
    ("-_", "(double)double;(duration)duration;(int)int", negative),
    ("!_", "(bool)bool", not),
    ("_==_", "(A,A)bool", |machine, args| compared(machine, args, true)),
    ("_!=_", "(A,A)bool", |machine, args| compared(machine, args, false)),
    ("_<_", ORDERED, |machine, args| ordered(machine, args, Ordering::is_lt)),
    ("_<=_", ORDERED, |machine, args| ordered(machine, args, Ordering::is_le)),
    ("_>_", ORDERED, |machine, args| ordered(machine, args, Ordering::is_gt)),
    ("_>=_", ORDERED, |machine, args| ordered(machine, args, Ordering::is_ge)),
    ("@in", "(A,list(A))bool;(A,map(A,B))bool", is_in),
    (
        "_[_]",
        "(list(A),int)A;(map(A,B),A)B;(optional(list(A)),int)optional(A);(optional(map(A,B)),A)optional(B)",
        index,
    ),
    (
        "_[?_]",
        "(list(A),int)optional(A);(map(A,B),A)optional(B);(optional(list(A)),int)optional(A);(optional(map(A,B)),A)optional(B)",
        index_optional,
    ),
];

const INT_OVERFLOW: &str = "integer overflow";
const UINT_OVERFLOW: &str = "unsigned integer overflow";

fn int<'a>(value: Option<i64>) -> Evaluated<'a> {
    value.map(Val::Int).ok_or(Fault::new(INT_OVERFLOW))
}

fn uint<'a>(value: Option<u64>) -> Evaluated<'a> {
    value.map(Val::Uint).ok_or(Fault::new(UINT_OVERFLOW))
}

fn span<'a>(value: Option<SignedDuration>) -> Evaluated<'a> {
    value.and_then(bounded).map(Val::Duration).ok_or(Fault::new("duration overflow"))
}

fn plus<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [a, b] = args else { return Err(Fault::NoOverload) };
    match (a, b) {
        (Val::String(a), Val::String(b)) => {
            machine.spend_letters(a.len() + b.len())?;
            Ok(Val::string([&**a, &**b].concat()))
        }
        (Val::Bytes(a), Val::Bytes(b)) => {
            machine.spend_letters(a.len() + b.len())?;
            Ok(Val::Bytes([&**a, &**b].concat().into()))
        }
        _ => {
            machine.spend(1)?;
            match (a, b) {
                (Val::Int(a), Val::Int(b)) => int(a.checked_add(*b)),
                (Val::Uint(a), Val::Uint(b)) => uint(a.checked_add(*b)),
                (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a + b)),
                (Val::Duration(a), Val::Duration(b)) => span(a.checked_add(*b)),
                (Val::Timestamp(time), Val::Duration(span)) | (Val::Duration(span), Val::Timestamp(time)) => {
                    add(*time, *span)
                }
                _ => joined(machine, a, b),
            }
        }
    }
}

/// Two lists after each other; as sets or maps when the left one is shared so.
fn joined<'a>(machine: &mut Machine<'_, 'a>, a: &Val<'a>, b: &Val<'a>) -> Evaluated<'a> {
    let (Some(left), Some(right)) = (a.elements(), b.elements()) else { return Err(Fault::NoOverload) };
    machine.spend_letters(left.len() + right.len())?;
    let mut made = left.iter().collect::<Result<Vec<_>, _>>()?;
    let most = machine.budget.left().saturating_mul(10).max(10);
    let mut effort = Effort(most);
    match semantics(a).filter(|_| !matches!(semantics(a), Some(ListSemantics::Unset | ListSemantics::Atomic))) {
        Some(ListSemantics::Map(keys)) => {
            for item in right.iter() {
                let item = item?;
                let mut place = None;
                for (index, known) in made.iter().enumerate() {
                    if same_keys(known, &item, keys, &mut effort)? {
                        place = Some(index);
                        break;
                    }
                }
                match place {
                    Some(index) => made[index] = item,
                    None => made.push(item),
                }
            }
        }
        Some(_) => {
            for item in right.iter() {
                let item = item?;
                let mut known = false;
                for other in &made {
                    known = known || crate::compare::equal(other, &item, &mut effort)?;
                }
                if !known {
                    made.push(item);
                }
            }
        }
        None => made.extend(right.iter().collect::<Result<Vec<_>, _>>()?),
    }
    machine.spend((most - effort.0) / 10)?;
    Ok(Val::list(made))
}

fn minus<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    match args {
        [Val::Int(a), Val::Int(b)] => int(a.checked_sub(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_sub(*b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a - b)),
        [Val::Duration(a), Val::Duration(b)] => span(a.checked_sub(*b)),
        [Val::Timestamp(a), Val::Timestamp(b)] => span(Some(since(*a, *b))),
        [Val::Timestamp(time), Val::Duration(span)] => match span.checked_neg() {
            Some(back) => add(*time, back),
            None => Err(Fault::new("timestamp overflow")),
        },
        _ => Err(Fault::NoOverload),
    }
}

fn times<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    match args {
        [Val::Int(a), Val::Int(b)] => int(a.checked_mul(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_mul(*b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a * b)),
        _ => Err(Fault::NoOverload),
    }
}

fn divided<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    match args {
        [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)] => Err(Fault::new("division by zero")),
        [Val::Int(a), Val::Int(b)] => int(a.checked_div(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_div(*b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a / b)),
        _ => Err(Fault::NoOverload),
    }
}

fn modulo<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    match args {
        [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)] => Err(Fault::new("modulus by zero")),
        [Val::Int(a), Val::Int(b)] => int(a.checked_rem(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_rem(*b)),
        _ => Err(Fault::NoOverload),
    }
}

fn negative<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    match args {
        [Val::Int(value)] => int(value.checked_neg()),
        [Val::Double(value)] => Ok(Val::Double(-value)),
        [Val::Duration(value)] => span(value.checked_neg()),
        _ => Err(Fault::NoOverload),
    }
}

fn not<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    match args {
        [Val::Bool(value)] => Ok(Val::Bool(!value)),
        _ => Err(Fault::NoOverload),
    }
}

/// What comparing two values costs: the shorter one is read.
fn spend_shorter<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Result<(), Fault> {
    let shorter = args.iter().map(Val::cost_size).min().unwrap_or(1);
    machine.spend(shorter.div_ceil(10))
}

fn compared<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>], wanted: bool) -> Evaluated<'a> {
    let [a, b] = args else { return Err(Fault::NoOverload) };
    spend_shorter(machine, args)?;
    Ok(Val::Bool(machine.equal(a, b)? == wanted))
}

fn ordered<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>], is: fn(Ordering) -> bool) -> Evaluated<'a> {
    let [a, b] = args else { return Err(Fault::NoOverload) };
    spend_shorter(machine, args)?;
    Ok(Val::Bool(is(order(a, b)?)))
}

fn is_in<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [item, whole] = args else { return Err(Fault::NoOverload) };
    let Some(elements) = whole.elements() else {
        machine.spend(1)?;
        return Ok(Val::Bool(whole.find(item).map_err(|_| Fault::NoOverload)?.is_some()));
    };
    machine.spend(elements.len() as u64)?;
    for element in elements.iter() {
        if machine.equal(item, &element?)? {
            return Ok(Val::Bool(true));
        }
    }
    Ok(Val::Bool(false))
}

fn found<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Result<Option<Val<'a>>, Fault> {
    machine.spend(1)?;
    let [whole, key] = args else { return Err(Fault::NoOverload) };
    let Some(elements) = whole.elements() else { return whole.find(key).map_err(|_| Fault::NoOverload) };
    let index = match key {
        Val::Int(index) => Some(*index),
        Val::Uint(index) => i64::try_from(*index).ok(),
        Val::Double(index) if index.fract() == 0.0 && index.abs() < 9e18 => Some(*index as i64),
        _ => return Err(Fault::NoOverload),
    };
    index.and_then(|index| usize::try_from(index).ok()).and_then(|index| elements.get(index)).transpose()
}

fn index<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    match args {
        [Val::Optional(None), _] => Ok(Val::Optional(None)),
        [Val::Optional(Some(inner)), key] => index_optional(machine, &[(**inner).clone(), key.clone()]),
        [whole, key] => found(machine, args)?.ok_or_else(|| {
            let key = super::standard::shown(key).unwrap_or_default();
            let what = if whole.elements().is_some() { "index out of bounds" } else { "no such key" };
            Fault::new(format!("{what}: {key}"))
        }),
        _ => Err(Fault::NoOverload),
    }
}

fn index_optional<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    match args {
        [Val::Optional(None), _] => Ok(Val::Optional(None)),
        [Val::Optional(Some(inner)), key] => index_optional(machine, &[(**inner).clone(), key.clone()]),
        _ => Ok(Val::Optional(found(machine, args)?.map(std::rc::Rc::new))),
    }
}
