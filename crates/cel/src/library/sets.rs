//! Lists as sets.

use super::Line;
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::value::Val;

pub(super) const LINES: &[Line] = &[
    ("sets.contains", "(list(A),list(A))bool", |machine, args| {
        let [whole, part] = args else { return Err(Fault::NoOverload) };
        Ok(Val::Bool(within(machine, part, whole, true)?))
    }),
    ("sets.equivalent", "(list(A),list(A))bool", |machine, args| {
        let [a, b] = args else { return Err(Fault::NoOverload) };
        Ok(Val::Bool(within(machine, a, b, true)? && within(machine, b, a, true)?))
    }),
    ("sets.intersects", "(list(A),list(A))bool", intersects),
];

/// Whether all elements of a list are in another, or (not `all`) none is.
fn within<'a>(machine: &mut Machine<'_, 'a>, part: &Val<'a>, whole: &Val<'a>, all: bool) -> Result<bool, Fault> {
    let elements = part.elements().ok_or(Fault::NoOverload)?;
    let others = whole.elements().ok_or(Fault::NoOverload)?;
    for element in elements.iter() {
        let element = element?;
        let mut found = false;
        for other in others.iter() {
            machine.spend(1)?;
            if machine.equal(&element, &other?)? {
                found = true;
                break;
            }
        }
        if found != all {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [a, b] = args else { return Err(Fault::NoOverload) };
    Ok(Val::Bool(!within(machine, a, b, false)?))
}
