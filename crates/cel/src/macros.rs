//! Calls that are no calls: `has`, `all`, `map` and the others bind names or do not evaluate their arguments.

use crate::ast::{Comprehension, Expr, Kind, Macro, OptionalMap, Select, SelectMode};
use crate::source::Issue;

/// A member call, looked at.
pub(crate) enum Expanded {
    Macro(Kind),
    /// None of the macros: the operand and arguments as they were.
    Call(Expr, Vec<Expr>),
}

/// The dotted name that an expression is.
pub(crate) fn path(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.clone()),
        Kind::Select(select) if select.mode == SelectMode::Field => {
            Some(format!("{}.{}", path(&select.operand)?, select.field))
        }
        _ => None,
    }
}

/// `has(a.b)`. Gives the arguments back when it is none.
pub(crate) fn global(at: u32, name: &str, mut args: Vec<Expr>) -> Result<Result<Kind, Vec<Expr>>, Issue> {
    if name != "has" || args.len() != 1 {
        return Ok(Err(args));
    }
    match args.remove(0).kind {
        Kind::Select(select) if select.mode == SelectMode::Field => {
            Ok(Ok(Kind::Select(Box::new(Select { mode: SelectMode::Test, ..*select }))))
        }
        _ => Err(Issue { at: Some(at), message: "invalid argument to has() macro".to_owned() }),
    }
}

/// `list.all(x, ...)` and its like.
pub(crate) fn member(at: u32, operand: Expr, name: &str, args: Vec<Expr>) -> Result<Expanded, Issue> {
    if matches!((name, args.len()), ("optMap" | "optFlatMap", 2)) {
        let mut args = args.into_iter();
        let (Some(variable), Some(then)) = (args.next(), args.next()) else { return Err(no_name(at)) };
        let name_of = variable_name(&variable)?;
        let kind = OptionalMap { operand, name: name_of, then, flat: name == "optFlatMap" };
        return Ok(Expanded::Macro(Kind::OptionalMap(Box::new(kind))));
    }
    let Some((mode, names, conditions)) = shape(name, args.len()) else { return Ok(Expanded::Call(operand, args)) };
    let mut args = args.into_iter();
    let mut variables = [String::new(), String::new()];
    for variable in variables.iter_mut().take(names) {
        *variable = variable_name(&args.next().ok_or_else(|| no_name(at))?)?;
    }
    if names == 2 && variables[0] == variables[1] {
        let message = format!("duplicate variable name: {}", variables[0]);
        return Err(Issue { at: Some(at), message });
    }
    let condition = if conditions { args.next() } else { None };
    let step = args.next();
    let kind = Comprehension { mode, range: operand, names: variables, two: names == 2, condition, step };
    Ok(Expanded::Macro(Kind::Comprehension(Box::new(kind))))
}

/// Which macro a name with so many arguments is: how many names it binds, and whether a condition follows them.
fn shape(name: &str, args: usize) -> Option<(Macro, usize, bool)> {
    Some(match (name, args) {
        ("all", 2) => (Macro::All, 1, true),
        ("all", 3) => (Macro::All, 2, true),
        ("exists", 2) => (Macro::Exists, 1, true),
        ("exists", 3) => (Macro::Exists, 2, true),
        ("exists_one" | "existsOne", 2) => (Macro::ExistsOne, 1, true),
        ("existsOne" | "exists_one", 3) => (Macro::ExistsOne, 2, true),
        ("map", 2) => (Macro::Map, 1, false),
        ("map", 3) => (Macro::Map, 1, true),
        ("filter", 2) => (Macro::Filter, 1, true),
        ("transformList", 3) => (Macro::TransformList, 2, false),
        ("transformList", 4) => (Macro::TransformList, 2, true),
        ("transformMap", 3) => (Macro::TransformMap, 2, false),
        ("transformMap", 4) => (Macro::TransformMap, 2, true),
        ("transformMapEntry", 3) => (Macro::TransformMapEntry, 2, false),
        ("transformMapEntry", 4) => (Macro::TransformMapEntry, 2, true),
        _ => return None,
    })
}

fn variable_name(expr: &Expr) -> Result<String, Issue> {
    match &expr.kind {
        Kind::Ident(name) => Ok(name.clone()),
        _ => Err(no_name(expr.at)),
    }
}

fn no_name(at: u32) -> Issue {
    Issue { at: Some(at), message: "argument must be a simple name".to_owned() }
}
