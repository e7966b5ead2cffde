//! Values against a structural schema, with the errors that upstream's validator (kube-openapi's `validation/validate`) has
//! and the form in which they reach the client (`apiserver/validation`).
//!
//! On updates, errors of a value that did not change do not count (KEP-4008).

use std::fmt::Write;

use super::Node;
use super::node::{Bound, Checks, Kind, Size};
use crate::field::{FieldError, FieldErrorKind, Path};
use crate::json::{Map, Value};
use crate::schema::{ListSemantics, Text};

/// All that is wrong with a value. `prefix` is where it stands (empty for a whole object); `old` is what stood there.
pub fn validate(value: &Value, old: Option<&Value>, node: &Node, prefix: &str) -> Vec<FieldError> {
    let mut walk = Walk { prefix, path: String::new() };
    walk.node(value, old, node).errors
}

/// Where the walk is. The path is that of upstream's messages: from the value, without the prefix.
struct Walk<'a> {
    prefix: &'a str,
    path: String,
}

/// What came of a part. The number of checks that were made tells which of several failed alternatives was the nearest.
#[derive(Default)]
struct Outcome {
    errors: Vec<FieldError>,
    checks: u32,
}

impl Outcome {
    fn merge(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.checks += other.checks;
    }
}

impl Walk<'_> {
    /// Validates with the path one step longer.
    fn below(&mut self, step: std::fmt::Arguments<'_>, value: &Value, old: Option<&Value>, node: &Node) -> Outcome {
        let length = self.path.len();
        _ = self.path.write_fmt(step);
        let outcome = self.node(value, old, node);
        self.path.truncate(length);
        outcome
    }

    fn node(&mut self, value: &Value, old: Option<&Value>, node: &Node) -> Outcome {
        let mut outcome = Outcome::default();
        if value.is_null() {
            if node.kind != Kind::Any && !node.nullable {
                outcome.errors.push(self.wrong_type(node.kind.as_str(), "null"));
            }
            self.allowed(value, node.checks.as_deref(), &mut outcome);
        } else {
            self.value(value, old, node, &mut outcome);
        }
        if !outcome.errors.is_empty() && old == Some(value) {
            outcome.errors.clear();
        }
        outcome
    }

    fn value(&mut self, value: &Value, old: Option<&Value>, node: &Node, outcome: &mut Outcome) {
        if node.kind != Kind::Any || node.checks.as_ref().is_some_and(|checks| checks.format.is_some()) {
            match self.misfit(value, node) {
                Some(error) => outcome.errors.push(error),
                None => outcome.checks += 1,
            }
            outcome.checks += 1;
        }
        if let Some(checks) = &node.checks {
            self.combined(value, old, checks, outcome);
            self.scalar(value, checks, outcome);
        }
        match value {
            Value::Array(items) => self.list(items, old, node, outcome),
            Value::Object(map) => self.object(map, old, node, outcome),
            _ => {}
        }
        self.allowed(value, node.checks.as_deref(), outcome);
        outcome.checks += 3;
    }

    /// A value of another type than the schema's.
    fn misfit(&self, value: &Value, node: &Node) -> Option<FieldError> {
        let is_whole = match value {
            Value::Integer(_) => true,
            Value::Float(number) => is_json_integer(*number),
            _ => false,
        };
        let is_number = matches!(value, Value::Integer(_) | Value::Float(_));
        let fits = match node.kind {
            Kind::Any => true,
            Kind::Object => matches!(value, Value::Object(_) | Value::Raw(_)),
            Kind::Array => matches!(value, Value::Array(_)),
            Kind::String => matches!(value, Value::String(_)),
            Kind::Integer => is_whole,
            Kind::Number => is_number,
            Kind::Boolean => matches!(value, Value::Bool(_)),
            Kind::IntOrString => is_whole || matches!(value, Value::String(_)),
        };
        (!fits).then(|| self.wrong_type(node.kind.as_str(), type_of(value)))
    }

    /// What is said of a text, a number or anything by itself.
    fn scalar(&self, value: &Value, checks: &Checks, outcome: &mut Outcome) {
        match value {
            Value::String(text) => {
                self.text(text, checks, outcome);
                outcome.checks += 1;
                if let Some((format, name)) = checks.format.map(|format| (format, format.name())) {
                    if !format.is_valid(text) {
                        let detail =
                            format!("{} in body must be of type {name}: {}", self.path, crate::field::quoted(text));
                        outcome.errors.push(self.error(FieldErrorKind::TypeInvalid, value, &detail));
                    }
                    outcome.checks += 1;
                }
            }
            Value::Integer(_) | Value::Float(_) => {
                self.number(value, checks, outcome);
                outcome.checks += 2;
            }
            _ => {}
        }
    }

    /// Of several faults of a text the first is told.
    fn text(&self, text: &str, checks: &Checks, outcome: &mut Outcome) {
        let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(max) = checks.length.max.filter(|max| length() > *max) {
            let max = usize::try_from(max).unwrap_or_default();
            let error = FieldError::too_long(&Path::default(), max);
            outcome.errors.push(FieldError { field: self.field(), ..error });
        } else if let Some(min) = checks.length.min.filter(|min| length() < *min) {
            outcome.errors.push(self.invalid(&text.into(), &format!("should be at least {min} chars long")));
        } else if let Some(pattern) = &checks.pattern {
            let wanted = &pattern.text;
            match pattern.matches(text) {
                Ok(true) => {}
                Ok(false) => outcome.errors.push(self.invalid(&text.into(), &format!("should match '{wanted}'"))),
                Err(error) => {
                    let detail = format!("should match '{wanted}, but pattern is invalid: {error}'");
                    outcome.errors.push(self.invalid(&text.into(), &detail));
                }
            }
        }
    }

    fn number(&self, value: &Value, checks: &Checks, outcome: &mut Outcome) {
        let number = value.as_f64().unwrap_or_default();
        if let Some(factor) = checks.multiple_of {
            outcome.errors.extend(self.multiple(value, number, factor));
        }
        let mut bounded = |bound: Option<Bound>, is_out: fn(f64, f64) -> bool, words: [&str; 2]| {
            let Some(bound) = bound else { return };
            let whole = matches!(value, Value::Integer(_));
            let limit = if whole { bound.value.trunc() } else { bound.value };
            if is_out(number, limit) || bound.is_exclusive && number == limit {
                let shown = if whole { format!("{limit:.0}") } else { go_float(limit) };
                let words = words[usize::from(bound.is_exclusive)];
                outcome.errors.push(self.invalid(value, &format!("should be {words} {shown}")));
            }
        };
        bounded(checks.minimum, |n, limit| n < limit, ["greater than or equal to", "greater than"]);
        bounded(checks.maximum, |n, limit| n > limit, ["less than or equal to", "less than"]);
    }

    fn multiple(&self, value: &Value, number: f64, factor: f64) -> Option<FieldError> {
        let (factor, is_multiple) = match value {
            #[expect(clippy::cast_possible_truncation, reason = "upstream compares whole numbers with whole factors")]
            Value::Integer(number) => (factor.trunc(), (factor as i64) > 0 && number % (factor as i64) == 0),
            _ => {
                let times = if factor < 1.0 { 1.0 / factor * number } else { number / factor };
                (factor, factor > 0.0 && is_json_integer(times))
            }
        };
        if factor <= 0.0 {
            let shown = go_float(factor);
            let detail = format!("factor MultipleOf declared for {} must be positive: {shown}", self.path);
            return Some(self.error(FieldErrorKind::Invalid, &factor.into(), &detail));
        }
        (!is_multiple).then(|| self.invalid(value, &format!("should be a multiple of {}", go_float(factor))))
    }

    fn allowed(&self, value: &Value, checks: Option<&Checks>, outcome: &mut Outcome) {
        let Some(checks) = checks.filter(|checks| !checks.allowed.is_empty()) else { return };
        let same = |allowed: &Value| match (allowed.as_f64(), value.as_f64()) {
            (Some(allowed), Some(value)) => allowed == value,
            _ => allowed == value && !value.is_null(),
        };
        if checks.allowed.iter().any(same) {
            return;
        }
        let names: Vec<String> =
            checks.allowed.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let shown = Shown(value);
        let error = FieldError::not_supported(&Path::default(), shown, &names);
        outcome.errors.push(FieldError { field: self.field(), ..error });
    }

    fn list(&mut self, items: &[Value], old: Option<&Value>, node: &Node, outcome: &mut Outcome) {
        let old = Before::of(old, node.list());
        if let Some(element) = &node.items {
            for (i, item) in items.iter().enumerate() {
                let before = old.element(item);
                let inner = self.below(format_args!("[{i}]"), item, before, element);
                outcome.merge(inner);
            }
        }
        outcome.checks += 2;
        let Some(checks) = &node.checks else { return };
        let size = items.len();
        if let Some(min) = checks.items.min.filter(|min| is_less(size, *min)) {
            outcome.errors.push(self.invalid(&size_value(size), &format!("should have at least {min} items")));
        }
        outcome.errors.extend(self.too_many(size, checks.items));
        if checks.unique_items && has_equals(items) {
            outcome.errors.push(self.invalid(&"".into(), "shouldn't contain duplicates"));
        }
    }

    fn object(&mut self, map: &Map, old: Option<&Value>, node: &Node, outcome: &mut Outcome) {
        outcome.checks += 1;
        let checks = node.checks.as_deref();
        if let Some(checks) = checks {
            let size = map.len();
            if let Some(min) = checks.properties.min.filter(|min| is_less(size, *min)) {
                outcome.errors.push(self.invalid(&size_value(size), &format!("should have at least {min} properties")));
            }
            outcome.errors.extend(self.too_many(size, checks.properties));
        }
        for (key, value) in map.iter() {
            let before = old.and_then(|old| old.get(key));
            match (node.property(key), &node.additional) {
                (Some(field), _) if self.path.is_empty() => {
                    outcome.merge(self.below(format_args!("{key}"), value, before, field))
                }
                (Some(field), _) => outcome.merge(self.below(format_args!(".{key}"), value, before, field)),
                (None, Some(field)) => outcome.merge(self.below(format_args!(".{key}"), value, before, field)),
                (None, None) if checks.is_some_and(|checks| checks.closed) => {
                    let detail = format!("{}.{key} in body is a forbidden property", self.path);
                    outcome.errors.push(self.error(FieldErrorKind::Invalid, &key.into(), &detail));
                }
                (None, None) => {}
            }
        }
        for required in checks.iter().flat_map(|checks| &checks.required) {
            if !map.contains_key(required) {
                let path = format!("{}.{required}", self.path);
                let error = FieldError::required(&Path::default(), "");
                outcome.errors.push(FieldError { field: join(self.prefix, &path), ..error });
            }
        }
    }

    fn too_many(&self, actual: usize, size: Size) -> Option<FieldError> {
        let max = size.max.and_then(|max| usize::try_from(max).ok()).filter(|max| actual > *max)?;
        Some(FieldError { field: self.field(), ..FieldError::too_many(&Path::default(), actual, max) })
    }

    /// `anyOf`, `oneOf`, `allOf` and `not`.
    fn combined(&mut self, value: &Value, old: Option<&Value>, checks: &Checks, outcome: &mut Outcome) {
        if !checks.any_of.is_empty() {
            self.any_of(value, old, &checks.any_of, outcome);
        }
        if !checks.one_of.is_empty() {
            self.one_of(value, old, &checks.one_of, outcome);
        }
        if !checks.all_of.is_empty() {
            self.all_of(value, old, &checks.all_of, outcome);
        }
        if let Some(not) = &checks.not
            && self.node(value, None, not).errors.is_empty()
        {
            outcome.errors.push(self.composite("must not validate the schema (not)"));
        }
        outcome.checks += 1;
    }

    fn any_of(&mut self, value: &Value, old: Option<&Value>, nodes: &[Node], outcome: &mut Outcome) {
        let mut nearest: Option<Outcome> = None;
        for node in nodes {
            let inner = self.node(value, old, node);
            if inner.errors.is_empty() {
                return outcome.merge(inner);
            }
            if nearest.as_ref().is_none_or(|nearest| inner.checks > nearest.checks) {
                nearest = Some(inner);
            }
        }
        outcome.errors.push(self.composite("must validate at least one schema (anyOf)"));
        outcome.merge(nearest.unwrap_or_default());
    }

    fn one_of(&mut self, value: &Value, old: Option<&Value>, nodes: &[Node], outcome: &mut Outcome) {
        let (mut valid, mut first, mut nearest) = (0, None, None::<Outcome>);
        for node in nodes {
            let inner = self.node(value, old, node);
            if inner.errors.is_empty() {
                valid += 1;
                nearest = None;
                first.get_or_insert(inner);
            } else if valid == 0 && nearest.as_ref().is_none_or(|nearest| inner.checks > nearest.checks) {
                nearest = Some(inner);
            }
        }
        if valid == 1 {
            return outcome.merge(first.unwrap_or_default());
        }
        let found = if valid == 0 { "none valid".to_owned() } else { format!("{valid} valid alternatives") };
        let text = format!("must validate one and only one schema (oneOf). Found {found}");
        outcome.errors.push(self.composite(&text));
        outcome.merge(nearest.unwrap_or_default());
    }

    fn all_of(&mut self, value: &Value, old: Option<&Value>, nodes: &[Node], outcome: &mut Outcome) {
        let mut valid = 0;
        for node in nodes {
            let inner = self.node(value, old, node);
            valid += usize::from(inner.errors.is_empty());
            outcome.merge(inner);
        }
        if valid != nodes.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            outcome.errors.push(self.composite(&format!("must validate all the schemas (allOf){none}")));
        }
    }

    /// The field as a Status names it.
    fn field(&self) -> String {
        join(self.prefix, &self.path)
    }

    fn wrong_type(&self, wanted: &str, found: &str) -> FieldError {
        let detail = format!("{} in body must be of type {wanted}: {found:?}", self.path);
        self.error(FieldErrorKind::TypeInvalid, &found.into(), &detail)
    }

    /// `Invalid value: VALUE: PATH in body DETAIL`
    fn invalid(&self, value: &Value, detail: &str) -> FieldError {
        self.error(FieldErrorKind::Invalid, value, &format!("{} in body {detail}", self.path))
    }

    fn error(&self, kind: FieldErrorKind, value: &Value, detail: &str) -> FieldError {
        let error = FieldError::invalid(&Path::default(), Shown(value), detail);
        FieldError { kind, field: self.field(), ..error }
    }

    /// An error that upstream does not tie to a field.
    fn composite(&self, text: &str) -> FieldError {
        let detail = format!("{} {text}", crate::field::quoted(&self.path));
        let error = FieldError::invalid(&Path::default(), "", &detail);
        FieldError { field: join(self.prefix, ""), ..error }
    }
}

/// The prefix and a path of messages as one path; `<nil>` when both are empty.
fn join(prefix: &str, path: &str) -> String {
    let path = path.strip_prefix('.').unwrap_or(path);
    match (prefix, path) {
        ("", "") => "<nil>".to_owned(),
        ("", path) => path.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, path) => format!("{prefix}.{path}"),
    }
}

/// A value as field errors show it.
struct Shown<'a>(&'a Value);

impl crate::field::Shown for Shown<'_> {
    fn shown(&self) -> String {
        match self.0 {
            Value::Null => "\"null\"".to_owned(),
            Value::String(text) => text.as_str().shown(),
            Value::Float(number) => go_float(*number),
            other => other.to_string(),
        }
    }
}

/// What Go's `%v` prints of a number with a fraction.
fn go_float(number: f64) -> String {
    let exponent = if number == 0.0 { 0.0 } else { number.abs().log10().floor() };
    if (-4.0..6.0).contains(&exponent) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    let Some((digits, power)) = text.split_once('e') else { return text };
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{digits}e{sign}{power:0>2}")
}

/// go-openapi's `IsFloat64AJSONInteger`.
fn is_json_integer(number: f64) -> bool {
    const SAFE_MAX: f64 = 9_007_199_254_740_991.0;
    const RELATIVE_ERROR_MAX: f64 = 1e-9;
    if !number.is_finite() || number.abs() > SAFE_MAX {
        return false;
    }
    let whole = number.trunc();
    if whole == number {
        return true;
    }
    whole != 0.0 && (number - whole).abs() / (number.abs() + whole.abs()) < RELATIVE_ERROR_MAX
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Integer(_) => "integer",
        Value::Float(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) | Value::Raw(_) => "object",
    }
}

fn is_less(size: usize, min: i64) -> bool {
    i64::try_from(size).is_ok_and(|size| size < min)
}

fn size_value(size: usize) -> Value {
    i64::try_from(size).unwrap_or(i64::MAX).into()
}

fn has_equals(items: &[Value]) -> bool {
    let mut seen = std::collections::HashSet::new();
    items.iter().any(|item| !seen.insert(item.to_string()))
}

/// The elements that a list had, when they can be found again: only those of a list that is a map can.
struct Before<'v> {
    keys: &'v [Text],
    elements: &'v [Value],
}

impl<'v> Before<'v> {
    fn of(old: Option<&'v Value>, semantics: &'v ListSemantics) -> Self {
        match (old, semantics) {
            (Some(Value::Array(elements)), ListSemantics::Map(keys)) => Self { keys, elements },
            _ => Self { keys: &[], elements: &[] },
        }
    }

    fn element(&self, item: &Value) -> Option<&'v Value> {
        let same = |old: &&Value| self.keys.iter().all(|key| old.get(key) == item.get(key));
        self.elements.iter().find(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(schema: &str, value: &str, old: Option<&str>) -> Vec<String> {
        let parse = |text: &str| Value::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
        let found = validate(&parse(value), old.map(parse).as_ref(), &Node::new(&parse(schema)), "");
        found.iter().map(ToString::to_string).collect()
    }

    /// `(schema, value, what is wrong with it)`
    const SCALARS: &[(&str, &str, &str)] = &[
        (
            r#"{"type":"integer"}"#,
            r#""x""#,
            r#"a: Invalid value: "string": a in body must be of type integer: "string""#,
        ),
        (r#"{"type":"integer"}"#, "1.5", r#"a: Invalid value: "number": a in body must be of type integer: "number""#),
        (r#"{"type":"integer"}"#, "2.0", ""),
        (r#"{"type":"number"}"#, "2", ""),
        (r#"{"type":"string"}"#, "null", r#"a: Invalid value: "null": a in body must be of type string: "null""#),
        (r#"{"type":"string","nullable":true}"#, "null", ""),
        (
            r#"{"x-kubernetes-int-or-string":true}"#,
            "true",
            r#"a: Invalid value: "boolean": a in body must be of type integer,string: "boolean""#,
        ),
        (r#"{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]}"#, "5", ""),
        (
            r#"{"type":"integer","minimum":0}"#,
            "-1",
            "a: Invalid value: -1: a in body should be greater than or equal to 0",
        ),
        (
            r#"{"type":"integer","minimum":0,"exclusiveMinimum":true}"#,
            "0",
            "a: Invalid value: 0: a in body should be greater than 0",
        ),
        (r#"{"type":"integer","maximum":5}"#, "6", "a: Invalid value: 6: a in body should be less than or equal to 5"),
        (
            r#"{"type":"number","maximum":0.5}"#,
            "0.75",
            "a: Invalid value: 0.75: a in body should be less than or equal to 0.5",
        ),
        (r#"{"type":"integer","multipleOf":3}"#, "4", "a: Invalid value: 4: a in body should be a multiple of 3"),
        (r#"{"type":"number","multipleOf":0.1}"#, "0.3", ""),
        (r#"{"type":"string","maxLength":2}"#, r#""äöü""#, "a: Too long: may not be more than 2 bytes"),
        (
            r#"{"type":"string","minLength":2}"#,
            r#""a""#,
            r#"a: Invalid value: "a": a in body should be at least 2 chars long"#,
        ),
        (r#"{"type":"string","pattern":"^a+$"}"#, r#""b""#, r#"a: Invalid value: "b": a in body should match '^a+$'"#),
        (r#"{"type":"string","enum":["x","y"]}"#, r#""z""#, r#"a: Unsupported value: "z": supported values: "x", "y""#),
        (r#"{"type":"integer","enum":[1,2]}"#, "3", r#"a: Unsupported value: 3: supported values: "1", "2""#),
        (
            r#"{"type":"string","format":"date"}"#,
            r#""soon""#,
            r#"a: Invalid value: "soon": a in body must be of type date: "soon""#,
        ),
        (r#"{"type":"string","format":"made-up"}"#, r#""x""#, ""),
    ];

    #[test]
    fn scalars_are_judged_in_upstreams_words() {
        for (schema, value, wanted) in SCALARS {
            let schema = format!(r#"{{"type":"object","properties":{{"a":{schema}}}}}"#);
            let found = errors(&schema, &format!(r#"{{"a":{value}}}"#), None);
            assert_eq!(found.join("\n"), *wanted, "{schema} {value}");
        }
    }

    #[test]
    fn lists_and_objects_are_judged_in_upstreams_words() {
        let schema = r#"{"type":"object","required":["must"],"properties":{"spec":{"type":"object","required":["a"],
            "minProperties":1,"maxProperties":2,"properties":{"l":{"type":"array","minItems":1,"maxItems":2,
            "items":{"type":"object","required":["n"],"properties":{"n":{"type":"string"}}}},
            "m":{"type":"object","additionalProperties":{"type":"integer"}}}}}}"#;
        let cases: [(&str, &[&str]); 4] = [
            (r#"{"must":1}"#, &[]),
            (
                r#"{"spec":{}}"#,
                &[
                    "spec: Invalid value: 0: spec in body should have at least 1 properties",
                    "spec.a: Required value",
                    "must: Required value",
                ],
            ),
            (
                r#"{"must":1,"spec":{"a":1,"l":[{},{"n":1},"x"],"m":{"k":"v"}}}"#,
                &[
                    "spec: Too many: 3: must have at most 2 items",
                    "spec.l[0].n: Required value",
                    r#"spec.l[1].n: Invalid value: "integer": spec.l[1].n in body must be of type string: "integer""#,
                    r#"spec.l[2]: Invalid value: "string": spec.l[2] in body must be of type object: "string""#,
                    "spec.l: Too many: 3: must have at most 2 items",
                    r#"spec.m.k: Invalid value: "string": spec.m.k in body must be of type integer: "string""#,
                ],
            ),
            (
                r#"{"must":1,"spec":{"a":1,"l":[]}}"#,
                &["spec.l: Invalid value: 0: spec.l in body should have at least 1 items"],
            ),
        ];
        for (value, wanted) in cases {
            assert_eq!(errors(schema, value, None), wanted, "{value}");
        }
    }

    #[test]
    fn combinations_are_judged_in_upstreams_words() {
        let schema = |rest: &str| {
            format!(
                r#"{{"type":"object","properties":{{"a":{{"type":"object","properties":{{"x":{{"type":"integer"}},"y":{{"type":"integer"}}}},{rest}}}}}}}"#
            )
        };
        let cases = [
            (
                r#""oneOf":[{"required":["x"]},{"required":["y"]}]"#,
                "{}",
                "<nil>: Invalid value: \"\": \"a\" must validate one and only one schema (oneOf). Found none valid\na.x: Required value",
            ),
            (
                r#""oneOf":[{"required":["x"]},{"required":["y"]}]"#,
                r#"{"x":1,"y":2}"#,
                "<nil>: Invalid value: \"\": \"a\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ),
            (r#""oneOf":[{"required":["x"]},{"required":["y"]}]"#, r#"{"x":1}"#, ""),
            (
                r#""anyOf":[{"required":["x"]},{"required":["y"]}]"#,
                "{}",
                "<nil>: Invalid value: \"\": \"a\" must validate at least one schema (anyOf)\na.x: Required value",
            ),
            (
                r#""allOf":[{"required":["x"]},{"required":["y"]}]"#,
                r#"{"x":1}"#,
                "a.y: Required value\n<nil>: Invalid value: \"\": \"a\" must validate all the schemas (allOf)",
            ),
            (
                r#""not":{"required":["x"]}"#,
                r#"{"x":1}"#,
                "<nil>: Invalid value: \"\": \"a\" must not validate the schema (not)",
            ),
            (r#""not":{"required":["x"]}"#, "{}", ""),
        ];
        for (rest, value, wanted) in cases {
            assert_eq!(
                errors(&schema(rest), &format!(r#"{{"a":{value}}}"#), None).join("\n"),
                wanted,
                "{rest} {value}"
            );
        }
    }

    #[test]
    fn what_did_not_change_is_let_be() {
        let schema = r#"{"type":"object","properties":{"a":{"type":"integer","maximum":5},"b":{"type":"string"},
            "m":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],
            "items":{"type":"object","required":["v"],"properties":{"k":{"type":"string"},"v":{"type":"string"}}}},
            "l":{"type":"array","items":{"type":"string","maxLength":1}}}}"#;
        let old = r#"{"a":9,"b":"x","m":[{"k":"1"},{"k":"2"}],"l":["long"]}"#;
        let cases: [(&str, &[&str]); 4] = [
            (r#"{"a":9,"b":"y","m":[{"k":"1"},{"k":"2"}],"l":["long"]}"#, &[]),
            (r#"{"a":8,"l":["long"]}"#, &["a: Invalid value: 8: a in body should be less than or equal to 5"]),
            (r#"{"m":[{"k":"2"},{"k":"3"}]}"#, &["m[1].v: Required value"]),
            (r#"{"l":["long","x"]}"#, &["l[0]: Too long: may not be more than 1 bytes"]),
        ];
        for (value, wanted) in cases {
            assert_eq!(errors(schema, value, Some(old)), wanted, "{value}");
        }
    }

    #[test]
    fn numbers_are_shown_as_go_shows_them() {
        for (number, wanted) in
            [(0.5, "0.5"), (100.0, "100"), (1e6, "1e+06"), (1_234_567.5, "1.2345675e+06"), (0.00001, "1e-05")]
        {
            assert_eq!(go_float(number), wanted);
        }
    }
}
