//! Versions: `semver("1.2.3-beta.1")`.

use std::cmp::Ordering;
use std::rc::Rc;

use super::standard::text;
use super::{Line, Special};
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::value::Val;

/// A semantic version.
#[derive(Debug)]
pub(crate) struct Semver {
    numbers: [u64; 3],
    pre: Vec<String>,
    build: Vec<String>,
}

pub(super) const LINES: &[Line] = &[
    ("semver", "(string)Semver;(string,bool)Semver", |machine, args| {
        Ok(Val::Special(Special::Semver(Rc::new(read(machine, args)?.map_err(Fault::new)?))))
    }),
    ("isSemver", "(string)bool;(string,bool)bool", |machine, args| Ok(Val::Bool(read(machine, args)?.is_ok()))),
    ("major", "Semver.()int", |machine, args| number(machine, args, 0)),
    ("minor", "Semver.()int", |machine, args| number(machine, args, 1)),
    ("patch", "Semver.()int", |machine, args| number(machine, args, 2)),
    ("compareTo", "Semver.(Semver)int", |machine, args| Ok(Val::Int(compared(machine, args)? as i64))),
    ("isLessThan", "Semver.(Semver)bool", |machine, args| Ok(Val::Bool(compared(machine, args)?.is_lt()))),
    ("isGreaterThan", "Semver.(Semver)bool", |machine, args| Ok(Val::Bool(compared(machine, args)?.is_gt()))),
];

fn read<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Result<Result<Semver, String>, Fault> {
    let (value, lenient) = match args {
        [value] => (value, false),
        [value, Val::Bool(lenient)] => (value, *lenient),
        _ => return Err(Fault::NoOverload),
    };
    let text = text(value)?;
    machine.spend_letters(text.len())?;
    Ok(if lenient { parse(&normalized(text)) } else { parse(text) })
}

/// Without a `v` in front and zeros in front of numbers, and with all three numbers.
fn normalized(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let stripped = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        other => other.to_owned(),
    };
    let mut parts: Vec<String> = numbers.split('.').map(stripped).collect();
    while parts.len() < 3 {
        parts.push("0".to_owned());
    }
    parts.join(".") + rest
}

fn parse(text: &str) -> Result<Semver, String> {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(text, pre)| (text, Some(pre)));
    let parts: Vec<&str> = core.split('.').collect();
    let [major, minor, patch] = parts[..] else { return Err("No Major.Minor.Patch elements found".to_owned()) };
    let mut numbers = [0; 3];
    for (place, (part, name)) in numbers.iter_mut().zip([(major, "major"), (minor, "minor"), (patch, "patch")]) {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("Invalid character(s) found in {name} number {part:?}"));
        }
        if part.len() > 1 && part.starts_with('0') {
            let name = name[..1].to_uppercase() + &name[1..];
            return Err(format!("{name} number must not contain leading zeroes {part:?}"));
        }
        *place = part.parse().map_err(|_| format!("strconv.ParseUint: parsing {part:?}: value out of range"))?;
    }
    let identifiers = |list: Option<&str>| -> Result<Vec<String>, String> {
        let parts = list.map(|list| list.split('.').map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default();
        let fine = |part: &String| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        match parts.iter().find(|part| !fine(part)) {
            Some(part) => Err(format!("Invalid character(s) found in prerelease {part:?}")),
            None => Ok(parts),
        }
    };
    let (pre, build) = (identifiers(pre)?, identifiers(build)?);
    let zeros = |part: &&String| part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit());
    if let Some(part) = pre.iter().find(zeros) {
        return Err(format!("Numeric PreRelease version must not contain leading zeroes {part:?}"));
    }
    Ok(Semver { numbers, pre, build })
}

impl Semver {
    pub fn order(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let parts = self.pre.iter().zip(&other.pre).map(|(a, b)| identifier_order(a, b));
                parts.fold(Ordering::Equal, Ordering::then).then(self.pre.len().cmp(&other.pre.len()))
            }
        })
    }

    pub fn text(&self) -> String {
        let mut text = self.numbers.map(|number| number.to_string()).join(".");
        for (sign, list) in [('-', &self.pre), ('+', &self.build)] {
            if !list.is_empty() {
                text.push(sign);
                text.push_str(&list.join("."));
            }
        }
        text
    }
}

/// Numbers come before words.
fn identifier_order(a: &str, b: &str) -> Ordering {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    match (number(a), number(b)) {
        (true, true) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.cmp(b),
    }
}

fn version<'v>(value: &'v Val<'_>) -> Result<&'v Semver, Fault> {
    if let Val::Special(Special::Semver(version)) = value { Ok(version) } else { Err(Fault::NoOverload) }
}

fn number<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>], index: usize) -> Evaluated<'a> {
    super::standard::one(machine, args, |value| {
        Ok(Val::Int(i64::try_from(version(value)?.numbers[index]).unwrap_or(i64::MAX)))
    })
}

fn compared<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Result<Ordering, Fault> {
    machine.spend(1)?;
    let [a, b] = args else { return Err(Fault::NoOverload) };
    Ok(version(a)?.order(version(b)?))
}
