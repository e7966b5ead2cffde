//! `"%s is %d".format([...])`

use super::Line;
use super::standard::{double, shown};
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::output::to_tree;
use crate::value::Val;

/// Digits after the point, when nothing is said.
const PRECISION: usize = 6;
/// Most digits after the point.
const PRECISION_MAX: usize = 300;

pub(super) const LINES: &[Line] = &[("format", "string.(list(dyn))string", format)];

fn format<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [Val::String(pattern), list] = args else { return Err(Fault::NoOverload) };
    let elements = list.elements().ok_or(Fault::NoOverload)?;
    machine.spend_letters(pattern.len())?;
    let (mut made, mut letters, mut next) = (String::new(), pattern.chars().peekable(), 0);
    while let Some(letter) = letters.next() {
        if letter != '%' {
            made.push(letter);
            continue;
        }
        if letters.next_if_eq(&'%').is_some() {
            made.push('%');
            continue;
        }
        let mut precision = None;
        if letters.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let wrong = || Fault::new(format!("error while parsing precision: {digits:?}"));
            precision = Some(digits.parse().ok().filter(|most| *most <= PRECISION_MAX).ok_or_else(wrong)?);
        }
        let verb = letters.next().ok_or(Fault::new("unexpected end of string"))?;
        let value = elements.get(next).ok_or_else(|| Fault::new(format!("index {next} out of range")))??;
        next += 1;
        let part = clause(machine, verb, precision.unwrap_or(PRECISION), &value)?;
        machine.spend_letters(part.len())?;
        made.push_str(&part);
    }
    Ok(Val::string(made))
}

fn clause<'a>(machine: &mut Machine<'_, 'a>, verb: char, digits: usize, value: &Val<'a>) -> Result<String, Fault> {
    let wrong = |what: &str| {
        let found = value.type_of().name();
        Fault::new(format!("error during formatting: {what} can only be used on numbers, was given {found}"))
    };
    let number = match value {
        Val::Double(value) => Some(*value),
        Val::Int(value) => Some(*value as f64),
        Val::Uint(value) => Some(*value as f64),
        _ => None,
    };
    Ok(match (verb, value) {
        ('s', _) => as_text(machine, value)?,
        ('d', Val::Int(_) | Val::Uint(_) | Val::Double(_)) => shown(value).unwrap_or_default().into_owned(),
        ('d', _) => return Err(wrong("decimal clause")),
        ('f', _) => fixed(number.ok_or_else(|| wrong("fixed-point clause"))?, digits),
        ('e', _) => scientific(number.ok_or_else(|| wrong("scientific clause"))?, digits),
        ('b', Val::Bool(value)) => u8::from(*value).to_string(),
        ('b', Val::Int(value)) => signed(*value, |value| format!("{value:b}")),
        ('b', Val::Uint(value)) => format!("{value:b}"),
        ('o', Val::Int(value)) => signed(*value, |value| format!("{value:o}")),
        ('o', Val::Uint(value)) => format!("{value:o}"),
        ('x' | 'X', _) => {
            let lower = hexadecimal(value).ok_or_else(|| wrong("hex clause"))?;
            if verb == 'X' { lower.to_ascii_uppercase() } else { lower }
        }
        ('b' | 'o', _) => return Err(wrong("integer clause")),
        (other, _) => return Err(Fault::new(format!("unrecognized formatting clause \"{other}\""))),
    })
}

fn signed(value: i64, show: impl Fn(u64) -> String) -> String {
    format!("{}{}", if value < 0 { "-" } else { "" }, show(value.unsigned_abs()))
}

fn hexadecimal(value: &Val<'_>) -> Option<String> {
    let bytes = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(match value {
        Val::Int(value) => signed(*value, |value| format!("{value:x}")),
        Val::Uint(value) => format!("{value:x}"),
        Val::String(text) => bytes(text.as_bytes()),
        Val::Bytes(list) => bytes(list),
        _ => return None,
    })
}

fn special(value: f64) -> Option<String> {
    let name = if value.is_nan() {
        "NaN"
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }
    } else {
        return None;
    };
    Some(name.to_owned())
}

fn fixed(value: f64, digits: usize) -> String {
    special(value).unwrap_or_else(|| format!("{value:.digits$}"))
}

fn scientific(value: f64, digits: usize) -> String {
    if let Some(name) = special(value) {
        return name;
    }
    let text = format!("{value:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `%s` of anything.
fn as_text<'a>(machine: &mut Machine<'_, 'a>, value: &Val<'a>) -> Result<String, Fault> {
    Ok(match value {
        Val::Double(value) => special(*value).unwrap_or_else(|| double(*value)),
        Val::Null => "null".to_owned(),
        Val::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Val::Type(ty) => ty.name(),
        Val::Special(special) => special.text(),
        _ => match shown(value) {
            Some(text) => text.into_owned(),
            None => to_tree(value, machine.budget)?.to_string(),
        },
    })
}
