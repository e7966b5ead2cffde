//! The language's own functions: sizes, conversions, the simple ones of strings.

use std::borrow::Cow;
use std::sync::Arc;

use super::time::{format_duration, format_timestamp, parse_duration, parse_timestamp};
use super::{Line, Special};
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::types::Type;
use crate::value::{Text, Val};

const SIZED: &str =
    "(string)int;(bytes)int;(list(A))int;(map(A,B))int;string.()int;bytes.()int;list(A).()int;map(A,B).()int";

pub(super) const LINES: &[Line] = &[
    ("size", SIZED, size),
    ("type", "(A)type(A)", type_of),
    ("dyn", "(A)dyn", |machine, args| one(machine, args, |value| Ok(value.clone()))),
    ("bool", "(bool)bool;(string)bool", |machine, args| one(machine, args, to_bool)),
    ("int", "(int)int;(uint)int;(double)int;(string)int;(timestamp)int;(duration)int", |machine, args| {
        one(machine, args, to_int)
    }),
    ("uint", "(uint)uint;(int)uint;(double)uint;(string)uint", |machine, args| one(machine, args, to_uint)),
    ("double", "(double)double;(int)double;(uint)double;(string)double", |machine, args| one(machine, args, to_double)),
    (
        "string",
        "(string)string;(bool)string;(int)string;(uint)string;(double)string;(bytes)string;(timestamp)string;(duration)string;\
         (IP)string;(CIDR)string",
        to_string,
    ),
    ("bytes", "(bytes)bytes;(string)bytes", to_bytes),
    ("timestamp", "(timestamp)timestamp;(string)timestamp;(int)timestamp", |machine, args| {
        one(machine, args, to_timestamp)
    }),
    ("duration", "(duration)duration;(string)duration;(int)duration", |machine, args| one(machine, args, to_duration)),
    ("contains", "string.(string)bool", contains),
    ("startsWith", "string.(string)bool", |machine, args| affix(machine, args, |text, affix| text.starts_with(affix))),
    ("endsWith", "string.(string)bool", |machine, args| affix(machine, args, |text, affix| text.ends_with(affix))),
];

/// A function of one value.
pub(super) fn one<'a>(
    machine: &mut Machine<'_, 'a>,
    args: &[Val<'a>],
    make: impl FnOnce(&Val<'a>) -> Evaluated<'a>,
) -> Evaluated<'a> {
    machine.spend(1)?;
    let [value] = args else { return Err(Fault::NoOverload) };
    make(value)
}

fn size<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    if let [Val::String(text)] = args {
        machine.spend_letters(text.len().saturating_sub(10))?;
    }
    one(machine, args, |value| value.size().map(|size| Val::Int(size as i64)).ok_or(Fault::NoOverload))
}

fn type_of<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    one(machine, args, |value| Ok(Val::Type(Arc::new(value.type_of()))))
}

fn conversion(value: &Val<'_>, to: &Type) -> Fault {
    Fault::new(format!("type conversion error from '{}' to '{}'", value.type_of().name(), to.name()))
}

fn to_bool<'a>(value: &Val<'a>) -> Evaluated<'a> {
    match value {
        Val::Bool(_) => Ok(value.clone()),
        Val::String(text) => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Val::Bool(false)),
            _ => Err(conversion(value, &Type::Bool)),
        },
        _ => Err(Fault::NoOverload),
    }
}

fn to_int<'a>(value: &Val<'a>) -> Evaluated<'a> {
    let overflow = Fault::new("integer overflow");
    let int = match value {
        Val::Int(value) => *value,
        Val::Uint(number) => i64::try_from(*number).map_err(|_| overflow)?,
        Val::Double(number) if number.is_finite() && number.abs() < 9_223_372_036_854_775_807.0 => *number as i64,
        Val::Double(_) => return Err(overflow),
        Val::String(text) => text.parse().map_err(|_| conversion(value, &Type::Int))?,
        Val::Timestamp(time) => time.as_second(),
        Val::Duration(span) => i64::try_from(span.as_nanos()).map_err(|_| overflow)?,
        _ => return Err(Fault::NoOverload),
    };
    Ok(Val::Int(int))
}

fn to_uint<'a>(value: &Val<'a>) -> Evaluated<'a> {
    let overflow = Fault::new("unsigned integer overflow");
    let uint = match value {
        Val::Uint(value) => *value,
        Val::Int(number) => u64::try_from(*number).map_err(|_| overflow)?,
        Val::Double(number) if (0.0..18_446_744_073_709_551_615.0).contains(number) => *number as u64,
        Val::Double(_) => return Err(overflow),
        Val::String(text) => text.parse().map_err(|_| conversion(value, &Type::Uint))?,
        _ => return Err(Fault::NoOverload),
    };
    Ok(Val::Uint(uint))
}

fn to_double<'a>(value: &Val<'a>) -> Evaluated<'a> {
    Ok(Val::Double(match value {
        Val::Double(value) => *value,
        Val::Int(value) => *value as f64,
        Val::Uint(value) => *value as f64,
        Val::String(text) => text.parse().map_err(|_| conversion(value, &Type::Double))?,
        _ => return Err(Fault::NoOverload),
    }))
}

fn to_string<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    if let [Val::Bytes(bytes)] = args {
        machine.spend_letters(bytes.len())?;
    }
    one(machine, args, |value| match value {
        Val::String(_) => Ok(value.clone()),
        Val::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Val::string(text)),
            Err(_) => Err(Fault::new("invalid UTF-8 in bytes, cannot convert to string")),
        },
        Val::Special(special @ (Special::Ip(_) | Special::Cidr(..))) => Ok(Val::string(special.text())),
        _ => shown(value).map(|text| Val::string(&*text)).ok_or(Fault::NoOverload),
    })
}

/// A scalar as text.
pub(crate) fn shown<'v>(value: &'v Val<'_>) -> Option<Cow<'v, str>> {
    Some(match value {
        Val::String(text) => Cow::Borrowed(&**text),
        Val::Bool(value) => value.to_string().into(),
        Val::Int(value) => value.to_string().into(),
        Val::Uint(value) => value.to_string().into(),
        Val::Double(value) => double(*value).into(),
        Val::Timestamp(time) => format_timestamp(*time).into(),
        Val::Duration(span) => format_duration(*span).into(),
        _ => return None,
    })
}

/// A number as Go's `%g` writes it.
pub(crate) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn to_bytes<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    match args {
        [Val::Bytes(_)] => one(machine, args, |value| Ok(value.clone())),
        [Val::String(text)] => {
            machine.spend_letters(text.len())?;
            Ok(Val::Bytes(text.as_bytes().into()))
        }
        _ => Err(Fault::NoOverload),
    }
}

fn to_timestamp<'a>(value: &Val<'a>) -> Evaluated<'a> {
    match value {
        Val::Timestamp(_) => Ok(value.clone()),
        Val::String(text) => match parse_timestamp(text) {
            Ok(time) => Ok(Val::Timestamp(time)),
            Err(_) => Err(conversion(value, &Type::Timestamp)),
        },
        Val::Int(seconds) => {
            let time = jiff::Timestamp::from_second(*seconds).ok();
            time.map(Val::Timestamp).ok_or(Fault::new("timestamp overflow"))
        }
        _ => Err(Fault::NoOverload),
    }
}

fn to_duration<'a>(value: &Val<'a>) -> Evaluated<'a> {
    match value {
        Val::Duration(_) => Ok(value.clone()),
        Val::String(text) => match parse_duration(text) {
            Ok(span) => Ok(Val::Duration(span)),
            Err(_) => Err(conversion(value, &Type::Duration)),
        },
        Val::Int(nanos) => Ok(Val::Duration(jiff::SignedDuration::from_nanos(*nanos))),
        _ => Err(Fault::NoOverload),
    }
}

fn contains<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [Val::String(text), Val::String(part)] = args else { return Err(Fault::NoOverload) };
    machine.spend((text.len() as u64).div_ceil(10).saturating_mul((part.len() as u64).div_ceil(10)))?;
    Ok(Val::Bool(text.contains(&**part)))
}

fn affix<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>], is: fn(&str, &str) -> bool) -> Evaluated<'a> {
    let [Val::String(text), Val::String(affix)] = args else { return Err(Fault::NoOverload) };
    machine.spend_letters(text.len())?;
    Ok(Val::Bool(is(text, affix)))
}

/// The text of an argument that must be one.
pub(super) fn text<'v, 'a>(value: &'v Val<'a>) -> Result<&'v Text<'a>, Fault> {
    if let Val::String(text) = value { Ok(text) } else { Err(Fault::NoOverload) }
}
