//! `url("https://host:443/path?a=b")`

use std::collections::BTreeMap;
use std::rc::Rc;

use super::standard::{one, text};
use super::{Line, Special};
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::value::{Key, Text, Val};

/// A URL as a request names it: absolute, or a path from the root.
#[derive(Debug)]
pub(crate) struct Url {
    text: String,
    scheme: String,
    /// With its port.
    host: String,
    path: String,
    query: String,
}

pub(super) const LINES: &[Line] = &[
    ("url", "(string)URL", |machine, args| {
        pay(machine, args)?;
        one(machine, args, |value| Ok(Val::Special(Special::Url(Rc::new(parse(text(value)?).map_err(Fault::new)?)))))
    }),
    ("isURL", "(string)bool", |machine, args| {
        pay(machine, args)?;
        one(machine, args, |value| Ok(Val::Bool(parse(text(value)?).is_ok())))
    }),
    ("getScheme", "URL.()string", |machine, args| part(machine, args, |url| url.scheme.clone())),
    ("getHost", "URL.()string", |machine, args| part(machine, args, |url| url.host.clone())),
    ("getHostname", "URL.()string", |machine, args| {
        part(machine, args, |url| split_port(&url.host).0.trim_matches(['[', ']']).to_owned())
    }),
    ("getPort", "URL.()string", |machine, args| part(machine, args, |url| split_port(&url.host).1.to_owned())),
    ("getEscapedPath", "URL.()string", |machine, args| part(machine, args, |url| escaped(&url.path))),
    ("getQuery", "URL.()map(string,list(string))", query),
];

fn pay<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Result<(), Fault> {
    machine.spend_letters(args.first().and_then(Val::as_str).map_or(0, str::len))
}

impl Url {
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => (name, port),
        _ => (host, ""),
    }
}

/// Whether it is a URL.
pub(super) fn is_url(text: &str) -> bool {
    parse(text).is_ok()
}

fn parse(text: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("URL parse error during conversion from string: parse {text:?}: {why}");
    if text.is_empty() {
        return Err(wrong("empty url"));
    }
    if text.bytes().any(|b| b.is_ascii_control()) {
        return Err(wrong("net/url: invalid control character in URL"));
    }
    if text.starts_with(':') {
        return Err(wrong("missing protocol scheme"));
    }
    let is_scheme = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ => (String::new(), text),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        return Err(wrong("invalid URI for request"));
    }
    let (host, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if let Some(bad) = host.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:[]<>\"%".contains(*c))) {
        return Err(wrong(&format!("invalid character {:?} in host name", bad.to_string())));
    }
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    if let Some((_, port)) = after.rsplit_once(':')
        && !port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(wrong(&format!("invalid port {:?} after host", format!(":{port}"))));
    }
    let bytes = path.as_bytes();
    for (at, _) in path.match_indices('%') {
        if !bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            let end = (at + 3).min(path.len());
            let shown = String::from_utf8_lossy(&bytes[at..end]).into_owned();
            return Err(wrong(&format!("invalid URL escape {shown:?}")));
        }
    }
    Ok(Url { text: text.to_owned(), scheme, host: host.to_owned(), path: path.to_owned(), query: query.to_owned() })
}

/// Escapes what may not stand in a path as it is.
fn escaped(path: &str) -> String {
    let mut made = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!'()*".contains(&byte) {
            made.push(char::from(byte));
        } else {
            made.push_str(&format!("%{byte:02X}"));
        }
    }
    made
}

fn part<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>], of: fn(&Url) -> String) -> Evaluated<'a> {
    one(machine, args, |value| match value {
        Val::Special(Special::Url(url)) => Ok(Val::string(of(url))),
        _ => Err(Fault::NoOverload),
    })
}

fn query<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [Val::Special(Special::Url(url))] = args else { return Err(Fault::NoOverload) };
    machine.spend_letters(url.query.len())?;
    let mut made: BTreeMap<String, Vec<Val<'a>>> = BTreeMap::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (unescaped(key), unescaped(value)) {
            made.entry(key).or_default().push(Val::string(value));
        }
    }
    let entries = made.into_iter().map(|(key, list)| (Key::String(Text::Shared(key.into())), Val::list(list)));
    Ok(Val::Map(Rc::new(entries.collect())))
}

fn unescaped(text: &str) -> Option<String> {
    let (mut bytes, mut made) = (text.bytes(), Vec::with_capacity(text.len()));
    while let Some(byte) = bytes.next() {
        made.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(made).ok()
}
