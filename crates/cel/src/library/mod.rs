//! Functions: what they take (for the checker) and what they do, side by side, one file per library.

pub(crate) mod authz;
mod format;
mod lists;
pub(crate) mod mutation;
mod named_formats;
mod net;
mod operators;
mod optional;
mod quantity;
pub(crate) mod regexes;
mod semver;
mod sets;
mod signature;
mod special;
pub(crate) mod standard;
mod strings;
pub(crate) mod time;
mod url;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::eval::{Evaluated, Machine};
use crate::types::Type;
use crate::value::Val;

pub(crate) use special::Special;

/// What a function does. It answers [`crate::fault::Fault::NoOverload`] to arguments that are not its own.
pub(crate) type Run = for<'m, 'a> fn(&mut Machine<'m, 'a>, &[Val<'a>]) -> Evaluated<'a>;

/// A line of a library: a name, signatures (separated by `;`), what it does.
pub(crate) type Line = (&'static str, &'static str, Run);

/// All functions of one name.
#[derive(Debug)]
pub(crate) struct Function {
    pub name: &'static str,
    pub overloads: Vec<Overload>,
    pub forms: Vec<Form>,
}

/// What one library does under a name.
#[derive(Debug)]
pub(crate) struct Form {
    pub run: Run,
}

/// A signature.
#[derive(Debug)]
pub(crate) struct Overload {
    /// Whether the first parameter stands before the dot.
    pub member: bool,
    pub params: Vec<Type>,
    pub result: Type,
}

impl Function {
    pub fn is_operator(&self) -> bool {
        self.name.contains('_') && !self.name.starts_with(|c: char| c.is_ascii_alphabetic()) || self.name == "@in"
    }
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    let libraries: [&[Line]; 16] = [
        operators::LINES,
        standard::LINES,
        time::LINES,
        strings::LINES,
        format::LINES,
        regexes::LINES,
        lists::LINES,
        sets::LINES,
        optional::LINES,
        url::LINES,
        quantity::LINES,
        net::LINES,
        semver::LINES,
        named_formats::LINES,
        authz::LINES,
        mutation::LINES,
    ];
    let mut functions = HashMap::new();
    for (name, signatures, run) in libraries.into_iter().flatten() {
        let function =
            functions.entry(*name).or_insert_with(|| Function { name, overloads: Vec::new(), forms: Vec::new() });
        function.overloads.extend(signatures.split(';').map(signature::read));
        function.forms.push(Form { run: *run });
    }
    functions
});

/// The function of that name, with its prefix (`sets.contains`).
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.get(name)
}

/// The name of a library's type, when it is one.
pub(crate) fn opaque_name(name: &str) -> Option<&'static str> {
    special::OPAQUE.iter().map(|(_, name)| *name).find(|known| *known == name)
}

/// All functions, for tests that try them with anything.
#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = &'static Function> {
    FUNCTIONS.values()
}
