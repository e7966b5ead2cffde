//! Rules of `x-kubernetes-validations` (KEP-2876; apiextensions' `schema/cel`): compiled when an object is first judged by them.

use cel::{Bindings, Budget, CompileError, Environment, Failure, Program, Type};
use machinery::field::{FieldError, FieldErrorKind, Path};
use machinery::json::Value;
use machinery::schema::ListSemantics;

use crate::custom_resource_definitions::find_field;
use crate::place::{Place, Report};
use crate::read::Read;

/// What all rules of an object may cost together (upstream's `RuntimeCELCostBudget`).
const BUDGET_UNITS: u64 = 10_000_000;
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
const NOT_CHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors \
    to complete validation";
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// The rules of a place and of what is below it.
pub(crate) struct Rules {
    /// The type of the schema, which errors show in the place of the value.
    kind: String,
    rules: Vec<Rule>,
    fields: Vec<(String, Rules)>,
    additional: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
    /// The keys by which elements are found again; without them they are not.
    keys: Option<Vec<String>>,
}

/// A rule, compiled.
struct Rule {
    text: String,
    message: String,
    /// Where errors point to, from the place of the rule.
    path: String,
    reason: Option<String>,
    program: Result<Program, String>,
    message_program: Option<Program>,
    uses_old: bool,
    takes_no_old: bool,
}

/// What compiling a rule comes to.
pub(crate) struct Compiled {
    /// The rule, or what is wrong with it.
    pub rule: Result<Program, String>,
    /// The same of its messageExpression.
    pub message: Option<Result<Program, String>>,
    /// Whether it speaks of the value that stood there before.
    pub uses_old: bool,
}

/// Compiles a rule of a schema whose values expressions see as `ty`.
pub(crate) fn compile(rule: &Value, ty: &Type) -> Compiled {
    let old = if rule.flag("optionalOldSelf") { Type::optional(ty.clone()) } else { ty.clone() };
    let alone = Environment::new().variable("self", ty.clone());
    let both = alone.clone().variable("oldSelf", old);
    let text = rule.text("rule");
    let (program, uses_old) = match cel::compile(text, &alone, &[Type::Bool]) {
        Ok(program) => (Ok(program), false),
        // It may be what stood there before that was not known.
        Err(_) => match cel::compile(text, &both, &[Type::Bool]) {
            Ok(program) => (Ok(program), true),
            Err(CompileError::Result { .. }) => (Err("cel expression must evaluate to a bool".to_owned()), false),
            Err(error) => (Err(error.to_string()), false),
        },
    };
    let message = rule.text("messageExpression");
    let message = (!message.is_empty()).then(|| {
        cel::compile(message, &both, &[Type::String]).map_err(|error| match error {
            CompileError::Result { .. } => "messageExpression must evaluate to a string".to_owned(),
            error @ CompileError::Issues(_) => format!("messageExpression {error}"),
        })
    });
    Compiled { rule: program, message, uses_old }
}

/// What expressions see of values of a schema; nothing of those that may be anything. `is_object` tells a whole object, which
/// has a kind and a name.
pub(crate) fn type_of(schema: &Value, is_object: bool) -> Option<Type> {
    if schema.flag("x-kubernetes-int-or-string") {
        return Some(Type::Dyn);
    }
    let is_object = is_object || schema.flag("x-kubernetes-embedded-resource");
    Some(match (schema.text("type"), schema.text("format").replace('-', "").as_str()) {
        ("array", _) => {
            let element = type_of(schema.present("items")?, false)?;
            Type::list_with(element, list_semantics(schema))
        }
        ("object", _) => match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => Type::map(Type::String, type_of(values, false)?),
            _ => object_type(schema, is_object),
        },
        ("string", "byte") => Type::Bytes,
        ("string", "duration") => Type::Duration,
        ("string", "date") => Type::Date,
        ("string", "datetime") => Type::Timestamp,
        ("string", _) => Type::String,
        ("boolean", _) => Type::Bool,
        ("number", _) => Type::Double,
        ("integer", _) => Type::Int,
        _ => return None,
    })
}

fn object_type(schema: &Value, is_object: bool) -> Type {
    let mut fields: Vec<(String, Type)> = Vec::new();
    for (name, schema) in schema.entries("properties").iter() {
        if let (Some(name), Some(ty)) = (cel::escape(name), type_of(schema, false)) {
            fields.push((name.into_owned(), ty));
        }
    }
    if is_object {
        fields.retain(|(name, _)| !["apiVersion", "kind", "metadata"].contains(&name.as_str()));
        let metadata = Type::object("metadata", [("name", Type::String), ("generateName", Type::String)]);
        fields.push(("metadata".to_owned(), metadata));
        fields.extend(["apiVersion", "kind"].map(|name| (name.to_owned(), Type::String)));
    }
    Type::object("object", fields)
}

fn list_semantics(schema: &Value) -> ListSemantics {
    match schema.text("x-kubernetes-list-type") {
        "set" => ListSemantics::Set,
        "map" => {
            let keys = schema.texts("x-kubernetes-list-map-keys");
            ListSemantics::Map(keys.map(|key| key.to_owned().into()).collect())
        }
        _ => ListSemantics::Atomic,
    }
}

impl Rules {
    /// The rules of a schema; nothing when there are none.
    pub(crate) fn new(schema: &Value, is_object: bool) -> Option<Self> {
        let is_object = is_object || schema.flag("x-kubernetes-embedded-resource");
        let below = |key: &str| {
            let inner = schema.get(key).filter(|inner| inner.as_object().is_some())?;
            Self::new(inner, false).map(Box::new)
        };
        let fields = schema.entries("properties").iter();
        let rules = schema.items("x-kubernetes-validations");
        let ty = if rules.is_empty() { None } else { type_of(schema, is_object) };
        let made = Self {
            kind: schema.text("type").to_owned(),
            rules: ty.iter().flat_map(|ty| rules.iter().map(|rule| Rule::new(rule, schema, ty))).collect(),
            fields: fields.filter_map(|(name, schema)| Some((name.to_owned(), Self::new(schema, false)?))).collect(),
            additional: below("additionalProperties"),
            items: below("items"),
            keys: match list_semantics(schema) {
                ListSemantics::Map(keys) => Some(keys.iter().map(ToString::to_string).collect()),
                _ => None,
            },
        };
        let is_needed =
            !made.rules.is_empty() || !made.fields.is_empty() || made.additional.is_some() || made.items.is_some();
        is_needed.then_some(made)
    }

    /// All rules that a value breaks, besides errors that were found before and may keep rules from being read. `path` is where
    /// the value stands, empty for a whole object.
    pub(crate) fn validate(&self, value: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
        use FieldErrorKind::{Required, TooLong, TooMany, TypeInvalid};
        if errors.iter().any(|error| matches!(error.kind, Required | TooLong | TooMany | TypeInvalid)) {
            errors.invalid(&Place::root("<nil>"), "null", NOT_CHECKED);
            return;
        }
        let mut walk = Walk { budget: Budget::new(BUDGET_UNITS), errors };
        _ = walk.node(self, value, old, false, path);
    }
}

impl Rule {
    fn new(rule: &Value, schema: &Value, ty: &Type) -> Self {
        let compiled = compile(rule, ty);
        let path = rule.text("fieldPath");
        Self {
            text: rule.text("rule").trim().to_owned(),
            message: rule.text("message").trim().to_owned(),
            path: find_field(schema, path).map(|(shown, _)| shown).unwrap_or_default(),
            reason: rule.present("reason").and_then(Value::as_str).map(str::to_owned),
            program: compiled.rule,
            message_program: compiled.message.and_then(Result::ok),
            uses_old: compiled.uses_old,
            takes_no_old: rule.flag("optionalOldSelf"),
        }
    }

    /// What names the rule in errors.
    fn name(&self) -> &str {
        if self.message.is_empty() { &self.text } else { &self.message }
    }

    fn default_message(&self) -> String {
        if self.message.is_empty() { format!("failed rule: {}", self.text) } else { self.message.clone() }
    }
}

/// No more rules are read.
struct Exhausted;

struct Walk<'a> {
    budget: Budget,
    errors: &'a mut Vec<FieldError>,
}

impl Walk<'_> {
    /// `unchanged` says that something around the value is what it was.
    fn node(
        &mut self,
        rules: &Rules,
        value: &Value,
        old: Option<&Value>,
        unchanged: bool,
        path: &str,
    ) -> Result<(), Exhausted> {
        if value.is_null() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        let unchanged = unchanged || old == Some(value);
        for rule in &rules.rules {
            // A change is judged where there is something to compare with.
            if !rule.uses_old || rule.takes_no_old || old.is_some() {
                self.rule(rule, rules, value, old, unchanged && !rule.uses_old, path)?;
            }
        }
        match value {
            Value::Array(items) => {
                let Some(below) = &rules.items else { return Ok(()) };
                for (index, item) in items.iter().enumerate() {
                    let before = rules.element_before(old, item);
                    self.node(below, item, before, unchanged, &format!("{path}[{index}]"))?;
                }
            }
            Value::Object(map) => {
                for (key, value) in map.iter() {
                    let before = old.and_then(|old| old.get(key));
                    if let Some((_, below)) = rules.fields.iter().find(|(name, _)| name == key) {
                        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                        self.node(below, value, before, unchanged, &path)?;
                    } else if let Some(below) = &rules.additional {
                        self.node(below, value, before, unchanged, &format!("{path}[{key}]"))?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rule(
        &mut self,
        rule: &Rule,
        rules: &Rules,
        value: &Value,
        old: Option<&Value>,
        is_excused: bool,
        path: &str,
    ) -> Result<(), Exhausted> {
        let program = match &rule.program {
            Ok(program) => program,
            Err(error) => {
                self.tell(
                    path,
                    FieldErrorKind::Invalid,
                    &rules.kind,
                    &format!("rule compile error: {error}"),
                    is_excused,
                );
                return Ok(());
            }
        };
        let mut bindings = Bindings::new().json("self", value);
        if let Some(old) = old {
            bindings = bindings.json("oldSelf", old);
        }
        let invalid = FieldErrorKind::Invalid;
        match program.evaluate(&bindings, &mut self.budget) {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(_) => {
                let message = self.message(rule, &bindings, path, &rules.kind)?;
                let path = match (path, rule.path.as_str()) {
                    (path, "") => path.to_owned(),
                    ("", below) => below.to_owned(),
                    (path, below) => format!("{path}.{below}"),
                };
                let kind = match rule.reason.as_deref() {
                    Some("FieldValueForbidden") => FieldErrorKind::Forbidden,
                    Some("FieldValueRequired") => FieldErrorKind::Required,
                    Some("FieldValueDuplicate") => FieldErrorKind::Duplicate,
                    _ => invalid,
                };
                self.tell(&path, kind, &rules.kind, &message, is_excused);
                Ok(())
            }
            Err(Failure::Budget) => {
                self.tell(path, invalid, &rules.kind, OUT_OF_BUDGET, false);
                Err(Exhausted)
            }
            Err(Failure::Error(error)) => {
                let name = rule.name();
                if error.starts_with("operation cancelled: actual cost limit exceeded") {
                    let detail = format!(
                        "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
                    );
                    self.tell(path, invalid, &rules.kind, &detail, false);
                    return Err(Exhausted);
                }
                let detail = if error.starts_with("no such overload") {
                    format!(
                        "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {name}"
                    )
                } else {
                    format!("{error} evaluating rule: {name}")
                };
                self.tell(path, invalid, &rules.kind, &detail, is_excused);
                Ok(())
            }
        }
    }

    /// What is said of a broken rule: what its expression comes to, if that is a message.
    fn message(&mut self, rule: &Rule, bindings: &Bindings<'_>, path: &str, kind: &str) -> Result<String, Exhausted> {
        let Some(program) = &rule.message_program else { return Ok(rule.default_message()) };
        match program.evaluate(bindings, &mut self.budget) {
            Ok(Value::String(text)) => {
                let text = text.trim();
                let is_message = !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n');
                Ok(if is_message { text.to_owned() } else { rule.default_message() })
            }
            Err(Failure::Budget) => {
                let detail = "messageExpression evaluation failed due to running out of cost budget, no further validation \
                    rules will be run";
                self.tell(path, FieldErrorKind::Invalid, kind, detail, false);
                Err(Exhausted)
            }
            _ => Ok(rule.default_message()),
        }
    }

    /// Errors of what did not change do not count (KEP-4008).
    fn tell(&mut self, path: &str, kind: FieldErrorKind, value: &str, detail: &str, is_excused: bool) {
        if is_excused {
            return;
        }
        let nowhere = Path::default();
        let error = match kind {
            FieldErrorKind::Forbidden => FieldError::forbidden(&nowhere, detail),
            FieldErrorKind::Required => FieldError::required(&nowhere, detail),
            FieldErrorKind::Duplicate => FieldError::duplicate(&nowhere, value),
            _ => FieldError::invalid(&nowhere, value, detail),
        };
        let field = if path.is_empty() { "<nil>" } else { path };
        self.errors.push(FieldError { field: field.to_owned(), ..error });
    }
}

impl Rules {
    /// The element that has the same keys.
    fn element_before<'v>(&self, old: Option<&'v Value>, item: &Value) -> Option<&'v Value> {
        let keys = self.keys.as_ref()?;
        let same = |old: &&Value| keys.iter().all(|key| old.get(key) == item.get(key));
        old?.as_array()?.iter().find(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(schema: &str, value: &str, old: Option<&str>) -> Vec<String> {
        let parse = |text: &str| Value::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
        let rules = Rules::new(&parse(schema), true).expect("there are rules");
        let mut errors = Vec::new();
        rules.validate(&parse(value), old.map(parse).as_ref(), "", &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn broken_rules_are_told_in_upstreams_words() {
        let schema = r#"{"type":"object","properties":{"spec":{"type":"object","properties":{
            "min":{"type":"integer"},"max":{"type":"integer"},"a-b":{"type":"string"},
            "when":{"type":"string","format":"date-time"},"port":{"x-kubernetes-int-or-string":true},
            "m":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],
              "items":{"type":"object","properties":{"k":{"type":"string"},"v":{"type":"integer"}},
                "x-kubernetes-validations":[{"rule":"self.v >= oldSelf.v","message":"v may only grow"}]}}},
            "x-kubernetes-validations":[
              {"rule":"self.min <= self.max","fieldPath":".max","reason":"FieldValueForbidden","messageExpression":"'max is below ' + string(self.min)"},
              {"rule":"!has(self.a__dash__b) || self.a__dash__b.size() < 3"},
              {"rule":"!has(self.port) || self.port < 10"},
              {"rule":"optionalOldSelf.orValue(true)","optionalOldSelf":false}]}},
            "x-kubernetes-validations":[{"rule":"self.metadata.name.startsWith('x')","message":"name"}]}"#;
        let schema = schema.replace(
            r#"{"rule":"optionalOldSelf.orValue(true)","optionalOldSelf":false}"#,
            r#"{"rule":"!oldSelf.hasValue() || oldSelf.value().min <= self.min","optionalOldSelf":true}"#,
        );
        let cases: [(&str, Option<&str>, &[&str]); 6] = [
            (r#"{"metadata":{"name":"x"},"spec":{"min":1,"max":2}}"#, None, &[]),
            (
                r#"{"metadata":{"name":"y"},"spec":{"min":3,"max":2,"a-b":"long"}}"#,
                None,
                &[
                    "<nil>: Invalid value: \"object\": name",
                    "spec.max: Forbidden: max is below 3",
                    "spec: Invalid value: \"object\": failed rule: !has(self.a__dash__b) || self.a__dash__b.size() < 3",
                ],
            ),
            (
                r#"{"metadata":{"name":"x"},"spec":{"min":1,"max":2,"port":"http"}}"#,
                None,
                &[
                    "spec: Invalid value: \"object\": 'no such overload': call arguments did not match a supported operator, function or macro signature for rule: !has(self.port) || self.port < 10",
                ],
            ),
            (
                r#"{"metadata":{"name":"x"},"spec":{"min":1,"max":2,"m":[{"k":"b","v":0},{"k":"a","v":1}]}}"#,
                Some(r#"{"metadata":{"name":"x"},"spec":{"min":1,"max":2,"m":[{"k":"a","v":2}]}}"#),
                &["spec.m[1]: Invalid value: \"object\": v may only grow"],
            ),
            (
                r#"{"metadata":{"name":"x"},"spec":{"min":1,"max":2}}"#,
                Some(r#"{"metadata":{"name":"x"},"spec":{"min":2,"max":2}}"#),
                &[
                    "spec: Invalid value: \"object\": failed rule: !oldSelf.hasValue() || oldSelf.value().min <= self.min",
                ],
            ),
            // What did not change may go on being wrong.
            (
                r#"{"metadata":{"name":"x"},"spec":{"min":3,"max":2}}"#,
                Some(r#"{"metadata":{"name":"y"},"spec":{"min":3,"max":2}}"#),
                &[],
            ),
        ];
        for (value, old, wanted) in cases {
            assert_eq!(broken(&schema, value, old), wanted, "{value}");
        }
    }

    #[test]
    fn rules_are_not_read_when_the_object_is_invalid() {
        let schema = br#"{"type":"object","x-kubernetes-validations":[{"rule":"false"}]}"#;
        let rules = Rules::new(&Value::parse(schema).expect("the test's own text"), true).expect("there is a rule");
        let mut errors = vec![FieldError::required(&Path::new("spec"), "")];
        rules.validate(&Value::object(), None, "", &mut errors);
        let wanted = "<nil>: Invalid value: \"null\": some validation rules were not checked because the object was invalid; \
            correct the existing errors to complete validation";
        assert_eq!(errors[1].to_string(), wanted);
    }

    #[test]
    fn rules_that_do_not_compile_say_why() {
        let cases = [
            (r#"{"rule":"self.x"}"#, "compilation failed: "),
            (r#"{"rule":"1"}"#, "cel expression must evaluate to a bool"),
            (r#"{"rule":"self.a +"}"#, "compilation failed: "),
        ];
        let schema =
            Value::parse(br#"{"type":"object","properties":{"a":{"type":"integer"}}}"#).expect("the test's own text");
        let ty = type_of(&schema, false).expect("it has a type");
        for (rule, wanted) in cases {
            let rule = Value::parse(rule.as_bytes()).expect("the test's own text");
            let error = compile(&rule, &ty).rule.expect_err("it is wrong");
            assert!(error.starts_with(wanted), "{error}");
        }
    }
}
