//! More of strings. Places are counted in letters.

use std::borrow::Cow;

use super::Line;
use super::standard::text;
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::value::Val;

pub(super) const LINES: &[Line] = &[
    ("charAt", "string.(int)string", char_at),
    ("indexOf", "string.(string)int;string.(string,int)int", index_of),
    ("lastIndexOf", "string.(string)int;string.(string,int)int", last_index_of),
    ("lowerAscii", "string.()string", |machine, args| changed(machine, args, |text| text.to_ascii_lowercase().into())),
    ("upperAscii", "string.()string", |machine, args| changed(machine, args, |text| text.to_ascii_uppercase().into())),
    ("trim", "string.()string", |machine, args| changed(machine, args, |text| text.trim().into())),
    ("replace", "string.(string,string)string;string.(string,string,int)string", replace),
    ("split", "string.(string)list(string);string.(string,int)list(string)", split),
    ("substring", "string.(int)string;string.(int,int)string", substring),
    ("join", "list(string).()string;list(string).(string)string", join),
    ("strings.quote", "(string)string", |machine, args| changed(machine, args, |text| quoted(text).into())),
];

fn changed<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>], change: fn(&str) -> Cow<'_, str>) -> Evaluated<'a> {
    let [value] = args else { return Err(Fault::NoOverload) };
    let text = text(value)?;
    machine.spend_letters(text.len())?;
    Ok(Val::string(&*change(text)))
}

fn out_of_range(index: i64) -> Fault {
    Fault::new(format!("index out of range: {index}"))
}

/// Where a letter begins; the end, for the place after the last.
fn byte_of(text: &str, letter: i64) -> Option<usize> {
    let letter = usize::try_from(letter).ok()?;
    let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.nth(letter)
}

fn letter_of(text: &str, byte: usize) -> i64 {
    text[..byte].chars().count() as i64
}

fn char_at<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [value, Val::Int(index)] = args else { return Err(Fault::NoOverload) };
    let text = text(value)?;
    machine.spend_letters(text.len())?;
    let at = byte_of(text, *index).ok_or_else(|| out_of_range(*index))?;
    Ok(Val::string(text[at..].chars().next().map(String::from).unwrap_or_default()))
}

/// Searching costs as much as `contains`.
fn spend_search<'a>(machine: &mut Machine<'_, 'a>, text: &str, part: &str) -> Result<(), Fault> {
    machine.spend_letters(text.len().saturating_add(part.len()))
}

fn index_of<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let (value, part, from) = match args {
        [value, part] => (value, part, 0),
        [value, part, Val::Int(from)] => (value, part, *from),
        _ => return Err(Fault::NoOverload),
    };
    let (text, part) = (text(value)?, super::standard::text(part)?);
    spend_search(machine, text, part)?;
    if part.is_empty() {
        return Ok(Val::Int(from));
    }
    let start = byte_of(text, from).ok_or_else(|| out_of_range(from))?;
    Ok(Val::Int(text[start..].find(&**part).map_or(-1, |at| letter_of(text, start + at))))
}

fn last_index_of<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let (value, part, last) = match args {
        [value, part] => (value, part, None),
        [value, part, Val::Int(last)] => (value, part, Some(*last)),
        _ => return Err(Fault::NoOverload),
    };
    let (text, part) = (text(value)?, super::standard::text(part)?);
    spend_search(machine, text, part)?;
    if part.is_empty() {
        return Ok(Val::Int(last.unwrap_or_else(|| letter_of(text, text.len()))));
    }
    let end = match last {
        None => text.len(),
        Some(last) => (byte_of(text, last).ok_or_else(|| out_of_range(last))? + part.len()).min(text.len()),
    };
    let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
    Ok(Val::Int(text[..end].rfind(&**part).map_or(-1, |at| letter_of(text, at))))
}

fn replace<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let (value, old, new, most) = match args {
        [value, old, new] => (value, old, new, -1),
        [value, old, new, Val::Int(most)] => (value, old, new, *most),
        _ => return Err(Fault::NoOverload),
    };
    let (text, old, new) = (text(value)?, super::standard::text(old)?, super::standard::text(new)?);
    machine.spend_letters(text.len() * 2)?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let places = text.matches(&**old).take(most).count();
    // The result may be much longer than what it is made of.
    machine.spend_letters(places.saturating_mul(new.len().saturating_sub(old.len())).saturating_sub(text.len() * 2))?;
    Ok(Val::string(text.replacen(&**old, new, most)))
}

fn split<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let (value, separator, most) = match args {
        [value, separator] => (value, separator, -1),
        [value, separator, Val::Int(most)] => (value, separator, *most),
        _ => return Err(Fault::NoOverload),
    };
    let (text, separator) = (text(value)?, super::standard::text(separator)?);
    machine.spend_letters(text.len() * 2)?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if most == 0 {
        return Ok(Val::list(Vec::new()));
    }
    let parts: Vec<Val<'a>> = if separator.is_empty() {
        let mut rest = &**text;
        let mut parts = Vec::new();
        while let Some(letter) = rest.chars().next().filter(|_| parts.len() + 1 < most) {
            parts.push(Val::string(&rest[..letter.len_utf8()]));
            rest = &rest[letter.len_utf8()..];
        }
        parts.extend((!rest.is_empty()).then(|| Val::string(rest)));
        parts
    } else {
        text.splitn(most, &**separator).map(Val::string).collect()
    };
    Ok(Val::list(parts))
}

fn substring<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let (value, from, to) = match args {
        [value, Val::Int(from)] => (value, *from, None),
        [value, Val::Int(from), Val::Int(to)] => (value, *from, Some(*to)),
        _ => return Err(Fault::NoOverload),
    };
    let text = text(value)?;
    machine.spend_letters(text.len())?;
    if let Some(to) = to.filter(|to| from > *to) {
        return Err(Fault::new(format!("invalid substring range. start: {from}, end: {to}")));
    }
    let start = byte_of(text, from).ok_or_else(|| out_of_range(from))?;
    let end = match to {
        Some(to) => byte_of(text, to).ok_or_else(|| out_of_range(to))?,
        None => text.len(),
    };
    Ok(Val::string(&text[start..end]))
}

fn join<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let (list, separator) = match args {
        [list] => (list, ""),
        [list, separator] => (list, &**text(separator)?),
        _ => return Err(Fault::NoOverload),
    };
    let elements = list.elements().ok_or(Fault::NoOverload)?;
    let mut made = String::new();
    for index in 0..elements.len() {
        let Some(element) = elements.get(index) else { break };
        let element = element?;
        let part = element.as_str().ok_or(Fault::NO_OVERLOAD)?;
        machine.spend_letters((part.len() + separator.len()) * 2)?;
        if index > 0 {
            made.push_str(separator);
        }
        made.push_str(part);
    }
    Ok(Val::string(made))
}

/// A string as a literal that prints on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut made = String::with_capacity(text.len() + 2);
    made.push('"');
    for letter in text.chars() {
        match letter {
            '\u{7}' => made.push_str("\\a"),
            '\u{8}' => made.push_str("\\b"),
            '\u{c}' => made.push_str("\\f"),
            '\n' => made.push_str("\\n"),
            '\r' => made.push_str("\\r"),
            '\t' => made.push_str("\\t"),
            '\u{b}' => made.push_str("\\v"),
            '\\' => made.push_str("\\\\"),
            '"' => made.push_str("\\\""),
            other => made.push(other),
        }
    }
    made.push('"');
    made
}
