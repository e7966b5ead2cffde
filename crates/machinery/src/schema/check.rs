//! Fits a tree to a built-in type as upstream's decoder does: type errors in Go's words, unknown fields named and pruned,
//! nulls left out, quantities and times in canonical form, empty values which Go's encoder omits taken away.
//!
//! Field names match case-sensitively, as in upstream's `sigs.k8s.io/json`.

use std::borrow::Cow;
use std::fmt;

use super::{Field, JSON_SCHEMA_PROPS, Schema, Type, go, lookup};
use crate::error::ApiError;
use crate::json::{Map, Value};
use crate::quantity::Quantity;
use crate::{duration, time};

/// At most so many unknown and duplicate fields are named in one answer, as upstream's decoder does.
pub const FIELD_ISSUES_MAX: usize = 100;

/// Why a tree is not of a type, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CheckError(pub String);

/// A field which strict decoding refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldIssue {
    /// The type has no such field.
    Unknown(String),
    /// The document has the field twice.
    Duplicate(String),
}

impl fmt::Display for FieldIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(path) => write!(f, "unknown field {path:?}"),
            Self::Duplicate(path) => write!(f, "duplicate field {path:?}"),
        }
    }
}

/// What the client wants done with unknown and duplicate fields (`fieldValidation`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and warn. Upstream's default.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter; empty means the default.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Self::Warn),
            "Ignore" => Some(Self::Ignore),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// A body that fits its type.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The tree, in canonical form.
    pub tree: Value,
    /// Warnings for the client, when it asked for them.
    pub warnings: Vec<String>,
}

/// The whole of a body's way from tree to canonical tree. `duplicates` are the paths which the parser found twice.
pub fn decode_tree(
    mut tree: Value,
    duplicates: Vec<String>,
    ty: &Type,
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    let kind = tree.str_at(&["kind"]).filter(|k| !k.is_empty()).unwrap_or(ty.short_name()).to_owned();
    let api_version = tree.str_at(&["apiVersion"]).unwrap_or_default();
    let version = api_version.rsplit('/').next().unwrap_or_default().to_owned();
    let mut issues = check(&mut tree, ty).map_err(|e| undecodable(&kind, &version, &kind, &e.0))?;
    issues.extend(duplicates.into_iter().map(FieldIssue::Duplicate));
    issues.truncate(FIELD_ISSUES_MAX);
    let texts: Vec<String> = issues.iter().map(ToString::to_string).collect();
    match validation {
        FieldValidation::Strict if !texts.is_empty() => {
            Err(undecodable(&kind, &version, &kind, &format!("strict decoding error: {}", texts.join(", "))))
        }
        FieldValidation::Warn => Ok(Decoded { tree, warnings: texts }),
        _ => Ok(Decoded { tree, warnings: Vec::new() }),
    }
}

/// 400: a body of a known kind that does not decode.
pub fn undecodable(kind: &str, version: &str, wanted_kind: &str, detail: &str) -> ApiError {
    ApiError::BadRequest(format!("{kind} in version {version:?} cannot be handled as a {wanted_kind}: {detail}"))
}

/// 400: a body that does not even tell its kind. `detail` is the parser's error.
pub fn unrecognized_body(wanted_kind: &str, detail: &str, body: &[u8]) -> ApiError {
    const SHOWN_BYTES: usize = 30;
    let head = &body[..body.len().min(SHOWN_BYTES)];
    let mut summary = match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(head).into_owned(),
        Some(_) => head.iter().map(|b| format!("{b:02x}")).collect(),
    };
    if body.len() > SHOWN_BYTES {
        summary.push_str(" ...");
    }
    ApiError::BadRequest(format!(
        "the object provided is unrecognized (must be of type {wanted_kind}): \
         couldn't get version/kind; json parse error: {detail} ({summary})"
    ))
}

/// Fits `tree` to `ty` in place. Gives the unknown fields which were pruned, or the first value of a wrong type.
pub fn check(tree: &mut Value, ty: &Type) -> Result<Vec<FieldIssue>, CheckError> {
    fit(tree, ty, Walk::default())
}

/// The same, but nulls and empty values stay: a configuration that is applied names these fields.
pub fn check_configuration(tree: &mut Value, ty: &Type) -> Result<Vec<FieldIssue>, CheckError> {
    fit(tree, ty, Walk { keeps_empty: true, ..Walk::default() })
}

fn fit<'a>(tree: &mut Value, ty: &'a Type, mut walk: Walk<'a>) -> Result<Vec<FieldIssue>, CheckError> {
    match tree {
        Value::Object(map) => walk.object(map, ty)?,
        Value::Null => *tree = Value::object(),
        other => {
            let (value, go) = (go::value_name(other), ty.go_name());
            return Err(CheckError(format!("json: cannot unmarshal {value} into Go value of type {go}")));
        }
    }
    Ok(walk.issues)
}

#[derive(Default)]
struct Walk<'a> {
    /// Paths grow on the way back, as there are few of them and many places.
    issues: Vec<FieldIssue>,
    /// The fields down to here, for type errors.
    fields: Vec<&'a str>,
    /// The innermost type.
    owner: Option<&'a Type>,
    /// Nulls and empty values stay.
    keeps_empty: bool,
}

impl<'a> Walk<'a> {
    fn object(&mut self, map: &mut Map, ty: &'a Type) -> Result<(), CheckError> {
        if ty.custom {
            self.custom_object(map, ty)?;
            return Ok(());
        }
        let outer = self.owner;
        let mut failure = None;
        map.retain(|key, value| {
            if failure.is_some() {
                return true;
            }
            let Some(field) = ty.field(key) else { return ty.preserve_unknown || self.unknown(key) };
            if value.is_null() && (self.keeps_empty || !field.nullable) {
                return self.keeps_empty;
            }
            self.owner = Some(ty);
            self.fields.push(&field.name);
            let inner = self.issues.len();
            let fits = self.value(value, &field.schema, field.go_type.as_deref());
            self.prefix_issues(inner, key);
            self.fields.pop();
            failure = fits.err();
            self.keeps_empty || (field.nullable || !value.is_null()) && !is_omitted(value, field)
        });
        self.owner = outer;
        failure.map_or(Ok(()), Err)
    }

    /// Of a custom resource only what is not known is taken away, and metadata is read as everywhere.
    fn custom_object(&mut self, map: &mut Map, ty: &'a Type) -> Result<(), CheckError> {
        let mut failure = None;
        map.retain(|key, value| {
            if failure.is_some() {
                return true;
            }
            let Some(field) = ty.field(key) else { return ty.preserve_unknown || self.unknown(key) };
            let inner = self.issues.len();
            failure = self.custom(value, &field.schema).err();
            self.prefix_issues(inner, key);
            true
        });
        failure.map_or(Ok(()), Err)
    }

    fn custom(&mut self, value: &mut Value, schema: &'a Schema) -> Result<(), CheckError> {
        match (schema, value) {
            (Schema::Struct(ty, _), Value::Object(map)) if ty.get().custom => self.custom_object(map, ty.get()),
            // Metadata.
            (Schema::Struct(ty, _), value) if !ty.get().custom => {
                let outer = (std::mem::take(&mut self.fields), self.owner.replace(ty.get()));
                let fits = self.value(value, schema, None);
                (self.fields, self.owner) = outer;
                fits
            }
            (Schema::List(list), Value::Array(items)) => {
                for (i, item) in items.iter_mut().enumerate() {
                    let inner = self.issues.len();
                    self.custom(item, &list.element)?;
                    if self.issues.len() > inner {
                        self.prefix_issues(inner, &format!("[{i}]"));
                    }
                }
                Ok(())
            }
            (Schema::Map(of), Value::Object(map)) => {
                for (key, value) in map.iter_mut() {
                    let inner = self.issues.len();
                    self.custom(value, &of.element)?;
                    self.prefix_issues(inner, key);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn unknown(&mut self, key: &str) -> bool {
        if self.issues.len() < FIELD_ISSUES_MAX {
            self.issues.push(FieldIssue::Unknown(key.to_owned()));
        }
        false
    }

    fn prefix_issues(&mut self, from: usize, place: &str) {
        for issue in &mut self.issues[from..] {
            let (FieldIssue::Unknown(path) | FieldIssue::Duplicate(path)) = issue;
            let dot = if path.starts_with('[') { "" } else { "." };
            *path = format!("{place}{dot}{path}");
        }
    }

    fn value(&mut self, value: &mut Value, schema: &'a Schema, alias: Option<&str>) -> Result<(), CheckError> {
        match (schema, &mut *value) {
            (Schema::Object(name), Value::Object(_)) if name.ends_with(".FieldsV1") => {
                *value = Value::Raw(value.to_string().into());
                Ok(())
            }
            (Schema::Any(of), _) => one_of(value, of.rsplit('.').next().unwrap_or_default()),
            (Schema::Object(_), Value::Object(_) | Value::Raw(_))
            | (Schema::String, Value::String(_))
            | (Schema::Bool, Value::Bool(_))
            | (Schema::Int64, Value::Integer(_))
            | (Schema::Double, Value::Integer(_) | Value::Float(_)) => Ok(()),
            (Schema::Int32, Value::Integer(i)) if i32::try_from(*i).is_ok() => Ok(()),
            (Schema::Struct(ty, _), Value::Object(map)) => self.object(map, ty.get()),
            (Schema::List(list), Value::Array(items)) => self.list(items, &list.element),
            (Schema::Map(of), Value::Object(map)) => self.map(map, &of.element),
            (_, Value::Null) => {
                *value = zero(schema);
                Ok(())
            }
            (Schema::Bytes, Value::String(text)) => match go::base64(text) {
                Ok(None) => Ok(()),
                Ok(Some(canonical)) => {
                    *value = canonical.into();
                    Ok(())
                }
                Err(at) => Err(CheckError(format!("illegal base64 data at input byte {at}"))),
            },
            (Schema::Quantity, _) => quantity(value),
            (Schema::Time | Schema::MicroTime | Schema::Duration, Value::String(text)) => {
                if let Some(canonical) = canonical_text(schema, text)? {
                    *value = canonical.into();
                }
                Ok(())
            }
            (Schema::Time | Schema::MicroTime | Schema::Duration, other) => Err(bare_mismatch(other, "string")),
            (Schema::IntOrString, _) => int_or_string(value),
            _ => Err(self.mismatch(value, schema, alias)),
        }
    }

    fn list(&mut self, items: &mut [Value], element: &'a Schema) -> Result<(), CheckError> {
        for (i, item) in items.iter_mut().enumerate() {
            let inner = self.issues.len();
            self.value(item, element, None)?;
            if self.issues.len() > inner {
                self.prefix_issues(inner, &format!("[{i}]"));
            }
        }
        Ok(())
    }

    fn map(&mut self, map: &mut Map, element: &'a Schema) -> Result<(), CheckError> {
        for (key, value) in map.iter_mut() {
            let inner = self.issues.len();
            self.value(value, element, None)?;
            self.prefix_issues(inner, key);
        }
        Ok(())
    }

    fn mismatch(&self, value: &Value, schema: &Schema, alias: Option<&str>) -> CheckError {
        let go_type = alias.map_or_else(|| go::type_name(schema), str::to_owned);
        let mut name = go::value_name(value).to_owned();
        if name == "number" && matches!(schema, Schema::Int32 | Schema::Int64) {
            name = format!("number {}", go::number_text(value));
        }
        let owner = self.owner.map_or("", Type::short_name);
        let place = format!("Go struct field {owner}.{}", self.fields.join("."));
        CheckError(format!("json: cannot unmarshal {name} into {place} of type {go_type}"))
    }
}

/// Fits one of the types of `apiextensions` that are one of several things, or anything (`JSON`). Upstream has decoders of their own for
/// them, which pass over unknown fields without a word and take what they do not expect in place of schemas for nothing.
fn one_of(value: &mut Value, name: &str) -> Result<(), CheckError> {
    let schema = |value: &mut Value| match lookup(JSON_SCHEMA_PROPS) {
        Some(ty) => check(value, ty).map(drop),
        None => Ok(()),
    };
    match (name, &mut *value) {
        ("JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray", Value::Object(_)) => {
            schema(value)
        }
        ("JSONSchemaPropsOrArray", Value::Array(schemas)) => schemas.iter_mut().try_for_each(schema),
        ("JSONSchemaPropsOrStringArray", Value::Array(texts)) => texts.iter_mut().try_for_each(|text| match text {
            Value::String(_) => Ok(()),
            Value::Null => {
                *text = "".into();
                Ok(())
            }
            other => Err(bare_mismatch(other, "string")),
        }),
        ("JSONSchemaPropsOrBool", Value::Bool(_)) => Ok(()),
        ("JSONSchemaPropsOrBool", _) => Err(CheckError("boolean or JSON schema expected".to_owned())),
        ("JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray", _) => {
            *value = Value::Null;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether Go's encoder would leave the value out: empty, and neither a pointer nor an object with fields.
fn is_omitted(value: &Value, field: &Field) -> bool {
    if !field.omit_empty || field.pointer {
        return false;
    }
    match value {
        Value::Bool(b) => !b,
        Value::Integer(i) => *i == 0,
        Value::Float(f) => *f == 0.0,
        Value::String(s) => s.is_empty() && !matches!(field.schema, Schema::Quantity | Schema::IntOrString),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty() && matches!(field.schema, Schema::Map(_)),
        Value::Null | Value::Raw(_) => false,
    }
}

/// What Go's decoder leaves where a list or map holds null.
pub(super) fn zero(schema: &Schema) -> Value {
    match schema {
        Schema::String | Schema::Bytes => "".into(),
        Schema::Bool => false.into(),
        Schema::Int32 | Schema::Int64 | Schema::Double | Schema::IntOrString => 0.into(),
        Schema::Quantity => "0".into(),
        Schema::Duration => "0s".into(),
        Schema::Struct(..) => Value::object(),
        _ => Value::Null,
    }
}

fn bare_mismatch(value: &Value, go_type: &str) -> CheckError {
    CheckError(format!("json: cannot unmarshal {} into Go value of type {go_type}", go::value_name(value)))
}

fn quantity(value: &mut Value) -> Result<(), CheckError> {
    let given = match &*value {
        Value::String(s) => Cow::Borrowed(s.trim()),
        other => Cow::Owned(other.to_string()),
    };
    let quantity = Quantity::parse(&given).map_err(|e| CheckError(e.to_string()))?;
    if value.as_str().is_none_or(|text| !quantity.is_written(text)) {
        *value = quantity.to_string().into();
    }
    Ok(())
}

/// The text as Go would write it, when it is written otherwise.
fn canonical_text(schema: &Schema, text: &str) -> Result<Option<String>, CheckError> {
    let wrong = |e: &dyn fmt::Display| CheckError(e.to_string());
    let canonical = match schema {
        Schema::Time => {
            let time = time::parse(text).map_err(|e| wrong(&e))?;
            if time::is_canonical(text) {
                return Ok(None);
            }
            time::format(time)
        }
        Schema::MicroTime => time::parse_micro(text).map(time::format_micro).map_err(|e| wrong(&e))?,
        _ => duration::parse_go(text).map(duration::format_go).map_err(|e| wrong(&e))?,
    };
    Ok((canonical != text).then_some(canonical))
}

fn int_or_string(value: &Value) -> Result<(), CheckError> {
    match value {
        Value::String(_) => Ok(()),
        Value::Integer(i) if i32::try_from(*i).is_ok() => Ok(()),
        Value::Integer(_) | Value::Float(_) => {
            let number = go::number_text(value);
            Err(CheckError(format!("json: cannot unmarshal number {number} into Go value of type int32")))
        }
        other => Err(bare_mismatch(other, "int32")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::lookup;

    fn deployment() -> &'static Type {
        lookup("io.k8s.api.apps.v1.Deployment").unwrap()
    }

    fn error(body: &str) -> String {
        let tree = Value::parse(body.as_bytes()).unwrap();
        decode_tree(tree, Vec::new(), deployment(), FieldValidation::Strict).unwrap_err().to_string()
    }

    #[test]
    fn schemas_within_schemas_are_fitted() {
        let fitted = |text: &str| {
            let mut tree = Value::parse(text.as_bytes()).unwrap();
            check(&mut tree, lookup(JSON_SCHEMA_PROPS).unwrap()).map(|_| tree.to_string()).map_err(|e| e.to_string())
        };
        let taken = [
            (r#"{"items":{"type":"string","maxLength":null,"b":1}}"#, r#"{"items":{"type":"string"}}"#),
            (r#"{"items":[{"type":"string","b":1}]}"#, r#"{"items":[{"type":"string"}]}"#),
            (r#"{"additionalProperties":{"b":1,"type":"string"}}"#, r#"{"additionalProperties":{"type":"string"}}"#),
            (r#"{"additionalProperties":false,"items":false}"#, r#"{"additionalProperties":false}"#),
            (r#"{"dependencies":{"a":["b",null]}}"#, r#"{"dependencies":{"a":["b",""]}}"#),
        ];
        for (given, wanted) in taken {
            assert_eq!(fitted(given).as_deref(), Ok(wanted));
        }
        let refused = [
            (r#"{"additionalProperties":"yes"}"#, "boolean or JSON schema expected"),
            (
                r#"{"items":{"maxLength":"1"}}"#,
                "json: cannot unmarshal string into Go struct field JSONSchemaProps.maxLength of type int64",
            ),
            (r#"{"items":["a"]}"#, "json: cannot unmarshal string into Go value of type v1.JSONSchemaProps"),
        ];
        for (given, wanted) in refused {
            assert_eq!(fitted(given).unwrap_err(), wanted);
        }
    }

    #[test]
    fn wrong_types_are_told_in_gos_words() {
        let prefix = r#"Deployment in version "v1" cannot be handled as a Deployment: "#;
        let cases = [
            (
                r#"{"replicas":"x"}"#,
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                r#"{"replicas":1.5}"#,
                "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                r#"{"template":{"spec":{"containers":{}}}}"#,
                "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            (
                r#"{"template":{"spec":{"containers":[{"name":1}]}}}"#,
                "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.name of type string",
            ),
            (
                r#"{"template":{"spec":{"restartPolicy":true}}}"#,
                "json: cannot unmarshal bool into Go struct field PodSpec.spec.template.spec.restartPolicy of type v1.RestartPolicy",
            ),
            (
                r#"{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}}"#,
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
            (
                r#"{"foo":1,"selector":{"x":2}}"#,
                "strict decoding error: unknown field \"spec.foo\", unknown field \"spec.selector.x\"",
            ),
        ];
        for (spec, wanted) in cases {
            let body = format!(r#"{{"apiVersion":"apps/v1","kind":"Deployment","spec":{spec}}}"#);
            assert_eq!(error(&body), format!("{prefix}{wanted}"));
        }
    }

    #[test]
    fn the_tree_becomes_what_go_would_write() {
        let body = br#"{"metadata":{"name":"a","labels":null,"annotations":{},"creationTimestamp":"2024-01-02T03:04:05.6+02:00"},
            "spec":{"replicas":0,"paused":false,"minReadySeconds":0,"bogus":1,"template":{"spec":{"containers":[
            {"name":"c","resources":{"limits":{"cpu":0.5,"memory":"1024Mi"}},"env":[]}],"volumes":[{"name":"v","emptyDir":{}}]}}}}"#;
        let mut tree = Value::parse(body).unwrap();
        let issues = check(&mut tree, deployment()).unwrap();
        assert_eq!(issues, [FieldIssue::Unknown("spec.bogus".into())]);
        let wanted = br#"{"metadata":{"name":"a","creationTimestamp":"2024-01-02T01:04:05Z"},
            "spec":{"replicas":0,"template":{"spec":{"containers":[{"name":"c","resources":
            {"limits":{"cpu":"500m","memory":"1Gi"}}}],"volumes":[{"name":"v","emptyDir":{}}]}}}}"#;
        assert_eq!(tree, Value::parse(wanted).unwrap());
    }

    #[test]
    fn an_unrecognized_body_is_summarized() {
        let error = unrecognized_body("Pod", "invalid character 'x' looking for beginning of value", b"xyz");
        assert_eq!(
            error.to_string(),
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: \
             invalid character 'x' looking for beginning of value (78797a)"
        );
    }
}
