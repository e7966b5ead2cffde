//! `authorizer.group("apps").resource("deployments").namespace("a").check("create").allowed()`

use std::rc::Rc;

use super::standard::{one, text};
use super::{Line, Special};
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::value::Val;

/// What a check costs: so much that an expression has two of them.
const CHECK_COST: u64 = 350_000;

/// Answers questions of expressions.
pub trait Authorizer {
    /// Whether somebody may do something.
    fn check(&self, question: &Question) -> Verdict;
}

/// What an expression asks.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Who.
    pub subject: Subject,
    /// The path of a request that is about no resource; empty otherwise.
    pub path: String,
    /// What it is about.
    pub attributes: Attributes,
    /// What shall be done with it.
    pub verb: String,
}

/// Who is asked about.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// Namespace and name of a service account; the user of the request when there is none.
    pub service_account: Option<(String, String)>,
}

/// The resource that is asked about. What is not said is empty.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the API's own words")]
pub struct Attributes {
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why, if the authorizer says so.
    pub reason: String,
    /// What went wrong.
    pub error: Option<String>,
}

/// A question in the making.
#[derive(Debug, Clone, Default)]
pub(crate) struct Check {
    pub subject: Subject,
    pub path: String,
    pub attributes: Attributes,
}

pub(super) const LINES: &[Line] = &[
    ("path", "Authorizer.(string)PathCheck", path),
    ("group", "Authorizer.(string)GroupCheck", group),
    ("serviceAccount", "Authorizer.(string,string)Authorizer", service_account),
    ("resource", "GroupCheck.(string)ResourceCheck", resource),
    ("subresource", "ResourceCheck.(string)ResourceCheck", |machine, args| {
        say(machine, args, |attributes, text| attributes.subresource = text)
    }),
    ("namespace", "ResourceCheck.(string)ResourceCheck", |machine, args| {
        say(machine, args, |attributes, text| attributes.namespace = text)
    }),
    ("name", "ResourceCheck.(string)ResourceCheck", |machine, args| {
        say(machine, args, |attributes, text| attributes.name = text)
    }),
    ("fieldSelector", "ResourceCheck.(string)ResourceCheck", |machine, args| {
        say(machine, args, |attributes, text| attributes.field_selector = text)
    }),
    ("labelSelector", "ResourceCheck.(string)ResourceCheck", |machine, args| {
        say(machine, args, |attributes, text| attributes.label_selector = text)
    }),
    ("check", "PathCheck.(string)Decision;ResourceCheck.(string)Decision", check),
    ("allowed", "Decision.()bool", |machine, args| told(machine, args, |verdict| Val::Bool(verdict.allowed))),
    ("reason", "Decision.()string", |machine, args| {
        told(machine, args, |verdict| Val::string(verdict.reason.as_str()))
    }),
    ("errored", "Decision.()bool", |machine, args| told(machine, args, |verdict| Val::Bool(verdict.error.is_some()))),
    ("error", "Decision.()string", |machine, args| {
        told(machine, args, |verdict| Val::string(verdict.error.as_deref().unwrap_or_default()))
    }),
];

fn path<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    let [Val::Special(Special::Authorizer(subject)), path] = args else { return Err(Fault::NoOverload) };
    let path = text(path)?;
    if path.is_empty() {
        return Err(Fault::new("path must not be empty"));
    }
    let check = Check { subject: (**subject).clone(), path: path.to_string(), ..Check::default() };
    Ok(Val::Special(Special::Path(Rc::new(check))))
}

fn group<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    let [Val::Special(Special::Authorizer(subject)), group] = args else { return Err(Fault::NoOverload) };
    let attributes = Attributes { group: text(group)?.to_string(), version: "*".to_owned(), ..Attributes::default() };
    let check = Check { subject: (**subject).clone(), path: String::new(), attributes };
    Ok(Val::Special(Special::Group(Rc::new(check))))
}

fn service_account<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    let [Val::Special(Special::Authorizer(_)), namespace, name] = args else { return Err(Fault::NoOverload) };
    let (namespace, name) = (text(namespace)?, text(name)?);
    for (what, wrong) in
        [("name", machinery::names::dns1123_subdomain(name)), ("namespace", machinery::names::dns1123_label(namespace))]
    {
        if !wrong.is_empty() {
            return Err(Fault::new(format!("Invalid service account {what}")));
        }
    }
    let subject = Subject { service_account: Some((namespace.to_string(), name.to_string())) };
    Ok(Val::Special(Special::Authorizer(Rc::new(subject))))
}

fn resource<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    machine.spend(1)?;
    let [Val::Special(Special::Group(check)), resource] = args else { return Err(Fault::NoOverload) };
    let mut check = (**check).clone();
    check.attributes.resource = text(resource)?.to_string();
    Ok(Val::Special(Special::Resource(Rc::new(check))))
}

fn say<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>], set: fn(&mut Attributes, String)) -> Evaluated<'a> {
    machine.spend(1)?;
    let [Val::Special(Special::Resource(check)), value] = args else { return Err(Fault::NoOverload) };
    let mut check = (**check).clone();
    set(&mut check.attributes, text(value)?.to_string());
    Ok(Val::Special(Special::Resource(Rc::new(check))))
}

fn check<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>]) -> Evaluated<'a> {
    let [Val::Special(Special::Path(check) | Special::Resource(check)), verb] = args else {
        return Err(Fault::NoOverload);
    };
    machine.spend(CHECK_COST)?;
    let authorizer = machine.bindings.asked().ok_or(Fault::new("no authorizer is there to be asked"))?;
    let Check { subject, path, attributes } = (**check).clone();
    let verdict = authorizer.check(&Question { subject, path, attributes, verb: text(verb)?.to_string() });
    Ok(Val::Special(Special::Decision(Rc::new(verdict))))
}

fn told<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>], what: fn(&Verdict) -> Val<'a>) -> Evaluated<'a> {
    one(machine, args, |value| match value {
        Val::Special(Special::Decision(verdict)) => Ok(what(verdict)),
        _ => Err(Fault::NoOverload),
    })
}
