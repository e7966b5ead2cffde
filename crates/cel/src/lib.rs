//! The Common Expression Language with Kubernetes' libraries: admission policies, rules of custom resources, selectors of devices.
//!
//! [`compile`] parses an expression and checks its types against an [`Environment`]; [`Program::evaluate`] evaluates it over
//! [`Bindings`], which borrow trees, within a [`Budget`]. Hostile expressions cost bounded time, memory and stack. Nothing here
//! does IO or reads a clock. docs/decisions/0008-own-cel.md says why it is our own.

mod ast;
mod bindings;
mod budget;
mod checker;
mod compare;
mod escape;
mod eval;
mod fault;
mod lexer;
mod library;
mod macros;
mod output;
mod parser;
mod program;
mod source;
mod types;
mod unify;
mod value;

pub use bindings::Bindings;
pub use budget::{Budget, CALL_COST_MAX};
pub use escape::{escape, unescape};
pub use fault::Failure;
pub use library::authz::{Attributes, Authorizer, Question, Subject, Verdict};
pub use program::{CompileError, Environment, Program, compile};
pub use source::{Issue, Issues};
pub use types::{Declared, ListOf, Object, Type};

#[cfg(test)]
mod tests;
