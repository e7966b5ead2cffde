//! What is equal, and what comes first.

use std::cmp::Ordering;

use machinery::Value;
use machinery::schema::ListSemantics;

use crate::fault::Fault;
use crate::types::Type;
use crate::value::Val;

/// Counts comparisons, which are paid for afterwards, and ends when there are too many.
pub(crate) struct Effort(pub u64);

impl Effort {
    fn spend(&mut self, units: u64) -> Result<(), Fault> {
        self.0 = self.0.saturating_sub(units);
        if self.0 == 0 { Err(Fault::CostLimit) } else { Ok(()) }
    }
}

/// Whether two values are equal: numbers by what they amount to, lists and maps by their elements, and what is of different
/// kinds never.
pub(crate) fn equal(a: &Val<'_>, b: &Val<'_>, effort: &mut Effort) -> Result<bool, Fault> {
    effort.spend(1)?;
    Ok(match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::String(a), Val::String(b)) => **a == **b,
        (Val::Bytes(a), Val::Bytes(b)) => a == b,
        (Val::Timestamp(a), Val::Timestamp(b)) => a == b,
        (Val::Duration(a), Val::Duration(b)) => a == b,
        (Val::Type(a), Val::Type(b)) => a.name() == b.name(),
        (Val::Special(a), Val::Special(b)) => a.equals(b),
        (Val::Optional(a), Val::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(a, b, effort)?,
            (None, None) => true,
            _ => false,
        },
        (Val::Json(a, at), Val::Json(b, bt)) if std::ptr::eq(*a, *b) && plain(at) && plain(bt) => true,
        _ => match numbers(a, b) {
            Some(order) => order == Some(Ordering::Equal),
            None => equal_inside(a, b, effort)?,
        },
    })
}

/// Whether no part of it could be a number that is not equal to itself, or be read differently: trees hold no such numbers.
fn plain(ty: &Type) -> bool {
    matches!(ty, Type::Dyn | Type::List(_) | Type::Map(_) | Type::Object(_))
}

fn equal_inside(a: &Val<'_>, b: &Val<'_>, effort: &mut Effort) -> Result<bool, Fault> {
    if let (Some(left), Some(right)) = (a.elements(), b.elements()) {
        if left.len() != right.len() {
            return Ok(false);
        }
        match semantics(a).or_else(|| semantics(b)) {
            Some(ListSemantics::Set) => return equal_sets(a, b, effort),
            Some(ListSemantics::Map(keys)) => return equal_maps(a, b, keys, effort),
            _ => {}
        }
        for (a, b) in left.iter().zip(right.iter()) {
            if !equal(&a?, &b?, effort)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if let (Some(keys), Some(others)) = (a.keys(), b.keys()) {
        if keys.len() != others.len() {
            return Ok(false);
        }
        for key in keys {
            let (Some(left), Some(right)) = (a.find(&key)?, b.find(&key)?) else { return Ok(false) };
            if !equal(&left, &right, effort)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    Ok(false)
}

/// How a list of a tree is shared, which decides what is equal to it.
pub(crate) fn semantics<'v>(list: &'v Val<'_>) -> Option<&'v ListSemantics> {
    match list {
        Val::Json(Value::Array(_), Type::List(of)) => Some(&of.semantics),
        _ => None,
    }
}

/// Each element of one is in the other.
fn equal_sets(a: &Val<'_>, b: &Val<'_>, effort: &mut Effort) -> Result<bool, Fault> {
    Ok(is_within(a, b, effort)? && is_within(b, a, effort)?)
}

fn is_within(a: &Val<'_>, b: &Val<'_>, effort: &mut Effort) -> Result<bool, Fault> {
    let (Some(left), Some(right)) = (a.elements(), b.elements()) else { return Ok(false) };
    'next: for a in left.iter() {
        let a = a?;
        for b in right.iter() {
            if equal(&a, &b?, effort)? {
                continue 'next;
            }
        }
        return Ok(false);
    }
    Ok(true)
}

fn equal_maps(a: &Val<'_>, b: &Val<'_>, keys: &[machinery::schema::Text], effort: &mut Effort) -> Result<bool, Fault> {
    let (Some(left), Some(right)) = (a.elements(), b.elements()) else { return Ok(false) };
    for a in left.iter() {
        let a = a?;
        let mut found = false;
        for b in right.iter() {
            let b = b?;
            if same_keys(&a, &b, keys, effort)? {
                if !equal(&a, &b, effort)? {
                    return Ok(false);
                }
                found = true;
                break;
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether two elements of a list stand for the same entry.
pub(crate) fn same_keys(
    a: &Val<'_>,
    b: &Val<'_>,
    keys: &[machinery::schema::Text],
    effort: &mut Effort,
) -> Result<bool, Fault> {
    for key in keys {
        let key = crate::escape::escape(key).unwrap_or_default();
        let key = Val::string(key.as_ref());
        let equal = match (a.find(&key)?, b.find(&key)?) {
            (Some(a), Some(b)) => equal(&a, &b, effort)?,
            (None, None) => true,
            _ => false,
        };
        if !equal {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The order of two numbers of any kind; nothing inside for what is no number at all. Nothing when they are no numbers.
fn numbers(a: &Val<'_>, b: &Val<'_>) -> Option<Option<Ordering>> {
    Some(match (a, b) {
        (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
        (Val::Uint(a), Val::Uint(b)) => Some(a.cmp(b)),
        (Val::Int(a), Val::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Val::Uint(a), Val::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Double(a), Val::Int(b)) => double_with(*a, (*b).into()),
        (Val::Double(a), Val::Uint(b)) => double_with(*a, (*b).into()),
        (Val::Int(a), Val::Double(b)) => double_with(*b, (*a).into()).map(Ordering::reverse),
        (Val::Uint(a), Val::Double(b)) => double_with(*b, (*a).into()).map(Ordering::reverse),
        _ => return None,
    })
}

fn double_with(a: f64, b: i128) -> Option<Ordering> {
    if a.is_nan() {
        return None;
    }
    // Everything whole that a 64-bit number may be lies between.
    if a.abs() >= 2e19 {
        return Some(if a > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    let whole = a.trunc() as i128;
    Some(whole.cmp(&b).then(a.partial_cmp(&a.trunc())?))
}

/// The order of two values that have one.
pub(crate) fn order(a: &Val<'_>, b: &Val<'_>) -> Result<Ordering, Fault> {
    Ok(match (a, b) {
        (Val::String(a), Val::String(b)) => (**a).cmp(&**b),
        (Val::Bytes(a), Val::Bytes(b)) => a.cmp(b),
        (Val::Bool(a), Val::Bool(b)) => a.cmp(b),
        (Val::Timestamp(a), Val::Timestamp(b)) => a.cmp(b),
        (Val::Duration(a), Val::Duration(b)) => a.cmp(b),
        _ => match numbers(a, b) {
            Some(Some(order)) => order,
            Some(None) => return Err(Fault::new("NaN values cannot be ordered")),
            None => return Err(Fault::NoOverload),
        },
    })
}
