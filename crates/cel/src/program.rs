//! A compiled expression.

use std::fmt;

use machinery::Value;

use crate::ast::Expr;
use crate::bindings::Bindings;
use crate::budget::Budget;
use crate::checker::check;
use crate::eval::Machine;
use crate::fault::{Failure, Fault};
use crate::parser::parse;
use crate::source::Issues;
use crate::types::Type;
use crate::value::Val;

/// The variables that an expression may use.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub(crate) variables: Vec<(String, Type)>,
    pub(crate) mutation: bool,
}

impl Environment {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// A variable, which may have dots in its name.
    #[must_use]
    pub fn variable(mut self, name: &str, ty: Type) -> Self {
        self.variables.push((name.to_owned(), ty));
        self
    }

    /// Expressions may make `Object{...}` (and what is in it) and `JSONPatch{...}`.
    #[must_use]
    pub fn mutation(mut self) -> Self {
        self.mutation = true;
        self
    }
}

/// An expression that is ready to be evaluated, by any thread and any number of times.
#[derive(Debug, Clone)]
pub struct Program {
    tree: Expr,
    variables: Vec<(String, Type)>,
    result: Type,
}

/// Why an expression was not compiled.
#[derive(Debug, Clone)]
pub enum CompileError {
    /// What is wrong in it.
    Issues(Issues),
    /// It results in none of the wanted types.
    Result {
        /// What was wanted.
        expected: Vec<Type>,
        /// What it results in.
        found: Type,
    },
}

impl std::error::Error for CompileError {}

/// As admission policies word it.
impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issues(issues) => write!(f, "compilation failed: {issues}"),
            Self::Result { expected, .. } => {
                let name = |ty: &Type| if matches!(ty, Type::Null) { ty.name() } else { ty.to_string() };
                let names: Vec<String> = expected.iter().map(name).collect();
                match &names[..] {
                    [one] => write!(f, "must evaluate to {one}"),
                    more => write!(f, "must evaluate to one of [{}]", more.join(" ")),
                }
            }
        }
    }
}

/// Compiles an expression whose result is exactly one of `expected`, or anything when that is empty.
pub fn compile(expression: &str, environment: &Environment, expected: &[Type]) -> Result<Program, CompileError> {
    let issues = |list| CompileError::Issues(Issues::new(expression, list));
    let mut tree = parse(expression).map_err(issues)?;
    let result = check(&mut tree, environment).map_err(issues)?;
    let is_result = |ty: &Type| ty.to_string() == result.to_string();
    if !expected.is_empty() && !expected.iter().any(is_result) {
        return Err(CompileError::Result { expected: expected.to_vec(), found: result });
    }
    Ok(Program { tree, variables: environment.variables.clone(), result })
}

impl Program {
    /// The type of the result.
    pub fn result_type(&self) -> &Type {
        &self.result
    }

    /// Evaluates it. The result is a tree: times are RFC 3339, durations Go's text, bytes base64, an optional value that is not
    /// there is null.
    pub fn evaluate(&self, bindings: &Bindings<'_>, budget: &mut Budget) -> Result<Value, Failure> {
        let value = self.run(bindings, budget)?;
        let before = budget.begin();
        let tree = crate::output::to_tree(&value, budget);
        budget.end(before);
        Ok(tree?)
    }

    pub(crate) fn run<'a>(&self, bindings: &Bindings<'a>, budget: &mut Budget) -> Result<Val<'a>, Fault> {
        let before = budget.begin();
        let slots = bindings.slots(&self.variables);
        let mut machine = Machine { bindings, slots: &slots, budget, locals: Vec::new() };
        let result = machine.eval(&self.tree);
        budget.end(before);
        result
    }
}
