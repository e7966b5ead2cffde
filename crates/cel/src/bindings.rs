//! What the variables of an expression stand for.

use std::cell::RefCell;

use machinery::Value;

use crate::budget::Budget;
use crate::fault::Fault;
use crate::library::Special;
use crate::library::authz::{Attributes, Authorizer, Check};
use crate::program::Program;
use crate::types::Type;
use crate::value::Val;

/// Values of variables, borrowed: an object is read where an expression looks at it.
#[derive(Default)]
pub struct Bindings<'a> {
    list: Vec<(&'static str, Binding<'a>)>,
    authorizer: Option<&'a dyn Authorizer>,
}

enum Binding<'a> {
    Json(&'a Value),
    Special(Special),
    Lazy(Vec<(&'a str, &'a Program, RefCell<Memo<'a>>)>),
}

enum Memo<'a> {
    Unknown,
    /// It is being evaluated: it must not ask for itself.
    Busy,
    Known(Result<Val<'a>, Fault>),
}

/// Where a program's variable is found.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The index of its binding.
    at: Option<usize>,
    ty: Type,
    name: String,
}

impl<'a> Bindings<'a> {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// A variable is this tree; it is read as the type that its environment declares.
    #[must_use]
    pub fn json(mut self, name: &'static str, value: &'a Value) -> Self {
        self.list.push((name, Binding::Json(value)));
        self
    }

    /// The fields of a variable are what programs come to, evaluated on first use with these same bindings. A program may use
    /// the fields before its own.
    #[must_use]
    pub fn lazy(mut self, name: &'static str, programs: impl IntoIterator<Item = (&'a str, &'a Program)>) -> Self {
        let fields = programs.into_iter().map(|(name, program)| (name, program, RefCell::new(Memo::Unknown)));
        self.list.push((name, Binding::Lazy(fields.collect())));
        self
    }

    /// `authorizer`, and with a request's attributes `authorizer.requestResource`.
    #[must_use]
    pub fn authorizer(mut self, authorizer: &'a dyn Authorizer, request: Option<Attributes>) -> Self {
        self.authorizer = Some(authorizer);
        self.list.push(("authorizer", Binding::Special(Special::authorizer())));
        if let Some(attributes) = request {
            let check = Special::Resource(std::rc::Rc::new(Check { attributes, ..Check::default() }));
            self.list.push(("authorizer.requestResource", Binding::Special(check)));
        }
        self
    }

    pub(crate) fn asked(&self) -> Option<&'a dyn Authorizer> {
        self.authorizer
    }

    pub(crate) fn slots(&self, variables: &[(String, Type)]) -> Vec<Slot> {
        let slot = |(name, ty): &(String, Type)| {
            let at = self.list.iter().position(|(known, _)| known == name);
            Slot { at, ty: ty.clone(), name: name.clone() }
        };
        variables.iter().map(slot).collect()
    }

    pub(crate) fn value(&self, slot: &Slot) -> Result<Val<'a>, Fault> {
        let binding = slot.at.and_then(|at| self.list.get(at));
        match (binding.map(|(_, binding)| binding), &slot.ty) {
            (Some(Binding::Json(value)), Type::Optional(of)) => Ok(Val::some(Val::wrap(value, of)?)),
            (None, Type::Optional(_)) => Ok(Val::Optional(None)),
            (Some(Binding::Json(value)), ty) => Val::wrap(value, ty),
            (Some(Binding::Special(special)), _) => Ok(Val::Special(special.clone())),
            (Some(Binding::Lazy(_)), _) => Ok(Val::Lazy(slot.at.unwrap_or_default())),
            (None, _) => Err(Fault::new(format!("no such attribute(s): {}", slot.name))),
        }
    }

    /// A field of a lazy variable.
    pub(crate) fn lazy_field(&self, index: usize, field: &str, budget: &mut Budget) -> Result<Option<Val<'a>>, Fault> {
        let Some((_, Binding::Lazy(fields))) = self.list.get(index) else { return Ok(None) };
        let Some((_, program, memo)) = fields.iter().find(|(name, ..)| *name == field) else { return Ok(None) };
        match &*memo.borrow() {
            Memo::Known(known) => return known.clone().map(Some),
            Memo::Busy => return Err(Fault::new(format!("variable {field} refers to itself"))),
            Memo::Unknown => {}
        }
        memo.replace(Memo::Busy);
        let result = program.run(self, budget);
        let result = match result {
            Err(Fault::Budget) => Err(Fault::Budget),
            Err(fault) => {
                let failure = crate::Failure::from(fault);
                Err(Fault::new(format!("composited variable {field:?} fails to evaluate: {failure}")))
            }
            Ok(value) => Ok(value),
        };
        memo.replace(Memo::Known(result.clone()));
        result.map(Some)
    }
}
