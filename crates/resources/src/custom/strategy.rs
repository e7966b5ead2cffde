//! What is particular to the objects of a definition's version (apiextensions' `registry/customresource`).

use std::sync::{Arc, OnceLock};

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::schema::custom::{self, Node};
use machinery::schema::{self, Type, go_interface_name};

use super::embedded;
use super::rules::Rules;
use crate::place::{Place, Report};
use crate::read::Read;
use crate::row::{STATUS_KEEPS_ALL, Strategy, Target};

/// The strategy of one version.
pub(super) struct Custom {
    api_version: String,
    storage_api_version: String,
    has_status: bool,
    scale: Option<Scale>,
    ty: Arc<Type>,
    schema: Arc<Node>,
    /// Of the version in which objects are stored.
    storage_schema: Arc<Node>,
    /// Compiled when the first object is judged.
    rules: OnceLock<Option<Rules>>,
}

/// Paths of `scale` as the definition writes them: `.spec.replicas`.
struct Scale {
    spec_replicas: String,
    status_replicas: String,
    label_selector: String,
}

impl Custom {
    pub(super) fn new(
        crd: &Value,
        version: &Value,
        ty: Arc<Type>,
        schema: Arc<Node>,
        storage_schema: Arc<Node>,
    ) -> Self {
        let group = crd.at(&["spec", "group"]).and_then(Value::as_str).unwrap_or_default();
        let subresources = version.get("subresources").unwrap_or(&Value::Null);
        let scale = subresources.present("scale").map(|scale| Scale {
            spec_replicas: scale.text("specReplicasPath").to_owned(),
            status_replicas: scale.text("statusReplicasPath").to_owned(),
            label_selector: scale.text("labelSelectorPath").to_owned(),
        });
        Self {
            api_version: format!("{group}/{}", version.text("name")),
            storage_api_version: format!("{group}/{}", super::storage_version(crd)),
            has_status: subresources.has("status"),
            scale,
            ty,
            schema,
            storage_schema,
            rules: OnceLock::new(),
        }
    }

    fn validate_rules(&self, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
        let rules = self.rules.get_or_init(|| {
            let schema = self.ty.definition.as_ref()?;
            Rules::new(&schema.unfolded(), true)
        });
        if let Some(rules) = rules {
            rules.validate(object, old, "", errors);
        }
    }

    fn validate_scale(&self, object: &Value, with_spec: bool) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let Some(scale) = &self.scale else { return errors };
        if with_spec {
            validate_replicas(object, &scale.spec_replicas, &mut errors);
        }
        validate_replicas(object, &scale.status_replicas, &mut errors);
        if let Some(value) = nested(object, &scale.label_selector).filter(|value| value.as_str().is_none()) {
            let detail = accessor_error(&scale.label_selector, value, "string");
            errors.invalid(&Place::root(&scale.label_selector), "", &detail);
        }
        errors
    }
}

/// What stands at a path of a definition's.
fn nested<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    if path.is_empty() {
        return None;
    }
    let path: Vec<&str> = path.strip_prefix('.').unwrap_or(path).split('.').collect();
    object.at(&path)
}

fn validate_replicas(object: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let at = Place::root(path);
    match nested(object, path) {
        None => {}
        Some(Value::Integer(number @ ..0)) => errors.invalid(&at, *number, "should be a non-negative integer"),
        Some(Value::Integer(number)) if *number > i64::from(i32::MAX) => {
            errors.invalid(&at, *number, &format!("should be less than or equal to {}", i32::MAX));
        }
        Some(Value::Integer(_)) => {}
        Some(other) => errors.invalid(&at, 0, &accessor_error(path, other, "int64")),
    }
}

fn accessor_error(path: &str, value: &Value, wanted: &str) -> String {
    let found = go_interface_name(value);
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let dot = if path.starts_with('.') { "" } else { "." };
    format!("{dot}{path} accessor error: {shown} is of the type {found}, expected {wanted}")
}

impl Strategy for Custom {
    fn default(&self, object: &mut Value) {
        custom::default(object, &self.schema);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        if self.has_status {
            object.remove_at(&["status"]);
        }
    }

    fn wants_new_generation(&self, object: &Value, old: &Value) -> bool {
        let (Some(new), Some(old)) = (object.as_object(), old.as_object()) else { return false };
        let counts =
            |key: &str| !(matches!(key, "metadata" | "apiVersion" | "kind") || self.has_status && key == "status");
        new.iter().filter(|(key, _)| counts(key)).ne(old.iter().filter(|(key, _)| counts(key)))
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = custom::validate(object, None, &self.schema, "");
        errors.extend(self.validate_scale(object, true));
        errors.extend(embedded::validate(object, &self.schema, ""));
        errors.extend(custom::validate_lists(object, &self.schema, ""));
        self.validate_rules(object, None, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        let mut errors = if target == Target::Subresource("status") {
            let mut errors = match (object.get("status"), self.schema.field("status")) {
                (Some(status), Some(schema)) => custom::validate(status, old.get("status"), schema, "status"),
                _ => Vec::new(),
            };
            errors.extend(self.validate_scale(object, false));
            errors
        } else {
            let mut errors = custom::validate(object, Some(old), &self.schema, "");
            errors.extend(self.validate_scale(object, true));
            errors.extend(embedded::validate(object, &self.schema, ""));
            errors
        };
        // Who broke the rule of lists before may go on doing so.
        let repeated = custom::validate_lists(object, &self.schema, "");
        if !repeated.is_empty() && custom::validate_lists(old, &self.schema, "").is_empty() {
            errors.extend(repeated);
        }
        self.validate_rules(object, Some(old), &mut errors);
        errors
    }

    fn to_storage(&self, object: &mut Value) {
        object.set_at(&["apiVersion"], self.storage_api_version.as_str());
    }

    fn from_storage(&self, object: &mut Value) {
        custom::default(object, &self.storage_schema);
        object.set_at(&["apiVersion"], self.api_version.as_str());
        // What this version does not know is left out; metadata that was stored fits.
        _ = schema::check(object, &self.ty);
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        STATUS_KEEPS_ALL
    }

    fn scale_selector(&self, object: &Value) -> String {
        let path = self.scale.as_ref().map(|scale| scale.label_selector.as_str());
        path.and_then(|path| nested(object, path)?.as_str()).unwrap_or_default().to_owned()
    }
}
