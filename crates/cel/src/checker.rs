//! Finds what names mean and which types expressions have, as far as that can be known.

use std::sync::Arc;

use machinery::schema::ListSemantics;

use crate::ast::{Call, Comprehension, Expr, Kind, Literal, Macro, Select, SelectMode, Struct};
use crate::library;
use crate::macros::path;
use crate::program::Environment;
use crate::source::Issue;
use crate::types::{ListOf, Object, Type};
use crate::unify::Unifier;

/// Resolves names in a tree. Gives its type, or all that is wrong.
pub(crate) fn check(tree: &mut Expr, environment: &Environment) -> Result<Type, Vec<Issue>> {
    let mut checker = Checker { environment, locals: Vec::new(), types: Unifier::default(), issues: Vec::new() };
    let ty = checker.check(tree);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    Ok(checker.types.resolve(&ty, true).plain())
}

struct Checker<'e> {
    environment: &'e Environment,
    locals: Vec<(String, Type)>,
    types: Unifier,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    fn wrong(&mut self, at: u32, message: String) -> Type {
        self.issues.push(Issue { at: Some(at), message });
        Type::Error
    }

    fn shown(&self, ty: &Type) -> String {
        self.types.resolve(ty, false).to_string()
    }

    fn check(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        match &mut expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(_) => self.ident(expr),
            Kind::Variable(_) | Kind::Local(_) => Type::Dyn,
            Kind::Select(_) => self.select_or_name(expr),
            Kind::Call(call) => self.call(at, call),
            Kind::And(list) | Kind::Or(list) => {
                for part in list {
                    self.expect(part, &Type::Bool, at);
                }
                Type::Bool
            }
            Kind::If(parts) => self.choice(at, parts),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct(made) => self.structure(at, made),
            Kind::Comprehension(of) => self.comprehension(of),
            Kind::OptionalMap(of) => {
                let operand = self.check(&mut of.operand);
                let inner = match self.types.resolve(&operand, false) {
                    Type::Optional(of) => (*of).clone(),
                    Type::Dyn | Type::Error => Type::Dyn,
                    other => return self.wrong(at, no_overload("optMap", &[other], true)),
                };
                self.locals.push((of.name.clone(), inner));
                let then = self.check(&mut of.then);
                self.locals.pop();
                if of.flat { then } else { Type::optional(then) }
            }
        }
    }

    /// Checks an expression that must be of a type.
    fn expect(&mut self, expr: &mut Expr, wanted: &Type, _at: u32) {
        let found = self.check(expr);
        if !self.types.assign(&found, wanted) {
            let message = format!("expected type '{}' but found '{}'", self.shown(wanted), self.shown(&found));
            self.wrong(expr.at, message);
        }
    }

    fn ident(&mut self, expr: &mut Expr) -> Type {
        let Kind::Ident(name) = &expr.kind else { return Type::Error };
        let Some((kind, ty)) = self.name(name) else {
            let message = format!("undeclared reference to '{name}' (in container '')");
            return self.wrong(expr.at, message);
        };
        expr.kind = kind;
        ty
    }

    /// What a (dotted) name stands for.
    fn name(&self, name: &str) -> Option<(Kind, Type)> {
        if let Some(index) = self.locals.iter().rposition(|(known, _)| known == name) {
            return Some((Kind::Local(index), self.locals[index].1.clone()));
        }
        if let Some(index) = self.environment.variables.iter().position(|(known, _)| known == name) {
            return Some((Kind::Variable(index), self.environment.variables[index].1.clone()));
        }
        let ty = Arc::new(named_type(name)?);
        Some((Kind::Literal(Literal::Type(ty.clone())), Type::Type(Some(ty))))
    }

    fn select_or_name(&mut self, expr: &mut Expr) -> Type {
        if let Some(name) = path(expr)
            && let Some((kind, ty)) = self.name(&name)
        {
            expr.kind = kind;
            return ty;
        }
        let at = expr.at;
        let Kind::Select(select) = &mut expr.kind else { return Type::Error };
        let Select { operand, field, mode } = &mut **select;
        let operand_at = operand.at;
        let ty = self.check(operand);
        let ty = self.types.resolve(&ty, false);
        let (inner, optional) = match &ty {
            Type::Optional(of) => ((**of).clone(), true),
            other => (other.clone(), *mode == SelectMode::Optional),
        };
        let found = match &inner {
            Type::Dyn | Type::Error | Type::Param(_) => Type::Dyn,
            Type::Map(of) => of.1.clone(),
            Type::Object(object) => match object.field(field) {
                Some(ty) => ty,
                None => {
                    let message = format!("undefined field '{field}'");
                    return self.wrong(at, message);
                }
            },
            other => {
                let message = format!("type '{other}' does not support field selection");
                return self.wrong(if *mode == SelectMode::Test { operand_at } else { at }, message);
            }
        };
        match (mode, optional) {
            (SelectMode::Test, _) => Type::Bool,
            (_, true) => Type::optional(found.plain()),
            _ => found.plain(),
        }
    }

    fn choice(&mut self, at: u32, parts: &mut [Expr; 3]) -> Type {
        let [condition, then, otherwise] = parts;
        let types = [self.check(condition), self.check(then), self.check(otherwise)];
        let result = self.types.fresh();
        let fits = self.types.assign_all(&types, &[Type::Bool, result.clone(), result.clone()]);
        if fits { result } else { self.mismatch(at, "_?_:_", &types, false) }
    }

    fn mismatch(&mut self, at: u32, name: &str, types: &[Type], member: bool) -> Type {
        let types: Vec<Type> = types.iter().map(|ty| self.types.resolve(ty, false)).collect();
        if types.iter().any(|ty| matches!(ty, Type::Error)) {
            return Type::Error;
        }
        self.wrong(at, no_overload(name, &types, member))
    }

    fn call(&mut self, at: u32, call: &mut Call) -> Type {
        // `sets.contains(a, b)` is a function with a dot in its name.
        if call.member
            && let Some(prefix) = path(&call.args[0])
            && !self.locals.iter().any(|(name, _)| *name == prefix)
        {
            let whole = format!("{prefix}.{}", call.function);
            if let Some(function) = library::find(&whole) {
                (call.function, call.member) = (function.name.into(), false);
                call.args.remove(0);
            }
        }
        let types: Vec<Type> = match &mut call.args[..] {
            [pattern, list] if call.member && &*call.function == "format" => {
                vec![self.check(pattern), self.mixed_list(list)]
            }
            args => args.iter_mut().map(|arg| self.check(arg)).collect(),
        };
        let Some(function) = library::find(&call.function) else {
            let message = format!("undeclared reference to '{}' (in container '')", call.function);
            return self.wrong(at, message);
        };
        call.resolved = Some(function);
        let result = self.overload(function, call.member, &types);
        let result = match result {
            Some(result) => result,
            None => return self.mismatch(at, &call.function, &types, call.member),
        };
        self.literals(call);
        match (&*call.function, &types[..]) {
            ("_+_", [left, _]) => self.keep_semantics(left, result),
            _ => result,
        }
    }

    /// What two lists make together is shared like the left one.
    fn keep_semantics(&self, left: &Type, result: Type) -> Type {
        match (self.types.resolve(left, false), &result) {
            (Type::List(left), Type::List(made)) if !matches!(left.semantics, ListSemantics::Unset) => {
                Type::List(Arc::new(ListOf { element: made.element.clone(), semantics: left.semantics.clone() }))
            }
            _ => result,
        }
    }

    /// The result of the signatures that fit.
    fn overload(&mut self, function: &library::Function, member: bool, types: &[Type]) -> Option<Type> {
        if types.iter().any(|ty| matches!(ty, Type::Error)) {
            return Some(Type::Error);
        }
        let mut found: Option<Type> = None;
        for overload in &function.overloads {
            if overload.member != member || overload.params.len() != types.len() {
                continue;
            }
            let mark = self.types.mark();
            let params = [self.types.fresh(), self.types.fresh()];
            let wanted: Vec<Type> = overload.params.iter().map(|ty| instantiate(ty, &params)).collect();
            if !self.types.assign_all(types, &wanted) {
                self.types.forget(mark);
                continue;
            }
            let result = self.types.resolve(&instantiate(&overload.result, &params), false);
            found = Some(match found {
                None => result,
                Some(before) if before.to_string() == result.to_string() => before,
                Some(_) => Type::Dyn,
            });
        }
        found
    }

    /// Literals of regular expressions, times and durations are read when the expression is compiled.
    fn literals(&mut self, call: &mut Call) {
        let place = match (&*call.function, call.args.len()) {
            ("matches", 2) => 1,
            ("timestamp" | "duration", 1) => 0,
            _ => return,
        };
        let Some(text) = call.args[place].as_string() else { return };
        let good = match &*call.function {
            "matches" => {
                call.regex = library::regexes::compile(text).ok().map(Arc::new);
                call.regex.is_some()
            }
            "timestamp" => library::time::parse_timestamp(text).is_ok(),
            _ => library::time::parse_duration(text).is_ok(),
        };
        if !good {
            let message = format!("invalid {} argument", call.function);
            self.wrong(call.args[place].at, message);
        }
    }

    /// One type for all elements.
    fn join(&mut self, at: u32, known: Option<Type>, next: Type) -> Type {
        let Some(known) = known else { return next };
        if self.types.assign(&next, &known) {
            return if self.types.is_more_general(&next, &known) { next } else { known };
        }
        let message = format!("expected type '{}' but found '{}'", self.shown(&known), self.shown(&next));
        self.wrong(at, message)
    }

    fn unless_missing(&mut self, expr: &mut Expr, optional: bool) -> Type {
        let ty = self.check(expr);
        if !optional {
            return ty;
        }
        match self.types.resolve(&ty, false) {
            Type::Optional(of) => (*of).clone(),
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                let message = format!("expected type 'optional_type({other})' but found '{other}'");
                self.wrong(expr.at, message)
            }
        }
    }

    /// What is formatted may be of several types, which is said of no other list.
    fn mixed_list(&mut self, expr: &mut Expr) -> Type {
        let Kind::List(items) = &mut expr.kind else { return self.check(expr) };
        for (item, optional) in items {
            self.unless_missing(item, *optional);
        }
        Type::list(Type::Dyn)
    }

    fn list(&mut self, items: &mut [(Expr, bool)]) -> Type {
        let mut element = None;
        for (item, optional) in items {
            let ty = self.unless_missing(item, *optional);
            element = Some(self.join(item.at, element, ty));
        }
        Type::list(element.unwrap_or_else(|| self.types.fresh()))
    }

    fn map(&mut self, entries: &mut [(Expr, Expr, bool)]) -> Type {
        let (mut keys, mut values) = (None, None);
        for (key, value, optional) in entries {
            let ty = self.check(key);
            keys = Some(self.join(key.at, keys, ty));
            let ty = self.unless_missing(value, *optional);
            values = Some(self.join(value.at, values, ty));
        }
        let key = match keys.map(|key| self.types.resolve(&key, false)) {
            None => self.types.fresh(),
            Some(key @ (Type::Bool | Type::Int | Type::Uint | Type::String)) => key,
            // No other key is good for anything, and keys of maps of maps would be types of any size.
            Some(_) => Type::Dyn,
        };
        Type::map(key, values.unwrap_or_else(|| self.types.fresh()))
    }

    fn structure(&mut self, at: u32, made: &mut Struct) -> Type {
        let ty = if self.environment.mutation { library::mutation::type_of(&made.name) } else { None };
        for (field, value, optional) in &mut made.fields {
            let found = self.unless_missing(value, *optional);
            let wanted = ty.as_ref().map(|_| library::mutation::field(&made.name, field));
            match wanted {
                Some(None) => {
                    let message = format!("undefined field '{field}'");
                    self.wrong(value.at, message);
                }
                Some(Some(wanted)) if !self.types.assign(&found, &wanted) => {
                    let message = format!(
                        "expected type of field '{field}' is '{wanted}' but provided type is '{}'",
                        self.shown(&found)
                    );
                    self.wrong(value.at, message);
                }
                _ => {}
            }
        }
        match ty {
            Some(ty) => {
                made.ty = Some(ty.clone());
                ty
            }
            None => {
                let message = format!("undeclared reference to '{}' (in container '')", made.name);
                self.wrong(at, message)
            }
        }
    }

    fn comprehension(&mut self, of: &mut Comprehension) -> Type {
        let range = self.check(&mut of.range);
        let (first, second) = match self.types.resolve(&range, false) {
            Type::List(list) if of.two => (Type::Int, list.element.clone()),
            Type::List(list) => (list.element.clone(), Type::Dyn),
            Type::Map(map) => map.as_ref().clone(),
            Type::Dyn | Type::Error | Type::Param(_) => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.wrong(of.range.at, message);
                (Type::Error, Type::Error)
            }
        };
        let before = self.locals.len();
        let key = first.clone();
        self.locals.push((of.names[0].clone(), first.plain()));
        if of.two {
            self.locals.push((of.names[1].clone(), second.plain()));
        }
        if let Some(condition) = &mut of.condition {
            let at = condition.at;
            self.expect(condition, &Type::Bool, at);
        }
        let step = of.step.as_mut().map(|step| (step.at, self.check(step)));
        self.locals.truncate(before);
        match of.mode {
            Macro::All | Macro::Exists | Macro::ExistsOne => Type::Bool,
            Macro::Filter => Type::list(key),
            Macro::Map | Macro::TransformList => Type::list(step.map_or(Type::Dyn, |(_, ty)| ty)),
            Macro::TransformMap => Type::map(key, step.map_or(Type::Dyn, |(_, ty)| ty)),
            Macro::TransformMapEntry => match step {
                Some((at, ty)) => match self.types.resolve(&ty, false) {
                    made @ (Type::Map(_) | Type::Dyn | Type::Error) => made,
                    other => self.wrong(at, format!("expected type 'map(_var0, _var1)' but found '{other}'")),
                },
                None => Type::Dyn,
            },
        }
    }
}

fn no_overload(name: &str, types: &[Type], member: bool) -> String {
    let names = |types: &[Type]| types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
    let signature = match types.split_first() {
        Some((receiver, rest)) if member => format!("{receiver}.({})", names(rest)),
        _ => format!("({})", names(types)),
    };
    format!("found no matching overload for '{name}' applied to '{signature}'")
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
        Literal::Type(ty) => Type::Type(Some(ty.clone())),
    }
}

/// A type that expressions can name.
fn named_type(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "null_type" => Type::Null,
        "type" => Type::Type(None),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        other => Type::Opaque(library::opaque_name(other)?),
    })
}

/// A signature's type with fresh parameters.
fn instantiate(ty: &Type, params: &[Type; 2]) -> Type {
    match ty {
        Type::Param(index) => params.get(*index as usize).cloned().unwrap_or(Type::Dyn),
        Type::List(list) => Type::list_with(instantiate(&list.element, params), list.semantics.clone()),
        Type::Map(map) => Type::map(instantiate(&map.0, params), instantiate(&map.1, params)),
        Type::Optional(of) => Type::optional(instantiate(of, params)),
        Type::Type(Some(of)) => Type::Type(Some(Arc::new(instantiate(of, params)))),
        other => other.clone(),
    }
}

/// Names of objects count, not how they were declared.
pub(crate) fn same_object(a: &Object, b: &Object) -> bool {
    a.same(b)
}
