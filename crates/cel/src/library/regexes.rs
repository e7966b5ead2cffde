//! Regular expressions: RE2's syntax, which the library's differs from in little.

use regex::{Regex, RegexBuilder};

use super::Line;
use super::standard::text;
use crate::ast::Expr;
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::value::Val;

/// What a compiled expression may take, in bytes; so a small expression cannot ask for much (`((a{100}){100}){100}`).
const COMPILED_BYTES_MAX: usize = 2 << 20;
const NESTING_MAX: u32 = 100;

pub(super) const LINES: &[Line] = &[
    ("matches", "string.(string)bool;(string,string)bool", matches),
    ("find", "string.(string)string", find),
    ("findAll", "string.(string)list(string);string.(string,int)list(string)", find_all),
];

/// Compiles an expression.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&translate(pattern))
        .size_limit(COMPILED_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|wrong| format!("error parsing regexp: {}", reason(&wrong.to_string(), pattern)))
}

fn reason(text: &str, pattern: &str) -> String {
    let last = text.lines().last().unwrap_or_default();
    format!("{}: `{pattern}`", last.strip_prefix("error: ").unwrap_or(last))
}

/// Where the library means more than RE2: classes of letters beyond ASCII, sets within classes.
fn translate(pattern: &str) -> String {
    let (mut made, mut letters, mut in_class) =
        (String::with_capacity(pattern.len() + 16), pattern.chars().peekable(), false);
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('Q') => literal(&mut made, &mut letters),
                Some(kind) => made.push_str(&escape(kind, in_class)),
                None => made.push('\\'),
            },
            '[' if !in_class => {
                in_class = true;
                made.push('[');
                if letters.next_if_eq(&'^').is_some() {
                    made.push('^');
                }
                if letters.next_if_eq(&']').is_some() {
                    made.push_str("\\]");
                }
            }
            '[' if letters.peek() == Some(&':') => {
                made.push('[');
                for inner in letters.by_ref() {
                    made.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            '[' => made.push_str("\\["),
            '&' | '~' if in_class => {
                made.push('\\');
                made.push(letter);
            }
            ']' => {
                in_class = false;
                made.push(']');
            }
            other => made.push(other),
        }
    }
    made
}

fn literal(made: &mut String, letters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(letter) = letters.next() {
        if letter == '\\' && letters.next_if_eq(&'E').is_some() {
            return;
        }
        made.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4])));
    }
}

fn escape(kind: char, in_class: bool) -> String {
    let class = |inner: &str| if in_class { inner.to_owned() } else { format!("[{inner}]") };
    match kind {
        'd' => class("0-9"),
        'w' => class("0-9A-Za-z_"),
        's' => class("\\t\\n\\f\\r "),
        'D' => "[^0-9]".to_owned(),
        'W' => "[^0-9A-Za-z_]".to_owned(),
        'S' => "[^\\t\\n\\f\\r ]".to_owned(),
        'b' | 'B' if !in_class => format!("(?-u:\\{kind})"),
        other => format!("\\{other}"),
    }
}

/// What a search costs: the text's letters times a guess of how much the expression does with each.
fn spend<'a>(machine: &mut Machine<'_, 'a>, text: &str, pattern: &str) -> Result<(), Fault> {
    let letters = (text.len() as u64 + 1).div_ceil(10);
    machine.spend(letters.saturating_mul((pattern.len() as u64).div_ceil(4)))
}

fn compiled<'a>(machine: &mut Machine<'_, 'a>, text: &str, pattern: &str) -> Result<Regex, Fault> {
    spend(machine, text, pattern)?;
    // It is compiled for this one search.
    machine.spend(pattern.len() as u64)?;
    compile(pattern).map_err(Fault::new)
}

/// `matches` with a literal.
pub(crate) fn matches_compiled<'a>(
    machine: &mut Machine<'_, 'a>,
    regex: &Regex,
    value: &Val<'a>,
    pattern: Option<&Expr>,
) -> Evaluated<'a> {
    let Val::String(value) = value else { return Err(Fault::NO_OVERLOAD) };
    spend(machine, value, pattern.and_then(Expr::as_string).map_or("", |pattern| pattern))?;
    Ok(Val::Bool(regex.is_match(value)))
}

fn matches<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [value, pattern] = args else { return Err(Fault::NoOverload) };
    let (value, pattern) = (text(value)?, text(pattern)?);
    Ok(Val::Bool(compiled(machine, value, pattern)?.is_match(value)))
}

fn find<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [value, pattern] = args else { return Err(Fault::NoOverload) };
    let (value, pattern) = (text(value)?, text(pattern)?);
    let regex = compiled(machine, value, pattern)?;
    Ok(Val::string(regex.find(value).map_or("", |found| found.as_str())))
}

fn find_all<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let (value, pattern, most) = match args {
        [value, pattern] => (value, pattern, -1),
        [value, pattern, Val::Int(most)] => (value, pattern, *most),
        _ => return Err(Fault::NoOverload),
    };
    let (value, pattern) = (text(value)?, text(pattern)?);
    let regex = compiled(machine, value, pattern)?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    Ok(Val::list(regex.find_iter(value).take(most).map(|found| Val::string(found.as_str())).collect()))
}
