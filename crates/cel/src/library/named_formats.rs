//! Formats by name: `format.dns1123Label().validate(name)`.

use machinery::names;

use super::standard::{one, text};
use super::{Line, Special};
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::value::Val;

/// A format: its name, and what is wrong with a text.
#[derive(Debug)]
pub(crate) struct NamedFormat(&'static str, fn(&str) -> Vec<String>);

impl NamedFormat {
    pub fn name(&self) -> &'static str {
        self.0
    }
}

static FORMATS: [NamedFormat; 13] = [
    NamedFormat("dns1123Label", names::dns1123_label),
    NamedFormat("dns1123Subdomain", names::dns1123_subdomain),
    NamedFormat("dns1035Label", names::dns1035_label),
    NamedFormat("qualifiedName", names::qualified_name),
    NamedFormat("dns1123LabelPrefix", |text| names::as_prefix(text, names::dns1123_label)),
    NamedFormat("dns1123SubdomainPrefix", |text| names::as_prefix(text, names::dns1123_subdomain)),
    NamedFormat("dns1035LabelPrefix", |text| names::as_prefix(text, names::dns1035_label)),
    NamedFormat("labelValue", names::label_value),
    NamedFormat("uri", |text| unless(super::url::is_url(text), "invalid URL")),
    NamedFormat("uuid", |text| unless(is_uuid(text), "does not match the UUID format")),
    NamedFormat("byte", |text| {
        use base64::Engine as _;
        unless(base64::engine::general_purpose::STANDARD.decode(text).is_ok(), "invalid base64")
    }),
    NamedFormat("date", |text| unless(is_date(text), "invalid date")),
    NamedFormat("datetime", |text| unless(super::time::parse_timestamp(text).is_ok(), "invalid datetime")),
];

fn unless(fine: bool, wrong: &str) -> Vec<String> {
    if fine { Vec::new() } else { vec![wrong.to_owned()] }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && super::time::parse_timestamp(&format!("{text}T00:00:00Z")).is_ok()
}

pub(super) const LINES: &[Line] = &[
    ("format.named", "(string)optional(Format)", |machine, args| {
        one(machine, args, |value| {
            let name = text(value)?;
            let found = FORMATS.iter().find(|format| format.name() == &**name);
            Ok(found.map_or(Val::Optional(None), |format| Val::some(Val::Special(Special::Format(format)))))
        })
    }),
    ("format.dns1123Label", "()Format", |machine, _| constant(machine, 0)),
    ("format.dns1123Subdomain", "()Format", |machine, _| constant(machine, 1)),
    ("format.dns1035Label", "()Format", |machine, _| constant(machine, 2)),
    ("format.qualifiedName", "()Format", |machine, _| constant(machine, 3)),
    ("format.dns1123LabelPrefix", "()Format", |machine, _| constant(machine, 4)),
    ("format.dns1123SubdomainPrefix", "()Format", |machine, _| constant(machine, 5)),
    ("format.dns1035LabelPrefix", "()Format", |machine, _| constant(machine, 6)),
    ("format.labelValue", "()Format", |machine, _| constant(machine, 7)),
    ("format.uri", "()Format", |machine, _| constant(machine, 8)),
    ("format.uuid", "()Format", |machine, _| constant(machine, 9)),
    ("format.byte", "()Format", |machine, _| constant(machine, 10)),
    ("format.date", "()Format", |machine, _| constant(machine, 11)),
    ("format.datetime", "()Format", |machine, _| constant(machine, 12)),
    ("validate", "Format.(string)optional(list(string))", validate),
];

fn constant<'a>(machine: &mut Machine<'_, 'a>, index: usize) -> Evaluated<'a> {
    machine.spend(1)?;
    Ok(Val::Special(Special::Format(&FORMATS[index])))
}

fn validate<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [Val::Special(Special::Format(format)), value] = args else { return Err(Fault::NoOverload) };
    let text = text(value)?;
    machine.spend_letters(text.len() * 4)?;
    let wrong = (format.1)(text);
    if wrong.is_empty() {
        return Ok(Val::Optional(None));
    }
    Ok(Val::some(Val::list(wrong.into_iter().map(Val::string).collect())))
}
