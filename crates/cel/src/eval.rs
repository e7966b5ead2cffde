//! From a checked tree to a value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::ast::{Call, Comprehension, Expr, Kind, Literal, Macro, OptionalMap, Select, SelectMode, Struct};
use crate::bindings::{Bindings, Slot};
use crate::budget::Budget;
use crate::compare::{Effort, equal};
use crate::fault::Fault;
use crate::library;
use crate::types::{Object, Type};
use crate::value::{Made, Text, Val, find_json};

/// What creating costs, as upstream counts.
const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
const STRUCT_COST: u64 = 40;
/// A round of a macro: its condition and its accumulator.
const ROUND_COST: u64 = 3;

/// Evaluates one expression.
pub(crate) struct Machine<'m, 'a> {
    pub bindings: &'m Bindings<'a>,
    pub slots: &'m [Slot],
    pub budget: &'m mut Budget,
    pub locals: Vec<Val<'a>>,
}

pub(crate) type Evaluated<'a> = Result<Val<'a>, Fault>;

impl<'a> Machine<'_, 'a> {
    pub fn spend(&mut self, units: u64) -> Result<(), Fault> {
        self.budget.spend(units)
    }

    /// Pays for so many letters that are read or written.
    pub fn spend_letters(&mut self, letters: usize) -> Result<(), Fault> {
        self.spend((letters as u64).div_ceil(10))
    }

    pub fn equal(&mut self, a: &Val<'a>, b: &Val<'a>) -> Result<bool, Fault> {
        let most = self.budget.left().saturating_mul(10).max(10);
        let mut effort = Effort(most);
        let result = equal(a, b, &mut effort);
        self.spend((most - effort.0) / 10)?;
        result
    }

    pub fn eval(&mut self, expr: &Expr) -> Evaluated<'a> {
        self.budget.enter()?;
        let result = self.eval_inside(expr);
        self.budget.leave();
        result
    }

    fn eval_inside(&mut self, expr: &Expr) -> Evaluated<'a> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(literal_value(literal)),
            Kind::Variable(index) => self.variable(*index),
            Kind::Local(index) => self.local(*index),
            Kind::Ident(name) => Err(Fault::new(format!("no such attribute(s): {name}"))),
            Kind::Select(select) => self.select(select),
            Kind::Call(call) => self.call(call),
            Kind::And(list) => self.logic(list, false),
            Kind::Or(list) => self.logic(list, true),
            Kind::If(parts) => self.choose(parts),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct(made) => self.structure(made),
            Kind::Comprehension(of) => self.comprehension(of),
            Kind::OptionalMap(of) => self.optional_map(of),
        }
    }

    fn variable(&mut self, index: usize) -> Evaluated<'a> {
        self.spend(1)?;
        self.bindings.value(&self.slots[index])
    }

    fn local(&mut self, index: usize) -> Evaluated<'a> {
        self.spend(1)?;
        Ok(self.locals.get(index).cloned().unwrap_or(Val::Null))
    }

    fn choose(&mut self, parts: &[Expr; 3]) -> Evaluated<'a> {
        match self.eval(&parts[0])? {
            Val::Bool(true) => self.eval(&parts[1]),
            Val::Bool(false) => self.eval(&parts[2]),
            _ => Err(Fault::NO_OVERLOAD),
        }
    }

    /// `&&` and `||`: the deciding value outweighs errors before and after it.
    fn logic(&mut self, list: &[Expr], decides: bool) -> Evaluated<'a> {
        let mut wrong = None;
        for expr in list {
            match self.eval(expr) {
                Ok(Val::Bool(value)) if value == decides => return Ok(Val::Bool(decides)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => wrong = wrong.or(Some(Fault::NO_OVERLOAD)),
                Err(fault) if fault.can_be_outweighed() => wrong = wrong.or(Some(fault)),
                Err(fault) => return Err(fault),
            }
        }
        wrong.map_or(Ok(Val::Bool(!decides)), Err)
    }

    fn select(&mut self, select: &Select) -> Evaluated<'a> {
        let operand = self.eval(&select.operand)?;
        self.spend(u64::from(select.mode != SelectMode::Test))?;
        let (operand, optional) = match operand {
            Val::Optional(Some(inner)) => ((*inner).clone(), true),
            Val::Optional(None) if select.mode == SelectMode::Test => return Ok(Val::Bool(false)),
            Val::Optional(None) => return Ok(Val::Optional(None)),
            other => (other, select.mode == SelectMode::Optional),
        };
        let found = self.field(&operand, &select.field)?;
        match (select.mode, optional) {
            (SelectMode::Test, _) => Ok(Val::Bool(found.is_some())),
            (_, true) => Ok(Val::Optional(found.map(Rc::new))),
            _ => found.ok_or_else(|| Fault::new(format!("no such key: {}", select.field))),
        }
    }

    fn field(&mut self, operand: &Val<'a>, field: &std::sync::Arc<str>) -> Result<Option<Val<'a>>, Fault> {
        match operand {
            Val::Json(machinery::Value::Object(map), ty) => find_json(map, ty, field),
            Val::Lazy(index) => self.bindings.lazy_field(*index, field, self.budget),
            other => other.find(&Val::String(Text::Shared(field.clone()))),
        }
    }

    fn call(&mut self, call: &Call) -> Evaluated<'a> {
        match &call.args[..] {
            [one] => {
                let args = [self.eval(one)?];
                self.apply(call, &args)
            }
            [one, two] => {
                let args = [self.eval(one)?, self.eval(two)?];
                self.apply(call, &args)
            }
            more => {
                let args = more.iter().map(|arg| self.eval(arg)).collect::<Result<Vec<_>, _>>()?;
                self.apply(call, &args)
            }
        }
    }

    fn apply(&mut self, call: &Call, args: &[Val<'a>]) -> Evaluated<'a> {
        if let (Some(regex), [text, _]) = (&call.regex, args)
            && &*call.function == "matches"
        {
            return library::regexes::matches_compiled(self, regex, text, call.args.get(1));
        }
        let Some(function) = call.resolved else {
            return Err(Fault::new(format!("no such overload: {}", call.function)));
        };
        for form in &function.forms {
            match (form.run)(self, args) {
                Err(Fault::NoOverload) => {}
                other => return other,
            }
        }
        if function.is_operator() {
            return Err(Fault::NO_OVERLOAD);
        }
        let types: Vec<String> = args.iter().map(|arg| arg.type_of().name()).collect();
        Err(Fault::new(format!("no such overload: {}({})", call.function, types.join(", "))))
    }

    fn list(&mut self, items: &[(Expr, bool)]) -> Evaluated<'a> {
        self.spend(LIST_COST + items.len() as u64 / 10)?;
        let mut made = Vec::with_capacity(items.len());
        for (item, optional) in items {
            let value = self.eval(item)?;
            made.extend(self.unless_missing(value, *optional, "list element")?);
        }
        Ok(Val::list(made))
    }

    /// What an entry with `?` stands for.
    fn unless_missing(&self, value: Val<'a>, optional: bool, what: &str) -> Result<Option<Val<'a>>, Fault> {
        match value {
            value if !optional => Ok(Some(value)),
            Val::Optional(inner) => Ok(inner.map(|inner| (*inner).clone())),
            _ => Err(Fault::new(format!("cannot initialize optional {what} from non-optional value"))),
        }
    }

    fn map(&mut self, entries: &[(Expr, Expr, bool)]) -> Evaluated<'a> {
        self.spend(MAP_COST + entries.len() as u64 / 10)?;
        let mut made = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let value = self.eval(value)?;
            let Some(value) = self.unless_missing(value, *optional, "entry")? else { continue };
            let shown = key.to_key().ok_or(Fault::new("unsupported key type"))?;
            if made.insert(shown, value).is_some() {
                let key = library::standard::shown(&key).unwrap_or(Cow::Borrowed("?")).into_owned();
                return Err(Fault::new(format!("Failed with repeated key {key}")));
            }
        }
        Ok(Val::Map(Rc::new(made)))
    }

    fn structure(&mut self, made: &Struct) -> Evaluated<'a> {
        self.spend(STRUCT_COST)?;
        let name = match &made.ty {
            Some(Type::Object(Object::Mutation(name))) => name.clone(),
            _ => made.name.as_str().into(),
        };
        let mut fields = BTreeMap::new();
        for (field, value, optional) in &made.fields {
            let value = self.eval(value)?;
            let Some(value) = self.unless_missing(value, *optional, "entry")? else { continue };
            library::mutation::fits(&name, field, &value)?;
            fields.insert(field.clone(), value);
        }
        Ok(Val::Struct(Rc::new(Made { name, fields })))
    }

    fn optional_map(&mut self, of: &OptionalMap) -> Evaluated<'a> {
        let Val::Optional(inner) = self.eval(&of.operand)? else { return Err(Fault::NO_OVERLOAD) };
        let Some(inner) = inner else { return Ok(Val::Optional(None)) };
        self.locals.push((*inner).clone());
        let result = self.eval(&of.then);
        self.locals.pop();
        Ok(if of.flat { result? } else { Val::some(result?) })
    }

    fn comprehension(&mut self, of: &Comprehension) -> Evaluated<'a> {
        let range = self.eval(&of.range)?;
        let from = self.locals.len();
        let result = self.rounds(of, &range);
        self.locals.truncate(from);
        result
    }

    fn rounds(&mut self, of: &Comprehension, range: &Val<'a>) -> Evaluated<'a> {
        let mut result = Gathered::new(of.mode);
        if let Some(elements) = range.elements() {
            for index in 0..elements.len() {
                let Some(element) = elements.get(index) else { break };
                let names = if of.two { (Val::Int(index as i64), Some(element?)) } else { (element?, None) };
                if self.round(of, names, &mut result)? {
                    break;
                }
            }
        } else {
            for key in range.keys().ok_or(Fault::NO_OVERLOAD)? {
                let value = if of.two { range.find(&key)? } else { None };
                if self.round(of, (key, value), &mut result)? {
                    break;
                }
            }
        }
        result.finish()
    }

    /// One element. Gives whether the result is known.
    fn round(
        &mut self,
        of: &Comprehension,
        names: (Val<'a>, Option<Val<'a>>),
        result: &mut Gathered<'a>,
    ) -> Result<bool, Fault> {
        self.spend(ROUND_COST)?;
        let (from, key) = (self.locals.len(), names.0.clone());
        self.locals.push(names.0);
        self.locals.extend(names.1);
        let done = self.round_inside(of, key, result);
        self.locals.truncate(from);
        done
    }

    fn round_inside(&mut self, of: &Comprehension, key: Val<'a>, result: &mut Gathered<'a>) -> Result<bool, Fault> {
        let taken = match &of.condition {
            None => Ok(true),
            Some(condition) => match self.eval(condition) {
                Ok(Val::Bool(taken)) => Ok(taken),
                Ok(_) => Err(Fault::NO_OVERLOAD),
                Err(fault) => Err(fault),
            },
        };
        match of.mode {
            Macro::All | Macro::Exists => return result.judge(taken),
            Macro::ExistsOne => {
                result.count += u64::from(taken?);
                return Ok(false);
            }
            _ => {}
        }
        if !taken? {
            return Ok(false);
        }
        self.spend(LIST_COST)?;
        let made = match &of.step {
            Some(step) => self.eval(step)?,
            None => key.clone(),
        };
        match of.mode {
            Macro::TransformMap => result.insert(&key, made)?,
            Macro::TransformMapEntry => {
                for key in made.keys().ok_or(Fault::NO_OVERLOAD)? {
                    let value = made.find(&key)?.unwrap_or(Val::Null);
                    result.insert(&key, value)?;
                }
            }
            _ => result.list.push(made),
        }
        Ok(false)
    }
}

/// What the rounds of a macro come to.
struct Gathered<'a> {
    mode: Macro,
    decided: bool,
    wrong: Option<Fault>,
    count: u64,
    list: Vec<Val<'a>>,
    map: BTreeMap<crate::value::Key<'a>, Val<'a>>,
}

impl<'a> Gathered<'a> {
    fn new(mode: Macro) -> Self {
        Self { mode, decided: false, wrong: None, count: 0, list: Vec::new(), map: BTreeMap::new() }
    }

    fn judge(&mut self, taken: Result<bool, Fault>) -> Result<bool, Fault> {
        match taken {
            Ok(taken) => {
                self.decided = taken == (self.mode == Macro::Exists);
                Ok(self.decided)
            }
            Err(fault) if fault.can_be_outweighed() => {
                self.wrong.get_or_insert(fault);
                Ok(false)
            }
            Err(fault) => Err(fault),
        }
    }

    fn insert(&mut self, key: &Val<'a>, value: Val<'a>) -> Result<(), Fault> {
        let key = key.to_key().ok_or(Fault::new("unsupported key type"))?;
        if self.map.insert(key, value).is_some() {
            return Err(Fault::new("insert failed: key already exists"));
        }
        Ok(())
    }

    fn finish(self) -> Evaluated<'a> {
        let decides = self.mode == Macro::Exists;
        Ok(match self.mode {
            Macro::All | Macro::Exists if self.decided => Val::Bool(decides),
            Macro::All | Macro::Exists => return self.wrong.map_or(Ok(Val::Bool(!decides)), Err),
            Macro::ExistsOne => Val::Bool(self.count == 1),
            Macro::TransformMap | Macro::TransformMapEntry => Val::Map(Rc::new(self.map)),
            _ => Val::list(self.list),
        })
    }
}

fn literal_value<'a>(literal: &Literal) -> Val<'a> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(value) => Val::Bool(*value),
        Literal::Int(value) => Val::Int(*value),
        Literal::Uint(value) => Val::Uint(*value),
        Literal::Double(value) => Val::Double(*value),
        Literal::String(text) => Val::String(Text::Shared(text.clone())),
        Literal::Bytes(bytes) => Val::Bytes(bytes.clone()),
        Literal::Type(ty) => Val::Type(ty.clone()),
    }
}
